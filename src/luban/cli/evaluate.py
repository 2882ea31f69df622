"""`luban evaluate MODEL SOURCE`: scores with intervals, per class, and what the answers cost."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from luban.cli.frame import MODEL, SOURCE, STAGES, command
from luban.cli.judged import show_evaluation
from luban.cli.progress import Progressed
from luban.cli.screen import Screen
from luban.cli.tables import show_judged
from luban.config import EvaluateConfig, PrepareConfig

UNUSED = (
    "source",
    "valid",
    "test",
    "unlabelled",
    "replay",
    "adapt",
    "valid_share",
    "test_share",
    "group",
    "drop_duplicates",
)
"options of prepare that speak of splitting, which rows to be judged are not"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=STAGES, skip=UNUSED)(evaluate)


def evaluate(
    screen: Screen,
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE, show_default=False)],
    *,
    evaluate: EvaluateConfig,
    prepare: PrepareConfig,
) -> dict[str, Any]:
    """Judge a model on labelled rows: scores, intervals, tables, a report."""
    from luban import verbs

    verbs.check_file_out(evaluate.report)
    folder = verbs.opened(model)
    rows = verbs.labelled(folder, prepare.model_copy(update={"source": source}))
    show_judged(screen, rows)
    with Progressed(screen, screen.word("evaluating")) as watch:
        evaluation = verbs.judged(folder, rows, evaluate, language=screen.language, watch=watch)
    show_evaluation(screen, evaluation)
    if evaluate.report:
        screen.done(screen.word("report", path=evaluate.report))
    return evaluation.as_json()
