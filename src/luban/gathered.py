"""Rows of several kinds at once: a text, a picture, numbers and categories, any of which may be missing; numpy only.

A canonical row holds ``text``, ``image``, ``number:NAME`` and ``category:NAME``; nothing stands where a value is missing.
A number is standardised by the training rows and comes with a flag that says whether it is missing; a category is the
place of its value in a vocabulary, where missing and unknown values have places of their own. It knows no model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Batch, Draw, Encoded, Ints, TextEncoder, Window
from luban.errors import DataError
from luban.pictures import PIXELS, Picture, PictureEncoder, Preprocessing
from luban.records import Row, Rows

Floats = NDArray[np.float32]
NUMBER, CATEGORY = "number:", "category:"
"stand before the names of fields in canonical rows"
TEXT, IMAGE = "text", "image"
NUMBERS, CATEGORIES, PRESENT = "numbers", "categories", "present"
"a model's inputs: (b, 2 numbers) values and flags, (b, categories) places, (b, 2) whether there is a text and a picture"
MISSING, UNKNOWN, KNOWN = 0, 1, 2
"places of a vocabulary: of no value, of one that training did not see, of the first that it saw"
BLANK = {"", "na", "n/a", "nan", "null", "none"}
"what stands in cells that hold no number"
MOST = 1000
"values of a category that are told apart, the most frequent ones; the others are unknown"
FARTHEST = 8.0
"spreads from the mean beyond which a number counts as no farther"
ONCE = 0.05
"share of times that a single field is hidden from a model that learns"
NOWHERE, NOTHING = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)


def field_name(column: str) -> str:
    """The name of a field that a canonical column holds; empty for any other column."""
    found = next((kind for kind in (NUMBER, CATEGORY) if column.startswith(kind)), "")
    return column.removeprefix(found) if found else ""


def number_in(record: Row, column: str) -> float | None:
    """The number of a cell, None where there is none; raises `DataError` for anything else."""
    value = record.get(column)
    if value is None or (isinstance(value, str) and value.strip().casefold() in BLANK):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.inf
    if math.isnan(number):
        return None
    if math.isinf(number):
        raise DataError(
            f"{value!r:.60} is no number.",
            f"The field {field_name(column)!r} holds finite numbers, written like 1234.5, or nothing.",
            "Mend it, leave it empty, or take the field as a category (--categories).",
            column=column,
        )
    return number


def category_in(record: Row, column: str) -> str | None:
    """The category of a cell as text, None where it is empty; raises `DataError` for lists and objects."""
    value = record.get(column)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, list | tuple | Mapping):
        raise DataError(
            f"{value!r:.60} is no category.",
            f"The field {field_name(column)!r} holds one value, or nothing.",
            "Mend it, or leave it empty.",
            column=column,
        )
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


@dataclass(frozen=True, slots=True)
class Table:
    """What training rows said of their fields: mean and spread of each number, the vocabulary of each category."""

    numbers: Mapping[str, tuple[float, float]]
    categories: Mapping[str, tuple[str, ...]]

    @classmethod
    def fit(cls, rows: Rows) -> Table:
        """Of canonical rows; fields that no row has a value for are left out."""
        seen: dict[str, list[float]] = {}
        counts: dict[str, Counter[str]] = {}
        for row in rows:
            for column, value in row.items():
                if value is not None and column.startswith(NUMBER):
                    seen.setdefault(column.removeprefix(NUMBER), []).append(float(value))
                elif value is not None and column.startswith(CATEGORY):
                    counts.setdefault(column.removeprefix(CATEGORY), Counter())[str(value)] += 1
        numbers = {name: (float(np.mean(seen[name])), float(np.std(seen[name])) or 1.0) for name in sorted(seen)}
        return cls(numbers, {name: _vocabulary(counts[name]) for name in sorted(counts)})

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Table:
        """As a manifest's settings keep it."""
        numbers = {name: (float(mean), float(spread)) for name, (mean, spread) in settings.get(NUMBERS, {}).items()}
        return cls(numbers, {name: tuple(values) for name, values in settings.get(CATEGORIES, {}).items()})

    @property
    def fields(self) -> tuple[str, ...]:
        """Canonical columns, numbers first, in the order of the model's inputs."""
        return (*(NUMBER + name for name in self.numbers), *(CATEGORY + name for name in self.categories))

    def as_json(self) -> dict[str, Any]:
        return {
            NUMBERS: {name: list(pair) for name, pair in self.numbers.items()},
            CATEGORIES: {name: list(values) for name, values in self.categories.items()},
        }

    def read(self, row: Row) -> tuple[Floats, Ints]:
        """A row's numbers (2n,), values before flags, and categories (m,)."""
        given = [row.get(NUMBER + name) for name in self.numbers]
        values = [
            0.0 if one is None else float(np.clip((float(one) - mean) / spread, -FARTHEST, FARTHEST))
            for one, (mean, spread) in zip(given, self.numbers.values(), strict=True)
        ]
        flags = [float(one is None) for one in given]
        places = [_place(row.get(CATEGORY + name), values) for name, values in self.categories.items()]
        return np.array([*values, *flags], dtype=np.float32), np.array(places, dtype=np.int64)


