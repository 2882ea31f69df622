"""The part of the report in which a person reads the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from luban.stages.evaluate.base import Mark, Mistake
from luban.stages.evaluate.evaluation import Evaluation
from luban.stages.evaluate.words import both

FIRST = 10
"mistakes that stand open; the others fold out"


def mistakes_card(e: Evaluation) -> str:
    """Text, gold and answer of each, with the probability that the model gave."""
    drawn = [_marked(m) if e.kind == "entities" else _plain(m) for m in e.mistakes]
    about = both(f"about_mistakes_{e.kind}") + (f" {both('often_gold')}" if e.kind == "label" else "")
    inner = "".join(drawn[:FIRST])
    if not e.wrong:
        inner = f"<p>{both('no_mistakes')}</p>"
    if len(drawn) > FIRST:
        more = both("more_mistakes", count=len(drawn) - FIRST)
        inner += f"<details><summary>{more}</summary>{''.join(drawn[FIRST:])}</details>"
    return f'<section class="card"><h2>{both("mistakes")}</h2><p class="soft">{about}</p>{inner}</section>\n'


def _plain(m: Mistake) -> str:
    second = f'<p class="text second">{escape(m.second)}</p>' if m.second else ""
    picture = f'<img src="{escape(m.picture)}" alt="">' if m.picture else ""
    sure = "" if m.probability is None else f" {m.probability:.0%}"
    gold_sure = "" if m.gold_probability is None else both("for_gold", p=f"{m.gold_probability:.0%}")
    return (
        f'<article class="mistake">{picture}<p class="text">{escape(m.text)}</p>{second}<div class="verdict">'
        f'<span class="side">{both("gold")} <span class="chip gold">{_or_nothing(m.gold)}</span></span> '
        f'<span class="side">{both("answer")} <span class="chip wrong">{_or_nothing(m.answer)}{sure}</span></span> '
        f"<small>{gold_sure}</small>"
        f"<small>{both('row', row=m.row)}</small></div></article>"
    )


def _or_nothing(words: str) -> str:
    return escape(words) if words else both("nothing")


def _marked(m: Mistake) -> str:
    sides = (("gold", m.gold_marks), ("answer", m.answer_marks))
    lines = "".join(
        f'<div class="marked"><small>{both(name)}</small><p class="text">{marked(m.text, marks)}</p></div>'
        for name, marks in sides
    )
    row = both("row", row=m.row)
    return f'<article class="mistake">{lines}<div class="verdict"><small>{row}</small></div></article>'


def marked(text: str, marks: Sequence[Mark]) -> str:
    """The text as HTML with its spans marked; of spans that overlap the earlier one is kept."""
    out, at = [], 0
    for mark in sorted(marks, key=lambda m: (m.start, m.end)):
        if mark.start < at:
            continue
        kind = "" if mark.right else ' class="off"'
        inside = f"{escape(text[mark.start : mark.end])}<small>{escape(mark.label)}</small>"
        out.append(f"{escape(text[at : mark.start])}<mark{kind}>{inside}</mark>")
        at = mark.end
    return "".join(out) + escape(text[at:])
