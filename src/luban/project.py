"""`luban.yaml` and ``KEY=VALUE`` to a `Project`, and new projects from templates; it knows no stage and runs nothing.

Paths in the file are relative to it; values are YAML; a key that does not exist or stands twice is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from luban.config import Project, Section, parse
from luban.errors import ConfigError, UnknownName

NAME = "luban.yaml"
TEMPLATES = {"text-classifier": "what a text is about: one label a text, here what a customer wants"}
"template: what it is for"
SAMPLES = {"customer-service-en": "minilm", "customer-service-zh": "e5-small"}
"sample rows that luban carries: the base model that suits them"
SOURCES = ("source", "valid", "test", "unlabelled", "replay", "adapt")
"options of prepare that name rows"
MODELS = ("base", "teacher", "continue_from")
"options of train that name a model"
HEAD = """# The best recipe that `luban search` found: `luban run` trains, evaluates and exports it.
# `luban search` 找到的最佳配方：`luban run` 会训练、评测并导出它。
# Every other key and its default: docs/project-file.md / 其余的键及默认值见 docs/project-file.md
"""
TEXTS = {"customer-service-en": "where is my parcel?", "customer-service-zh": "我的包裹到哪里了？"}


def read(path: str | Path = NAME, overrides: Iterable[str] = ()) -> Project:
    """The project of a file (or of the directory that holds `luban.yaml`), with ``train.epochs=3`` laid over it.

    Raises `ConfigError` for a missing file, broken YAML, an unknown key or a value that does not fit.
    """
    path = located(path)
    try:
        values = yaml.load(path.read_text(encoding="utf8"), Loader=_Closed)
    except yaml.YAMLError as error:
        raise _not_yaml(str(path), error) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}).", "It is a text file in UTF-8.", "Check the file."
        ) from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} holds {type(values).__name__}.", "It is a mapping of keys.", "See docs/project-file.md."
        )
    source = str(path)
    for override in overrides:
        values = laid_over(values, override)
        source = f"{path}, {override}"
        parse(Project, values, source=source)
    return parse(Project, values, source=source)


def located(path: str | Path) -> Path:
    """The project file itself: a directory means the `luban.yaml` in it; raises `ConfigError` where there is none."""
    path = Path(path)
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(
            f"There is no {file}.", "`luban run` needs a project file.", "Make one with: luban new text-classifier DIR"
        )
    return file


def is_project(path: str | Path) -> bool:
    """Whether a path is a project file, or a directory with one."""
    path = Path(path)
    return (path / NAME).is_file() or (path.suffix in {".yaml", ".yml"} and path.is_file())


def exported(project: Project, root: Path) -> Path:
    """Where the line of a project puts its exported folder; ``root``: the directory of its file."""
    return root / project.out / f"{project.name}-{project.export.to}"


def laid_over(values: Mapping[str, Any], override: str) -> dict[str, Any]:
    """A copy of ``values`` in which the dotted key of ``KEY=VALUE`` has the YAML value; raises `ConfigError`."""
    key, equals, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise ConfigError(
            f"{override!r} sets nothing.", "A setting is written KEY=VALUE.", "For example: train.epochs=3"
        )
    try:
        value = yaml.safe_load(text) if text.strip() else ""
    except yaml.YAMLError as error:
        raise _not_yaml(override, error) from error
    return _set(values, path, value, override)


def create(template: str, out: str | Path, *, sample: str = "customer-service-en") -> Path:
    """Write a runnable project: `luban.yaml`, `README.md` and ``data/`` with sample rows; returns ``out``.

    ``out`` must be free or an empty directory; the whole appears in one rename. Raises `ConfigError`, `UnknownName`.
    """
    out = Path(out)
    if template not in TEMPLATES:
        raise UnknownName("template", template, TEMPLATES)
    if sample not in SAMPLES:
        raise UnknownName("sample", sample, SAMPLES)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(
            f"{out} exists and is not empty.", "A new project needs a free place.", "Choose another directory."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        fill(work, template, sample, name=slug(out.resolve().name))
        work.chmod(0o755)
        if out.exists():
            out.rmdir()
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def fill(work: Path, template: str, sample: str, *, name: str) -> None:
    """Put a template's files and the sample rows into a directory."""
    said = {"name": name, "data": f"{sample}.csv", "base": SAMPLES[sample], "text": TEXTS[sample]}
    for source in (files("luban") / "templates" / template).iterdir():
        text = source.read_text(encoding="utf8")
        for key, value in said.items():
            text = text.replace("{{" + key + "}}", value)
        (work / source.name).write_text(text, encoding="utf8")
    (work / "data").mkdir()
    rows = (files("luban") / "samples" / f"{sample}.csv").read_bytes()
    (work / "data" / f"{sample}.csv").write_bytes(rows)


def written(name: str, prepare: Section, recipe: Mapping[str, Any], root: Path) -> str:
    """The text of a `luban.yaml` in ``root`` that trains by a recipe: options of train, those that differ from the default.

    Paths of ``prepare`` and ``recipe`` start where luban runs now; in the text they start at ``root``.
    """
    options = prepare.model_dump(mode="json", exclude_defaults=True)
    sections = {
        "prepare": {key: relative(value, root) if key in SOURCES else value for key, value in options.items()},
        "train": {key: relative(value, root) if key in MODELS else value for key, value in recipe.items()},
    }
    told = {"name": slug(name), "out": "runs", **sections}
    return HEAD + yaml.safe_dump(told, sort_keys=False, allow_unicode=True)


def relative(place: str, root: Path) -> str:
    """A path from here as one from ``root``; what is no path of this machine, such as ``hf:...``, stays as it is."""
    if not place or Path(place).is_absolute() or not Path(place).exists():
        return place
    return Path(os.path.relpath(place, root)).as_posix()


def slug(name: str) -> str:
    """A name that is safe as a file's: letters, digits, ``-``, ``_`` and ``.``; ``model`` where nothing is left."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"


def _set(values: Mapping[str, Any], path: list[str], value: Any, override: str) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {**values, first: value}
    inner = values.get(first, {})
    if not isinstance(inner, Mapping):
        raise ConfigError(
            f"{override!r} goes into {first!r}, which is {inner!r}.", "Only sections have keys.", "Mend the key."
        )
    return {**values, first: _set(inner, rest, value, override)}


def _not_yaml(where: str, error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return ConfigError(
        f"{where}, line {mark.line + 1}, column {mark.column + 1}: this is not YAML ({problem})."
        if mark is not None
        else f"{where}: this is not YAML ({problem}).",
        "Keys and values are written 'key: value'.",
        "Mend the line.",
    )


class _Closed(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error instead of the last one winning."""

    def construct_mapping(  # type: ignore[override]
        self, node: yaml.MappingNode, *, deep: bool = False
    ) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)