def _vocabulary(counts: Counter[str]) -> tuple[str, ...]:
    frequent = sorted(counts, key=lambda value: (-counts[value], value))[:MOST]
    return tuple(sorted(frequent))


def _place(value: Any, known: Sequence[str]) -> int:
    if value is None:
        return MISSING
    return known.index(value) + KNOWN if value in known else UNKNOWN


@dataclass(frozen=True, slots=True, eq=False)
class Gathered(Window):
    """One row, or a window of its text with all the rest of the row.

    ``ids`` are empty where the model reads no texts; ``blank``: those of an empty text. ``told``: whether there is a text.
    ``sight``: how the model sees pictures, None where it sees none. ``numbers`` and ``categories``: as `Table.read` gives
    them; ``fields``: their columns. ``hide``: share of times that the text, the picture, or all
    fields are hidden from a model that learns.
    """

    blank: Ints = field(default_factory=lambda: NOWHERE)
    told: bool = False
    picture: Picture | None = None
    sight: Preprocessing | None = None
    numbers: Floats = field(default_factory=lambda: NOTHING)
    categories: Ints = field(default_factory=lambda: NOWHERE)
    fields: tuple[str, ...] = ()
    hide: float = 0.0

    @property
    def length(self) -> int:
        return max(1, len(self.ids) + (self.picture.length if self.picture is not None else 0))

    @property
    def key(self) -> bytes:
        parts = (self.ids, self.types, self.numbers, self.categories, np.array(self.told))
        seen = self.picture.key if self.picture is not None else b""
        return b"|".join([*(part.tobytes() for part in parts), seen])

    @property
    def kinds(self) -> tuple[str, ...]:
        """What there is of the row: ``text``, ``image``, and the columns of fields that are not missing."""
        count = len(self.numbers) // 2
        there = [flag == 0 for flag in self.numbers[count:]] + [place != MISSING for place in self.categories]
        own = [TEXT] * self.told + [IMAGE] * (self.picture is not None)
        return (*own, *(name for name, is_there in zip(self.fields, there, strict=True) if is_there))

    def seen(self, draw: Draw) -> Gathered:
        """Another view of the picture; now and then the text, the picture, all fields or one are hidden, so that none is
        relied upon."""
        fresh = self if self.picture is None else replace(self, picture=self.picture.seen(draw))
        if not self.hide:
            return fresh
        rng, kinds = draw(), fresh.kinds
        of_field = 1.0 if rng.random() < self.hide else ONCE
        hidden = {kind for kind in kinds if rng.random() < (self.hide if kind in (TEXT, IMAGE) else of_field)}
        fresh = fresh.without(hidden) if len(hidden) < len(kinds) else fresh
        strange = (rng.random(len(fresh.categories)) < ONCE) & (fresh.categories != MISSING)
        return replace(fresh, categories=np.where(strange, UNKNOWN, fresh.categories)) if strange.any() else fresh

    def without(self, kinds: Collection[str]) -> Gathered:
        """The row as if these of its `kinds` were missing."""
        count = len(self.numbers) // 2
        gone = np.array([name in kinds for name in self.fields], dtype=bool)
        numbers = self.numbers.copy()
        numbers[:count][gone[:count]] = 0.0
        numbers[count:][gone[:count]] = 1.0
        left = replace(self, numbers=numbers, categories=np.where(gone[count:], MISSING, self.categories))
        if IMAGE in kinds:
            left = replace(left, picture=None)
        if TEXT in kinds and self.told:
            offsets = ((-1, -1),) * len(self.blank)
            left = replace(left, ids=self.blank, types=np.zeros_like(self.blank), offsets=offsets, told=False)
        return left

    def varied(self, number: int) -> Gathered:
        if self.told:
            middle, ids = len(self.ids) // 2, self.ids.copy()
            ids[middle] = (ids[middle] + number) % (int(self.ids.max()) + 1)
            return replace(self, ids=ids)
        if self.picture is not None:
            return replace(self, picture=self.picture.varied(number))
        return replace(self, numbers=self.numbers + np.float32(number / 1000))

    @staticmethod
    def batched(windows: Sequence[Any], pad_id: int) -> Batch:
        """The inputs of a model: those of texts and of pictures where it reads any, `NUMBERS`, `CATEGORIES`, `PRESENT`."""
        first = windows[0]
        batch: Batch = Window.batched(windows, pad_id) if len(first.blank) else {}
        if first.sight is not None:
            pixels = np.zeros((len(windows), 3, *first.sight.size), dtype=np.float32)
            for i, window in enumerate(windows):
                if window.picture is not None:
                    pixels[i] = first.sight.numbers(window.picture.pixels)
            batch[PIXELS] = pixels
        if len(first.numbers):
            batch[NUMBERS] = np.stack([window.numbers for window in windows]).astype(np.float32)
        if len(first.categories):
            batch[CATEGORIES] = np.stack([window.categories for window in windows])
        there = [(window.told, window.picture is not None) for window in windows]
        return {**batch, PRESENT: np.array(there, dtype=np.float32)}


