"""Conversations as one text by a tokenizer's chat template, cut into what is read and what the assistant is to say.

Templates are Jinja, rendered in a sandbox as transformers does (`apply_chat_template`), without transformers: no file, no
network and no Python object is reached from one. What the assistant says is found by the template's own generation tags, or
else by rendering a conversation up to an answer and with it. A template is told no date: answers would change overnight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from luban.encoding import Ints, TextEncoder
from luban.errors import DataError, FolderError

Message = Mapping[str, str]
ASSISTANT = "assistant"
ROLES = {"human": "user", "gpt": ASSISTANT, "bot": ASSISTANT}
"names of roles in public conversations (role and content are then called from and value)"
PLAIN = (
    "{{ bos_token }}{% for message in messages %}{{ '### ' + message['role'] + '\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant\n' }}{% endif %}"
)
"the template of a base that brings none: a line '### role' before each message, the end token behind each answer"
TEMPLATE = "chat_template.jinja"
OPEN, CLOSE = "\ue0f0", "\ue0f1"
"stand around what a generation tag holds; characters for private use"


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a rendered text; ``said``: whether the model is to say it."""

    text: str
    said: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template with the special tokens it may name."""

    source: str
    tokens: Mapping[str, str]

    def render(self, messages: Sequence[Message], *, prompt: bool, marked: bool = False) -> str:
        """The text of a conversation; ``prompt``: with what opens the assistant's turn. Raises `DataError`."""
        text: str = _compiled(self.source).render(
            messages=[dict(message) for message in messages], add_generation_prompt=prompt, tools=None, documents=None,
            **self.tokens,
        )  # fmt: skip
        return text if marked else text.replace(OPEN, "").replace(CLOSE, "")

    def parts(self, messages: Sequence[Message], *, prompt: bool = False) -> list[Part]:
        """The rendered conversation in stretches; with ``prompt`` it ends where the assistant is to go on.

        Raises `DataError` where the template refuses the conversation, or changes what stands before an answer.
        """
        clean = [{name: _without_marks(text) for name, text in message.items()} for message in messages]
        try:
            marked = self.render(clean, prompt=prompt, marked=True)
            if OPEN in marked:
                return _of_tags(marked)
            return self._of_prefixes(clean, marked)
        except _template_errors() as error:
            raise DataError(
                f"the chat template refuses the messages ({error}).",
                "Roles come in the order that the base was taught, such as system, user, assistant, user.",
                "Mend the row or remove it.",
                column="messages",
            ) from error

    def _of_prefixes(self, messages: Sequence[Message], whole: str) -> list[Part]:
        cuts = [0]
        for i, message in enumerate(messages):
            if message["role"] == ASSISTANT:
                before, with_it = (
                    self.render(messages[:i], prompt=True),
                    self.render(messages[: i + 1], prompt=False),
                )
                with_it = with_it.rstrip()  # a line break behind the end of a turn is nothing to learn
                if not (whole.startswith(with_it) and with_it.startswith(before) and len(before) >= cuts[-1]):
                    raise DataError(
                        f"the chat template writes message {i + 1} otherwise when others follow.",
                        "What stands before an answer must stay the same, or the template must mark answers "
                        "({% generation %}).",
                        "Give each answer a row of its own, or give the base a template that marks them.",
                        column="messages",
                    )
                cuts += [len(before), len(with_it)]
        cuts.append(len(whole))
        stretches = ((whole[a:b], bool(i % 2)) for i, (a, b) in enumerate(pairwise(cuts)))
        return [Part(text, said) for text, said in stretches if text]


