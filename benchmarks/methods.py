"""Methods of fine-tuning against full fine-tuning, on the same rows: score, share of the parameters trained, speed, memory.

    python benchmarks/methods.py --data DIR [--method NAME ...] [--rows N] [--seeds S ...] [--threads N]
                                 [--option KEY=VALUE ...] [--dev] [--quick] [--json]

TREC coarse by default (--train and --test name other rows below --data, --task another task), luban's defaults, one
process a run, so that its peak memory is its own. Examples a second of CPU time count forward, backward and step, neither
the probe nor dev scores. ``--option`` sets a field of `TrainConfig` for all methods, as ``--option rate=1e-3``;
``--dev`` scores the rows set aside for validation, which is what defaults are chosen by. ``--quick`` trains on 60 rows
for one epoch: it shows that the script runs, its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from luban import bases
from luban.config import PrepareConfig, TrainConfig, parse
from luban.predict import Predictor
from luban.records import EpochEnd, Prepared, Rows, Step
from luban.stages.prepare import prepare
from luban.stages.train import train
from luban.stages.train.methods import METHODS
from luban.tasks import TASKS

REPO = Path(__file__).resolve().parent.parent
AGAINST = "full"


class Pace:
    """Examples and CPU seconds of the steps; what happens after the last step of an epoch does not count."""

    def __init__(self) -> None:
        self.examples, self.seconds = 0, 0.0
        self.at: float | None = None

    def __call__(self, event: object) -> None:
        now = time.process_time()
        if isinstance(event, Step):
            if self.at is not None:
                self.examples, self.seconds = self.examples + event.rows, self.seconds + now - self.at
            self.at = now
        elif isinstance(event, EpochEnd):
            self.at = None


def rows_of(options: argparse.Namespace) -> Prepared:
    """The rows, the training rows thinned evenly to ``--rows``."""
    test = options.data / options.test if options.test else ""
    found = prepare(
        PrepareConfig(source=str(options.data / options.train), test=str(test), strict=False), TASKS[options.task]
    )
    parts = {
        "train": first(found.train, options.rows or len(found.train)),
        "valid": first(found.valid, 30 if options.quick else len(found.valid)),
        "test": first(found.test, 30 if options.quick else len(found.test)),
    }
    return Prepared(found.task, found.source, **parts, rejects=(), columns=found.columns, fingerprint="benchmark")


def first(rows: Rows, count: int) -> list[dict[str, object]]:
    """Up to ``count`` rows, evenly spread."""
    step = max(1.0, len(rows) / max(1, count))
    return [dict(rows[int(i * step)]) for i in range(min(count, len(rows)))]


def one(method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train once and score; meant for a process of its own."""
    values: dict[str, Any] = dict(each.split("=", 1) for each in options.option)
    values |= {"method": method, "seed": seed, "task": options.task, "base": options.base, "log": ()}
    values |= {"threads": options.threads} | ({"epochs": 1} if options.quick else {})
    config = parse(TrainConfig, values)
    data, pace = rows_of(options), Pace()
    with tempfile.TemporaryDirectory(prefix="luban-methods-") as work:
        folder = train(data, bases.find(config.base), config, Path(work) / "model", watch=pace)
        predictor = Predictor.open(folder)
        judged = data.valid if options.dev or not len(data.test) else data.test
        answers = predictor.predict([{k: row[k] for k in ("text", "text_pair") if k in row} for row in judged])
        score = predictor.task.score(judged, answers)[predictor.task.main_score]
        size = sum(info.bytes for name, info in folder.manifest.files.items() if name.startswith("adapter/"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "score": float(score),
        "unit": predictor.task.main_score,
        **folder.manifest.notes["parameters"],
        "pace": pace.examples / max(1e-9, pace.seconds),
        "peak": peak if sys.platform == "darwin" else peak * 1024,
        "adapter": size,
        "rate": folder.manifest.recipe["schedule"]["rate"],
        "judged": len(judged),
    }


def apart(method: str, seed: int) -> dict[str, Any]:
    """`one`, in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--run", f"{method}:{seed}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    say(f"  {method}, seed {seed}: {json.dumps(found)}")
    return found


def told(method: str, runs: Sequence[dict[str, Any]], full: float | None) -> dict[str, Any]:
    """A row of the table: means over the seeds."""
    score = mean(run["score"] for run in runs)
    return {
        "what": f"{method}, {len(runs)} seeds" if len(runs) > 1 else method,
        "value": round(score, 4),
        "unit": runs[0]["unit"],
        "ratio": round(score / full, 4) if full else None,
        "against": f"{AGAINST} fine-tuning of the same rows" if full else "",
        "scores": [round(run["score"], 4) for run in runs],
        "trained_share": round(runs[0]["trained"] / runs[0]["all"], 5),
        "trained": runs[0]["trained"],
        "examples_a_cpu_second": round(mean(run["pace"] for run in runs), 1),
        "peak_mib": round(max(run["peak"] for run in runs) / 2**20),
        "adapter_mib": round(runs[0]["adapter"] / 2**20, 2),
        "rate": runs[0]["rate"],
        "rows_judged": runs[0]["judged"],
    }


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", nargs="*", default=list(METHODS), help="all where none is named")
    parser.add_argument("--task", default="text-classification")
    parser.add_argument("--train", default="topic-en-trec/train.txt", help="training rows, below --data")
    parser.add_argument(
        "--test", default="topic-en-trec/test.txt", help="test rows, below --data; empty: the train folder's"
    )
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--rows", type=int, default=0, help="training rows, evenly spread; 0: all")
    parser.add_argument("--seeds", type=int, nargs="*", default=[13])
    parser.add_argument("--option", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data")
    parser.add_argument("--dev", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rows = 60
    return options


def main() -> None:
    options = arguments()
    if options.run:
        method, _, seed = options.run.partition(":")
        print(json.dumps(one(method, int(seed), options)))
        return
    runs = {method: [apart(method, seed) for seed in options.seeds] for method in options.method}
    full = mean(run["score"] for run in runs[AGAINST]) if AGAINST in runs else None
    rows = [told(method, found, full if method != AGAINST else None) for method, found in runs.items()]
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    if options.json:
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    print(f"{'method':18} {'score':>7} {'trained':>8} {'ex./CPU s':>9} {'peak MiB':>8} {'adapter MiB':>11}")
    for row in rows:
        print(
            f"{row['what']:18} {row['value']:7.4f} {row['trained_share']:8.2%} {row['examples_a_cpu_second']:9.1f} "
            f"{row['peak_mib']:8} {row['adapter_mib']:11.2f}"
        )


if __name__ == "__main__":
    main()
