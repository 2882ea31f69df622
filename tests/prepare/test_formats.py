"""Every format of rows, as small files: what is read, and what was understood."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from luban.config import PrepareConfig
from luban.errors import DataError
from luban.stages.prepare import Loaded, load
from luban.tasks import TASKS

CLASSES, TAGS, PAIRS = TASKS["text-classification"], TASKS["token-classification"], TASKS["text-pair"]
ROWS = [{"text": "where is it", "label": "track"}, {"text": 'cancel, "now"', "label": "cancel"}]


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def rows(loaded: Loaded, part: str = "train") -> list[dict[str, Any]]:
    return [dict(row) for row in loaded.parts[part].rows]


def formats(loaded: Loaded) -> Sequence[str]:
    return [about["format"] for files in loaded.notes["files"].values() for about in files]


CSV = 'text,label\nwhere is it,track\n"cancel, ""now""",cancel\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.csv", CSV.replace("\n", "\r\n")),
        ("a.csv", "\ufeff" + CSV),
        ("a.csv", CSV.encode("utf-16")),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.csv", CSV.replace("text,label", "Body Text,Intent").replace("Body Text", "Utterance")),
        ("a.csv", 'text;label\nwhere is it;track\n"cancel, ""now""";cancel\n'),
        ("a.tsv", 'text\tlabel\nwhere is it\ttrack\ncancel, "now"\tcancel\n'),
        ("a.tsv", 'where is it\ttrack\ncancel, "now"\tcancel\n'),
        ("a.txt", 'where is it||track\ncancel, "now"||cancel\n'),
        ("a.jsonl", "\n".join(map(json.dumps, ROWS))),
        ("a.ndjson", "\n\n".join(map(json.dumps, ROWS)) + "\n"),
        ("a.jsonl", "\n".join(json.dumps([row["text"], row["label"]]) for row in ROWS)),
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("a.json", json.dumps({"data": ROWS})),
        ("a.json", json.dumps({"text": [row["text"] for row in ROWS], "label": [row["label"] for row in ROWS]})),
        ("a.json", json.dumps({"train": [[row["text"], row["label"]] for row in ROWS]})),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
    ],
)
def test_the_same_rows_come_out_of_every_format(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert rows(load(written(tmp_path, name, content), CLASSES)) == ROWS


def test_parquet_is_read(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert rows(load(str(tmp_path / "a.parquet"), CLASSES)) == ROWS


def test_the_first_row_of_a_csv_that_is_data_is_kept(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, "a.csv", "good food,1\nbad food,0\nfine,1\n"), CLASSES)
    assert rows(loaded)[0] == {"text": "good food", "label": "1"}
    assert formats(loaded) == ["CSV without header"]


def test_ids_and_constant_columns_are_no_text(tmp_path: Path) -> None:
    lines = [f"{i}\ttask a\thow do I {what}\t{i % 2}" for i, what in enumerate(("pay", "stop", "return", "call", "go"))]
    loaded = load(written(tmp_path, "a.tsv", "\n".join(lines)), CLASSES)
    assert loaded.columns == {"text": "3", "label": "4"}


def test_quotes_in_a_raw_tsv_are_letters(tmp_path: Path) -> None:
    content = 'text\tlabel\n"Hi" he said\ta\n"all of it"\tb\n'
    assert [row["text"] for row in rows(load(written(tmp_path, "a.tsv", content), CLASSES))] == [
        '"Hi" he said',
        '"all of it"',
    ]


def test_quotes_in_a_quoted_tsv_are_quotes(tmp_path: Path) -> None:
    content = 'text\tlabel\n"He said ""Hi""."\ta\nplain\tb\n'
    assert rows(load(written(tmp_path, "a.tsv", content), CLASSES))[0]["text"] == 'He said "Hi".'


def test_a_cell_of_several_lines_is_one_row(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, "a.csv", 'text,label\n"one\ntwo",a\nthree,b\n'), CLASSES)
    assert rows(loaded)[0]["text"] == "one\ntwo"
    assert list(loaded.parts["train"].lines) == [2, 4]


def test_chinese_in_gb18030_is_recognised(tmp_path: Path) -> None:
    content = "text,label\n这家酒店的服务非常好,1\n房间太小了，不会再来,0\n".encode("gb18030")
    loaded = load(written(tmp_path, "a.csv", content), CLASSES)
    assert rows(loaded)[1]["text"] == "房间太小了，不会再来"
    assert loaded.notes["files"]["train"][0]["encoding"] == "gb18030"


