"""The model folder: open and verify it, write it atomically; it trains nothing and runs no model.

Opening checks every file against the hashes of `luban.json` and refuses pickles, code, paths that leave the folder and
files that are not listed (a card, licences and dot files may be beside them).
Writing fills a temporary sibling, hashes it, writes `luban.json` last and renames the whole into place.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from luban import manifest as manifests
from luban.card import model_card
from luban.errors import ConfigError, FolderError
from luban.manifest import FileInfo, Manifest
from luban.tasks import TASKS
from luban.tasks.base import Calibration, Task

GOLDEN = "golden.jsonl"
REFUSED = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".py", ".pyc", ".so", ".sh", ".npy", ".dill"}
UNLISTED = {manifests.NAME, "README.md"}
FREE = ("LICENSE", "LICENCE", "NOTICE")
"names that an unlisted file may start with: no part of a model does"
KERNELS = {"attn_implementation", "_attn_implementation"}
"keys of config.json whose value may name code on a hub, as organisation/repository"


@dataclass(frozen=True, slots=True)
class Golden:
    """A row and the answer (`Prediction.as_json`) that this folder gave to it when it was made."""

    row: dict[str, Any]
    expect: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Folder:
    """A verified model folder."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Folder:
        """Open a folder; raises `FolderError` where it must not be trusted. ``verify=False`` skips hashing only."""
        path = Path(path)
        file = path / manifests.NAME
        if not file.is_file():
            raise FolderError(
                f"{path} is not a model folder: it has no {manifests.NAME}.",
                "A model folder is what `luban train --out DIR` writes.",
                "Check the path, or train a model first.",
            )
        manifest = Manifest.from_json(file.read_bytes().decode("utf8", "replace"), source=str(file))
        for inside in files_of(path):
            _refuse_dangerous(path, inside, manifest)
        for name, info in manifest.files.items():
            _check_file(path, name, info, hash_it=verify)
        _refuse_foreign_code(path / "config.json")
        return cls(path, manifest)

    def task(self) -> Task:
        """The task with this model's labels and calibration."""
        kept = self.manifest.calibration
        calibration = Calibration(kept.temperature, self.manifest.thresholds, kept.mean, kept.spread, kept.temperatures)
        task: Task = TASKS[self.manifest.task](self.manifest.labels, calibration, self.manifest.settings)
        return task.with_files(self.path)

    def encoder(self) -> Any:
        """What reads the rows: the tokenizer with this model's longest window, how it sees pictures, or both."""
        kept = self.manifest
        return TASKS[kept.task].reader(self.path, kept.settings, limit=kept.max_length)

    def golden(self) -> list[Golden]:
        """The golden rows; empty where the folder has none."""
        file = self.path / GOLDEN
        if not file.is_file():
            return []
        try:
            # Not splitlines: JSON leaves U+2028 and its like in texts as they are.
            lines = file.read_text(encoding="utf8").split("\n")
            return [Golden(**json.loads(line)) for line in lines if line.strip()]
        except (ValueError, TypeError) as error:
            raise FolderError(
                f"{file} cannot be read ({error}).", "Each line holds a row and its answer.", "Make the folder again."
            ) from error

    @property
    def bytes(self) -> int:
        """Size of all listed files."""
        return sum(info.bytes for info in self.manifest.files.values())


def write(out: str | Path, manifest: Manifest, fill: Callable[[Path], None]) -> Folder:
    """Write a folder atomically: ``fill`` puts the files into an empty directory, the rest is done here.

    An existing model folder (or empty directory) at ``out`` is moved aside, and removed once the new one
    stands; anything else there is refused.
    """
    out = Path(out)
    check_target(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        fill(work)
        listed = {name: _info(work / name) for name in sorted(_names(work)) if name not in UNLISTED}
        done = manifest.model_copy(update={"files": listed, "made_by": {**made_by(), **manifest.made_by}})
        write_text(work / "README.md", model_card(done))
        write_text(work / manifests.NAME, done.to_json())
        work.chmod(0o755)
        _swap(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)  # after the rename there is nothing left to remove
    return Folder.open(out)


def write_golden(path: Path, golden: Iterable[Golden]) -> None:
    """`golden.jsonl` in a directory that is being filled."""
    lines = [json.dumps({"row": g.row, "expect": g.expect}, ensure_ascii=False) for g in golden]
    write_text(path / GOLDEN, "\n".join(lines) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write to a temporary name, flush to disk and rename."""
    write_pieces(path, (text,))


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """The same for a text that is made while it is written."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf8", newline="\n") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def check_place(path: Path) -> None:
    """Raises `ConfigError` unless something can be written at ``path``: its nearest directory takes a new file."""
    above = next((place for place in path.absolute().parents if os.path.lexists(place)), Path(path.anchor or "."))
    if not os.path.isdir(above):
        raise ConfigError(
            f"{path} cannot be written: {above} is no directory.",
            "Only directories stand above it.",
            "Choose another place.",
        )
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror or error}).",
            f"{above} must take new files.",
            "Choose another place, or make that directory writable.",
        ) from error


