"""`luban.json` as a frozen type: what a model folder is, where it came from, what it scored; reads and writes no files.

The format number grows when a field changes meaning; `migrate` brings an older manifest up to date and refuses a newer one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from luban.errors import ConfigError, FolderError

FORMAT = 1
NAME = "luban.json"

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"from format n to n + 1"


class Closed(BaseModel):
    """Frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BaseInfo(Closed):
    """The pre-trained model that training started from."""

    name: str
    revision: str = ""
    hash: str = ""
    licence: str = ""


class FileInfo(Closed):
    """One file of the folder; ``sha256`` in hex, size in ``bytes``."""

    sha256: str
    bytes: int


class CalibrationInfo(Closed):
    """Temperature of the logits, and the mean and spread that a regression's value is scaled by.

    ``temperatures``: by part of the head, where there are several; not written where there are none, so that older
    folders keep their fingerprints.
    """

    temperature: float = 1.0
    mean: float = 0.0
    spread: float = 1.0
    temperatures: Mapping[str, float] = {}

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if name != "temperatures" or value}


class Manifest(Closed):
    """`luban.json`. ``scores`` maps split to score to value; ``parent`` is the fingerprint of the folder this was made from."""

    format: int = FORMAT
    name: str
    task: str
    labels: tuple[str, ...] = ()
    runtime: str = "pytorch"
    max_length: int = Field(default=512, description="longest window in sub-words, special tokens included")
    base: BaseInfo
    recipe: Mapping[str, Any] = {}
    data: Mapping[str, Any] = {}
    thresholds: Mapping[str, float] = {}
    calibration: CalibrationInfo = CalibrationInfo()
    scores: Mapping[str, Mapping[str, float]] = {}
    settings: Mapping[str, Any] = Field(
        default={}, description="what else the task must know, such as prefixes; not written where it is nothing"
    )
    parent: str | None = None
    notes: Mapping[str, Any] = Field(default={}, description="what a stage found out: agreement with the parent, speed")
    files: Mapping[str, FileInfo] = {}
    made_by: Mapping[str, str] = {}

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if name != "settings" or value}

    @property
    def fingerprint(self) -> str:
        """Hash of the canonical JSON of everything but the fingerprint itself: 64 hex digits."""
        return hashlib.sha256(canonical(self.model_dump(mode="json")).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of `luban.json`."""
        body = self.model_dump(mode="json")
        body["fingerprint"] = self.fingerprint
        return json.dumps(body, indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str = NAME) -> Manifest:
        """Raises `FolderError` for broken JSON, a newer format, an unknown field or a wrong fingerprint."""
        try:
            body = json.loads(text)
        except ValueError as error:
            raise FolderError(
                f"{source} is not JSON ({error}).", "It is written by luban.", "Make the folder again."
            ) from error
        if not isinstance(body, dict):
            raise FolderError(f"{source} holds no object.", "It is written by luban.", "Make the folder again.")
        stated = body.pop("fingerprint", None)
        body = migrate(body, source)
        try:
            manifest = cls.model_validate(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise FolderError(
                f"{source} has a wrong field {where!r} ({first['msg']}).",
                "Its fields are those of luban.manifest.Manifest.",
                "Make the folder again with this version.",
            ) from error
        if stated != manifest.fingerprint:
            raise FolderError(
                f"{source} does not match its own fingerprint ({str(stated)[:12]}).",
                f"The content hashes to {manifest.fingerprint[:12]}.",
                "It was edited after it was written: restore it or make the folder again.",
            )
        return manifest


def check_name(name: str) -> str:
    """The name of a model; raises `ConfigError` where it cannot stand as one step of a URL's path."""
    if not name.strip(".") or not name.isprintable() or set(name) & set("/\\?#%"):
        raise ConfigError(
            f"A model cannot be named {name!r}.",
            "Its name is a part of the URL that it is asked under: no /, \\, ?, # or %.",
            "Choose another name, such as tickets-en.",
        )
    return name


def canonical(value: Any) -> str:
    """JSON with sorted keys and no white space, the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def migrate(body: dict[str, Any], source: str) -> dict[str, Any]:
    """An older manifest's fields in today's format; raises `FolderError` for a format this version does not know."""
    number = body.get("format")
    if not isinstance(number, int) or number > FORMAT or number < 1:
        raise FolderError(
            f"{source} has format {number!r}.", f"This luban reads formats 1 to {FORMAT}.", "Install a newer luban."
        )
    while number < FORMAT:
        body = MIGRATIONS[number](body)
        number += 1
        body["format"] = number
    return body
