"""What each robust objective gives: accuracy on clean rows, and on the same rows with typos or with swapped words.

    python benchmarks/robust.py --data DIR [--on sst2|trec] [--ways WAY ...] [--seeds N ...] [--rows N] [--flip SHARE]
                                [--quick] [--json]
    python benchmarks/robust.py --runs FILE ...      one table of the lines that earlier runs wrote to stderr

A way is ``plain`` or options of training joined by commas, such as ``adversarial=fgm,adversarial_radius=0.1``. All ways of a
seed learn from the same rows, base, epochs and order; ``--flip`` gives a share of those rows a wrong label. Validation and test
rows are both judged, so that a radius can be chosen on the first and told on the second: the way marked as chosen has the best
mean accuracy on perturbed validation rows among those that are no worse than plain on clean ones.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from luban import bases
from luban.config import PrepareConfig, TrainConfig
from luban.perturb import PERTURBATIONS
from luban.predict import Predictor
from luban.records import Prepared, Row
from luban.stages.prepare import prepare
from luban.stages.train import train
from luban.tasks import TASKS

TASK = "text-classification"
SETS = {
    "sst2": ("sent-en-sst2/train.tsv", "sent-en-sst2/dev.tsv", "sent-en-sst2/test.tsv"),
    "trec": ("topic-en-trec/train.txt", "", "topic-en-trec/test.txt"),
}
WAYS = (
    "plain",
    "adversarial=fgm,adversarial_radius=0.1",
    "adversarial=fgm,adversarial_radius=0.3",
    "adversarial=fgm,adversarial_radius=0.7",
    "adversarial=freelb,adversarial_radius=0.3,adversarial_steps=2",
    "rdrop=1",
    "mixup=0.2",
)
DRAWS = 2
"perturbed versions of each row: one draw of typos says little"


def rows_of(data: Path, chosen: argparse.Namespace) -> Prepared:
    """The set's rows, of which up to ``rows`` (evenly spread) are learnt from."""
    source, valid, test = (str(data / part) if part else "" for part in SETS[chosen.on])
    found = prepare(PrepareConfig(source=source, valid=valid, test=test, strict=False), TASKS[TASK])
    most = 200 if chosen.quick else chosen.rows
    dev, judged = (60, 60) if chosen.quick else (500, len(found.test))
    parts = {"train": spread(found.train, most), "valid": spread(found.valid, dev), "test": spread(found.test, judged)}
    return replace(found, **parts, fingerprint=f"{chosen.on}-{most}-{chosen.flip}")


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Up to ``count`` rows, evenly spread."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))
    return [dict(rows[int(i)]) for i in places]


