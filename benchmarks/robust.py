"""What each robust objective gives: accuracy on clean rows, and on the same rows with typos or with swapped words.

    python benchmarks/robust.py --data DIR [--on sst2|trec] [--ways WAY ...] [--seeds N ...] [--rows N] [--flip SHARE]
                                [--quick] [--json]
    python benchmarks/robust.py --runs FILE ...      one table of the lines that earlier runs wrote to stderr

A way is ``plain`` or options of training joined by commas, such as ``adversarial=fgm,adversarial_radius=0.003``. All ways of a
seed learn from the same rows, base, epochs and order; ``--flip`` gives a share of those rows a wrong label. Validation and test
rows are both judged, so that a radius can be chosen on the first and told on the second: the way marked as chosen has the best
mean accuracy on perturbed validation rows among those that are no worse than plain on clean ones.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import bench
import numpy as np

from luban.perturb import PERTURBATIONS
from luban.predict import Predictor
from luban.records import Prepared, Row

TASK = "text-classification"
SETS = {
    "sst2": {
        part: f"sent-en-sst2/{name}.tsv" for part, name in (("source", "train"), ("valid", "dev"), ("test", "test"))
    },
    "trec": bench.TREC,
}
WAYS = (
    "plain",
    "adversarial=fgm,adversarial_radius=0.001",
    "adversarial=fgm,adversarial_radius=0.003",
    "adversarial=fgm,adversarial_radius=0.01",
    "adversarial=freelb,adversarial_radius=0.003,adversarial_steps=2",
    "rdrop=1",
    "mixup=0.2",
)
DRAWS = 2
"perturbed versions of each row: one draw of typos says little"


def rows_of(chosen: argparse.Namespace) -> Prepared:
    """The set's rows, of which up to ``rows`` (evenly spread) are learnt from."""
    found = bench.rows(chosen, TASK, SETS[chosen.on])
    return bench.thinned(found, train=chosen.rows, valid=60 if chosen.quick else 500, test=60 if chosen.quick else 0)


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
    settings = {"epochs": chosen.epochs, "seed": seed, "threads": chosen.threads, "patience": 9, **options_of(way)}
    data = prepared
    if chosen.flip:
        data = replace(
            data, train=flipped(data.train, chosen.flip, seed), fingerprint=f"{data.fingerprint}:{chosen.flip}"
        )
    started = time.process_time()
    made = bench.learnt(chosen, data, chosen.scratch / f"{way}-{seed}", **settings)
    seconds = time.process_time() - started
    predictor, suspects = Predictor.open(made, check=False), made.manifest.notes.get("suspects")
    judged = {"valid": prepared.valid, "test": prepared.test}
    found = {f"{p} {kind}": value for p, rows in judged.items() for kind, value in accuracies(predictor, rows).items()}
    found["seconds"] = seconds
    bench.say(json.dumps({"way": way, "seed": seed, **found, "suspects": suspects}))
    return found


def table(found: Mapping[str, Sequence[Mapping[str, float]]], on: str) -> list[bench.Line]:
    """One row for each way and kind of text: the mean over seeds, and the gain over ``plain`` with its spread over seeds."""
    rows: list[bench.Line] = []
    plain, best = found.get("plain"), choice(found)
    for way, runs in found.items():
        for kind in runs[0]:
            values = np.array([run[kind] for run in runs])
            what = f"{on}, {way}, {kind}" + (" (chosen)" if way == best else "")
            row = bench.line(what, round(float(values.mean()), 4), "CPU s" if kind == "seconds" else "accuracy")
            if plain is not None and way != "plain":
                before = np.array([run[kind] for run in plain])
                row |= {"ratio": round(float(values.mean() / before.mean()), 4), "against": "plain"}
                row["gains"] = [round(float(gain), 4) for gain in values - before]
            rows.append({**row, "chosen": way == best})
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


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--base", default="minilm")
    out.add_argument("--on", choices=sorted(SETS), default="sst2")
    out.add_argument("--ways", nargs="*", default=list(WAYS))
    out.add_argument("--seeds", nargs="*", type=int, default=[1, 2])
    out.add_argument("--rows", type=int, default=1000)
    out.add_argument("--epochs", type=float, default=2)
    out.add_argument("--flip", type=float, default=0.0, help="share of training rows that get a wrong label")
    out.add_argument("--runs", nargs="*", type=Path, default=[], help="what earlier calls wrote to stderr")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as chosen:
        if chosen.quick:
            chosen.epochs, chosen.rows, chosen.seeds = 1, 200, chosen.seeds[:1]
        if chosen.runs:
            found: Mapping[str, Sequence[Mapping[str, float]]] = earlier(chosen.runs)
        else:
            prepared = rows_of(chosen)
            found = {way: [trained(prepared, way, seed, chosen) for seed in chosen.seeds] for way in chosen.ways}
        bench.tell(chosen, table(found, chosen.on))


if __name__ == "__main__":
    main()
