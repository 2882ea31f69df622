"""What each method of fine-tuning scores beside full fine-tuning on the same rows, how much of the model it trains, its memory.

    python benchmarks/methods.py --data DIR [--method NAME ...] [--rows N] [--seeds S ...] [--threads N]
                                 [--option KEY=VALUE ...] [--dev] [--quick] [--json]

TREC coarse by default (--train and --test name other rows below --data, --task another task), luban's defaults, one
process a run, so that its peak memory is its own. ``--option`` sets a field of `TrainConfig` for all methods, as ``--option
rate=1e-3``; ``--dev`` scores the rows set aside for validation, which is what defaults are chosen by. How fast each method
learns is told by train_speed.py. ``--quick`` trains on 60 rows for one epoch.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from statistics import mean
from typing import Any

import bench

from luban.predict import Predictor
from luban.records import Prepared
from luban.stages.train.methods import METHODS

AGAINST = "full"


def rows_of(options: argparse.Namespace) -> Prepared:
    """The rows, the training rows thinned evenly to ``--rows``."""
    sources = {"source": options.train, **({"test": options.test} if options.test else {})}
    judged = 30 if options.quick else 0
    return bench.thinned(bench.rows(options, options.task, sources), train=options.rows, valid=judged, test=judged)


def one(method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train once and score; meant for a process of its own."""
    data, given = rows_of(options), dict(each.split("=", 1) for each in options.option)
    values = {"threads": options.threads, **given, "method": method, "seed": seed}
    folder = bench.learnt(options, data, options.scratch / "model", **values)
    predictor = Predictor.open(folder)
    judged = data.valid if options.dev or not len(data.test) else data.test
    answers = predictor.predict([{k: row[k] for k in ("text", "text_pair") if k in row} for row in judged])
    size = sum(info.bytes for name, info in folder.manifest.files.items() if name.startswith("adapter/"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "score": float(predictor.task.score(judged, answers)[predictor.task.main_score]),
        "unit": predictor.task.main_score,
        **folder.manifest.notes["parameters"],
        "peak": peak if sys.platform == "darwin" else peak * 1024,
        "adapter": size,
        "rate": folder.manifest.recipe["schedule"]["rate"],
        "judged": len(judged),
    }


def apart(method: str, seed: int, given: Sequence[str]) -> dict[str, Any]:
    """`one`, in a process of its own."""
    command = [sys.executable, __file__, *given, "--run", f"{method}:{seed}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    bench.say(f"  {method}, seed {seed}: {json.dumps(found)}")
    return found


def told(method: str, runs: Sequence[dict[str, Any]], full: float | None) -> bench.Line:
    """A row of the table: means over the seeds."""
    score = mean(run["score"] for run in runs)
    more = {
        "scores": [round(run["score"], 4) for run in runs],
        "trained_share": round(runs[0]["trained"] / runs[0]["all"], 5),
        "trained": runs[0]["trained"],
        "peak_mib": round(max(run["peak"] for run in runs) / 2**20),
        "adapter_mib": round(runs[0]["adapter"] / 2**20, 2),
        "rate": runs[0]["rate"],
        "rows_judged": runs[0]["judged"],
    }
    what = f"{method}, {len(runs)} seeds" if len(runs) > 1 else method
    what += f" ({more['trained_share']:.2%} of the parameters, {more['peak_mib']} MiB)"
    ratio = round(score / full, 4) if full else None
    return bench.line(what, round(score, 4), runs[0]["unit"], ratio, f"{AGAINST} fine-tuning of the same rows", **more)


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--method", nargs="*", default=list(METHODS), help="all where none is named")
    out.add_argument("--task", default="text-classification")
    out.add_argument("--train", default=bench.TREC["source"], help="training rows, below --data")
    out.add_argument("--test", default=bench.TREC["test"], help="test rows, below --data; empty: the train folder's")
    out.add_argument("--base", default="minilm")
    out.add_argument("--rows", type=int, default=0, help="training rows, evenly spread; 0: all")
    out.add_argument("--seeds", type=int, nargs="*", default=[13])
    out.add_argument("--option", nargs="*", default=[], metavar="KEY=VALUE")
    out.add_argument("--dev", action="store_true")
    out.add_argument("--run", help=argparse.SUPPRESS)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else arguments
    with bench.begun(parser(), given) as options:
        if options.quick:
            options.rows = 60
        if options.run:
            method, _, seed = options.run.partition(":")
            print(json.dumps(one(method, int(seed), options)))
            return
        runs = {method: [apart(method, seed, given) for seed in options.seeds] for method in options.method}
        full = mean(run["score"] for run in runs[AGAINST]) if AGAINST in runs else None
        bench.tell(options, [told(name, found, full if name != AGAINST else None) for name, found in runs.items()])


if __name__ == "__main__":
    main()
