"""What a server refuses, in which words: sizes, malformed bodies, a full queue; it knows no protocol and no model."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from luban.config import ServeConfig
from luban.errors import ConfigError, ServiceError, counted
from luban.pictures import is_data
from luban.records import Row

BODY_SECONDS = 20.0
"how long a client may take to send a body that the server is already waiting for"

GONE = 499
"the status under which a request is counted whose client did not wait: nobody gets to read it"

Result = TypeVar("Result")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a request may ask for: ``body`` in bytes, ``rows``, and characters of one ``text`` and to ``explain``."""

    body: int
    rows: int
    text: int
    seconds: float = BODY_SECONDS
    explain: int = 2000

    @classmethod
    def of(cls, config: ServeConfig) -> Limits:
        """The limits that a configuration sets."""
        return cls(config.max_body, config.max_rows, config.max_text, explain=config.max_explain)


class Busy(ServiceError):
    """The queue is full; ``after`` is the whole number of seconds to wait."""

    def __init__(self, waiting: int, after: int) -> None:
        self.after = after
        super().__init__(
            f"The queue is full: {counted(waiting, 'request')} in it already.",
            "The queue is bounded, so that those taken are answered in time.",
            f"Try again in {after} s, or send several rows in one request.",
            status=429,
        )


def refuse(status: int, happened: str, expected: str = "", remedy: str = "") -> ServiceError:
    """An error with an HTTP status, to be raised."""
    return ServiceError(happened, expected, remedy, status=status)


def draining() -> ServiceError:
    """The answer to a request that comes while the server is going away."""
    return refuse(503, "The server is shutting down.", "It only finishes what it has taken.", "Try again in a moment.")


async def read_body(receive: Receive, limits: Limits) -> bytes:
    """The body of an ASGI request, counted while it arrives; raises 413 over the limit, 408 when it does not come.

    The time is that of the whole body: one that drips would otherwise hold its place for ever.
    """
    try:
        async with asyncio.timeout(limits.seconds):
            return await _body(receive, limits)
    except TimeoutError as error:
        raise refuse(
            408,
            f"The body did not arrive within {limits.seconds:g} s.",
            "A body is sent in one go.",
            "Send it again, faster.",
        ) from error


async def _body(receive: Receive, limits: Limits) -> bytes:
    message = await _next(receive)
    body = message.get("body", b"")
    if not message.get("more_body", False):
        return _within(body, limits)
    parts = [_within(body, limits)]
    size = len(body)
    while message.get("more_body", False):
        message = await _next(receive)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.body:
            raise too_large(limits)
    return b"".join(parts)


async def _next(receive: Receive) -> MutableMapping[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise refuse(400, "The client went away before its body was complete.")
    return message


async def while_there(work: Coroutine[Any, Any, Result], receive: Receive) -> Result:
    """What ``work`` gives, unless its client goes away first: then it is cancelled, and a refusal raised to nobody.

    ``receive``: of an ASGI request whose body was read, where the next message is that the client has gone.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise refuse(GONE, "The client went away before its answer.")
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _within(body: bytes, limits: Limits) -> bytes:
    if len(body) > limits.body:
        raise too_large(limits)
    return body


def too_large(limits: Limits) -> ServiceError:
    """413 for a body."""
    return refuse(
        413,
        f"The body is larger than {limits.body:,} bytes.",
        f"A request has at most {counted(limits.body, 'byte')} and {counted(limits.rows, 'row')}.",
        "Send fewer rows a request, or serve with a larger --max-body.",
    )


def parse_json(body: bytes) -> dict[str, Any]:
    """The object a body holds; raises 400 for anything else (NaN and lone surrogates are not JSON either)."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise refuse(
            400, f"The body is not JSON ({error}).", "A request is one JSON object in UTF-8.", "Mend the body."
        ) from error
    if not isinstance(value, dict):
        raise refuse(
            400,
            f"The body is a JSON {_kind(value)}.",
            "A request is one JSON object.",
            'Send for example {"text": "..."}.',
        )
    return value


def check_rows(count: int, limits: Limits) -> None:
    """Raises 422 for no rows, 413 for too many."""
    if count == 0:
        raise refuse(422, "The request holds no rows.", "At least one row is expected.", "Send a text.")
    if count > limits.rows:
        raise refuse(
            413,
            f"The request holds {counted(count, 'row')}.",
            f"At most {limits.rows} go together.",
            "Send them in several requests.",
        )


def check_text(value: object, position: int, limits: Limits) -> None:
    """Raises 413 for a text (or a list of words) of more characters than allowed."""
    if (size := characters(value)) > limits.text:
        raise refuse(
            413,
            f"Row {position}: the text has {counted(size, 'character')}.",
            f"A text has at most {limits.text:,}.",
            "Cut it, or serve with a larger --max-text.",
        )


def posted(value: object, position: int) -> str:
    """A picture as clients send it, the base64 of its file or a data URL, as a data URL: a name of a file is never opened.

    Raises 422 for anything else; whether it is a picture is seen when it is read.
    """
    if not isinstance(value, str):
        raise refuse(
            422,
            f"Row {position}: the picture is {type(value).__name__}.",
            "A picture is sent as the base64 of its file, or as a data URL.",
            "Encode the bytes of the file.",
        )
    return value if is_data(value) else f"data:image/*;base64,{value}"


def check_explained(row: Row, limits: Limits) -> None:
    """Raises 413 for a row with more characters than are explained: each word costs many runs of the model."""
    if (size := sum(map(characters, row.values()))) > limits.explain:
        raise refuse(
            413,
            f"The text has {counted(size, 'character')}.",
            f"At most {limits.explain:,} are explained.",
            "Cut it, or serve with a larger --max-explain.",
        )


def characters(value: object) -> int:
    """Characters of a text, or of all texts in a list (of objects); 0 for anything else."""
    if isinstance(value, list):
        items = [item for one in value for item in (one.values() if isinstance(one, dict) else (one,))]
        return sum(len(item) for item in items if isinstance(item, str))
    return len(value) if isinstance(value, str) else 0


def check_host(host: str) -> None:
    """Raises `ConfigError` for an address that others can reach: this version asks nobody who they are."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise ConfigError(
            f"The server will not listen on {host!r}.",
            "This version has no access control, so it listens on this machine only (127.0.0.1, ::1, localhost).",
            "Put a proxy with access control in front of it.",
        )


def _kind(value: object) -> str:
    kinds = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return kinds.get(type(value), "null")
