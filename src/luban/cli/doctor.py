"""`luban doctor`: what is installed, what the processor can, what is missing and the command that adds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from luban.cli.frame import AROUND, command
from luban.cli.screen import ACCENT, Screen

if TYPE_CHECKING:
    from luban.doctor import Report


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=AROUND)(doctor)


def doctor(
    screen: Screen,
    hub: Annotated[bool, typer.Option("--hub", metavar="", help="also ask whether the model hub answers")] = False,
) -> dict[str, Any]:
    """What is installed, what this machine can, what is missing and the command that adds it."""
    from luban.doctor import examine

    report = examine(ask_hub=hub)
    show_report(screen, report)
    return report.as_json()


def show_report(screen: Screen, report: Report) -> None:
    """This machine, the abilities, and what is missing."""
    word, processor = screen.word, report.processor
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    grid.add_row("luban", f"{report.luban} · Python {report.python} · {report.system}")
    grid.add_row(word("processor"), f"{processor.name} · {word('cores', count=processor.cores)}")
    features = " · ".join(processor.features) or word("none")
    grid.add_row(word("features"), features)
    grid.add_row(
        word("memory_all"),
        f"{report.memory / 2**30:.1f} GiB ({word('free', size=f'{report.memory_free / 2**30:.1f} GiB')})",
    )
    grid.add_row("GPU", " · ".join(f"{gpu.name} {gpu.memory}" for gpu in report.gpus) or word("none"))
    grid.add_row(word("bases"), ", ".join(report.bases) or word("none"))
    grid.add_row(word("cache"), report.cache)
    if report.hub is not None:
        grid.add_row("hub", word("reachable") if report.hub else word("unreachable"))
    screen.title(word("this_machine"))
    screen.show(Padding(grid, (0, 0, 0, 2)))
    screen.title(word("abilities"))
    screen.show(Padding(abilities(report), (0, 0, 0, 2)))
    if not report.advice:
        screen.done(word("nothing_missing"))
        return
    screen.title(word("missing"))
    for advice in report.advice:
        screen.show(
            Text(f"  {advice.missing}"), Text(f"    {advice.command}", style=ACCENT, no_wrap=True, overflow="ignore")
        )


def abilities(report: Report) -> Table:
    """Each extra with its libraries; a full mark where it is whole."""
    grid = Table.grid(padding=(0, 2))
    for ability in report.abilities:
        sign, style = ("●", "green") if ability.whole else ("○", "dim")
        libraries = [f"{name} {version}" if version else f"{name} –" for name, version in ability.libraries.items()]
        grid.add_row(Text(sign, style=style), Text(ability.name, style="bold"), Text(", ".join(libraries), style="dim"))
    return grid