def template_of(folder: Path) -> Template:
    """The chat template of a base or model folder and its special tokens; `PLAIN` where it has none."""
    told = json_of(folder / "tokenizer_config.json")
    named = {**json_of(folder / "special_tokens_map.json"), **told}
    tokens = {name: _token(named.get(name)) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    file = folder / TEMPLATE
    source = file.read_text(encoding="utf8") if file.is_file() else told.get("chat_template")
    if isinstance(source, list):  # several by name, as older tokenizers keep them
        source = next((one.get("template") for one in source if one.get("name") == "default"), None)
    if source is not None:
        try:
            _compiled(str(source))
        except _template_errors() as error:
            raise FolderError(
                f"{folder} has a chat template that is no Jinja ({error}).",
                "It is what transformers reads as chat_template.",
                "Mend or remove it: a plain one is then used.",
            ) from error
    return Template(str(source or PLAIN), tokens)


def json_of(file: Path) -> dict[str, Any]:
    """The object of a JSON file; empty where there is none."""
    try:
        value = json.loads(file.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def tokens_of(parts: Sequence[Part], encoder: TextEncoder) -> list[tuple[Ints, list[tuple[int, int]]]]:
    """Each part's ids, and their character spans in the whole text.

    Parts are read behind each other, so that a prompt has the same ids whether its answer follows or not.
    """
    import numpy as np

    whole, ids = "", list[int]()
    out = []
    for part in parts:
        coded = encoder.tokenizer.encode(whole + part.text, add_special_tokens=False)
        if coded.ids[: len(ids)] == ids:
            new, spans = coded.ids[len(ids) :], coded.offsets[len(ids) :]
        else:  # a sub-word would reach over the edge
            alone = encoder.tokenizer.encode(part.text, add_special_tokens=False)
            new, spans = alone.ids, [(a + len(whole), b + len(whole)) for a, b in alone.offsets]
        whole, ids = whole + part.text, ids + new
        out.append((np.array(new, dtype=np.int64), list(spans)))
    return out


def messages_of(value: Any, *, labelled: bool) -> list[dict[str, str]]:
    """The conversation of a cell (a list, or its JSON), which ``labelled`` holds an answer; raises `DataError`."""
    out = said_in(value, "messages")
    if labelled and not any(one["role"] == ASSISTANT for one in out[1:]):
        raise DataError(
            "no message of the assistant answers another.",
            "A model learns what the assistant says.",
            "Add an answer, or remove the row.",
            column="messages",
        )
    if all(one["role"] == ASSISTANT for one in out):
        raise DataError("nobody but the assistant speaks.", "It answers somebody.", "Mend it.", column="messages")
    return out


def said_in(value: Any, column: str) -> list[dict[str, str]]:
    """The messages of a cell of ``column``, whoever speaks; raises `DataError` where it holds none."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = str(value)
    if not isinstance(value, list | tuple) or not value or not all(isinstance(one, Mapping) for one in value):
        raise DataError(
            f"{value!s:.60} is no conversation.",
            "It is a list of {role, content}.",
            "Mend it or remove the row.",
            column=column,
        )
    return [_message(one, place, column) for place, one in enumerate(value, 1)]


def _message(one: Mapping[str, Any], place: int, column: str) -> dict[str, str]:
    role, content = one.get("role", one.get("from")), one.get("content", one.get("value"))
    if not isinstance(role, str) or not role or not isinstance(content, str):
        raise DataError(
            f"message {place} has the role {role!r} and the content {content!s:.40}.",
            'Both are texts: {"role": "user", "content": "..."}.',
            "Mend it or remove the row.",
            column=column,
        )
    return {"role": ROLES.get(role, role), "content": content}


def _of_tags(marked: str) -> list[Part]:
    out = []
    for i, stretch in enumerate(marked.split(OPEN)):
        said, _, rest = stretch.partition(CLOSE) if i else ("", "", stretch)
        out += [Part(said, True), Part(rest, False)]
    return [part for part in out if part.text]


def _without_marks(text: str) -> str:
    return text.replace(OPEN, "").replace(CLOSE, "")


def _token(value: Any) -> str:
    return str(value.get("content", "")) if isinstance(value, Mapping) else str(value or "")


@lru_cache(maxsize=8)
def _compiled(source: str) -> Any:
    """The template in the environment that transformers makes for it: sandboxed and immutable."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}``: what the assistant says."""

        tags = {"generation"}  # noqa: RUF012 - jinja2's own way to name them

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

        def _marked(self, caller: Any) -> str:
            return f"{OPEN}{caller()}{CLOSE}"

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value: Any, *, ensure_ascii: bool = False, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    surroundings = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    surroundings.filters["tojson"] = tojson
    surroundings.globals["raise_exception"] = refuse
    return surroundings.from_string(source)


def _template_errors() -> tuple[type[Exception], ...]:
    """What a template may raise: its own refusals, and what its expressions stumble over."""
    import jinja2

    return (jinja2.TemplateError, TypeError, ValueError, KeyError, OverflowError, RecursionError)
