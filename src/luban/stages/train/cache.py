"""Encoded windows in mapped files, so that memory does not grow with the rows: written once, in order, read by place.

They lie in the run's folder for work, where a run that was killed finds them again; ``key`` ties them to its config and rows.
Where a window's sub-words stand in the text is not kept: nothing that learns asks for it. Windows that are more than sub-words
(several kinds of content in one row) stay in memory.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Window
from luban.folder import write_text
from luban.pictures import Picture
from luban.stored import let_go, written_to
from luban.training import Example

CHUNK = 2_000
"examples that are held before they are written"
ABOUT, PART = "examples.json", ".part"
TYPES = {
    "numbers": np.int32, "start": np.int64, "counts": np.int32, "first": np.int32, "share": np.float64,
    "window": np.int64, "windows": np.int32, "said": np.int64, "values": np.int32, "weight": np.float64, "row": np.int64,
    "labelled": np.bool_, "target": np.int64,
}  # fmt: skip
"""The files. ``numbers``: the sub-words and other arrays of all windows, one after the other. A window: where it ``start``s
there, the ``counts`` of its arrays, the ``first`` word it decides, its ``share`` of the row. An example: its first ``window``,
how many ``windows``, where its ``target``'s numbers begin (``said``) and how many ``values`` they are (-1: one that stands
alone), and as in `Example`. ``target`` has the task's own type."""
OF_EXAMPLES = ("window", "windows", "said", "values", "weight", "row", "labelled")
SHARED = ("ids", "types", "heads")
"arrays that every window has; ids and types of one length, types only where they are not all 0, heads only of taggers"

KINDS = ("encoding:Window", "pictures:Picture", "packing:Line", "packing:Pack", "gathered:Gathered", "written:Crossing")
"what a window may be; a file that names anything else is not read"


class Kept(Sequence[Example]):
    """Examples in the files of a folder; each is made when it is asked for. ``notes``: what was found on the way."""

    def __init__(self, folder: Path, about: Mapping[str, Any], encoder: Any) -> None:
        self.notes: dict[str, Any] = about["notes"]
        self._encoder, self._arrays = encoder, tuple(about["arrays"])
        module, _, name = about["kind"].partition(":")
        self._kind: type[Window] = getattr(import_module(f"luban.{module}"), name)
        types = {**TYPES, "target": np.dtype(about["target"])}
        self._files = {name: _mapped(folder / name, dtype) for name, dtype in types.items()}
        self._numbers, self._start, self._target = (self._files[name] for name in ("numbers", "start", "target"))
        self._counts = self._files["counts"].reshape(-1, len(self._arrays))

    @classmethod
    def open(cls, folder: Path, key: str, encoder: Any) -> Kept | None:
        """What an interrupted run has left there; None where it is another's, or not whole."""
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf8"))
            sizes = {name: (folder / name).stat().st_size for name in TYPES}
            whole = about["key"] == key and about["kind"] in KINDS and sizes == about["bytes"]
            return cls(folder, about, encoder) if whole else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def column(self, name: str) -> NDArray[Any]:
        """A field of every example, as `column` gives it: the caller's own."""
        return self._target[self._files["said"]] if name == "target" else np.array(self._files[name])

    def __len__(self) -> int:
        return len(self._files["row"])

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"example {place} of {len(self)}")
        window, windows, said, values, weight, row, labelled = (self._files[name][place].item() for name in OF_EXAMPLES)
        first, *beside = (self._window(number) for number in range(window, window + windows))
        target = np.array(self._target[said]) if values < 0 else self._target[said : said + values].copy()
        return Example(first, target, weight, row, labelled, tuple(beside))

    def _window(self, number: int) -> Window:
        start, found = int(self._start[number]), dict[str, Any]()
        for name, count in zip(self._arrays, self._counts[number].tolist(), strict=True):
            found[name] = None if count < 0 else self._numbers[start : start + count].astype(np.int64)
            start += max(0, count)
        if self._kind is Picture:
            letters = found["ids"].astype("<u4").tobytes()
            seen: Window = self._encoder.picture(letters.decode("utf-32-le", "surrogatepass"))
            return seen
        if found["types"] is None:
            found["types"] = np.zeros(len(found["ids"]), dtype=np.int64)
        share, first = float(self._files["share"][number]), int(self._files["first"][number])
        return self._kind(offsets=(), weight=share, first=first, **found)


