"""A text rewritten as another: summaries, translations, paraphrases. An encoder reads the one, a decoder writes the other.

Rows are ``text`` and ``target``. The loss is on the target and its end only. A base is a model of both halves (T5, BART, mBART,
Pegasus ...), or an encoder alone, beside which a decoder starts from the same weights. Writing itself is `luban.generation`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luban.chat import json_of
from luban.decoding import Decoding
from luban.encoding import Encoded, TextEncoder, position_limit
from luban.errors import ConfigError
from luban.records import Prediction, Row, Rows
from luban.tasks.base import WRITING, Column, Floats, Task, required_text
from luban.written import GOLDEN_TOKENS, Crossing, answer_loss, answer_target, ends_of, judged, scored, wishes

if TYPE_CHECKING:
    import torch

    from luban.bases import Base
    from luban.config import TrainConfig

SOURCE = Column(
    "text",
    "the text to be rewritten",
    ("source", "src", "document", "article", "dialogue", "input", "content", "原文", "正文", "文章", "源文"),
)
TARGET = Column(
    "target",
    "what is to be written of it",
    (
        "summary", "summary1", "translation", "tgt", "highlights", "headline", "title", "output", "rewrite",
        "摘要", "译文", "标题", "目标", "改写",
    ),
    target=True,
    prose=True,
)  # fmt: skip
WARM = ("bert", "roberta", "xlm-roberta", "camembert")
"types of encoders whose layers transformers can turn into a decoder's"
UNKNOWN = ("[UNK]", "<unk>")
"tokens that stand for what a tokenizer has no sub-word for"
FRESH = ("full", "freeze")
"methods by which all that a fresh decoder needs is learnt"


class TextToText(Task):
    """Rows of ``text`` and ``target``: the one is read whole, the other written."""

    name = "text-to-text"
    columns = (SOURCE, TARGET, *WRITING)
    model_class = "AutoModelForSeq2SeqLM"
    main_score = "log_likelihood"
    tags_words = True
    keeps_text = True
    generates = True
    crosses = True

    @property
    def outputs(self) -> int:
        """Size of the vocabulary."""
        return int(self.settings.get("vocabulary", 1))

    @property
    def parts(self) -> tuple[Any, ...]:
        """No class question is asked."""
        return ()

    @property
    def begin(self) -> tuple[int, ...]:
        """The ids that the decoder is fed before it writes."""
        return tuple(self.settings.get("begin", ()))

    @property
    def room(self) -> int:
        """Most sub-words that an answer may have, its end included."""
        return int(self.settings.get("longest", 512)) - len(self.begin)

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row: dict[str, Any] = {"text": required_text(record, "text")}
        if labelled or record.get("target") is not None:
            row["target"] = required_text(record, "target")
        return row if labelled else row | wishes(record)

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        return cls()

    @classmethod
    def check_start(cls, config: TrainConfig, folder: Path, name: str) -> None:
        """Raises `ConfigError` where a base, in ``folder``, cannot rewrite texts, or not learn to by the run's method."""
        told = json_of(folder / "config.json")
        whole, kind = bool(told.get("is_encoder_decoder")), str(told.get("model_type", ""))
        if not whole and kind not in WARM:
            raise ConfigError(
                f"{name} is neither an encoder with a decoder nor an encoder that one can start from ({kind}).",
                f"text-to-text starts from such as T5, BART or mBART, or from an encoder: {', '.join(WARM)}.",
                "Name one with --base; a model that only goes on from a text is for text-generation.",
            )
        if not whole and config.method not in FRESH:
            raise ConfigError(
                f"{name} has no decoder, and {config.method} would leave a fresh one as it is.",
                "What connects a fresh decoder with its encoder must learn whole.",
                f"Take --method {' or '.join(FRESH)}, or a base with a decoder of its own, such as a T5.",
            )

    def for_run(self, config: TrainConfig, base: Base) -> Self:
        self.check_start(config, base.path, base.name)
        told, frame = json_of(base.path / "config.json"), TextEncoder.open(base.path)
        halves = (_whole if told.get("is_encoder_decoder") else _warm)(told, base, frame)
        longest = min(config.target_length or halves["longest"], halves["longest"])
        return type(self)(self.labels, self.calibration, {**self.settings, **halves, "longest": longest})

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        """One window: the text, cut at the end where it is too long, and what is to be written where the row has it."""
        read = encoder.text(row["text"])
        first = read.windows[0]
        written = self._written(row, encoder)
        begin = np.array(self.begin, dtype=np.int64)
        kept = written[: max(1, self.room)]
        heads = np.arange(len(kept), dtype=np.int64) + len(begin) - 1 if len(kept) else None
        window = Crossing(first.ids, first.types, first.offsets, heads=heads, begin=begin, written=kept)
        cut = len(read.windows) > 1 or read.truncated
        unknown = {encoder.tokenizer.token_to_id(token) for token in UNKNOWN}
        lost = {"text": cut, "target": len(kept) < len(written), "characters": not unknown.isdisjoint(written.tolist())}
        return Encoded(
            (window,), row["text"], read.tokens, truncated=cut, asked=len(first.ids), decoding=Decoding().given(row),
            room=self.room, lost=tuple(name for name, is_lost in lost.items() if is_lost),
        )  # fmt: skip

    def _written(self, row: Row, encoder: TextEncoder) -> NDArray[np.int64]:
        """The sub-words of a row's right answer and its end; none where it has none."""
        if not row.get("target"):
            return np.zeros(0, dtype=np.int64)
        ids = encoder.tokenizer.encode(row["target"], add_special_tokens=False).ids
        return np.array([*ids, *self.settings.get("ends", ())[:1]], dtype=np.int64)

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        """(m,): the sub-word that each place of what the decoder is fed is to foretell."""
        return [answer_target(encoded.windows[0])]

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        return judged(encoded, outputs)

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        return scored([str(row.get("target", "")) for row in rows], predictions)

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        """Every sub-word that is to be written counts once."""
        return answer_loss(logits, targets, smoothing)

    def model_config(self) -> dict[str, Any]:
        return {}

    def question(self, row: Row) -> dict[str, Any]:
        """A golden answer is short: it is written again whenever the folder is opened."""
        return {"text": row["text"], "max_new_tokens": GOLDEN_TOKENS}


