"""Score a folder on rows: headline scores with intervals, the view of its task, slices by length, and what it costs.

It prints nothing and writes nothing; `report.write_report` makes the page and `Evaluation.as_json` the object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from luban.config import EvaluateConfig, parse
from luban.folder import Folder
from luban.metrics.classification import ClassScore
from luban.metrics.intervals import intervals, observed, within
from luban.pictures import thumbnail
from luban.predict import Predictor
from luban.records import Rows, Watch, unwatched
from luban.stages.evaluate.base import Aspect, Confusion, Mistake, Reliability, Slice, View
from luban.stages.evaluate.kinds import Kinds, by_kinds
from luban.stages.evaluate.pairs import against
from luban.stages.evaluate.recommend import beside
from luban.stages.evaluate.speed import answer_all, machine
from luban.stages.evaluate.unknown import Unknown, unknown_labels
from luban.stages.evaluate.unseen import unseen_places
from luban.stages.evaluate.views import no_rows, view_of
from luban.stored import Joined
from luban.tasks.base import Task
from luban.tasks.recommendation import Recommendation

SLICES = 5
SLICE_TIMES = 200
HISTORY = "reports/training.json"


@dataclass(frozen=True, slots=True)
class Unseen:
    """Scores of the ``rows`` whose text does not stand in the training part."""

    rows: int
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a folder is worth on some rows; `as_json` is the design's object, `detail` holds everything.

    ``main_score``: the score its task is judged by. ``table``: one row a class or entity type, ``averages`` under it.
    ``kind``: which `Prediction` field was scored. ``wrong``: how many rows have a mistake, the worst in ``mistakes``.
    ``slice_score``: what ``slices`` by length are scored with. ``naive``: the token-level weighted F1 that counts every
    O; never to be shown without ``entity_f1``. ``history``: points of the training run. ``unseen``: None unless
    training rows were given. ``kinds``: scores by what there is of rows of several kinds. ``aspects``: what there is to show
    of each of several questions. ``unknown``: gold labels the model was never taught. ``seconds`` and ``rows_per_second``:
    all rows in batches. ``latency_ms``: one row at a time.
    """

    task: str
    model: str
    fingerprint: str
    kind: str
    main_score: str
    rows: int
    rejects: int
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    seconds: float
    rows_per_second: float
    latency_ms: Mapping[str, float]
    bytes: int
    peak_bytes: int
    machine: str
    runtime: str
    slice_score: str
    table: tuple[ClassScore, ...] = ()
    averages: tuple[ClassScore, ...] = ()
    confusion: Confusion | None = None
    reliability: Reliability | None = None
    points: tuple[tuple[float, float], ...] = ()
    slices: tuple[Slice, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    wrong: int = 0
    naive: float | None = None
    unseen: Unseen | None = None
    aspects: Mapping[str, Aspect] = field(default_factory=dict)
    kinds: tuple[Kinds, ...] = ()
    unknown: Unknown = field(default_factory=lambda: Unknown(0, {}))
    history: tuple[Mapping[str, Any], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The object of `luban evaluate --json`; ``unseen`` only where training rows were given."""
        names = ("task", "model", "fingerprint", "rows", "rejects", "scores", "intervals", "seconds", "rows_per_second")
        out = {name: getattr(self, name) for name in (*names, "latency_ms", "bytes")}
        out |= {"scores": dict(self.scores), "latency_ms": dict(self.latency_ms)}
        out["unknown_labels"] = asdict(self.unknown)
        out["intervals"] = {name: list(interval) for name, interval in self.intervals.items()}
        if self.kinds:
            out["kinds"] = [asdict(one) for one in self.kinds]
        if self.unseen is not None:
            out["unseen"] = asdict(self.unseen)
        return out

    def detail(self) -> dict[str, Any]:
        """All of it as plain values, for reports/evaluation.json. It holds texts of the mistakes."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def evaluate(
    folder: Folder,
    rows: Rows,
    config: EvaluateConfig | None = None,
    *,
    watch: Watch = unwatched,
    rejects: int = 0,
    train_rows: Rows | None = None,
) -> Evaluation:
    """Score a folder on canonical, labelled rows.

    ``rejects``: rows of the source that could not be parsed. ``train_rows``: when given, rows whose text stands among
    them are also left out in `Evaluation.unseen`. Raises `DataError` without rows, `ParityError` for a broken folder.
    """
    config = config or parse(EvaluateConfig, {})
    if not rows:
        raise no_rows()
    predictor = Predictor.open(folder, threads=config.threads or None, stage="evaluate")
    rows = predictor.task.completed(rows, rows if train_rows is None else Joined(train_rows, rows))
    predictions, cost = answer_all(predictor, rows, watch)
    predictions = against(predictor, rows, predictions, config)
    view = view_of(rows, predictions, folder.manifest.labels)
    if isinstance(predictor.task, Recommendation):
        view = beside(view, predictor.task, rows, train_rows or ())
        train_rows = None  # whether a history is new says nothing
    own = shown(view, config.worst)
    return Evaluation(
        task=folder.manifest.task,
        model=folder.manifest.name,
        fingerprint=folder.manifest.fingerprint,
        runtime=folder.manifest.runtime,
        main_score=headline(predictor.task, view),
        rejects=rejects,
        scores=all_scores(predictor.task.score(rows, predictions), view),
        intervals=bounds(view, config),
        seconds=cost.seconds,
        rows_per_second=len(rows) / cost.seconds,
        latency_ms={"p50": cost.p50, "p99": cost.p99},
        bytes=folder.bytes,
        peak_bytes=cost.peak_bytes,
        machine=machine(config.threads),
        slices=slices(view, [p.tokens for p in predictions], seed=config.seed),
        kinds=by_kinds(view, rows, seed=config.seed) if predictor.task.fuses else (),
        unseen=None if train_rows is None else within_unseen(view, unseen_places(rows, train_rows), config),
        unknown=unknown_labels(rows, folder.manifest.labels),
        history=history(folder),
        **{**own, "mistakes": with_pictures(own["mistakes"], rows)},
    )


def headline(task: Task, view: View) -> str:
    """The score these rows are judged by: the task's, or the view's where the rows are of another kind (pairs with scores)."""
    return task.main_score if task.main_score in observed_scores(view) else view.slice_score


def shown(view: View, worst: int) -> dict[str, Any]:
    """The fields of an `Evaluation` that are the view's own, with the ``worst`` mistakes."""
    names = (
        "kind",
        "rows",
        "slice_score",
        "table",
        "averages",
        "confusion",
        "reliability",
        "points",
        "naive",
        "aspects",
    )
    own = {name: getattr(view, name) for name in names}
    return own | {"mistakes": view.mistakes[:worst], "wrong": len(view.mistakes)}


def with_pictures(mistakes: Sequence[Mistake], rows: Rows) -> tuple[Mistake, ...]:
    """The mistakes, each with a small copy of its picture where the rows are pictures."""
    if not mistakes or "image" not in rows[0]:
        return tuple(mistakes)
    seen = {one.row: rows[one.row - 1].get("image") for one in mistakes}
    return tuple(replace(one, picture=thumbnail(str(seen[one.row]))) if seen[one.row] else one for one in mistakes)


def all_scores(own: Mapping[str, float], view: View) -> dict[str, float]:
    """The task's ``own`` scores, then those that only the view knows."""
    return {**own, **{name: v for name, v in {**observed_scores(view), **view.extra}.items() if name not in own}}


def observed_scores(view: View) -> dict[str, float]:
    """Scores of the rows by the view's statistic; those that have no value here are left out."""
    return {name: value for name, value in observed(view.statistic, view.rows).items() if np.isfinite(value)}


def bounds(view: View, config: EvaluateConfig) -> dict[str, tuple[float, float]]:
    """Intervals of the scores that the view can resample; those without any spread have none."""
    found = intervals(view.statistic, view.rows, shares=view.shares, times=config.bootstrap, seed=config.seed)
    return {name: bound for name, bound in found.items() if np.isfinite(bound).all()}


def within_unseen(view: View, places: Sequence[int], config: EvaluateConfig) -> Unseen:
    """Scores of some of the rows, by their indices; no scores where there are none."""
    if not places:
        return Unseen(0, {}, {})
    some = replace(view, statistic=within(view.statistic, np.array(places), view.rows), rows=len(places))
    return Unseen(len(places), observed_scores(some), bounds(some, config))


def slices(view: View, lengths: Sequence[int], *, seed: int = 13) -> tuple[Slice, ...]:
    """The score of about five equally full ranges of (n,) lengths in sub-words; equal lengths stay together."""
    counted = np.array(lengths)
    edges = np.unique(np.quantile(counted, np.linspace(0, 1, SLICES + 1)[1:-1], method="lower"))
    place = np.searchsorted(edges, counted, side="left")
    out = []
    for i in np.unique(place):
        chosen = np.flatnonzero(place == i)
        part = within(view.statistic, chosen, view.rows)
        score = observed(part, len(chosen))[view.slice_score]
        low, high = intervals(part, len(chosen), shares=view.shares, times=SLICE_TIMES, seed=seed)[view.slice_score]
        bound = (low, high) if np.isfinite((low, high)).all() else None
        out.append(Slice(int(counted[chosen].min()), int(counted[chosen].max()), len(chosen), score, bound))
    return tuple(out)


def history(folder: Folder) -> tuple[Mapping[str, Any], ...]:
    """The points of the training run that made the folder, or none."""
    file = folder.path / HISTORY
    if not file.is_file():
        return ()
    points = json.loads(file.read_text(encoding="utf8"))
    return tuple(point for point in points if isinstance(point, dict)) if isinstance(points, list) else ()
