"""Finds out how this machine answers fastest with this model, before the first request; it serves nothing.

Each question is settled by a short interleaved measurement on the model's own golden rows: several calls at once with
one thread each, or one call with all threads; rows one by one, or those of equal length together, and how many; and
whether a request that is alone is answered by all threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from luban.config import ServeConfig
from luban.cores import cores
from luban.encoding import Encoded
from luban.folder import Folder
from luban.pictures import made
from luban.predict import Predictor
from luban.records import Prediction
from luban.stages.serve.served import Served

Way = TypeVar("Way")

ROUNDS = 4
SECONDS = 0.04
"of one measurement; a calibration takes about 6 * ROUNDS * SECONDS, model loading aside"
WIDER = 1.2
"all threads in one call must be this much faster than one in each: they leave none for what comes meanwhile"
ALONE = 1.2
"all threads must answer a lone row this much faster than one thread: they take the weights' memory once more"
LARGER = 1.05
"a larger batch must be this much faster than a smaller one: its first row waits for its last"
TEXTS = (
    "Where is my order?",
    "I would like to change the address of a delivery that is on its way.",
    "The card I ordered two weeks ago still has not arrived, can you tell me what happened to it?",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is run: ``workers`` calls at once, of ``threads`` each, at most ``batch_rows`` rows of equal length.

    ``alone``: threads of a row's call while there is nothing else to do, 0 where that is a call like any other.
    ``measured``: rows a second of each way that was tried.
    """

    threads: int
    workers: int
    batch_rows: int
    alone: int = 0
    measured: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        tried = ", ".join(f"{name} {rate:.0f}" for name, rate in self.measured.items())
        calls = f"{_count(self.workers, 'call')} at once, {_count(self.threads, 'thread')} each"
        alone = f", {_count(self.alone, 'thread')} for one that is alone" if self.alone else ""
        way = f"{calls}{alone}, at most {_count(self.batch_rows, 'row')} of equal length together"
        return f"{way} (rows/s: {tried})" if tried else way


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What the calibration of one model chose; told to whoever watches."""

    model: str
    plan: Plan
    seconds: float


@dataclass(frozen=True, slots=True)
class Running:
    """A warm predictor, how to run it, and an answer it gave; ``alone``: the predictor for lone rows, where there is one."""

    predictor: Predictor
    plan: Plan
    sample: Prediction
    alone: Predictor | None = None


def calibrate(served: Served, config: ServeConfig) -> Running:
    """The predictor to use, warmed up, and how to run it."""
    sample = _sample(served)
    ways = _ways(served, config)
    predictors = {threads: served.reopened(threads) for threads, _ in ways}
    rates = _race(
        {
            f"{workers} x {_count(threads, 'thread')}": _rate(predictors[threads], workers, [[row] for row in sample])
            for threads, workers in ways
        }
    )
    threads, workers = _first_good(dict(zip(ways, rates.values(), strict=True)), WIDER)
    predictor = predictors[threads]
    for other in {served.predictor, *predictors.values()} - {predictor}:
        other.runtime.close()
    predictor.max_rows, predictor.max_tokens = config.batch_rows, config.batch_tokens
    most = predictor.max_rows  # 1 for an int8 graph, whatever was asked for
    sizes = [*(size for size in (1, 4, 16) if size < most), most]
    grouped = _race(
        {f"{size} together": _rate(predictor, workers, [_alike(row, size) for row in sample]) for size in sizes}
    )
    size = _first_good(dict(zip(sizes, grouped.values(), strict=True)), LARGER)
    predictor.max_rows = size
    lone, singly = _alone(predictor, sample) if len(ways) > 1 and threads < cores() else (None, {})
    measured = {name: rate for name, rate in {**rates, **grouped, **singly}.items() if rate}
    plan = Plan(threads, workers, size, cores() if lone else 0, measured)
    return Running(predictor, plan, predictor.answer(sample[:1])[0], lone)


def _alone(predictor: Predictor, sample: Sequence[Encoded]) -> tuple[Predictor | None, dict[str, float]]:
    """A predictor of all threads for rows that come alone, where it answers them clearly faster; and what was measured."""
    runtime = predictor.runtime.alone(cores())
    if runtime is None:
        return None, {}
    bounds = {"max_rows": predictor.max_rows, "max_tokens": predictor.max_tokens}
    wide = Predictor(predictor.task, predictor.encoder, runtime, **bounds)
    rows = [[row] for row in sample]
    rates = _race({"1 thread alone": _rate(predictor, 1, rows), f"{cores()} threads alone": _rate(wide, 1, rows)})
    usual, faster = rates.values()
    if faster < usual * ALONE:
        runtime.close()
        return None, rates
    return wide, rates


def _ways(served: Served, config: ServeConfig) -> list[tuple[int, int]]:
    """(threads, workers) of each way there is; a runtime whose calls take turns has one worker and all the cores."""
    together = not served.predictor.runtime.side_by_side
    if config.threads:
        threads = [config.threads]
    elif served.path is None:
        threads = [served.threads or 1]
    else:
        threads = [cores()] if together else sorted({1, cores()})
    return [(count, 1 if together else max(1, cores() // count)) for count in threads]


def _sample(served: Served) -> list[Encoded]:
    """Rows of the lengths this model meets: its golden rows where it has some, made ones otherwise."""
    predictor = served.predictor
    golden = Folder.open(served.path, verify=False).golden() if served.path else []
    rows = [g.row for g in golden] or _made_up(served)
    encoded = [predictor.task.encode(predictor.row(row), predictor.encoder) for row in rows]
    return [row for row in encoded if len(row.windows) == 1] or encoded


def _made_up(served: Served) -> list[dict[str, Any]]:
    """Rows for a folder that keeps none."""
    if "image" in served.inputs:
        return [{"image": made(i)} for i in range(3)]
    if served.partial and "text" not in served.inputs:
        return [{served.inputs[0]: i} for i in range(3)]
    return [dict.fromkeys(served.inputs[:1] if served.partial else served.inputs, text) for text in TEXTS]


def _alike(row: Encoded, count: int) -> list[Encoded]:
    """Rows of one length that differ a little: the predictor answers equal ones with one row of a call."""
    if not row.windows:  # of a history nothing is read
        return [row] * count
    first, *others = row.windows
    return [replace(row, windows=(first.varied(i), *others)) for i in range(count)]


def _rate(predictor: Predictor, workers: int, calls: Sequence[Sequence[Encoded]]) -> Callable[[], float]:
    """A measurement: rows a second of so many threads that call the model one after the other."""

    def drive(offset: int) -> int:
        end, rows, i = time.perf_counter() + SECONDS, 0, offset
        while time.perf_counter() < end:
            call = calls[i % len(calls)]
            predictor.answer(call)
            rows, i = rows + len(call), i + 1
        return rows

    def measure() -> float:
        with ThreadPoolExecutor(workers) as pool:
            started = time.perf_counter()
            rows = sum(pool.map(drive, range(workers)))
            return rows / (time.perf_counter() - started)

    return measure


def _race(measurements: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The best of each over interleaved rounds: other processes only ever make a round slower; one round is warm-up.

    Nothing is measured where there is nothing to choose.
    """
    if len(measurements) < 2:
        return dict.fromkeys(measurements, 0.0)
    seen: dict[str, list[float]] = {name: [] for name in measurements}
    for round_ in range(ROUNDS + 1):
        for name, measure in measurements.items():
            rate = measure()
            if round_:
                seen[name].append(rate)
    return {name: max(rates) for name, rates in seen.items()}


def _first_good(rates: Mapping[Way, float], gain: float) -> Way:
    """The first way that no other beats clearly; ways are listed with the least cost to others first."""
    best = max(rates.values())
    return next(way for way, rate in rates.items() if rate * gain >= best)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
