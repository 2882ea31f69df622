"""An evaluation as one HTML file that needs no network: scores, pictures, and the worst mistakes to read.

Every word that comes from data is escaped; besides, the page's own policy lets no script run but the file's own and
nothing be fetched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from html import escape
from math import ceil, floor
from pathlib import Path

from luban.folder import write_text
from luban.metrics.classification import ClassScore
from luban.page import framed
from luban.stages.evaluate import plots
from luban.stages.evaluate.base import Confusion
from luban.stages.evaluate.evaluation import Evaluation
from luban.stages.evaluate.mistakes import mistakes_card
from luban.stages.evaluate.unknown import NAMED
from luban.stages.evaluate.words import both
from luban.tasks import TASKS
from luban.units import size

BARS = 18
"classes shown as bars; the table holds all"
MATRIX = 16
"classes that a confusion matrix has room for; of more, the most confused are shown"
UNBOUNDED = frozenset({"mae", "perplexity", "log_likelihood", "preference_margin", "preference_log_likelihood"})
"scores that no line from 0 to 1 can show"
PLAIN = UNBOUNDED | {"pearson", "spearman"}
"scores that are no percentage"
Scores = Mapping[str, float]
Intervals = Mapping[str, tuple[float, float]]


def write_report(evaluation: Evaluation, path: str | Path, *, language: str = "en") -> None:
    """Write the page, its directory too; ``language``: see `page`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page(evaluation, language=language))


def page(evaluation: Evaluation, *, language: str = "en") -> str:
    """The whole page as HTML; it opens in ``language``, or in that of a Chinese browser, and can be switched."""
    cards = (
        scores_card,
        classes_card,
        confusion_card,
        scatter_card,
        calibration_card,
        lengths_card,
        kinds_card,
        learning_card,
        cost_card,
    )
    chosen = [card for card in cards if not (evaluation.aspects and card is classes_card)]
    body = f'<div class="columns">{"".join(card(evaluation) for card in chosen)}</div>'
    body += "".join(question_part(evaluation, name) for name in evaluation.aspects)
    return framed(evaluation.model, f"{head(evaluation)}{body}{mistakes_card(evaluation)}", language=language)


def question_part(e: Evaluation, name: str) -> str:
    """What there is to show of one question of several, under its name."""
    aspect = e.aspects[name]
    one = replace(e, aspects={}, **{each.name: getattr(aspect, each.name) for each in fields(aspect)})
    body = "".join(card(one) for card in (classes_card, confusion_card, scatter_card, calibration_card))
    return (
        f'<h1>{escape(name)}</h1><p class="lead">{summary(one, before=f"{name}.")}</p><div class="columns">{body}</div>'
    )


def head(e: Evaluation) -> str:
    """Name, headline score, and one sentence that says it in words."""
    interval = e.intervals.get(e.main_score)
    around = both("interval", **_ends(e.main_score, interval)) if interval else ""
    facts = [
        (f"{e.rows:,}", both("rows")),
        (milliseconds(e.latency_ms["p50"]), both("p50")),
        (size(e.bytes), both("bytes")),
    ]
    told = "".join(f'<div class="fact"><b>{value}</b><span>{name}</span></div>' for value, name in facts)
    notes = [both("rejects", rejects=f"{e.rejects:,}")] if e.rejects else []
    if e.unknown.rows:
        notes.append(
            both("unknown_labels", rows=f"{e.unknown.rows:,}", labels=", ".join(list(e.unknown.labels)[:NAMED]))
        )
    warnings = "".join(f'<p class="note">{note}</p>' for note in notes)
    return (
        f'<header><div><h1>{escape(e.model)}</h1><div class="soft">{escape(e.task)} · {both("evaluation")} · '
        f'<span class="print">{escape(e.fingerprint[:12])}</span></div></div>'
        f'<button id="language" type="button">{both("language")}</button></header>'
        f'<p class="lead">{summary(e)}</p>'
        f'<section class="card hero"><div class="big">{shown(e.main_score, e.scores.get(e.main_score, 0.0))}</div>'
        f'<div><div class="name">{both(e.main_score)}</div><div class="soft">{around}</div></div>'
        f'<div class="facts">{told}</div></section>{warnings}'
    )


