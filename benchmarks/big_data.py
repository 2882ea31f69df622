"""What a run over many rows holds in memory: the same fixed number of steps on 10,000, 100,000 and a million rows.

    python benchmarks/big_data.py --data DIR [--rows N] [--steps N] [--base NAME] [--threads N] [--quick] [--json]

Rows are made from Banking77's training rows: words are put in and out of place, by a seed; they are written to a CSV file,
read, cleaned, split and learnt from by luban's defaults, each size in a process of its own. Told are the peak of the memory
that is the process's own (``RssAnon`` on Linux; elsewhere all that is resident, with the pages of files that are mapped) and
rows a CPU second, for preparing and until the first step: encoding, the linear probe on 20,000 of them and the forecast.
``--quick`` takes 1,000 and 20,000 rows (or fewer, by ``--rows``) and a tiny base.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bench

from luban.config import PrepareConfig, TrainConfig, parse
from luban.records import Forecast, Step
from luban.stages.prepare import prepare
from luban.stages.train import train
from luban.tasks import TASKS

EXTRA = "please now today again really just maybe soon kindly also tomorrow still ever yet there actually".split()
STATUS = Path("/proc/self/status")
SAMPLED = 0.02
"seconds between two looks at the memory"


def write(source: Path, out: Path, count: int) -> None:
    """``count`` rows, each one of the source's with two more words and two words that changed places."""
    rng = random.Random(count)
    with source.open(encoding="utf8", newline="") as file:
        rows = [(row["text"].split(), row["category"]) for row in csv.DictReader(file)]
    with out.open("w", encoding="utf8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _ in range(count):
            words, label = rng.choice(rows)
            words = list(words)
            for _ in range(2):
                words.insert(rng.randrange(len(words) + 1), rng.choice(EXTRA))
            i, j = rng.randrange(len(words)), rng.randrange(len(words))
            words[i], words[j] = words[j], words[i]
            writer.writerow([" ".join(words), label])


class Memory(threading.Thread):
    """Looks at this process's memory while it works; ``own`` and ``resident``: the peaks in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own = 0
        self.start()

    def run(self) -> None:
        while STATUS.exists():
            lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="ascii").splitlines())
            self.own = max(self.own, int(lines["RssAnon"].split()[0]) * 1024)
            time.sleep(SAMPLED)

    @property
    def resident(self) -> int:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def told(self) -> dict[str, int]:
        return {"own": self.own or self.resident, "resident": self.resident}


def one(count: int, options: argparse.Namespace) -> dict[str, Any]:
    """Prepare and train once; meant for a process of its own."""
    memory, source = Memory(), options.scratch / "rows.csv"
    write(options.data / bench.BANKING["source"], source, count)
    started = time.process_time()
    data = prepare(PrepareConfig(source=str(source)), TASKS["text-classification"])
    prepared, at_rows = time.process_time() - started, memory.told()
    base, times = bench.base(options), {}

    def watch(event: object) -> None:
        if isinstance(event, Forecast):
            times["ready"] = time.process_time() - started - prepared
        elif isinstance(event, Step) and event.done == event.total:
            times["learnt"], times["steps"] = time.process_time() - started - prepared - times["ready"], event.total

    settings = {"task": data.task, "log": (), "threads": options.threads, "batch_rows": 32, "patience": 1000}
    config = parse(TrainConfig, {**settings, "epochs": options.steps * 32 / len(data.train)})
    train(data, base, config, options.scratch / "model", watch=watch)
    rows = {"train": len(data.train), "valid": len(data.valid), "rejects": len(data.rejects)}
    assert sum(rows.values()) == count, "a row was lost"
    return {
        "rows": rows,
        "prepare": {**at_rows, "rows_a_second": count / prepared},
        "train": {**memory.told(), "rows_a_second": count / times["ready"]},
        "steps": times["steps"],
        "step_seconds": times["learnt"] / times["steps"],
        "bytes": source.stat().st_size,
    }


def apart(count: int, given: Sequence[str]) -> dict[str, Any]:
    """`one`, in a process of its own."""
    command = [sys.executable, __file__, *given, "--one", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    bench.say(f"  {count:,} rows: {json.dumps(found)}")
    return found


def told(sizes: Sequence[int], found: Sequence[dict[str, Any]]) -> list[bench.Line]:
    """The rows of the table; ratios are to the smallest number of rows."""
    lines, against = [], f"{sizes[0]:,} rows"
    for stage in ("prepare", "train"):
        first = found[0][stage]
        for count, run in zip(sizes, found, strict=True):
            own = run[stage]["own"]
            a_row = (own - first["own"]) / max(1, count - sizes[0])
            more = {
                "resident_mib": round(run[stage]["resident"] / 2**20),
                "bytes_a_row_more": round(a_row, 1),
                "rows": run["rows"],
            }
            what = f"{stage}, {count:,} rows: own memory at its peak"
            ratio = round(own / first["own"], 3) if run is not found[0] else None
            lines.append(bench.line(what, round(own / 2**20, 1), "MiB", ratio, against, **more))
        for count, run in zip(sizes, found, strict=True):
            pace = run[stage]["rows_a_second"]
            ratio = round(pace / first["rows_a_second"], 3) if run is not found[0] else None
            until = "" if stage == "prepare" else " until the first step"
            lines.append(
                bench.line(f"{stage}, {count:,} rows{until}", round(pace), "rows a CPU second", ratio, against)
            )
    return lines


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument(
        "--rows", type=int, default=1_000_000, help="the largest number of rows; a tenth and a hundredth of it, too"
    )
    out.add_argument("--steps", type=int, default=20, help="steps of 32 rows, whatever the number of rows")
    out.add_argument("--base", default="minilm")
    out.add_argument("--one", type=int, default=0, help=argparse.SUPPRESS)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    with bench.begun(parser(), given) as options:
        if options.one:
            print(json.dumps(one(options.one, options)))
            return
        most = min(options.rows, 20_000) if options.quick else options.rows
        sizes = [most // 20, most] if options.quick else [most // 100, most // 10, most]
        bench.tell(options, told(sizes, [apart(size, given) for size in sizes]))


if __name__ == "__main__":
    main()
