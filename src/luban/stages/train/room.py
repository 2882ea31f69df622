"""What has to look at all rows at once, and whether the memory holds that: asked before any work; it measures nothing.

Everything else reads its rows from files (`cache`), or a sample of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from luban.config import TrainConfig
from luban.errors import ConfigError
from luban.records import Prepared
from luban.tasks import TASKS

WIDTH = 768
"numbers that a model makes of a row, where its configuration does not say"
WINDOWS = 4096
"bytes of a row's windows as Python objects, for what makes new ones of all rows"


@dataclass(frozen=True, slots=True)
class Holder:
    """What holds so many ``copies`` of a vector a row, and ``more`` bytes."""

    name: str
    copies: int
    more: int = 0


def check(config: TrainConfig, data: Prepared, base: Path) -> None:
    """Raises `ConfigError` where something that was asked for would need more memory than there is."""
    for holder in _holders(config, data):
        from luban.stages.train.forecast import SHARE, free_memory

        needed = len(data.train) * (holder.copies * _width(base) * 4 + holder.more)
        allowed = config.memory * 2**30 if config.memory else SHARE * free_memory()
        if needed > allowed:
            raise ConfigError(
                f"{holder.name} holds what the model makes of each of {len(data.train):,} rows in memory: "
                f"{needed / 2**30:.2f} GiB.",
                f"{allowed / 2**30:.2f} GiB may be used.",
                "Leave out what asks for it (--noisy, --negatives, --method prototypes; --method head keeps it on disk), "
                "or learn from fewer rows.",
            )


def _holders(config: TrainConfig, data: Prepared) -> list[Holder]:
    """What of this run holds all rows."""
    found = [Holder("prototypes", 2)] if config.method == "prototypes" else []
    found += [Holder("noisy", 4)] if config.noisy != "none" else []
    return found + ([Holder("negatives", 4, WINDOWS)] if TASKS[data.task].embeds and config.negatives else [])


def _width(base: Path) -> int:
    """Numbers in what the base makes of a row."""
    try:
        told = json.loads((base / "config.json").read_text(encoding="utf8"))
        return int(told.get("hidden_size") or WIDTH)
    except (OSError, ValueError, TypeError, AttributeError):
        return WIDTH