class RowEncoder:
    """What reads rows of several kinds; ``text`` and ``pictures`` are None where the model reads none.

    ``limit``: longest window of a text in sub-words. ``hide``: as in `Gathered`.
    """

    def __init__(
        self, text: TextEncoder | None, pictures: PictureEncoder | None, table: Table, *, hide: float = 0.0
    ) -> None:
        self.text, self.pictures, self.table, self.hide = text, pictures, table, hide
        self.pad_id = text.pad_id if text is not None else 0

    @property
    def limit(self) -> int:
        return self.text.limit if self.text is not None else 0

    @limit.setter
    def limit(self, longest: int) -> None:
        if self.text is not None:
            self.text.limit = longest

    @property
    def tokenizer(self) -> Any:
        """That of the texts; of a model that reads none there is none to ask for."""
        return self.text.tokenizer if self.text is not None else None

    def row(self, row: Row) -> Encoded:
        """A canonical row; raises `DataError` where its picture cannot be read."""
        numbers, categories = self.table.read(row)
        source, blank = row.get(IMAGE), self._blank()
        picture = self.pictures.picture(str(source)) if source is not None and self.pictures is not None else None
        sight = self.pictures.how if self.pictures is not None else None
        told = row.get(TEXT) is not None and self.text is not None
        rest: dict[str, Any] = {
            "blank": blank, "told": told, "picture": picture, "sight": sight, "numbers": numbers,
            "categories": categories, "fields": self.table.fields, "hide": self.hide,
        }  # fmt: skip
        if not told or self.text is None:
            window = Gathered(blank, np.zeros_like(blank), ((-1, -1),) * len(blank), **rest)
            return Encoded((window,), "", 0)
        read = self.text.text(str(row[TEXT]))
        windows = tuple(Gathered(w.ids, w.types, w.offsets, w.weight, **rest) for w in read.windows)
        return Encoded(windows, read.text, read.tokens, read.truncated)

    def _blank(self) -> Ints:
        if self.text is None:
            return NOWHERE
        return np.concatenate([self.text.prefix, self.text.suffix]).astype(np.int64)
