"""The server without HTTP's plumbing: models by name, requests counted in and out, errors as JSON; no socket here."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from luban.chinese import in_chinese
from luban.config import ServeConfig
from luban.errors import ConfigError, DataError, LubanError, ServiceError, UnknownName, nearest_hint
from luban.records import Row, Watch, unwatched
from luban.stages.serve.aside import Aside
from luban.stages.serve.calibrate import Calibrated, calibrate
from luban.stages.serve.engine import Answer, Engine
from luban.stages.serve.limits import (
    GONE,
    Busy,
    Limits,
    Receive,
    check_explained,
    draining,
    read_body,
    refuse,
    while_there,
)
from luban.stages.serve.metrics import Metrics, ModelMetrics
from luban.stages.serve.protocols import kserve, plain
from luban.stages.serve.protocols.base import Face, Question
from luban.stages.serve.served import Served

EXPLAINING = 8
"explanations that may wait; one is made at a time"
BACK_SOON = "5"
"seconds after which a client of a server that shuts down may try its successor"


@dataclass(slots=True)
class Flow:
    """How many requests are being answered, and whether new ones are still taken."""

    in_flight: int = 0
    draining: bool = False

    @contextmanager
    def taking(self, metrics: ModelMetrics) -> Iterator[None]:
        """One request; raises 503 while draining."""
        if self.draining:
            raise draining()
        self.in_flight += 1
        metrics.in_flight.inc()
        try:
            yield
        finally:
            self.in_flight -= 1
            metrics.in_flight.dec()


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, JSON body and headers of a response."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    chinese: Callable[[], bytes] | None = None
    "the body of an error in Chinese"


@dataclass(slots=True)
class Live:
    """A model that is running."""

    served: Served
    face: Face
    engine: Engine
    metrics: ModelMetrics
    explaining: int = 0


class Service:
    """All models of one server."""

    def __init__(self, models: Mapping[str, Served], config: ServeConfig, watch: Watch = unwatched) -> None:
        self.limits, self.metrics, self.flow = Limits.of(config), Metrics(), Flow()
        self.aside = Aside()
        self.models = {name: self._live(name, served, config, watch) for name, served in models.items()}

    def _live(self, name: str, served: Served, config: ServeConfig, watch: Watch) -> Live:
        started = time.perf_counter()
        running = calibrate(served, config)
        watch(Calibrated(name, running.plan, time.perf_counter() - started))
        metrics = self.metrics.of(name)
        face = Face(
            name, served.fingerprint, served.task, served.labels, served.inputs, served.columns, running.sample,
            served.explain is not None, served.pictures, served.about,
            served.partial,
        )  # fmt: skip
        engine = Engine(running, metrics, queue=config.queue, tokens=config.batch_tokens)
        return Live(served, face, engine, metrics)

    def find(self, name: str) -> Live:
        """A model by its name; raises 404 naming the nearest."""
        if name not in self.models:
            raise refuse(
                404,
                f"There is no model {name!r}.",
                f"Served: {', '.join(self.models)}.",
                nearest_hint(name, self.models) or "GET /models lists them.",
            )
        return self.models[name]

    def close(self) -> None:
        """Let the threads end."""
        self.aside.close()
        for live in self.models.values():
            live.engine.close()

    async def predict(self, name: str, receive: Receive) -> Reply:
        """POST /models/NAME/predict."""

        async def answer(live: Live) -> dict[str, Any]:
            started = time.perf_counter()
            asked = plain.question(await read_body(receive, self.limits), live.face, self.limits)
            answers = await _answers(live.engine, asked, receive)
            return plain.reply(answers, live.face, id=_new_id(), seconds=_since(started))

        return await self._within(name, plain.NAME, answer)

    async def infer(self, name: str, version: str | None, receive: Receive) -> Reply:
        """POST /v2/models/NAME[/versions/VERSION]/infer."""

        async def answer(live: Live) -> dict[str, Any]:
            started = time.perf_counter()
            if version is not None:
                kserve.check_version(version, live.face)
            asked = kserve.question(await read_body(receive, self.limits), live.face, self.limits)
            answers = await _answers(live.engine, asked, receive)
            return kserve.reply(answers, live.face, asked, id=_new_id(), seconds=_since(started))

        return await self._within(name, kserve.NAME, answer)

    async def explain(self, name: str, receive: Receive) -> Reply:
        """POST /models/NAME/explain."""

        async def answer(live: Live) -> dict[str, Any]:
            started = time.perf_counter()
            body = await read_body(receive, self.limits)
            asked = plain.question(body, live.face, self.limits, explaining=True)
            if len(asked.rows) != 1:
                raise refuse(
                    422, f"The request holds {len(asked.rows)} rows.", "One row is explained at a time.", "Send one."
                )
            check_explained({k: v for k, v in asked.rows[0].items() if k not in live.face.pictures}, self.limits)
            evidence = await while_there(self._explained(live, asked.rows[0], asked.target), receive)
            return plain.explained(evidence, live.face, id=_new_id(), seconds=_since(started))

        return await self._within(name, "explain", answer)

    async def _explained(self, live: Live, row: Row, target: str | None) -> Any:
        explain = live.served.explain
        if explain is None:
            raise refuse(
                404, f"{live.face.name} is served without explanations.", "Its runtime gives none.", "Ask /predict."
            )
        if live.explaining >= EXPLAINING:
            raise Busy(live.explaining, EXPLAINING)
        live.explaining += 1
        try:
            return await self.aside.run(lambda row: explain(row, target), row)
        finally:
            live.explaining -= 1

    async def _within(self, name: str, protocol: str, answer: Callable[[Live], Awaitable[dict[str, Any]]]) -> Reply:
        """An answer with its errors turned to JSON, counted in and out."""
        shape = kserve.refused if protocol == kserve.NAME else refused
        live = self.models.get(name)
        try:
            live = self.find(name)
            with self.flow.taking(live.metrics):
                reply = Reply(200, orjson.dumps(await answer(live)))
        except LubanError as error:
            reply = failure(error, shape)
            if live is not None and reply.status not in (404, 500):
                live.metrics.rejects.labels(reason=REASONS.get(reply.status, "invalid")).inc()
        if live is not None:
            live.metrics.answered(protocol, reply.status)
        return reply


REASONS = {408: "slow", 413: "too large", 429: "full", GONE: "gone", 503: "draining"}


async def _answers(engine: Engine, asked: Question, receive: Receive) -> list[Answer]:
    """The engine's; rows that have to wait are given up when their client goes."""
    asking = engine.ask(asked.rows)
    waits = engine.unfinished or len(asked.rows) > 1
    return await (while_there(asking, receive) if waits else asking)


def failure(error: LubanError, shape: Callable[[ServiceError], dict[str, Any]] | None = None) -> Reply:
    """An error as a reply: what a row or an option caused is the request's fault (422), the rest the server's (500)."""
    if not isinstance(error, ServiceError):
        status = 422 if isinstance(error, DataError | ConfigError | UnknownName) else 500
        error = refuse(status, error.happened, error.expected, error.remedy)
    headers = {}
    if isinstance(error, Busy):
        headers["retry-after"] = str(error.after)
    if error.status == 503:
        headers |= {"retry-after": BACK_SOON, "connection": "close"}
    if error.status in (408, 413):
        headers["connection"] = "close"
    said, status = shape or refused, error.status

    def chinese() -> bytes:
        told = in_chinese(error)
        return orjson.dumps(said(refuse(status, told.happened, told.expected, told.remedy)))

    return Reply(status, orjson.dumps(said(error)), headers, chinese)


def refused(error: ServiceError) -> dict[str, Any]:
    """The plain protocol's error object."""
    return {"error": {"happened": error.happened, "expected": error.expected, "remedy": error.remedy}}


def _new_id() -> str:
    return str(uuid.uuid4())


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 6)
