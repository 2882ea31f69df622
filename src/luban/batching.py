"""In which batches examples are learnt: of similar length, in an order that is a function of the seed; it holds numbers alone.

An epoch's order takes 8 bytes an example.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from typing import overload

BUCKET = 64
"batches' worth of rows that are sorted by length together: enough to make padding vanish, few enough to keep order random"


class Batches(Sequence[list[int]]):
    """Batches of indices; ``starts``: where each begins in ``flat``; ``order``: which comes when."""

    def __init__(self, flat: array[int], starts: array[int], order: array[int]) -> None:
        self._flat, self._starts, self._order = flat, starts, order

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, place: int) -> list[int]: ...
    @overload
    def __getitem__(self, place: slice) -> list[list[int]]: ...
    def __getitem__(self, place: int | slice) -> list[int] | list[list[int]]:
        if isinstance(place, slice):
            return [self._batch(number) for number in self._order[place]]
        return self._batch(self._order[place])

    def __iter__(self) -> Iterator[list[int]]:
        return (self._batch(number) for number in self._order)

    def _batch(self, number: int) -> list[int]:
        end = self._starts[number + 1] if number + 1 < len(self._starts) else len(self._flat)
        return self._flat[self._starts[number] : end].tolist()


def bucketed(lengths: Sequence[int], rows: int, tokens: int, *, seed: int) -> Batches:
    """Indices in batches of similar length: at most ``rows`` rows and ``tokens`` padded tokens, order seeded."""
    rng = random.Random(seed)
    indices = array("i", range(len(lengths)))
    rng.shuffle(indices)
    flat, starts = array("i"), array("i")
    for at in range(0, len(indices), rows * BUCKET):
        count = head = 0
        for i in sorted(indices[at : at + rows * BUCKET], key=lambda i: -lengths[i]):
            if count in (0, rows) or (count + 1) * head > tokens:
                starts.append(len(flat))
                count, head = 0, lengths[i]
            flat.append(i)
            count += 1
    order = array("i", range(len(starts)))
    rng.shuffle(order)
    return Batches(flat, starts, order)


def micro_batches(batch: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """The batch in parts of at most ``tokens`` padded tokens (always at least one row)."""
    parts: list[list[int]] = []
    for i in sorted(batch, key=lambda i: -lengths[i]):
        if parts and (len(parts[-1]) + 1) * lengths[parts[-1][0]] <= tokens:
            parts[-1].append(i)
        else:
            parts.append([i])
    return parts
