"""Text that goes on from a prompt, or answers in a conversation: a causal language model; loss on the answers only.

Rows are ``messages`` (conversations, written as the base's own chat template does) or ``text`` and ``target`` (a prompt and its
completion, written one behind the other with nothing between). Every answer of the assistant in a conversation is learnt; the
last one is what the model is asked for. Writing itself is `luban.generation`'s.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luban.chat import ASSISTANT, PLAIN, TEMPLATE, Part, Template, json_of, template_of, tokens_of
from luban.decoding import BOUNDS, Decoding, log_softmax
from luban.encoding import IGNORE, SPECIAL, Encoded, Ints, TextEncoder
from luban.errors import ConfigError, DataError
from luban.metrics.writing import chrf, exact, rouge_l
from luban.packing import Line
from luban.records import Prediction, Row, Rows
from luban.tasks.base import Column, Floats, Task, required_text

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
    ("completion", "response", "output", "answer", "chosen", "回答", "回复", "输出"),
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
ABOUT = {
    "max_new_tokens": "most sub-words of the answer",
    "beams": "beams that look for the most probable answer",
    "temperature": "above 0 the answer is drawn by chance",
    "top_k": "of the so many most probable sub-words",
    "top_p": "of those that hold this share of the probability",
    "seed": "seed of the draw",
    "stop": "texts before which the answer ends",
}
OPTIONS = tuple(Column(name, about, required=False, option=True) for name, about in ABOUT.items())
ROLES = {"human": "user", "gpt": ASSISTANT, "bot": ASSISTANT}
"names of roles in public conversations (role and content are then called from and value)"
WRITERS = ("ForCausalLM", "LMHeadModel")
GOLDEN_TOKENS = 16
PROMPT_SHARE = 0.75
"of the window that a prompt may fill: the rest is for the answer"


class TextGeneration(Task):
    """Chat, instructions, continuation: rows of ``messages``, or of ``text`` (prompt) and ``target`` (completion)."""

    name = "text-generation"
    columns = (PROMPT, COMPLETION, MESSAGES, *OPTIONS)
    forms = (("messages",), ("text", "target"))
    model_class = "AutoModelForCausalLM"
    main_score = "log_likelihood"
    tags_words = True
    keeps_text = True
    generates = True

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
        if record.get("messages") is not None:
            row["messages"] = _messages(record["messages"], labelled=labelled)
        else:
            row["text"] = required_text(record, "text")
            if labelled or record.get("target") is not None:
                row["target"] = required_text(record, "target")
        if not labelled:
            Decoding().given(record)
            row |= {name: record[name] for name in (*BOUNDS, "stop") if record.get(name) is not None}
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
        return cls(settings={"form": forms.pop()})

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
        settings = {
            **self.settings,
            "vocabulary": vocabulary,
            "ends": _ends(told, json_of(base.path / "generation_config.json"), base, end),
            "template": template.source if self.talks else "",
            "tokens": dict(template.tokens),
        }
        return type(self)(self.labels, self.calibration, settings)

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        """One window: the prompt, and behind it the right answer where the row has one; cut at the left, and at the end."""
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
        keep = _kept(len(ids), asked, encoder.limit, first=len(before))
        said[:1] = False  # nothing stands before the first sub-word that could lead to it
        window = Line(
            ids[keep], np.zeros(len(keep), dtype=np.int64), tuple(spans[i] for i in keep.tolist()),
            heads=np.flatnonzero(said[keep]).astype(np.int64),
        )  # fmt: skip
        return Encoded(
            (window,), "".join(part.text for part in parts[:prompt]), asked, truncated=len(keep) < len(ids),
            asked=min(asked, _room(encoder.limit)), decoding=Decoding().given(row),
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
        """(n,): the sub-words of the answers in their places, `IGNORE` elsewhere."""
        window = encoded.windows[0]
        target = np.full(len(window.ids), IGNORE, dtype=np.int64)
        if window.heads is not None:
            target[window.heads] = window.ids[window.heads]
        return [target]

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        """What the logits say of the right answer; the answer of one's own is written by `generation`."""
        window = encoded.windows[0]
        heads = window.heads if window.heads is not None else np.zeros(0, dtype=np.int64)
        sure = log_softmax(outputs[0][heads - 1]) if len(heads) else np.zeros((0, 1), dtype=np.float32)
        total = float(sure[np.arange(len(heads)), window.ids[heads]].sum()) if len(heads) else 0.0
        return Prediction(
            tokens=encoded.tokens, truncated=encoded.truncated, likelihood=(total, len(heads)) if len(heads) else None
        )

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        told = [p.likelihood for p in predictions if p.likelihood is not None]
        scores: dict[str, float] = {}
        if count := sum(n for _, n in told):
            mean = sum(total for total, _ in told) / count
            scores = {"perplexity": math.exp(min(-mean, 700.0)), "log_likelihood": mean}
        if any(p.text is not None for p in predictions):
            golds, answers = [gold_of(row) for row in rows], [p.text or "" for p in predictions]
            pairs = list(zip(golds, answers, strict=True))
            scores["rouge_l"] = float(np.mean([rouge_l(*pair) for pair in pairs]))
            scores["chrf"] = chrf(golds, answers)
            scores["exact_match"] = float(np.mean([exact(*pair) for pair in pairs]))
        return scores

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        """Every sub-word of an answer counts once, and is foretold by the one before it."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORE, reduction="sum",
            label_smoothing=smoothing,
        )  # fmt: skip

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


def gold_of(row: Row) -> str:
    """The right answer of a labelled row: its target, or the last message of the assistant."""
    if row.get("messages"):
        return str(next((m["content"] for m in reversed(row["messages"]) if m["role"] == ASSISTANT), ""))
    return str(row.get("target", ""))


def _messages(value: Any, *, labelled: bool) -> list[dict[str, str]]:
    """The messages of a cell (a list, or its JSON); raises `DataError`."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = str(value)
    if not isinstance(value, list | tuple) or not value or not all(isinstance(one, Mapping) for one in value):
        raise DataError(
            f"{value!s:.60} is no conversation.",
            "messages is a list of {role, content}.",
            "Mend it or remove the row.",
            column="messages",
        )
    out = [_message(one, place) for place, one in enumerate(value, 1)]
    if labelled and not any(one["role"] == ASSISTANT for one in out[1:]):
        raise DataError(
            "no message of the assistant answers another.",
            "A model learns what the assistant says.",
            "Add an answer, or remove the row.",
            column="messages",
        )
    if all(one["role"] == ASSISTANT for one in out):
        raise DataError("nobody but the assistant speaks.", "It answers somebody.", "Mend it.", column="messages")
    return out


def _message(one: Mapping[str, Any], place: int) -> dict[str, str]:
    role, content = one.get("role", one.get("from")), one.get("content", one.get("value"))
    if not isinstance(role, str) or not role or not isinstance(content, str):
        raise DataError(
            f"message {place} has the role {role!r} and the content {content!s:.40}.",
            'Both are texts: {"role": "user", "content": "..."}.',
            "Mend it or remove the row.",
            column="messages",
        )
    return {"role": ROLES.get(role, role), "content": content}


def _ends(config: Mapping[str, Any], generation: Mapping[str, Any], base: Base, end: str) -> list[int]:
    """The ids after which the base stops: the end token of its tokenizer first, then those its configurations name."""
    known = json_of(base.path / "tokenizer.json")
    added = {one.get("content"): one.get("id") for one in known.get("added_tokens") or ()}
    named = [added.get(end), *(each.get("eos_token_id") for each in (generation, config))]
    flat = [one for each in named for one in (each if isinstance(each, list) else [each])]
    return list(dict.fromkeys(int(one) for one in flat if one is not None))


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
