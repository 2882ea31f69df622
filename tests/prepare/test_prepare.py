"""The stage as a whole: rows in = rows out + rejects, splits without leaks, fingerprints."""

from __future__ import annotations

import csv
import io
import json
import string
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luban.config import PrepareConfig
from luban.errors import DataError, LubanError
from luban.stages.prepare import load, normalised, prepare, write_rejects
from luban.stages.prepare.clean import clean_text
from luban.stages.prepare.split import split, text_key
from luban.tasks import TASKS

CLASSES, TAGS = TASKS["text-classification"], TASKS["token-classification"]
MANY = "text,label,user\n" + "".join(f"row {i} of them,{'ab'[i % 2]},u{i % 17}\n" for i in range(200))
EXTENSIONS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".conll", ".parquet", ".csv.gz", ".dat", "")


def source(folder: Path, content: str, name: str = "a.csv") -> str:
    (folder / name).write_text(content, encoding="utf8")
    return str(folder / name)


def test_valid_rows_are_split_off_in_the_share_asked_for(tmp_path: Path) -> None:
    prepared = prepare(PrepareConfig(source=source(tmp_path, MANY), valid_share=0.2, test_share=0.1), CLASSES)
    assert (len(prepared.train), len(prepared.valid), len(prepared.test)) == (140, 40, 20)
    assert Counter(row["label"] for row in prepared.valid) == {"a": 20, "b": 20}


def test_the_notes_show_three_rows_and_what_was_understood(tmp_path: Path) -> None:
    notes = prepare(PrepareConfig(source=source(tmp_path, MANY)), CLASSES).notes
    assert notes["sample"][0] == {"text": "row 0 of them", "label": "a"}
    assert len(notes["sample"]) == 3
    assert notes["files"]["train"][0]["format"] == "CSV with header"


def test_equal_texts_never_stand_in_two_parts(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"{'Row' if i % 3 else 'ROW '} {i % 40},{'ab'[i % 2]}\n" for i in range(300))
    prepared = prepare(PrepareConfig(source=source(tmp_path, content), valid_share=0.3), CLASSES)
    assert not {text_key(row) for row in prepared.train} & {text_key(row) for row in prepared.valid}
    assert prepared.notes["leaked"] == {"valid": 0, "test": 0}


def test_a_group_stays_in_one_part(tmp_path: Path) -> None:
    prepared = prepare(PrepareConfig(source=source(tmp_path, MANY), group="user", valid_share=0.3), CLASSES)
    users = [{int(row["text"].split()[1]) % 17 for row in part} for part in (prepared.train, prepared.valid)]
    assert users[1]
    assert not users[0] & users[1]


