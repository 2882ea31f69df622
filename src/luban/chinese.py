"""The sentences of errors in Chinese, from the table chinese.toml; it holds no sentence itself and prints nothing.

Where an error is raised stands an English f-string. A template of the table is such a string with ``{}`` for each
value (``{:n}`` for a number that a noun follows); the one that fits a whole sentence gives its Chinese. A sentence
that none fits stays as it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from string import Formatter

from luban.errors import DataError, LubanError, ServiceError


def in_chinese(error: LubanError) -> LubanError:
    """The same error with its sentences in Chinese; file, row and column of a `DataError` stay apart."""
    expected, remedy = translated(error.expected), translated(error.remedy)
    if isinstance(error, DataError):
        told = DataError(translated(error.fact), expected, remedy, file=error.file, row=error.row, column=error.column)
        places = {"file": error.file, "row": error.row, "column": error.column}
        where = "，".join(_place(name, str(value)) for name, value in places.items() if value is not None)
        told.happened = f"{where}：{told.fact}" if where else told.fact
        return told
    if isinstance(error, ServiceError):
        return ServiceError(translated(error.happened), expected, remedy, status=error.status)
    return LubanError(translated(error.happened), expected, remedy)


def prefers_chinese(accept_language: str) -> bool:
    """Whether an Accept-Language header wants Chinese rather than English, which errors are said in otherwise."""
    wanted: list[tuple[float, str]] = []
    for part in accept_language.lower().split(","):
        found = LANGUAGE_RANGE.fullmatch(part.strip())
        if found:
            wanted.append((float(found["weight"] or 1), found["language"]))
    best = max(wanted, key=lambda one: one[0], default=(0.0, "en"))  # of equals the first
    return best[0] > 0 and best[1] == "zh"


LANGUAGE_RANGE = re.compile(r"(?P<language>zh|en)(-[\w-]+)?(\s*;\s*q=(?P<weight>[01](\.\d*)?))?")
"Chinese or English, of whatever region and script, and how much it is wanted"


def translated(sentence: str) -> str:
    """A sentence of an error in Chinese, with those of its values that are phrases of the table; else as it is."""
    for english, chinese in table().items():
        if (values := fitted(english, sentence)) is not None:
            return chinese.format(*map(Value, values))
    return _one_by_one(sentence) or _after_its_place(sentence)


class Value(str):
    """A value in a Chinese template: ``{}`` translates it where it is a phrase, ``{0:word}`` also where it is a word.

    What a person typed is quoted or one word; it stays as it is.
    """

    def __format__(self, kind: str) -> str:
        phrase = " " in self and self[0] not in "'\""
        return translated(str(self)) if phrase or kind == "word" else str(self)


def _one_by_one(text: str) -> str:
    """Several sentences in a row, as an error says them together; nothing unless the first is in the table."""
    for end in re.finditer(r"[.?] ", text):
        first, rest = text[: end.start() + 1], text[end.end() :]
        if (said := translated(first)) != first:
            return said + translated(rest)
    return ""


def _after_its_place(sentence: str) -> str:
    """``file a.csv, row 3: the row has 3 cells.``, whose end is a sentence of the table."""
    for colon in re.finditer(": ", sentence):
        head, rest = sentence[: colon.start()], sentence[colon.end() :]
        if (said := translated(rest)) != rest:
            return "，".join(_place(*part.partition(" ")[::2]) for part in head.split(", ")) + f"：{said}"
    return sentence


def _place(name: str, value: str) -> str:
    """``row`` and ``3`` as a place; anything else, such as the stage that failed, as it is or as the table has it."""
    where = areas()["places"].get(name) if value else None
    head = f"{name} {value}".strip()
    return where.format(value) if where else table().get(head, head)


@cache
def areas() -> Mapping[str, Mapping[str, str]]:
    """The table as it is written, area by area; ``places`` holds the words for file, row and column."""
    return tomllib.loads((files("luban") / "chinese.toml").read_text(encoding="utf8"))


@cache
def table() -> Mapping[str, str]:
    """English templates and their Chinese; those with most literal text first, for they say most of a sentence."""
    pairs = [pair for area, sentences in areas().items() if area != "places" for pair in sentences.items()]
    return dict(sorted(pairs, key=lambda pair: -len("".join(literals(pair[0])))))


@cache
def literals(template: str) -> tuple[str, ...]:
    """The text between the values of a template."""
    return tuple(text for text, *_ in Formatter().parse(template))


def fitted(template: str, sentence: str) -> tuple[str, ...] | None:
    """The values with which a template gives a sentence, the earlier ones as short as can be; None where none do."""
    first = next(iter(literals(template)), "")
    if not sentence.startswith(first):
        return None
    found = _pattern(template).fullmatch(sentence)
    return found.groups() if found else None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """A template as an expression: ``{}`` is any text, ``{:n}`` a whole number."""
    kinds = {"": "(.*?)", "n": r"([\d,]+)"}
    pieces = Formatter().parse(template)
    told = (re.escape(text) + (kinds[spec or ""] if value is not None else "") for text, value, spec, _ in pieces)
    return re.compile("".join(told), re.DOTALL)
