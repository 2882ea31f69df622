"""`luban run [luban.yaml] [KEY=VALUE ...]`: the whole line; only what has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from luban import project
from luban.cli.asking import words
from luban.cli.frame import START, command
from luban.cli.judged import MOST_CLASSES, score_lines
from luban.cli.progress import Walk
from luban.cli.screen import Screen, seconds
from luban.cli.tables import class_table, comparison, show_rows, speed_line
from luban.units import size

if TYPE_CHECKING:
    from luban.line import Outcome, Why


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=START)(run)


def run(
    screen: Screen,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[luban.yaml] [KEY=VALUE ...]",
            help="the project file or its directory, and settings for this run",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="say what would run and why, and run nothing")
    ] = False,
) -> dict[str, Any]:
    """Run the whole line of a project: only what has changed; resumes after a crash."""
    from luban import pipeline

    path, settings = told(arguments or [])
    file = project.located(path)
    config = project.read(file, settings)
    screen.title(screen.word("line", name=config.name))
    with Steps(screen) as watch:
        outcomes = pipeline.run(config, file.parent, dry_run=dry_run, language=screen.language, watch=watch)
    if not dry_run:
        show_result(screen, outcomes, file.parent)
    return {
        "project": config.name,
        "out": str(file.parent / config.out),
        "steps": [outcome.as_json() for outcome in outcomes],
    }


def told(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The project file and the settings among the words after `luban run`."""
    if arguments and (Path(arguments[0]).exists() or "=" not in arguments[0]):
        return arguments[0], list(arguments[1:])
    return project.NAME, list(arguments)


class Steps(Walk):
    """Watches the line: a headline a step, a bar inside it, one line when it is done."""

    def __call__(self, event: object) -> None:
        """Called with everything that happens on the line."""
        from luban.line import Begun, Outcome

        if isinstance(event, Begun):
            self.screen.note(f"▸ {self.screen.word(event.name)}: {reason(self.screen, event.why)}")
            self.begin(self.screen.word(event.name))
        elif isinstance(event, Outcome):
            compared = self.inner.compared() if self.inner is not None else ()
            self.close()
            self.screen.show(outcome_line(self.screen, event))
            self.screen.show(*compared)
            if event.name == "prepare" and event.ran and not event.dry:
                show_rows(self.screen, event.facts)
        elif self.inner is not None:
            self.inner(event)


def outcome_line(screen: Screen, outcome: Outcome) -> Text:
    """``✓ train  41 s  runs/model``, ``= train  nothing changed``, ``▸ train  would run: train.epochs: 0 → 3``."""
    word = screen.word
    name = f"{word(outcome.name):<10}"
    if outcome.dry:
        sign, style = ("▸ ", "bold yellow") if outcome.ran else ("= ", "dim")
        state = word("would_run") if outcome.ran else word("would_keep")
        return Text.assemble((sign, style), (name, "bold"), f"{state}: {reason(screen, outcome.why)}")
    if not outcome.ran:
        return Text.assemble(("= ", "dim"), (name, "bold"), (f"{word('kept')}: {reason(screen, outcome.why)}", "dim"))
    made = outcome.facts.get("path", "")
    told = f"{made}  {size(outcome.facts['bytes'])}" if made else outcome.facts.get("report", "")
    return Text.assemble(("✓ ", "bold green"), (name, "bold"), f"{seconds(outcome.seconds)}  ", (told, "dim"))


def reason(screen: Screen, why: Why) -> str:
    """Why a step runs, in the screen's language."""
    if why.kind == "changed" and why.before is not None and len(f"{why.before}{why.now}") < 60:
        return f"{why.what}: {why.before} → {why.now}"
    return screen.word(f"why_{why.kind}", what=why.what)


def show_result(screen: Screen, outcomes: Sequence[Outcome], root: Path, *, commands: bool = True) -> None:
    """The scores of the line's model, and what to type next."""
    from luban.folder import Folder
    from luban.metrics.classification import ClassScore
    from luban.questions import kinds

    facts = {outcome.name: outcome.facts for outcome in outcomes}
    judged = facts["evaluate"]
    screen.title(screen.word("scored_on", rows=judged["rows"], part=screen.word(judged["part"])))
    if judged["table"]:
        screen.show(class_table(screen, [ClassScore(**one) for one in judged["table"]][:MOST_CLASSES]))
    score_lines(screen, judged)
    screen.show(speed_line(screen, judged))
    screen.show(*comparison(screen, facts["export"]["notes"]["export"]))
    if commands:
        model, served = root / facts["train"]["path"], root / facts["export"]["path"]
        folder = Folder.open(model)
        asked, questions = words(folder, screen), list(kinds(folder.manifest.settings))
        target = f" --target {questions[0]}" if questions else ""
        alone = not asked.startswith("--input")
        screen.commands(
            [
                (f"luban predict {served} {asked}", screen.word("next_predict")),
                *[(f"luban explain {model} {asked}{target}", screen.word("next_explain"))] * alone,
                (f"luban serve {served}", screen.word("next_serve")),
                (f"{root / facts['evaluate']['report']}", screen.word("next_report")),
            ]
        )
