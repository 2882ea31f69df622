"""What is shared by tasks whose answers are written: right answers in their windows, how likely they are, how near others come.

It writes nothing (`generation`) and knows no columns but those of rows that are canonical already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from luban.chat import ASSISTANT, json_of
from luban.decoding import BOUNDS, Decoding, log_softmax
from luban.encoding import IGNORE, Batch, Encoded, Ints, Window
from luban.metrics.writing import ROUGE, chrf, exact
from luban.records import Prediction, Row

if TYPE_CHECKING:
    import torch

GOLDEN_TOKENS = 16
"of a golden answer: it is written again whenever the folder is opened"
NONE: Ints = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Crossing(Window):
    """A text that an encoder reads, ``ids``, and what a decoder of its own writes of it.

    ``begin``: what the decoder is fed first. ``written``: the right answer with its end; empty where it is not known.
    ``heads``: the places, of what the decoder is fed, whose logits foretell ``written``.
    """

    begin: Ints = field(default_factory=lambda: NONE)
    written: Ints = field(default_factory=lambda: NONE)

    @property
    def fed(self) -> Ints:
        """What the decoder reads while the right answer is forced on it."""
        return np.concatenate([self.begin, self.written[:-1]])

    @property
    def length(self) -> int:
        """Sub-words on both sides."""
        return len(self.ids) + self.answers

    @property
    def answers(self) -> int:
        return len(self.begin) + max(0, len(self.written) - 1)

    @property
    def key(self) -> bytes:
        return self.ids.tobytes() + b"|" + self.fed.tobytes()

    @staticmethod
    def batched(windows: Sequence[Any], pad_id: int) -> Batch:
        """``input_ids`` and ``attention_mask`` (b, n), ``decoder_input_ids`` (b, m): padding behind them is read by nothing."""
        arrays = Window.batched(windows, pad_id)
        fed = [window.fed for window in windows]
        forced = np.full((len(fed), max(map(len, fed))), pad_id, dtype=np.int64)
        for i, one in enumerate(fed):
            forced[i, : len(one)] = one
        return {name: arrays[name] for name in ("input_ids", "attention_mask")} | {"decoder_input_ids": forced}


def foretold(window: Window) -> tuple[Ints, Ints]:
    """Where the logits stand that foretell the right answer, and its sub-words: (k,) each, none where it is not known."""
    if isinstance(window, Crossing):
        return (window.heads if window.heads is not None else NONE), window.written
    heads = window.heads if window.heads is not None else NONE
    return heads - 1, window.ids[heads]


def answer_target(window: Window) -> NDArray[np.int64]:
    """(answers,): the sub-word that each place is to foretell, `IGNORE` where that is nothing to be learnt."""
    places, ids = foretold(window)
    target = np.full(window.answers, IGNORE, dtype=np.int64)
    target[places] = ids
    return target


def answer_loss(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Sum of the cross-entropies of (b, n, vocabulary) logits where (b, n) targets say anything: each sub-word counts once."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing
    )


def judged(encoded: Encoded, outputs: Sequence[NDArray[np.float32]]) -> Prediction:
    """What the logits say of the right answer; the answer of one's own is written by `generation`."""
    places, ids = foretold(encoded.windows[0])
    total = 0.0
    if len(places):
        sure = log_softmax(outputs[0][places])
        total = float(sure[np.arange(len(places)), ids].sum())
    likelihood = (total, len(places)) if len(places) else None
    return Prediction(tokens=encoded.tokens, truncated=encoded.truncated, likelihood=likelihood)


def scored(golds: Sequence[str], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Perplexity where the right answers were judged; ROUGE, chrF and exact match where answers were written."""
    told = [p.likelihood for p in predictions if p.likelihood is not None]
    scores: dict[str, float] = {}
    if count := sum(n for _, n in told):
        mean = sum(total for total, _ in told) / count
        scores = {"perplexity": math.exp(min(-mean, 700.0)), "log_likelihood": mean}
    if any(p.text is not None for p in predictions):
        answers = [p.text or "" for p in predictions]
        pairs = list(zip(golds, answers, strict=True))
        scores |= {name: float(np.mean([score(*pair) for pair in pairs])) for name, score in ROUGE.items()}
        scores["chrf"] = chrf(golds, answers)
        scores["exact_match"] = float(np.mean([exact(*pair) for pair in pairs]))
    return scores


def gold_of(row: Row) -> str:
    """The right answer of a labelled row: the chosen one, its target, or the last message of the assistant."""
    if row.get("chosen") is not None:
        return str(row["chosen"])
    if row.get("messages"):
        return str(next((m["content"] for m in reversed(row["messages"]) if m["role"] == ASSISTANT), ""))
    return str(row.get("target", ""))


def wishes(record: Row) -> dict[str, Any]:
    """How a row says it is to be answered; raises `DataError` for a value that cannot be."""
    Decoding().given(record)
    return {name: record[name] for name in (*BOUNDS, "stop") if record.get(name) is not None}


def ends_of(config: Mapping[str, Any], base: Path, end: str) -> list[int]:
    """The ids after which a base stops: the token ``end`` of its tokenizer first, then those its configurations name."""
    known = json_of(base / "tokenizer.json")
    added = {one.get("content"): one.get("id") for one in known.get("added_tokens") or ()}
    generation = json_of(base / "generation_config.json")
    named = [added.get(end), *(each.get("eos_token_id") for each in (generation, config))]
    flat = [one for each in named for one in (each if isinstance(each, list) else [each])]
    return list(dict.fromkeys(int(one) for one in flat if one is not None))
