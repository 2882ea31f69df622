"""One model's queue and the threads that empty it; it knows no HTTP, no protocol and no task.

Rows wait in order of age. A free thread takes the oldest row, and with it the rows of the same length that happen to
wait as well: it never waits for company and never pads, since on a processor only batches of equal length pay
(docs/serving.md). The oldest row always goes next, so nothing starves.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from luban.encoding import Encoded, batches
from luban.errors import DataError, ServiceError
from luban.predict import Predictor
from luban.records import Prediction
from luban.stages.serve.calibrate import Running
from luban.stages.serve.limits import Busy, characters, refuse
from luban.stages.serve.metrics import ModelMetrics

log = logging.getLogger("luban.serve")

INLINE_CHARACTERS = 4000
"a request with more text than this is encoded in a thread, so that the others' requests go on being read"
USUAL_SECONDS = 0.005
MOST_RETRY = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """One row's prediction, with what was read of it."""

    prediction: Prediction
    tokens: int


@dataclass(slots=True, eq=False)
class _Ask:
    """One request: its rows' places are filled as the calls of the model end."""

    future: asyncio.Future[list[Answer]]
    answers: list[Answer | None]
    left: int
    untouched: bool = True


@dataclass(slots=True, eq=False)
class _Job:
    """One row that waits; ``length``: sub-words of its only window, 0 for one of several windows, which goes alone."""

    ask: _Ask
    place: int
    encoded: Encoded
    length: int
    born: float
    taken: bool = False


