"""A student with half of its teacher's layers: what it scores with the teacher's answers and without, and what it costs.

    python benchmarks/distil.py [--source DIR] [--teacher FOLDER] [--layers N] [--hidden X] [--threads N] [--quick]
                                [--data DIR] [--json]

The teacher is trained with the defaults (or given: a folder trained from the same rows); each student starts as a copy of it
with N of its base's layers, evenly spread, and learns with the defaults from the same rows: from the labels alone, from labels
and the teacher's answers, and from its hidden states as well. All are scored on the test rows; the intervals of the differences
are paired. Speed is rows a second on those rows, the models in turns. ``--quick`` takes a few rows: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
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
from luban.records import Prepared, Rows
from luban.stages.prepare import prepare
from luban.stages.train import train
from luban.tasks import TASKS

REPO = Path(__file__).resolve().parent.parent
TASK = "text-classification"
ROUNDS = 5


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    data = rows_of(options)
    with tempfile.TemporaryDirectory() as scratch:
        models = trained(data, options, Path(scratch))
        rows = measured(models, data.test)
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
        beside = f"{row['ratio']:+8.3f} {row['against']}" if row["ratio"] is not None else ""
        print(f"{row['what']:<46}{row['value']:>10.4f} {row['unit']:<24}{beside}")


def trained(data: Prepared, options: argparse.Namespace, scratch: Path) -> dict[str, Predictor]:
    """Teacher and students, by what they are called in the table."""
    common = {"task": TASK, "log": (), **({"epochs": 1} if options.quick else {})}
    if options.teacher:
        teacher = Folder.open(options.teacher)
    else:
        teacher = learnt(data, TrainConfig.model_validate(common), scratch / "teacher")
    copy = {**common, "teacher": str(teacher.path), "student_layers": options.layers}
    ways: dict[str, dict[str, Any]] = {
        "labels alone": {"distil_weight": 0.0},
        "labels and the teacher's answers": {},
        "labels, answers and hidden states": {"distil_hidden": options.hidden},
    }
    models = {"teacher": Predictor.open(teacher)}
    for number, (name, way) in enumerate(ways.items()):
        folder = learnt(data, TrainConfig.model_validate({**copy, **way}), scratch / f"student-{number}")
        models[f"{options.layers} layers, {name}"] = Predictor.open(folder)
    return models


def learnt(data: Prepared, config: TrainConfig, out: Path) -> Folder:
    started = time.process_time()
    folder = train(data, bases.find(config.start), config, out)
    say(f"{out.name}: {time.process_time() - started:.0f} CPU seconds, dev {folder.manifest.scores['valid']}")
    return folder


def measured(models: dict[str, Predictor], rows: Rows) -> list[dict[str, Any]]:
    """A line of accuracy and one of speed for each model, beside the teacher's."""
    asked = [dict(row) for row in rows]
    gold = np.array([row["label"] for row in asked])
    right, seconds = {}, {name: float("inf") for name in models}
    for name, model in models.items():
        right[name] = np.array([answer.label for answer in model.predict(asked)]) == gold
    for _ in range(ROUNDS):
        for name, model in models.items():
            started = time.process_time()
            model.predict(asked)
            seconds[name] = min(seconds[name], time.process_time() - started)
    out = []
    for name in models:
        gap = paired(mean_of(a=right["teacher"]), mean_of(a=right[name]), len(asked))["a"]
        out.append({
            "what": name, "value": round(float(right[name].mean()), 4), "unit": "accuracy",
            "ratio": None if name == "teacher" else round(gap.value, 4), "against": "more than the teacher's",
            "interval": [round(gap.low, 4), round(gap.high, 4)],
        })  # fmt: skip
        out.append({
            "what": name, "value": round(len(asked) / seconds[name], 1), "unit": "rows a CPU second",
            "ratio": None if name == "teacher" else round(seconds["teacher"] / seconds[name], 2),
            "against": "times the teacher's speed",
        })  # fmt: skip
    return out


def rows_of(options: argparse.Namespace) -> Prepared:
    """The rows with their own test part."""
    place = options.data / options.source
    test = {"test": str(place / "test.txt")} if (place / "test.txt").is_file() else {}
    source = str(place / "train.txt") if test else str(place)
    data = prepare(PrepareConfig.model_validate({"source": source, **test, "strict": False}), TASKS[TASK])
    if options.quick:
        data = replace(data, train=few(data.train, 48), valid=few(data.valid, 24), test=few(data.test, 24))
    return data


def few(rows: Rows, count: int) -> Sequence[dict[str, Any]]:
    return [dict(rows[int(i)]) for i in np.linspace(0, len(rows) - 1, min(count, len(rows)))]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="topic-en-trec", help="folder of --data with train and test rows")
    parser.add_argument(
        "--teacher", default="", help="a folder trained from these rows; trained here where none is named"
    )
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--hidden", type=float, default=1.0, help="weight of the hidden states in the last line")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


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