def check_alone() -> None:
    """Raises `ConfigError` where `torchrun` has started several processes, which would write over each other."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "This is the work of one process, and torchrun has started several.",
            "Training alone is shared by several: torchrun ... -m luban train.",
            "Start it without torchrun.",
        )


def check_file(path: Path) -> None:
    """Raises `ConfigError` unless a file can be written at ``path``, over an older one if there is one."""
    check_place(path)
    if path.is_dir():
        raise ConfigError(f"{path} is a directory.", "A file to write is expected.", "Name a file in it.")


def check_target(out: Path) -> None:
    """Raises `FolderError` unless ``out`` is free, empty or a model folder that may be replaced.

    Raises `ConfigError` where nothing can be written at its place.
    """
    check_place(out)
    if Path.cwd().is_relative_to(out.resolve()):
        raise FolderError(
            f"{out} is, or holds, the current directory.",
            "A folder is written beside its place and renamed into it.",
            "Name a new folder: --out model.",
        )
    if out.is_dir() and (not any(out.iterdir()) or (out / manifests.NAME).is_file()):
        return
    if out.exists() or out.is_symlink():
        raise FolderError(
            f"{out} exists and is not a model folder.",
            "--out names a new folder, or a model folder to replace.",
            "Choose another --out, or remove it yourself.",
        )


def files_of(path: Path) -> list[Path]:
    """Every file and link below a folder, not following links to directories."""
    found = []
    for root, folders, names in os.walk(path):
        entries = [Path(root) / name for name in (*folders, *names)]
        found += [entry for entry in entries if entry.is_symlink() or not entry.is_dir()]
    return found


def made_by() -> dict[str, str]:
    """Versions of what made a folder."""
    out = {"python": platform.python_version()}
    for package in ("luban", "torch", "transformers", "tokenizers", "onnxruntime"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out


def _names(work: Path) -> list[str]:
    return [file.relative_to(work).as_posix() for file in files_of(work)]


def _info(file: Path) -> FileInfo:
    with file.open("rb") as stream:
        return FileInfo(sha256=hashlib.file_digest(stream, "sha256").hexdigest(), bytes=file.stat().st_size)


def _refuse_dangerous(folder: Path, file: Path, manifest: Manifest) -> None:
    name = file.relative_to(folder).as_posix()
    if file.suffix.lower() in REFUSED:
        raise FolderError(
            f"{folder} holds {name}.",
            "Weights are safetensors or ONNX, and a model folder holds no code and no pickle.",
            "Remove the file if you trust where the folder came from, or make the folder again.",
        )
    if not _inside(folder, file):
        raise FolderError(
            f"{folder}/{name} points outside the folder.", "A model folder is whole by itself.", "Copy the file in."
        )
    if name not in manifest.files and not _may_be_unlisted(name):
        raise FolderError(
            f"{folder} holds {name}, which {manifests.NAME} does not list.",
            "Every file a model is made of is listed and hashed.",
            "Remove it, or make the folder again.",
        )


def _may_be_unlisted(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith(".") for part in parts)
    return name in UNLISTED or parts[-1] == "README.md" or parts[-1].startswith(FREE) or hidden


def _refuse_foreign_code(config: Path) -> None:
    """Raises `FolderError` where config.json names code to fetch and run; one that cannot be read is left to its reader."""
    try:
        entries = list(_entries(json.loads(config.read_text(encoding="utf8"))))
    except (OSError, ValueError, RecursionError):
        return
    for key, value in entries:
        if key == "auto_map" or (key in KERNELS and "/" in json.dumps(value)):
            raise FolderError(
                f"{config} names code to run ({key}: {value!r}).",
                "A model folder holds no code and fetches none.",
                "Remove the key if you trust where the folder came from, or make the folder again.",
            )


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Keys and values of a JSON value, at any depth."""
    if isinstance(value, list):
        for item in value:
            yield from _entries(item)
    elif isinstance(value, dict):
        yield from value.items()
        yield from _entries(list(value.values()))


def _inside(folder: Path, file: Path) -> bool:
    """Whether a name stays in its folder; a link that leads in a circle and a name that cannot be one do not."""
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def _check_file(folder: Path, name: str, info: FileInfo, *, hash_it: bool) -> None:
    file = folder / name
    if Path(name).is_absolute() or not _inside(folder, file):
        raise FolderError(
            f"{manifests.NAME} lists {name!r}.", "Files stay inside their folder.", "Do not use this folder."
        )
    if not file.is_file():
        raise FolderError(f"{folder} lacks {name}.", f"{manifests.NAME} lists it.", "Copy the whole folder again.")
    if file.stat().st_size != info.bytes or (hash_it and _info(file).sha256 != info.sha256):
        raise FolderError(
            f"{folder}/{name} is not the file that was written.",
            f"Its hash should be {info.sha256[:12]}.",
            "It was changed or damaged: copy the folder again.",
        )


def _swap(work: Path, out: Path) -> None:
    """Rename ``work`` to ``out``, moving what was there aside first and removing it last."""
    if not out.exists():
        work.rename(out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
    out.rename(aside / out.name)
    try:
        work.rename(out)
    except OSError:
        (aside / out.name).rename(out)
        raise
    shutil.rmtree(aside, ignore_errors=True)
