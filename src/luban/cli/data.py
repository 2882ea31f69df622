"""`luban data check|clean|anonymise|split|label SOURCE`: look at rows and mend them before a model learns from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.padding import Padding
from rich.text import Text

from luban.cli.frame import SOURCE, STAGES, TASK, command, group
from luban.cli.progress import Progressed
from luban.cli.screen import Screen, table
from luban.cli.tables import show_rows
from luban.config import LabelConfig, PrepareConfig

if TYPE_CHECKING:
    from luban.stages.prepare import Check, Written

Source = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE, show_default=False)]
Task = Annotated[str, typer.Option("--task", metavar="TASK", help=TASK, show_default=False)]
Out = Annotated[str, typer.Option("--out", metavar="DIR", help="a new directory for the rows", show_default=False)]
LEARNING = ("unlabelled", "replay", "adapt")
"options of prepare that matter only where a model learns"
READING = (*LEARNING, "source", "valid_share", "test_share", "group", "seed", "drop_duplicates", "clean", "strict")
"options of prepare that do not matter where rows are read as they stand"
SIGNS = {"error": ("✗", "bold red"), "warning": ("!", "bold yellow"), "note": ("·", "dim")}


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    rows = group("data", "Look at rows and mend them: check, clean, anonymise, split, label.")
    command(rows, skip=READING)(check)
    command(rows, skip=(*READING, "valid", "test"))(clean)
    command(rows, skip=(*READING, "valid", "test"))(anonymise)
    command(rows, skip=(*LEARNING, "source"))(split)
    command(rows, skip=(*READING, "valid", "test"))(label)
    app.add_typer(rows, rich_help_panel=STAGES)


def check(
    screen: Screen,
    source: Source,
    task: Task,
    base: Annotated[
        str,
        typer.Option(
            "--base", metavar="NAME", help="also measure lengths in sub-words of this base", show_default=False
        ),
    ] = "",
    *,
    prepare: PrepareConfig,
) -> dict[str, Any]:
    """Find what is wrong with rows; exit code 1 where some cannot be used."""
    from luban import verbs

    found = verbs.check(prepare.model_copy(update={"source": source}), task, base=base)
    show_check(screen, found)
    screen.failed = found.failed
    return found.as_json()


def clean(screen: Screen, source: Source, task: Task, out: Out, *, prepare: PrepareConfig) -> dict[str, Any]:
    """Normalise Unicode and white space, strip HTML and control characters, reject exact copies."""
    return mended(screen, "clean", prepare.model_copy(update={"source": source}), task, out)


def anonymise(screen: Screen, source: Source, task: Task, out: Out, *, prepare: PrepareConfig) -> dict[str, Any]:
    """Replace personal data by stand-ins of the same kind (not names of people, not addresses)."""
    return mended(screen, "anonymise", prepare.model_copy(update={"source": source}), task, out)


def split(screen: Screen, source: Source, task: Task, out: Out, *, prepare: PrepareConfig) -> dict[str, Any]:
    """Split rows into train, valid and test: stratified, grouped, seeded, no text in two parts."""
    return mended(screen, "split", prepare.model_copy(update={"source": source}), task, out)


def label(
    screen: Screen, source: Source, task: Task, out: Out, *, prepare: PrepareConfig, label: LabelConfig
) -> dict[str, Any]:
    """Have a chat model label texts, for a small model to learn from; goes on where it was stopped."""
    from luban import verbs

    with Progressed(screen, screen.word("labelling")) as watch:
        done = verbs.labelled_by(label, prepare.model_copy(update={"source": source}), task, out, watch=watch)
    made = table(screen.word("class"), screen.word("rows"), numbers=(1,))
    for name, count in done.counts.items():
        made.add_row(name, f"{count:,}")
    screen.show(made)
    cost = f" · {done.cost:.4f}" if done.cost else ""
    told = {"labelled": done.labelled, "rejects": len(done.rejects), "asked": done.asked}
    screen.done(screen.word("labelling_done", path=done.out, **told, tokens=sum(done.tokens.values())) + cost)
    return done.as_json()


def mended(
    screen: Screen, verb: Literal["clean", "anonymise", "split"], prepare: PrepareConfig, task: str, out: str
) -> dict[str, Any]:
    """Run a verb that writes rows, and show what it wrote."""
    from luban import verbs

    return written(screen, verbs.mended(verb, prepare, task, out))


def written(screen: Screen, done: Written) -> dict[str, Any]:
    """Show what was understood and what was written."""
    facts = {
        "source": done.source,
        "columns": done.columns,
        "rows": done.rows,
        "rejects": len(done.rejects),
        "sample": done.sample,
    }
    show_rows(screen, facts)
    screen.done(screen.word("rows_written", path=done.out, rows=sum(done.rows.values()), changed=done.changed))
    for reject in done.rejects[:5]:
        screen.show(Text(f"  {reject.source}:{reject.row}: {screen.sentence(reject.reason)}", style="dim"))
    return done.as_json()


def show_check(screen: Screen, found: Check) -> None:
    """Rows, lengths and findings, the gravest first."""
    facts = {
        "source": found.source,
        "columns": found.columns,
        "rows": {"": sum(found.rows.values())} if found.whole else found.rows,
        "labels": list(found.labels),
        "rejects": len(found.rejects),
        "sample": found.sample,
    }
    show_rows(screen, facts)
    word = screen.word
    made = table(
        "" if found.whole else word("part"),
        word("unit"),
        word("median"),
        "95%",
        word("longest"),
        word("limit"),
        numbers=(2, 3, 4, 5),
    )
    for one in found.lengths:
        figures = [f"{value:,}" for value in (one.median, one.p95, one.longest)]
        made.add_row(
            "" if found.whole else word(one.part), word(one.unit), *figures, f"{one.limit:,}" if one.limit else ""
        )
    screen.show(Padding(made, (0, 0, 0, 1)))
    for finding in sorted(found.findings, key=lambda one: list(SIGNS).index(one.severity)):
        sign, style = SIGNS[finding.severity]
        places = word("at_row" if len(finding.rows) == 1 else "at_rows", rows=", ".join(map(str, finding.rows[:5])))
        rows = f"  ({places})" if finding.rows else ""
        part = f"{word(finding.part)}: " if finding.part and not found.whole else ""
        screen.show(Text.assemble((f"{sign} ", style), part, screen.sentence(finding.message), (rows, "dim")))
    if not found.findings:
        screen.done(word("nothing_found"))
