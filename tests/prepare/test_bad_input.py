"""What people get wrong: each gives a `DataError` that names file, row, column and remedy, and never a traceback."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import pytest

from luban.config import PrepareConfig
from luban.errors import DataError
from luban.stages.prepare import load, prepare
from luban.stages.prepare.base import MAX_LINE
from luban.tasks import TASKS

CLASSES, TAGS = TASKS["text-classification"], TASKS["token-classification"]


@cache
def endless() -> bytes:
    """100 MiB in the third line, packed."""
    return gzip.compress(b"text,label\na,x\n" + b"x" * (100 * 2**20), compresslevel=1)


def refused(
    folder: Path, name: str, content: str | bytes, *, task: str = "text-classification", **config: object
) -> DataError:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        prepare(PrepareConfig.model_validate({"source": str(path), **config}), TASKS[task])
    assert name in str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_a_wrong_column_is_answered_with_those_there_and_the_nearest(tmp_path: Path) -> None:
    error = refused(tmp_path, "a.csv", "txet,label\na,x\nb,y\n")
    assert (error.column, error.expected) == ("text", "The columns are: txet, label.")
    assert "--columns text=COLUMN" in error.remedy
    assert "'txet'" in error.remedy


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, "a.csv", "body,label\na,x\n", columns={"text": "boby"})
    assert "'body'" in error.remedy


def test_a_name_that_the_task_does_not_know_is_refused(tmp_path: Path) -> None:
    assert "'label'" in refused(tmp_path, "a.csv", "text,label\na,x\n", columns={"labl": "label"}).remedy


def test_a_ragged_row_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path, "a.csv", "text,label\na,x\nb, and more,y\n")
    assert error.row == 3
    assert "double quotes" in error.remedy


def test_half_a_json_line_is_named(tmp_path: Path) -> None:
    error = refused(
        tmp_path, "a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "la\n{"text": "c", "label": "y"}\n'
    )
    assert error.row == 2


def test_half_a_json_document_is_refused(tmp_path: Path) -> None:
    assert "whole JSON" in str(refused(tmp_path, "a.json", '[{"text": "a", "label": "x"}, {"text"'))


def test_json_nested_beyond_reason_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "a.json", "[" * 100_000)


def test_half_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, "a.jsonl", '{"text": "a", "label": "x"}\n{"text": "\\ud800", "label": "y"}\n')
    assert error.row == 2


def test_more_tags_than_tokens_are_named(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", "b"], "tags": ["O", "B-X"]}, {"tokens": ["a"], "tags": ["O", "O"]}]
    error = refused(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), task="token-classification")
    assert (error.row, error.column) == (2, "tags")


def test_a_word_without_a_tag_is_named(tmp_path: Path) -> None:
    content = "".join(f"w{i} O\n" for i in range(20)) + "\nPeter B-PER\nlonely\nEU B-ORG\n"
    error = refused(tmp_path, "a.conll", content, task="token-classification")
    assert (error.row, error.column) == (23, "tags")


def test_parallel_files_out_of_step_are_refused(tmp_path: Path) -> None:
    (tmp_path / "seq.in").write_text("a b\nc d\n")
    (tmp_path / "seq.out").write_text("O B-X\n")
    with pytest.raises(DataError, match=r"row 2.*seq\.out ends here"):
        load(str(tmp_path), TAGS)


def test_an_entity_that_stands_elsewhere_is_named(tmp_path: Path) -> None:
    record = {"text": "I saw Bob", "entities": [{"start": 0, "end": 3, "text": "Bob", "label": "P"}]}
    error = refused(tmp_path, "a.jsonl", json.dumps(record), task="token-classification")
    assert (error.row, error.column) == (1, "entities")


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    assert "two classes" in refused(tmp_path, "a.csv", "text,label\na,x\nb,x\nc,x\n").expected


@pytest.mark.parametrize("content", ["", " \n\n \n", "text,label\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    refused(tmp_path, "a.csv", content)


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\0\0",
        b"PK\x03\x04junk",
        bytes(range(1, 32)) * 40,
        b"text,label\na\0b,x\n",
        b"\x1f\x8b\x08junk",
    ],
)
def test_a_binary_file_is_refused(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, "a.csv", content)


def test_a_nul_byte_is_named_with_its_row(tmp_path: Path) -> None:
    assert refused(tmp_path, "a.csv", b"text,label\na,x\nb\0,y\n").row == 3


def test_a_gzip_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"text,label\n" + b"".join(b"row %d,x\n" % (i * i) for i in range(5000)))
    refused(tmp_path, "a.csv.gz", whole[: len(whole) // 2])


def test_a_parquet_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "a.parquet", b"PAR1 and nothing more")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.conll", "a.txt"])
def test_a_line_without_end_is_refused_without_being_read_whole(tmp_path: Path, name: str) -> None:
    error = refused(tmp_path, f"{name}.gz", endless())
    assert error.row == 3
    assert f"{MAX_LINE // 2**20} MiB" in error.fact


def test_bytes_that_are_no_text_in_any_coding_are_refused(tmp_path: Path) -> None:
    content = b"text,label\n" + b"\xff\xfe\x81\x8d \xc3\x28,x\n" * 50
    assert "UTF-8" in refused(tmp_path, "a.csv", content).remedy


def test_a_quote_that_never_closes_is_named_where_it_opens(tmp_path: Path) -> None:
    content = 'text,label\na,x\n"b,y\n' + "".join(f"text {i},z\n" for i in range(3000))
    error = refused(tmp_path, "a.csv", content)
    assert error.row == 3
    assert "never closed" in error.fact


def test_an_empty_cell_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path, "a.csv", "utterance,intent\na,x\nb,\n")
    assert (error.row, error.column) == (3, "intent")


def test_a_path_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text("text,label\n")
    with pytest.raises(DataError, match=r"does not exist.*'tickets\.csv'"):
        load(str(tmp_path / "tikets.csv"), CLASSES)


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000])
def test_a_path_that_cannot_be_one_is_refused(path: str) -> None:
    with pytest.raises(DataError):
        load(path, CLASSES)


def test_a_folder_without_parts_is_answered_with_what_it_holds(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("text,label\na,x\n")
    with pytest.raises(DataError, match=r"no part.*a\.csv, b\.csv"):
        load(str(tmp_path), CLASSES)


def test_a_folder_without_train_cannot_be_learnt_from(tmp_path: Path) -> None:
    for name in ("dev.csv", "test.csv"):
        (tmp_path / name).write_text("text,label\na,x\nb,y\n")
    with pytest.raises(DataError, match="no train part"):
        prepare(PrepareConfig(source=str(tmp_path)), CLASSES)


def test_a_header_that_repeats_a_name_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "a.csv", "text,label,text\na,x,b\n").column == "text"


def test_a_group_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "a.csv", "text,label\na,x\nb,y\n", group="user").column == "user"
