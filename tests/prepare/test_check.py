"""What the data check finds, each on rows made to have it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from luban.config import PrepareConfig
from luban.encoding import TextEncoder
from luban.stages.prepare import Check, check
from luban.stages.prepare.check import is_damaged
from luban.stages.prepare.duplicates import exact, near
from luban.tasks import TASKS

CLASSES = TASKS["text-classification"]
WORDS = ["refund", "parcel", "invoice", "account", "courier", "password", "voucher", "delivery"]


def sentence(i: int) -> str:
    return f"my {WORDS[i % 8]} about the {WORDS[i // 8 % 8]} number {i * 7919} is late"


def checked(folder: Path, train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]] = ()) -> Check:
    for name, rows in (("train", train), ("test", test)):
        if rows:
            lines = "".join(f"{text}\t{label}\n" for text, label in rows)
            (folder / f"{name}.tsv").write_text("text\tlabel\n" + lines, encoding="utf8")
    return check(str(folder), CLASSES)


def plain(count: int = 20) -> list[tuple[str, str]]:
    return [(sentence(i), "ab"[i % 2]) for i in range(count)]


def test_good_rows_have_no_findings(tmp_path: Path) -> None:
    report = checked(tmp_path, plain(), [(sentence(100 + i), "a") for i in range(5)])
    assert report.findings == ()
    assert not report.failed
    assert (report.rows, report.labels) == ({"train": 20, "test": 5}, {"a": 10, "b": 10})


def test_empty_cells_and_missing_cells_fail_the_check(tmp_path: Path) -> None:
    report = checked(tmp_path, [*plain(), ("", "a"), ("no label here", "")])
    (found,) = report.of("empty")
    assert (found.count, found.rows) == (2, (22, 23))
    assert report.failed


def test_parts_are_listed_in_the_order_of_the_line_and_a_lone_file_is_no_part(tmp_path: Path) -> None:
    for name in ("test", "dev", "train", "mine"):
        (tmp_path / f"{name}.tsv").write_text("text\tlabel\nwhere is it\ta\nis it here\tb\n", encoding="utf8")
    assert list(check(str(tmp_path), CLASSES).rows) == ["train", "valid", "test"]
    assert not check(str(tmp_path), CLASSES).whole
    assert check(str(tmp_path / "mine.tsv"), CLASSES).whole


def test_a_missing_value_is_told_from_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": "x"}\n{"label": "y"}\n{"text": " ", "label": "y"}\n')
    report = check(str(tmp_path / "a.jsonl"), CLASSES)
    assert [report.of(kind)[0].rows for kind in ("missing", "empty")] == [(2,), (3,)]


def test_copies_are_found_whatever_their_case_and_width(tmp_path: Path) -> None:
    report = checked(tmp_path, [*plain(), (sentence(3).upper(), "b"), ("  " + sentence(5), "b")])
    assert report.of("duplicate")[0].rows == (22, 23)
    assert not report.of("contradiction")


def test_one_text_with_two_labels_is_a_contradiction(tmp_path: Path) -> None:
    report = checked(tmp_path, [*plain(), (sentence(3), "a")])
    assert report.of("contradiction")[0].rows == (22,)


def test_near_copies_are_found(tmp_path: Path) -> None:
    long = "please could you tell me when the parcel that I ordered last week is going to arrive at my house"
    report = checked(tmp_path, [*plain(), (long, "a"), (long + " now", "a")])
    (found,) = report.of("near-duplicate")
    assert found.rows == (23,)
    assert found.details["pairs"][0][:2] == [22, 23]


def test_rare_classes_and_imbalance_are_named(tmp_path: Path) -> None:
    report = checked(tmp_path, [(sentence(i), "common") for i in range(100)] + [("an odd one", "rare")])
    assert "rare (1)" in report.of("rare-class")[0].message
    assert report.of("imbalance")[0].details["ratio"] == 100.0


def test_one_class_only_fails_the_check(tmp_path: Path) -> None:
    assert checked(tmp_path, [(sentence(i), "a") for i in range(9)]).of("one-class")[0].severity == "error"


def test_test_texts_that_stand_in_train_are_counted(tmp_path: Path) -> None:
    report = checked(tmp_path, plain(), [(sentence(4), "a"), (sentence(7).title(), "b"), ("never seen before", "a")])
    assert report.of("leak", "test")[0].rows == (2, 3)


def test_labels_that_train_lacks_are_named(tmp_path: Path) -> None:
    assert "c (1)" in checked(tmp_path, plain(), [("something new", "c")]).of("unseen-label")[0].message


@pytest.mark.parametrize("text", ["a\ufffdb", "cafÃ© au lait", "itâ€™s", "锟斤拷", "浣犲ソ锛屼笘鐣"])
def test_damage_of_encodings_is_seen(text: str) -> None:
    assert is_damaged(text)


@pytest.mark.parametrize(
    "text", ["café", "naïve Ångström", "你好，世界！这家酒店很好", "これはペンです", "Ça va à l’été", "Привет, мир"]
)
def test_sound_text_is_not_called_damaged(text: str) -> None:
    assert not is_damaged(text)


def test_personal_data_is_reported_by_kind(tmp_path: Path) -> None:
    report = checked(tmp_path, [*plain(), ("write to ann@corp.org", "a"), ("call 13912345678", "a")])
    assert {found.details["kind"] for found in report.of("personal")} == {"email", "phone"}


def test_texts_longer_than_the_model_reads_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{'w ' * (i + 1)}x,{'ab'[i % 2]}\n" for i in range(20)))
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    report = check(str(tmp_path / "a.csv"), CLASSES, encoder=TextEncoder(tokenizer, limit=15))
    (characters, pieces) = report.lengths
    assert (characters.longest, characters.limit) == (41, 0)
    assert (pieces.longest, pieces.over, pieces.limit) == (21, 6, 15)
    assert report.of("long")[0].count == 6


def test_the_report_is_plain_json(tmp_path: Path) -> None:
    import json

    assert json.loads(json.dumps(checked(tmp_path, plain()).as_json()))["rows"] == {"train": 20}


def test_columns_of_the_config_are_used(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\nhello there,a\ngood bye,b\n")
    report = check(str(tmp_path / "a.csv"), CLASSES, PrepareConfig(columns={"text": "x", "label": "y"}))
    assert report.columns == {"text": "x", "label": "y"}


def test_exact_copies_point_to_their_first() -> None:
    assert exact(["a", "b", "a", "a"]) == {2: 0, 3: 0}


def test_many_texts_are_compared_without_comparing_all_pairs() -> None:
    texts = [sentence(i) for i in range(3000)]
    texts[2000] = texts[10] + "!"
    assert (10, 2000) in {(a, b) for a, b, _ in near(texts)}


def test_texts_with_nothing_in_common_are_not_near() -> None:
    assert near(["the quick brown fox jumps", "一二三四五六七八九十百千万亿", "over the lazy dog we go"]) == []
