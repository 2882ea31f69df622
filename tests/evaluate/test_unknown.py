"""Gold labels a model was never taught: counted, told, and refused where it knows none of them."""

import pytest

from luban.errors import DataError
from luban.stages.evaluate.report import page
from luban.stages.evaluate.unknown import Unknown, check_known, unknown_labels
from tests.evaluate.samples import classified, evaluation_of

TAGS = ("O", "B-PER", "I-PER")


def labelled(*labels):
    return [{"text": "a text", "label": label} for label in labels]


def test_rows_with_unknown_labels_are_counted_most_frequent_label_first():
    found = unknown_labels(labelled("good", "odd", "new", "odd"), ("bad", "good"))
    assert found == Unknown(3, {"odd": 2, "new": 1})
    assert list(found.labels) == ["odd", "new"]


def test_a_row_of_several_labels_is_counted_once_and_each_of_its_unknown_labels_once():
    rows = [{"text": "a", "labels": ["late", "odd", "new"]}, {"text": "b", "labels": []}]
    assert unknown_labels(rows, ("late",)) == Unknown(1, {"new": 1, "odd": 1})


def test_of_tags_the_entity_types_are_the_labels():
    rows = [{"text": "a b", "tags": ["B-PER", "I-LOC"]}, {"text": "c", "tags": ["O"]}]
    assert unknown_labels(rows, TAGS) == Unknown(1, {"LOC": 1})


def test_labels_that_look_like_tags_stay_whole_where_they_are_no_tags():
    assert unknown_labels(labelled("B-PER", "yes"), ("B-PER", "other")) == Unknown(1, {"yes": 1})


def test_numbers_are_no_labels():
    assert unknown_labels([{"text": "a", "label": 2.5}], ()) == Unknown(0, {})
    check_known([{"text": "a", "label": 2.5}], (), "a model")


def test_rows_of_which_no_label_is_known_are_refused_with_both_sides_named():
    with pytest.raises(DataError, match="knows none of the labels of these rows: '0', '1'") as raised:
        check_known(labelled("0", "1"), ("bad", "good"), "desk")
    assert "'bad', 'good'" in raised.value.expected


def test_one_known_label_is_enough_and_so_are_rows_without_any_entity():
    check_known(labelled("good", "odd"), ("bad", "good"), "desk")
    check_known([{"text": "c", "tags": ["O"]}], TAGS, "tagger")


def test_the_report_tells_of_unknown_labels_and_escapes_them():
    rows, predictions = classified(20)
    told = page(evaluation_of(rows, predictions, ("bad", "good"), unknown=Unknown(3, {"<b>odd</b>": 3})))
    assert "never taught" in told
    assert "&lt;b&gt;odd" in told
    assert "<b>odd" not in told
