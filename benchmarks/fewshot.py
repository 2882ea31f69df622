"""A few examples a class: luban's methods on the same draws of Banking77 and CLINC150, scored on the test rows.

    python benchmarks/fewshot.py [--only NAME] [--a-class N ...] [--draws N] [--method NAME ...] [--on test|rest] [--quick]
                                 [--data DIR] [--json]

A draw takes N examples of each class from the training rows, seeded; a method is trained on these with its defaults and sees
no validation rows. ``--on rest`` scores on 1,500 training rows that were not drawn instead of the test rows: that is
what the choice between methods was made by. ``head`` with the probe is a linear head on the frozen mean of the base's tokens.
``--quick`` is one draw of a few classes with a tiny model: it shows that the script runs, its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from luban import bases
from luban.bases import Base
from luban.config import PrepareConfig, TrainConfig
from luban.predict import Predictor
from luban.records import Prepared, Row
from luban.stages.prepare import prepare
from luban.stages.train import train
from luban.tasks import TASKS
from luban.testing import tiny_base

REPO = Path(__file__).resolve().parent.parent
TASK = "text-classification"
SETS = {
    "Banking77": ({"source": "intent-en-banking77/train.csv", "test": "intent-en-banking77/test.csv"}, 10),
    "CLINC150": ({"source": "intent-en-clinc150/data_full.json"}, 8),
}
"sources, relative to --data, and the examples a class of the project's goal"
REST = 1500
METHODS = ("head", "prototypes", "contrastive", "full")


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        base = bases.find(str(tiny_base(Path(scratch) / "tiny")) if options.quick else "minilm")
        names = [options.only] if options.only else list(SETS)
        rows = [row for name in names for row in table(name, base, Path(scratch), options)]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    if options.json:
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    print(machine)
    for row in rows:
        print(f"{row['what']:<48}{row['value']:8.4f}  {row['ratio']:5.2f} x CPU of {row['against']}  {row['draws']}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(SETS))
    parser.add_argument(
        "--a-class", type=int, nargs="+", default=[], help="examples of each class; the goal's where none"
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--method", nargs="+", default=list(METHODS))
    parser.add_argument("--on", choices=["test", "rest"], default="test")
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def table(name: str, base: Base, scratch: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One line a number of examples and method: mean accuracy over the draws, CPU time against the first method's."""
    sources, usual = SETS[name]
    config = PrepareConfig.model_validate({key: str(options.data / value) for key, value in sources.items()})
    data = prepare(config, TASKS[TASK])
    train_rows, test_rows = [[row for row in part if row["label"] != "oos"] for part in (data.train, data.test)]
    lines = []
    for count in options.a_class or [usual]:
        first = 0.0
        for method in options.method:
            scores, seconds = [], 0.0
            for draw in range(1 if options.quick else options.draws):
                taken, rest = drawn(train_rows, count, seed=draw)
                if options.quick:
                    taken = taken[: 6 * count]
                asked = rest[:REST] if options.on == "rest" else test_rows
                score, took = trial(taken, asked, base, method, scratch)
                scores.append(score)
                seconds += took
                print(name, count, method, draw, f"{score:.4f}", f"{took:.0f} s", file=sys.stderr, flush=True)
            first = first or seconds
            lines.append(
                {
                    "what": f"{name}, {count} a class, {method} ({options.on})",
                    "value": statistics.mean(scores),
                    "unit": "accuracy",
                    "ratio": seconds / first,
                    "against": options.method[0],
                    "draws": [round(score, 4) for score in scores],
                }
            )
    return lines


def drawn(rows: list[Row], count: int, *, seed: int) -> tuple[list[Row], list[Row]]:
    """``count`` rows of each class, and the others, shuffled."""
    rng = random.Random(seed)
    by_class: dict[str, list[Row]] = {}
    for row in rows:
        by_class.setdefault(row["label"], []).append(row)
    taken, rest = [], []
    for label in sorted(by_class):
        mixed = rng.sample(by_class[label], len(by_class[label]))
        taken += mixed[:count]
        rest += mixed[count:]
    rng.shuffle(rest)
    return taken, rest


def trial(taken: list[Row], asked: list[Row], base: Base, method: str, scratch: Path) -> tuple[float, float]:
    """Accuracy on the asked rows, and the CPU seconds of training."""
    config = TrainConfig.model_validate({"task": TASK, "method": method, "log": ()})
    data = Prepared(TASK, "draw", taken, [], [], (), {"text": "text", "label": "label"}, f"{time.time_ns()}")
    started = time.process_time()
    folder = train(data, base, config, scratch / "model")
    seconds = time.process_time() - started
    predictor = Predictor.open(folder, check=False)
    known = set(folder.manifest.labels)
    gold = [row for row in asked if row["label"] in known]
    predictor.max_rows, predictor.slack = 64, 0.2
    answers = predictor.predict([{"text": row["text"]} for row in gold])
    right = sum(answer.label == row["label"] for answer, row in zip(answers, gold, strict=True))
    return right / len(gold), seconds


if __name__ == "__main__":
    main()
