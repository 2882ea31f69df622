"""One text, several questions: one encoder and one linear head with a section for each question, so that one folder answers
them all at the cost of one pass, and loads in plain transformers.

The user names the questions and says what each is answered with (`KINDS`). A row answers some of them; what it does not
answer is masked, so that sources that were labelled for different purposes are learnt together. The head's outputs are named
``question:label``, and a number's by its question alone.

What a question counts: its weight times the share of rows that answer it turned round, so that a question that few rows
answer is learnt like one that all answer; no row counts for more than `RAREST` that answer all. The losses' weights sum to
one, as the single tasks' do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Encoded, TextEncoder, Window
from luban.errors import DataError
from luban.losses import Share, loss_of
from luban.metrics.classification import class_scores, multilabel_f1
from luban.metrics.regression import mae, pearson, spearman
from luban.questions import (
    KINDS,
    LABEL,
    LABELS,
    NUMBER,
    Question,
    Told,
    answer_in,
    check_questions,
    check_weights,
    kind_of,
    kinds,
    no_question,
    settings_of,
)
from luban.records import Prediction, Row, Rows
from luban.tasks.base import (
    TEXT,
    Column,
    Floats,
    HeadPart,
    Task,
    required_text,
    softmax,
    stitched,
    unknown_label,
)

if TYPE_CHECKING:
    import torch

    from luban.bases import Base
    from luban.config import TrainConfig

RAREST = 16.0
"rows of a small batch: one that alone answers its question must not outweigh all others of its batch"


class MultiTask(Task):
    """Rows of ``text`` and ``targets``: an object of questions, each with a label, a list of labels, a number, or null."""

    name = "multi-task"
    columns: ClassVar[tuple[Column, ...]] = (
        TEXT,
        Column("targets", "an object of questions and their answers", target=True),
    )
    model_class = "AutoModelForSequenceClassification"
    main_score = "mean_score"

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """The questions, in the head's order."""
        return tuple(Question(**{**one, "labels": tuple(one["labels"])}) for one in self.settings.get("questions", ()))

    @cached_property
    def parts(self) -> tuple[HeadPart, ...]:
        ends = np.cumsum([len(question.outputs) for question in self.questions]).tolist()
        return tuple(
            HeadPart(question.name, end - len(question.outputs), end, True, question.kind)
            for question, end in zip(self.questions, ends, strict=True)
        )

    @cached_property
    def pulls(self) -> tuple[float, ...]:
        """What a row's loss counts, question by question."""
        whole = sum(question.weight for question in self.questions)
        return tuple(question.weight * min(RAREST, 1.0 / question.share) / whole for question in self.questions)

    @property
    def units(self) -> Mapping[str, float]:
        return {question.name: question.spread for question in self.questions}

    @classmethod
    def asking(cls, questions: Mapping[str, str]) -> type[Self]:
        check_questions(questions)
        text, targets = MultiTask.columns
        own = [Column(name, f"the question {name}", required=False, target=True) for name in sorted(questions)]
        columns = (text, replace(targets, required=False), *own)
        return type(cls.__name__, (cls,), {"named": dict(questions), "columns": columns})

    @classmethod
    def reading(cls, settings: Row) -> dict[str, Any]:
        return {"questions": kinds(settings)}

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row: dict[str, Any] = {"text": required_text(record, "text")}
        if not labelled:
            return row
        told = record.get("targets")
        if told is None and cls.named:
            told = record
        if not isinstance(told, Mapping):
            raise DataError(
                f"{told!r:.60} is no object of questions and their answers.",
                "A row has a column for each question, or an object of them in targets.",
                "Name the questions: --questions intent=label,stars=number",
                column="targets",
            )
        kinds = cls.named or {name: kind_of(value) for name, value in told.items()}
        targets = {name: answer_in(told, name, kinds[name]) for name in sorted(kinds)}
        if all(value is None for value in targets.values()):
            raise DataError(
                "the row answers no question.",
                f"Of its questions it answers one at least: {', '.join(targets)}.",
                "Fill one in, remove the row, or set such rows aside with --no-strict.",
            )
        return row | {"targets": targets}

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        heard = {name: Told(name) for name in cls.named}
        count = 0
        for row in rows:
            count += 1
            for name, value in row["targets"].items():
                told = heard.setdefault(name, Told(name))
                if value is not None:
                    told.hear(value)
        if not heard:
            raise no_question()
        questions = [heard[name].question(count) for name in sorted(heard)]
        return cls([name for question in questions for name in question.outputs], None, settings_of(questions))

    def for_run(self, config: TrainConfig, base: Base) -> Self:
        check_weights(config.question_weights, [question.name for question in self.questions])
        weights = config.question_weights
        changed = [replace(question, weight=float(weights.get(question.name, 1.0))) for question in self.questions]
        return type(self)(self.labels, self.calibration, self.settings | settings_of(changed))

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        return encoder.text(row["text"])

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        """For each window: the class's number, each label's yes or no, or the number, question by question; NaN: unknown."""
        told = row["targets"]
        target = np.concatenate([self._target(question, told.get(question.name)) for question in self.questions])
        return [target for _ in encoded.windows]

    def unsaid(self, window: Window) -> NDArray[Any]:
        return np.full(sum(question.slots for question in self.questions), np.nan, dtype=np.float32)

    def _target(self, question: Question, value: Any) -> NDArray[np.float32]:
        if value is None:
            return np.full(question.slots, np.nan, dtype=np.float32)
        if question.kind == NUMBER:
            return np.array([(value - question.mean) / question.spread], dtype=np.float32)
        strange = {value} - set(question.labels) if question.kind == LABEL else set(value) - set(question.labels)
        if strange:
            error = unknown_label(min(strange), question.labels)
            raise DataError(error.fact, error.expected, error.remedy, column=question.name)
        if question.kind == LABEL:
            return np.array([question.labels.index(value)], dtype=np.float32)
        return np.array([label in value for label in question.labels], dtype=np.float32)

    def shares(self, values: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> list[Share]:
        out, begin = [], 0
        for question, part, pull in zip(self.questions, self.parts, self.pulls, strict=True):
            told = targets[:, begin : begin + question.slots]
            begin += question.slots
            known = ~told.isnan().any(1)
            said = told[known] if question.kind == LABELS else told[known, 0]
            said = said.long() if question.kind == LABEL else said
            smooth = question.kind == LABEL and len(question.labels) > 2
            out.append(Share(values[known], said, weights[known] * pull, part.begin, part.end, smooth))
        return out

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        losses = [
            loss_of(share.logits, share.targets, share.weights, smoothing * share.smooth)
            for share in self.shares(logits, targets, weights)
        ]
        return sum(losses[1:], start=losses[0])

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        logits = stitched(encoded, outputs)
        answers = {
            question.name: self._said(question, logits[part.begin : part.end])
            for question, part in zip(self.questions, self.parts, strict=True)
        }
        return Prediction(
            answers=answers, tokens=encoded.tokens, windows=len(encoded.windows), truncated=encoded.truncated
        )

    def _said(self, question: Question, logits: Floats) -> Prediction:
        if question.kind == NUMBER:
            return Prediction(value=float(logits[0]) * question.spread + question.mean)
        heated = logits / self.calibration.temperatures.get(question.name, 1.0)
        if question.kind == LABEL:
            chances = softmax(heated)
            best = int(chances.argmax())
            scores = dict(zip(question.labels, chances.tolist(), strict=True))
            return Prediction(label=question.labels[best], score=float(chances[best]), scores=scores)
        each = 1.0 / (1.0 + np.exp(-heated.astype(np.float64)))
        scores = dict(zip(question.labels, each.tolist(), strict=True))
        least = self.calibration.thresholds
        chosen = [label for label, p in scores.items() if p >= least.get(f"{question.name}:{label}", 0.5)]
        return Prediction(labels=tuple(chosen), scores=scores)

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Each question's scores, over the rows that answer it, under ``question.score``; first the mean of their main ones."""
        found: dict[str, float] = {}
        main = []
        for question in self.questions:
            gold, answers = answered(question.name, rows, predictions)
            if gold:
                scores = scores_of(question, gold, answers)
                main.append(scores[KINDS[question.kind]])
                found |= {f"{question.name}.{name}": value for name, value in scores.items()}
        return {"mean_score": sum(main) / max(1, len(main)), **found}


def answered(name: str, rows: Rows, predictions: Sequence[Prediction]) -> tuple[list[Any], list[Prediction]]:
    """What the rows that answer a question say to it, and what the model does."""
    pairs = zip(rows, predictions, strict=True)
    both = [(row["targets"][name], (p.answers or {})[name]) for row, p in pairs if row["targets"].get(name) is not None]
    return [gold for gold, _ in both], [answer for _, answer in both]


def scores_of(question: Question, gold: Sequence[Any], answers: Sequence[Prediction]) -> dict[str, float]:
    """The scores of one question's answers, as the task that asks it alone has them."""
    if question.kind == LABEL:
        return class_scores(gold, (answer.label for answer in answers), question.labels)
    if question.kind == LABELS:
        return multilabel_f1(
            [set(one) for one in gold], [set(answer.labels or ()) for answer in answers], question.labels
        )
    values = [float(answer.value or 0.0) for answer in answers]
    return {"spearman": spearman(gold, values), "pearson": pearson(gold, values), "mae": mae(gold, values)}
