"""From a config with zeros for 'automatic' to a schedule with numbers, by the rules that measurement found.

docs/training.md tells the measurements; docs/results.md the scores they lead to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luban.config import TrainConfig
from luban.encoding import Encoded
from luban.tasks.base import Task
from luban.training import Schedule, multiplies_bf16

ANSWER_EPOCHS = 3.0
"of questions with their texts; by custom, not measured here (docs/training.md)"
FEW = 2_000
"rows under which a classifier takes smaller steps: its probed head is nearly right and the body is easily spoilt"
RATES = {
    "lora": 1e-3, "dora": 1e-3, "adalora": 3e-3, "ia3": 1e-2, "bottleneck": 1e-3, "prompt": 3e-2, "prefix": 1e-2,
}  # fmt: skip
"what stands beside the base begins at nothing and has far to go; the head keeps the rate that it has beside a body that learns"
WRITER_EPOCHS = 3.0
CROSSING_RATE = 1e-4
"of a base with a decoder of its own; by custom"
FRESH_RATE, FRESH_EPOCHS = 3e-4, 8.0
"where what connects a decoder with its encoder starts from nothing"
PREFERENCE_RATE = 0.1
"of the rate at which answers are learnt: the same step goes further where a pair is pulled apart; by custom"
PRIVATE_EPOCHS, PRIVATE_RATE, PRIVATE_HEAD_RATE, PRIVATE_TOKENS = 20.0, 5e-4, 3e-2, 8192
"of a private run; its batches are not limited by sub-words, and are run in parts of so many"
DROPOUT = 0.1
LENGTH_SHARE = 0.995
"share of rows that one window must hold; the few longer ones are read in several windows"


def schedule(config: TrainConfig, task: Task, rows: int) -> Schedule:
    """The numbers of a run over ``rows`` windows."""
    tagger = task.tags_words and bool(task.parts)
    if config.private:
        return _private(config, task, rows)
    batch_rows = config.batch_rows or (64 if task.embeds else 16 if tagger or rows < FEW else 32)
    full = full_rate(task, rows)
    rate = config.rate or RATES.get(config.method, full) * (PREFERENCE_RATE if task.prefers else 1)
    batch_tokens = config.batch_tokens or batch_rows * (512 if task.embeds or task.generates else 128)
    return Schedule(
        epochs=config.epochs or passes(task, rows),
        rate=rate,
        head_rate=config.head_rate or (rate if task.generates else 3 * (full if config.method in RATES else rate)),
        batch_rows=batch_rows,
        batch_tokens=batch_tokens,
        micro_tokens=batch_tokens,
        warmup=config.warmup,
        decay=config.decay,
        layer_decay=config.layer_decay,
        clip=config.clip,
        smoothing=smoothing(config, task),
        bf16=in_bf16(config),
        seed=config.seed,
    )


def in_bf16(config: TrainConfig) -> bool:
    """Whether matrices are multiplied in bf16: where that is asked for, or this machine does it faster."""
    return config.precision == "bf16" or (config.precision == "auto" and multiplies_bf16())


def dropout(config: TrainConfig, task: Task) -> float:
    """What the body drops while it learns; nothing in a model that goes on from texts, unless that is asked for."""
    if config.dropout >= 0:
        return config.dropout
    return 0.0 if task.generates and not task.crosses else DROPOUT


def full_rate(task: Task, rows: int) -> float:
    """The peak rate of a body that learns whole."""
    if task.crosses:
        return FRESH_RATE if task.settings.get("warm") else CROSSING_RATE
    if task.sees or (task.tags_words and task.parts):
        return 3e-4
    if task.tags_words and not task.generates:
        return 1e-4
    return 3e-5 if rows < FEW and not (task.embeds or task.generates) else 5e-5


def _private(config: TrainConfig, task: Task, rows: int) -> Schedule:
    """Large batches and rates: the noise of a step is the same however many rows speak (Li et al. 2022,
    https://arxiv.org/abs/2110.05679), and the head has no start."""
    batch_rows = config.batch_rows or min(rows, max(64, min(1024, rows // 8)))
    rate = config.rate or RATES.get(config.method, PRIVATE_RATE)
    return Schedule(
        epochs=config.epochs or PRIVATE_EPOCHS,
        rate=rate,
        head_rate=config.head_rate or PRIVATE_HEAD_RATE,
        batch_rows=batch_rows,
        batch_tokens=config.batch_tokens or PRIVATE_TOKENS,
        micro_tokens=config.batch_tokens or PRIVATE_TOKENS,
        warmup=config.warmup,
        decay=config.decay,
        layer_decay=config.layer_decay,
        clip=config.clip,
        smoothing=smoothing(config, task),
        seed=config.seed,
    )


def smoothing(config: TrainConfig, task: Task) -> float:
    """A tenth where there are many classes to confuse; none for two classes, several labels, tags or numbers."""
    if config.smoothing >= 0:
        return config.smoothing
    widths = [part.end - part.begin for part in task.parts if part.name and part.kind == "label"]
    one = len(task.labels) > 2 and task.main_score == "accuracy"
    return 0.1 if one or (max(widths, default=0) > 2 and not task.tags_words) else 0.0


def passes(task: Task, rows: int) -> float:
    """Passes over the rows of a task."""
    if task.generates:
        return FRESH_EPOCHS if task.settings.get("warm") else WRITER_EPOCHS
    if not task.tags_words:
        return epochs(rows / max((part.end - part.begin for part in task.parts), default=task.outputs))
    return tagger_epochs(rows) if task.parts else ANSWER_EPOCHS


def epochs(rows_a_label: float) -> float:
    """Passes over the rows of a classifier: the fewer rows a label has, the more often they are seen."""
    return next((count for most, count in ((150, 8.0), (1_000, 4.0), (6_000, 3.0)) if rows_a_label <= most), 1.0)


def tagger_epochs(rows: int) -> float:
    """Passes over the rows of a tagger."""
    return next((count for most, count in ((1_000, 12.0), (5_000, 8.0), (30_000, 3.0)) if rows <= most), 2.0)


def window_length(lengths: Sequence[int], limit: int) -> int:
    """The longest window: that of nearly all rows, in steps of 8, between 16 and the model's limit."""
    longest = int(np.quantile(np.array(lengths), LENGTH_SHARE)) if len(lengths) else limit
    return int(min(limit, max(16, -(-longest // 8) * 8)))


def lengths_of(encoded: Sequence[Encoded]) -> list[int]:
    """Sub-words of each row's longest window."""
    return [max(len(window.ids) for window in row.windows) for row in encoded]
