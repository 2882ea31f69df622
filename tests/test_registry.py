"""Lazy tables: what a name gives, and what a miss says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from luban.errors import MissingExtra, UnknownName
from luban.registry import Registry
from luban.runtimes import RUNTIMES
from luban.tasks import TASKS


def test_a_name_gives_its_object() -> None:
    assert Registry("error", {"unknown": "luban.errors:UnknownName"})["unknown"] is UnknownName


def test_a_miss_lists_what_exists_and_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        TASKS["text-clasification"]
    assert "'text-clasification'" in caught.value.happened
    assert "token-classification" in caught.value.expected
    assert caught.value.remedy == "Did you mean 'text-classification'?"


def test_a_miss_far_from_everything_guesses_nothing() -> None:
    with pytest.raises(UnknownName) as caught:
        RUNTIMES["zzz"]
    assert caught.value.remedy == ""


def test_a_missing_library_is_named_with_its_extra() -> None:
    table = Registry("runtime", {"dream": "no_such_library_as_this:Dream"}, extra="serve")
    with pytest.raises(MissingExtra, match=r"pip install .*onnxruntime"):
        table["dream"]


def test_a_mistake_of_our_own_is_not_called_a_missing_library() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"luban\.nowhere"):
        Registry("task", {"lost": "luban.nowhere:Lost"})["lost"]


def test_listing_names_imports_nothing() -> None:
    code = (
        "import sys; from luban.tasks import TASKS; list(TASKS); 'x' in TASKS; print('luban.tasks.base' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_tables_are_as_documented() -> None:
    assert next(iter(TASKS)) == "text-classification"  # all of them: tests/tasks/test_contracts.py
    assert list(RUNTIMES) == ["pytorch", "onnx"]


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_of_the_table_is_there_and_knows_its_name(name: str) -> None:
    assert TASKS[name].name == name


@pytest.mark.parametrize("name", list(RUNTIMES))
def test_every_runtime_of_the_table_is_there_and_knows_its_name(name: str) -> None:
    assert RUNTIMES[name].name == name


def test_an_entry_may_need_another_extra() -> None:
    table = Registry("runtime", {"dream": "no_such_library_as_this:Dream"}, extra="serve", extras={"dream": "train"})
    with pytest.raises(MissingExtra, match=r"pip install .*transformers"):
        table["dream"]
