"""Stands between one trial's training and whoever watches: ends it where it is not worth its time; it trains nothing."""

from __future__ import annotations

import math
import time

import optuna

from luban.errors import GateError
from luban.records import EpochEnd, Forecast, Step, Watch


class Pruned(GateError):
    """A trial whose dev score does not promise much."""


class NotBegun(GateError):
    """A trial that would not end in the time left."""


class CutShort(GateError):
    """A trial that did not end in its time."""


class Watched:
    """A `Watch` that reports dev scores to the trial; raises `Pruned`, `NotBegun` or `CutShort` inside the training.

    ``left``: seconds that the trial may take.
    """

    def __init__(self, trial: optuna.Trial, score: str, watch: Watch, *, left: float = math.inf) -> None:
        self.trial, self.score, self.watch, self.left = trial, score, watch, left
        self.start = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the trial has been at work."""
        return time.monotonic() - self.start

    def __call__(self, event: object) -> None:
        """Called with each thing that happens in the training."""
        self.watch(event)
        if isinstance(event, Forecast) and self.seconds + event.seconds > self.left:
            left = max(0.0, self.left - self.seconds)
            raise NotBegun(f"It would take {event.seconds:.0f} s more, {left:.0f} s were left.")
        if isinstance(event, Step) and event.done < event.total and self.seconds > self.left:
            raise CutShort(f"The time was over after step {event.done} of {event.total}.")
        if isinstance(event, EpochEnd):
            self._judge(event)

    def _judge(self, event: EpochEnd) -> None:
        self.trial.set_user_attr("seconds", self.seconds)
        score = event.extra.get(self.score)
        if score is None or not math.isfinite(score):
            return
        self.trial.report(score, event.epoch)
        if not event.last and self.trial.should_prune():
            raise Pruned(f"After epoch {event.epoch} it stood below the median of the others.")
