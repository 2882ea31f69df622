"""A query and passages to a score each, so that the best stand first: a cross-encoder reads both texts together.

Rows hold a right passage and wrong ones, which are learnt as a list (`contrastive.first_of`), or a passage with a label, 1 or
0, which is learnt by itself. It finds no passages: an embedding model or a word search does, and this puts them in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luban.encoding import IGNORE, Encoded, TextEncoder, side_by_side
from luban.errors import ConfigError, DataError
from luban.metrics.classification import binary_auc
from luban.metrics.ranking import Ranks, TfIdf, found, mined, ranks_of
from luban.records import Prediction, Row, Rows
from luban.tasks.base import (
    NEGATIVES,
    PASSAGE,
    QUERY,
    Column,
    Floats,
    Task,
    required_number,
    required_text,
    stitched_apart,
    texts_in,
    window_targets,
)

if TYPE_CHECKING:
    import torch

    from luban.bases import Base
    from luban.config import TrainConfig

ANSWER = replace(PASSAGE, target=False)
LABEL = Column(
    "label", "whether the passage answers the query, 1 or 0", ("relevance", "is_relevant", "target", "标签"),
    required=False, target=True,
)  # fmt: skip
MOST_SEARCHED = 100_000
"rows whose passages are compared with each other: the time grows with the square of their number"
PASSAGES = Column("passages", "passages to be put in order, in the place of one", required=False)


class Rerank(Task):
    """Put passages in order: rows of ``text`` (the query), ``text_pair`` and ``negatives`` or ``label``."""

    name = "rerank"
    columns = (QUERY, ANSWER, NEGATIVES, LABEL, PASSAGES)
    model_class = "AutoModelForSequenceClassification"

    @property
    def main_score(self) -> str:  # type: ignore[override]
        """Mean reciprocal rank in the lists of candidates; where each query has one passage, the area under the ROC curve."""
        return "roc_auc" if self.settings.get("form") == "pairs" else "mrr"

    @property
    def parts(self) -> tuple[Any, ...]:
        """No class question is asked."""
        return ()

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row: dict[str, Any] = {"text": required_text(record, "text")}
        if not labelled and record.get("passages") is not None:
            return row | {"passages": _some(texts_in(record, "passages"))}
        row["text_pair"] = required_text(record, "text_pair")
        if "negatives" in record:
            row["negatives"] = texts_in(record, "negatives")
        if labelled and "label" in record:
            row["label"] = _right_or_wrong(record)
        return row

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        labels = {row["label"] for row in rows if row.get("label") is not None}
        if len(labels) == 2:
            return cls(settings={"form": "labelled" if _lists(rows) else "pairs"})
        if labels == {0.0} or len({row["text_pair"] for row in rows}) < 2:
            raise DataError(
                "no row tells a right passage from a wrong one.",
                "Rows need negatives, labels of both kinds (1 and 0), or different passages to take negatives from.",
                "Check that the right columns are read (--columns text_pair=NAME,label=NAME).",
                column="label",
            )
        return cls(settings={"form": "lists" if any(row.get("negatives") for row in rows) else "bare"})

    def for_run(self, config: TrainConfig, base: Base) -> Self:
        if self.settings["form"] == "bare" and not config.negatives:
            raise ConfigError(
                "The rows hold no wrong passages.",
                "A model that puts passages in order learns from right and wrong ones.",
                "Add a column negatives or label, or take them from the other rows by shared words: --negatives 8.",
            )
        ranks = [config.negatives_from, config.negatives_to]
        taken = {"negatives": config.negatives, "ranks": ranks} if self.settings["form"] == "bare" else {}
        return type(self)(self.labels, self.calibration, {**self.settings, **taken})

    def completed(self, rows: Rows, known: Rows) -> Rows:
        """The rows; where nothing tells right from wrong, with passages of ``known`` rows that share most words as wrong ones.

        The rows stand among those that are known.
        """
        if "negatives" not in self.settings or any(
            row.get("negatives") or row.get("label") is not None for row in rows
        ):
            return rows
        if len(known) > MOST_SEARCHED:
            raise ConfigError(
                f"There are {len(known):,} rows without wrong passages.",
                f"These are looked for among all passages, row by row, in at most {MOST_SEARCHED:,} rows.",
                "Give each row its own in a column negatives, or rows of both labels (1 and 0).",
            )
        passages = list(dict.fromkeys(str(row["text_pair"]) for row in known))
        place = {text: i for i, text in enumerate(passages)}
        right: dict[str, set[int]] = {}
        for row in known:
            right.setdefault(row["text"], set()).add(place[row["text_pair"]])
        words, count = TfIdf(passages), int(self.settings["negatives"])
        begin, end = self.settings["ranks"]
        out: list[Row] = []
        for row in rows:
            own, scores = place[row["text_pair"]], words.scores(row["text"])[None]
            # Shared words do not tell what is right, so the margin that guards against false negatives has no say here.
            (chosen,) = mined(scores, [own], [right[row["text"]]], window=(begin, end), margin=-np.inf)
            out.append({**row, "negatives": [passages[i] for i in chosen[:count]]})
        return out

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        """The query with each of its passages, apart."""
        if row.get("passages") is None:
            near = [row["text_pair"], *(row.get("negatives") or ())]
            return side_by_side([encoder.pair(row["text"], text) for text in near])
        encoded = side_by_side([encoder.pair(row["text"], text) for text in row["passages"]])
        return encoded if encoded.apart else replace(encoded, apart=(len(encoded.windows),))

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        if row.get("label") is not None and not encoded.apart:
            return window_targets(float(row["label"]), encoded)
        if not encoded.apart:
            return [np.array([1], dtype=np.int64) for _ in encoded.windows]
        return [np.array([1] + [0] * (len(encoded.apart) - 1), dtype=np.int64)]

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        scores = [_sigmoid(float(one[0])) for one in stitched_apart(encoded, outputs)]
        return Prediction(
            score=None if encoded.apart else scores[0],
            relevance=tuple(scores) if encoded.apart else None,
            tokens=encoded.tokens,
            windows=len(encoded.windows),
            truncated=encoded.truncated,
        )

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        lists, _ = candidate_lists(rows, predictions)
        scores = {name: float(values.mean()) for name, values in found(lists).items()} if lists else {}
        gold, stated = judged_pairs(rows, predictions)
        if 0 < gold.sum() < len(gold):
            scores["roc_auc"] = binary_auc(gold == 1, stated)
        return scores

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        """``logits`` (candidates of all rows, 1), row by row; ``targets`` (b,) labels or (b, k) lists, padded."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        from luban.contrastive import first_of

        if targets.ndim == 1:
            each = binary_cross_entropy_with_logits(logits.squeeze(-1), targets, reduction="none")
            return (each * weights).sum()
        scores = logits.new_zeros(targets.shape).masked_scatter(targets != IGNORE, logits.squeeze(-1))
        return (first_of(scores, targets) * weights).sum()

    def model_config(self) -> dict[str, Any]:
        return {"id2label": {0: "relevance"}, "label2id": {"relevance": 0}, "problem_type": "regression"}


