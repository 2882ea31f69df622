"""One request that a model answers, to be shown as an example: the columns its rows have, filled with made texts.

The model's golden rows tell the columns. Their texts are somebody's and are not shown; ids of items and fields are.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from luban.cli.screen import Screen

if TYPE_CHECKING:
    from luban.folder import Folder

PICTURE = "data:image/png;base64,..."
TYPED = ("text", "question")
OTHER_WAYS = {"history": "--history", "context": "--context"}
"columns that have an option of their own on the command line, beside the text or in its place"


def request(folder: Folder, screen: Screen) -> dict[str, Any]:
    """A row as a client sends it."""
    golden = folder.golden()
    row = golden[0].row if golden else {"text": ""}
    return {name: _made(name, value, screen) for name, value in row.items() if name != "user" or len(row) == 1}


def body(folder: Folder, screen: Screen) -> str:
    """The request as the body of a POST, quoted for a shell."""
    return shlex.quote(json.dumps(request(folder, screen), ensure_ascii=False))


def words(folder: Folder, screen: Screen) -> str:
    """What follows `luban predict FOLDER` to ask the same; a file's name where a row is more than a text."""
    row = request(folder, screen)
    if set(row) == {"image"}:
        return "FILE.png"
    if not set(row) <= {*TYPED, *OTHER_WAYS}:
        return "--input FILE.jsonl"
    typed = [_quoted(row[name]) for name in TYPED if name in row]
    return " ".join(typed + [f"{OTHER_WAYS[name]} {_quoted(row[name])}" for name in OTHER_WAYS if name in row])


def _made(name: str, value: Any, screen: Screen) -> Any:
    if name == "image":
        return PICTURE
    if name in ("text", "question"):
        return screen.word("a_text")
    if name in ("text_pair", "context"):
        return screen.word("a_second_text")
    if name == "passages":
        return [screen.word("a_second_text"), screen.word("a_text")]
    if name == "messages":
        return [{"role": "user", "content": screen.word("a_text")}]
    return value


def _quoted(value: str | Sequence[str]) -> str:
    text = value if isinstance(value, str) else ",".join(map(str, value))
    return f'"{text}"' if text and not set(text) & set('"$`\\!') else shlex.quote(text)
