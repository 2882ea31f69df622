"""One utterance, what it asks for (its intent) and with what (its slots): one encoder, one head for both.

The head gives tags and intents for every sub-word. A word's tag is read at its first sub-word, as a tagger reads it; the
intent is read from the mean of the intent outputs over the row's words. The head is linear, so that mean is what it would
say of the mean of the words' features, which is how sentence-embedding bases speak; and the folder loads in plain
transformers as a token classifier. Labels are the tags, then the intents under the name ``intent:NAME``.

Joint training of both: Chen et al. 2019, "BERT for Joint Intent Classification and Slot Filling".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luban import tagging
from luban.encoding import IGNORE, Encoded, TextEncoder
from luban.metrics.classification import accuracy
from luban.metrics.spans import entity_f1
from luban.records import Prediction, Row, Rows
from luban.tasks.base import (
    INTENT,
    LABEL,
    TEXT,
    Column,
    Floats,
    HeadPart,
    Task,
    fit_labels,
    required_label,
    required_text,
    softmax,
    unknown_label,
)

if TYPE_CHECKING:
    import torch


class IntentAndSlots(Task):
    """Rows of ``label`` (the intent) with ``tokens`` and ``tags``, or with ``text`` and ``entities`` (start, end, label)."""

    name = "intent-and-slots"
    columns = (
        Column("tokens", "the words", ("words",), required=False),
        Column("tags", "one tag a word", ("ner_tags", "slots"), required=False, target=True),
        Column("text", TEXT.about, TEXT.aliases, required=False),
        Column("entities", "spans {start, end, label}", ("spans",), required=False, target=True),
        Column("label", "the intent", LABEL.aliases, target=True),
    )
    model_class = "AutoModelForTokenClassification"
    main_score = "exact_match"
    tags_words = True

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """The labels of words."""
        return tuple(label for label in self.labels if not label.startswith(INTENT))

    @cached_property
    def intents(self) -> tuple[str, ...]:
        """The intents by their own names."""
        return tuple(label.removeprefix(INTENT) for label in self.labels if label.startswith(INTENT))

    @property
    def parts(self) -> tuple[HeadPart, ...]:
        tags = len(self.tags)
        return (HeadPart("slots", 0, tags, whole=False), HeadPart("intent", tags, self.outputs, whole=True))

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        if tagging.needs_text(record):
            required_text(record, "text")
        row = tagging.tagged_row(record, labelled=labelled)
        return row | {"label": required_label(record, "label")} if labelled else row

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        return cls([*tagging.tags_of(rows), *(INTENT + label for label in fit_labels(rows))])

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        return encoder.words(row["text"], [(span[0], span[1]) for span in row["words"]])

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        """One number a decided word, at its first sub-word: that of its tag plus that of the row's intent times the tags."""
        if row["label"] not in self.intents:
            raise unknown_label(row["label"], self.intents)
        intent = self.intents.index(row["label"]) * len(self.tags)
        tags = tagging.word_targets(row, encoded, {tag: i for i, tag in enumerate(self.tags)})
        return [np.where(target == IGNORE, IGNORE, target + intent) for target in tags]

    def asked(self, values: Any, target: NDArray[Any]) -> list[tuple[Any, NDArray[np.int64]]]:
        known = target != IGNORE
        if not known.any():
            return [(values[known], target[known])] * 2
        tags, intents = target[known] % len(self.tags), target[known] // len(self.tags)
        return [(values[known], tags), (values[known].mean(0)[None], intents[:1])]

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        logits, tags = tagging.at_words(encoded, outputs), len(self.tags)
        temperatures = self.calibration.temperatures
        slots = softmax(logits[:, :tags] / temperatures.get("slots", 1.0))
        whole = logits[:, tags:].mean(0) if len(logits) else np.zeros(len(self.intents), dtype=np.float32)
        intents = softmax(whole / temperatures.get("intent", 1.0))
        entities, given = tagging.decoded(encoded, self.tags, slots)
        best = int(intents.argmax())
        return Prediction(
            label=self.intents[best],
            score=float(intents[best]),
            scores=dict(zip(self.intents, intents.tolist(), strict=True)),
            entities=entities,
            tags=given,
            tokens=encoded.tokens,
            windows=len(encoded.windows),
            truncated=encoded.truncated,
        )

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        gold = [tagging.gold_spans(row) for row in rows]
        answers = [[(e.start, e.end, e.label) for e in p.entities or ()] for p in predictions]
        wanted, given = [str(row["label"]) for row in rows], [str(p.label) for p in predictions]
        right = [g == a and set(s) == set(t) for g, a, s, t in zip(wanted, given, gold, answers, strict=True)]
        slots = {name.replace("entity", "slot"): value for name, value in entity_f1(gold, answers).items()}
        return {"exact_match": sum(right) / max(1, len(right)), "accuracy": accuracy(wanted, given), **slots}

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        tags, known = len(self.tags), targets != IGNORE
        slots = cross_entropy(
            logits[..., :tags].flatten(0, 1),
            (targets % tags).where(known, IGNORE).flatten(),
            ignore_index=IGNORE,
            reduction="sum",
            label_smoothing=smoothing,
        )
        # Only decided words speak, so that padding cannot; a window weighs as many words as it decides.
        whole = (logits[..., tags:] * known[..., None]).sum(1) / known.sum(1, keepdim=True).clamp_min(1)
        intents = targets.amax(1).clamp_min(0) // tags
        return slots + (cross_entropy(whole, intents, reduction="none", label_smoothing=smoothing) * weights).sum()
