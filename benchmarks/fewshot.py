"""A few examples a class: luban's methods on the same draws of Banking77 and CLINC150, scored on the test rows.

    python benchmarks/fewshot.py [--only NAME] [--a-class N ...] [--draws N] [--method NAME ...] [--on test|rest] [--quick]
                                 [--data DIR] [--json]

A draw takes N examples of each class from the training rows, seeded; a method is trained on these with its defaults and sees
no validation rows. ``--on rest`` scores on 1,500 training rows that were not drawn instead of the test rows: that is
what the choice between methods was made by. ``head`` with the probe is a linear head on the frozen mean of the base's tokens.
``--quick`` is one draw of a few classes.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Sequence

import bench

from luban.predict import Predictor
from luban.records import Prepared, Row

TASK = "text-classification"
SETS = {
    "Banking77": (bench.BANKING, 10),
    "CLINC150": ({"source": "intent-en-clinc150/data_full.json"}, 8),
}
"sources, relative to --data, and the examples a class of the project's goal"
REST = 1500
METHODS = ("head", "prototypes", "contrastive", "full")


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        names = [options.only] if options.only else list(SETS)
        bench.tell(options, [row for name in names for row in table(name, options)])


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--only", choices=list(SETS))
    out.add_argument("--a-class", type=int, nargs="+", default=[], help="examples of each class; the goal's where none")
    out.add_argument("--draws", type=int, default=5)
    out.add_argument("--method", nargs="+", default=list(METHODS))
    out.add_argument("--on", choices=["test", "rest"], default="test")
    return out


def table(name: str, options: argparse.Namespace) -> list[bench.Line]:
    """One line a number of examples and method: mean accuracy over the draws, CPU time against the first method's."""
    sources, usual = SETS[name]
    data = bench.rows(options, TASK, sources)
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
                score, took = trial(taken, asked, method, options)
                scores.append(score)
                seconds += took
                bench.say(f"{name} {count} {method} {draw} {score:.4f} {took:.0f} s")
            first = first or seconds
            what = f"{name}, {count} a class, {method} ({options.on})"
            against = f"CPU of {options.method[0]}"
            draws = [round(score, 4) for score in scores]
            lines.append(bench.line(what, statistics.mean(scores), "accuracy", seconds / first, against, draws=draws))
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


def trial(taken: list[Row], asked: list[Row], method: str, options: argparse.Namespace) -> tuple[float, float]:
    """Accuracy on the asked rows, and the CPU seconds of training."""
    data = Prepared(TASK, "draw", taken, [], [], (), {"text": "text", "label": "label"}, f"{time.time_ns()}")
    started = time.process_time()
    folder = bench.learnt(options, data, options.scratch / "model", method=method)
    seconds = time.process_time() - started
    predictor = Predictor.open(folder, check=False)
    known = set(folder.manifest.labels)
    predictor.max_rows, predictor.slack = 64, 0.2
    return float(bench.right(predictor, [row for row in asked if row["label"] in known]).mean()), seconds


if __name__ == "__main__":
    main()
