"""What a search for a recipe finds beyond luban's own settings, on dev rows, which it chooses by, and on test rows.

    python benchmarks/search.py --data DIR [--rows N] [--valid N] [--trials N] [--minutes N] [--space KEY=VALUES ...]
                                [--base NAME] [--seed N] [--threads N] [--quick] [--json]

TREC coarse, its training rows thinned evenly. luban's own settings are trained once more for their test score, since a
search keeps the best model only. The gain on dev rows is what a search shows, the gain on test rows is what it is worth.
``--quick`` tries two recipes on 60 rows for one epoch: it shows that the script runs, its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from luban import bases, searching
from luban.config import PrepareConfig, SearchConfig, TrainConfig, parse
from luban.predict import Predictor
from luban.records import Prepared, Rows
from luban.stages.prepare import prepare
from luban.stages.train import train
from luban.stages.train.search import Ended
from luban.tasks import TASKS

REPO = Path(__file__).resolve().parent.parent
TASK = "text-classification"


def rows_of(options: argparse.Namespace) -> tuple[PrepareConfig, Prepared]:
    """The rows, thinned to ``--rows`` and ``--valid``, and how they were read."""
    place = options.data / "topic-en-trec"
    config = PrepareConfig(source=str(place / "train.txt"), test=str(place / "test.txt"), strict=False)
    found = prepare(config, TASKS[TASK])
    parts = {
        "train": first(found.train, options.rows),
        "valid": first(found.valid, options.valid),
        "test": first(found.test, 30 if options.quick else len(found.test)),
    }
    told = f"benchmark {options.rows} {options.valid}"
    return config, Prepared(found.task, found.source, **parts, rejects=(), columns=found.columns, fingerprint=told)


def first(rows: Rows, count: int) -> list[dict[str, Any]]:
    """Up to ``count`` rows, evenly spread."""
    step = max(1.0, len(rows) / max(1, count))
    return [dict(rows[int(i * step)]) for i in range(min(count, len(rows)))]


def scored(folder: Any, rows: Rows) -> float:
    """The accuracy of a folder on rows."""
    predictor = Predictor.open(folder)
    return float(predictor.task.score(rows, predictor.predict(rows))["accuracy"])


def run(options: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    """Search, and train luban's own settings once more; one row a figure."""
    reading, rows = rows_of(options)
    fixed = {"task": TASK, "base": options.base, "threads": options.threads, "log": ()}
    training = TrainConfig.model_validate(fixed | ({"epochs": 1} if options.quick else {}))
    space = dict(word.split("=", 1) for word in options.space)
    given = {"trials": options.trials, "minutes": options.minutes, "seed": options.seed, "space": space}
    start = time.process_time()
    found = searching.sought(rows, reading, training, parse(SearchConfig, given), place / "search", watch=said)
    spent = time.process_time() - start
    own = train(rows, bases.find(options.base), training, place / "own")
    usual, best = found.of(found.usual), found.winner
    assert usual is not None
    assert best is not None
    assert found.test is not None
    before, after = scored(own, rows.test), found.test["scores"]["accuracy"]
    states = [trial.state for trial in found.tried]
    return [
        row("dev, luban's own settings", usual.score, "accuracy"),
        row("dev, best trial", best.score, "accuracy", usual.score, "luban's own settings"),
        row("test, luban's own settings", before, "accuracy"),
        row("test, best trial", after, "accuracy", before, "luban's own settings"),
        row("trials", len(states), "trials"),
        row("stopped early", states.count("pruned"), "trials"),
        row("search", round(spent, 1), "CPU seconds"),
        *[row(f"importance of {name}", share, "share") for name, share in found.importance.items()],
        {**row("best recipe", best.number, "trial"), "recipe": dict(best.recipe)},
    ]


def row(what: str, value: Any, unit: str, against: float | None = None, name: str = "") -> dict[str, Any]:
    """One row of the table."""
    ratio = round(value / against, 4) if against else None
    return {"what": what, "value": value, "unit": unit, "ratio": ratio, "against": name or None}


def said(event: object) -> None:
    """One line a trial, on stderr."""
    if isinstance(event, Ended):
        trial = event.trial
        print(
            f"{trial.number}: {trial.state} {trial.score} {trial.seconds} s {trial.values}", file=sys.stderr, flush=True
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--valid", type=int, default=200)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--space", nargs="*", default=[], metavar="KEY=VALUES")
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.valid, options.trials = 60, 30, 2
    return options


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as place:
        rows = run(options, Path(place))
    if options.json:
        machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    for one in rows:
        print(f"{one['what']:32} {one['value']:>9.4g} {one['unit']:12} {one.get('recipe', '')}")


if __name__ == "__main__":
    main()
