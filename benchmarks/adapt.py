"""Does a base that has read the texts beforehand learn a task better from a few labelled rows?

    python benchmarks/adapt.py --data DIR [--rows N] [--steps N ...] [--seeds S ...] [--base NAME] [--quick] [--json]

TREC coarse: N labelled rows, evenly spread over the training rows, learnt from with the defaults and 6 passes; before
that the base guesses masked words in the texts of all training rows (``--adapt``) for so many steps, or for none. Accuracy on
the test rows, the mean over seeds; in the JSON that on 300 validation rows, too, by which a number of steps may be chosen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import mean

import bench

from luban.predict import Predictor
from luban.records import Prepared

TASK, PASSES = "text-classification", 6


def one(data: Prepared, steps: int, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Accuracy on validation and test rows after so many steps of reading."""
    texts = tuple({"text": row["text"]} for row in data.train) if steps else ()
    few = bench.thinned(replace(data, texts=texts), train=options.rows, valid=300, test=60 if options.quick else 0)
    settings = {"seed": seed, "epochs": PASSES, "adapt_steps": steps, "threads": options.threads}
    folder = bench.learnt(options, few, options.scratch / f"{steps}-{seed}", **settings)
    model = Predictor.open(folder)
    found = {part: float(bench.right(model, getattr(few, part)).mean()) for part in ("valid", "test")}
    bench.say(json.dumps({"steps": steps, "seed": seed, **found, "adapted": folder.manifest.notes.get("adapted")}))
    return found


def table(data: Prepared, options: argparse.Namespace) -> Iterator[bench.Line]:
    """A line a number of steps, against the first."""
    first = None
    for steps in options.steps:
        runs = [one(data, steps, seed, options) for seed in options.seeds]
        scores = {part: [round(run[part], 4) for run in runs] for part in ("valid", "test")}
        value = mean(run["test"] for run in runs)
        what = f"TREC, {options.rows} labelled rows, {steps} steps of reading, {len(runs)} seeds"
        ratio = None if first is None else round(value / max(first, 1e-9), 4)
        yield bench.line(what, round(value, 4), "accuracy", ratio, f"{options.steps[0]} steps", **scores)
        first = value if first is None else first


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--rows", type=int, default=500, help="labelled rows")
    out.add_argument("--steps", type=int, nargs="+", default=[0, 100, 400])
    out.add_argument("--seeds", type=int, nargs="+", default=[13, 14])
    out.add_argument("--base", default="minilm")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        if options.quick:
            options.rows, options.steps, options.seeds = 48, [0, 2], [13]
        bench.tell(options, list(table(bench.rows(options, TASK, bench.TREC), options)))


if __name__ == "__main__":
    main()
