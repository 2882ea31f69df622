"""Questions answered from a text: where answers stand, windows, no answer, the loss in any company."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luban.encoding import TextEncoder
from luban.errors import DataError
from luban.tasks.base import Calibration
from luban.tasks.extractive_qa import LONGEST, NONE, ExtractiveQA, best_span
from luban.testing import tiny_encoder
from luban.training import Example, padded_targets

TASK = ExtractiveQA(("start", "end"))
WORDS = st.lists(st.sampled_from(["paris", "refund", "北京", "x", "wonderful", "is", "，"]), min_size=1, max_size=40)
ROWS = st.tuples(WORDS, WORDS, st.integers(0, 99), st.integers(1, 4))


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return tiny_encoder(16)


def row_of(question: list[str], words: list[str], first: int, length: int) -> dict[str, Any]:
    """A row whose answer is some of the context's words."""
    first %= len(words)
    answer = " ".join(words[first : first + length])
    start = len(" ".join([*words[:first], ""])) if first else 0
    return ExtractiveQA.parse(
        {"question": " ".join(question), "context": " ".join(words), "answers": [{"text": answer, "start": start}]}
    )


def said(target: np.ndarray, length: int, seed: int = 0) -> np.ndarray:
    """Logits that say ``target``, and anything at the question and the other special tokens."""
    start, end, first, last = target
    logits = np.random.default_rng(seed).normal(0, 50, (length, 2)).astype(np.float32)
    logits[first:last] = 0.0
    logits[0] = 0.0
    logits[start, 0] = logits[end, 1] = 20.0
    return logits


def answered(row: dict[str, Any], encoder: TextEncoder, seed: int = 0) -> Any:
    encoded = TASK.encode(row, encoder)
    pairs = zip(TASK.targets(row, encoded), encoded.windows, strict=True)
    return TASK.decode(encoded, [said(target, len(window.ids), seed) for target, window in pairs])


@settings(deadline=None)
@given(ROWS, st.integers(0, 99))
def test_what_is_said_of_the_windows_comes_back_as_a_piece_of_the_context(
    encoder: TextEncoder, drawn: tuple[list[str], list[str], int, int], seed: int
) -> None:
    row = row_of(*drawn)
    answer = answered(row, encoder, seed)
    assert row["context"][answer.start : answer.end] == answer.answer
    held = any(target[0] for target in TASK.targets(row, TASK.encode(row, encoder)))
    assert answer.answer == (row["answers"][0]["text"] if held else "")


@settings(deadline=None)
@given(WORDS, WORDS)
def test_windows_hold_the_question_and_together_the_whole_text(
    encoder: TextEncoder, question: list[str], words: list[str]
) -> None:
    encoded = encoder.question(" ".join(question), " ".join(words))
    read = {i for window in encoded.windows for start, end in window.offsets if start >= 0 for i in range(start, end)}
    assert read == {i for i, char in enumerate(encoded.text) if not char.isspace()}
    assert max(len(window.ids) for window in encoded.windows) <= encoder.limit
    assert sum(window.weight for window in encoded.windows) == pytest.approx(1.0)
    starts = {tuple(window.ids[: window.types.tolist().index(1)]) for window in encoded.windows}
    assert len(starts) == 1


@settings(deadline=None, max_examples=25)
@given(st.lists(ROWS, min_size=2, max_size=4), st.integers(0, 99))
def test_a_window_has_the_same_loss_alone_and_beside_longer_ones(
    encoder: TextEncoder, drawn: list[tuple[list[str], list[str], int, int]], seed: int
) -> None:
    examples = []
    for one in drawn:
        row = row_of(*one)
        encoded = TASK.encode(row, encoder)
        examples += [Example(w, t, w.weight) for w, t in zip(encoded.windows, TASK.targets(row, encoded), strict=True)]
    logits = torch.randn((len(examples), 16, 2), generator=torch.Generator().manual_seed(seed))

    def loss(chosen: list[int]) -> float:
        longest = max(len(examples[i].window.ids) for i in chosen)
        targets = torch.from_numpy(padded_targets([examples[i] for i in chosen]))
        weights = torch.tensor([examples[i].weight for i in chosen])
        return float(TASK.loss(logits[chosen, :longest], targets, weights, 0.0))

    every = list(range(len(examples)))
    assert sum(loss([i]) for i in every) == pytest.approx(loss(every), rel=1e-4)


