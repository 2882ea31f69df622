"""Two answers to one prompt, of which people prefer the first: read from the layouts of public data sets, and scored.

A row is a prompt (``messages``, or ``text``), the ``chosen`` and the ``rejected`` answer. What a model makes of a pair is its
reward margin: beta times how much more the model raised the log probability of the chosen answer over its reference's than
that of the rejected one (Rafailov et al. 2023, "Direct Preference Optimization", https://arxiv.org/abs/2305.18290). It
trains nothing (`stages/train/objectives/dpo.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from luban.cells import required_text
from luban.chat import ASSISTANT, messages_of, said_in
from luban.encoding import Encoded, side_by_side
from luban.errors import DataError
from luban.records import Prediction, Row

BETA = 0.1
"what margins are multiplied with where nothing else is chosen; the paper's usual value"
PAIR = ("chosen", "rejected")
TRANSCRIPT = re.compile(r"(?:^|\n\n)\s*(Human|Assistant):")
"begins a turn in conversations that are one text, as Anthropic published theirs"
SPEAKERS = {"Human": "user", "Assistant": ASSISTANT}

Answer = str | list[dict[str, str]]
"an answer alone, or the messages of a whole conversation that ends with it"


def is_pair(row: Row) -> bool:
    """Whether a row is a pair of answers."""
    return all(row.get(name) is not None for name in PAIR)


def is_half(row: Row) -> bool:
    """Whether a row has one of the two answers, or a place for it, and so is meant as a pair."""
    return any(name in row for name in PAIR)


def pair_of(record: Row) -> dict[str, Any]:
    """The canonical row of a raw record: prompt, ``chosen``, ``rejected``; raises `DataError` for a pair that says nothing."""
    chosen, rejected = (_answer(record, name) for name in PAIR)
    if isinstance(chosen, str) and isinstance(rejected, str):
        row = _prompt(record)
    elif isinstance(chosen, list) and isinstance(rejected, list):
        shared = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
        if shared is None:
            shared = min(len(chosen), len(rejected)) - (len(chosen) == len(rejected))
        row = {"messages": messages_of(chosen[:shared], labelled=False)} if shared else _talk(_prompt(record))
        chosen, rejected = (_last(one[shared:], name) for one, name in zip((chosen, rejected), PAIR, strict=True))
    else:
        raise DataError(
            "one answer is a text, the other a conversation.", "Both are written in the same way.",
            "Mend it or remove the row.", column="rejected",
        )  # fmt: skip
    answers = dict(zip(PAIR, (chosen, rejected), strict=True))
    pair = {name: required_text(answers, name) for name in PAIR}
    if pair["chosen"].split() == pair["rejected"].split():
        raise DataError(
            "both answers are the same.",
            "One of two different answers is preferred.",
            "Remove the row.",
            column="rejected",
        )
    return row | pair


def _answer(record: Row, name: str) -> Answer:
    value = record.get(name)
    if isinstance(value, str):
        value = _of_json(value)
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, list | tuple):
        return said_in(value, name)
    text = required_text(record, name)
    return _of_transcript(text) if TRANSCRIPT.match(text) else text


def _of_json(text: str) -> Any:
    """A text that is the JSON of messages as these; any other as it is."""
    try:
        value = json.loads(text) if text.lstrip()[:1] in ("[", "{") else text
    except ValueError:
        return text
    messages = value if isinstance(value, list) else [value]
    told = all(isinstance(one, dict) and {"role", "from"} & set(one) for one in messages)
    return value if messages and told else text


def _of_transcript(text: str) -> list[dict[str, str]]:
    _, *turns = TRANSCRIPT.split(text)
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return [{"role": SPEAKERS[who], "content": said.strip()} for who, said in pairs]


def _prompt(record: Row) -> dict[str, Any]:
    """The prompt that stands in a column of its own: messages, or a text."""
    messages, text = record.get("messages"), record.get("text")
    if messages is None and isinstance(text, list | tuple):
        messages = text
    if messages is not None:
        return {"messages": messages_of(messages, labelled=False)}
    if text is None:
        raise DataError(
            "the answers share no message, and there is no prompt.", "Both answer the same prompt.",
            "Add it as a column prompt or messages, or remove the row.", column="chosen",
        )  # fmt: skip
    return {"text": required_text(record, "text")}


def _talk(prompt: dict[str, Any]) -> dict[str, Any]:
    """A prompt as messages: answers that are messages belong to a conversation."""
    return prompt if "messages" in prompt else {"messages": [{"role": "user", "content": prompt["text"]}]}


def _last(messages: Sequence[Mapping[str, str]], name: str) -> str:
    """What stands behind the shared messages: one answer of the assistant."""
    if len(messages) != 1 or messages[0]["role"] != ASSISTANT:
        raise DataError(
            f"behind what both conversations share, this one has {len(messages)} messages.",
            "It is one, and the assistant's: only the last answer differs.",
            "Mend it or remove the row.",
            column=name,
        )
    return messages[0]["content"]


def with_answers(keys: Sequence[str], rows: Iterable[Row]) -> list[str]:
    """Keys of rows by their prompts as those of whole rows: several pairs may well answer one prompt."""
    return [
        "\0".join([key, *(row[name] for name in PAIR if is_pair(row))]) for key, row in zip(keys, rows, strict=True)
    ]


def swapped(keys: Sequence[str], rows: Iterable[Row]) -> list[int]:
    """Which rows prefer the answer that an earlier one of the same prompt rejects for the same other; by index."""
    seen: set[tuple[str, ...]] = set()
    found: list[int] = []
    for i, (key, row) in enumerate(zip(keys, rows, strict=True)):
        if is_pair(row):
            found += [i] * ((key, row["rejected"], row["chosen"]) in seen)
            seen.add((key, row["chosen"], row["rejected"]))
    return found


def answered(row: Row, name: str) -> dict[str, Any]:
    """The row as if only its answer ``name`` had been given: a conversation with it, or a prompt and its completion."""
    bare = {key: value for key, value in row.items() if key not in PAIR}
    if row.get("messages"):
        return {**bare, "messages": [*row["messages"], {"role": ASSISTANT, "content": row[name]}]}
    return {**bare, "target": row[name]}


def paired(chosen: Encoded, rejected: Encoded) -> Encoded:
    """One row of both answers behind the same prompt, of which only the sub-words of the answers count."""
    together = side_by_side([_only_answer(chosen), _only_answer(rejected)])
    told = {"tokens": chosen.tokens, "asked": chosen.asked, "decoding": chosen.decoding, "room": chosen.room}
    return replace(together, **told)  # type: ignore[arg-type]


def _only_answer(encoded: Encoded) -> Encoded:
    (window,) = encoded.windows
    heads = window.heads if window.heads is not None else np.zeros(0, dtype=np.int64)
    return replace(encoded, windows=(replace(window, heads=heads[heads >= encoded.asked]),))


def compared(
    chosen: Prediction, rejected: Prediction, reference: tuple[float, float] | None, beta: float
) -> Prediction:
    """What a model says of both answers as one; ``reference``: the log probabilities that another gives to them."""
    own, other = chosen.likelihood, rejected.likelihood
    if own is None or other is None:
        return chosen
    margin = None if reference is None else beta * ((own[0] - reference[0]) - (other[0] - reference[1]))
    return replace(chosen, rejected=other, margin=margin)


def scores(predictions: Sequence[Prediction]) -> dict[str, float]:
    """The means of `columns` over the pairs that have them."""
    return {name: float(np.nanmean(values)) for name, values in columns(predictions).items()}


def columns(predictions: Sequence[Prediction]) -> dict[str, np.typing.NDArray[np.float64]]:
    """Scores by name, (n,) numbers, nan for rows that are no pairs; none where no row is.

    ``ranking_accuracy``: whether the chosen answer is the more probable one. Where a reference is known,
    ``preference_accuracy``: whether the reward margin is above 0; ``preference_margin``: that margin; and
    ``preference_log_likelihood``: the log probability it gives to what people preferred (Bradley and Terry's model).
    """
    pairs = [(p.likelihood, p.rejected) for p in predictions]
    ranked = np.array([float(a[0] > b[0]) if a and b else np.nan for a, b in pairs])
    if not len(ranked) or np.isnan(ranked).all():
        return {}
    margins = np.array([np.nan if p.margin is None else p.margin for p in predictions])
    found = {}
    if not np.isnan(margins).all():
        found["preference_accuracy"] = np.where(np.isnan(margins), np.nan, margins > 0)
        found["preference_margin"] = margins
        found["preference_log_likelihood"] = -np.logaddexp(0.0, -margins)
    return {**found, "ranking_accuracy": ranked}
