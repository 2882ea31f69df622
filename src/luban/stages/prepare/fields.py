"""Which columns of a table are fields, numbers or categories: as the user says, as a model knows them, or by their values.

A field that a model knows is named with its kind before it (``number:price``); a source may lack it, then it is missing. One
that the user names must be there. Where nothing is said, a column of numbers is a number and one of few values a category;
columns that look like ids, hold one value, or are long texts are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from luban.errors import DataError, nearest_hint
from luban.gathered import CATEGORY, NUMBER, field_name, number_in
from luban.stages.prepare.base import Table

ID = re.compile(r"(?i)(.*[_ -])?(id|idx|index|uid|uuid|guid|key|hash|url)|unnamed.*|编号|序号")
"names of columns that tell rows apart and say nothing about them"
LONGEST = 40
"characters of a value, on average, beyond which a column is no category"
SHARE = 0.5
"share of the rows that the different values of a category may reach at most"
NEARLY_ALL = 0.9
"share of a column's values that are numbers in a column of numbers: the others are mistakes, to be told"
FEW = 20
"rows below which any number of different values may be a category"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The fields that were named; none at all: they are to be recognised."""

    numbers: Sequence[str] = ()
    categories: Sequence[str] = ()

    @classmethod
    def known(cls, columns: Iterable[str]) -> Wanted:
        """The fields among canonical columns, of which a source may lack some."""
        fields = [column for column in columns if field_name(column)]
        numbers = [column for column in fields if column.startswith(NUMBER)]
        return cls(numbers, [column for column in fields if column not in numbers])

    @property
    def named(self) -> list[tuple[str, str]]:
        """Kind and name of each."""
        return [(NUMBER, name) for name in self.numbers] + [(CATEGORY, name) for name in self.categories]


ANY = Wanted()
"those that are recognised"


def fields_of(table: Table, taken: Mapping[str, str], wanted: Wanted) -> dict[str, str]:
    """Canonical name to column name of a table's fields; ``taken``: the columns that are something else already.

    Raises `DataError` for a field that the user named and the table lacks, or that is something else.
    """
    used = {column: name for name, column in taken.items()}
    if not wanted.named:
        return _recognised(table, used)
    found = {}
    for kind, name in wanted.named:
        known = name.startswith((NUMBER, CATEGORY))
        canonical = name if known else kind + name
        column = next((one for one in (canonical, field_name(canonical)) if one in table.columns), None)
        if column is not None and column not in used:
            found[canonical] = column
        elif not known:
            raise _no_field(table, name, used.get(name, ""))
    return found


def _recognised(table: Table, used: Mapping[str, str]) -> dict[str, str]:
    sample = table.head()
    found = {}
    for column in table.columns:
        if column in used:
            continue
        if field_name(column):
            found[column] = column
        elif kind := _kind(column, [record.get(column) for record in sample]):
            found[kind + column] = column
    return found


def _kind(column: str, values: Iterable[Any]) -> str:
    """What a column holds by its first values; empty where it is no field."""
    there = [value for value in values if value is not None and str(value).strip()]
    if ID.fullmatch(column.strip()) or any(isinstance(value, list | dict) for value in there):
        return ""
    different = len({str(value) for value in there})
    if different < 2:
        return ""
    numbers = [number for number in map(_number, there) if number is not None]
    if len(numbers) >= NEARLY_ALL * len(there):
        counts_up = all(after - before == 1 for before, after in pairwise(numbers))
        return "" if counts_up and len(numbers) > 2 else NUMBER
    short = sum(len(str(value)) for value in there) <= LONGEST * len(there)
    return CATEGORY if short and (len(there) < FEW or different <= SHARE * len(there)) else ""


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else number_in({NUMBER: value}, NUMBER)
    except DataError:
        return None


def _no_field(table: Table, name: str, used: str) -> DataError:
    if used:
        return DataError(
            f"the column {name!r} is read as {used!r} already.",
            "A column is one thing.",
            f"Name the right column with --columns {used}=COLUMN, or leave {name} out of the fields.",
            file=table.file,
            column=name,
        )
    return DataError(
        f"there is no column {name!r}.",
        f"The columns are: {', '.join(table.columns)}.",
        nearest_hint(name, table.columns) or "Name one of them (--numbers, --categories).",
        file=table.file,
        column=name,
    )
