"""Times two or more runtimes against each other on single rows, interleaved; absolute figures are not its business.

Rounds alternate so that whatever else the machine does falls on all alike; the median of the rounds is reported.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

from luban.encoding import Batch
from luban.runtimes.base import Runtime


def interleaved(runtimes: Mapping[str, Runtime], batches: Sequence[Batch], *, rounds: int = 5) -> dict[str, float]:
    """Milliseconds a batch for each runtime: the median of ``rounds`` rounds after one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    for turn in range(rounds + 1):
        for name, runtime in runtimes.items():
            began = time.perf_counter()
            for batch in batches:
                runtime.run(batch)
            if turn:
                times[name].append((time.perf_counter() - began) / len(batches) * 1e3)
    return {name: statistics.median(held) for name, held in times.items()}
