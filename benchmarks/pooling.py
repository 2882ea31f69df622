"""What a linear head can read from a frozen base: its first token, or the mean of all its tokens.

    python benchmarks/pooling.py [--base minilm] [--rows FILE --task text-classification] [--quick] [--data DIR] [--json]

Accuracy over five folds of the sample rows (40 a class), or of ``--rows``. It is the measurement behind ``pooling=auto``.
``--quick`` takes one fold; ``--data`` is accepted like everywhere and not needed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.resources import files

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn

from luban import bases
from luban.config import PrepareConfig, TrainConfig
from luban.stages.prepare import prepare
from luban.stages.train.material import encode
from luban.stages.train.model import build
from luban.stages.train.pooling import first_and_mean
from luban.stages.train.probe import fit
from luban.tasks import TASKS

FOLDS = 5


def accuracy(features: Tensor, targets: Tensor, task: object, folds: int) -> float:
    """Mean accuracy of a probe on the rows it did not see."""
    fold = torch.arange(len(targets)) % FOLDS
    right = []
    for k in range(folds):
        seen, held = fold != k, fold == k
        probe = nn.Linear(features.shape[1], task.outputs)  # type: ignore[attr-defined]
        fit(probe, features[seen], targets[seen], torch.ones(int(seen.sum())), task.loss)  # type: ignore[attr-defined]
        right.append((probe(features[held]).argmax(1) == targets[held]).float().mean().item())
    return sum(right) / len(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--rows", default=str(files("luban") / "samples" / "customer-service-en.csv"))
    parser.add_argument("--task", default="text-classification")
    parser.add_argument("--data")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = prepare(PrepareConfig(source=options.rows, valid_share=0.01), TASKS[options.task])
    base = bases.find(options.base)
    material = encode(rows, base, TrainConfig(task=options.task))
    model = build(base.path, material.task, dropout=0.0)
    targets = torch.stack([torch.from_numpy(example.target) for example in material.examples])
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(1))
    read = dict(
        zip(("first token", "mean"), first_and_mean(model, material.examples, material.encoder.pad_id), strict=True)
    )
    folds = 1 if options.quick else FOLDS
    found = {name: accuracy(values[order], targets[order], material.task, folds) for name, values in read.items()}
    against = found["first token"]
    told = [
        {
            "what": name,
            "value": round(value, 4),
            "unit": "accuracy",
            "ratio": round(value / against, 3),
            "against": "first token",
        }
        for name, value in found.items()
    ]
    if options.json:
        print(json.dumps({"machine": f"{platform.machine()}, {os.cpu_count()} cores", "rows": told}))
        return
    for row in told:
        print(f"{row['what']:12} {row['value']:.4f}")


if __name__ == "__main__":
    main()
