"""Watching work go by: a bar when someone watches stderr, otherwise sparse plain lines; the work does not change."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from luban.cli.screen import ACCENT, Screen, seconds, table
from luban.records import Chosen, EpochEnd, Forecast, Lost, Remembered, Step
from luban.records import Progress as Work
from luban.units import size

QUIET_SECONDS = 20.0
"least time between two plain lines"


class Left(ProgressColumn):
    """Time left, from the pace so far."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def render(self, task: Task) -> Text:
        remaining = task.time_remaining
        return Text("" if remaining is None else f"{self.text} {seconds(remaining)}", style="dim")


class Progressed:
    """A `Watch` with an end: ``with Progressed(screen, "training") as watch: stage(..., watch=watch)``."""

    def __init__(self, screen: Screen, what: str) -> None:
        self.screen, self.what = screen, what
        self.started = self.spoken = time.monotonic()
        self.forecast: Forecast | None = None
        self.remembered: Remembered | None = None
        self.first_step: float | None = None
        self.first_done = 0
        self.last_step: float | None = None
        self.loss = self.dev = ""
        self.bar: Progress | None = None

    def __enter__(self) -> Self:
        if self.screen.lively:
            self.bar = Progress(
                SpinnerColumn(style=ACCENT),
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24, complete_style=ACCENT, finished_style="green"),
                TaskProgressColumn(),
                TextColumn("{task.fields[said]}"),
                Left(self.screen.word("left")),
                console=self.screen.err,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self.task = self.bar.add_task(self.what, total=None, said="")
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, event: object) -> None:
        """Called with each thing that happens."""
        if isinstance(event, Forecast):
            self._forecast(event)
        elif isinstance(event, Step):
            self._step(event)
        elif isinstance(event, EpochEnd):
            self._epoch(event)
        elif isinstance(event, Work):
            self._work(event)
        elif isinstance(event, Chosen):
            self.screen.note(self.screen.word(f"chosen_{event.method}", rows=event.rows, labels=event.labels))
        elif isinstance(event, Lost):
            for what in ("text", "target", "characters"):
                if count := getattr(event, what):
                    self.screen.note(self.screen.word(f"lost_{what}", count=count, rows=event.rows))
        elif isinstance(event, Remembered):
            self.remembered = event

    @property
    def seconds(self) -> float:
        """Seconds that learning itself took, from its first to its last step."""
        if self.first_step is None or self.last_step is None:
            return time.monotonic() - self.started
        return self.last_step - self.first_step

    def compared(self) -> list[Table]:
        """Forecast beside actual, as a table; nothing where nothing was forecast."""
        if self.forecast is None:
            return []
        word = self.screen.word
        made = table("", word("forecast"), word("actual"), numbers=(1, 2))
        made.add_row(word("time"), seconds(self.forecast.seconds), seconds(self.seconds))
        if peak := peak_bytes():
            made.add_row(word("memory"), size(self.forecast.peak_bytes), size(peak))
        return [made]

    def _forecast(self, event: Forecast) -> None:
        self.forecast = event
        self.screen.note(
            self.screen.word(
                "forecast_line",
                seconds=seconds(event.seconds),
                memory=size(event.peak_bytes),
                steps=event.steps,
                tokens=event.micro_tokens,
            )
        )
        if event.note:
            self.screen.note(event.note)

    def _step(self, event: Step) -> None:
        now = time.monotonic()
        if self.first_step is None:
            self.first_step, self.first_done = now, event.done
        self.last_step = now
        self.loss = f"{self.screen.word('loss')} {event.loss:.3f}"
        if self.bar is not None:
            self.bar.update(self.task, total=event.total, completed=event.done, said=self._said())
        elif event.done > 1 and now - self.spoken > QUIET_SECONDS:
            self.spoken = now
            pace = (now - self.first_step) / max(1, event.done - self.first_done)
            self.screen.note(
                f"{event.done}/{event.total}  {self._said()}  "
                f"{self.screen.word('left')} {seconds(pace * (event.total - event.done))}"
            )

    def _epoch(self, event: EpochEnd) -> None:
        scores = {name: value for name, value in event.extra.items() if isinstance(value, int | float)}
        if scores:
            name, value = next(iter(scores.items()))
            self.dev = f"{self.screen.word('dev')} {name} {value:.4f}"
        if self.bar is not None:
            self.bar.update(self.task, total=event.total, completed=event.done, said=self._said())
        else:
            self.spoken = time.monotonic()
            self.screen.note(f"{self.screen.word('epoch')} {event.epoch}  {event.done}/{event.total}  {self._said()}")

    def _work(self, event: Work) -> None:
        if self.bar is not None:
            self.bar.update(
                self.task, total=event.total, completed=event.done, said=f"[dim]{event.done:,}/{event.total:,}[/dim]"
            )
        elif time.monotonic() - self.spoken > QUIET_SECONDS:
            self.spoken = time.monotonic()
            self.screen.note(f"{self.what} {event.done:,}/{event.total:,}")

    def _said(self) -> str:
        return "  ".join(filter(None, (self.loss, self.dev)))


class Walk(ABC):
    """Watches works that follow each other: ``begin`` puts up the bar of the next, ``close`` takes it away."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.inner: Progressed | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def __call__(self, event: object) -> None:
        """Called with everything that happens."""

    def begin(self, what: str) -> None:
        """What is told from now on is told of this."""
        self.inner = Progressed(self.screen, what).__enter__()

    def close(self) -> None:
        """Take the bar away."""
        if self.inner is not None:
            self.inner.__exit__(None, None, None)
            self.inner = None


def peak_bytes() -> int:
    """Most memory this process has held, 0 where it is not known; Linux counts kilobytes, macOS bytes."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
