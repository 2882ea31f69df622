"""Equal and nearly equal texts among many: exact by normalised text, near by MinHash; numpy only.

MinHash and its bands: Broder, On the resemblance and containment of documents, 1997; Leskovec, Rajaraman, Ullman,
Mining of Massive Datasets, chapter 3. Candidates are verified on their shingles: nothing is reported that is not near.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHINGLE = 4
HASHES, BANDS = 64, 16
SHORTEST = 12
"characters under which a text is only ever compared exactly: too few shingles to speak of nearness"
BLOCK = 2**20
Signatures = NDArray[np.uint32]


def exact(keys: Sequence[str]) -> dict[int, int]:
    """Index of each later copy to the index of its first; ``keys`` are normalised texts."""
    first: dict[str, int] = {}
    return {i: first[key] for i, key in enumerate(keys) if first.setdefault(key, i) != i}


def near(keys: Sequence[str], *, threshold: float = 0.85, seed: int = 13) -> list[tuple[int, int, float]]:
    """Pairs (earlier, later, similarity) of different texts whose shingles' Jaccard similarity reaches ``threshold``.

    Each text is paired with at most a few earlier ones, so that a thousand variants of one text give about a thousand
    pairs, not half a million. Time grows with the characters, not with the pairs of rows.
    """
    copies = exact(keys)
    chosen = [i for i, key in enumerate(keys) if i not in copies and len(key) >= SHORTEST]
    if len(chosen) < 2:
        return []
    signatures = _signatures([keys[i] for i in chosen], seed)
    pairs: dict[tuple[int, int], float] = {}
    for a, b in sorted(_candidates(signatures)):
        agreement = float((signatures[a] == signatures[b]).mean())
        if agreement >= threshold - 0.2:
            similarity = _jaccard(keys[chosen[a]], keys[chosen[b]])
            if similarity >= threshold:
                pairs[chosen[a], chosen[b]] = similarity
    return [(a, b, similarity) for (a, b), similarity in sorted(pairs.items())]


def _signatures(texts: Sequence[str], seed: int) -> Signatures:
    """(n, HASHES) minima of the shingles' hashes, block by block of characters."""
    generator = np.random.default_rng(seed)
    factors = generator.integers(1, 2**63, HASHES, dtype=np.uint64) | np.uint64(1)
    offsets = generator.integers(0, 2**63, HASHES, dtype=np.uint64)
    out = np.empty((len(texts), HASHES), dtype=np.uint32)
    start = size = 0
    for i, text in enumerate(texts):
        size += len(text)
        if size >= BLOCK or i == len(texts) - 1:
            out[start : i + 1] = _block(texts[start : i + 1], factors, offsets)
            start, size = i + 1, 0
    return out


def _block(texts: Sequence[str], factors: NDArray[np.uint64], offsets: NDArray[np.uint64]) -> Signatures:
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    lengths = np.array([len(text) for text in texts])
    ends = np.cumsum(lengths)
    hashes = np.zeros(len(codes) - SHINGLE + 1, dtype=np.uint64)
    for i in range(SHINGLE):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + codes[i : len(codes) - SHINGLE + 1 + i]
    hashes ^= hashes >> np.uint64(29)
    inside = np.ones(len(codes), dtype=bool)
    for i in range(1, SHINGLE):
        inside[ends - i] = False
    inside = inside[: len(hashes)]
    starts = np.concatenate([[0], np.cumsum(lengths - SHINGLE + 1)[:-1]])
    hashes = hashes[inside]
    out = np.empty((len(texts), HASHES), dtype=np.uint32)
    for i in range(HASHES):
        mixed = ((hashes * factors[i] + offsets[i]) >> np.uint64(32)).astype(np.uint32)
        out[:, i] = np.minimum.reduceat(mixed, starts)
    return out


def _candidates(signatures: Signatures) -> set[tuple[int, int]]:
    """Pairs that agree in a whole band: each with the first and the one before it in its bucket."""
    pairs: set[tuple[int, int]] = set()
    width = HASHES // BANDS
    for band in range(BANDS):
        part = np.ascontiguousarray(signatures[:, band * width : (band + 1) * width])
        keys = part.view([("", part.dtype)] * width).ravel()
        order = np.argsort(keys, kind="stable")
        same = keys[order][1:] == keys[order][:-1]
        first = 0
        for at in np.flatnonzero(same):
            if at == 0 or not same[at - 1]:
                first = int(order[at])
            before, here = int(order[at]), int(order[at + 1])
            pairs |= {(first, here), (before, here)}
    return pairs


def _jaccard(a: str, b: str) -> float:
    first = {a[i : i + SHINGLE] for i in range(len(a) - SHINGLE + 1)}
    second = {b[i : i + SHINGLE] for i in range(len(b) - SHINGLE + 1)}
    return len(first & second) / len(first | second)
