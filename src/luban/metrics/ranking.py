"""Scores of a search: where the right passages stand among all; numpy only, knows no model.

Ties count against the right passage: a scorer that says the same of everything finds nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ranks = Sequence[NDArray[np.int64]]
"for each query the ranks, from 1, of the passages that are right for it, best first"

CUTS = (1, 5, 10)
BLOCK = 4_000_000
"scores held at a time: queries x passages"
PIECE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def ranks(queries: NDArray[np.floating], passages: NDArray[np.floating], right: Sequence[Sequence[int]]) -> Ranks:
    """Ranks of the ``right`` passages (indices, one list a query) by dot product; (n, d) queries, (m, d) passages."""
    piece = max(1, BLOCK // max(1, len(passages)))
    out: list[NDArray[np.int64]] = []
    for start in range(0, len(queries), piece):
        scores = queries[start : start + piece] @ passages.T
        out += [ranks_of(row, wanted) for row, wanted in zip(scores, right[start : start + piece], strict=True)]
    return out


def ranks_of(scores: NDArray[np.floating], right: Sequence[int]) -> NDArray[np.int64]:
    """Ranks of the candidates ``right`` by their (m,) scores, best first."""
    wanted = np.array(sorted(set(right)), dtype=np.int64)
    wrong = np.delete(scores, wanted)
    before = (wrong[None, :] >= scores[wanted][:, None]).sum(axis=1)
    return np.asarray(np.sort(before) + np.arange(1, len(wanted) + 1), dtype=np.int64)


def found(ranks: Ranks, cuts: Iterable[int] = CUTS) -> dict[str, Floats]:
    """Each score by query, (n,): ``recall@k``, ``mrr`` and ``ndcg@10``; a query without right passages scores 0."""
    per: dict[str, Floats] = {
        f"recall@{k}": np.array([float((r <= k).sum()) / max(1, len(r)) for r in ranks]) for k in cuts
    }
    per["mrr"] = np.array([1.0 / float(r[0]) if len(r) else 0.0 for r in ranks])
    per["ndcg@10"] = np.array([ndcg(r, 10) for r in ranks])
    return per


def ndcg(ranks: NDArray[np.int64], cut: int) -> float:
    """Normalised discounted cumulative gain of right-or-wrong passages (Järvelin & Kekäläinen 2002), 0 to 1."""
    best = np.arange(1, min(len(ranks), cut) + 1)
    gain = (1.0 / np.log2(1.0 + ranks[ranks <= cut])).sum()
    return float(gain / (1.0 / np.log2(1.0 + best)).sum()) if len(best) else 0.0


def shortened(vectors: NDArray[np.floating], size: int) -> NDArray[np.floating]:
    """The first ``size`` numbers of (n, d) vectors, brought to length 1 again: what Matryoshka training makes useful."""
    cut = vectors[:, :size]
    return np.asarray(cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12))


def mined(
    scores: NDArray[np.floating],
    own: Sequence[int],
    known: Sequence[set[int]],
    *,
    window: tuple[int, int],
    margin: float,
) -> list[list[int]]:
    """Hard negatives of each query: passages of the ranks ``window`` (first, last; from 1) among the wrong ones, best first.

    ``scores`` (n, m); ``own``: the right passage of each query; ``known``: all that are known to be right for it. A passage
    that comes within ``margin`` of the right one's score may be right and is left out (positive-aware mining: Moreira et
    al. 2024, "NV-Retriever"; hard negatives from the model itself: Xiong et al. 2021, "ANCE").
    """
    first, last = window
    out = []
    for row, mine, right in zip(scores, own, known, strict=True):
        order = np.argsort(-row, kind="stable")
        wrong = [int(j) for j in order[: last + len(right)] if int(j) not in right][first - 1 : last]
        out.append([j for j in wrong if row[j] <= row[mine] - margin])
    return out


class TfIdf:
    """What any search gives: TF-IDF over words and, for ideographs, single and paired signs, held as postings.

    Smooth inverse document frequencies and rows of length 1, as scikit-learn's `TfidfVectorizer` counts; terms that the
    passages lack say nothing.
    """

    def __init__(self, passages: Sequence[str]) -> None:
        counts = [Counter(terms(text)) for text in passages]
        documents = Counter(term for one in counts for term in one)
        self.size = len(passages)
        self.weight = {term: log((1 + self.size) / (1 + count)) + 1 for term, count in documents.items()}
        held: dict[str, tuple[list[int], list[float]]] = {term: ([], []) for term in documents}
        for i, text in enumerate(passages):
            for term, value in self.vector(text).items():
                held[term][0].append(i)
                held[term][1].append(value)
        self.postings = {term: (np.array(where), np.array(value)) for term, (where, value) in held.items()}

    def vector(self, text: str) -> dict[str, float]:
        """The text's terms with their weights; their squares sum to 1."""
        raw = {term: count * self.weight[term] for term, count in Counter(terms(text)).items() if term in self.weight}
        length = sqrt(sum(value * value for value in raw.values())) or 1.0
        return {term: value / length for term, value in raw.items()}

    def scores(self, text: str) -> Floats:
        """Cosine of a text with each passage, (m,)."""
        out = np.zeros(self.size)
        for term, value in self.vector(text).items():
            where, weights = self.postings[term]
            out[where] += value * weights
        return out


def terms(text: str) -> list[str]:
    """Words of two letters or more in lower case; ideographs one by one and in neighbouring pairs."""
    pieces = list(PIECE.finditer(text.lower()))
    single = [m[0] for m in pieces if len(m[0]) > 1 or not m[0].isascii()]
    pairs = [a[0] + b[0] for a, b in pairwise(pieces) if a.end() == b.start() and len(a[0] + b[0]) == 2]
    return single + pairs
