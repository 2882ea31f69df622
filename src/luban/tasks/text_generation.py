"""Text that goes on from a prompt, or answers in a conversation: a causal language model; loss on the answers only.

Rows are ``messages`` (conversations, written as the base's own chat template does) or ``text`` and ``target`` (a prompt and its
completion, written one behind the other with nothing between). Every answer of the assistant in a conversation is learnt; the
last one is what the model is asked for. Or they are such a prompt with a better and a worse answer, ``chosen`` and ``rejected``
(`luban.preferences`). Writing itself is `luban.generation`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luban import preferences
from luban.chat import ASSISTANT, PLAIN, TEMPLATE, Part, Template, json_of, messages_of, template_of, tokens_of
from luban.decoding import Decoding
from luban.encoding import IGNORE, SPECIAL, Encoded, Ints, TextEncoder
from luban.errors import ConfigError, DataError
from luban.packing import Line
from luban.records import Prediction, Row, Rows
from luban.tasks.base import WRITING, Column, Floats, Task, required_text
from luban.written import GOLDEN_TOKENS, answer_loss, ends_of, gold_of, judged, scored, wishes

if TYPE_CHECKING:
    import torch

    from luban.bases import Base
    from luban.config import TrainConfig

PROMPT = Column(
    "text", "what the model goes on from", ("prompt", "instruction", "input", "question", "query", "提示", "指令"),
    required=False,
)  # fmt: skip
COMPLETION = Column(
    "target",
    "how it goes on",
    ("completion", "response", "output", "answer", "回答", "回复", "输出"),
    required=False,
    target=True,
    prose=True,
)
MESSAGES = Column(
    "messages",
    "a conversation: {role, content} each",
    ("conversations", "conversation", "dialogue", "对话"),
    required=False,
)
CHOSEN = Column(
    "chosen",
    "the better answer",
    ("preferred", "chosen_response", "更好的回答"),
    required=False,
    target=True,
    prose=True,
)
REJECTED = Column(
    "rejected", "the worse answer", ("dispreferred", "rejected_response", "较差的回答"),
    required=False, target=True, prose=True,
)  # fmt: skip
PAIRS = (("messages", "chosen", "rejected"), ("text", "chosen", "rejected"), ("chosen", "rejected"))
"the columns of pairs of answers; without a prompt both are conversations that begin with it"
WRITERS = ("ForCausalLM", "LMHeadModel")
PROMPT_SHARE = 0.75
"of the window that a prompt may fill: the rest is for the answer"


class TextGeneration(Task):
    """Chat, instructions, continuation, preferences: rows of ``messages``, or of ``text`` (prompt) and ``target`` (completion),
    or of a prompt with ``chosen`` and ``rejected``."""

    name = "text-generation"
    columns = (PROMPT, COMPLETION, MESSAGES, CHOSEN, REJECTED, *WRITING)
    forms = (*PAIRS, ("messages",), ("text", "target"))
    model_class = "AutoModelForCausalLM"
    tags_words = True
    keeps_text = True
    generates = True

    @property
    def prefers(self) -> bool:  # type: ignore[override]
        """Whether it was taught which of two answers is better."""
        return bool(self.settings.get("beta"))

    @property
    def main_score(self) -> str:  # type: ignore[override]
        """The mean log probability of a right answer's sub-words, or of what people preferred."""
        return "preference_log_likelihood" if self.prefers else "log_likelihood"

    @property
    def outputs(self) -> int:
        """Size of the vocabulary."""
        return int(self.settings.get("vocabulary", 1))

    @property
    def parts(self) -> tuple[Any, ...]:
        """No class question is asked."""
        return ()

    @property
    def talks(self) -> bool:
        """Whether it was taught conversations."""
        return self.settings.get("form") == "messages"

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row: dict[str, Any] = {}
        if preferences.is_pair(record) or (labelled and preferences.is_half(record)):
            row = preferences.pair_of(record)
        elif record.get("messages") is not None:
            row["messages"] = messages_of(record["messages"], labelled=labelled)
        else:
            row["text"] = required_text(record, "text")
            if labelled or record.get("target") is not None:
                row["target"] = required_text(record, "target")
        if not labelled:
            row |= wishes(record)
        return row

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        forms = {"messages" if row.get("messages") else "text" for row in rows}
        if len(forms) != 1:
            raise DataError(
                "some rows hold messages, others a prompt and its completion." if forms else "there is no row.",
                "All rows are of one form: the model is asked as it was taught.",
                "Write prompts as messages of the user, and completions as the assistant's.",
            )
        pairs = {preferences.is_pair(row) for row in rows}
        if len(pairs) != 1:
            raise DataError(
                "some rows hold a chosen and a rejected answer, others one answer.",
                "All rows are pairs of answers, or none is.",
                "Train on the answers first, and then on the pairs from the model that came out.",
            )
        return cls(settings={"form": forms.pop()} | ({"beta": preferences.BETA} if pairs.pop() else {}))

    def for_run(self, config: TrainConfig, base: Base) -> Self:
        told = json_of(base.path / "config.json")
        kinds = [str(kind) for kind in told.get("architectures") or ()]
        if not any(kind.endswith(WRITERS) for kind in kinds):
            raise ConfigError(
                f"{base.name} is no model that writes (its architecture: {', '.join(kinds) or 'not told'}).",
                "text-generation starts from a causal language model, such as a LlamaForCausalLM.",
                "Name one with --base: a local folder or a hub id.",
            )
        template = template_of(base.path)
        vocabulary = int(told.get("vocab_size") or told.get("text_config", {}).get("vocab_size", 1))
        end = template.tokens.get("eos_token", "")
        own = self.settings | (_preferring(config, base) if self.prefers else {})
        settings = {
            **own,
            "vocabulary": vocabulary,
            "ends": ends_of(told, base.path, end),
            "template": template.source if own["form"] == "messages" else "",
            "tokens": dict(template.tokens),
        }
        return type(self)(self.labels, self.calibration, settings)

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        """One window: the prompt, and behind it the right answer where the row has one; cut at the left, and at the end.

        Of a pair two such windows, read apart: with the chosen answer, and with the rejected one.
        """
        if not preferences.is_pair(row):
            return self._line(row, encoder)
        chosen, rejected = (self._line(preferences.answered(row, name), encoder) for name in preferences.PAIR)
        return preferences.paired(chosen, rejected)

    def _line(self, row: Row, encoder: TextEncoder) -> Encoded:
        parts, prompt = self._parts(row)
        read = tokens_of(parts, encoder)
        spans = _shown(row, parts, [span for _, own in read for span in own])
        ids = np.concatenate([own for own, _ in read])
        said = np.concatenate([np.full(len(own), part.said) for part, (own, _) in zip(parts, read, strict=True)])
        before, after = self._frame(encoder, answered=prompt < len(parts))
        ids = np.concatenate([before, ids, after])
        said = np.concatenate([np.zeros(len(before), bool), said, np.ones(len(after), bool)])
        spans = [SPECIAL] * len(before) + spans + [SPECIAL] * len(after)
        asked = len(before) + sum(len(own) for own, _ in read[:prompt])
        room = _room(encoder.limit)
        keep = _kept(len(ids), asked, encoder.limit, first=len(before))
        said[:1] = False  # nothing stands before the first sub-word that could lead to it
        window = Line(
            ids[keep], np.zeros(len(keep), dtype=np.int64), tuple(spans[i] for i in keep.tolist()),
            heads=np.flatnonzero(said[keep]).astype(np.int64),
        )  # fmt: skip
        return Encoded(
            (window,), "".join(part.text for part in parts[:prompt]), asked, truncated=len(keep) < len(ids),
            asked=min(asked, room), decoding=Decoding().given(row), room=encoder.limit - min(asked, room),
        )  # fmt: skip

    def _frame(self, encoder: TextEncoder, *, answered: bool) -> tuple[Ints, Ints]:
        """What stands before a text, and behind its answer; a chat template says both itself."""
        none = np.zeros(0, dtype=np.int64)
        if self.talks:
            return none, none
        return encoder.prefix, np.array(self.settings.get("ends", ())[:1], dtype=np.int64) if answered else none

    def _parts(self, row: Row) -> tuple[list[Part], int]:
        """The stretches of a row, and how many of them are the prompt."""
        if row.get("messages") and not self.talks:
            raise DataError(
                "the row holds messages.",
                "This model was taught to go on from a text, not to talk.",
                "Send the text to go on from as text.",
                column="messages",
            )
        if not self.talks:
            answer = [Part(row["target"], True)] if row.get("target") else []
            return [Part(row["text"], False), *answer], 1
        messages = row.get("messages") or [{"role": "user", "content": row["text"]}]
        if not row.get("messages") and row.get("target"):
            messages = [*messages, {"role": ASSISTANT, "content": row["target"]}]
        template = Template(str(self.settings.get("template") or PLAIN), self.settings.get("tokens", {}))
        if messages[-1]["role"] != ASSISTANT:
            parts = template.parts(messages, prompt=True)
            return parts, len(parts)
        parts = template.parts(messages)
        last = max((i for i, part in enumerate(parts) if part.said), default=len(parts) - 1)
        return parts[: last + 1], last

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        """(n,) a window: the sub-words of the answers in their places, `IGNORE` elsewhere."""
        targets = [np.full(len(window.ids), IGNORE, dtype=np.int64) for window in encoded.windows]
        for window, target in zip(encoded.windows, targets, strict=True):
            if window.heads is not None:
                target[window.heads] = window.ids[window.heads]
        return targets

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        """What the logits say of the right answer, and of the worse one where there is one.

        ``encoded.wish``: the log probabilities of both under a reference, where they are known.
        """
        first = judged(encoded, outputs)
        if not encoded.apart:
            return first
        second = judged(replace(encoded, windows=encoded.windows[1:]), outputs[1:])
        beta = float(self.settings.get("beta", preferences.BETA))
        return preferences.compared(first, second, encoded.wish, beta)

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        return preferences.scores(predictions) | scored([gold_of(row) for row in rows], predictions)

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        """Every sub-word of an answer counts once, and is foretold by the one before it."""
        return answer_loss(logits[:, :-1], targets[:, 1:], smoothing)

    def model_config(self) -> dict[str, Any]:
        return {}

    def question(self, row: Row) -> dict[str, Any]:
        """A golden answer is short: it is written again whenever the folder is opened."""
        messages = list(row.get("messages") or ())
        while messages and messages[-1]["role"] == ASSISTANT:
            messages.pop()
        asked: dict[str, Any] = {"messages": messages} if messages else {"text": row["text"]}
        return asked | {"max_new_tokens": GOLDEN_TOKENS}

    def companions(self, width: int, longest: int) -> dict[str, str]:
        """The chat template, for transformers, where the base brought none."""
        return {TEMPLATE: str(self.settings["template"])} if self.settings.get("template") else {}