def test_western_letters_in_windows_1252_are_recognised(tmp_path: Path) -> None:
    content = "text,label\nun café s’il vous plaît,a\ndéjà vu à l’été,b\n".encode("cp1252")
    assert rows(load(written(tmp_path, "a.csv", content), CLASSES))[0]["text"] == "un café s’il vous plaît"


def test_a_damaged_line_among_many_is_read_and_reported(tmp_path: Path) -> None:
    content = b"text,label\n" + b"a plain text,x\nanother,y\n" * 100 + b"a sister\xf0city,x\n"
    loaded = load(written(tmp_path, "a.csv", content), CLASSES)
    assert rows(loaded)[-1]["text"] == "a sister\ufffdcity"
    assert loaded.notes["files"]["train"][0]["damaged_lines"] == 1


def test_trec_lines_have_a_coarse_and_a_fine_label(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "NUM:dist How far is it ?\nLOC:city Which city ?\n")
    assert rows(load(path, CLASSES))[0] == {"text": "How far is it ?", "label": "NUM"}
    fine = load(path, CLASSES, config=PrepareConfig(columns={"label": "fine"}))
    assert rows(fine)[0]["label"] == "NUM:dist"


def test_conll_columns_become_words_and_tags(tmp_path: Path) -> None:
    content = (
        "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n"
        "Peter NNP B-NP B-PER\nBlackburn NNP I-NP I-PER\n"
    )
    first, second = rows(load(written(tmp_path, "a.conll", content), TAGS))
    assert first == {"text": "EU rejects", "words": [[0, 2], [3, 10]], "tags": ["B-ORG", "O"]}
    assert second["tags"] == ["B-PER", "I-PER"]


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB2", "O B-X I-X B-X O"),
        ("BIOES", "O B-X E-X S-X O"),
        ("BMES", "O B-X M-X E-X O"),
        ("IO", "O I-X I-X O O"),
    ],
)
def test_tag_schemes_are_recognised_and_turned_to_iob2(tmp_path: Path, scheme: str, tags: str) -> None:
    wanted = {
        "IOB2": "O B-X I-X B-X O", "BIOES": "O B-X I-X B-X O", "BMES": "O B-X I-X I-X O", "IO": "O B-X I-X O O",
    }  # fmt: skip
    content = "".join(f"{word}\t{tag}\n" for word, tag in zip("abcde", tags.split(), strict=True))
    loaded = load(written(tmp_path, "a.txt", content), TAGS)
    assert rows(loaded)[0]["tags"] == wanted[scheme].split()
    assert loaded.notes["files"]["train"][0]["scheme"] == scheme


def test_a_label_line_that_closes_each_sentence_is_its_label(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "我 O\n听 O\n歌 B-song\nPlay\n\n你 O\n好 O\nChat\n\n")
    assert rows(load(path, CLASSES)) == [{"text": "我听歌", "label": "Play"}, {"text": "你好", "label": "Chat"}]
    assert rows(load(path, TAGS))[0]["tags"] == ["O", "O", "B-song"]


def test_labels_in_a_file_beside_the_tags_are_joined(tmp_path: Path) -> None:
    for part in ("train", "test"):
        written(tmp_path, f"ch.{part}", "我 O\n听 O\n歌 B-song\n\n你 O\n好 O\n\n")
        written(tmp_path, f"ch.{part}.intent", "Play\nChat\n")
    assert [row["label"] for row in rows(load(str(tmp_path), CLASSES), "test")] == ["Play", "Chat"]


