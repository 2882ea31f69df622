"""What a linear head can read from a frozen base: its first token, or the mean of all its tokens.

    python benchmarks/pooling.py [--base minilm] [--rows FILE --task text-classification] [--quick] [--data DIR] [--json]

Accuracy over five folds of the sample rows (40 a class), or of ``--rows``. It is the measurement behind ``pooling=auto``.
``--quick`` takes one fold; ``--data`` is accepted like everywhere and not needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.resources import files

import bench
import torch
from torch import Tensor, nn

from luban.config import TrainConfig
from luban.stages.train.material import encode
from luban.stages.train.model import build
from luban.stages.train.pooling import first_and_mean
from luban.stages.train.probe import fit
from luban.tasks.base import Task

FOLDS = 5


def accuracy(features: Tensor, targets: Tensor, task: Task, folds: int) -> float:
    """Mean accuracy of a probe on the rows it did not see."""
    fold = torch.arange(len(targets)) % FOLDS
    right = []
    for k in range(folds):
        seen, held = fold != k, fold == k
        probe = nn.Linear(features.shape[1], task.outputs)
        fit(probe, features[seen], targets[seen], torch.ones(int(seen.sum())), task.loss)
        right.append((probe(features[held]).argmax(1) == targets[held]).float().mean().item())
    return sum(right) / len(right)


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--base", default="minilm")
    out.add_argument("--rows", default=str(files("luban") / "samples" / "customer-service-en.csv"))
    out.add_argument("--task", default="text-classification")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        rows = bench.rows(options, options.task, {"source": options.rows}, valid_share=0.01)
        base = bench.base(options)
        material = encode(rows, base, TrainConfig(task=options.task))
        model = build(base.path, material.task, dropout=0.0)
        targets = torch.stack([torch.from_numpy(example.target) for example in material.examples])
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(1))
        read = first_and_mean(model, material.examples, material.encoder.pad_id)
        folds = 1 if options.quick else FOLDS
        first, mean = (accuracy(values[order], targets[order], material.task, folds) for values in read)
        ratio = round(mean / max(first, 1e-9), 3)
        found = [
            bench.line("first token", round(first, 4), "accuracy"),
            bench.line("mean", round(mean, 4), "accuracy", ratio, "first token"),
        ]
        bench.tell(options, found)


if __name__ == "__main__":
    main()
