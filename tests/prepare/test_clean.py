"""Cleaning of texts, and the verbs that write cleaned, anonymised and split rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luban.config import PrepareConfig
from luban.stages.prepare import anonymise, clean, clean_text, load, split
from luban.tasks import TASKS

CLASSES, TAGS = TASKS["text-classification"], TASKS["token-classification"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("cafe\u0301", "café"),
        ("a\u00a0b\t c", "a b c"),
        ("a\r\nb\n\n\n\nc", "a\nb\n\nc"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("bell\x07", "bell"),
        ("<p>One</p><p>two &amp; three</p>", "One\n\ntwo & three"),
        ("a<br/>b", "a\nb"),
        ("<b>bold</b>ly", "boldly"),
        ('<a href="x?a=1&b=2">link</a>', "link"),
        ("<script>var a = '<p>';</script>text", "text"),
        ("a<!-- secret -->b", "ab"),
        ("a < b and c > d", "a < b and c > d"),
        ("if x<y then <b>z</b>", "if x<y then z"),
        ("推荐<红楼>的<荐书>", "推荐<红楼>的<荐书>"),
        ("I <3 you", "I <3 you"),
        ("AT&T, R&D; &c", "AT&T, R&D; &c"),
        ("&lt;b&gt; is bold", "<b> is bold"),
        ("5 &#36; &#x4e2d;", "5 $ 中"),
        ("family 👨‍👩‍👧", "family 👨‍👩‍👧"),
        ("ＡＢ１２，好", "ＡＢ１２，好"),
    ],
)
def test_what_is_cleaned_and_what_is_left(before: str, after: str) -> None:
    assert clean_text(before) == after


def test_full_width_letters_are_folded_when_asked() -> None:
    assert clean_text("ＡＢ１２，好", fold_width=True) == "AB12，好"


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab <>&;/p\n\u00a0\u200bé中'\"=!-"), max_size=40))
def test_cleaning_without_html_twice_changes_nothing_more(text: str) -> None:
    once = clean_text(text, html=False)
    assert clean_text(once, html=False) == once


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_can_be_cleaned(text: str) -> None:
    assert clean_text(text).strip() == clean_text(text)


def written(folder: Path, rows: list[dict[str, object]]) -> str:
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf8")
    return str(folder / "rows.jsonl")


def test_cleaned_rows_are_written_without_copies(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": "<p>Hi</p>", "label": "a"},
        {"text": "hi", "label": "a"},
        {"text": "hi", "label": "b"},
        {"text": "", "label": "b"},
    ]
    report = clean(written(tmp_path, rows), CLASSES, tmp_path / "out")
    assert [dict(row) for row in load(str(tmp_path / "out"), CLASSES).parts["train"].rows] == [
        {"text": "Hi", "label": "a"},
        {"text": "hi", "label": "b"},
    ]
    assert (report.rows_in, report.rows, report.changed) == (4, {"train": 2}, 1)
    assert [(reject.row, reject.reason[:13]) for reject in report.rejects] == [
        (4, "the text is e"),
        (2, "the same text"),
    ]
    assert len((tmp_path / "out" / "rejects.jsonl").read_text().splitlines()) == 2


def test_cleaning_leaves_tagged_rows_alone(tmp_path: Path) -> None:
    row: dict[str, object] = {"text": "Hi  <b>Bob</b>", "entities": [{"start": 7, "end": 10, "label": "P"}]}
    clean(written(tmp_path, [row]), TAGS, tmp_path / "out")
    (found,) = load(str(tmp_path / "out"), TAGS).parts["train"].rows
    assert found["text"] == "Hi  <b>Bob</b>"
    assert [found["text"][a:b] for (a, b), tag in zip(found["words"], found["tags"], strict=True) if tag != "O"] == [
        "Bob"
    ]


def test_personal_data_is_replaced_in_texts(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": "mail ann@corp.org", "label": "a"}, {"text": "ok", "label": "b"}]
    report = anonymise(written(tmp_path, rows), CLASSES, tmp_path / "out")
    found = load(str(tmp_path / "out"), CLASSES).parts["train"].rows
    assert [row["text"] for row in found] == ["mail user@example.com", "ok"]
    assert report.changed == 1


def test_tags_stay_in_step_when_personal_data_is_replaced(tmp_path: Path) -> None:
    text = "Ann (a.n@corp.org, 13912345678) likes Rome"
    entities = [
        {"start": text.index(w), "end": text.index(w) + len(w), "label": k}
        for w, k in (("Ann", "P"), ("corp", "O"), ("Rome", "L"))
    ]
    anonymise(written(tmp_path, [{"text": text, "entities": entities}]), TAGS, tmp_path / "out")
    (row,) = load(str(tmp_path / "out"), TAGS).parts["train"].rows
    assert row["text"] == "Ann (user@example.com, 13800138000) likes Rome"
    words = [row["text"][start:end] for start, end in row["words"]]
    assert words == ["Ann", "(", "user@example.com", ",", "13800138000", ")", "likes", "Rome"]
    assert [(word, tag) for word, tag in zip(words, row["tags"], strict=True) if tag != "O"] == [
        ("Ann", "B-P"),
        ("Rome", "B-L"),
    ]


def test_split_rows_are_a_source_again(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(40)]
    report = split(written(tmp_path, rows), CLASSES, tmp_path / "out", PrepareConfig(valid_share=0.25, test_share=0.25))
    loaded = load(str(tmp_path / "out"), CLASSES)
    assert (
        {name: len(part.rows) for name, part in loaded.parts.items()}
        == report.rows
        == {"train": 20, "valid": 10, "test": 10}
    )
