"""`luban models`: the base models known by name, and which of them are here."""

from __future__ import annotations

from typing import Any

import typer
from rich.text import Text

from luban.cli.frame import AROUND, command
from luban.cli.screen import Screen, table


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=AROUND)(models)


def models(screen: Screen) -> dict[str, Any]:
    """The base models: name, size, languages, licence, here or to be fetched."""
    from luban import bases

    word = screen.word
    entries = sorted(bases.catalogue(), key=lambda entry: not entry.here)
    made = table(word("model"), word("size"), word("languages"), word("licence"), word("where"), numbers=(1,), title="")
    for entry in entries:
        fetched = entry.origin if screen.out.width >= 110 else word("fetch")
        where = Text("● " + word("here"), style="green") if entry.here else Text("○ " + fetched, style="dim")
        made.add_row(
            Text(entry.name, style="bold" if entry.here else ""),
            f"{entry.size / 1e6:.0f} M",
            ", ".join(entry.languages),
            entry.licence,
            where,
        )
    screen.title(word("models_title"))
    screen.show(made, Text(word("models_more"), style="dim"))
    return {"models": [entry.as_json() for entry in entries]}
