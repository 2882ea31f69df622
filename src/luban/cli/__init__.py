"""The command line: one thin file a verb that parses, calls and prints; nothing is computed here.

Importing it loads no heavy library: `luban --help` answers at once.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer
from typer.core import TyperGroup

from luban.cli import (
    compare,
    data,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    models,
    new,
    predict,
    run,
    search,
    serve,
    train,
)
from luban.cli.frame import SETTINGS, answered

VERBS = (demo, new, run, data, train, search, evaluate, compare, predict, explain, export, serve, models, doctor)


class InOrder(TyperGroup):
    """Lists the verbs in the order of the line instead of groups last."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """The names of the verbs."""
        return [name for verb in VERBS if (name := verb.__name__.rpartition(".")[2]) in self.commands]


app = typer.Typer(
    name="luban",
    cls=InOrder,
    help="From a file of rows to a small, fast, explained, served model, on ordinary machines.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
)
for verb in VERBS:
    verb.register(app)


def _version(asked: bool) -> None:
    if asked:
        try:
            typer.echo(f"luban {version('luban')}")
        except PackageNotFoundError:
            typer.echo("luban (not installed)")
        raise typer.Exit


@app.callback()
def _front(
    asked: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns 0 done, 1 a check failed, 2 wrong use or bad input, 130 interrupted."""
    return answered(app, args)
