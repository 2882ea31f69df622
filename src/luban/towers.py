"""A recommender as plain arrays: what an item is in a history and as a candidate, and how much the latest weigh; numpy only.

A user is the weighted sum of the vectors of what they took, so that what each item adds to a score is known exactly. It
learns nothing and reads no text: `stages/train/recommender` makes the arrays, the folder's encoder reads texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from luban.errors import FolderError

Floats = NDArray[np.float32]
ITEMS, TOWERS, USERS = "items.jsonl", "towers.safetensors", "users.jsonl"
"files of a recommender's folder: what can be recommended, the arrays, and histories where they are kept"
ARRAYS = ("history", "candidates", "bias", "recency", "reading", "centre")


@dataclass(frozen=True, slots=True)
class Towers:
    """``history`` (n, d): each item's vector as a part of a history; ``candidates`` (n, d) and ``bias`` (n,): as what may
    come next. ``recency`` (h,): weights before the softmax, the latest item's first. A text's vector v (hidden,) is as a
    part of a history ``(v - centre) @ reading``."""

    history: Floats
    candidates: Floats
    bias: Floats
    recency: Floats
    reading: Floats
    centre: Floats

    def weights(self, count: int) -> Floats:
        """What each of ``count`` items counts for, in the order they were taken; they sum to 1."""
        raw = self.recency[:count][::-1].astype(np.float64)
        powers = np.exp(raw - raw.max(initial=-np.inf))
        return np.asarray(powers / powers.sum(), dtype=np.float32) if count else np.zeros(0, dtype=np.float32)

    def read(self, items: Sequence[int]) -> list[int]:
        """The items that are read: the latest, as many as there are weights."""
        return list(items[-len(self.recency) :])

    def user(self, items: Sequence[int]) -> Floats:
        """The vector (d,) of someone who took these items, in this order; zeros for none."""
        kept = self.read(items)
        return np.asarray(self.weights(len(kept)) @ self.history[kept], dtype=np.float32)

    def of_text(self, vector: Floats) -> Floats:
        """The vector (d,) of someone of whom only a text is known, by the encoder's vector (hidden,) of it."""
        return np.asarray((vector - self.centre) @ self.reading, dtype=np.float32)

    def scores(self, users: Floats) -> Floats:
        """How likely each item comes next, as logits: (n,) for a (d,) vector, (m, n) for (m, d)."""
        return np.asarray(users @ self.candidates.T + self.bias, dtype=np.float32)

    def parts(self, items: Sequence[int], candidate: int) -> Floats:
        """What each item that is read adds to a candidate's score: they and its bias sum to the score."""
        kept = self.read(items)
        return np.asarray(self.weights(len(kept)) * (self.history[kept] @ self.candidates[candidate]))

    def save(self, folder: Path) -> None:
        """Write `TOWERS`."""
        save_file({name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS}, str(folder / TOWERS))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What can be recommended: ``ids``, ``texts`` and how often each was ``taken`` in the training rows, (n,)."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    taken: NDArray[np.int64]
    index: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {name: i for i, name in enumerate(self.ids)})

    def lines(self) -> str:
        """The text of `ITEMS`."""
        rows = zip(self.ids, self.texts, self.taken.tolist(), strict=True)
        return "".join(json.dumps({"item": i, "text": t, "taken": n}, ensure_ascii=False) + "\n" for i, t, n in rows)


@dataclass(frozen=True, slots=True)
class Shop:
    """All a recommender needs beside its encoder; ``users``: histories by user, where the folder keeps them."""

    catalogue: Catalogue
    towers: Towers
    users: Mapping[str, tuple[str, ...]] | None = None

    @classmethod
    def open(cls, folder: Path) -> Shop:
        """Read a folder's files; raises `FolderError` where they are missing or do not fit each other."""
        try:
            rows = _lines(folder / ITEMS)
            catalogue = Catalogue(
                tuple(str(row["item"]) for row in rows),
                tuple(str(row["text"]) for row in rows),
                np.array([row["taken"] for row in rows], dtype=np.int64),
            )
            arrays = load_file(str(folder / TOWERS))
            towers = Towers(**{name: arrays[name] for name in ARRAYS})
            kept = folder / USERS
            users = {str(r["user"]): tuple(map(str, r["history"])) for r in _lines(kept)} if kept.is_file() else None
            _fits(catalogue, towers)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise FolderError(
                f"{folder} has no readable {ITEMS} and {TOWERS} ({error}).",
                "A recommender's folder holds its items and their vectors.",
                "Copy the whole folder again, or train it again.",
            ) from error
        return cls(catalogue, towers, users)

    def write(self, folder: Path) -> None:
        """Write the files into a folder that is being filled."""
        (folder / ITEMS).write_text(self.catalogue.lines(), encoding="utf8", newline="\n")
        self.towers.save(folder)
        if self.users is not None:
            rows = ({"user": user, "history": list(history)} for user, history in self.users.items())
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / USERS).write_text(text, encoding="utf8", newline="\n")


def _fits(catalogue: Catalogue, towers: Towers) -> None:
    items, size = len(catalogue.ids), towers.history.shape[1]
    shapes = {"history": (items, size), "candidates": (items, size), "bias": (items,), "centre": (len(towers.reading),)}
    for name, shape in shapes.items():
        if getattr(towers, name).shape != shape:
            raise ValueError(f"{name} has the shape {getattr(towers, name).shape} instead of {shape}")


def _lines(file: Path) -> list[dict[str, Any]]:
    # Not splitlines: JSON leaves U+2028 and its like in texts as they are.
    return [json.loads(line) for line in file.read_text(encoding="utf8").split("\n") if line]
