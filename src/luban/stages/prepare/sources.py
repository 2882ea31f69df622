"""A source as the user writes it, a file, a folder or ``hf:NAME``, to tables by part; reads little of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from luban.errors import DataError, nearest_hint
from luban.stages.prepare.base import MAX_DOCUMENT, Table
from luban.stages.prepare.binary import hub, image_folder, images, is_image_folder, parquet
from luban.stages.prepare.delimited import delimited
from luban.stages.prepare.documents import is_json_lines, json_document, json_lines
from luban.stages.prepare.naming import part_of, shards
from luban.stages.prepare.tagged import conll, is_conll, parallel
from luban.stages.prepare.text import first_bytes, inspect, lines

ROWS = (
    ".csv",
    ".tsv",
    ".txt",
    ".json",
    ".jsonl",
    ".ndjson",
    ".parquet",
    ".pq",
    ".conll",
    ".conllu",
    ".bio",
    ".iob",
    ".bmes",
    ".dat",
)
NOT_ROWS = frozenset(
    {
        "provenance.json",
        "config.json",
        "luban.json",
        "dataset_infos.json",
        "license.txt",
        "readme.txt",
        "requirements.txt",
        "schema.json",
    }
)
LISTS = (".csv", ".tsv", ".jsonl", ".parquet")
"a lone file of these, beside directories of pictures, says what is on them"
Known = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Source:
    """Tables by part ("train", "valid", "test", or "" where nothing says which) and the files that were passed over."""

    name: str
    tables: Mapping[str, tuple[Table, ...]]
    passed_over: tuple[str, ...] = field(default=())


def open_source(source: str, known: Known) -> Source:
    """The tables of a source; raises `DataError` where it does not exist or holds no rows."""
    if source.startswith("hf:"):
        return Source(source, {part: (table,) for part, table in hub(source[3:]).items()})
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            return _folder(source, path, known)
        if path.is_file():
            return Source(source, {part: (table,) for part, table in open_file(path, known).items()})
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{source!r:.200} cannot be opened ({error}).", "A file, a folder or hf:NAME.", "Check the path."
        ) from error
    if exists:
        raise DataError(
            "this is no regular file.",
            "A file, a folder or hf:NAME was expected.",
            "Save the rows to a file.",
            file=path,
        )
    raise _nowhere(source, path)


def open_file(path: Path, known: Known) -> dict[str, Table]:
    """Tables by part of one file, whose format is told by its content first and its name second."""
    name = path.name.lower().removesuffix(".gz")
    head = first_bytes(path, 4096)
    if head.startswith(b"PAR1") or name.endswith((".parquet", ".pq")):
        return {"": parquet(path)}
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    jsonish = name.endswith((".json", ".jsonl", ".ndjson"))
    document = name.endswith(".json") and start in (b"{", b"[")
    encoding = inspect(path, longest=MAX_DOCUMENT) if document else inspect(path)
    if encoding.name.startswith("utf-16"):
        jsonish, start = jsonish, b"{" if jsonish else b""
    notes = {"encoding": encoding.name} | ({"damaged_lines": encoding.damaged} if encoding.damaged else {})
    if jsonish or (start == b"{" and is_json_lines(path, encoding)):
        lined = not name.endswith(".json") or is_json_lines(path, encoding)
        tables = {"": json_lines(path, encoding)} if lined else json_document(path, encoding)
    elif not name.endswith((".csv", ".tsv")) and is_conll([line for _, line in islice(lines(path, encoding), 400)]):
        tables = {"": conll(path, encoding)}
    else:
        tables = {"": delimited(path, encoding, known)}
    return {part: _noted(table, notes) for part, table in tables.items()}


def _noted(table: Table, notes: Mapping[str, object]) -> Table:
    return Table(table.file, table.format, table.columns, table.items, table.named, {**notes, **table.notes})


def _folder(source: str, folder: Path, known: Known) -> Source:
    if (folder / "seq.in").is_file():
        return Source(source, {"": (parallel(folder),)})
    children = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [path for path in children if path.is_file() and _has_rows(path, children)]
    inside = {part: path for path in children if path.is_dir() and (part := part_of(path.name))}
    by_part: dict[str, list[Path]] = {}
    for path in files:
        by_part.setdefault(part_of(_stem(path)), []).append(path)
    named = {part: shards(paths) for part, paths in by_part.items() if part}
    if named:
        taken = {path for paths in named.values() for path in paths}
        over = tuple(path.name for path in files if path not in taken)
        return Source(source, {part: _opened(paths, known) for part, paths in named.items()}, over)
    if inside:
        return Source(source, {part: _part(path, known) for part, path in inside.items()})
    if is_image_folder(folder) and not (len(files) == 1 and files[0].suffix.lower() in LISTS):
        return Source(source, {"": (image_folder(folder),)})
    if not files and (table := images(folder)) is not None:
        return Source(source, {"": (table,)})
    return _lone(source, folder, files, known)


def _lone(source: str, folder: Path, files: list[Path], known: Known) -> Source:
    """The one file of a folder, or the one JSON document of several that names parts inside."""
    if len(files) == 1:
        return Source(source, {part: (table,) for part, table in open_file(files[0], known).items()})
    for path in files:
        if path.name.lower().removesuffix(".gz").endswith(".json"):
            tables = open_file(path, known)
            if "" not in tables:
                over = tuple(other.name for other in files if other != path)
                return Source(source, {part: (table,) for part, table in tables.items()}, over)
    held = ", ".join(sorted(path.name for path in folder.iterdir())[:12])
    raise DataError(
        "the folder has no part that is named train, valid (dev, val) or test.",
        f"It holds: {held or 'nothing'}.",
        "Name one of its files, or rename them train.csv, valid.csv, test.csv.",
        file=folder,
    )


def _part(folder: Path, known: Known) -> tuple[Table, ...]:
    if (folder / "seq.in").is_file():
        return (parallel(folder),)
    if is_image_folder(folder):
        return (image_folder(folder),)
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and _has_rows(path, [])]
    if not files:
        raise DataError(
            "the folder holds no file of rows.", f"Known: {', '.join(ROWS)}.", "Put the rows there.", file=folder
        )
    return _opened(files, known)


def _opened(paths: list[Path], known: Known) -> tuple[Table, ...]:
    tables = [open_file(path, known) for path in paths]
    for path, found in zip(paths, tables, strict=True):
        if "" not in found:
            raise DataError(
                "the document names parts inside a file that is one part.",
                "One table a file was expected here.",
                "Name this file as the source.",
                file=path,
            )
    return tuple(found[""] for found in tables)


def _has_rows(path: Path, siblings: list[Path]) -> bool:
    """Whether a file of a folder looks like rows: a known ending, or a name that is a part's (``ch.train``)."""
    name = path.name.lower().removesuffix(".gz")
    if name in NOT_ROWS or name.endswith((".py", ".md", ".intent")):
        return False
    return name.endswith(ROWS) or bool(part_of(name))


def _stem(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return next((name.removesuffix(ending) for ending in ROWS if name.endswith(ending)), name)


def _nowhere(source: str, path: Path) -> DataError:
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent, path = parent.parent, parent
    try:
        known = sorted(child.name for child in parent.iterdir())
    except OSError:
        known = []
    hint = nearest_hint(path.name, known)
    shown = f"{parent} holds: {', '.join(known[:8])}{' ...' if len(known) > 8 else ''}." if known else ""
    return DataError(f"{source!r} does not exist.", shown, hint or "Give a file, a folder or hf:NAME[:CONFIG].")
