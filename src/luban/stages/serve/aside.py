"""Long work beside the answers: one thread that does a thing at a time and never keeps the process from ending.

A pool's threads are waited for when the process ends; this one is a daemon. It knows neither models nor requests.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

THREAD = "luban-aside"

Given = TypeVar("Given")
Result = TypeVar("Result")


class Aside:
    """The thread, started with the first work; it has an event loop, whose tasks are the work that waits."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None

    async def run(self, work: Callable[[Given], Result], given: Given) -> Result:
        """What ``work`` gives or raises; work whose caller went away before its turn is not begun."""

        async def turn() -> Result:
            await asyncio.sleep(0)  # lets in a cancellation that came while other work was being done
            return work(given)

        if self.loop is None:
            self.loop = asyncio.new_event_loop()
            threading.Thread(target=_live, args=(self.loop,), name=THREAD, daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(turn(), self.loop))

    def close(self) -> None:
        """Begin nothing more; what is running is not waited for."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.loop = None


def _live(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