def candidate_lists(rows: Rows, predictions: Sequence[Prediction]) -> tuple[Ranks, list[int]]:
    """Ranks of the right passages in each list of candidates, and the row each list begins at.

    A list is a row with negatives, or all labelled rows of one query; one without both kinds says nothing and is left out.
    """
    lists: dict[object, tuple[int, list[float], list[int]]] = {}
    for i, (row, answer) in enumerate(zip(rows, predictions, strict=True)):
        if answer.relevance is not None:
            lists[i] = (i, list(answer.relevance), [0])
        elif row.get("label") is not None:
            _, scores, right = lists.setdefault(row["text"], (i, [], []))
            right += [len(scores)] * (row["label"] > 0)
            scores.append(float(answer.score or 0.0))
    kept = [(at, scores, right) for at, scores, right in lists.values() if 0 < len(right) < len(scores)]
    return [ranks_of(np.array(scores), right) for _, scores, right in kept], [at for at, _, _ in kept]


def judged_pairs(rows: Rows, predictions: Sequence[Prediction]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and scores of the rows that hold one passage and a label."""
    pairs = [
        (int(row["label"]), float(answer.score))
        for row, answer in zip(rows, predictions, strict=True)
        if row.get("label") is not None and answer.score is not None
    ]
    return np.array([label for label, _ in pairs], dtype=np.int64), np.array([score for _, score in pairs])


def _lists(rows: Rows) -> bool:
    """Whether some query has a right and a wrong passage."""
    kinds: dict[str, set[float]] = {}
    for row in rows:
        kinds.setdefault(row["text"], set()).add(row["label"])
    return any(len(both) > 1 for both in kinds.values())


def _some(texts: list[str]) -> list[str]:
    if not texts:
        raise DataError(
            "there are no passages.", "At least one is to be put in order.", "Add passages.", column="passages"
        )
    return texts


def _right_or_wrong(record: Row) -> float:
    value = required_number(record, "label")
    if value not in (0.0, 1.0):
        raise DataError(
            f"the label is {value:g}.",
            "A passage answers the query (1) or does not (0).",
            "Make degrees 1 or 0, or train text-pair, which learns degrees.",
            column="label",
        )
    return value


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -60, 60))))
