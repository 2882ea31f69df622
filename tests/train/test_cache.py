"""Encoded windows in files: what is learnt from a file is what would be learnt from memory."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luban.encoding import TextEncoder, Window
from luban.errors import ConfigError
from luban.records import Step
from luban.stages.train import material as module
from luban.stages.train import train
from luban.stages.train.cache import CHUNK, Chosen, Keeping, Kept, Place, column, told
from luban.stages.train.material import encode, examples_of
from luban.stages.train.recipe import lengths_of, window_length
from luban.stages.train.teacher import TEACHABLE
from luban.tasks import TASKS
from luban.testing import SAMPLES
from luban.training import Example
from tests.train.rows import base, config, prepared

TASKS_OF_TEXT = [name for name in SAMPLES if not (TASKS[name].sees or TASKS[name].recommends or TASKS[name].fuses)]


def alike(one: Example, other: Example) -> bool:
    """Whether two examples are learnt alike: all but where their sub-words stand in the text."""
    same = (one.weight, one.row, one.labelled) == (other.weight, other.row, other.labelled)
    same &= one.target.dtype == other.target.dtype and np.array_equal(
        one.target, other.target, equal_nan=one.target.dtype.kind == "f"
    )
    return bool(same and one.target.shape == other.target.shape and len(one.windows) == len(other.windows)) and all(
        read_alike(a, b) for a, b in zip(one.windows, other.windows, strict=True)
    )


def read_alike(one: Window, other: Window) -> bool:
    arrays = [name for name in type(one).__dataclass_fields__ if isinstance(getattr(one, name), np.ndarray)]
    numbers = (one.weight, one.first, one.heads is None) == (other.weight, other.first, other.heads is None)
    return type(one) is type(other) and numbers and all(same(getattr(one, n), getattr(other, n)) for n in arrays)


def same(one: Any, other: Any) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


@pytest.mark.parametrize("task", TASKS_OF_TEXT)
def test_windows_from_files_are_those_from_memory(task: str, tmp_path: Path) -> None:
    """The plain way, all rows in a list, against the one that is taken."""
    rows = prepared(task)
    rows = replace(rows, unlabelled=[dict(row) for row in rows.train[:2]] if task in TEACHABLE else [])
    found = encode(rows, base(tmp_path, task), config(), task=None)
    kind, encoder = found.task, TextEncoder.open(found.base)
    whole = [kind.encode(row, encoder) for row in found.rows]
    if not kind.generates:
        encoder.limit = window_length(lengths_of(whole[: len(rows.train)]), encoder.limit)
        whole = [kind.encode(row, encoder) for row in found.rows]
    wanted = [
        example
        for number, (row, one) in enumerate(zip(found.rows, whole, strict=True))
        for example in examples_of(kind, row, one, number, labelled=number < len(rows.train))
    ]
    assert isinstance(found.examples, Kept)
    assert (len(found.examples), encoder.limit) == (len(wanted), found.encoder.limit)
    assert all(alike(one, other) for one, other in zip(found.examples, wanted, strict=True))
    for name in ("weight", "row", "labelled", "windows", "target"):
        assert np.array_equal(column(found.examples, name), column(wanted, name), equal_nan=True)
    assert len(told(found.examples)) == sum(example.labelled for example in wanted)


def window(ids: list[int], types: list[int], heads: list[int] | None) -> Window:
    numbers = [np.array(each, dtype=np.int64) for each in (ids, types[: len(ids)] + [0] * (len(ids) - len(types)))]
    return Window(numbers[0], numbers[1], (), 0.5, None if heads is None else np.array(heads, dtype=np.int64), 3)


IDS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6)
WINDOW = st.builds(
    window, IDS, st.lists(st.integers(0, 1), max_size=6), st.none() | st.lists(st.integers(0, 5), max_size=3)
)
TARGET = st.one_of(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4), st.floats(width=32, allow_nan=False)
).map(lambda value: np.array(value, dtype=np.float32))
EXAMPLE = st.builds(
    Example,
    WINDOW,
    TARGET,
    st.floats(0.1, 2),
    st.integers(0, 9),
    st.booleans(),
    st.lists(WINDOW, max_size=2).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(examples=st.lists(EXAMPLE, min_size=1, max_size=8), chunk=st.integers(1, 4), again=st.sets(st.integers(0, 9)))
def test_any_examples_come_back_in_the_order_of_their_rows(
    tmp_path_factory: pytest.TempPathFactory, examples: list[Example], chunk: int, again: set[int]
) -> None:
    """Rows that come ``again`` take the place of what was there of them."""
    folder = tmp_path_factory.mktemp("kept")
    examples = sorted(examples, key=lambda example: example.row)
    second = [replace(example, weight=9.0) for example in examples if example.row in again]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luban.stages.train.cache.CHUNK", chunk)
        keeping = Keeping(folder / "examples", None)
        for example in examples:
            keeping.add(example)
        keeping.again(again)
        for example in second:
            keeping.add(example)
        found = keeping.done("key", {"limit": 8})
    wanted = sorted([e for e in examples if e.row not in again] + second, key=lambda example: example.row)
    assert len(found) == len(wanted)
    assert all(alike(one, other) for one, other in zip(found, wanted, strict=True))
    assert [path.name for path in folder.iterdir()] == ["examples"]


def numbered(count: int) -> list[Example]:
    one = window([1, 2], [], None)
    return [Example(one, np.array(i % 3), 1.0, i, i != 1) for i in range(count)]


def kept(folder: Path, count: int = 5, key: str = "key") -> Any:
    keeping = Keeping(folder, None)
    for example in numbered(count):
        keeping.add(example)
    return keeping.done(key, {"limit": 8})


def test_what_a_killed_run_has_kept_is_found_by_its_key_alone(tmp_path: Path) -> None:
    kept(tmp_path / "examples")
    found = Place(tmp_path / "examples", "key").found(None)
    assert found is not None
    assert (len(found[0]), found[1]) == (5, {"limit": 8})
    assert Place(tmp_path / "examples", "other").found(None) is None
    assert Place(tmp_path / "nothing", "key").found(None) is None


@pytest.mark.parametrize("damage", ["cut", "gone", "half", "kind"])
def test_files_that_are_not_whole_are_made_again(damage: str, tmp_path: Path) -> None:
    kept(tmp_path / "examples")
    if damage == "cut":
        (tmp_path / "examples" / "numbers").write_bytes(b"1234")
    elif damage == "gone":
        (tmp_path / "examples" / "row").unlink()
    elif damage == "kind":
        about = tmp_path / "examples" / "examples.json"
        about.write_text(about.read_text(encoding="utf8").replace("encoding:Window", "os:system"), encoding="utf8")
    else:
        (tmp_path / "examples" / "examples.json").write_text("{")
    place = Place(tmp_path / "examples", "key")
    assert place.found(None) is None
    assert len(kept(tmp_path / "examples")) == 5


def test_a_part_that_was_left_half_written_is_no_hindrance(tmp_path: Path) -> None:
    Keeping(tmp_path / "examples", None).add(numbered(1)[0])
    assert len(kept(tmp_path / "examples", CHUNK + 1)) == CHUNK + 1


def test_a_full_disk_is_told_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "examples.part").write_text("in the way of a folder")
    keeping = Keeping(tmp_path / "examples", None)
    (tmp_path / "examples.part").write_text("again")
    with pytest.raises(ConfigError, match="could not be written to"):
        keeping.add(numbered(1)[0])


def test_chosen_examples_have_the_weights_and_labels_they_were_given() -> None:
    examples = numbered(4)
    some = Chosen(examples, np.array([3, 1]), weights=np.array([0.5, 2.0]))
    assert [(one.row, one.weight, one.labelled) for one in some] == [(3, 0.5, True), (1, 2.0, False)]
    assert column(some, "row").tolist() == [3, 1]
    assert column(Chosen(some, labelled=np.array([False, True])), "labelled").tolist() == [False, True]
    assert [one.row for one in some[:1]] == [3]


def test_many_validation_rows_are_watched_by_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCHED", 5)
    rows = prepared()
    found = encode(rows, base(tmp_path), config())
    assert (len(found.valid), len(found.encoded_valid)) == (5, 5)
    assert all(row in list(rows.valid) for row in found.valid)
    assert list(encode(rows, base(tmp_path / "again"), config()).valid) == list(found.valid)


def test_a_run_that_was_stopped_encodes_nothing_again_and_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = base(tmp_path)
    whole = train(prepared(), start, config(epochs=1), tmp_path / "whole")

    def stop(event: object) -> None:
        if isinstance(event, Step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(prepared(), start, config(epochs=1), tmp_path / "model", watch=stop)
    kept_there = tmp_path / "model.run" / "work" / "examples"
    assert (kept_there / "examples.json").is_file()
    monkeypatch.setattr(Keeping, "add", lambda *_: pytest.fail("a row was encoded again"))
    again = train(prepared(), start, config(epochs=1), tmp_path / "model")
    assert (again.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
    assert (again.path / "drift.json").read_bytes() == (whole.path / "drift.json").read_bytes()
    assert not kept_there.exists()


MEMORY = """
import csv, re, sys, threading, time
from pathlib import Path
from luban import bases
from luban.config import PrepareConfig, TrainConfig
from luban.stages.prepare import prepare
from luban.stages.train.material import encode
from luban.tasks import TASKS
from luban.tiny import tiny_base
import pyarrow

folder, count = Path(sys.argv[1]), int(sys.argv[2])
with (folder / "rows.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("text", "label"), *((f"{i} refund", "ab"[i % 2]) for i in range(count))])
base = bases.find(str(tiny_base(folder / "base")))

def own():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

peak = before = own()
done = threading.Event()
def look():
    global peak
    while not done.wait(0.01):
        peak = max(peak, own())
looking = threading.Thread(target=look)
looking.start()
rows = prepare(PrepareConfig(source=str(folder / "rows.csv")), TASKS["text-classification"])
material = encode(rows, base, TrainConfig(), task=None)
done.set()
looking.join()
assert len(material.examples) == len(rows.train) and len(rows.train) + len(rows.valid) == count
print((peak - before) / count)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what memory is the process's own")
def test_two_hundred_thousand_rows_are_prepared_and_encoded_in_little_memory(tmp_path: Path) -> None:
    """As lists, a row takes some 3,000 bytes; here 20,000 validation rows and what is held for a while make 700 at most."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path), "200000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "src"})
    assert float(done.stdout) < 700
