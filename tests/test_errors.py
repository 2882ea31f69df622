"""Errors for people: what they say, and how the command line leaves."""

from __future__ import annotations

import pytest

from luban import errors
from luban.errors import (
    ConfigError,
    DataError,
    GateError,
    LubanError,
    MissingExtra,
    ParityError,
    ServiceError,
    UnknownName,
    counted,
    nearest_hint,
)


def test_a_message_is_three_sentences() -> None:
    assert str(LubanError("It broke.", "It should hold.", "Mend it.")) == "It broke. It should hold. Mend it."


def test_a_sentence_that_is_not_needed_leaves_no_gap() -> None:
    assert str(LubanError("It broke.", remedy="Mend it.")) == "It broke. Mend it."


def test_bad_rows_are_named_by_file_row_and_column() -> None:
    error = DataError("'x' is no number.", "A number is expected.", "Mend it.", file="a.csv", row=7, column="label")
    assert str(error) == "file a.csv, row 7, column label: 'x' is no number. A number is expected. Mend it."


def test_only_the_known_part_of_a_place_is_named() -> None:
    assert str(DataError("It is empty.", column="text")) == "column text: It is empty."
    assert str(DataError("It is empty.")) == "It is empty."


def test_a_missing_extra_names_its_command() -> None:
    assert "pip install fastapi " in str(MissingExtra("Serving", "serve"))


def test_an_unknown_name_lists_the_known_in_order() -> None:
    assert "Known: a, b." in str(UnknownName("thing", "c", ["b", "a"]))


def test_a_parity_error_names_the_stage() -> None:
    error = ParityError("export", "row 3 differs.")
    assert error.stage == "export"
    assert str(error).startswith("export: row 3 differs.")


def test_a_full_server_has_a_status() -> None:
    assert ServiceError("The queue is full.", status=429).status == 429


@pytest.mark.parametrize(("error", "code"), [(ConfigError, 2), (DataError, 2), (LubanError, 2), (GateError, 1)])
def test_exit_codes_are_those_of_the_design(error: type[LubanError], code: int) -> None:
    assert error("x").exit_code == code


def test_a_failed_hand_off_is_a_failed_gate() -> None:
    assert ParityError("export", "x").exit_code == 1


def test_the_tree_in_the_docstring_names_every_error() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LubanError)]
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in kinds)


def test_a_far_name_has_no_hint() -> None:
    assert nearest_hint("quantum", ["csv", "tsv"]) == ""
    assert nearest_hint("cvs", ["csv", "xml"]) == "Did you mean 'csv'?"


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [
        (1, "row", "1 row"),
        (0, "row", "0 rows"),
        (2000, "cell", "2,000 cells"),
        (2, "entity", "2 entities"),
        (3, "class", "3 classes"),
    ],
)
def test_a_count_agrees_with_its_noun(count: int, noun: str, said: str) -> None:
    assert counted(count, noun) == said
