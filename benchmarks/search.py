"""What a search for a recipe finds beyond luban's own settings, on dev rows, which it chooses by, and on test rows.

    python benchmarks/search.py --data DIR [--rows N] [--valid N] [--trials N] [--minutes N] [--space KEY=VALUES ...]
                                [--base NAME] [--seed N] [--threads N] [--quick] [--json]

TREC coarse, its training rows thinned evenly. luban's own settings are trained once more for their test score, since a
search keeps the best model only. The gain on dev rows is what a search shows, the gain on test rows is what it is worth.
``--quick`` tries two recipes on 60 rows for one epoch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import bench

from luban import searching
from luban.config import PrepareConfig, SearchConfig, TrainConfig, parse
from luban.predict import Predictor
from luban.stages.train import train
from luban.stages.train.search import Ended

TASK = "text-classification"


def run(options: argparse.Namespace) -> list[bench.Line]:
    """Search, and train luban's own settings once more; one row a figure."""
    places = {part: str(options.data / name) for part, name in bench.TREC.items()}
    reading = PrepareConfig.model_validate({**places, "strict": False})
    test = 30 if options.quick else 0
    rows = bench.thinned(bench.rows(options, TASK, bench.TREC), train=options.rows, valid=options.valid, test=test)
    base = bench.base(options)
    known = str(base.path) if options.quick else options.base
    fixed = {"task": TASK, "base": known, "threads": options.threads, "log": ()}
    training = TrainConfig.model_validate(fixed | ({"epochs": 1} if options.quick else {}))
    space = dict(word.split("=", 1) for word in options.space)
    given = {"trials": options.trials, "minutes": options.minutes, "seed": options.seed, "space": space}
    start = time.process_time()
    found = searching.sought(
        rows, reading, training, parse(SearchConfig, given), options.scratch / "search", watch=said
    )
    spent = time.process_time() - start
    own = Predictor.open(train(rows, base, training, options.scratch / "own"))
    usual, best = found.of(found.usual), found.winner
    assert usual is not None
    assert best is not None
    assert found.test is not None
    before, after = float(bench.right(own, rows.test).mean()), found.test["scores"]["accuracy"]
    states, against = [trial.state for trial in found.tried], "luban's own settings"
    return [
        bench.line("dev, luban's own settings", usual.score, "accuracy"),
        bench.line("dev, best trial", best.score, "accuracy", round(best.score / usual.score, 4), against),
        bench.line("test, luban's own settings", before, "accuracy"),
        bench.line("test, best trial", after, "accuracy", round(after / before, 4), against),
        bench.line("trials", len(states), "trials"),
        bench.line("stopped early", states.count("pruned"), "trials"),
        bench.line("search", round(spent, 1), "CPU seconds"),
        *[bench.line(f"importance of {name}", share, "share") for name, share in found.importance.items()],
        bench.line("best recipe", best.number, "trial", recipe=dict(best.recipe)),
    ]


def said(event: object) -> None:
    """One line a trial, on stderr."""
    if isinstance(event, Ended):
        trial = event.trial
        bench.say(f"{trial.number}: {trial.state} {trial.score} {trial.seconds} s {trial.values}")


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--rows", type=int, default=400)
    out.add_argument("--valid", type=int, default=200)
    out.add_argument("--trials", type=int, default=8)
    out.add_argument("--minutes", type=float, default=0)
    out.add_argument("--space", nargs="*", default=[], metavar="KEY=VALUES")
    out.add_argument("--base", default="minilm")
    out.add_argument("--seed", type=int, default=13)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        if options.quick:
            options.rows, options.valid, options.trials = 60, 30, 2
        bench.tell(options, run(options))


if __name__ == "__main__":
    main()
