"""The views of answers that are vectors, and of passages put in order: what a search finds, beside what plain words find.

Scored rows (of two texts and how near they are) are judged by correlation. ``floor_...`` are the scores of TF-IDF on the
same rows: a model that does not beat them is not worth its arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luban.metrics.intervals import correlation_of, mean_of
from luban.metrics.ranking import Ranks, TfIdf, found, ranks_of
from luban.metrics.regression import spearman
from luban.records import Prediction, Rows
from luban.stages.evaluate.base import Mistake, View
from luban.tasks.embedding import Search, is_scored, searched

FLOOR_ROWS = 5_000
"rows on which the floor is found: it is asked one by one"


def look(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """Recall, MRR and NDCG of a search over the rows' passages; of scored rows the correlations."""
    if is_scored(rows):
        return _scored(rows, predictions)
    search = searched(rows, predictions)
    ranks = search.ranks()
    per = found(ranks)
    return View(
        kind="embedding",
        rows=len(rows),
        statistic=mean_of(**per),
        slice_score="mrr",
        right=per["mrr"] == 1.0,
        shares=("recall@1",) if all(len(right) == 1 for right in search.right) else (),
        mistakes=tuple(sorted(_mistakes(rows, search, ranks), key=lambda m: -m.cost)),
        extra=_floor(rows, search),
    )


def _scored(rows: Rows, predictions: Sequence[Prediction]) -> View:
    gold = np.array([float(row["score"]) for row in rows])
    near = np.array([float(p.score or 0.0) for p in predictions])
    statistic = correlation_of(gold, near)
    floor = TfIdf([str(row[name]) for row in rows for name in ("text", "text_pair")])
    words = [_dot(floor.vector(str(row["text"])), floor.vector(str(row["text_pair"]))) for row in rows]
    return View(
        kind="embedding",
        rows=len(rows),
        statistic=lambda counts: {name: value for name, value in statistic(counts).items() if name != "mae"},
        slice_score="spearman",
        right=None,
        mistakes=(),
        extra={"floor_spearman": spearman(gold, words)},
    )


def _dot(left: dict[str, float], right: dict[str, float]) -> float:
    return sum(value * right.get(term, 0.0) for term, value in left.items())


def _floor(rows: Rows, search: Search) -> dict[str, float]:
    """What TF-IDF finds among the same passages, evenly spaced rows of many."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), FLOOR_ROWS)).astype(int)).tolist()
    words = TfIdf(search.passages)
    ranks = [ranks_of(words.scores(str(rows[i]["text"])), search.right[i]) for i in chosen]
    return {f"floor_{name}": float(values.mean()) for name, values in found(ranks).items()}


def _mistakes(rows: Rows, search: Search, ranks: Ranks) -> list[Mistake]:
    """Queries whose right passage is not the first; the further down, the worse."""
    return [
        _mistake(rows, search, i, float(ranks[i][0])) for i in range(len(rows)) if len(ranks[i]) and ranks[i][0] > 1
    ]


def _mistake(rows: Rows, search: Search, i: int, rank: float) -> Mistake:
    scores = search.queries[i] @ search.vectors.T
    wrong = np.delete(np.arange(len(scores)), np.array(search.right[i]))
    nearest = int(wrong[scores[wrong].argmax()])
    return Mistake(
        row=i + 1,
        text=str(rows[i]["text"]),
        gold=str(rows[i]["text_pair"]),
        answer=search.passages[nearest],
        cost=rank,
    )