def flipped(rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """The rows with another label for a share of them."""
    rng = random.Random(seed)
    labels = sorted({row["label"] for row in rows})
    wrong = set(rng.sample(range(len(rows)), round(share * len(rows))))
    return [
        {**row, "label": rng.choice([label for label in labels if label != row["label"]])} if i in wrong else dict(row)
        for i, row in enumerate(rows)
    ]


def options_of(way: str) -> dict[str, object]:
    """``plain`` or KEY=VALUE joined by commas."""
    return {} if way == "plain" else dict(part.split("=", 1) for part in way.split(","))


def accuracies(predictor: Predictor, rows: Sequence[Row]) -> dict[str, float]:
    """Accuracy on the rows as they are, and on `DRAWS` perturbed versions of each."""
    gold = np.array([row["label"] for row in rows])

    def right(texts: Sequence[str]) -> float:
        return float(np.mean(gold == np.array([str(p.label) for p in predictor.predict(texts)])))

    texts = [str(row["text"]) for row in rows]
    found = {"clean": right(texts)}
    for name, perturb in PERTURBATIONS.items():
        found[name] = float(np.mean([right([perturb(text, seed=draw) for text in texts]) for draw in range(DRAWS)]))
    return found


def trained(prepared: Prepared, way: str, seed: int, chosen: argparse.Namespace) -> dict[str, float]:
    """Train one way with one seed; its accuracies and process CPU seconds."""
    config = TrainConfig.model_validate(
        {
            "task": TASK, "base": chosen.base, "epochs": 1 if chosen.quick else chosen.epochs, "seed": seed, "log": (),
            "threads": 1, "patience": 9, **options_of(way),
        }
    )  # fmt: skip
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        local = chosen.models / chosen.base
        base = bases.find(str(local) if local.is_dir() else chosen.base)
        data = replace(prepared, train=flipped(prepared.train, chosen.flip, seed)) if chosen.flip else prepared
        made = train(data, base, config, Path(folder) / "model")
        seconds = time.process_time() - started
        predictor, suspects = Predictor.open(made, check=False), made.manifest.notes.get("suspects")
        judged = {"valid": prepared.valid, "test": prepared.test}
        found = {
            f"{p} {kind}": value for p, rows in judged.items() for kind, value in accuracies(predictor, rows).items()
        }
    found["seconds"] = seconds
    said = json.dumps({"way": way, "seed": seed, **found, "suspects": suspects})
    print(said, file=sys.stderr, flush=True)
    return found


def table(found: Mapping[str, Sequence[Mapping[str, float]]], on: str) -> list[dict[str, object]]:
    """One row for each way and kind of text: the mean over seeds, and the gain over ``plain`` with its spread over seeds."""
    rows: list[dict[str, object]] = []
    plain, best = found.get("plain"), choice(found)
    for way, runs in found.items():
        for kind in runs[0]:
            values = np.array([run[kind] for run in runs])
            row: dict[str, object] = {"what": f"{on}, {way}, {kind}", "value": round(float(values.mean()), 4)}
            row |= {"unit": "CPU s" if kind == "seconds" else "accuracy", "chosen": way == best}
            if plain is not None and way != "plain":
                before = np.array([run[kind] for run in plain])
                row |= {"ratio": round(float(values.mean() / before.mean()), 4), "against": "plain"}
                row["gains"] = [round(float(gain), 4) for gain in values - before]
            rows.append(row)
    return rows


def choice(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The way that reads perturbed validation rows best, of those that read clean ones no worse than plain; or plain."""

    def mean(way: str, kinds: Sequence[str]) -> float:
        return float(np.mean([run[f"valid {kind}"] for run in found[way] for kind in kinds]))

    if "plain" not in found:
        return ""
    able = [way for way in found if mean(way, ["clean"]) >= mean("plain", ["clean"])]
    return max(able, key=lambda way: mean(way, tuple(PERTURBATIONS)))


def earlier(files: Sequence[Path]) -> dict[str, list[dict[str, float]]]:
    """The runs of each way, by their seeds, from the JSON lines of earlier calls."""
    lines = [line for file in files for line in file.read_text(encoding="utf8").splitlines() if line.startswith("{")]
    found: dict[str, list[dict[str, float]]] = {}
    for run in sorted(map(json.loads, lines), key=lambda run: (run["way"] != "plain", run["way"], run["seed"])):
        found.setdefault(run["way"], []).append({k: v for k, v in run.items() if k not in ("way", "seed", "suspects")})
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", type=Path, default=Path("../shared/models"))
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--on", choices=sorted(SETS), default="sst2")
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--flip", type=float, default=0.0, help="share of training rows that get a wrong label")
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="what earlier calls wrote to stderr")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    if chosen.runs:
        found: Mapping[str, Sequence[Mapping[str, float]]] = earlier(chosen.runs)
    else:
        prepared = rows_of(chosen.data, chosen)
        found = {way: [trained(prepared, way, seed, chosen) for seed in chosen.seeds] for way in chosen.ways}
    rows = table(found, chosen.on)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    if chosen.json:
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    for row in rows:
        print(f"{row['what']:60} {row['value']:8.4f} {'*' if row['chosen'] else ' '} {row.get('gains', '')}")


if __name__ == "__main__":
    main()
