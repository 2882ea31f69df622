"""CSV, TSV and other delimited text, TREC lines and plain lines: which of these a file is, and its rows.

Rows of another width than the header's, and quotes that never close, are given as errors with their line; nothing is
converted.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from luban.errors import DataError, counted
from luban.stages.prepare.base import MAX_LINE, Item, Table
from luban.stages.prepare.text import Encoding, lines

MARKS = (",", "\t", ";", "|")
WIDE = ("||", "::")
LABELLED = re.compile(r"([A-Z][A-Z_]+):([A-Za-z_]\w*)\s+(\S.*)", re.DOTALL)
MAX_CELL_LINES = 1000
"lines that one quoted cell may span before its quote counts as never closed"


def delimited(path: Path, encoding: Encoding, known: Callable[[str], bool]) -> Table:
    """The table of a delimited text file; ``known`` says whether a cell of the first row is the name of a column."""
    sample = [line.rstrip("\r\n") for _, line in islice(lines(path, encoding), 200)]
    sample = [line.lstrip("\ufeff") for line in sample if line.strip()]
    if not sample:
        raise DataError("the file holds only white space.", "A file of rows was expected.", "Fill it.", file=path)
    if all(LABELLED.fullmatch(line) for line in sample):
        return Table(path, "TREC lines", ("text", "label", "fine"), lambda: _labelled(path, encoding))
    mark = _mark(sample, path)
    if mark is None:
        return Table(path, "lines", ("text",), lambda: _plain(path, encoding))
    return _table(path, encoding, mark, known)


def _table(path: Path, encoding: Encoding, mark: str, known: Callable[[str], bool]) -> Table:
    quoted = len(mark) == 1 and (mark != "\t" or _tabs_are_quoted(path, encoding))

    def rows() -> Iterator[tuple[int, list[str] | DataError]]:
        return _quoted(path, encoding, mark) if quoted else _unquoted(path, encoding, mark)

    first = [cells for _, cells in islice(rows(), 200) if not isinstance(cells, DataError)]
    if not first:
        empty = DataError("there is no row with anything in it.", "Rows of cells were expected.", "Fill the file.")
        raise next((cells for _, cells in rows() if isinstance(cells, DataError)), empty).at(file=path)
    head = [cell.strip() for cell in first[0]]
    named = _is_header(head, first[1:], known, plain=mark == ",")
    columns = tuple(head) if named else tuple(str(i + 1) for i in range(_width(first)))
    if named:
        _no_repeats(path, head)
    kind = {",": "CSV", "\t": "TSV"}.get(mark, f"{mark!r}-separated")
    label = f"{kind} {'with' if named else 'without'} header"
    return Table(path, label, columns, lambda: _records(rows(), columns, skip=named, mark=mark), named)


def _records(
    rows: Iterator[tuple[int, list[str] | DataError]], columns: Sequence[str], *, skip: bool, mark: str
) -> Iterator[Item]:
    for number, cells in rows:
        if skip and not isinstance(cells, DataError):
            skip = False
        elif isinstance(cells, DataError):
            yield number, cells
        elif len(cells) == len(columns):
            yield number, dict(zip(columns, cells, strict=True))
        else:
            more = len(cells) > len(columns)
            remedy = (
                f"Put cells that contain {mark!r} in double quotes."
                if more and mark == ","
                else f"Take the extra {mark!r} out."
                if more
                else "Fill in the missing cells."
            )
            yield (
                number,
                DataError(
                    f"the row has {counted(len(cells), 'cell')}.", f"{len(columns)} were expected.", remedy, row=number
                ),
            )


def _quoted(path: Path, encoding: Encoding, mark: str) -> Iterator[tuple[int, list[str] | DataError]]:
    """Logical rows of a file with double quotes; after a quote that never closes, reading goes on at the next line."""
    csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_LINE))
    source = lines(path, encoding)
    pending: deque[tuple[int, str]] = deque()
    while True:
        taken: list[tuple[int, str]] = []
        try:
            cells = next(csv.reader(_feed(source, pending, taken), delimiter=mark, strict=True))
        except StopIteration:
            return
        except csv.Error as error:
            open_quote = len(taken) > 1 or "end of data" in str(error)
            fact = (
                "a double quote that opens here is never closed." if open_quote else f"the quotes do not fit ({error})."
            )
            pending.extendleft(reversed(taken[1:]))
            yield (
                taken[0][0],
                DataError(
                    fact, "Quotes inside a quoted cell are doubled.", "Close or double the quote.", row=taken[0][0]
                ),
            )
            continue
        if cells and not (len(cells) == 1 and not cells[0].strip()):
            if taken[0][0] == 1:
                cells[0] = cells[0].lstrip("\ufeff")
            yield taken[0][0], cells


def _feed(
    source: Iterator[tuple[int, str]], pending: deque[tuple[int, str]], taken: list[tuple[int, str]]
) -> Iterator[str]:
    size = 0
    while len(taken) < MAX_CELL_LINES and size < MAX_LINE:
        line = pending.popleft() if pending else next(source, None)
        if line is None:
            return
        taken.append(line)
        size += len(line[1])
        yield line[1]


def _unquoted(path: Path, encoding: Encoding, mark: str) -> Iterator[tuple[int, list[str] | DataError]]:
    for number, line in lines(path, encoding):
        text = line.rstrip("\r\n")
        if number == 1:
            text = text.lstrip("\ufeff")
        if text.strip():
            yield number, text.split(mark)


def _labelled(path: Path, encoding: Encoding) -> Iterator[Item]:
    for number, line in lines(path, encoding):
        match = LABELLED.fullmatch(line.strip())
        if match:
            yield number, {"text": match[3], "label": match[1], "fine": f"{match[1]}:{match[2]}"}
        elif line.strip():
            yield (
                number,
                DataError(
                    "the line does not begin with LABEL:fine.",
                    "Each line is 'LABEL:fine text'.",
                    "Mend the line.",
                    row=number,
                ),
            )


def _plain(path: Path, encoding: Encoding) -> Iterator[Item]:
    for number, line in lines(path, encoding):
        if line.strip():
            yield number, {"text": line.rstrip("\r\n").lstrip("\ufeff")}


def _mark(sample: Sequence[str], path: Path) -> str | None:
    """The delimiter that cuts most lines into the same number (two or more) of cells; None for plain text."""
    for mark in WIDE:
        if _agreement([line.count(mark) + 1 for line in sample]) >= 0.9:
            return mark
    suffix = path.name.lower().removesuffix(".gz")
    named = {".csv": ",", ".tsv": "\t"}.get(suffix[suffix.rfind(".") :] if "." in suffix else "")
    scores = {mark: _agreement(_widths(sample, mark)) for mark in MARKS}
    best = max(scores, key=lambda mark: (scores[mark], mark == named))
    if named is not None and (scores[named] > 0.5 or scores[best] < 0.9):
        return named
    needed = 0.9 if best == "\t" else 0.98
    return best if scores[best] >= needed and (len(sample) > 1 or named) else None


def _agreement(widths: Sequence[int]) -> float:
    """Share of rows that have the commonest width, when that is two or more."""
    width, count = Counter(widths).most_common(1)[0] if widths else (0, 0)
    return count / len(widths) if width > 1 else 0.0


def _widths(sample: Sequence[str], mark: str) -> list[int]:
    if mark == "\t":
        return [line.count(mark) + 1 for line in sample]
    try:
        return [len(cells) for cells in csv.reader(sample, delimiter=mark) if cells]
    except csv.Error:
        return [line.count(mark) + 1 for line in sample]


def _tabs_are_quoted(path: Path, encoding: Encoding) -> bool:
    """Whether quotes in a TSV mean what they do in CSV: some cell has them doubled or every cell is quoted."""
    meant = False
    for _, line in islice(lines(path, encoding), 20_000):
        cells = line.rstrip("\r\n").split("\t")
        opening = [cell for cell in cells if cell.startswith('"')]
        for cell in opening:
            inner = cell[1:-1]
            if len(cell) < 2 or not cell.endswith('"') or '"' in inner.replace('""', ""):
                return False
            meant |= '""' in inner or len(opening) == len(cells)
    return meant


def _is_header(
    head: Sequence[str], rest: Sequence[Sequence[str]], known: Callable[[str], bool], *, plain: bool
) -> bool:
    """Whether the first row names columns: it has a known name, or (in CSV) looks like names that never recur."""
    if any(known(cell) for cell in head):
        return True
    if not plain or not rest or len(set(head)) < len(head):
        return False
    if any(not re.fullmatch(r"[^\W\d][\w .()/%#-]{0,39}", cell) for cell in head):
        return False
    below = [{row[i] for row in rest if i < len(row)} for i in range(len(head))]
    return not any(cell in values for cell, values in zip(head, below, strict=True))


def _width(rows: Sequence[Sequence[str]]) -> int:
    return Counter(len(row) for row in rows).most_common(1)[0][0]


def _no_repeats(path: Path, head: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(head).items() if count > 1 and name]
    if repeated:
        raise DataError(
            f"the header names {repeated[0]!r} twice.",
            "Every column has its own name.",
            "Rename one.",
            file=path,
            row=1,
            column=repeated[0],
        )
    if head.count("") > 1:
        raise DataError("the header has unnamed columns.", "Every column has a name.", "Name them.", file=path, row=1)
