"""Listens, serves until told to stop, and then finishes what it has taken; it answers no request itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from luban.config import ServeConfig
from luban.errors import ServiceError
from luban.stages.serve.service import Flow

TICK = 0.02
GRACE = 0.25
"seconds after the last answer in which requests that were already on their way still get their 503"


class DrainingServer(uvicorn.Server):
    """Uvicorn, but the first SIGTERM or SIGINT only stops taking requests; a second one ends it at once."""

    def __init__(self, config: uvicorn.Config, flow: Flow) -> None:
        super().__init__(config)
        self.flow = flow

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signal."""
        if self.flow.draining:
            self.should_exit = self.force_exit = True
        self.flow.draining = True


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; raises `ServiceError` where the port is taken or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(
        family, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # asyncio sets TCP_NODELAY only where it is named
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ServiceError(
                f"Port {port} of {host} is in use.",
                "One server listens on a port.",
                "Choose another with --port (0: any free one).",
            ) from error
        raise ServiceError(
            f"Cannot listen on {host}:{port} ({error.strerror}).", "", "Choose another --host or --port."
        ) from error
    return sock


def address(sock: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, sock: socket.socket, config: ServeConfig, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain for at most ``config.drain`` seconds."""
    flow: Flow = app.state.service.flow
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=1,
        ws="none",
    )
    server = DrainingServer(settings, flow)
    with asyncio.Runner(loop_factory=settings.get_loop_factory()) as runner:
        runner.run(_serve(server, sock, config, ready))


async def _serve(
    server: DrainingServer, sock: socket.socket, config: ServeConfig, ready: Callable[[str], None]
) -> None:
    watcher = asyncio.create_task(_watch(server, config.drain, lambda: ready(address(sock))))
    try:
        await server.serve(sockets=[sock])
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher


async def _watch(server: DrainingServer, seconds: float, ready: Callable[[], None]) -> None:
    """Tell when it listens; once it drains, let it exit as soon as nothing is in flight or the time is over."""
    while not server.started:
        await asyncio.sleep(TICK)
    ready()
    while not server.flow.draining:
        await asyncio.sleep(TICK)
    last = end = time.monotonic()
    while time.monotonic() < end + seconds:
        if server.flow.in_flight:
            last = time.monotonic()
        if time.monotonic() >= last + min(GRACE, seconds):
            break
        await asyncio.sleep(TICK)
    server.should_exit = True
