"""Rows of several kinds: what is missing, what is unknown, and what is no number are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luban.errors import DataError
from luban.gathered import FARTHEST, MISSING, MOST, UNKNOWN, Gathered, RowEncoder, Table
from luban.pictures import PictureEncoder, made
from luban.tasks.multimodal_classification import MultimodalClassification
from luban.testing import SAMPLES, TINY_SIGHT, TaskContract, tiny_encoder
from tests.multimodal.rows import TASK

ROWS = [MultimodalClassification.parse(row) for row in SAMPLES[TASK]]
FITTED = MultimodalClassification.fit(ROWS)


def reader(limit: int = 64, *, hide: float = 0.0) -> RowEncoder:
    return RowEncoder(tiny_encoder(limit), PictureEncoder(TINY_SIGHT), FITTED.table, hide=hide)


def window(row: dict[str, Any], *, hide: float = 0.0) -> Gathered:
    (found,) = reader(hide=hide).row(FITTED.canonical(row)).windows
    assert isinstance(found, Gathered)
    return found


class TestMultimodalClassification(TaskContract):
    task = MultimodalClassification
    rows = SAMPLES[TASK]

    def encoder(self, limit: int = 64) -> Any:
        return reader(limit)


@pytest.mark.parametrize("blank", [None, "", "  ", "NA", "nan", "None", float("nan")])
def test_a_number_may_be_missing_in_many_words(blank: Any) -> None:
    assert (
        MultimodalClassification.parse({"text": "hello", "number:price": blank, "label": "a"})["number:price"] is None
    )


@pytest.mark.parametrize("wrong", ["twelve", "1,200", "inf", [1], {"a": 1}])
def test_what_is_no_number_is_told_with_its_field(wrong: Any) -> None:
    with pytest.raises(DataError, match="'price' holds finite numbers"):
        MultimodalClassification.parse({"number:price": wrong, "label": "a"})


@pytest.mark.parametrize("wrong", [["a"], {"a": 1}])
def test_a_category_is_one_value(wrong: Any) -> None:
    with pytest.raises(DataError, match="is no category"):
        MultimodalClassification.parse({"category:brand": wrong, "label": "a"})


def test_a_whole_number_is_the_same_category_however_it_is_written() -> None:
    rows = [MultimodalClassification.parse({"category:year": year, "label": "a"}) for year in (2024, 2024.0, " 2024 ")]
    assert [row["category:year"] for row in rows] == ["2024"] * 3


@pytest.mark.parametrize("row", [{}, {"text": " "}, {"number:price": "", "category:brand": None}])
def test_a_row_of_which_nothing_is_there_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="nothing of the row is there"):
        MultimodalClassification.parse(row | {"label": "a"})


def test_fields_are_asked_for_by_their_own_names() -> None:
    asked = FITTED.canonical({"text": "hello", "price": "3.5", "brand": "north", "id": "7"})
    assert asked == {"text": "hello", "number:price": 3.5, "category:brand": "north"}
    assert FITTED.question(asked | {"label": "good"}) == {"text": "hello", "price": 3.5, "brand": "north"}


def test_a_field_that_the_model_does_not_know_is_told_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no field 'prise'.*Did you mean 'price'"):
        FITTED.canonical({"prise": 3})


def test_an_error_in_a_field_names_it_as_it_was_asked() -> None:
    with pytest.raises(DataError) as raised:
        FITTED.canonical({"price": "dear"})
    assert raised.value.column == "price"


def test_what_the_model_does_not_read_does_not_count_as_being_there() -> None:
    only_fields = MultimodalClassification.fit(
        [{"number:price": 1.0, "label": "a"}, {"number:price": 2.0, "label": "b"}]
    )
    with pytest.raises(DataError, match="At least one of price"):
        only_fields.canonical({"text": "hello"})


def test_numbers_are_standardised_and_flagged_where_they_are_missing() -> None:
    table = Table.fit([{"number:price": 10.0}, {"number:price": 20.0}, {"number:price": None}])
    np.testing.assert_allclose(table.read({"number:price": 20.0})[0], [1.0, 0.0])
    np.testing.assert_allclose(table.read({})[0], [0.0, 1.0])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_number_lies_farther_out_than_the_farthest(value: float) -> None:
    numbers, _ = Table({"price": (3.0, 2.0)}, {}).read({"number:price": value})
    assert np.isfinite(numbers).all()
    assert abs(numbers[0]) <= FARTHEST


def test_equal_numbers_do_not_divide_by_nothing() -> None:
    assert Table.fit([{"number:price": 7.0}] * 3).read({"number:price": 8.0})[0][0] == 1.0


def test_values_that_training_did_not_see_are_unknown_and_empty_ones_missing() -> None:
    table = Table.fit([{"category:brand": "north"}, {"category:brand": "south"}])
    places = [table.read({"category:brand": value})[1][0] for value in (None, "west", "north", "south")]
    assert places == [MISSING, UNKNOWN, 2, 3]


def test_of_many_values_the_most_frequent_are_told_apart() -> None:
    rows = [{"category:word": str(i)} for i in range(MOST + 50)] + [{"category:word": "often"}] * 2
    (known,) = Table.fit(rows).categories.values()
    assert len(known) == MOST
    assert "often" in known


def test_a_field_that_no_row_has_is_no_field() -> None:
    assert Table.fit([{"number:price": None, "category:brand": None}]).fields == ()


def test_settings_keep_all_that_is_known_of_fields() -> None:
    assert Table.of(FITTED.settings).read(ROWS[0])[0].tolist() == FITTED.table.read(ROWS[0])[0].tolist()


def test_what_is_there_of_a_row_can_be_taken_away() -> None:
    whole = window({"text": "hello", "image": made(1), "price": 3, "brand": "north"})
    assert whole.kinds == ("text", "image", "number:price", "category:brand")
    assert whole.without({"image", "number:price"}).kinds == ("text", "category:brand")
    assert whole.without(whole.kinds).kinds == ()


def test_a_row_without_a_text_is_the_same_as_one_whose_text_was_taken_away() -> None:
    taken = window({"text": "hello", "price": 3}).without({"text"})
    bare = window({"price": 3})
    for name, array in Gathered.batched([taken], 0).items():
        np.testing.assert_array_equal(array, Gathered.batched([bare], 0)[name])
    assert taken.key == bare.key


def test_rows_of_different_kinds_stand_in_one_batch() -> None:
    batch = Gathered.batched([window({"text": "hello"}), window({"image": made(1)}), window({"price": 3})], 0)
    assert batch["present"].tolist() == [[1, 0], [0, 1], [0, 0]]
    assert batch["pixel_values"].shape == (3, 3, 32, 32)
    assert batch["numbers"].tolist()[0] == [0.0, 1.0]
    assert not batch["pixel_values"][0].any()


def test_a_long_text_is_read_in_windows_that_all_have_the_rest_of_the_row() -> None:
    encoded = reader(8).row(FITTED.canonical({"text": "good film " * 12, "price": 3}))
    assert len(encoded.windows) > 1
    assert all("number:price" in one.kinds for one in encoded.windows if isinstance(one, Gathered))


def test_kinds_are_hidden_while_a_model_learns_but_never_all_of_them() -> None:
    whole = window({"text": "hello", "image": made(1), "price": 3, "brand": "north"}, hide=0.6)
    rng = np.random.default_rng(1)
    seen = [whole.seen(lambda: rng).kinds for _ in range(200)]
    assert all(seen)
    assert {("text",), ("image",)} <= set(seen)
    assert sum("text" not in kinds for kinds in seen) > 50


def test_nothing_is_hidden_where_nothing_is_to_be() -> None:
    whole = window({"text": "hello", "price": 3})
    assert whole.seen(np.random.default_rng).kinds == whole.kinds


def test_a_category_is_now_and_then_unknown_while_a_model_learns() -> None:
    whole = window({"text": "hello", "brand": "north"}, hide=0.01)
    rng = np.random.default_rng(1)
    assert UNKNOWN in {int(whole.seen(lambda: rng).categories[0]) for _ in range(300)}


@pytest.mark.parametrize("row", [{"text": "hello"}, {"image": made(1)}, {"price": 3}])
def test_varied_rows_are_of_one_length_and_differ(row: dict[str, Any]) -> None:
    whole = window(row)
    assert whole.varied(1).length == whole.length
    assert whole.varied(1).key != whole.key
