"""The Chinese of errors: the table holds every sentence of the sources and nothing else, and finds it again."""

from __future__ import annotations

import re
from functools import cache
from string import Formatter

import pytest

from luban import chinese
from luban.chinese import areas, in_chinese, prefers_chinese, table, translated
from luban.errors import ConfigError, DataError, ServiceError, UnknownName, counted
from tests.sentences import Collector

COMMAND = re.compile(r"pip install |\{\} --help$")
"what is typed is the same in every language"
NOT_SAID = {"places", "typed wrongly"}


@cache
def said() -> dict[str, set[str]]:
    return {template: places for template, places in Collector().found.items() if not COMMAND.match(template)}


def fields(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name is not None]


def test_every_sentence_of_an_error_is_in_the_table() -> None:
    missing = {template: min(places) for template, places in said().items() if template not in table()}
    assert not missing, "chinese.toml lacks:\n" + "\n".join(f"  {at}: {text}" for text, at in missing.items())


def test_every_sentence_of_the_table_is_said() -> None:
    known = {text for area, pairs in areas().items() if area not in NOT_SAID for text in pairs}
    assert sorted(known - set(said())) == []


def test_no_sentence_stands_twice_in_the_table() -> None:
    assert len(table()) == sum(len(pairs) for area, pairs in areas().items() if area != "places")


def test_a_chinese_sentence_names_each_value_of_the_english_one_and_no_other() -> None:
    wrong = []
    for english, other in table().items():
        named = fields(other)
        numbers = range(len(fields(english)))
        told = [int(name) if name else place for place, name in enumerate(named)]
        wrong += [english] if sorted(told) != list(numbers) or len({bool(name) for name in named}) > 1 else []
    assert wrong == []


def test_every_sentence_is_found_again_with_its_values() -> None:
    """A template that a more general one took the sentences of would never be shown."""
    lost = []
    for english, other in table().items():
        kinds = [kind for _, name, kind, _ in Formatter().parse(english) if name is not None]
        values = [3 if kind == "n" else f"'v{place}'" for place, kind in enumerate(kinds)]
        if translated(english.format(*values)) != other.format(*(chinese.Value(value) for value in values)):
            lost.append(english)
    assert lost == []


def test_the_collector_sees_a_sentence_that_a_small_function_hands_on() -> None:
    found = said()
    assert "The server is shutting down." in found
    assert "{} has no weights in safetensors, only {}." in found
    assert "Name it with --columns {}=COLUMN. Did you mean {}?" in found


@pytest.mark.parametrize(
    ("english", "expected"),
    [
        ("the row has 3 cells.", "该行有 3 个单元格。"),
        ("there are 1 token and 2 tags.", "有 1 个词元和 2 个标注。"),
        ("Row 3: the text has 12 characters.", "第 3 行：文本有 12 个字符。"),
        ("A readable file was expected.", "应为可读的文件。"),
        ("file a b.csv, row 3: the row has 3 cells.", "文件 a b.csv，第 3 行：该行有 3 个单元格。"),
        ("export: the golden row 3 gave a instead of b (off by 0.5).", "导出：黄金样例 3 得到 a，而不是 b（相差 0.5）。"),
        ("Its columns: text, label.", "它的列有：text, label。"),
        ("the text is empty. A row needs text to learn from.", "文本是空的。要学习，一行必须有文本。"),
        ("1 row with an empty cell: the text is empty.", "1 行有空单元格：文本是空的。"),
        ("Nobody wrote this sentence.", "Nobody wrote this sentence."),
        ("", ""),
    ],
)  # fmt: skip
def test_a_sentence_is_said_in_chinese(english: str, expected: str) -> None:
    assert translated(english) == expected


def test_the_name_of_a_column_is_not_translated() -> None:
    assert translated("column label: the label is empty.") == "列 label：标签是空的。"


def test_a_kind_of_thing_is_translated_where_it_is_named() -> None:
    told = in_chinese(UnknownName("task", "label", ["text-pair"]))
    assert told.happened == "没有名为 'label' 的任务。"


def test_the_place_of_a_data_error_stays_apart() -> None:
    told = in_chinese(DataError("the text is empty.", file="a.csv", row=2, column="text"))
    assert isinstance(told, DataError)
    assert told.fact == "文本是空的。"
    assert (told.file, told.row, told.column) == ("a.csv", 2, "text")
    assert told.happened == "文件 a.csv，第 2 行，列 text：文本是空的。"


def test_the_status_of_a_service_error_stays() -> None:
    told = in_chinese(ServiceError("The server is shutting down.", status=503))
    assert isinstance(told, ServiceError)
    assert told.status == 503


def test_three_sentences_are_translated() -> None:
    told = in_chinese(ConfigError("No task is given.", "Known: a.", "For example: --task text-classification"))
    assert str(told) == "没有给出任务。 可用的有：a。 例如：--task text-classification"


@pytest.mark.parametrize("noun", ["row", "entity", "class"])
def test_counts_have_their_measure_word(noun: str) -> None:
    assert translated(counted(1, noun))[:2] == translated(counted(2000, noun))[:2].replace("2,", "1 ") != ""


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("zh", True),
        ("zh-Hans-CN", True),
        ("zh, en", True),
        ("en, zh", False),
        ("en;q=0.5, zh;q=0.8", True),
        ("zh;q=0.1, en", False),
        ("zh;q=0", False),
        ("fr, zh;q=0.5", True),
        ("zhuang", False),
        ("", False),
    ],
)
def test_a_client_prefers_chinese_by_the_weight_it_gives(header: str, wanted: bool) -> None:
    assert prefers_chinese(header) is wanted