def _whole(told: Mapping[str, Any], base: Base, frame: TextEncoder) -> dict[str, Any]:
    """The settings of a base with an encoder and a decoder; raises `ConfigError` where it does not say how it begins."""
    given = {**told, **json_of(base.path / "generation_config.json")}
    start, forced = given.get("decoder_start_token_id"), given.get("forced_bos_token_id")
    own: Mapping[str, Any] = told["decoder"] if isinstance(told.get("decoder"), dict) else told
    if start is None:
        raise ConfigError(
            f"{base.name} does not say with what its answers begin.",
            "decoder_start_token_id stands in its config.json or generation_config.json; of several languages, it or "
            "forced_bos_token_id is the token of the one to write.",
            "Write it into generation_config.json of a local copy.",
        )
    first = [int(forced)] if forced is not None else [int(i) for i in frame.prefix]
    begin = [int(start), *(i for i in first if i != int(start))]
    ends = ends_of(given, base.path, "") or [int(i) for i in frame.suffix[:1]]
    return {
        "vocabulary": int(own["vocab_size"]), "begin": begin, "ends": ends, "longest": position_limit(own), "warm": False,
    }  # fmt: skip


def _warm(told: Mapping[str, Any], base: Base, frame: TextEncoder) -> dict[str, Any]:
    """The settings of a decoder that starts from an encoder: it begins and ends as the encoder's texts do."""
    if not len(frame.prefix) or not len(frame.suffix):
        raise ConfigError(
            f"The tokenizer of {base.name} puts nothing before or behind a text.",
            "A decoder that starts from an encoder begins and ends with the tokens that frame its texts.",
            "Take another base.",
        )
    begin, ends = [int(frame.prefix[0])], [int(frame.suffix[-1])]
    return {
        "vocabulary": int(told["vocab_size"]), "begin": begin, "ends": ends, "longest": position_limit(told), "warm": True,
    }  # fmt: skip
