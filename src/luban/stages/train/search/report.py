"""A search as one HTML file that needs no network: its trials, what mattered, and the recipe that was best.

Every word that comes from data is escaped.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from luban.folder import write_text
from luban.page import framed
from luban.stages.train.search import plots
from luban.stages.train.search.found import SETTINGS, Search, Tried
from luban.stages.train.search.words import both

PLAIN = frozenset({"mae", "pearson", "spearman", "log_likelihood", "preference_log_likelihood"})
"scores that are no percentage"


def write_report(search: Search, path: Path, *, recipe: str = "", language: str = "en") -> None:
    """Write the page; ``recipe``: the project file of the best trial, to be shown."""
    write_text(path, page(search, recipe=recipe, language=language))


def page(search: Search, *, recipe: str = "", language: str = "en") -> str:
    """The whole page as HTML; it opens in ``language``, or in that of a Chinese browser, and can be switched."""
    cards = (history_card(search), importance_card(search), recipe_card(recipe))
    body = f'<div class="columns">{"".join(cards)}</div>{knobs_card(search)}{trials_card(search)}'
    return framed(f"{search.model.parent.name} · search", head(search) + body, language=language)


def head(search: Search) -> str:
    """What was found, in a number and a sentence."""
    name = search.model.resolve().parent.name
    best, usual = search.winner, search.of(search.usual)
    facts = [
        (f"{len(search.tried):,}", both("fact_trials")),
        (duration(search.seconds), both("fact_time")),
        (shown(search, usual.score if usual else None), both("fact_usual")),
    ]
    told = "".join(f'<div class="fact"><b>{value}</b><span>{about}</span></div>' for value, about in facts)
    left_out = [both("left_out", method=method, why=why) for method, why in search.left_out.items()]
    notes = [*([] if search.ended else [both("under_way")]), *left_out]
    return (
        f'<header><div><h1>{escape(name)}</h1><div class="soft">{escape(search.task)} · {both("search")}</div></div>'
        f'<button id="language" type="button">{both("language")}</button></header>'
        f'<p class="lead">{summary(search)}</p>'
        f'<section class="card hero"><div class="big">{shown(search, best.score if best else None)}</div>'
        f'<div><div class="name">{escape(search.score)}</div><div class="soft">{both("on_dev")}</div></div>'
        f'{tested(search)}<div class="facts">{told}</div></section>'
        f'<p class="note">{both("optimistic")} {"" if search.rows["test"] else both("no_test")}</p>'
        + "".join(f'<p class="note">{note}</p>' for note in notes)
    )


def summary(search: Search) -> str:
    """What happened, in a sentence."""
    best, usual = search.winner, search.of(search.usual)
    complete = sum(trial.state == "complete" for trial in search.tried)
    told = {"tried": len(search.tried), "complete": complete, "rows": f"{search.rows['valid']:,}"}
    pair = {"best": best, "usual": usual}
    scores = {name: shown(search, trial.score if trial else None) for name, trial in pair.items()}
    return both("said_usual" if best and best.usual else "said", **told, **scores)


def tested(search: Search) -> str:
    """The best model's score on the test rows, where there are any."""
    if search.test is None:
        return ""
    value, ends = search.test["scores"].get(search.score), search.test["intervals"].get(search.score)
    around = both("test_interval", low=shown(search, ends[0]), high=shown(search, ends[1])) if ends else ""
    about = both("on_test", rows=f"{search.test['rows']:,}")
    return f'<div class="big">{shown(search, value)}</div><div class="soft">{about}<br>{around}</div>'


def card(title: str, about: str, inner: str) -> str:
    """A titled section; ``about`` says how to read it."""
    return f'<section class="card"><h2>{title}</h2><p class="soft">{about}</p>{inner}</section>\n'


def history_card(search: Search) -> str:
    """The trials in their order."""
    if not any(plots.reached(trial) is not None for trial in search.tried):
        return ""
    return card(both("history"), both("about_history"), plots.history(search.tried, search.best))


def importance_card(search: Search) -> str:
    """What the differences come from."""
    drawn = plots.importance(search.importance) if search.importance else f"<p>{both('too_few')}</p>"
    return card(both("importance"), both("about_importance"), drawn)


def knobs_card(search: Search) -> str:
    """One small picture a setting that took more than one value."""
    done = [trial for trial in search.tried if trial.score is not None]
    drawn = ""
    for name in SETTINGS:
        heeded = [trial for trial in done if name in trial.values]
        if len({trial.values[name] for trial in heeded}) > 1:
            drawn += f'<div class="small">{plots.knob(name, heeded, search.best)}</div>'
    return card(both("knobs"), both("about_knobs"), f'<div class="smalls">{drawn}</div>') if drawn else ""


def trials_card(search: Search) -> str:
    """All trials, the best first, those without a score last."""
    names = [name for name in SETTINGS if any(name in trial.values for trial in search.tried)]
    heads = "".join(f"<th>{both(name)}</th>" for name in ("trial", "dev_score", "state", *names, "seconds"))
    order = sorted(search.tried, key=lambda t: (t.score is None, -(t.score or 0.0), t.number))
    rows = "".join(_row(search, trial, names) for trial in order)
    inner = (
        f'<div class="scroll"><table class="trials"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    return card(both("trials"), both("about_trials"), inner)


def _row(search: Search, trial: Tried, names: list[str]) -> str:
    marks = [both(mark) for mark, on in (("best", trial.number == search.best), ("usual", trial.usual)) if on]
    chips = "".join(f' <span class="chip gold">{mark}</span>' for mark in marks)
    why = f' title="{escape(trial.why)}"' if trial.why else ""
    cells = "".join(f"<td>{escape(written(trial.values.get(name)))}</td>" for name in names)
    kind = ' class="main"' if trial.number == search.best else ""
    return (
        f"<tr{kind}><td>{trial.number}{chips}</td><td>{shown(search, plots.reached(trial))}</td>"
        f"<td{why}>{both(trial.state)}</td>{cells}<td>{trial.seconds:,.0f}</td></tr>"
    )


def recipe_card(recipe: str) -> str:
    """The project file."""
    if not recipe:
        return ""
    return card(both("recipe"), both("about_recipe"), f'<pre class="scroll">{escape(recipe)}</pre>')


def written(value: Any) -> str:
    """A setting as a person would type it."""
    return "–" if value is None else str(value) if isinstance(value, str) else f"{value:.3g}"


def shown(search: Search, score: float | None) -> str:
    """A score as a person reads it."""
    return "–" if score is None else f"{score:.3f}" if search.score in PLAIN else f"{score * 100:.1f}%"


def duration(seconds: float) -> str:
    """Minutes, or seconds where there are few."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
