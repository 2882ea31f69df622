"""`luban data check|clean|anonymise|split SOURCE`: look at rows and mend them before a model learns from them."""

from __future__ import annotations

import typer

from luban.cli.frame import STAGES, group


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    rows = group("data", "Look at rows and mend them: check, clean, anonymise, split.")
    app.add_typer(rows, rich_help_panel=STAGES)
