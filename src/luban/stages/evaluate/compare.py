"""Which of two models is better on the same rows, and is it sure: paired bootstrap and McNemar's test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from luban.config import EvaluateConfig, parse
from luban.errors import ConfigError
from luban.folder import Folder
from luban.metrics.classification import with_unseen
from luban.metrics.intervals import Difference, mcnemar, observed, paired
from luban.predict import Predictor
from luban.records import Prediction, Progress, Rows, Watch, unwatched
from luban.stages.evaluate.base import View
from luban.stages.evaluate.evaluation import headline
from luban.stages.evaluate.pairs import against
from luban.stages.evaluate.views import no_rows, view_of

SURE = 0.05
SMALLER_IS_BETTER = frozenset({"mae"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same rows; differences are b - a.

    ``verdict``: ``a``, ``b`` or ``unsure``, by the p of ``score`` (< 0.05). ``mcnemar``: exact p that both answer
    equally many rows wholly right, None for numbers; it is also the p of the scores that are a share of such rows, and
    the paired bootstrap gives that of the others.
    """

    a: str
    b: str
    rows: int
    score: str
    scores_a: Mapping[str, float]
    scores_b: Mapping[str, float]
    differences: Mapping[str, Difference]
    mcnemar: float | None
    verdict: str

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `luban compare --json`."""
        return asdict(self)


def compare(
    a: Folder, b: Folder, rows: Rows, config: EvaluateConfig | None = None, *, watch: Watch = unwatched
) -> Comparison:
    """Ask both folders the same canonical rows; raises `ConfigError` where they answer different kinds of questions."""
    config = config or parse(EvaluateConfig, {})
    if a.manifest.task != b.manifest.task:
        raise ConfigError(
            f"{a.path} does {a.manifest.task} and {b.path} does {b.manifest.task}.",
            "Only models of the same task can be compared.",
            "Choose two models that answer the same question.",
        )
    if not rows:
        raise no_rows()
    labels = with_unseen(a.manifest.labels, b.manifest.labels)
    first, second = (view_of(rows, _answers(folder, rows, config, watch), labels) for folder in (a, b))
    return compared(
        first, second, names=(a.manifest.name, b.manifest.name), score=headline(a.task(), first), config=config
    )


def compared(first: View, second: View, *, names: tuple[str, str], score: str, config: EvaluateConfig) -> Comparison:
    """The comparison of two views of the same rows."""
    rows = first.rows
    gaps = paired(first.statistic, second.statistic, rows, times=config.bootstrap, seed=config.seed)
    exact = None if first.right is None or second.right is None else mcnemar(first.right, second.right)
    if exact is not None:
        gaps = {name: replace(gap, p=exact) if name in first.shares else gap for name, gap in gaps.items()}
    return Comparison(
        a=names[0],
        b=names[1],
        rows=rows,
        score=score,
        scores_a=observed(first.statistic, rows),
        scores_b=observed(second.statistic, rows),
        differences=gaps,
        mcnemar=exact,
        verdict=_verdict(gaps[score], score),
    )


def _verdict(gap: Difference, score: str) -> str:
    if gap.p >= SURE:
        return "unsure"
    return "b" if (gap.value > 0) != (score in SMALLER_IS_BETTER) else "a"


def _answers(folder: Folder, rows: Rows, config: EvaluateConfig, watch: Watch) -> list[Prediction]:
    predictor = Predictor.open(folder, threads=config.threads or None, stage="compare")
    out = []
    for prediction in predictor.stream(rows):
        out.append(prediction)
        if len(out) % 512 == 0 or len(out) == len(rows):
            watch(Progress(folder.manifest.name, len(out), len(rows)))
    return against(predictor, rows, out, config)
