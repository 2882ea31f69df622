"""What answering costs, measured while the rows are scored: latency of single rows, rows per second, peak memory."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from luban.cores import cores
from luban.predict import Predictor
from luban.records import Prediction, Progress, Row, Rows, Watch

CHUNK = 512
SINGLES = 200
PATIENCE = 10.0
"seconds that single rows are timed at most"
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds for all rows in batches; ``p50`` and ``p99`` milliseconds of one row; ``peak_bytes`` of this process.

    ``singles``: how many rows were timed one by one.
    """

    seconds: float
    p50: float
    p99: float
    singles: int
    peak_bytes: int


def answer_all(predictor: Predictor, rows: Rows, watch: Watch) -> tuple[list[Prediction], Cost]:
    """Answers of all rows, in order, and what they took; the rows are answered in batches, some of them again alone."""
    reset_peak()
    predictor.predict([_inputs(rows[0])])
    predictions: list[Prediction] = []
    start = perf_counter()
    for first in range(0, len(rows), CHUNK):
        predictions += predictor.predict([_inputs(rows[i]) for i in range(first, min(first + CHUNK, len(rows)))])
        watch(Progress("score", len(predictions), len(rows)))
    seconds = perf_counter() - start
    singles = single_rows(predictor, rows)
    p50, p99 = (float(value) for value in np.percentile(singles, [50, 99]))
    return predictions, Cost(seconds, p50, p99, len(singles), peak_bytes())


def single_rows(predictor: Predictor, rows: Rows) -> list[float]:
    """Milliseconds of rows answered one at a time, evenly spread over all; at most 200 rows or 10 seconds."""
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), SINGLES)).astype(int)
    out: list[float] = []
    targets = {column.name for column in predictor.task.columns if column.target}
    for i in chosen:
        row = {name: value for name, value in _inputs(rows[int(i)]).items() if name not in targets}
        start = perf_counter()
        predictor.predict([row])
        out.append((perf_counter() - start) * 1000)
        if sum(out) > PATIENCE * 1000:
            break
    return out


def reset_peak() -> None:
    """Make `peak_bytes` count from now, where the system can (Linux)."""
    if CLEAR.exists():
        try:
            CLEAR.write_text("5")
        except OSError:
            return  # a container may forbid it: then the peak since the process began is told


def peak_bytes() -> int:
    """Most resident memory of this process, 0 where the system does not say."""
    if STATUS.exists():
        lines = STATUS.read_text().splitlines()
        peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
        return peaks[0] if peaks else 0
    if sys.platform == "win32":
        return 0
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def _inputs(row: Row) -> Row:
    """A row without its ``id``, which has no business in a score."""
    return {name: value for name, value in row.items() if name != "id"}


def machine(threads: int = 0) -> str:
    """The machine in a few words, for figures mean little without it; ``threads`` 0: all cores."""
    found = cores()
    used = threads or found
    return f"{platform.system()} {platform.machine()}, {found} cores, {used} thread{'s' if used > 1 else ''}"
