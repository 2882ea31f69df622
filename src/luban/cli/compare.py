"""`luban compare MODEL_A MODEL_B SOURCE`: a paired test; which is better, and is it sure."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from luban.cli.evaluate import UNUSED
from luban.cli.frame import MODEL, SOURCE, STAGES, command
from luban.cli.judged import show_comparison
from luban.cli.progress import Progressed
from luban.cli.screen import Screen
from luban.config import EvaluateConfig, PrepareConfig


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=STAGES, skip=(*UNUSED, "report", "worst"))(compare)


def compare(
    screen: Screen,
    model_a: Annotated[str, typer.Argument(metavar="MODEL_A", help=MODEL, show_default=False)],
    model_b: Annotated[str, typer.Argument(metavar="MODEL_B", help=MODEL, show_default=False)],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE, show_default=False)],
    *,
    evaluate: EvaluateConfig,
    prepare: PrepareConfig,
) -> dict[str, Any]:
    """Which of two models is better on the same rows, and is it sure."""
    from luban import verbs

    first, second = verbs.opened(model_a), verbs.opened(model_b)
    rows = verbs.labelled(first, prepare.model_copy(update={"source": source}))
    with Progressed(screen, screen.word("evaluating")) as watch:
        comparison = verbs.contest(first, second, rows, evaluate, watch=watch)
    show_comparison(screen, comparison)
    return comparison.as_json()
