"""Spans of a tagger: words, offsets, decoding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luban.encoding import TextEncoder
from luban.errors import DataError
from luban.tagging import gold_spans, grammar, viterbi, word_spans
from luban.tasks.token_classification import TokenClassification
from luban.testing import tiny_encoder

TEXTS = st.text(alphabet="ab C9._-,，。中文北京 \t\n'@é", max_size=60)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return tiny_encoder(12)


def test_words_are_runs_of_letters_single_ideographs_and_single_marks() -> None:
    text = "iPhone15很好, a_b"
    assert [text[s:e] for s, e in word_spans(text)] == ["iPhone15", "很", "好", ",", "a", "_", "b"]


@given(TEXTS)
def test_words_cover_everything_but_white_space(text: str) -> None:
    covered = {i for start, end in word_spans(text) for i in range(start, end)}
    assert covered == {i for i, char in enumerate(text) if not char.isspace()}


def test_tokens_of_chinese_are_joined_without_spaces_and_of_english_with_them() -> None:
    row = TokenClassification.parse(
        {"tokens": ["我", "爱", "New", "York", "！"], "tags": ["O", "O", "B-LOC", "I-LOC", "O"]}
    )
    assert row["text"] == "我爱New York！"
    assert [row["text"][s:e] for s, e, _ in gold_spans(row)] == ["New York"]


def test_an_entity_that_ends_inside_a_word_is_kept_exactly() -> None:
    row = TokenClassification.parse({"text": "in Parisian", "entities": [{"start": 3, "end": 8, "label": "LOC"}]})
    assert gold_spans(row) == [(3, 8, "LOC")]


@pytest.mark.parametrize(
    ("record", "column"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "tags"),
        ({"tokens": ["a", ""], "tags": ["O", "O"]}, "tokens"),
        ({"tokens": [], "tags": []}, "tokens"),
        ({"text": "abc", "entities": [{"start": 2, "end": 9, "label": "X"}]}, "entities"),
        (
            {"text": "abc", "entities": [{"start": 0, "end": 2, "label": "X"}, {"start": 1, "end": 3, "label": "Y"}]},
            "entities",
        ),
        ({"text": "abc", "entities": None}, "entities"),
        ({"text": "  ", "entities": []}, "text"),
    ],
)
def test_a_broken_row_is_refused_with_its_column(record: dict[str, object], column: str) -> None:
    with pytest.raises(DataError) as error:
        TokenClassification.parse(record)
    assert error.value.column == column


def test_a_tag_that_training_did_not_see_is_named(encoder: TextEncoder) -> None:
    task = TokenClassification(["O", "B-LOC", "I-LOC"])
    row = TokenClassification.parse({"tokens": ["bob"], "tags": ["B-PER"]})
    with pytest.raises(DataError, match="B-PER"):
        task.targets(row, task.encode(row, encoder))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["paris", "refund", "北", "x", "wonderful"]), st.sampled_from(["O", "B-LOC", "I-LOC"])
        ),
        min_size=1,
        max_size=40,
    )
)
def test_perfect_logits_give_the_gold_spans_back_however_many_windows_it_takes(
    encoder: TextEncoder, words: list[tuple[str, str]]
) -> None:
    row = TokenClassification.parse({"tokens": [w for w, _ in words], "tags": [t for _, t in words]})
    task = TokenClassification(["O", "B-LOC", "I-LOC"])
    encoded = task.encode(row, encoder)
    outputs = []
    for target in task.targets(row, encoded):
        logits = np.zeros((len(target), 3), dtype=np.float32)
        logits[target >= 0, target[target >= 0]] = 9.0
        outputs.append(logits)
    prediction = task.decode(encoded, outputs)
    assert [(e.start, e.end, e.label) for e in prediction.entities or ()] == gold_spans(row)
    assert list(prediction.tags or ()) == row["tags"]


def test_every_word_is_decided_once_in_long_texts(encoder: TextEncoder) -> None:
    text = "wonderful paris 北京 " * 20
    encoded = encoder.words(text, word_spans(text))
    decided = [
        window.first + i
        for window in encoded.windows
        for i in range(len(window.heads if window.heads is not None else ()))
    ]
    assert decided == list(range(len(word_spans(text))))


def test_a_limit_on_windows_is_said_as_truncation() -> None:
    short = tiny_encoder(12, max_windows=2)
    text = "paris " * 60
    assert short.words(text, word_spans(text)).truncated
    assert short.text(text).truncated


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_the_decoded_path_is_the_best_legal_one(seed: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    task = TokenClassification(["O", "B-A", "I-A", "B-B", "I-B"])
    scores = np.log(rng.dirichlet(np.ones(5), size=length))
    path = viterbi(scores, *grammar(task.labels))
    tags = [task.labels[i] for i in path]
    before = ["O", *tags[:-1]]
    assert all(not b.startswith("I-") or a[2:] == b[2:] for a, b in zip(before, tags, strict=True))
    best = _best_by_trying_all(scores, task)
    assert scores[np.arange(length), path].sum() == pytest.approx(best)


def _best_by_trying_all(scores: np.ndarray, task: TokenClassification) -> float:
    start, legal = grammar(task.labels)
    totals = {i: scores[0, i] + start[i] for i in range(5)}
    for row in scores[1:]:
        totals = {j: max(totals[i] + legal[i, j] for i in range(5)) + row[j] for j in range(5)}
    return float(max(totals.values()))