@dataclass(slots=True)
class _Line:
    """The rows that wait, by age and by length."""

    by_age: deque[_Job] = field(default_factory=deque)
    by_length: dict[int, deque[_Job]] = field(default_factory=dict)

    def put(self, jobs: Sequence[_Job]) -> None:
        self.by_age.extend(jobs)
        for job in jobs:
            self.by_length.setdefault(job.length, deque()).append(job)

    def take(self, rows: int, tokens: int) -> list[_Job]:
        """The oldest row and others of its length; empty where nothing waits."""
        while self.by_age and self.by_age[0].taken:
            self.by_age.popleft()
        if not self.by_age:
            return []
        length = self.by_age[0].length
        most = max(1, min(rows, tokens // length)) if length else 1
        same = self.by_length[length]
        chosen = [same.popleft() for _ in range(min(most, len(same)))]
        if not same:
            del self.by_length[length]
        for job in chosen:
            job.taken = True
        return chosen


class Engine:
    """Answers rows of one model; made and used on one event loop.

    ``queue``: requests that may be unfinished, waiting or running; ``ask`` refuses more. ``alone`` answers a row while
    no other waits or is being answered.
    """

    def __init__(self, running: Running, metrics: ModelMetrics, *, queue: int, tokens: int) -> None:
        self.predictor, self.alone, self.plan = running.predictor, running.alone, running.plan
        self.metrics, self.queue, self.tokens = metrics, queue, tokens
        self.unfinished = self.waiting = self.calls = 0
        self.pace = USUAL_SECONDS
        self.line = _Line()
        self.lock = threading.Lock()
        self.pool = ThreadPoolExecutor(self.plan.workers, thread_name_prefix="luban-model")

    async def ask(self, rows: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """The answers to raw rows, in order; raises `ServiceError` (422 for a bad row, 429 when full, 500, 503)."""
        self._admit()
        ask: _Ask | None = None
        try:
            started = time.perf_counter()
            encoded = await self._encoded(rows)
            born = time.perf_counter()
            self.metrics.tokenise.observe(born - started)
            ask = _Ask(asyncio.get_running_loop().create_future(), [None] * len(encoded), len(encoded))
            jobs = [_Job(ask, i, row, _length(row), born) for i, row in enumerate(encoded)]
            with self.lock:
                self.line.put(jobs)
            for _ in jobs:
                self.pool.submit(self._turn, ask.future.get_loop()).add_done_callback(_report)
            return await ask.future
        finally:
            self.unfinished -= 1
            if ask is None:
                with self.lock:
                    self._less_waiting(1)

    def close(self) -> None:
        """Give up what still waits and let the threads end."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _admit(self) -> None:
        with self.lock:
            if self.unfinished >= self.queue:
                seconds = len(self.line.by_age) * self.pace / self.plan.workers
                raise Busy(self.unfinished, min(MOST_RETRY, max(1, math.ceil(seconds))))
            self.unfinished += 1
            self.waiting += 1
            self.metrics.waiting.set(self.waiting)

    def _less_waiting(self, count: int) -> None:
        """Called with the lock held."""
        self.waiting -= count
        self.metrics.waiting.set(self.waiting)

    async def _encoded(self, rows: Sequence[Mapping[str, Any]]) -> list[Encoded]:
        size = sum(characters(value) for row in rows for value in row.values())
        if size <= INLINE_CHARACTERS and not self.predictor.task.sees:
            return self._encode(rows)
        return await asyncio.get_running_loop().run_in_executor(self.pool, self._encode, rows)

    def _encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Encoded]:
        task, encoder = self.predictor.task, self.predictor.encoder
        out = []
        for position, row in enumerate(rows, start=1):
            try:
                out.append(task.encode(task.canonical(row), encoder))
            except DataError as error:
                raise refuse(422, f"Row {position}: {error.happened}", error.expected, error.remedy) from error
        return out

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """One call of the model, in a thread; each row has its turn, idle where another took the row along."""
        with self.lock:
            jobs, predictor = self._taken()
        if not jobs:
            return
        started = time.perf_counter()
        answers: list[Prediction] | None = None
        try:
            answers = predictor.answer([job.encoded for job in jobs])
        finally:
            seconds = time.perf_counter() - started
            with self.lock:
                self.calls -= 1
            loop.call_soon_threadsafe(self._deliver, jobs, answers, started, seconds)

    def _taken(self) -> tuple[list[_Job], Predictor]:
        """The rows of the next call and who answers them; called with the lock held."""
        jobs = self.line.take(self.plan.batch_rows, self.tokens)
        fresh = {id(job.ask): job.ask for job in jobs if job.ask.untouched}.values()
        for ask in fresh:
            ask.untouched = False
        self._less_waiting(len(fresh))
        jobs = [job for job in jobs if not job.ask.future.done()]  # rows of a request that was given up or has failed
        lone = len(jobs) == 1 and not self.calls and not self.line.by_length
        self.calls += bool(jobs)
        return jobs, self.alone if lone and self.alone else self.predictor

    def _deliver(self, jobs: list[_Job], answers: list[Prediction] | None, started: float, seconds: float) -> None:
        """On the loop: hand out the answers of one call (``None``: the call failed)."""
        self._count(jobs, started, seconds)
        for place, job in enumerate(jobs):
            ask = job.ask
            if ask.future.done():
                continue
            if answers is None:
                ask.future.set_exception(_failed())
                continue
            ask.answers[job.place] = Answer(answers[place], job.encoded.tokens)
            ask.left -= 1
            if ask.left == 0:
                ask.future.set_result([answer for answer in ask.answers if answer is not None])

    def _count(self, jobs: list[_Job], started: float, seconds: float) -> None:
        metrics, used, padded = self.metrics, 0, 0
        for job in jobs:
            metrics.queue_wait.observe(started - job.born)
            if job.encoded.truncated:
                metrics.truncated.inc()
        for count, longest, total in _calls(self.predictor, jobs):
            metrics.batch_rows.observe(count)
            used, padded = used + total, padded + count * longest
            metrics.batch_tokens.observe(count * longest)
        if padded:  # of a history nothing is read
            metrics.padding.observe(1.0 - used / padded)
        metrics.infer.observe(seconds)
        metrics.rows.inc(len(jobs))
        self.pace += 0.1 * (seconds / len(jobs) - self.pace)


def _calls(predictor: Predictor, jobs: Sequence[_Job]) -> list[tuple[int, int, int]]:
    """(windows, longest, sub-words) of each call that the predictor made of these rows."""
    if jobs[0].length:
        return [(len(jobs), jobs[0].length, len(jobs) * jobs[0].length)]
    lengths = [window.length for job in jobs for window in job.encoded.windows]
    made = batches(lengths, max_rows=predictor.max_rows, max_tokens=predictor.max_tokens, slack=predictor.slack)
    return [(len(batch), lengths[batch[0]], sum(lengths[i] for i in batch)) for batch in made]


def _length(encoded: Encoded) -> int:
    return encoded.windows[0].length if len(encoded.windows) == 1 else 0


def _report(turn: Future[None]) -> None:
    error = None if turn.cancelled() else turn.exception()
    if error is not None:
        log.error("a call of the model failed", exc_info=error)


def _failed() -> ServiceError:
    return refuse(500, "The model failed on this request.", "It answers every text.", "Look into the server's log.")
