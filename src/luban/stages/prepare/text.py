"""Bytes of a file to lines of text: gzip, encodings, binary files, over-long lines; it knows no format."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from luban.errors import DataError
from luban.stages.prepare.base import MAX_LINE, unreadable

CHUNK = 2**20
MAGIC = {
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive or an Office document (xlsx, docx)",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\xd0\xcf\x11\xe0": "an old Office document (xls, doc)",
    b"SQLite format 3": "an SQLite database",
    b"\x7fELF": "a program",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"ARROW1": "an Arrow file",
    b"\x80\x04\x95": "a Python pickle",
    b"\x93NUMPY": "a NumPy array",
}
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
DAMAGED_SHARE = 0.01
"largest share of lines with bytes that are no UTF-8 for which a file still counts as UTF-8"
IO_ERRORS = (OSError, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file's bytes are text; ``damaged`` lines hold bytes that are none, read as U+FFFD."""

    name: str
    damaged: int = 0


def opened(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where it is gzip; raises `DataError` where it cannot be opened."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        return cast(BinaryIO, gzip.open(path, "rb") if packed else path.open("rb"))
    except OSError as error:
        raise unreadable(path, error, "A readable file", "Check its permissions.") from error


def first_bytes(path: Path, count: int = CHUNK) -> bytes:
    """The first unpacked bytes of a file."""
    with opened(path) as file:
        try:
            return file.read(count)
        except IO_ERRORS as error:
            raise _damaged_gzip(path, error) from error


def inspect(path: Path, *, longest: int = MAX_LINE) -> Encoding:
    """The encoding of a whole text file; `DataError` for empty and binary files and over-long lines.

    UTF-8, UTF-8 with mark, UTF-16 with mark, GB18030 and Windows-1252 are told apart; a file that is UTF-8 but for a
    few damaged lines is read as UTF-8 with the damage counted. ``longest``: bytes of a line.
    """
    head = first_bytes(path, 64)
    if not head:
        raise DataError(
            "the file is empty.", "A file of rows was expected.", "Fill it, or name another one.", file=path
        )
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            raise DataError(
                f"this is {kind}, not text.",
                "CSV, TSV, JSON lines, Parquet or CoNLL columns were expected.",
                "Export the rows as CSV or JSON lines.",
                file=path,
            )
    marked = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    if marked == "utf-16":
        return Encoding(marked)
    plain = _measure(path, longest)
    return Encoding(marked or "utf-8") if plain else _guess(path, marked or "utf-8")


def lines(path: Path, encoding: Encoding) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends; bytes that are no text become U+FFFD."""
    with opened(path) as raw, io.TextIOWrapper(raw, encoding.name, errors="replace", newline="\n") as file:
        try:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise _too_long(path, number, MAX_LINE)
                yield number, line
        except UnicodeError as error:
            raise unreadable(path, error, f"Text in {encoding.name}", "Save the file as UTF-8.") from error
        except IO_ERRORS as error:
            raise _damaged_gzip(path, error) from error


def whole(path: Path, encoding: Encoding, limit: int) -> str:
    """The text of a file of at most ``limit`` characters; raises `DataError` for a larger one."""
    with opened(path) as raw, io.TextIOWrapper(raw, encoding.name, errors="replace") as file:
        try:
            text = file.read(limit + 1)
        except UnicodeError as error:
            raise unreadable(path, error, f"Text in {encoding.name}", "Save the file as UTF-8.") from error
        except IO_ERRORS as error:
            raise _damaged_gzip(path, error) from error
    if len(text) > limit:
        raise DataError(
            f"the JSON document is larger than {limit // 2**20} MiB.",
            "A document has to be parsed at once.",
            "Write it as JSON lines, one object a line.",
            file=path,
        )
    return text


def _chunks(path: Path) -> Iterator[bytes]:
    with opened(path) as file:
        try:
            while chunk := file.read(CHUNK):
                yield chunk
        except IO_ERRORS as error:
            raise _damaged_gzip(path, error) from error


def _measure(path: Path, longest: int) -> bool:
    """Whether the file is UTF-8 throughout; `DataError` for NUL bytes, control characters, over-long lines."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    plain, line, run, controls, size = True, 1, 0, 0, 0
    for chunk in _chunks(path):
        if b"\0" in chunk:
            raise _nul(path, line + chunk[: chunk.index(b"\0")].count(b"\n"))
        size += len(chunk)
        controls += len(chunk) - len(chunk.translate(None, bytes(c for c in range(32) if c not in (9, 10, 11, 12, 13))))
        breaks = chunk.count(b"\n")
        run = len(chunk) - chunk.rfind(b"\n") - 1 if breaks else run + len(chunk)
        line += breaks
        if run > longest:
            raise _too_long(path, line, longest)
        if plain:
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                plain = False
    if controls > max(8, size // 50):
        raise DataError(
            f"{controls} of {size} bytes are control characters; this is a binary file.",
            "A text file was expected.",
            "Export the rows as CSV or JSON lines.",
            file=path,
        )
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        plain = False
    return plain


def _guess(path: Path, name: str) -> Encoding:
    """The encoding of a text file that is not UTF-8 throughout."""
    damaged = good = count = first = 0
    simplified = western = other = 0
    chinese = codecs.getincrementaldecoder("gb18030")()
    is_chinese = True
    for number, line in enumerate(_split(path), start=1):
        count = number
        if line.isascii():
            continue
        text = line.decode("utf-8", errors="replace")
        bad = text.count("\ufffd")
        good += sum(1 for char in text if char > "\x7f") - bad
        damaged += bad > 0
        first = first or (number if bad else 0)
        common, rare = _gb_pairs(line)
        simplified, other = simplified + common, other + rare
        western += sum(byte >= 0xC0 or 0x91 <= byte <= 0x97 for byte in line if byte > 0x7F)
        try:
            chinese.decode(line)
        except UnicodeDecodeError:
            is_chinese = False
    if good >= 10 * damaged or (damaged <= max(1, DAMAGED_SHARE * count) and count >= 100):
        return Encoding(name, damaged)
    if is_chinese and simplified >= 4 * other:
        return Encoding("gb18030")
    if western and damaged and not simplified > 4 * other and _western(path):
        return Encoding("cp1252")
    raise DataError(
        f"lines that are neither UTF-8 nor GB18030: {damaged} of {count} (first at row {first}).",
        "Text in UTF-8 was expected.",
        "Save the file as UTF-8 (in a spreadsheet: 'CSV UTF-8'; elsewhere: iconv -f ENCODING -t utf-8).",
        file=path,
        row=first,
    )


def _split(path: Path) -> Iterator[bytes]:
    with opened(path) as file:
        while line := file.readline(MAX_LINE + 1):
            yield line


def _gb_pairs(line: bytes) -> tuple[int, int]:
    """How many double bytes of a line lie in the common block of GB 2312, and how many bytes beyond ASCII do not."""
    common = rare = at = 0
    while at < len(line):
        if line[at] < 0x80:
            at += 1
        elif 0xA1 <= line[at] <= 0xD7 and at + 1 < len(line) and line[at + 1] >= 0xA1:
            common, at = common + 1, at + 2
        else:
            rare, at = rare + 1, at + 2
    return common, rare


def _western(path: Path) -> bool:
    """Whether the bytes beyond ASCII are Windows-1252 letters and quotes, mostly next to ASCII letters."""
    beyond = near = 0
    for line in _split(path):
        for at, byte in enumerate(line):
            if byte > 0x7F:
                beyond += 1
                sides = line[max(0, at - 1) : at] + line[at + 1 : at + 2]
                near += (byte >= 0xC0 or 0x91 <= byte <= 0x97) and any(chr(side).isascii() for side in sides)
        if any(byte in line for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D)):
            return False
    return near >= 0.9 * beyond


def _nul(path: Path, row: int) -> DataError:
    return DataError(
        "there is a NUL byte; this is a binary file, UTF-16 without its mark, or damage.",
        "Text in UTF-8 was expected.",
        "Save the file as UTF-8, or export the rows as CSV.",
        file=path,
        row=row,
    )


def _too_long(path: Path, row: int, limit: int) -> DataError:
    return DataError(
        f"the line is longer than {limit // 2**20} MiB.",
        "One row a line was expected.",
        "Check that lines end with a line feed and that this is a file of rows.",
        file=path,
        row=row,
    )


def _damaged_gzip(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"cannot be read to its end ({error}).", "A whole file was expected.", "Copy or download it again.", file=path
    )
