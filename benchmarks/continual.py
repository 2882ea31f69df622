"""Twenty new classes onto a model of Banking77's other 57: what it still knows of these, with replay and without.

    python benchmarks/continual.py [--keep DIR] [--part old|new] [--new N] [--rows N] [--threads N] [--quick]
                                   [--data DIR] [--json]

A model is trained with the defaults on 57 classes (drawn with a seed), N rows a class. It then goes on with the other 20: as
`luban train --continue-from --replay` does it, with the older model's answers but no replay, and naively, on new rows alone.
Scored are the test rows of the old classes before and after (paired intervals; afterwards there are 77 classes to choose from)
and those of the new ones. ``--keep`` keeps the older model, so that ``--part old`` and ``--part new`` are jobs of their own.
``--quick`` takes a few rows of a few classes: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch

from luban import bases
from luban.config import PrepareConfig, TrainConfig
from luban.folder import Folder
from luban.metrics.intervals import mean_of, paired
from luban.predict import Predictor
from luban.records import Prepared, Row
from luban.stages.prepare import prepare
from luban.stages.train import train
from luban.tasks import TASKS

REPO = Path(__file__).resolve().parent.parent
TASK, SOURCE, SEED = "text-classification", "intent-en-banking77", 13
WAYS: dict[str, dict[str, Any]] = {
    "replay and the older model's answers": {},
    "the older model's answers alone": {"replay_rows": 0},
    "the new rows alone": {"replay_rows": 0, "distil_weight": 0.0},
}


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        old, new, tests = parted(options, place)
        kept = (options.keep or place) / "old"
        if not (kept / "luban.json").is_file():
            learnt(rows_of({"source": str(old)}), settings(options), kept)
        rows = [] if options.part == "old" else list(compared(options, kept, (old, new), tests))
    machine = {
        "processor": processor(),
        "threads": options.threads,
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }
    if options.json:
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    print(machine)
    for row in rows:
        beside = f"{row['ratio']:+8.4f} {row['against']}" if row["ratio"] is not None else ""
        print(f"{row['what']:<66}{row['value']:>8.4f} {row['unit']:<10}{beside}")


def compared(options: argparse.Namespace, kept: Path, files: tuple[Path, Path], tests: dict[str, list[Row]]) -> Any:
    """Lines for the older model and each way to go on from it."""
    before = right(Predictor.open(kept), tests["old"])
    yield line("old classes, before", before, None)
    data = rows_of({"source": str(files[1]), "replay": str(files[0])})
    for number, (name, way) in enumerate(WAYS.items()):
        if options.way is not None and number not in options.way:
            continue
        config = settings(options, continue_from=str(kept), max_forget=1.0, **way)
        with tempfile.TemporaryDirectory() as out:
            model = Predictor.open(learnt(data, config, Path(out) / f"way-{number}"))
        yield line(f"old classes, after {name}", right(model, tests["old"]), before)
        yield line(f"new classes, after {name}", right(model, tests["new"]), None)


def line(what: str, now: np.ndarray, before: np.ndarray | None) -> dict[str, Any]:
    out = {"what": what, "value": round(float(now.mean()), 4), "unit": "accuracy", "ratio": None, "against": ""}
    if before is not None:
        gap = paired(mean_of(a=before), mean_of(a=now), len(now))["a"]
        between = [round(gap.low, 4), round(gap.high, 4)]
        out |= {"ratio": round(gap.value, 4), "against": "more than before", "interval": between}
    return out


def right(model: Predictor, rows: list[Row]) -> np.ndarray:
    answers = [answer.label for answer in model.predict(rows)]
    return np.array([answer == row["label"] for answer, row in zip(answers, rows, strict=True)])


def learnt(data: Prepared, config: TrainConfig, out: Path) -> Folder:
    started = time.process_time()
    folder = train(data, bases.find(config.start), config, out)
    told = {key: value for key, value in folder.manifest.notes.get("continual", {}).items() if key != "classes"}
    say(f"{out.name}: {time.process_time() - started:.0f} CPU seconds, dev {folder.manifest.scores['valid']} {told}")
    return folder


def settings(options: argparse.Namespace, **more: Any) -> TrainConfig:
    return TrainConfig.model_validate({"task": TASK, "log": (), **({"epochs": 1} if options.quick else {}), **more})


def rows_of(options: dict[str, Any]) -> Prepared:
    return prepare(PrepareConfig.model_validate({**options, "strict": False}), TASKS[TASK])


def parted(options: argparse.Namespace, place: Path) -> tuple[Path, Path, dict[str, list[Row]]]:
    """Files of old and of new training rows, and the test rows of both."""
    data = rows_of(
        {"source": str(options.data / SOURCE / "train.csv"), "test": str(options.data / SOURCE / "test.csv")}
    )
    labels = sorted({row["label"] for row in data.train})
    random.Random(SEED).shuffle(labels)
    if options.quick:
        labels, data = labels[:6], replace(data, test=list(data.test)[::20])
    new = set(labels[: options.new])
    rows = [row for row in (*data.train, *data.valid) if row["label"] in set(labels)]
    random.Random(SEED).shuffle(rows)
    held: dict[str, list[Row]] = {label: [] for label in labels}
    for row in rows:
        if len(held[row["label"]]) < options.rows:
            held[row["label"]].append(row)
    files = []
    for name, mine in (("old", False), ("new", True)):
        files.append(place / f"{name}.csv")
        with files[-1].open("w", encoding="utf8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows(
                [row["text"], row["label"]] for label in labels if (label in new) == mine for row in held[label]
            )
    known = set(labels) - new
    tests = {"old": [r for r in data.test if r["label"] in known], "new": [r for r in data.test if r["label"] in new]}
    return files[0], files[1], tests


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="directory that keeps the older model")
    parser.add_argument("--part", choices=["old", "new"], help="both where none is named")
    parser.add_argument(
        "--way", type=int, nargs="*", help="which ways to go on, counted from 0; all where none is named"
    )
    parser.add_argument("--new", type=int, default=20, help="classes that come later")
    parser.add_argument("--rows", type=int, default=40, help="training rows a class")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.new = 12, 2
    return options


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
