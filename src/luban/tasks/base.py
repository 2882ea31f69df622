"""The contract of a task: everything luban must know about one kind of problem; no model and no file is opened here.

A task stands in one file, in two halves. The numpy half runs wherever the model is served and never imports torch:

    columns             which columns rows have; `parse` makes one canonical row of a raw record or says what is wrong
    fit(rows)           the task for these rows: discovers the labels
    encode(row, enc)    a row as windows of sub-words, or a picture
    targets(row, enc)   what the model should have said, one array a window
    decode(enc, out)    logits of the windows to a `Prediction`, with characters of the original text
    score(rows, preds)  the scores by their names in the design

The torch half is what training needs; torch is imported inside its functions:

    model_class         the transformers class that loads the folder
    model_config()      what goes into its config.json
    loss(logits, targets, weights)   the sum over the batch of weighted losses

`luban.testing.TaskContract` holds every task to this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from luban.cells import fit_labels as fit_labels
from luban.cells import labels_in as labels_in
from luban.cells import required_label as required_label
from luban.cells import required_number as required_number
from luban.cells import required_text as required_text
from luban.cells import texts_in as texts_in
from luban.cells import two_classes as two_classes
from luban.cells import unknown_label as unknown_label
from luban.columns import LABEL as LABEL
from luban.columns import NEGATIVES as NEGATIVES
from luban.columns import PASSAGE as PASSAGE
from luban.columns import QUERY as QUERY
from luban.columns import TEXT as TEXT
from luban.columns import WRITING as WRITING
from luban.columns import Column as Column
from luban.encoding import IGNORE, Encoded, TextEncoder, Window
from luban.errors import ConfigError, DataError
from luban.losses import Share
from luban.losses import class_loss as class_loss
from luban.losses import several_loss as several_loss
from luban.losses import squared_loss as squared_loss
from luban.metrics.classification import class_scores
from luban.records import Prediction, Row, Rows, texts

if TYPE_CHECKING:
    import torch

    from luban.bases import Base
    from luban.config import TrainConfig

Floats = NDArray[np.float32]
INTENT = "intent:"
"stands before an intent's name among the labels of a head that also gives tags, where O, B- and I- stand before slots"


@dataclass(frozen=True, slots=True)
class Calibration:
    """How logits become answers: ``temperature`` divides logits; ``thresholds`` by label (multi-label); scale of a value.

    ``temperatures`` by the name of a head's part, where a head answers several questions.
    """

    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    mean: float = 0.0
    spread: float = 1.0
    temperatures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeadPart:
    """One class question that a head answers with its outputs ``begin`` to ``end``.

    ``whole``: asked of the whole row; where outputs stand a sub-word, of the mean over the row's words. ``kind``: what the
    question is answered with, where a head answers several that the user named (`questions.KINDS`).
    """

    name: str
    begin: int
    end: int
    whole: bool
    kind: str = "label"


class Task(ABC):
    """One kind of problem; see the module's docstring for the contract. Immutable; ``labels`` in the model's order."""

    name: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    model_class: str
    main_score: str
    "the score that picks the best checkpoint; larger is better"
    tags_words: bool = False
    "whether outputs are one vector a sub-word (b, n, labels) instead of one a row (b, labels)"
    keeps_text: ClassVar[bool] = False
    "whether rows hold positions in their texts, which cleaning would move"
    sees: ClassVar[bool] = False
    "whether rows are pictures, which a `PictureEncoder` reads, instead of texts, which a `TextEncoder` reads"
    fuses: ClassVar[bool] = False
    "whether rows are gathered of texts, pictures and fields, which a `RowEncoder` reads"
    embeds: ClassVar[bool] = False
    "whether the model is the encoder alone, whose output is the text's vector (b, hidden): there is no head"
    generates: ClassVar[bool] = False
    "whether the answer is written sub-word by sub-word (`generation`): outputs are (b, n, vocabulary), and `written` decodes"
    crosses: ClassVar[bool] = False
    "whether what is read and what is written are two texts: an encoder reads one, and a decoder of its own writes the other"
    prefers: bool = False
    "whether rows are pairs of written answers, of which one is better (`preferences`)"
    recommends: ClassVar[bool] = False
    "whether rows are made of interactions of users with items, and answers are items"
    files: ClassVar[tuple[str, ...]] = ()
    "files of the folder that are the task's own, which an export takes along"
    forms: ClassVar[tuple[tuple[str, ...], ...]] = ()
    "sets of columns of which a source has one; empty: what is required is said column by column"
    named: ClassVar[Mapping[str, str]] = {}
    "the questions by kind that the user named of a source, where the task answers several"
    whole_batch: ClassVar[bool] = False
    "whether a row's loss depends on the batch's other rows, so that a batch cannot be divided"

    def __init__(
        self,
        labels: Sequence[str] = (),
        calibration: Calibration | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self.calibration = calibration or Calibration()
        self.settings = dict(settings or {})
        self.index = {label: i for i, label in enumerate(self.labels)}

    @property
    def outputs(self) -> int:
        """Width of the head."""
        return max(1, len(self.labels))

    @property
    def parts(self) -> tuple[HeadPart, ...]:
        """The class questions that the head answers, which a linear probe can start; none where it answers otherwise."""
        return (HeadPart("", 0, self.outputs, not self.tags_words),)

    def asked(self, values: Any, target: NDArray[Any]) -> list[tuple[Any, NDArray[np.int64]]]:
        """For each of `parts`: the values of one window that it is decided on, and what it should say.

        ``values``: features or logits of the window, numpy or torch: (width,), or (n, width) for a tagger. Given back are
        (decisions, width) and (decisions,).
        """
        if self.tags_words:
            return [(values[target != IGNORE], target[target != IGNORE])]
        return [(values[None], target[None])]

    def own_calibration(
        self, rows: Rows, encoded: Sequence[Encoded], logits: Sequence[Sequence[Floats]]
    ) -> Calibration | None:
        """What validation rows say about the logits, where that is neither a temperature nor thresholds of labels."""
        return None

    def shares(self, values: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> list[Share]:
        """What a batch says of each question that the head answers, for losses that treat every question alike.

        ``values``: logits, or features of the head, as the model gives them for the batch.
        """
        return [Share(values, targets, weights)]

    @classmethod
    def asking(cls, questions: Mapping[str, str]) -> type[Self]:
        """The task as it reads a source whose ``questions`` (name to kind) are named; raises `ConfigError`."""
        if questions:
            raise ConfigError(
                f"Questions are named ({', '.join(questions)}), and {cls.name} answers one.",
                "A model of multi-task answers several.",
                "Leave out --questions, or take --task multi-task.",
            )
        return cls

    @property
    def units(self) -> Mapping[str, float]:
        """The spread of the numbers that a question is answered with, by its name."""
        return {}

    def calibrated(self, calibration: Calibration) -> Self:
        """The same task with another calibration."""
        return type(self)(self.labels, calibration, self.settings)

    def for_run(self, config: TrainConfig, base: Base) -> Self:
        """The task with what a run chose and its base says, kept as ``settings`` in the manifest; raises `ConfigError`."""
        return self

    def completed(self, rows: Rows, known: Rows) -> Rows:
        """The rows to learn from or be judged on; a task may add to each what it finds in all that are ``known``."""
        return rows

    def question(self, row: Row) -> dict[str, Any]:
        """A canonical row as a client would ask it: its texts alone."""
        sent: dict[str, Any] = dict(texts(row))
        parsed = self.parse(sent, labelled=False)
        return {name: parsed[name] for name in sent}

    def with_files(self, folder: Path) -> Self:
        """The task with what stands in its own ``files`` of a model folder; raises `FolderError`."""
        return self

    def asks_model(self, rows: Rows) -> list[Row]:
        """Rows whose answers depend on the weights, to compare two runtimes on: ``rows`` themselves, unless they do not."""
        return list(rows)

    def companions(self, width: int, longest: int) -> dict[str, str]:
        """Further files of the folder, name to text, by which other libraries read it; width of the encoder, longest window."""
        return {}

    def canonical(self, record: Row) -> dict[str, Any]:
        """The canonical row of what somebody asks; raises `DataError`. A trained task may know more columns than its class."""
        return self.parse(record, labelled=False)

    @property
    def asks(self) -> tuple[str, ...]:
        """The columns that somebody may ask with."""
        return tuple(column.name for column in self.columns if not column.target)

    @classmethod
    def reading(cls, settings: Row) -> dict[str, Any]:
        """Options of `PrepareConfig` by which rows for a trained model are read, from its ``settings``."""
        return {}

    @classmethod
    def reader(cls, folder: Path, settings: Row, *, limit: int | None = None) -> Any:
        """What encodes the rows, from a folder's files and the task's ``settings``; ``limit``: longest window in sub-words."""
        return TextEncoder.open(folder, limit=limit)

    @classmethod
    @abstractmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        """The canonical row of a raw record; raises `DataError` (column, what, expected, remedy).

        ``labelled=False`` asks for the inputs only (prediction).
        """

    @classmethod
    @abstractmethod
    def fit(cls, rows: Rows) -> Self:
        """The task for these canonical rows; raises `DataError` when there is nothing to learn (one class only)."""

    @abstractmethod
    def encode(self, row: Row, encoder: Any) -> Encoded:
        """A canonical row as windows, by a `TextEncoder`, or a `PictureEncoder` where the task ``sees``."""

    @abstractmethod
    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        """What the head should say, one array a window; raises `DataError` for a label the task does not know.

        Where texts are read apart (``encoded.apart``): one array for the row.
        """

    def unsaid(self, window: Window) -> NDArray[Any]:
        """Stands where a window's target is not known; the task's own loss does not count it."""
        if self.tags_words:
            return np.full(len(window.ids), IGNORE, dtype=np.int64)
        if self.main_score == "accuracy" and self.labels:
            return np.array(0, dtype=np.int64)
        return np.zeros((len(self.labels),) if self.labels else (), dtype=np.float32)

    @abstractmethod
    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        """One row's answer from the logits of its windows: each (labels,), or (n, labels) for a tagger."""

    @abstractmethod
    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Scores by name over canonical rows and their predictions, in order."""

    @abstractmethod
    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        """Sum of the batch's losses, each times its row's weight; ``smoothing`` is label smoothing where it applies."""

    @property
    def ends(self) -> frozenset[int]:
        """The ids after which nothing more is written."""
        return frozenset(self.settings.get("ends", ()))

    def model_config(self) -> dict[str, Any]:
        """Entries of the transformers config that make its class fit this task."""
        names = self.labels or ("value",)
        return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def stitched(encoded: Encoded, outputs: Sequence[Floats], part: slice = slice(None)) -> Floats:
    """Logits of a row from the logits of its windows (or of a ``part`` of them), weighted by what each read; (labels,)."""
    windows, outputs = encoded.windows[part], outputs[part]
    if len(outputs) == 1:
        return outputs[0].astype(np.float32)
    weights = np.array([window.weight for window in windows], dtype=np.float32)
    return np.asarray(np.average(np.stack(outputs).astype(np.float32), axis=0, weights=weights), dtype=np.float32)


def stitched_apart(encoded: Encoded, outputs: Sequence[Floats]) -> list[Floats]:
    """The same for each of the row's texts that is read apart."""
    return [stitched(encoded, outputs, part) for part in encoded.of_each()]


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities along the last axis."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


