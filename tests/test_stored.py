"""Rows in Arrow: what comes out is what went in, wherever it lies."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luban import stored as module
from luban.records import Reject
from luban.stored import Joined, Rejects, SettingAside, Stored, stored, take, together

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
ROW = st.fixed_dictionaries(
    {
        "text": TEXT,
        "label": st.none() | TEXT,
        "number": st.floats(allow_nan=False),
        "tags": st.lists(TEXT, min_size=1, max_size=3),
    }
)


@pytest.fixture(params=["in memory", "in a file"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "in a file":
        monkeypatch.setattr(module, "IN_MEMORY", 1)
    monkeypatch.setattr(module, "CHUNK_ROWS", 3)
    monkeypatch.setattr(module, "READ_ROWS", 2)
    return str(request.param)


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"text": f"row {i}", "number": i} for i in range(count)]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=12), small=st.booleans())
def test_rows_from_a_file_are_the_rows_that_went_in(rows: list[dict[str, Any]], small: bool) -> None:
    rows = [{**rows[0], "label": "first"}, *rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "IN_MEMORY", 2**20 if small else 1)
        patch.setattr(module, "CHUNK_ROWS", 2)
        kept = stored(rows)
    assert list(kept) == rows
    assert [kept[i] for i in range(len(rows))] == rows
    assert (kept[-1], kept[1:3], len(kept)) == (rows[-1], rows[1:3], len(rows))


@pytest.mark.usefixtures("where")
@settings(max_examples=30, deadline=None)
@given(chosen=st.sets(st.integers(0, 19)))
def test_rows_are_taken_by_their_places(chosen: set[int]) -> None:
    rows, places = numbered(20), sorted(chosen)
    assert take(stored(rows), places) == [rows[i] for i in places] == list(take(rows, places))


@pytest.mark.usefixtures("where")
def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows = stored(numbered(10))
    del rows
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("where")
def test_a_place_beyond_the_rows_is_none_of_them() -> None:
    for rows in (stored(numbered(4)), Joined(numbered(2), numbered(2))):
        with pytest.raises(IndexError):
            rows[4]


def test_no_rows_at_all_are_rows_too() -> None:
    assert (len(stored([])), list(stored([])), Stored(stored([]).table) == []) == (0, [], True)


def test_joined_rows_are_read_as_one_table() -> None:
    parts = numbered(3), [], numbered(2)
    joined = Joined(*parts)
    assert (len(joined), list(joined), [joined[i] for i in range(5)]) == (5, [*parts[0], *parts[2]], list(joined))
    assert joined[1:4] == list(joined)[1:4]


@pytest.mark.usefixtures("where")
@pytest.mark.parametrize("count", [0, 3, 4, 11])
def test_every_reject_is_kept_in_order(count: int) -> None:
    made = [Reject("a.csv", i, "the text is empty.", None if i % 2 else "text") for i in range(count)]
    aside = SettingAside()
    for reject in made:
        aside.add(reject)
    found = aside.rejects()
    assert list(found) == made
    assert list(together(found, made)) == made * 2
    assert [found[i] for i in range(count)] == made


def test_rejects_are_read_one_by_one_or_in_a_row() -> None:
    made = [Reject("a.csv", i, "no.") for i in range(3)]
    kept = Rejects([reject.as_json() for reject in made])
    assert (kept[0], kept[1:], list(kept), len(kept)) == (made[0], made[1:], made, 3)


FULL = """
import resource, sys
from luban import stored
from luban.errors import ConfigError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
stored.IN_MEMORY = 1
try:
    stored.stored({"text": "x" * 1000} for _ in range(20_000))
except ConfigError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system does not limit the size of files")
def test_a_full_disk_is_told_in_three_sentences(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL], capture_output=True, text=True, check=True,
        env={"TMPDIR": str(tmp_path), "PYTHONPATH": "src"}, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert "could not be written to (File too large)" in done.stdout
    assert "TMPDIR" in done.stdout
    assert list(tmp_path.iterdir()) == []
