"""What rows the tasks take and refuse."""

from __future__ import annotations

import pytest

from luban.errors import DataError
from luban.records import Prediction
from luban.tasks import TASKS
from luban.tasks.multi_label_classification import MultiLabelClassification
from luban.tasks.text_classification import TextClassification
from luban.tasks.text_pair import TextPair
from luban.tasks.text_regression import TextRegression


@pytest.mark.parametrize("name", ["text-classification", "multi-label-classification", "text-regression", "text-pair"])
@pytest.mark.parametrize("text", [None, "", "   ", 3, ["a"]])
def test_a_row_without_text_is_refused(name: str, text: object) -> None:
    with pytest.raises(DataError) as error:
        TASKS[name].parse({"text": text, "text_pair": "x", "label": "1", "labels": []})
    assert error.value.column == "text"


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(DataError, match=r"half a surrogate pair \('\\ud83d', character 4\)"):
        TextClassification.parse({"text": "ha \ud83d", "label": "fun"})


@pytest.mark.parametrize("label", [None, "", "  ", float("nan"), ["a"], {}])
def test_a_row_without_a_label_is_refused(label: object) -> None:
    with pytest.raises(DataError) as error:
        TextClassification.parse({"text": "hello", "label": label})
    assert error.value.column == "label"


@pytest.mark.parametrize(("raw", "label"), [(3, "3"), (3.0, "3"), (True, "True"), (" a ", "a")])
def test_labels_become_text(raw: object, label: str) -> None:
    assert TextClassification.parse({"text": "hello", "label": raw})["label"] == label


def test_one_class_only_is_refused() -> None:
    with pytest.raises(DataError, match="every row has the same label"):
        TextClassification.fit([{"text": "a", "label": "x"}] * 3)


def test_number_labels_are_sorted_as_numbers() -> None:
    rows = [{"text": "a", "label": label} for label in ("10", "9", "2")]
    assert TextClassification.fit(rows).labels == ("2", "9", "10")


@pytest.mark.parametrize("value", ["tall", None, float("inf"), "nan"])
def test_a_value_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="no number"):
        TextRegression.parse({"text": "hello", "label": value})


def test_equal_values_teach_nothing() -> None:
    with pytest.raises(DataError, match="same value"):
        TextRegression.fit([{"text": "a", "label": 2.0}, {"text": "b", "label": 2.0}])


@pytest.mark.parametrize("labels", [["b", "a"], "a|b", "b, a", "a；b", "a;b"])
def test_labels_may_be_a_list_or_joined_text(labels: object) -> None:
    assert MultiLabelClassification.parse({"text": "hello", "labels": labels})["labels"] == ["a", "b"]


def test_pairs_with_fractions_are_scored_and_whole_numbers_are_classes() -> None:
    def rows(*labels: str) -> list[dict[str, str]]:
        return [{"text": "a", "text_pair": "b", "label": label} for label in labels]

    assert TextPair.fit(rows("0.5", "3")).labels == ()
    assert TextPair.fit(rows("0", "1")).labels == ("0", "1")


def test_a_scored_pair_with_a_label_that_is_no_number_is_refused() -> None:
    row = {"text": "a", "text_pair": "b", "label": "often"}
    with pytest.raises(DataError, match="no number"):
        TextPair().score([row], [Prediction(value=0.5)])


@pytest.mark.parametrize("words", [["where"], [[0, 99]], [[3, 1]], [[0, 0]], 7, [[2, 3], [0, 1]]])
def test_words_that_are_no_spans_of_the_text_are_refused(words: object) -> None:
    with pytest.raises(DataError, match="no words"):
        TASKS["token-classification"].parse({"text": "where is it", "words": words}, labelled=False)


def test_words_without_a_tag_each_are_refused() -> None:
    with pytest.raises(DataError, match="one tag each"):
        TASKS["token-classification"].parse({"text": "in Paris", "words": [[0, 2], [3, 8]], "tags": ["O"]})
