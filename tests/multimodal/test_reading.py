"""Which columns of a table are fields, and what is read of rows in which something is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from luban import verbs
from luban.config import PrepareConfig
from luban.errors import ConfigError, DataError
from luban.records import Prepared
from luban.stages.prepare import prepare
from luban.stages.prepare.base import Table
from luban.stages.prepare.fields import Wanted, fields_of
from luban.tasks.multimodal_classification import MultimodalClassification
from tests.multimodal.rows import TASK, records, written


def read(source: str, **options: Any) -> Prepared:
    return prepare(PrepareConfig.model_validate({"source": source, **options}), MultimodalClassification)


def table(columns: dict[str, list[Any]]) -> Table:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return Table(Path("rows.csv"), "csv", tuple(columns), lambda: iter(list(enumerate(rows, 2))))


def test_columns_are_recognised_by_their_names_and_their_values(tmp_path: Path) -> None:
    assert read(written(tmp_path)).columns == {
        "text": "title", "image": "photo", "number:price": "price", "category:brand": "brand", "label": "label",
    }  # fmt: skip


def test_named_fields_are_taken_and_no_others(tmp_path: Path) -> None:
    columns = read(written(tmp_path), categories=("price",)).columns
    assert columns["category:price"] == "price"
    assert "category:brand" not in columns


def test_a_field_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'prise'.*Did you mean 'price'"):
        read(written(tmp_path), numbers=("prise",))


def test_a_field_that_is_the_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'label' is read as 'label' already"):
        read(written(tmp_path), categories=("label",))


def test_fields_are_refused_for_tasks_that_read_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="text-classification reads none"):
        verbs.prepare(PrepareConfig(source=written(tmp_path), numbers=("price",)), "text-classification")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("id", list(range(30))),
        ("customer_id", ["c1", "c2", "c3"] * 10),
        ("row", list(range(1, 31))),
        ("country", ["x"] * 30),
        ("notes", [f"a note of its own, number {i}" for i in range(30)]),
        ("tags", [["a"], ["b"]] * 15),
    ],
)
def test_columns_that_say_nothing_are_passed_over(name: str, values: list[Any]) -> None:
    assert fields_of(table({name: values}), {}, Wanted()) == {}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5, "2", "", None, 7] * 6, "number:"),
        (["1", "2.5", "3"] * 9 + ["dear"], "number:"),
        (["a", "b", ""] * 10, "category:"),
        ([True, False] * 15, "category:"),
        (["1", "a", "b"] * 10, "category:"),
    ],
)
def test_values_tell_numbers_from_categories(values: list[Any], kind: str) -> None:
    assert list(fields_of(table({"what": values}), {}, Wanted())) == [f"{kind}what"]


def test_a_field_that_a_model_knows_may_be_missing_in_a_table() -> None:
    known = Wanted.known(["text", "number:price", "category:brand", "label"])
    assert fields_of(table({"price": [1, 2], "other": [3, 5]}), {}, known) == {"number:price": "price"}


def test_a_bad_number_names_file_row_and_column(tmp_path: Path) -> None:
    rows = records()
    rows[2]["price"] = "dear"
    with pytest.raises(DataError, match="'dear' is no number") as raised:
        read(written(tmp_path, rows))
    assert (raised.value.row, raised.value.column) == (4, "price")


def test_bad_rows_are_set_aside_with_their_reasons(tmp_path: Path) -> None:
    rows = records()
    rows[1]["price"], rows[4]["photo"] = "dear", "photos/none.png"
    rows[5] |= {"title": "", "photo": "", "price": "", "brand": ""}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    rows[7]["photo"] = "photos/broken.png"
    data = read(written(tmp_path, rows), strict=False)
    reasons = [reject.reason for reject in data.rejects]
    assert [reject.row for reject in data.rejects] == [3, 6, 7, 9]
    for reason, part in zip(
        reasons, ("is no number", "cannot be opened", "nothing of the row", "cannot be read"), strict=True
    ):
        assert part in reason


def test_missing_values_are_nothing_in_every_row(tmp_path: Path) -> None:
    rows = records()
    rows[0] |= {"title": "", "photo": "", "brand": "", "price": "4"}
    data = read(written(tmp_path, rows))
    (row,) = (row for row in [*data.train, *data.valid] if row["number:price"] == 4.0)
    assert [row[name] for name in ("text", "image", "category:brand")] == [None] * 3


def test_rows_with_other_fields_are_no_copies_of_each_other(tmp_path: Path) -> None:
    rows = [row | {"title": "", "photo": "", "brand": "north", "price": str(i * i)} for i, row in enumerate(records())]
    data = read(written(tmp_path, rows), drop_duplicates=True)
    assert len(data.train) + len(data.valid) == len(rows)
    assert data.notes["leaked"] == {"valid": 0, "test": 0}


def test_another_file_is_read_with_the_fields_of_the_training_rows(tmp_path: Path) -> None:
    few = [row | {"price": "7" if i else "dear"} for i, row in enumerate(records(4))]
    valid = written(tmp_path, few, name="valid.csv")
    with pytest.raises(DataError, match="'dear' is no number"):
        read(written(tmp_path), valid=valid)


def test_rows_that_are_split_are_read_back_to_the_same_rows(tmp_path: Path) -> None:
    source = written(tmp_path / "in")
    done = verbs.mended("split", PrepareConfig(source=source), TASK, tmp_path / "out")
    data = read(str(tmp_path / "out"))
    assert done.fingerprint == data.fingerprint
    assert {"number:price", "category:brand"} <= set(data.columns)


def test_rows_are_cleaned_and_anonymised_whatever_is_missing(tmp_path: Path) -> None:
    rows = records()
    rows[1]["title"] = "write to bob@example.com"
    source = written(tmp_path / "in", rows)
    for verb in ("clean", "anonymise"):
        done = verbs.mended(verb, PrepareConfig(source=source), TASK, tmp_path / verb)
        assert sum(done.rows.values()) + len(done.rejects) == len(rows)
    assert "bob@" not in (tmp_path / "anonymise" / "train.jsonl").read_text(encoding="utf8")


def test_rows_are_checked_whatever_is_missing(tmp_path: Path) -> None:
    checked = verbs.check(PrepareConfig(source=written(tmp_path)), TASK)
    assert not checked.failed
