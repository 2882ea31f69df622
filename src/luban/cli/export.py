"""`luban export MODEL --to onnx --out DIR`: a folder for serving that gives the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from luban import verbs
from luban.cli.frame import MODEL, STAGES, command
from luban.cli.progress import Progressed
from luban.cli.screen import Screen, size, table
from luban.config import ExportConfig


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


def comparison(screen: Screen, told: Mapping[str, Any]) -> list[Any]:
    """What the export found out: each graph's size, speed and changed answers, and why one of them was kept."""
    made = table(
        "",
        *(screen.word(key) for key in ("size", "ms_row", "faster_than", "answers_changed", "largest_difference")),
        numbers=(1, 2, 3, 4, 5),
    )
    for name, against in (("fp32", "PyTorch"), ("int8", "fp32")):
        if name in told:
            one = told[name]
            made.add_row(
                name,
                size(one["bytes"]),
                f"{one['ms']:.2f}",
                f"{one['speedup']:.2f} x {against}",
                f"{one['flips']:.2%}",
                f"{one['difference']:.3g}",
            )
    reason = str(told.get("reason", ""))
    return [made, Text(f"  {screen.word('graph_kept', name=told['kept'])} {reason}", style="dim")]
