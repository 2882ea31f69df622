"""Scores of recommendations over a whole catalogue, and what they are held against; numpy only, knows no model.

Every item that was not taken yet is a candidate. Ranking the right one among a few sampled others instead would order
models differently (Krichene & Rendle 2020, "On Sampled Metrics for Item Recommendation").
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CUT = 10
KEPT = 1_000
"items whose neighbours are remembered: the popular ones are asked for again and again"


def rank_of(scores: NDArray[np.number[Any]], history: Sequence[int], right: int) -> int:
    """The rank, from 1, of the item ``right`` by (n,) scores among all that are not in the history.

    Ties count against it: a scorer that says the same of everything finds nothing.
    """
    open_ = np.ones(len(scores), dtype=bool)
    open_[list(history)] = False
    open_[right] = False
    return int((scores[open_] >= scores[right]).sum()) + 1


def found(ranks: Sequence[int] | NDArray[np.integer], cut: int = CUT) -> dict[str, Floats]:
    """Each score by row, (n,): with one right item, ``hit_rate@k``, ``ndcg@k`` and ``mrr`` follow from its rank alone."""
    places = np.asarray(ranks, dtype=np.float64)
    hit = places <= cut
    return {
        f"hit_rate@{cut}": hit.astype(np.float64),
        f"ndcg@{cut}": np.where(hit, 1.0 / np.log2(1.0 + places), 0.0),
        "mrr": 1.0 / places,
    }


def coverage(lists: Sequence[Sequence[int]], items: int) -> float:
    """The share of the catalogue that some list recommends."""
    return len({item for one in lists for item in one}) / max(1, items)


def popularity(lists: Sequence[Sequence[int]], taken: NDArray[np.integer]) -> float:
    """How popular what is recommended is: the mean share of the catalogue that was taken less often, 0 to 1.

    The bias towards what everybody takes; after the average recommendation popularity of Yin et al. 2012, in ranks.
    """
    below = np.searchsorted(np.sort(taken), taken, side="left") / max(1, len(taken))
    told = [float(below[list(one)].mean()) for one in lists if len(one)]
    return float(np.mean(told)) if told else 0.0


class Neighbours:
    """Item-kNN: the cosine of two items is how many took both, over the root of how many took each (Sarwar et al. 2001).

    All neighbours count, not the nearest few: on the data it was measured on that is the stronger baseline.
    """

    def __init__(self, histories: Sequence[Sequence[int]], items: int) -> None:
        self.histories = [np.unique(np.asarray(one, dtype=np.int64)) for one in histories]
        self.items = items
        flat = np.concatenate([np.zeros(0, dtype=np.int64), *self.histories])
        owner = np.repeat(np.arange(len(self.histories)), [len(one) for one in self.histories])
        order = np.argsort(flat, kind="stable")
        self.owners = owner[order]
        self.taken = np.bincount(flat, minlength=items)
        self.ends = np.concatenate([[0], np.cumsum(self.taken)])
        self.rows: OrderedDict[int, Floats] = OrderedDict()

    def cosines(self, item: int) -> Floats:
        """The cosine of one item with each, (n,); 0 with itself."""
        if item in self.rows:
            self.rows.move_to_end(item)
            return self.rows[item]
        users = self.owners[self.ends[item] : self.ends[item + 1]]
        both = np.concatenate([np.zeros(0, dtype=np.int64), *(self.histories[u] for u in users)])
        row: Floats = np.bincount(both, minlength=self.items) / np.sqrt(np.maximum(1.0, self.taken[item] * self.taken))
        row[item] = 0.0
        self.rows[item] = row
        if len(self.rows) > KEPT:
            self.rows.popitem(last=False)
        return row

    def scores(self, history: Sequence[int]) -> Floats:
        """The sum of each item's cosines with the history's, (n,)."""
        total = np.zeros(self.items)
        for item in history:
            total += self.cosines(item)
        return total
