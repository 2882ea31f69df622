"""`luban train SOURCE --task TASK --out DIR`: shows the rows, trains, scores."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from luban.cli.asking import words
from luban.cli.frame import SOURCE, STAGES, TASK, command
from luban.cli.judged import show_evaluation
from luban.cli.progress import Progressed
from luban.cli.screen import Screen
from luban.cli.tables import kept_classes, show_rows
from luban.config import PrepareConfig, TrainConfig


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=STAGES, skip=("source",))(train)


def train(
    screen: Screen,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE, show_default=False)],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="the model folder to write", show_default=False)],
    task: Annotated[str, typer.Option("--task", metavar="TASK", help=TASK, show_default=False)],
    *,
    prepare: PrepareConfig,
    train: TrainConfig,
) -> dict[str, Any]:
    """Fine-tune a pre-trained model on rows: a model folder."""
    from luban import verbs
    from luban.pipeline import understood

    verbs.check_out(out)
    rows = verbs.prepare(prepare.model_copy(update={"source": source}), task)
    show_rows(screen, understood(rows))
    with Progressed(screen, screen.word("training")) as watch:
        try:
            folder = verbs.fit(rows, train.model_copy(update={"task": task}), out, watch=watch)
        finally:
            screen.show(*kept_classes(screen, watch.remembered))
    screen.done(screen.word("trained", name=folder.path))
    counted = folder.manifest.notes["parameters"]
    if counted["trained"] < counted["all"]:
        share = f"{counted['trained'] / counted['all']:.2%}"
        screen.show(screen.word("trained_share", share=share, count=counted["trained"], all=counted["all"]))
    if promised := folder.manifest.notes.get("private"):
        screen.show(
            screen.word("private_spent", epsilon=f"{promised['epsilon']:.2f}", delta=f"{promised['delta']:.2g}")
        )
    screen.show(*watch.compared())
    with Progressed(screen, screen.word("evaluating")) as watch:
        evaluation = verbs.judge(folder, rows, threads=train.threads, start=train.start, watch=watch)
    show_evaluation(screen, evaluation, part="test" if rows.test else "valid")
    screen.commands(
        [
            (f"luban predict {out} {words(folder, screen)}", screen.word("next_predict")),
            (f"luban export {out} --out {out}-onnx", screen.word("next_export")),
            (f"luban serve {out}-onnx", screen.word("next_serve")),
        ]
    )
    return evaluation.as_json()
