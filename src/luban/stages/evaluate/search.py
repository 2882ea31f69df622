"""The views of answers that are vectors, and of passages put in order: what a search finds, beside what plain words find.

Scored rows (of two texts and how near they are) are judged by correlation. ``floor_...`` are the scores of TF-IDF on the
same rows: a model that does not beat them is not worth its arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from luban.errors import DataError
from luban.metrics.intervals import Statistic, auc_of, correlation_of, joined, mean_of, ratio_of
from luban.metrics.ranking import Ranks, TfIdf, found, ranks_of
from luban.metrics.regression import spearman
from luban.records import Prediction, Rows
from luban.stages.evaluate.base import Mistake, View
from luban.tasks.embedding import Search, is_scored, searched
from luban.tasks.rerank import candidate_lists, judged_pairs

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
        kind="similarity",
        rows=len(rows),
        statistic=lambda counts: {name: value for name, value in statistic(counts).items() if name != "mae"},
        slice_score="spearman",
        right=None,
        mistakes=(),
        extra={"floor_spearman": spearman(gold, words)},
    )


def ordered(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """Recall, MRR and NDCG within each query's candidates; of single passages the area under the ROC curve."""
    ranks, first = candidate_lists(rows, predictions)
    gold, stated = judged_pairs(rows, predictions)
    parts = [auc_of(gold == 1, stated)] if 0 < gold.sum() < len(gold) and len(gold) == len(rows) else []
    per = found(ranks)
    spread = {name: _on_rows(values, first, len(rows)) for name, values in per.items()}
    if not ranks and not parts:
        raise DataError(
            "no row tells a right passage from a wrong one.",
            "Rows are judged by their negatives, or by labels of both kinds (1 and 0).",
            "Name the column: --columns negatives=NAME or label=NAME.",
        )
    return View(
        kind="relevance",
        rows=len(rows),
        statistic=joined(
            *([_where_drawn(ratio_of(**spread), next(iter(spread.values()))[1])] if ranks else []), *parts
        ),
        slice_score="mrr" if ranks else "roc_auc",
        right=None,
        mistakes=tuple(
            sorted(
                (_out_of_order(rows, predictions, i, int(r[0])) for r, i in zip(ranks, first, strict=True) if r[0] > 1),
                key=lambda m: -m.cost,
            )
        ),
        extra=_floor_of_lists(rows, predictions),
    )


def _on_rows(
    values: NDArray[np.float64], first: Sequence[int], rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of lists as (n,) parts and wholes of the rows that the lists begin at; the other rows count for nothing."""
    part, whole = np.zeros(rows), np.zeros(rows)
    part[list(first)], whole[list(first)] = values, 1.0
    return part, whole


def _where_drawn(statistic: Statistic, whole: NDArray[np.float64]) -> Statistic:
    """The same statistic, undefined for a resample that drew no list."""

    def inner(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        drawn = counts @ whole > 0
        return {name: np.where(drawn, value, np.nan) for name, value in statistic(counts).items()}

    return inner


def _floor_of_lists(rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
    """The same scores with TF-IDF's cosines in the place of the model's answers."""
    texts = [text for row in rows for text in (row["text_pair"], *(row.get("negatives") or ()))]
    words = TfIdf(texts)
    said = []
    for row, answer in zip(rows, predictions, strict=True):
        query = words.vector(str(row["text"]))
        near = [_dot(query, words.vector(text)) for text in (row["text_pair"], *(row.get("negatives") or ()))]
        whole = answer.relevance is not None
        said.append(replace(answer, score=None if whole else near[0], relevance=tuple(near) if whole else None))
    ranks, _ = candidate_lists(rows, said)
    return {f"floor_{name}": float(values.mean()) for name, values in found(ranks).items()} if ranks else {}


def _out_of_order(rows: Rows, predictions: Sequence[Prediction], i: int, rank: int) -> Mistake:
    """A list whose right passage is not the first; where labelled rows make the list, the one it begins at is shown."""
    row, scores = rows[i], predictions[i].relevance or ()
    wrong = list(row.get("negatives") or ())
    nearest = wrong[int(np.argmax(scores[1:]))] if len(scores) > 1 else ""
    return Mistake(row=i + 1, text=str(row["text"]), gold=str(row["text_pair"]), answer=nearest, cost=float(rank))


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
