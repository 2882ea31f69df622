"""`luban export MODEL --to onnx --out DIR`: a folder for serving that gives the same answers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from luban.cli.frame import MODEL, STAGES, command
from luban.cli.progress import Progressed
from luban.cli.screen import Screen
from luban.cli.tables import comparison
from luban.config import ExportConfig
from luban.units import size


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=STAGES)(export)


def export(
    screen: Screen,
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="the folder to write", show_default=False)],
    source: Annotated[
        str,
        typer.Option(
            "--source",
            metavar="SOURCE",
            help="rows to compare on [dim](unseen rows of the training source)[/dim]",
            show_default=False,
        ),
    ] = "",
    *,
    export: ExportConfig,
) -> dict[str, Any]:
    """Write a model for serving, compared with the original on real rows."""
    from luban import verbs

    verbs.check_out(out)
    folder = verbs.opened(model)
    with Progressed(screen, screen.word("exporting")) as watch:
        made = verbs.export(folder, out=out, source=source, watch=watch, **export.model_dump(exclude_unset=True))
    screen.done(screen.word("exported", path=made.path, before=size(folder.bytes), after=size(made.bytes)))
    screen.show(*comparison(screen, made.manifest.notes["export"]))
    screen.commands([(f"luban serve {out}", screen.word("next_serve"))])
    manifest = made.manifest
    return {
        "task": manifest.task,
        "model": manifest.name,
        "fingerprint": manifest.fingerprint,
        "parent": manifest.parent,
        "runtime": manifest.runtime,
        "bytes": made.bytes,
        "notes": dict(manifest.notes),
    }
