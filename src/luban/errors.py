"""Every error luban raises on purpose, as one tree; it does not print or log.

    LubanError                  exit 2: wrong use or bad input
    ├── DataError               rows that cannot be used: names file, row and column
    ├── ConfigError             an option, key or value that does not exist or does not fit
    ├── UnknownName             a registry was asked for something it does not hold
    ├── FolderError             a model folder that must not be trusted or cannot be read
    ├── BaseUnavailable         pre-trained weights that are neither here nor reachable
    ├── MissingExtra            an optional library is not installed
    ├── ServiceError            a server that cannot take this request now
    └── GateError               exit 1: a check failed although everything was used rightly
        └── ParityError         golden rows did not reproduce after a hand-off

Each message is three sentences: what happened (with the value), what was expected, what to do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path


class LubanError(Exception):
    """Base of all errors meant for people: ``happened``, ``expected`` and ``remedy`` are one sentence each."""

    exit_code = 2

    def __init__(self, happened: str, expected: str = "", remedy: str = "") -> None:
        self.happened, self.expected, self.remedy = happened, expected, remedy
        super().__init__(" ".join(part for part in (happened, expected, remedy) if part))

    def as_json(self) -> dict[str, object]:
        """The three sentences as plain values."""
        return {"happened": self.happened, "expected": self.expected, "remedy": self.remedy}


class DataError(LubanError):
    """Rows that cannot be used; carries ``file``, ``row`` (1-based, as an editor counts lines) and ``column``."""

    def __init__(
        self,
        happened: str,
        expected: str = "",
        remedy: str = "",
        *,
        file: str | Path | None = None,
        row: int | None = None,
        column: str | None = None,
    ) -> None:
        self.file, self.row, self.column, self.fact = file, row, column, happened
        place = ", ".join(
            f"{name} {value}" for name, value in (("file", file), ("row", row), ("column", column)) if value is not None
        )
        super().__init__(f"{place}: {happened}" if place else happened, expected, remedy)

    def as_json(self) -> dict[str, object]:
        """The three sentences, and the places that are known apart from them."""
        file = str(self.file) if self.file is not None else None
        places = {"file": file, "row": self.row, "column": self.column}
        known = {name: value for name, value in places.items() if value is not None}
        return {**super().as_json(), "happened": self.fact, **known}

    def at(self, *, file: str | Path | None = None, row: int | None = None, column: str | None = None) -> DataError:
        """The same error with the place filled in where it was not known yet."""
        return DataError(
            self.fact,
            self.expected,
            self.remedy,
            file=self.file if self.file is not None else file,
            row=self.row if self.row is not None else row,
            column=self.column if self.column is not None else column,
        )


class ConfigError(LubanError):
    """An option, key or value that does not exist or does not fit."""


class UnknownName(LubanError):
    """A registry was asked for a name it does not hold; the message lists what exists and the nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(
            f"There is no {kind} named {name!r}.",
            f"Known: {', '.join(known)}.",
            nearest_hint(name, known),
        )


class FolderError(LubanError):
    """A model folder that must not be trusted or cannot be read."""


class BaseUnavailable(LubanError):
    """Pre-trained weights that are neither on this machine nor reachable."""


class MissingExtra(LubanError):
    """An optional library is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs a library that is not installed.",
            f"It comes with the extra {extra!r}.",
            f"Install it with: {pip_line(extra)}",
        )


def pip_line(extra: str) -> str:
    """The command that adds what an extra brings, by the names of the libraries: luban itself is on no index yet."""
    try:
        declared = requires("luban") or []
    except PackageNotFoundError:
        declared = []
    marked = re.compile(rf"""^([A-Za-z0-9._-]+).*extra == ['"]{re.escape(extra)}['"]""")
    names = [found[1] for line in declared if (found := marked.match(line))]
    return f"pip install {' '.join(names)}" if names else f'pip install "luban[{extra}]"'


class ServiceError(LubanError):
    """A server that cannot take this request now; ``status`` is the HTTP status it maps to."""

    def __init__(self, happened: str, expected: str = "", remedy: str = "", *, status: int = 503) -> None:
        self.status = status
        super().__init__(happened, expected, remedy)


class GateError(LubanError):
    """A check failed although everything was used rightly."""

    exit_code = 1


class ParityError(GateError):
    """Golden rows did not reproduce; ``stage`` names the hand-off that broke them."""

    def __init__(self, stage: str, happened: str, remedy: str = "") -> None:
        self.stage = stage
        super().__init__(f"{stage}: {happened}", "Golden rows must give the scores recorded with the model.", remedy)


def counted(count: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``, ``3 entities``: a number with its noun, which agrees with it."""
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}"


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else ""
