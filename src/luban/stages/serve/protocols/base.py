"""What the protocols share: the question they make of a body, and what they may say of a model; it speaks none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from luban.records import Prediction


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was understood: rows by column, the client's own id, and what it wants back (empty: all).

    ``target``: the label that an explanation is to speak of.
    """

    rows: list[Mapping[str, Any]]
    id: str | None = None
    wanted: tuple[str, ...] = ()
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Face:
    """What a protocol may tell of a model. ``sample``: an answer of it, which shows the fields its answers have.

    ``pictures``: those of its columns that hold pictures. ``partial``: any of the ``inputs`` may be missing.
    """

    name: str
    fingerprint: str
    task: str
    labels: tuple[str, ...]
    inputs: tuple[str, ...]
    columns: tuple[str, ...]
    sample: Prediction
    explains: bool = False
    pictures: tuple[str, ...] = ()
    about: Mapping[str, object] = field(default_factory=dict)
    partial: bool = False

    @property
    def version(self) -> str:
        """The short fingerprint: another model under the same name has another version."""
        return self.fingerprint[:12]
