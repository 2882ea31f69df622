"""One prediction on one line, for people."""

from __future__ import annotations

from luban.records import Prediction

SHOWN = 3
"items of a ranked list on one line"


def answer_line(answer: Prediction) -> str:
    """``refund  0.97``, ``a, b``, ``[Berlin](place)``, ``3.52``: whatever the task answers."""
    if answer.answers is not None:
        return " · ".join(f"{name} {answer_line(one)}" for name, one in answer.answers.items())
    if answer.items is not None:
        return "  ".join(f"{one.text} {one.score:.3f}" for one in answer.items[:SHOWN]) or "–"
    if answer.text is not None:
        return answer.text + (" …" if answer.cut else "")
    if answer.answer is not None:
        return f"{answer.answer or '–'}  {answer.score or 0.0:.3f}"
    if answer.entities is not None:
        intent = f"{answer.label}  {answer.score or 0.0:.3f}  " if answer.label is not None else ""
        found = "  ".join(f"{e.label}[{e.start}:{e.end}] {e.text} {e.score:.2f}" for e in answer.entities)
        return intent + (found or "–")
    if answer.labels is not None:
        scores = answer.scores or {}
        return "  ".join(f"{label} {scores.get(label, 1.0):.3f}" for label in answer.labels) or "–"
    if answer.embedding is not None:
        first = ", ".join(f"{number:.3f}" for number in answer.embedding[:4])
        return f"{len(answer.embedding)}: {first} …"
    if answer.relevance is not None:
        return "  ".join(f"{score:.3f}" for score in answer.relevance)
    if answer.label is None and answer.value is None and answer.score is not None:
        return f"{answer.score:.3f}"
    if answer.value is not None:
        return f"{answer.value:.4g}"
    return f"{answer.label}  {answer.score or 0.0:.3f}"
