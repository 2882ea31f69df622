"""Twenty new classes onto a model of Banking77's other 57: what it still knows of these, with replay and without.

    python benchmarks/continual.py [--keep DIR] [--part old|new] [--new N] [--rows N] [--threads N] [--quick]
                                   [--data DIR] [--json]

A model is trained with the defaults on 57 classes (drawn with a seed), N rows a class. It then goes on with the other 20: as
`luban train --continue-from --replay` does it, the same with all old rows, with the older model's answers but no replay, and
naively, on new rows alone; beside them, a new model learns all 77 at once. Scored are the test rows of the old classes before
and after (paired intervals; afterwards there are 77 classes to choose from) and those of the new ones. ``--keep`` keeps the
older model, so that ``--part old`` and ``--part new`` are jobs of their own.
``--quick`` takes a few rows of a few classes: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bench

from luban.predict import Predictor
from luban.records import Row

TASK, SEED = "text-classification", 13
WAYS: dict[str, dict[str, Any]] = {
    "replay and the older model's answers": {},
    "the older model's answers alone": {"replay_rows": 0},
    "the new rows alone": {"replay_rows": 0, "distil_weight": 0.0},
    "all old rows and the older model's answers": {"replay_rows": 100_000},
}


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        if options.quick:
            options.rows, options.new = 12, 2
        old, new, tests = parted(options)
        kept = (options.keep or options.scratch) / "old"
        if not (kept / "luban.json").is_file():
            bench.learnt(options, bench.rows(options, TASK, {"source": str(old)}), kept)
        bench.tell(options, [] if options.part == "old" else list(compared(options, kept, (old, new), tests)))


def compared(
    options: argparse.Namespace, kept: Path, files: tuple[Path, Path], tests: dict[str, list[Row]]
) -> Iterator[bench.Line]:
    """Lines for the older model and each way to go on from it."""
    before = bench.right(Predictor.open(kept), tests["old"])
    yield bench.accuracy("old classes, before", before)
    data = bench.rows(options, TASK, {"source": str(files[1]), "replay": str(files[0])})
    for number, (name, way) in enumerate(WAYS.items()):
        if options.way is not None and number not in options.way:
            continue
        out = options.scratch / f"way-{number}"
        folder = bench.learnt(options, data, out, continue_from=str(kept), max_forget=1.0, **way)
        model = Predictor.open(folder)
        yield bench.accuracy(f"old classes, after {name}", bench.right(model, tests["old"]), before, "before")
        yield bench.accuracy(f"new classes, after {name}", bench.right(model, tests["new"]))
    if options.way is None or len(WAYS) in options.way:
        every = options.scratch / "every.csv"
        every.write_text(files[0].read_text("utf8") + files[1].read_text("utf8").partition("\n")[2], encoding="utf8")
        folder = bench.learnt(options, bench.rows(options, TASK, {"source": str(every)}), options.scratch / "at-once")
        model = Predictor.open(folder)
        yield bench.accuracy("old classes, all learnt at once", bench.right(model, tests["old"]), before, "before")
        yield bench.accuracy("new classes, all learnt at once", bench.right(model, tests["new"]))


def parted(options: argparse.Namespace) -> tuple[Path, Path, dict[str, list[Row]]]:
    """Files of old and of new training rows, and the test rows of both."""
    data = bench.rows(options, TASK, bench.BANKING)
    labels = sorted({row["label"] for row in data.train})
    random.Random(SEED).shuffle(labels)
    labels = labels[:6] if options.quick else labels
    new = set(labels[: options.new])
    rows = [row for row in (*data.train, *data.valid) if row["label"] in set(labels)]
    random.Random(SEED).shuffle(rows)
    held: dict[str, list[Row]] = {label: [] for label in labels}
    for row in rows:
        if len(held[row["label"]]) < options.rows:
            held[row["label"]].append(row)
    files = []
    for name, mine in (("old", False), ("new", True)):
        files.append(options.scratch / f"{name}.csv")
        with files[-1].open("w", encoding="utf8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows(
                [row["text"], row["label"]] for label in labels if (label in new) == mine for row in held[label]
            )
    known = set(labels) - new
    tests = {"old": [r for r in data.test if r["label"] in known], "new": [r for r in data.test if r["label"] in new]}
    return files[0], files[1], tests


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--keep", type=Path, help="directory that keeps the older model")
    out.add_argument("--part", choices=["old", "new"], help="both where none is named")
    out.add_argument(
        "--way",
        type=int,
        nargs="*",
        help="which ways, from 0; the last is all classes at once; all where none is named",
    )
    out.add_argument("--new", type=int, default=20, help="classes that come later")
    out.add_argument("--rows", type=int, default=40, help="training rows a class")
    return out


if __name__ == "__main__":
    main()
