"""What is served: a model by its name, and everything the server must know of it; nothing is started here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from luban.folder import Folder
from luban.manifest import check_name
from luban.predict import Predictor
from luban.records import Evidence, Row

Explain = Callable[[str | Row, str | None], Evidence]
"explains the answer to a row, or a label; raises `ConfigError` for a label there is not"


@dataclass(frozen=True)
class Served:
    """One model of a server.

    ``task`` and ``labels`` are told to clients; ``explain`` answers /explain where it is given; ``threads`` is what the
    predictor was opened with, and ``path`` its folder, from which the calibration may open it with another number: the
    predictor that was given is then closed, so a `Served` is for one server. Raises `ConfigError` for a name that cannot
    stand in a URL's path.
    """

    name: str
    fingerprint: str
    predictor: Predictor
    task: str
    labels: tuple[str, ...] = ()
    explain: Explain | None = None
    path: Path | None = None
    threads: int | None = None
    about: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)

    @classmethod
    def open(
        cls, model: str | Path | Folder, *, name: str = "", threads: int = 1, explain: Explain | None = None
    ) -> Served:
        """Open a folder for serving, golden rows re-run; raises `FolderError` or `ParityError`.

        ``name`` defaults to the name in the manifest; ``threads``: processor threads of one call.
        """
        folder = model if isinstance(model, Folder) else Folder.open(model)
        predictor = Predictor.open(folder, threads=threads, stage="serve")
        manifest = folder.manifest
        about = {
            "runtime": manifest.runtime,
            "base": manifest.base.name,
            "max_length": manifest.max_length,
            "scores": {split: dict(scores) for split, scores in manifest.scores.items()},
        }
        return cls(
            name or manifest.name,
            manifest.fingerprint,
            predictor,
            manifest.task,
            manifest.labels,
            explain,
            folder.path,
            threads,
            about,
        )

    def reopened(self, threads: int) -> Predictor:
        """The same model with another number of threads a call; the golden rows were already checked."""
        if self.path is None or threads == self.threads:
            return self.predictor
        return Predictor.open(Folder.open(self.path, verify=False), threads=threads, check=False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns a client must send, each a text; of rows of several kinds those it may send, any of them."""
        task = self.predictor.task
        if task.fuses:
            return task.asks
        return tuple(c.name for c in task.columns if c.required and not c.target) or ("text",)

    @property
    def partial(self) -> bool:
        """Whether any of the inputs may be missing."""
        return self.predictor.task.fuses

    @property
    def pictures(self) -> tuple[str, ...]:
        """The columns that hold pictures, as base64 or data URLs."""
        return tuple(c.name for c in self.predictor.task.columns if c.picture)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns a client may send."""
        return self.predictor.task.asks
