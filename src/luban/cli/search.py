"""`luban search SOURCE --task TASK --out DIR`: tries recipes of training, shows the best, and what mattered."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from luban.cli.asking import words
from luban.cli.frame import SOURCE, STAGES, TASK, command
from luban.cli.progress import Walk
from luban.cli.screen import Screen, bar, seconds, table
from luban.cli.tables import show_rows
from luban.config import PrepareConfig, SearchConfig, TrainConfig

if TYPE_CHECKING:
    from luban.stages.train.search import Search, Tried, Trying

SHOWN = 8
"trials in the table; search.html holds all"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=STAGES, skip=("source",))(search)


def search(
    screen: Screen,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE, show_default=False)],
    out: Annotated[
        str,
        typer.Option("--out", metavar="DIR", help="directory of the search, new or to go on with", show_default=False),
    ],
    task: Annotated[str, typer.Option("--task", metavar="TASK", help=TASK, show_default=False)],
    *,
    search: SearchConfig,
    prepare: PrepareConfig,
    train: TrainConfig,
) -> dict[str, Any]:
    """Search for the best recipe on the validation rows: the model, luban.yaml and a report; typed again it goes on."""
    from luban import searching, verbs
    from luban.pipeline import understood

    searching.check(train, search, out)
    reading = prepare.model_copy(update={"source": source})
    rows = verbs.prepare(reading, task)
    show_rows(screen, understood(rows))
    try:
        with Trials(screen) as watch:
            found = searching.sought(rows, reading, train.model_copy(update={"task": task}), search, out, watch=watch)
    except KeyboardInterrupt:
        screen.note(screen.word("search_go_on", command=shlex.join(["luban", *sys.argv[1:]])), style="yellow")
        raise
    show_found(screen, found)
    screen.commands(
        [
            (f"luban predict {out}/model {words(verbs.opened(f'{out}/model'), screen)}", screen.word("next_predict")),
            (f"luban run {out}", screen.word("next_recipe")),
            (f"{out}/{searching.REPORT}", screen.word("next_report")),
        ]
    )
    return found.as_json()


class Trials(Walk):
    """Watches a search: a line when a trial begins and one when it ended, a bar inside it."""

    def __call__(self, event: object) -> None:
        """Called with everything that happens in the search."""
        from luban.stages.train.search import Ended, Trying

        if isinstance(event, Trying):
            self.screen.note(f"▸ {self.begun(event)}")
            self.begin(self.screen.word("trial", number=event.number))
        elif isinstance(event, Ended):
            self.close()
            self.screen.note(f"  {outcome(self.screen, event.trial)}", style="")
        elif self.inner is not None:
            self.inner(event)

    def begun(self, event: Trying) -> str:
        """``trial 3 of 20 · best 0.912 · 4 min 10 s left: lora, rate 0.001 ...``."""
        word = self.screen.word
        told = [word("trial_of", number=event.number, trials=event.trials)]
        told += [word("best_so_far", score=f"{event.best:.4f}")] if event.best is not None else []
        told += [f"{word('left')} {seconds(max(0.0, event.left))}"] if event.left is not None else []
        return f"{' · '.join(told)}: {word('own_settings') if event.usual else settings(event.values)}"


def settings(values: Mapping[str, Any]) -> str:
    """``lora, rate 0.001, epochs 4``: the base only where it is not the only one is told in the report."""
    named = [f"{name} {value:.3g}" for name, value in values.items() if not isinstance(value, str)]
    return ", ".join([str(values.get("method", "")), *named])


def outcome(screen: Screen, trial: Tried) -> str:
    """How a trial ended, in a line."""
    if trial.score is not None:
        return f"{screen.word('dev')} {trial.score:.4f}  {seconds(trial.seconds)}"
    return f"{screen.word(f'trial_{trial.state}')}  {screen.sentence(trial.why)}"


def show_found(screen: Screen, found: Search) -> None:
    """The best trials, what mattered, and the scores that count."""
    screen.done(screen.word("searched", path=found.model, tried=len(found.tried), seconds=seconds(found.seconds)))
    screen.show(screen.word(f"ended_{found.ended}"))
    screen.show(trials_table(screen, found))
    if found.importance:
        made = table(screen.word("what_mattered"), "", "", numbers=(2,))
        for name, share in found.importance.items():
            made.add_row(name, bar(share), f"{share:.0%}")
        screen.show(made)
    for method, why in found.left_out.items():
        screen.note(f"{method}: {screen.sentence(why)}")
    winner = found.winner
    if winner is not None:
        screen.show(screen.word("dev_optimistic", score=f"{found.score} {winner.score:.4f}"))
    if found.test is not None:
        value = found.test["scores"][found.score]
        around = found.test["intervals"].get(found.score)
        interval = f" ({around[0]:.4f} – {around[1]:.4f})" if around else ""
        screen.show(screen.word("test_once", rows=found.test["rows"], score=f"{found.score} {value:.4f}{interval}"))


def trials_table(screen: Screen, found: Search) -> Table:
    """The best trials, and luban's own settings wherever they stand."""
    made = table("", screen.word("dev"), screen.word("time"), screen.word("settings"), numbers=(0, 1, 2))
    done = sorted((t for t in found.tried if t.score is not None), key=lambda t: (-(t.score or 0.0), t.number))
    for trial in [t for i, t in enumerate(done) if i < SHOWN or t.usual]:
        own = f"{screen.word('own_settings')}: " if trial.usual else ""
        made.add_row(str(trial.number), f"{trial.score:.4f}", seconds(trial.seconds), own + settings(trial.values))
    return made
