"""The view of recommendations: where the item that came next stands among all, beside what popularity and item-kNN find.

All baselines rank the same candidates, every item of the catalogue that is not in the history, for the same rows, and know
the same training histories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from luban.metrics.intervals import mean_of
from luban.metrics.recommending import CUT, Neighbours, found, rank_of
from luban.records import Prediction, Row, Rows
from luban.stages.evaluate.base import Mistake, View
from luban.tasks.recommendation import Recommendation, ranks

SHOWN = 3
"latest items of a history that a mistake shows"


def look(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """Hit rate, NDCG and MRR over the full catalogue."""
    places = ranks(predictions)
    per = found(places)
    missed = [_mistake(i, rows[i], predictions[i], place) for i, place in enumerate(places) if place > CUT]
    return View(
        kind="items",
        rows=len(rows),
        statistic=mean_of(**per),
        slice_score=f"ndcg@{CUT}",
        right=per[f"hit_rate@{CUT}"] == 1.0,
        shares=(f"hit_rate@{CUT}",),
        mistakes=tuple(sorted(missed, key=lambda m: -m.cost)),
    )


def beside(view: View, task: Recommendation, rows: Rows, learnt: Iterable[Row]) -> View:
    """The view with the scores of popularity and, where the histories that were ``learnt`` from are at hand, of item-kNN."""
    catalogue = task.shop.catalogue
    index, unknown = catalogue.index, len(catalogue.ids) + 1
    histories = [[index[item] for item in row.get("history") or () if item in index] for row in rows]
    right = [index.get(row["item"], -1) for row in rows]
    pairs = list(zip(histories, right, strict=True))
    popular = [rank_of(catalogue.taken, history, item) if item >= 0 else unknown for history, item in pairs]
    told = {"popular": popular}
    known = [[index[item] for item in row["history"] if item in index] for row in learnt]
    if known:
        near = Neighbours(known, len(catalogue.ids))
        told["knn"] = [
            rank_of(near.scores(history), history, item) if item >= 0 else unknown for history, item in pairs
        ]
    extra = {
        f"floor_{name}_{score}": float(values.mean())
        for name, places in told.items()
        for score, values in found(places).items()
    }
    return replace(view, extra={**view.extra, **extra})


def _mistake(place: int, row: Row, answer: Prediction, rank: int) -> Mistake:
    """An item that came next and stands too far down."""
    latest = [str(item) for item in (row.get("history") or ())[-SHOWN:]]
    first = answer.items[0].text if answer.items else ""
    return Mistake(row=place + 1, text=" · ".join(latest), gold=str(row["item"]), answer=first, cost=float(rank))
