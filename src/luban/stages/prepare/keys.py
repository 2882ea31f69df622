"""What makes rows equal, as 128-bit hashes instead of texts: 16 bytes a row; it reads no rows and drops none.

Two different texts of a billion get one hash with a probability of one in 10^21.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
"(2, n): the two halves of each row's hash"
NO_KEYS: Keys = np.zeros((2, 0), dtype=np.uint64)


class Keying:
    """Hashes on their way into an array."""

    def __init__(self) -> None:
        self._halves = array("Q")

    def add(self, text: str) -> None:
        self._halves.frombytes(blake2b(text.encode("utf8", "surrogatepass"), digest_size=16).digest())

    def keys(self) -> Keys:
        """Of all that was added, in order."""
        return np.ascontiguousarray(np.frombuffer(self._halves, dtype=np.uint64).reshape(-1, 2).T)


def keys_of(texts: Iterable[str]) -> Keys:
    """The hash of each text."""
    keying = Keying()
    for text in texts:
        keying.add(text)
    return keying.keys()


def firsts(keys: Keys) -> NDArray[np.int64]:
    """For each row the first one that is equal to it: itself where it is the first; (n,)."""
    order = np.lexsort(keys[::-1])
    new = np.ones(len(order), dtype=bool)
    if len(order):
        new[1:] = False
        for half in keys:
            ordered = half[order]
            new[1:] |= ordered[1:] != ordered[:-1]
    out = np.empty(len(order), dtype=np.int64)
    out[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]
    return out


def among(keys: Keys, known: Keys) -> NDArray[np.bool_]:
    """Whether each is one of those that are known; (n,)."""
    count = known.shape[1]
    return np.asarray(firsts(np.concatenate([known, keys], axis=1))[count:] < count, dtype=np.bool_)


def groups_of(linked: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The first row of each row's group, where ``linked`` (`firsts`, one for each way to be equal) says what goes together."""
    if len(linked) == 1:
        return linked[0]
    parent = array("q", range(len(linked[0])))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for first in linked:
        for i, j in enumerate(first.tolist()):
            a, b = root(i), root(j)
            parent[max(a, b)] = min(a, b)
    return np.array([root(i) for i in range(len(parent))], dtype=np.int64)
