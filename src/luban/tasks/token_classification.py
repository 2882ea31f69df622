"""One text, spans of it with their types: named entities, slots, anything tagged word by word.

The tag of a word stands on its first sub-word; the others are ignored by the loss. Decoding takes the most probable legal
IOB2 sequence (Viterbi over the tags' log probabilities, no learned transitions) and returns character spans of the original
text. What words and tags are stands in `luban.tagging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from luban import tagging
from luban.encoding import IGNORE, Encoded, TextEncoder
from luban.metrics.spans import entity_f1
from luban.records import Prediction, Row, Rows
from luban.tasks.base import TEXT, Column, Floats, Task, required_text, softmax

if TYPE_CHECKING:
    import torch


class TokenClassification(Task):
    """Rows of ``tokens`` and ``tags`` (any scheme), or of ``text`` and ``entities`` (start, end, label)."""

    name = "token-classification"
    columns = (
        Column("tokens", "the words", ("words",), required=False),
        Column("tags", "one tag a word", ("ner_tags", "labels", "slots"), required=False, target=True),
        Column("text", TEXT.about, TEXT.aliases, required=False),
        Column("entities", "spans {start, end, label}", ("spans", "label"), required=False, target=True),
    )
    model_class = "AutoModelForTokenClassification"
    main_score = "entity_f1"
    tags_words = True

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        if tagging.needs_text(record):
            required_text(record, "text")
        return tagging.tagged_row(record, labelled=labelled)

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        return cls(tagging.tags_of(rows))

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        return encoder.words(row["text"], [(span[0], span[1]) for span in row["words"]])

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        return list(tagging.word_targets(row, encoded, self.index))

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        probabilities = softmax(tagging.at_words(encoded, outputs) / self.calibration.temperature)
        entities, tags = tagging.decoded(encoded, self.labels, probabilities)
        return Prediction(
            entities=entities,
            tags=tags,
            tokens=encoded.tokens,
            windows=len(encoded.windows),
            truncated=encoded.truncated,
        )

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        gold = [tagging.gold_spans(row) for row in rows]
        answers = [[(e.start, e.end, e.label) for e in p.entities or ()] for p in predictions]
        return {
            **entity_f1(gold, answers),
            "token_accuracy": tagging.token_accuracy(rows, [p.tags for p in predictions]),
        }

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        # Every decided word counts once: the windows' weights are already in how many words they decide.
        return cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing
        )