def _preferring(config: TrainConfig, base: Base) -> dict[str, Any]:
    """What a run on pairs adds to the settings: a model of luban's that talks goes on to be asked in messages."""
    taught = json_of(base.path / "luban.json").get("settings", {}).get("form")
    beta = {"beta": config.dpo_beta or preferences.BETA}
    return beta | ({"form": "messages"} if taught == "messages" else {})


def _room(limit: int) -> int:
    return max(1, int(limit * PROMPT_SHARE))


def _kept(count: int, asked: int, limit: int, *, first: int) -> Ints:
    """Which sub-words are read: of a prompt that is too long the ``first`` and the last, of all at most ``limit``."""
    room = _room(limit)
    cut = max(0, asked - room)
    kept = np.concatenate([np.arange(min(first, room)), np.arange(cut + min(first, room), count)])
    return kept[:limit].astype(np.int64)


def _shown(row: Row, parts: Sequence[Part], spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of the whole text as spans of what is shown of the row (`records.texts`); `SPECIAL` for what is not."""
    contents = [message["content"] for message in row["messages"]] if row.get("messages") else [row["text"]]
    whole, at, shown = "".join(part.text for part in parts), 0, 0
    places = []
    for content in contents:
        found = whole.find(content.strip(), at)
        if found >= 0:
            lead = len(content) - len(content.lstrip())
            places.append((found, found + len(content.strip()), shown + lead - found))
            at = found + len(content.strip())
        shown += len(content) + 1
    return [
        next(((a + shift, b + shift) for start, end, shift in places if start <= a and b <= end and b > a), SPECIAL)
        for a, b in spans
    ]