def summary(e: Evaluation, before: str = "") -> str:
    """What happened, in a sentence; ``before``: what stands before the names of scores."""
    if e.kind == "value":
        return both("said_value", mae=f"{e.scores[before + 'mae']:.3g}", rows=f"{e.rows:,}")
    if e.kind == "entities":
        counts = [sum(getattr(score, name) for score in e.table) for name in ("correct", "support", "predicted")]
        right, gold, given = counts
        told = {"right": right, "gold": gold, "false": given - right, "given": given}
        return both("said_entities", **{name: f"{count:,}" for name, count in told.items()})
    return both(f"said_{e.kind}", right=f"{e.rows - e.wrong:,}", rows=f"{e.rows:,}", wrong=f"{e.wrong:,}")


def card(title: str, about: str, inner: str) -> str:
    """A titled section; ``about`` says how to read it."""
    return f'<section class="card"><h2>{title}</h2><p class="soft">{about}</p>{inner}</section>\n'


def scores_card(e: Evaluation) -> str:
    """All scores with their intervals; unseen rows and the naive score, named for what they are, beneath."""
    apart = e.unseen if e.unseen is not None and 0 < e.unseen.rows < e.rows else None
    tables = [(e.scores, e.intervals)] + ([(apart.scores, apart.intervals)] if apart else [])
    ends = _axis([value for scores, around in tables for value in _drawn(scores, around)])
    inner, *others = [_score_table(e, scores, around, ends) for scores, around in tables]
    if e.unseen is not None:
        kind = "about_unseen" if apart else "all_unseen" if e.unseen.rows else "none_unseen"
        told = both(kind, rows=f"{e.unseen.rows:,}")
        inner += f'<h3>{both("unseen")}</h3><p class="soft">{told}</p>{"".join(others)}'
    if e.naive is not None:
        inner += f'<p class="note"><b>{both("naive")}: {shown("naive", e.naive)}</b><br>{both("about_naive")}</p>'
    return card(both("scores"), both("about_scores"), inner)


def _score_table(e: Evaluation, scores: Scores, around: Intervals, ends: tuple[float, float]) -> str:
    """The main score first; of single labels micro F1 is left out, for it is accuracy again."""
    names = sorted((name for name in scores if not (e.kind == "label" and name == "micro_f1")), key=e.main_score.__ne__)
    rows = "".join(_score_row(name, scores[name], around.get(name), ends, name == e.main_score) for name in names)
    axis = f"<div><span>{shown(e.main_score, ends[0])}</span><span>{shown(e.main_score, ends[1])}</span></div>"
    foot = f'<tr><td colspan="3"></td><td class="plot axis-ends">{axis}</td></tr>'
    return f'<table class="scores"><tbody>{rows}</tbody><tfoot>{foot}</tfoot></table>'


def _score_row(
    name: str, value: float, interval: tuple[float, float] | None, ends: tuple[float, float], main: bool
) -> str:
    drawn = "" if bare(name) in UNBOUNDED else plots.score_line(value, interval, ends)
    kind = ' class="main"' if main else ""
    around = " – ".join(shown(name, end) for end in interval) if interval else ""
    return (
        f"<tr{kind}><td>{titled(name)}</td><td>{shown(name, value)}</td>"
        f'<td class="soft">{around}</td><td class="plot">{drawn}</td></tr>'
    )


def _drawn(scores: Scores, around: Intervals) -> list[float]:
    named = [(name, value) for name, value in scores.items() if bare(name) not in UNBOUNDED]
    return [value for name, score in named for value in (score, *around.get(name, ()))]


