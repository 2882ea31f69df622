"""The contract of a runtime: what runs a folder's weights; it knows no task and no text.

`luban.testing.RuntimeContract` holds every runtime to this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Batch, Ints
from luban.errors import FolderError


class Decoder(ABC):
    """What a model that writes has read of some texts so far: rows of one length, nothing padded.

    Where an encoder reads and a decoder of its own writes, what is fed first goes to the encoder.
    """

    @abstractmethod
    def feed(self, ids: Ints) -> NDArray[np.float32]:
        """Read (b, n) more sub-words of the b rows; returns the logits (b, vocabulary) of what follows the last."""

    @abstractmethod
    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, in this order; one may stand several times."""


def encoder_beside(file: Path) -> Path:
    """The graph of the encoder whose decoder's is ``file``, where each is a graph of its own."""
    return file.with_name(f"{file.stem}.encoder{file.suffix}")


class Runtime(ABC):
    """Weights that are ready to answer; safe to call from several threads at once."""

    name: ClassVar[str]
    one_by_one: bool = False
    "whether rows must be asked singly, because an answer would depend on what else is in its batch"
    side_by_side: ClassVar[bool] = True
    "whether calls run at once, each with threads of its own; else the threads are the process' and calls take turns"

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> Runtime:
        """Load the weights of a verified folder; ``threads`` inside one call (default: all cores).

        Raises `FolderError` where the weights are missing or unreadable.
        """

    @abstractmethod
    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Logits of a batch of `encoding.collate`: (b, labels), or (b, n, labels) for taggers."""

    def decoder(self, begin: Sequence[int] = ()) -> Decoder:
        """Begins texts of a model that writes; raises `FolderError` for one that does not.

        ``begin``: what a decoder beside an encoder is fed before it writes.
        """
        raise FolderError(
            f"A model of runtime {self.name!r} without a decoder was asked to write.",
            "A model that writes is one of text-generation or text-to-text.",
            "Train or export such a model.",
        )

    def alone(self, threads: int) -> Runtime | None:
        """The same weights once more, quickest at one call at a time: ``threads`` that wait for each other awake.

        None where this runtime has no such way. Beside other calls it would cost more than it gains.
        """
        return None

    def close(self) -> None:  # noqa: B027 - most runtimes have nothing to release
        """Release what the weights hold; the runtime is not used afterwards."""