class Chosen(Sequence[Example]):
    """Some of the examples (``places``; None: all), with a weight or without the label where that is told here."""

    def __init__(
        self,
        examples: Sequence[Example],
        places: NDArray[np.int64] | None = None,
        *,
        weights: NDArray[np.float64] | None = None,
        labelled: NDArray[np.bool_] | None = None,
    ) -> None:
        self._examples = examples
        self._places = np.arange(len(examples)) if places is None else places
        self._told = {"weight": weights, "labelled": labelled}

    def column(self, name: str) -> NDArray[Any]:
        own = self._told.get(name)
        return column(self._examples, name)[self._places] if own is None else own.copy()

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        one = self._examples[int(self._places[place])]
        return replace(one, **{name: told[place].item() for name, told in self._told.items() if told is not None})


class Windows(Sequence[Window]):
    """All windows of the examples, one after the other; ``first``: the number of each example's first (n + 1,)."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples
        self.first = np.concatenate([[0], np.cumsum(column(examples, "windows"), dtype=np.int64)])

    def __len__(self) -> int:
        return int(self.first[-1])

    @overload
    def __getitem__(self, place: int) -> Window: ...
    @overload
    def __getitem__(self, place: slice) -> list[Window]: ...
    def __getitem__(self, place: int | slice) -> Window | list[Window]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(f"window {place} of {len(self)}")
        number = int(np.searchsorted(self.first, place, side="right")) - 1
        return self._examples[number].windows[place - int(self.first[number])]

    def __iter__(self) -> Iterator[Window]:
        return (window for example in self._examples for window in example.windows)


def room_for(file: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A mapped array of zeros in a new file, whose room on the disk is taken at once; raises `ConfigError` where there is none.

    A disk that is full only once the array is written to would end the process.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_to(file.parent):
        values: np.memmap[Any, Any] = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with file.open("rb+") as opened:
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return values


def column(examples: Sequence[Example], name: str) -> NDArray[Any]:
    """A field of every example: ``weight``, ``row``, ``labelled``, how many ``windows``, the first number of the ``target``."""
    if isinstance(examples, Kept | Chosen):
        return examples.column(name)
    if name == "windows":
        return np.array([len(example.windows) for example in examples], dtype=np.int32)
    if name == "target":
        return np.array([example.target.flat[0] for example in examples])
    return np.array([getattr(example, name) for example in examples], dtype=TYPES[name])


def told(examples: Sequence[Example]) -> Sequence[Example]:
    """The examples that have a label."""
    labelled = column(examples, "labelled")
    return examples if labelled.all() else Chosen(examples, np.flatnonzero(labelled))


class Keeping:
    """Examples on their way into the files of ``folder``; raises `ConfigError` where there is no room left."""

    def __init__(self, folder: Path, encoder: Any) -> None:
        self._folder, self._encoder, self._work = folder, encoder, folder.with_name(folder.name + PART)
        shutil.rmtree(self._work, ignore_errors=True)
        self._listed: list[Example] | None = None
        self._arrays: tuple[str, ...] = ()
        self._held: dict[str, list[Any]] = {name: [] for name in TYPES}
        self._sizes = dict.fromkeys(TYPES, 0)
        self._kind: type[Window] = Window
        self._target = np.dtype(np.int64)
        self._stale: tuple[int, frozenset[int]] = (0, frozenset())

    def add(self, example: Example) -> None:
        if not self._arrays and self._listed is None:
            self._begin(example)
        if self._listed is not None:
            self._listed.append(example)
            return
        held = self._held
        target = np.atleast_1d(example.target)
        assert target.dtype == self._target, "targets of one task are of one type"
        held["window"].append(self._sizes["start"] + len(held["start"]))
        held["windows"].append(len(example.windows))
        held["said"].append(self._sizes["target"] + len(held["target"]))
        held["values"].append(len(target) if example.target.ndim else -1)
        held["target"].extend(target.tolist())
        for name in ("weight", "row", "labelled"):
            held[name].append(getattr(example, name))
        for window in example.windows:
            self._add(window)
        if len(held["row"]) >= CHUNK:
            self._flush()

    def again(self, rows: Iterable[int]) -> None:
        """Examples of these rows come once more, and hold in the place of those that were added so far."""
        self._stale = (self._sizes["row"] + len(self._held["row"]), frozenset(rows))
        if self._listed is not None:
            self._listed = [example for example in self._listed if example.row not in self._stale[1]]

    def done(self, key: str, notes: Mapping[str, Any]) -> Sequence[Example]:
        """All of them, in the order of rows; found again by ``key``."""
        if self._listed is not None or not self._arrays:
            return sorted(self._listed or [], key=lambda example: example.row)
        self._flush()
        with written_to(self._folder.parent):
            self._in_order()
            about = {
                "key": key, "kind": _named(self._kind), "arrays": self._arrays,
                "target": self._target.name, "notes": notes,
                "bytes": {name: (self._work / name).stat().st_size for name in TYPES},
            }  # fmt: skip
            write_text(self._work / ABOUT, json.dumps(about, ensure_ascii=False))
            shutil.rmtree(self._folder, ignore_errors=True)
            self._work.rename(self._folder)
        found = Kept.open(self._folder, key, self._encoder)
        assert found is not None, "what was just written is whole"
        return found

    def _begin(self, example: Example) -> None:
        """What the first example says of all: how their windows are made, and the type of their targets."""
        self._kind = type(example.window)
        self._target = example.target.dtype
        own = [field for field in fields(self._kind) if field.name not in {f.name for f in fields(Window)}]
        if self._kind is not Picture and any(field.type != "Ints" for field in own):
            self._listed = []
            return
        self._arrays = SHARED if self._kind is Picture else (*SHARED, *(field.name for field in own))
        with written_to(self._folder.parent):
            self._work.mkdir(parents=True)

    def _add(self, window: Window) -> None:
        held = self._held
        held["start"].append(self._sizes["numbers"] + len(held["numbers"]))
        if isinstance(window, Picture):
            letters = np.frombuffer(window.source.encode("utf-32-le", "surrogatepass"), dtype="<u4")
            values: list[Any] = [letters, None, None]
        else:
            values = [getattr(window, name) for name in self._arrays]
            values[1] = values[1] if values[1].any() else None
        held["counts"].extend(-1 if value is None else len(value) for value in values)
        for value in values:
            held["numbers"].extend(() if value is None else value.tolist())
        held["first"].append(window.first)
        held["share"].append(window.weight)

    def _flush(self) -> None:
        with written_to(self._folder.parent):
            for name, values in self._held.items():
                with (self._work / name).open("ab") as file:
                    file.write(np.array(values, dtype=self._target if name == "target" else TYPES[name]).tobytes())
                self._sizes[name] += len(values)
                values.clear()

    def _in_order(self) -> None:
        """Leave out the examples that came again, and put those in their place."""
        before, stale = self._stale
        if not stale:
            return
        rows = _mapped(self._work / "row", TYPES["row"])
        kept = np.flatnonzero(~((np.arange(len(rows)) < before) & np.isin(rows, np.fromiter(stale, dtype=np.int64))))
        order = kept[np.argsort(rows[kept], kind="stable")]
        for name in OF_EXAMPLES:
            values = _mapped(self._work / name, TYPES[name])
            with (self._work / f"{name}{PART}").open("wb") as file:
                for start in range(0, len(order), 2**16):
                    file.write(values[order[start : start + 2**16]].tobytes())
            (self._work / f"{name}{PART}").replace(self._work / name)


@dataclass(frozen=True, slots=True)
class Place:
    """Where examples are kept, and whose they are; without a ``folder`` in a temporary one, which goes with the process."""

    folder: Path | None = None
    key: str = ""

    def found(self, encoder: Any) -> tuple[Sequence[Example], dict[str, Any]] | None:
        """The examples that an interrupted run has left, and the notes that were kept with them."""
        kept = Kept.open(self.folder, self.key, encoder) if self.folder is not None else None
        return (kept, kept.notes) if kept is not None else None

    def kept(self, encoder: Any, fill: Callable[[Keeping], dict[str, Any]]) -> tuple[Sequence[Example], dict[str, Any]]:
        """Examples that ``fill`` adds, in their place, and the notes that it gives back."""
        if self.folder is not None:
            return self._filled(Keeping(self.folder, encoder), fill)
        folder = tempfile.TemporaryDirectory(prefix="luban-windows-")
        examples, notes = self._filled(Keeping(Path(folder.name) / "examples", encoder), fill)
        let_go(folder, examples)
        return examples, notes

    def _filled(
        self, keeping: Keeping, fill: Callable[[Keeping], dict[str, Any]]
    ) -> tuple[Sequence[Example], dict[str, Any]]:
        notes = fill(keeping)
        return keeping.done(self.key, notes), notes


def _named(kind: type[Window]) -> str:
    """A kind of window as in `KINDS`."""
    name = f"{kind.__module__.removeprefix('luban.')}:{kind.__qualname__}"
    assert name in KINDS, f"{name} is not among the kinds that are read back"
    return name


def _mapped(file: Path, dtype: Any) -> NDArray[Any]:
    """The numbers of a file, which are read when they are asked for."""
    if not file.stat().st_size:
        return np.zeros(0, dtype=dtype)
    return np.memmap(file, dtype=dtype, mode="r").view(np.ndarray)
