"""An intent and its slots from one head: rows, decoding whatever the windows and the padding, both halves of the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luban.encoding import IGNORE, TextEncoder
from luban.errors import DataError
from luban.records import Prediction
from luban.tagging import gold_spans
from luban.tasks.base import Calibration
from luban.tasks.intent_and_slots import IntentAndSlots
from luban.testing import tiny_encoder
from luban.training import Example, padded_targets

LABELS = ["O", "B-LOC", "I-LOC", "intent:ask", "intent:tell", "intent:ask#tell"]
TASK = IntentAndSlots(LABELS)
WORD = st.sampled_from(["paris", "refund", "北", "x", "wonderful"])
ROWS = st.tuples(
    st.lists(st.tuples(WORD, st.sampled_from(["O", "B-LOC", "I-LOC"])), min_size=1, max_size=40),
    st.sampled_from(TASK.intents),
)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return tiny_encoder(12)


def row_of(words: list[tuple[str, str]], intent: str) -> dict[str, object]:
    return IntentAndSlots.parse({"tokens": [w for w, _ in words], "tags": [t for _, t in words], "label": intent})


def said(target: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Logits that say ``target`` at the decided words, and anything elsewhere."""
    logits = np.zeros((len(target), TASK.outputs), dtype=np.float32)
    if rng is not None:
        logits += rng.normal(0, 50, logits.shape).astype(np.float32)
        logits[target != IGNORE] = 0.0
    decided, tags = target != IGNORE, len(TASK.tags)
    logits[decided, target[decided] % tags] = 20.0
    logits[decided, tags + target[decided] // tags] = 20.0
    return logits


@settings(deadline=None)
@given(ROWS, st.integers(0, 99))
def test_intent_and_slots_come_back_however_many_windows_and_whatever_other_sub_words_say(
    encoder: TextEncoder, row: tuple[list[tuple[str, str]], str], seed: int
) -> None:
    parsed = row_of(*row)
    encoded = TASK.encode(parsed, encoder)
    rng = np.random.default_rng(seed)
    answer = TASK.decode(encoded, [said(target, rng) for target in TASK.targets(parsed, encoded)])
    assert answer.label == row[1]
    assert [(e.start, e.end, e.label) for e in answer.entities or ()] == gold_spans(parsed)


@given(st.lists(ROWS, min_size=2, max_size=5), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_a_row_has_the_same_loss_alone_and_beside_longer_ones(
    encoder: TextEncoder, rows: list[tuple[list[tuple[str, str]], str]], seed: int
) -> None:
    examples = []
    for row in rows:
        parsed = row_of(*row)
        encoded = TASK.encode(parsed, encoder)
        window, target = encoded.windows[0], TASK.targets(parsed, encoded)[0]
        examples.append(Example(window, target, float((target != IGNORE).sum())))
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((len(rows), 12, TASK.outputs), generator=generator)

    def loss(chosen: list[int]) -> float:
        targets = torch.from_numpy(padded_targets([examples[i] for i in chosen]))
        weights = torch.tensor([examples[i].weight for i in chosen])
        return float(TASK.loss(logits[chosen, : targets.shape[1]], targets, weights, 0.0))

    whole = loss(list(range(len(rows))))
    assert sum(loss([i]) for i in range(len(rows))) == pytest.approx(whole, rel=1e-4)


def test_the_intent_is_read_from_the_mean_over_the_words() -> None:
    parsed = row_of([("hello", "O"), ("paris", "B-LOC")], "ask")
    encoded = TASK.encode(parsed, tiny_encoder())
    logits = np.zeros((len(encoded.windows[0].ids), TASK.outputs), dtype=np.float32)
    heads = encoded.windows[0].heads
    assert heads is not None
    logits[heads, 3] = [4.0, 0.0]
    logits[0, 4] = 90.0
    scores = TASK.decode(encoded, [logits]).scores or {}
    assert np.log(scores["ask"] / scores["tell"]) == pytest.approx(2.0)


def test_each_half_has_its_own_temperature() -> None:
    parsed = row_of([("paris", "B-LOC")], "ask")
    encoded = TASK.encode(parsed, tiny_encoder())
    logits = said(TASK.targets(parsed, encoded)[0]) / 10
    plain, warm = (
        TASK.calibrated(Calibration(temperatures=kept)).decode(encoded, [logits]) for kept in ({}, {"intent": 4.0})
    )
    assert warm.entities == plain.entities
    assert (warm.score or 0.0) < (plain.score or 0.0)


def test_a_row_is_right_where_intent_and_slots_both_are() -> None:
    rows = [row_of([("paris", "B-LOC")], "ask")] * 4
    encoded = TASK.encode(rows[0], tiny_encoder())
    right = TASK.decode(encoded, [said(target) for target in TASK.targets(rows[0], encoded)])
    other = Prediction(label="tell", entities=right.entities)
    empty = Prediction(label="ask", entities=())
    scores = TASK.score(rows, [right, other, empty, Prediction(label="tell", entities=())])
    assert scores["exact_match"] == 0.25
    assert scores["accuracy"] == 0.5
    assert scores["slot_recall"] == 0.5
    assert scores["slot_precision"] == 1.0


def test_labels_say_which_are_tags_and_which_are_intents() -> None:
    rows = [row_of([("paris", "B-LOC")], "tell"), row_of([("x", "O")], "ask")]
    assert IntentAndSlots.fit(rows).labels == ("O", "B-LOC", "I-LOC", "intent:ask", "intent:tell")
    assert TASK.model_config()["id2label"][5] == "intent:ask#tell"


@pytest.mark.parametrize(
    ("record", "column"),
    [
        ({"tokens": ["a"], "tags": ["O"]}, "label"),
        ({"tokens": ["a"], "tags": ["O"], "label": " "}, "label"),
        ({"tokens": ["a", "b"], "tags": ["O"], "label": "ask"}, "tags"),
        ({"tokens": ["a"], "label": "ask"}, "tags"),
        ({"text": "", "entities": [], "label": "ask"}, "text"),
        ({"text": "abc", "label": "ask"}, "entities"),
    ],
)
def test_a_broken_row_is_refused_with_its_column(record: dict[str, object], column: str) -> None:
    with pytest.raises(DataError) as error:
        IntentAndSlots.parse(record)
    assert error.value.column == column


def test_rows_without_any_slot_or_with_one_intent_teach_nothing() -> None:
    with pytest.raises(DataError, match="entity"):
        IntentAndSlots.fit([row_of([("x", "O")], "ask"), row_of([("x", "O")], "tell")])
    with pytest.raises(DataError, match="same label"):
        IntentAndSlots.fit([row_of([("x", "B-LOC")], "ask")])


@pytest.mark.parametrize(("tag", "intent", "named"), [("B-PER", "ask", "B-PER"), ("O", "sing", "sing")])
def test_what_training_did_not_see_is_named(tag: str, intent: str, named: str) -> None:
    row = row_of([("x", tag)], intent)
    with pytest.raises(DataError, match=named):
        TASK.targets(row, TASK.encode(row, tiny_encoder()))