class OneClass:
    """What a `Task` does whose rows have one class each, ``label``; stands before `Task` among a task's classes."""

    labels: tuple[str, ...]
    index: dict[str, int]
    calibration: Calibration

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        """The class for every window; raises `DataError` for one the model does not know."""
        found = self.index.get(str(row["label"]))
        if found is None:
            raise unknown_label(row["label"], self.labels)
        return window_targets(found, encoded)

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        """The most probable class after temperature."""
        chances = softmax(stitched(encoded, outputs) / self.calibration.temperature)
        best = int(chances.argmax())
        return Prediction(
            label=self.labels[best],
            score=float(chances[best]),
            scores=dict(zip(self.labels, chances.tolist(), strict=True)),
            tokens=encoded.tokens,
            windows=len(encoded.windows),
            truncated=encoded.truncated,
        )

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Accuracy, F1 and AUC, as `class_scores`."""
        return class_scores((row["label"] for row in rows), (answer.label for answer in predictions), self.labels)

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        """Weighted sum of cross-entropies."""
        return class_loss(logits, targets, weights, smoothing)


def window_targets(value: float | list[float], encoded: Encoded) -> list[NDArray[Any]]:
    """The same target for every window of a row: an int64 for a class, float32 otherwise."""
    kind = np.int64 if isinstance(value, int) else np.float32
    return [np.array(value, dtype=kind) for _ in encoded.windows]


def value_prediction(task: Task, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
    """The number, scaled back to the rows' mean and spread."""
    value = float(stitched(encoded, outputs)[0]) * task.calibration.spread + task.calibration.mean
    return Prediction(value=value, tokens=encoded.tokens, windows=len(encoded.windows), truncated=encoded.truncated)


def fit_scale(rows: Rows) -> Calibration:
    """Mean and spread of the rows' numbers, so that the head learns numbers around 0; raises `DataError` if all are equal."""
    values = np.array([float(row["label"]) for row in rows])
    if len(values) == 0 or float(values.std()) == 0.0:
        raise DataError(
            f"every row has the same value ({values[0] if len(values) else 'none'}).",
            "There must be different values to learn.",
            "Check that the label column is the right one (--columns label=NAME).",
            column="label",
        )
    return Calibration(mean=float(values.mean()), spread=float(values.std()))