def test_the_best_span_begins_before_it_ends_and_is_not_longer_than_allowed() -> None:
    encoder = tiny_encoder(512)
    encoded = encoder.question("x", "paris " * (LONGEST + 20))
    logits = np.zeros((len(encoded.windows[0].ids), 2), dtype=np.float32)
    begin = next(i for i, (start, _) in enumerate(encoded.windows[0].offsets) if start >= 0)
    logits[begin + 5, 0], logits[begin + 2, 1], logits[begin + 5 + LONGEST, 1] = 9.0, 9.0, 9.0
    found = best_span(encoded, [logits])
    assert found.first <= found.last < found.first + LONGEST
    assert 0.0 < found.share < found.share + found.share_of_none <= 1.0


def test_a_span_has_to_beat_having_no_answer_by_the_threshold() -> None:
    row = row_of(["x"], ["is", "paris"], 1, 1)
    encoded = TASK.encode(row, tiny_encoder())
    logits = [
        said(target, len(w.ids)) / 10 for target, w in zip(TASK.targets(row, encoded), encoded.windows, strict=True)
    ]
    assert TASK.decode(encoded, logits).answer == "paris"
    strict = TASK.calibrated(Calibration(thresholds={NONE: 9.0})).decode(encoded, logits)
    assert (strict.answer, strict.start, strict.end) == ("", 0, 0)


def test_the_threshold_is_the_one_with_the_best_f1_on_validation_rows() -> None:
    encoder = tiny_encoder()
    rows = [row_of(["x"], ["is", "paris"], 1, 1) for _ in range(6)]
    rows[3:] = [{**row, "answers": []} for row in rows[3:]]
    encoded = [TASK.encode(row, encoder) for row in rows]
    # Every row is given the same span; the answerable ones are a little surer of it.
    logits = [
        [said(TASK.targets(rows[0], encoded[0])[0], len(encoded[0].windows[0].ids)) * scale]
        for scale in (0.3, 0.31, 0.32, 0.1, 0.11, 0.12)
    ]
    found = TASK.own_calibration(rows, encoded, logits)
    assert found is not None
    task = TASK.calibrated(found)
    answers = [task.decode(one, outputs) for one, outputs in zip(encoded, logits, strict=True)]
    assert task.score(rows, answers)["f1"] == 1.0
    assert TASK.own_calibration(rows[:3], encoded[:3], logits[:3]) == TASK.calibration


def test_rows_with_and_without_an_answer_are_scored_apart() -> None:
    rows = [row_of(["x"], ["in", "paris"], 0, 2), {**row_of(["x"], ["in", "paris"], 0, 2), "answers": []}]
    answer = answered(rows[0], tiny_encoder())
    scores = TASK.score(rows, [answer, answer])
    assert scores == {
        "f1": 0.5, "exact_match": 0.5, "answerable_f1": 1.0, "answerable_exact_match": 1.0, "unanswerable_accuracy": 0.0,
    }  # fmt: skip
    assert set(TASK.score(rows[:1], [answer])) == {"f1", "exact_match"}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"text": ["at nine", "nine"], "answer_start": [3, 6]}, [("at nine", 3), ("nine", 6)]),
        ([{"text": "nine", "answer_start": 30}], [("nine", 23)]),
        (["nine"], [("nine", 6)]),
        ("at  nine", [("at nine", 3)]),
        ([{"text": "nine", "start": 6}, {"text": "ten", "start": 9}], [("nine", 6), ("ten", -1)]),
        ("", []),
        (None, []),
        ("ANSWERNOTFOUND", []),
        ({"text": [], "answer_start": []}, []),
    ],
)
def test_answers_are_read_in_the_forms_data_sets_write_them(answers: object, expected: list[tuple[str, int]]) -> None:
    row = ExtractiveQA.parse({"question": "when?", "context": "go at nine and come at nine", "answers": answers})
    assert [(one["text"], one["start"]) for one in row["answers"]] == expected


def test_a_place_beside_the_answer_says_which_of_several_is_meant() -> None:
    record = {"question": "when?", "context": "nine or nine", "answers": "nine", "answer_start": "(8, 12)"}
    assert ExtractiveQA.parse(record)["answers"] == [{"text": "nine", "start": 8}]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"question": " "}, "question"),
        ({"context": None}, "context"),
        ({"answers": "ten"}, "answers"),
        ({"answers": 7}, "answers"),
        ({"answers": [{"text": "nine", "start": "6"}]}, "answers"),
    ],
)
def test_a_broken_row_is_refused_with_its_column(change: dict[str, object], column: str) -> None:
    with pytest.raises(DataError) as error:
        ExtractiveQA.parse({"question": "when?", "context": "at nine", "answers": "nine"} | change)
    assert error.value.column == column


def test_rows_without_any_answer_teach_nothing() -> None:
    with pytest.raises(DataError, match="no row has an answer"):
        ExtractiveQA.fit([ExtractiveQA.parse({"question": "when?", "context": "at nine"})])