def test_parallel_files_are_read_in_step(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        written(tmp_path, f"{part}/seq.in", "play a song\nbook it\n")
        written(tmp_path, f"{part}/seq.out", "O O B-kind\nO O\n")
        written(tmp_path, f"{part}/label", "Play\nBook\n")
    assert rows(load(str(tmp_path), CLASSES), "valid")[1] == {"text": "book it", "label": "Book"}
    assert rows(load(str(tmp_path), TAGS))[0]["tags"] == ["O", "O", "B-kind"]


@pytest.mark.parametrize(
    "spans",
    [
        {"label": {"place": {"北京": [[2, 3]]}}},
        {"entities": [{"start": 2, "end": 4, "label": "place"}]},
        {"entities": [[2, 4, "place"]]},
        {"entities": [{"start": 2, "end": 3, "text": "北京", "label": "place"}]},
        {"entity_list": [{"entity_type": "place", "entity": "北京", "entity_index": {"begin": 2, "end": 4}}]},
        {"spans": [{"entity_type": "place", "entity_value": "北京", "start_position": 2, "end_position": 4}]},
    ],
)
def test_character_spans_come_in_many_forms(tmp_path: Path, spans: dict[str, Any]) -> None:
    row = rows(load(written(tmp_path, "a.jsonl", json.dumps({"text": "我在北京", **spans})), TAGS))[0]
    assert row["tags"] == ["O", "O", "B-place", "I-place"]


def test_an_entity_inside_another_is_left_out_and_counted(tmp_path: Path) -> None:
    record = {"text": "New York City", "entities": [[0, 13, "place"], [0, 8, "state"]]}
    loaded = load(written(tmp_path, "a.jsonl", json.dumps(record)), TAGS)
    assert rows(loaded)[0]["tags"] == ["B-place", "I-place", "I-place"]
    assert loaded.parts["train"].inner == 1


def test_squad_json_has_a_row_a_question(tmp_path: Path) -> None:
    answers = [{"text": "Paris", "answer_start": 0}]
    paragraph = {"context": "Paris is big.", "qas": [{"id": "1", "question": "What is big?", "answers": answers}]}
    path = written(
        tmp_path, "a.json", json.dumps({"version": "1", "data": [{"title": "t", "paragraphs": [paragraph]}]})
    )
    config = PrepareConfig(columns={"text": "question", "text_pair": "context", "label": "title"})
    assert rows(load(path, PAIRS, config=config))[0]["text_pair"] == "Paris is big."


def test_an_image_folder_has_a_class_a_directory(tmp_path: Path) -> None:
    for name in ("daisy", "rose"):
        written(tmp_path, f"{name}/1.jpg", b"\xff\xd8\xff")
    loaded = load(str(tmp_path), CLASSES, config=PrepareConfig(columns={"text": "image"}))
    assert [row["label"] for row in rows(loaded)] == ["daisy", "rose"]


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "dev.csv", "test.csv"),
        ("train.csv", "validation.csv", "test.csv"),
        ("x-train.csv", "x-val.csv", "x-test.csv"),
        ("train/rows.csv", "valid/rows.csv", "test/rows.csv"),
        ("SICK_train.csv", "SICK_trial.csv", "SICK_test_annotated.csv"),
    ],
)
def test_a_folder_has_parts_by_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        written(tmp_path, name, CSV)
    assert {part: len(found.rows) for part, found in load(str(tmp_path), CLASSES).parts.items()} == {
        "train": 2, "valid": 2, "test": 2,
    }  # fmt: skip


def test_the_plainest_of_several_files_for_a_part_is_taken_and_the_others_named(tmp_path: Path) -> None:
    for name in ("train.csv", "glue_train.csv", "dev.csv"):
        written(tmp_path, name, CSV)
    loaded = load(str(tmp_path), CLASSES)
    assert loaded.notes["files_passed_over"] == ["glue_train.csv"]


def test_a_part_in_pieces_is_read_whole_and_in_order(tmp_path: Path) -> None:
    for i in range(2):
        written(tmp_path, f"train-0000{i}-of-00002.csv", f"text,label\ntext {i},a\n")
    assert [row["text"] for row in rows(load(str(tmp_path), CLASSES))] == ["text 0", "text 1"]


def test_rows_that_luban_wrote_are_read_back_as_they_were(tmp_path: Path) -> None:
    row = {"text": "Hi  Bob", "words": [[0, 2], [4, 7]], "tags": ["O", "B-PER"]}
    assert rows(load(written(tmp_path, "train.jsonl", json.dumps(row)), TAGS)) == [row]


def test_prediction_needs_no_labels(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, "a.txt", "just a line\nanother one\n"), CLASSES, labelled=False)
    assert rows(loaded) == [{"text": "just a line"}, {"text": "another one"}]


def test_the_hub_offline_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="cannot be reached"):
        load("hf:nobody/nothing", CLASSES)
