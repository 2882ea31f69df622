"""A chat model for tests: a real HTTP server on this machine that speaks the protocol; what it answers is a function's.

with FakeChat(lambda messages: '{"label": "order"}') as chat:
    ...                     # ask chat.url; chat.asked holds every question
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Answer = Callable[[list[dict[str, str]]], str]


class FakeChat:
    """Answers ``POST /v1/chat/completions``; ``failures``: statuses given to the first questions instead of an answer.

    ``key``: refuses a question that does not bring it. A token is a word.
    """

    def __init__(self, answer: Answer, *, failures: Sequence[int] = (), key: str = "") -> None:
        self.answer, self.failures, self.key = answer, list(failures), key
        self.asked: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.busy = self.most_at_once = 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _questions(self))
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        """The address a client is given."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def respond(self, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        """Status and object for one question."""
        with self.lock:
            self.busy += 1
            self.most_at_once = max(self.most_at_once, self.busy)
            failure = self.failures.pop(0) if self.failures else 0
        try:
            if self.key and key != f"Bearer {self.key}":
                return 401, {"error": {"message": "wrong key"}}
            if failure:
                return failure, {"error": {"message": "not now"}}
            said = self.answer(body["messages"])
        finally:
            with self.lock:
                self.busy -= 1
                self.asked.append(body)
        words = sum(len(message["content"].split()) for message in body["messages"])
        usage = {"prompt_tokens": words, "completion_tokens": len(said.split())}
        message = {"role": "assistant", "content": said}
        return 200, {"model": body["model"], "choices": [{"index": 0, "message": message}], "usage": usage}


def _questions(chat: FakeChat) -> type[BaseHTTPRequestHandler]:
    class Questions(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path == "/v1/chat/completions"
            status, reply = chat.respond(body, self.headers.get("Authorization", "")) if known else (404, {})
            sent = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            with contextlib.suppress(ConnectionError):  # whoever asked was killed
                self.end_headers()
                self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    return Questions
