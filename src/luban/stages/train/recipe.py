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

LENGTH_SHARE = 0.995
"share of rows that one window must hold; the few longer ones are read in several windows"


def schedule(config: TrainConfig, task: Task, rows: int) -> Schedule:
    """The numbers of a run over ``rows`` windows."""
    tagger = task.tags_words
    batch_rows = config.batch_rows or (16 if rows < 2_000 or tagger else 32)
    rate = config.rate or (3e-4 if tagger else 1e-4)
    return Schedule(
        epochs=config.epochs or epochs(rows, tagger=tagger),
        rate=rate,
        head_rate=config.head_rate or rate * 5,
        batch_rows=batch_rows,
        batch_tokens=config.batch_tokens or batch_rows * 128,
        micro_tokens=config.batch_tokens or batch_rows * 128,
        warmup=config.warmup,
        decay=config.decay,
        clip=config.clip,
        smoothing=config.smoothing,
        bf16=config.precision == "bf16" or (config.precision == "auto" and multiplies_bf16()),
        seed=config.seed,
    )


def epochs(rows: int, *, tagger: bool) -> float:
    """Few rows are seen more often: about 2,000 to 10,000 steps whatever their number."""
    for most, count in ((1_000, 10), (5_000, 8), (12_000, 6), (30_000, 4), (100_000, 3)):
        if rows <= most:
            return float(count)
    return 2.0


def window_length(lengths: Sequence[int], limit: int) -> int:
    """The longest window: that of nearly all rows, in steps of 8, between 16 and the model's limit."""
    longest = int(np.quantile(np.array(lengths), LENGTH_SHARE)) if len(lengths) else limit
    return int(min(limit, max(16, -(-longest // 8) * 8)))


def lengths_of(encoded: Sequence[Encoded]) -> list[int]:
    """Sub-words of each row's longest window."""
    return [max(len(window.ids) for window in row.windows) for row in encoded]
