"""Asks a chat model behind an OpenAI-compatible endpoint, and waits where it is busy; it knows no task and no prompt.

Nothing is asked unless an address is given. The key is read from the environment when a question is sent: it stands in no
option, no message and no file.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from luban.errors import ConfigError, LubanError, MissingExtra

BUSY = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"statuses after which the same question may be answered"
LONGEST_WAIT = 60.0


class Unanswered(LubanError):
    """This question is not answered, others may be: too long, filtered, not understood."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model wrote, and what it cost in tokens; 0 where the endpoint does not say."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ChatModel:
    """A model at an address; ``key_env`` names the variable that holds its key, if it wants one.

    Raises `ConfigError` for an address that is none or a variable that is not set, `MissingExtra` without httpx.
    """

    def __init__(self, url: str, model: str, *, key_env: str = "", retries: int = 5, timeout: float = 60.0) -> None:
        try:
            import httpx
        except ModuleNotFoundError as missing:
            raise MissingExtra("Asking a chat model", "llm") from missing
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"{url!r} is no address of a chat model.",
                "It looks like http://127.0.0.1:8000/v1, where /chat/completions is answered.",
                "Mend --llm.",
            )
        if key_env and not os.environ.get(key_env):
            raise ConfigError(
                f"The environment has no {key_env}.", "--key-env names the variable that holds the key.", "Set it."
            )
        tail = "" if url.rstrip("/").endswith("/chat/completions") else "/chat/completions"
        self.address, self.host = url.rstrip("/") + tail, parts.hostname
        self.model, self.key_env, self.retries = model, key_env, retries
        self.client = httpx.Client(timeout=timeout)

    def close(self) -> None:
        """Give the connections back."""
        self.client.close()

    def ask(self, messages: list[dict[str, str]]) -> Reply:
        """One answer, in JSON where the endpoint can be told so; waits and asks again while it is busy.

        Raises `Unanswered` for this question alone, `LubanError` where no other would be answered either.
        """
        body = {"model": self.model, "messages": messages, "temperature": 0, "response_format": {"type": "json_object"}}
        for attempt in range(self.retries + 1):
            status, reply, after = self._post(body)
            if status == 200:
                return _read(reply)
            if status and status not in BUSY:
                raise self._refused(status)
            if attempt < self.retries:
                time.sleep(after or min(LONGEST_WAIT, 2.0**attempt * random.uniform(0.25, 0.5)))
        raise LubanError(
            f"The chat model at {self.host} did not answer ({status or 'no connection'}), asked {self.retries + 1} times.",
            "An endpoint that answers is needed.",
            "Try again later: what was answered is kept.",
        )

    def _post(self, body: dict[str, Any]) -> tuple[int, Any, float]:
        """Status (0 where there was no connection), the answer, and the seconds to wait that it asks for."""
        import httpx

        headers = {"Authorization": f"Bearer {os.environ[self.key_env]}"} if self.key_env else {}
        try:
            answer = self.client.post(self.address, json=body, headers=headers)
        except httpx.TransportError:
            return 0, None, 0.0
        try:
            after = min(LONGEST_WAIT, float(answer.headers.get("Retry-After", 0)))
        except ValueError:
            after = 0.0
        try:
            return answer.status_code, answer.json(), after
        except ValueError:
            return answer.status_code, None, after

    def _refused(self, status: int) -> LubanError:
        if status in (401, 403):
            named = f"the key in {self.key_env}" if self.key_env else "a question without a key"
            return ConfigError(
                f"The chat model at {self.host} refuses {named} ({status}).",
                "--key-env names the variable that holds a key it takes.",
                "Set another.",
            )
        if status in (404, 405):
            return ConfigError(
                f"The server at {self.host} knows no {self.model} there ({status}).",
                "--llm is the address in front of /chat/completions, --model a name that it knows.",
                "Mend one of them.",
            )
        return Unanswered(f"the chat model refused this text ({status}).")


def _read(reply: Any) -> Reply:
    try:
        text = reply["choices"][0]["message"]["content"]
        used = reply.get("usage") or {}
        return Reply(str(text or ""), int(used.get("prompt_tokens", 0)), int(used.get("completion_tokens", 0)))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Unanswered("the chat model's answer has no text in it.") from error
