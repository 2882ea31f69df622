"""What an evaluation and a comparison look like in the terminal; shared by the verbs that end in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from rich.text import Text

from luban.cli.screen import Screen, bar, table
from luban.cli.tables import class_table, score_table, shortened, speed_line

if TYPE_CHECKING:
    from luban.stages.evaluate import Comparison, Evaluation

MOST_CLASSES = 60
Scored = TypeVar("Scored")
NAIVE = "naive weighted F1, every O counted"


def show_evaluation(screen: Screen, evaluation: Evaluation, *, part: str = "") -> None:
    """The per-class table, the scores with their intervals, and what the answers cost."""
    screen.title(screen.word("scored_on", rows=evaluation.rows, part=screen.word(part or "labelled")))
    if evaluation.table:
        met = [one for one in evaluation.table if one.support or one.predicted]
        classes = sorted(met, key=lambda one: -one.f1)
        screen.show(class_table(screen, classes[:MOST_CLASSES], evaluation.averages))
        if len(classes) > MOST_CLASSES:
            screen.show(Text("  " + screen.word("more", count=len(classes) - MOST_CLASSES), style="dim"))
    screen.show(score_table(screen, main_first(evaluation.scores, evaluation.main_score), evaluation.intervals))
    if evaluation.naive is not None:
        screen.show(
            Text(f"{NAIVE}: {evaluation.naive:.4f} (entity_f1 {evaluation.scores['entity_f1']:.4f})", style="dim")
        )
    if evaluation.kinds:
        shown = table(screen.word("there"), screen.word("support"), evaluation.slice_score, "", numbers=(1, 2))
        for one in evaluation.kinds:
            shown.add_row(one.name, f"{one.rows:,}", f"{one.score:.4f}", bar(one.score))
        screen.show(shown)
    screen.show(speed_line(screen, evaluation.as_json()))
    unknown = evaluation.unknown
    if unknown.rows:
        labels = shortened(list(unknown.labels), screen)
        told = screen.word("unknown_labels", rows=unknown.rows, all=evaluation.rows, labels=labels)
        screen.note(told, style="yellow")


def main_first(scores: Mapping[str, Scored], main: str) -> dict[str, Scored]:
    """The scores with the one the task is judged by on top."""
    return {name: scores[name] for name in sorted(scores, key=lambda name: name != main)}


def show_comparison(screen: Screen, comparison: Comparison) -> None:
    """Both models' scores, the differences with their intervals, and the verdict."""
    word = screen.word
    made = table(
        word("score"),
        f"a: {comparison.a}",
        f"b: {comparison.b}",
        "b − a",
        word("interval"),
        "p",
        numbers=(1, 2, 3, 4, 5),
    )
    for name, gap in main_first(comparison.differences, comparison.score).items():
        made.add_row(
            Text(name, style="bold" if name == comparison.score else ""),
            f"{comparison.scores_a[name]:.4f}",
            f"{comparison.scores_b[name]:.4f}",
            f"{gap.value:+.4f}",
            f"{gap.low:+.4f} – {gap.high:+.4f}",
            f"{gap.p:.3f}",
        )
    screen.title(word("compared_on", rows=comparison.rows))
    screen.show(made)
    if comparison.mcnemar is not None:
        screen.show(Text(f"McNemar p = {comparison.mcnemar:.3f}", style="dim"))
    named = {"a": comparison.a, "b": comparison.b}
    verdict = comparison.verdict
    better = f"{verdict} ({named[verdict]})" if verdict in named else ""
    screen.show(
        Text(
            word("better", name=better, score=comparison.score) if better else word("unsure", score=comparison.score),
            style="bold",
        )
    )


def score_lines(screen: Screen, facts: Mapping[str, Any]) -> None:
    """The headline scores of an evaluation that is only known by its JSON object."""
    made = table(screen.word("score"), screen.word("value"), screen.word("interval"), "", numbers=(1, 2))
    for name, value in main_first(facts["scores"], facts["main_score"]).items():
        low_high = facts["intervals"].get(name)
        between = f"{low_high[0]:.4f} – {low_high[1]:.4f}" if low_high else ""
        made.add_row(name, f"{value:.4f}", between, bar(value) if 0 <= value <= 1 else "")
    screen.show(made)
