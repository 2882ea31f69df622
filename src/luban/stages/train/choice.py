"""What of the model learns where no method was named: contrast and a head for few rows a class, all of it otherwise.

The rule is what `benchmarks/fewshot.py` found (docs/training.md). It was found on a base made to embed texts, and is kept to
such bases; where other options of learning are set, they speak of a model that learns whole.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from luban.bases import Base
from luban.config import TrainConfig
from luban.records import Chosen, Prepared, Watch

AUTO = "auto"
FEW_ROWS = 2_000
FEW_A_CLASS = 64
"rows of the commonest class; a hundred contrastive steps see some 6,400 texts"
EMBEDS = "modules.json"
"the file by which sentence-transformers says how a base's vectors are read"
NEUTRAL = {
    "task",
    "base",
    "method",
    "contrast_steps",
    "max_length",
    "pooling",
    "precision",
    "seed",
    "threads",
    "memory",
    "log",
}
"options that bear on no method, or on this one"


def chosen(config: TrainConfig, data: Prepared, base: Base, watch: Watch) -> TrainConfig:
    """The config with a method; ``watch`` is told where it is not the usual one."""
    if config.method != AUTO:
        return config
    rows = Counter(row["label"] for row in data.train) if may_contrast(config, data, base.path) else Counter()
    if not rows or max(rows.values()) > FEW_A_CLASS:
        return config.model_copy(update={"method": "full"})
    watch(Chosen("contrastive", rows=len(data.train), labels=len(rows)))
    return config.model_copy(update={"method": "contrastive"})


def may_contrast(config: TrainConfig, data: Prepared, base: Path) -> bool:
    """Whether contrast is a choice, before the rows of each class are counted."""
    usual = TrainConfig().model_dump(exclude=NEUTRAL)
    few = data.task == "text-classification" and 0 < len(data.train) <= FEW_ROWS
    alone = not len(data.unlabelled) and not len(data.texts)
    return few and alone and (base / EMBEDS).is_file() and config.model_dump(exclude=NEUTRAL) == usual
