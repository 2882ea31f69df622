"""Windows of models that write, alone or several in one that do not read each other: positions begin anew, and attention is
causal inside of each row.

Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination" (https://arxiv.org/abs/2107.02027). Whether a model
heeds the mask is checked where it is trained (`stages/train/packed`).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luban.encoding import Batch, Window


@dataclass(frozen=True, slots=True)
class Line(Window):
    """A window of a model that writes: it has no segments, which GPT-2 would read as words."""

    @staticmethod
    def batched(windows: Sequence[Any], pad_id: int) -> Batch:
        """``input_ids`` and ``attention_mask`` (b, n)."""
        arrays = Window.batched(windows, pad_id)
        return {name: arrays[name] for name in ("input_ids", "attention_mask")}


@dataclass(frozen=True, slots=True)
class Pack(Window):
    """A window of several rows; ``lengths`` are those of its rows, in order."""

    lengths: tuple[int, ...] = ()

    @staticmethod
    def batched(windows: Sequence[Any], pad_id: int) -> Batch:
        """``input_ids`` and ``position_ids`` (b, n), ``attention_mask`` (b, 1, n, n), true where a sub-word reads another.

        Padding is a row of its own: a sub-word that reads nothing at all would have no attention.
        """
        longest = max(len(window.ids) for window in windows)
        ids = np.full((len(windows), longest), pad_id, dtype=np.int64)
        rows, places = np.zeros_like(ids), np.zeros_like(ids)
        for i, window in enumerate(windows):
            lengths = [*window.lengths, longest - sum(window.lengths)]
            ids[i, : len(window.ids)] = window.ids
            rows[i] = np.repeat(np.arange(len(lengths)), lengths)
            places[i] = np.concatenate([np.arange(length) for length in lengths])
        mask = (rows[:, :, None] == rows[:, None, :]) & np.tri(longest, dtype=bool)
        return {"input_ids": ids, "attention_mask": mask[:, None], "position_ids": places}


def together(windows: Sequence[Window]) -> Pack:
    """One window of these."""
    ids, types = (np.concatenate([getattr(one, name) for one in windows]) for name in ("ids", "types"))
    return Pack(
        ids, types, tuple(span for one in windows for span in one.offsets), lengths=tuple(len(w.ids) for w in windows)
    )


def filled(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which rows go together: the longest first, each into the first pack that has room for it.

    The packs are the leaves of a tree whose nodes know the most room below them, so that a pack is found in logarithmic time.
    """
    leaves = 1 << max(0, len(lengths) - 1).bit_length()
    most = array("q", [room]) * (2 * leaves)
    packs: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        node = 1 if most[1] >= lengths[i] else leaves + len(packs)
        while node < leaves:
            node = 2 * node + (most[2 * node] < lengths[i])
        if node - leaves == len(packs):
            packs.append([])
        packs[node - leaves].append(i)
        most[node] -= lengths[i]
        while node > 1:
            node //= 2
            most[node] = max(most[2 * node], most[2 * node + 1])
    return packs
