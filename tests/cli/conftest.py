"""A tiny model folder and rows for it, made once; `call` runs the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from luban.cli import main
from luban.testing import tiny_base, tiny_folder

ROWS = [
    ("where is my order", "order"),
    ("has my parcel been sent", "order"),
    ("when will my order come", "order"),
    ("track the parcel please", "order"),
    ("i want my money back", "refund"),
    ("please refund me", "refund"),
    ("give me a refund now", "refund"),
    ("refund the money please", "refund"),
    ("good morning", "other"),
    ("hello there", "other"),
    ("how are you", "other"),
    ("thank you very much", "other"),
]


@dataclass(frozen=True)
class Called:
    """What a call of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    """Run ``luban ARGS`` in this process, 200 columns wide, without colours, in English."""
    for name, value in {"COLUMNS": "200", "NO_COLOR": "1", "LUBAN_LANG": "en", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)

    def run(*args: str | Path) -> Called:
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        said = capsys.readouterr()
        return Called(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base model."""
    return tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny text classifier."""
    rows = [{"text": text, "label": label} for text, label in ROWS]
    return tiny_folder(tmp_path_factory.mktemp("model") / "tiny", rows=rows).path


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows as a CSV file."""
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.csv")


def write_rows(path: Path, times: int = 4) -> Path:
    """The rows, several times with small differences, as a CSV file."""
    lines = [f"{text} {word},{label}" for word in ("", "today", "again", "now")[:times] for text, label in ROWS]
    path.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf8")
    return path
