"""Who took what, and when, to histories: in order, leave-one-out, without leaks, and nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luban.config import PrepareConfig
from luban.errors import ConfigError, DataError
from luban.pipeline import read_rows, write_rows
from luban.records import Prepared
from luban.stages.prepare import anonymise, check, prepare, split
from luban.tasks.recommendation import Recommendation
from tests.recommend.shop import ITEMS, interactions, write


def read(source: Path, **options: Any) -> Prepared:
    return prepare(PrepareConfig.model_validate({"source": str(source), **options}), Recommendation)


def folder(path: Path, ratings: str, items: str = "item,text\na,good\nb,bad\nc,great\nd,late\n") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "ratings.csv").write_text(ratings, encoding="utf8")
    if items:
        (path / "items.csv").write_text(items, encoding="utf8")
    return path


def test_the_last_item_of_each_user_is_held_out_for_the_test_and_the_one_before_for_validation(tmp_path: Path) -> None:
    rows = read(folder(tmp_path, "user,item,time\nu,c,30\nu,a,10\nv,a,1\nu,d,40\nv,b,2\nu,b,20\n"))
    assert [dict(row) for row in rows.train] == [
        {"user": "u", "history": ["a", "b"]},
        {"user": "v", "history": ["a", "b"]},
    ]
    assert [dict(row) for row in rows.valid] == [{"user": "u", "history": ["a", "b"], "item": "c"}]
    assert [dict(row) for row in rows.test] == [{"user": "u", "history": ["a", "b", "c"], "item": "d"}]


def test_no_item_to_be_found_stands_in_its_history_or_was_learnt_from_the_same_user(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "shop"))
    learnt = {row["user"]: row["history"] for row in rows.train}
    assert len(rows.test) > 20
    for row in [*rows.valid, *rows.test]:
        assert row["item"] not in row["history"]
        assert row["item"] not in learnt[row["user"]]


def test_every_interaction_is_in_exactly_one_place(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "shop"))
    learnt = sum(len(row["history"]) for row in rows.train)
    assert learnt + len(rows.valid) + len(rows.test) == len(interactions())


def test_dates_and_seconds_give_the_same_order(tmp_path: Path) -> None:
    told = ("2024-01-03", "2024-01-01 10:00", "2024-01-01T11:00:00+00:00")
    lines = "".join(f"u,{item},{when}\n" for item, when in zip("cab", told, strict=True))
    rows = read(folder(tmp_path, f"user,item,date\n{lines}v,a,1\nv,b,2\n"))
    assert [*rows.test[0]["history"], rows.test[0]["item"]] == ["a", "b", "c"]


def test_files_without_a_header_hold_their_columns_in_the_usual_order(tmp_path: Path) -> None:
    (tmp_path / "movies.dat").write_text("".join(f"{item}::{text}::x|y\n" for item, text, _ in ITEMS), encoding="utf8")
    lines = "".join("::".join(map(str, row)) + "\n" for row in interactions())
    (tmp_path / "ratings.dat").write_text(lines, encoding="utf8")
    rows = read(tmp_path)
    assert rows.items[0] == {"item": "fo0", "text": "good food. x, y"}
    assert len(rows.test) == len(read(write(tmp_path / "shop")).test)


def test_one_file_may_hold_the_texts_beside_the_interactions(tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text(
        "user,item,title\nu,1,good food\nu,2,bad food\nu,3,film\nv,1,good food\nv,2,bad food\n", encoding="utf8"
    )
    rows = read(file)
    assert [row["text"] for row in rows.items] == ["good food", "bad food", "film"]
    assert rows.test[0]["item"] == "3"


def test_an_id_in_words_is_its_own_text(tmp_path: Path) -> None:
    rows = read(folder(tmp_path, "user,item\nu,good food\nu,bad food\nv,good food\n", ""))
    assert rows.items[0] == {"item": "good food", "text": "good food"}


def test_low_ratings_count_as_not_taken(tmp_path: Path) -> None:
    rows = read(folder(tmp_path, "user,item,rating\nu,a,9\nu,b,2\nu,c,8\nv,a,7\n"), min_rating=6)
    assert rows.train[0]["history"] == ["a", "c"]
    assert rows.notes["taken"]["below_min_rating"] == 1


def test_an_item_taken_twice_counts_the_first_time(tmp_path: Path) -> None:
    rows = read(folder(tmp_path, "user,item,time\nu,a,1\nu,b,2\nu,a,3\nv,a,1\n"))
    assert rows.train[0]["history"] == ["a", "b"]
    assert rows.notes["taken"]["again"] == 1


def test_split_rows_are_read_back_the_same(tmp_path: Path) -> None:
    source = write(tmp_path / "shop")
    split(str(source), Recommendation, tmp_path / "parts")
    first, again = read(source), read(tmp_path / "parts")
    for part in ("train", "valid", "test", "items"):
        assert [dict(row) for row in getattr(again, part)] == [dict(row) for row in getattr(first, part)]


def test_the_line_keeps_the_items_beside_the_rows(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "shop"))
    write_rows(rows, tmp_path / "rows")
    again = read_rows(tmp_path / "rows")
    assert list(again.items) == [dict(row) for row in rows.items]
    assert again.fingerprint == rows.fingerprint


def test_the_terminal_shows_a_check_of_interactions(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "luban",
        "data",
        "check",
        str(write(tmp_path / "shop")),
        "--task",
        "recommendation",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "items" in done.stdout + done.stderr


def parts(path: Path, **rows: list[dict[str, Any]]) -> Path:
    for name, found in rows.items():
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf8")
    return path


THINGS = [{"item": name, "text": f"the {name}"} for name in "abcd"]


def test_an_item_to_be_found_that_stands_in_the_history_is_refused(tmp_path: Path) -> None:
    source = parts(tmp_path, train=[{"history": ["a", "b"]}], test=[{"history": ["a", "c"], "item": "c"}], items=THINGS)
    with pytest.raises(DataError, match="the item to be found, 'c', stands in the history"):
        read(source)


def test_an_item_to_be_found_that_was_learnt_from_the_same_user_is_refused(tmp_path: Path) -> None:
    held = [{"user": "u", "history": ["a"], "item": "b"}]
    source = parts(tmp_path, train=[{"user": "u", "history": ["a", "b"]}], valid=held, test=held, items=THINGS)
    with pytest.raises(DataError, match="stands in the training history of the same user"):
        read(source)


@pytest.mark.parametrize(
    ("ratings", "items", "said"),
    [
        ("user,item\nu,a\nu,x\n", "item,text\na,good\nb,bad\n", "1 item of the interactions have no text, such as 'x'"),
        ("user,item\nu,a7\nu,b9\n", "", "the items have no texts, and their ids are codes"),
        ("user,item\nu,a\nv,b\n", "item,text\na,good\nb,bad\n", "no user took two items"),
        ("user,item,time\nu,a,soon\nu,b,1\n", "item,text\na,good\nb,bad\n", "'soon' is no time"),
        ("user,item,rating\nu,a,five\nu,b,1\n", "item,text\na,good\nb,bad\n", "'five' is no number"),
        ("user,item\n,a\nu,b\n", "item,text\na,good\nb,bad\n", "'' is no id"),
        ("user,item\nu,a\nu,b\n", "item,text\na,good\nb,\n", "the text is empty"),
    ],
)
def test_bad_rows_are_told_in_one_sentence(tmp_path: Path, ratings: str, items: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(folder(tmp_path, ratings, items))


def test_bad_rows_are_set_aside_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = read(folder(tmp_path, "user,item,time\nu,a,1\nu,b,2\nu,c,soon\nv,a,3\n"), strict=False)
    (reject,) = rows.rejects
    assert (reject.row, reject.column) == (4, "time")
    assert rows.train[0]["history"] == ["a", "b"]


@pytest.mark.parametrize("option", ["valid", "group"])
def test_another_split_than_by_time_is_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} is set for a recommendation"):
        read(write(tmp_path / "shop"), **{option: "x"})


def test_interactions_are_not_anonymised(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Interactions are neither cleaned nor anonymised"):
        anonymise(str(write(tmp_path / "shop")), Recommendation, tmp_path / "out")


def test_a_check_tells_of_users_with_one_item_and_of_items_that_nobody_took(tmp_path: Path) -> None:
    found = check(str(folder(tmp_path, "user,item\nu,a\nu,b\nv,a\n")), Recommendation)
    assert not found.failed
    assert found.of("alone")[0].count == 1
    assert found.of("cold")[0].count == 2