def _axis(values: Sequence[float]) -> tuple[float, float]:
    """Ends, in steps of a twentieth, between which all values lie."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return floor(low * 20 - 0.01) / 20, min(1.0, ceil(high * 20 + 0.01) / 20)


def classes_card(e: Evaluation) -> str:
    """The weakest classes as bars, all of them as a table."""
    if not e.table:
        return ""
    met = [score for score in e.table if score.support or score.predicted]
    # A class without gold rows has no F1 to speak of: what was wrongly given of it comes last.
    weakest = sorted(met, key=lambda score: (not score.support, score.f1, -score.support))[:BARS]
    some = f'<p class="soft">{both("weakest", shown=len(weakest), all=len(met))}</p>' if len(weakest) < len(met) else ""
    title = both("types" if e.kind == "entities" else "classes")
    inner = some + plots.class_bars(weakest) + _table(met, e.averages)
    return card(title, both("about_classes"), inner)


def _table(table: Sequence[ClassScore], averages: Sequence[ClassScore]) -> str:
    heads = "".join(f"<th>{both(name)}</th>" for name in ("class", "precision", "recall", "f1", "support"))
    rows = "".join(_class_row(escape(score.label), score) for score in table)
    foot = "".join(_class_row(both(score.label), score) for score in averages)
    return (
        f'<details><summary>{both("full_table")}</summary><div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody><tfoot>{foot}</tfoot></table></div></details>"
    )


def _class_row(name: str, score: ClassScore) -> str:
    numbers = "".join(f"<td>{value * 100:.1f}</td>" for value in (score.precision, score.recall, score.f1))
    return f"<tr><td>{name}</td>{numbers}<td>{score.support:,}</td></tr>"


def confusion_card(e: Evaluation) -> str:
    """The matrix, or of many classes the part where most is confused, and the most frequent confusions as a list."""
    if e.confusion is None:
        return ""
    met = _met(e.confusion)
    part = confused(met, MATRIX) if len(met.labels) > MATRIX else met
    notes = [both("confusion_words")] if met.unit == "words" else []
    if part is not met:
        notes.append(both("confusion_some", shown=len(part.labels), all=len(met.labels)))
    inner = "".join(f'<p class="soft">{note}</p>' for note in notes) + plots.heat_map(part.labels, part.counts)
    pairs = top_confusions(met, 8)
    if len(met.labels) > 2 and pairs:
        items = "".join(_confusion_item(*pair) for pair in pairs)
        inner += f'<h3>{both("top_confusions")}</h3><ol class="confusions">{items}</ol>'
    return card(both("confusion"), both("about_confusion"), inner)


def _confusion_item(gold: str, answer: str, count: int) -> str:
    chips = f'<span class="chip gold">{escape(gold)}</span> → <span class="chip wrong">{escape(answer)}</span>'
    return f"<li><span>{chips}</span><b>{count:,}</b></li>"


def _met(whole: Confusion) -> Confusion:
    """Without the classes that neither gold nor the answers hold."""
    k = range(len(whole.labels))
    return _part(whole, [i for i in k if sum(whole.counts[i]) or sum(row[i] for row in whole.counts)])


def confused(whole: Confusion, most: int) -> Confusion:
    """The classes of the most frequent confusions, those that are confused with each other side by side."""
    place = {label: i for i, label in enumerate(whole.labels)}
    chosen: list[int] = []
    for gold, answer, _ in top_confusions(whole, most * 2):
        for label in (gold, answer):
            if place[label] not in chosen and len(chosen) < most:
                chosen.append(place[label])
    return _part(whole, chosen or list(range(most)))


def _part(whole: Confusion, chosen: Sequence[int]) -> Confusion:
    counts = tuple(tuple(whole.counts[i][j] for j in chosen) for i in chosen)
    return Confusion(tuple(whole.labels[i] for i in chosen), counts, whole.unit)


def top_confusions(whole: Confusion, most: int) -> list[tuple[str, str, int]]:
    """(gold, answer, times), most frequent first; right answers are none."""
    k = range(len(whole.labels))
    cells = [(whole.labels[i], whole.labels[j], whole.counts[i][j]) for i in k for j in k if i != j]
    return sorted((cell for cell in cells if cell[2]), key=lambda cell: -cell[2])[:most]


def scatter_card(e: Evaluation) -> str:
    """Answers against gold, for values."""
    return card(both("scatter"), both("about_scatter"), plots.scatter(e.points)) if e.points else ""


def calibration_card(e: Evaluation) -> str:
    """The reliability curve with its error."""
    held = e.reliability
    if held is None or not held.bins:
        return ""
    facts = [(f"{held.ece * 100:.1f}%", both("ece"))]
    if held.brier is not None:
        facts.append((f"{held.brier:.3f}", both("brier")))
    told = "".join(f'<div class="fact"><b>{value}</b><span>{name}</span></div>' for value, name in facts)
    inner = f'<div class="costs">{told}</div>{plots.reliability_curve(held.bins)}'
    return card(both("calibration"), both(f"about_{held.unit}"), inner)


def lengths_card(e: Evaluation) -> str:
    """Error by length; pictures are all of one."""
    if not e.slices or TASKS[e.task].sees:
        return ""
    return card(both("lengths"), both("about_lengths"), plots.length_bars(e.slices, e.slice_score))


def kinds_card(e: Evaluation) -> str:
    """The score by what there is of rows of several kinds."""
    lines = "".join(
        f"<tr><td>{escape(one.name)}</td><td>{one.rows:,}</td><td>{shown(e.slice_score, one.score)}</td></tr>"
        for one in e.kinds
    )
    head = f"<tr><th>{both('there')}</th><th>{both('rows')}</th><th>{escape(e.slice_score)}</th></tr>"
    return (
        card(
            both("kinds"),
            both("about_kinds"),
            f'<table class="scores"><thead>{head}</thead><tbody>{lines}</tbody></table>',
        )
        if lines
        else ""
    )


def learning_card(e: Evaluation) -> str:
    """Loss and score over the training run, where it is known."""
    unit = "step" if all("step" in point for point in e.history) else "epoch"
    points = [point for point in e.history if _number(point.get(unit))]
    losses = [(float(p[unit]), float(p["loss"])) for p in points if _number(p.get("loss"))]
    scores = [(float(p[unit]), float(p[e.main_score])) for p in points if _number(p.get(e.main_score))]
    if len(losses) < 2 and len(scores) < 2:
        return ""
    drawn = plots.learning_curve(losses, scores, e.main_score, unit)
    return card(both("learning"), both("about_learning"), drawn)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def cost_card(e: Evaluation) -> str:
    """Latency, throughput, size and memory, with the machine they were measured on."""
    facts = [
        (milliseconds(e.latency_ms["p50"]), "p50"),
        (milliseconds(e.latency_ms["p99"]), "p99"),
        (f"{e.rows_per_second:,.0f}", "rows_per_second"),
        (size(e.bytes), "bytes"),
        (size(e.peak_bytes) if e.peak_bytes else "–", "peak_bytes"),
    ]
    told = "".join(f'<div class="fact"><b>{value}</b><span>{both(name)}</span></div>' for value, name in facts)
    about = both("about_cost", machine=e.machine, runtime=e.runtime)
    return card(both("cost"), about, f'<div class="costs">{told}</div>')


def shown(name: str, value: float) -> str:
    """A score as a person reads it: a percentage, but correlations and errors as they are."""
    return f"{value:.3f}" if bare(name) in PLAIN else f"{value * 100:.1f}%"


def bare(name: str) -> str:
    """A score's name without the question that it is of."""
    return name.rpartition(".")[2]


def titled(name: str) -> str:
    """A score's name for people, behind the question that it is of."""
    question, _, score = name.rpartition(".")
    return f"{escape(question)} · {both(score)}" if question else both(score)


def _ends(name: str, interval: tuple[float, float]) -> dict[str, str]:
    return {"low": shown(name, interval[0]), "high": shown(name, interval[1])}


def milliseconds(value: float) -> str:
    return f"{value:.3g} ms"