def test_the_same_seed_gives_the_same_split_and_another_seed_another(tmp_path: Path) -> None:
    path = source(tmp_path, MANY)
    first, again, other = (prepare(PrepareConfig(source=path, seed=seed), CLASSES) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_every_class_keeps_a_row_to_learn_from() -> None:
    rows = [{"text": f"t{i}", "label": "rare" if i == 0 else "common"} for i in range(50)]
    rest = split(rows, [0.5])[-1]
    assert "rare" in {rows[i]["label"] for i in rest}


def test_numbers_are_split_over_their_whole_range() -> None:
    rows = [{"text": f"t{i}", "label": float(i)} for i in range(1000)]
    valid, _ = split(rows, [0.1])
    assert all(5 <= sum(low <= rows[i]["label"] < low + 100 for i in valid) <= 15 for low in range(0, 1000, 100))


def test_one_text_alone_cannot_be_split() -> None:
    with pytest.raises(DataError, match="one group"):
        split([{"text": "a", "label": "x"}] * 5, [0.5])


def test_a_separate_valid_source_is_used(tmp_path: Path) -> None:
    valid = source(tmp_path, "text,label\nnew one,a\n", "other.csv")
    prepared = prepare(PrepareConfig(source=source(tmp_path, MANY), valid=valid), CLASSES)
    assert (len(prepared.train), [row["text"] for row in prepared.valid]) == (200, ["new one"])


def test_bad_rows_are_set_aside_with_line_column_and_reason(tmp_path: Path) -> None:
    content = 'text,label\ngood,a\n,b\nalso good,b\ntoo,many,cells\n"open,a\nlast,a\n'
    loaded = load(source(tmp_path, content), CLASSES, config=PrepareConfig(strict=False))
    assert [(reject.row, reject.column) for reject in loaded.rejects] == [(3, "text"), (5, None), (6, None)]
    assert [row["text"] for row in loaded.parts["train"].rows] == ["good", "also good", "last"]


def test_rejects_are_written_one_a_line(tmp_path: Path) -> None:
    content = "text,label\ngood,a\n,b\nfine,b\n"
    loaded = load(source(tmp_path, content), CLASSES, config=PrepareConfig(strict=False))
    written = write_rejects(tmp_path / "out" / "rejects.jsonl", loaded.rejects)
    (line,) = written.read_text(encoding="utf8").splitlines()
    assert json.loads(line)["row"] == 3
    assert json.loads(line)["reason"].startswith("the text is empty.")


def test_duplicates_go_to_the_rejects_when_asked(tmp_path: Path) -> None:
    content = "text,label\nsame,a\nsame,a\nsame,b\nother,b\nthird,a\n"
    prepared = prepare(PrepareConfig(source=source(tmp_path, content), drop_duplicates=True, valid_share=0.3), CLASSES)
    assert [(reject.row, reject.reason) for reject in prepared.rejects] == [(3, "the same text and label as row 2.")]


def test_a_test_part_without_labels_is_set_aside_whole(tmp_path: Path) -> None:
    source(tmp_path, MANY, "train.csv")
    source(tmp_path, "text\nwho knows\nnobody\n", "test.csv")
    prepared = prepare(PrepareConfig(source=str(tmp_path)), CLASSES)
    assert len(prepared.test) == 0
    assert [reject.reason for reject in prepared.rejects] == ["the test part has no labels."] * 2


def test_texts_are_cleaned_unless_told_otherwise(tmp_path: Path) -> None:
    path = source(tmp_path, "text,label\n<p>a  b</p>,x\nc&amp;d,y\nplain,x\nother,y\n")
    cleaned = load(path, CLASSES).parts["train"]
    assert [row["text"] for row in cleaned.rows] == ["a b", "c&d", "plain", "other"]
    assert cleaned.cleaned == 2
    assert load(path, CLASSES, config=PrepareConfig(clean=False)).parts["train"].rows[1]["text"] == "c&amp;d"


def test_big_tables_go_through_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luban.stored.IN_MEMORY", 100)
    monkeypatch.setattr("luban.stored.CHUNK_ROWS", 7)
    loaded = load(source(tmp_path, MANY), CLASSES)
    assert [row["text"] for row in loaded.parts["train"].rows] == [f"row {i} of them" for i in range(200)]


def test_the_fingerprint_knows_the_order(tmp_path: Path) -> None:
    header, *lines = MANY.splitlines()
    turned = "\n".join([header, *reversed(lines)])
    test = source(tmp_path, MANY, "valid.csv")
    prints = {
        prepare(PrepareConfig(source=source(tmp_path, c), valid=test), CLASSES).fingerprint for c in (MANY, turned)
    }
    assert len(prints) == 2


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=40)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(PLAIN, st.sampled_from(["a", "b", ""])), min_size=1, max_size=12))
def test_rows_in_are_rows_out_and_rejects(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        lines = [json.dumps({"text": text, "label": label}, ensure_ascii=len(text) % 2 == 0) for text, label in rows]
        path.write_text("\n".join(lines), encoding="utf8")
        part = load(str(path), CLASSES, config=PrepareConfig(strict=False)).parts["train"]
    assert len(rows) == part.seen == len(part.rows) + len(part.rejects)
    good = [clean_text(text) for text, label in rows if label and clean_text(text)]
    assert [row["text"] for row in part.rows] == good


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(PLAIN, st.sampled_from("xyz")), min_size=1, max_size=8))
def test_csv_comes_back_as_it_was_written(rows: list[tuple[str, str]]) -> None:
    rows = [(text, label) for text, label in rows if text.strip()] or [("a", "x")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("text", "label"), *rows])
        controls = sum(ord(c) < 32 and c not in "\t\n\x0b\x0c\r" for c in text.getvalue())
        path.write_text(text.getvalue(), encoding="utf8", newline="")
        if controls > 8:
            return  # more control characters than text has: refused as binary, which is tested elsewhere
        found = load(str(path), CLASSES, config=PrepareConfig(clean=False)).parts["train"].rows
    assert [(row["text"], row["label"]) for row in found] == rows


FORMS = st.one_of(
    st.binary(max_size=300),
    st.text(st.sampled_from(string.printable + "酒店\ufeff"), max_size=300).map(lambda text: text.encode()),
    st.lists(
        st.sampled_from(['"', ",", "\t", "\n", "text", "label", "{", "}", "[", "]", ":", "O", "B-X", " ", "||", "1"])
    ).map(lambda pieces: "".join(pieces).encode()),
)


@settings(max_examples=100, deadline=None)
@given(FORMS, st.sampled_from(EXTENSIONS), st.sampled_from(sorted(TASKS)), st.booleans())
def test_any_bytes_are_loaded_or_refused(content: bytes, extension: str, task: str, strict: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{extension}"
        path.write_bytes(content)
        with suppress(LubanError):
            part = load(str(path), TASKS[task], config=PrepareConfig(strict=strict)).parts["train"]
            assert part.seen == len(part.rows) + len(part.rejects)


NAMES = st.sampled_from(["text", "label", "labels", "tokens", "tags", "entities", "train", "test", "data", "start"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(VALUES, st.sampled_from([".json", ".jsonl"]), st.sampled_from(sorted(TASKS)))
def test_any_json_is_loaded_or_refused(value: object, extension: str, task: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{extension}"
        path.write_text(json.dumps(value), encoding="utf8")
        with suppress(LubanError):
            loaded = load(str(path), TASKS[task], config=PrepareConfig(strict=False))
            assert all(part.seen == len(part.rows) + len(part.rejects) for part in loaded.parts.values())


def test_normalised_texts_differ_in_words_only() -> None:
    assert normalised("Ｈello,\u3000 World\u200b") == normalised("hello, world")


def test_texts_that_cannot_be_read_before_training_are_rejected_and_not_lost(tmp_path: Path) -> None:
    rows = [f"text {i},{'ab'[i % 2]}" for i in range(20)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf8")
    (tmp_path / "more.csv").write_text("text,source\none text,a\n,b\none text,c\nanother,d\n", encoding="utf8")
    config = PrepareConfig(source=str(tmp_path / "rows.csv"), adapt=str(tmp_path / "more.csv"), strict=False)
    found = prepare(config, TASKS["text-classification"])
    assert [row["text"] for row in found.texts] == ["one text", "another"]
    assert [reject.row for reject in found.rejects] == [3]
