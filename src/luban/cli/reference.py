"""docs/cli.md and the tables of docs/project-file.md, written from the options themselves so that they are always true.

python -m luban.cli.reference docs      writes both; a test fails where they are stale
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from luban.cli.options import default_text
from luban.config import Project, Section

HEAD = """# The command line

One verb a stage. This page is written by `python -m luban.cli.reference docs` from the options themselves; a test fails
where it is stale.

Every verb knows `--json` (one machine-readable object on stdout and nothing else; `predict` writes one a line), `--lang en|zh`
(otherwise `LUBAN_LANG`, then the locale; option help is English) and `--help`. Exit codes: 0 done; 1 a gate or check
failed; 2 wrong use or bad input; 130 interrupted. Progress and remarks go to stderr. `luban --install-completion` sets
up the shell's completion.
`HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE` and `HF_ENDPOINT` are honoured. There is no telemetry.

A verb that fails says on stderr, in the language of the run, what happened, what was expected and what to do. With
`--json` stdout gets the same as one object, in `predict` as its last line; `file`, `row` and `column` are there where
they are known:

    {"error": {"happened": "the row has 3 cells.", "expected": "2 were expected.", "remedy": "", "file": "a.csv", "row": 3}}
"""
EVERYWHERE = {"as_json", "lang", "help"}
BEGIN, END = "<!-- keys: begin -->", "<!-- keys: end -->"


def command_line() -> str:
    """The whole of docs/cli.md."""
    from luban.cli import app

    root: Any = typer.main.get_command(app)
    return HEAD + "".join(
        section for name in root.list_commands(None) for section in verbs(f"luban {name}", root.commands[name])
    )


def verbs(path: str, command: Any) -> Iterator[str]:
    """The sections of a verb, or of the verbs below it."""
    below = getattr(command, "commands", None)
    if below is not None:
        for name, inner in below.items():
            yield from verbs(f"{path} {name}", inner)
        return
    words = [
        parameter.metavar or parameter.name for parameter in command.params if parameter.param_type_name == "argument"
    ]
    yield f"\n## {path}\n\n{plain(command.help or '').strip()}\n\n    {' '.join([path, *words])} [OPTIONS]\n"
    shown = [parameter for parameter in command.params if parameter.name not in EVERYWHERE]
    if shown:
        yield "\n| | |\n|---|---|\n" + "".join(f"| {typed(parameter)} | {about(parameter)} |\n" for parameter in shown)


def typed(parameter: Any) -> str:
    """How a parameter is typed."""
    if parameter.param_type_name == "argument":
        return f"`{cell(parameter.metavar or parameter.name)}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    value = parameter.metavar if parameter.metavar is not None else parameter.name.upper()
    return names if not value else f"{names} `{cell(value)}`"


def about(parameter: Any) -> str:
    """What a parameter is for, and whether it must be given."""
    text = plain(parameter.help or "")
    if parameter.required:
        text += " (required)"
    elif parameter.show_default and parameter.default not in (None, "", False):
        text += f" ({parameter.default})"
    return cell(text)


def plain(text: str) -> str:
    """Help without its markup."""
    return Text.from_markup(text).plain


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def keys(section: type[Section] = Project, prefix: str = "") -> str:
    """Tables of the keys of luban.yaml, a section each."""
    own, inner = [], ""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            inner += f"\n### `{name}`\n\n{(kind.__doc__ or '').strip()}\n\n" + keys(kind, f"{name}.")
        else:
            shown = default_text(field.default)
            own.append(f"| `{prefix}{name}` | {f'`{shown}`' if shown else ''} | {cell(field.description or '')} |\n")
    return "| key | default | |\n|---|---|---|\n" + "".join(own) + inner


def with_keys(page: str) -> str:
    """A page with the tables of keys put between its marks."""
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{keys()}{END}", page, flags=re.DOTALL)


if __name__ == "__main__":
    docs = Path(sys.argv[1])
    (docs / "cli.md").write_text(command_line(), encoding="utf8")
    file = docs / "project-file.md"
    file.write_text(with_keys(file.read_text(encoding="utf8")), encoding="utf8")
