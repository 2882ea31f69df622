"""What a search has found so far, as plain values: its trials, the best of them, what mattered; it runs nothing.

The events that a search tells beside those of training stand here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

KEPT = "search.db"
"the file, in the directory of a search, by which it goes on"
SETTINGS = (
    "base", "method", "rate", "head_rate", "batch_rows", "epochs", "layers", "rank", "dropout", "smoothing",
)  # fmt: skip
"what a search may vary, in the order it is shown"
State = Literal["complete", "pruned", "failed", "skipped", "interrupted"]


@dataclass(frozen=True, slots=True)
class Tried:
    """One trial, counted from 1: the ``values`` of its knobs, its recipe, and its dev ``score`` where it has one.

    ``history``: (epoch, dev score). ``why``: for what reason it is not complete. ``usual``: luban's own settings.
    """

    number: int
    state: State
    values: Mapping[str, Any]
    recipe: Mapping[str, Any]
    score: float | None
    history: tuple[tuple[int, float], ...]
    seconds: float
    why: str = ""
    usual: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """A search as it stands: ``score`` names what is searched for; ``best`` and ``usual`` are numbers of trials, 0 for none.

    ``importance``: share of the differences in dev scores that a knob accounts for, empty where trials are too few.
    ``left_out``: methods of the space that cannot be taken here, and why. ``ended``: by the number of ``trials`` or the time;
    empty while it is under way. ``test``: the best model's scores on the test rows, as `luban evaluate --json` gives them.
    """

    model: Path
    task: str
    score: str
    tried: tuple[Tried, ...]
    best: int
    usual: int
    importance: Mapping[str, float]
    trials: int
    minutes: float
    seconds: float
    rows: Mapping[str, int]
    left_out: Mapping[str, str] = field(default_factory=dict)
    ended: Literal["", "trials", "time"] = ""
    test: Mapping[str, Any] | None = None

    def of(self, number: int) -> Tried | None:
        """A trial by its number."""
        return next((trial for trial in self.tried if trial.number == number), None)

    @property
    def winner(self) -> Tried | None:
        """The best trial."""
        return self.of(self.best)

    def tested(self, scores: Mapping[str, Any]) -> Search:
        """The same search with the best model's scores on the test rows."""
        return replace(self, test=scores)

    def as_json(self) -> dict[str, Any]:
        """The object of `luban search --json` and of search.json."""
        return {**asdict(self), "model": str(self.model)}


@dataclass(frozen=True, slots=True)
class Trying:
    """A trial begins: ``number`` of ``trials``, the ``best`` dev score so far, seconds ``left`` where time is limited."""

    number: int
    trials: int
    values: Mapping[str, Any]
    best: float | None
    left: float | None
    usual: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial ended, and the search stands so."""

    trial: Tried
    search: Search
