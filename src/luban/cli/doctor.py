"""`luban doctor`: what is installed, what the processor can, what is missing and the command that adds it."""

from __future__ import annotations

from typing import Any

import typer

from luban.cli.frame import AROUND, command
from luban.cli.screen import Screen


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=AROUND)(doctor)


def doctor(screen: Screen) -> dict[str, Any]:
    """What is installed, what this machine can, what is missing and how to add it."""
    from luban import doctor as examined

    raise NotImplementedError(examined)
