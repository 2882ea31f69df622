"""`luban new TEMPLATE DIR`: a runnable project."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from luban.cli.frame import START, command
from luban.cli.screen import Screen
from luban.project import SAMPLES, TEMPLATES, create


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=START)(new)


def new(
    screen: Screen,
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help=f"one of: {', '.join(TEMPLATES)}", show_default=False)
    ],
    out: Annotated[str, typer.Argument(metavar="DIR", help="a new or empty directory", show_default=False)],
    sample: Annotated[
        str, typer.Option("--sample", metavar="NAME", help=f"sample rows: {', '.join(SAMPLES)}", show_default=True)
    ] = "customer-service-en",
) -> dict[str, Any]:
    """Write a runnable project: luban.yaml, sample rows, a README."""
    path = create(template, out, sample=sample)
    screen.done(screen.word("made", path=path))
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        screen.note(f"  {file.relative_to(path)}")
    screen.commands([(f"cd {out}", screen.word("next_cd")), ("luban run", screen.word("next_run"))])
    return {"path": str(path), "template": template, "sample": sample}
