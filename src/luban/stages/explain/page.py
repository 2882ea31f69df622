"""Evidence to look at: a small self-contained piece of HTML, and plain segments for a terminal; it computes no weights.

Words for the answer stand on orange, words against it on blue; the strongest are also underlined (solid for, dotted
against), so that nothing rests on colour alone. Readable on light and dark pages.
"""

from __future__ import annotations

from html import escape

from luban.records import Evidence, WordWeight
from luban.stages.explain.overlay import overlay

STRONG = 0.5
"share of the largest weight from which a word is underlined"
FAINT = 0.04
SMALL = 0.005
STYLE = """<style>
.luban-why{--ink:#1b1b1b;--dim:#5c5c5c;--line:#d8d8d8;--for:217,119,6;--against:37,99,235;--most:.62;
 color:var(--ink);font:16px/1.9 system-ui,"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif;
 max-width:46rem;border:1px solid var(--line);border-radius:8px;padding:.9rem 1.1rem;margin:.5rem 0;
 overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){.luban-why{--ink:#ececec;--dim:#a8a8a8;--line:#444;--for:245,158,11;
 --against:96,165,250;--most:.6}}
.luban-why p{margin:0 0 .5rem;white-space:pre-wrap}
.luban-why .head,.luban-why .foot{color:var(--dim);font-size:.8125rem;line-height:1.5;white-space:normal}
.luban-why .foot{margin:0}
.luban-why .head b{color:var(--ink);font-size:1rem}
.luban-why mark{color:inherit;border-radius:3px;padding:.1em 0}
.luban-why .for{background:rgba(var(--for),calc(var(--s)*var(--most)))}
.luban-why .against{background:rgba(var(--against),calc(var(--s)*var(--most)))}
.luban-why .strong{text-decoration:underline solid 2px rgb(var(--for));text-underline-offset:.28em}
.luban-why .against.strong{text-decoration:underline dotted 2px rgb(var(--against))}
</style>"""


def to_text(text: str, evidence: Evidence) -> list[tuple[str, float]]:
    """The text in order as (segment, weight): words with their weights, everything between them with 0."""
    out: list[tuple[str, float]] = []
    at = 0
    for word in sorted(evidence.words, key=lambda w: w.start):
        if word.start > at:
            out.append((text[at : word.start], 0.0))
        out.append((text[word.start : word.end], word.weight))
        at = word.end
    return out + ([(text[at:], 0.0)] if at < len(text) else [])


def to_html(text: str, evidence: Evidence) -> str:
    """One ``<section>`` with its own style, for a page of one's own or as a page by itself; everything is escaped.

    ``text``: what was explained; for a pair, text, a line break, text_pair (`base.shown_text`).
    """
    if evidence.grid:
        return overlay(evidence)
    most = max((abs(word.weight) for word in evidence.words), default=0.0) or 1.0
    pieces = "".join(_marked(segment, weight, weight / most) for segment, weight in to_text(text, evidence))
    best = ", ".join(f"{_word(word)} {word.weight:+.2f}" for word in evidence.top())
    strongest = f"Most for it: {best}. " if best else "" if evidence.parts else "No word speaks for it. "
    left = f"; not accounted for {evidence.gap:+.2f}" if abs(evidence.gap) >= SMALL else ""
    said = "with nothing of the row" if evidence.parts and not evidence.words else "without any word"
    return (
        f'<meta charset="utf-8"><meta name="color-scheme" content="light dark">{STYLE}\n'
        f'<section class="luban-why"><p class="head">Why <b>{escape(evidence.target)}</b>: '
        f'<mark class="for strong" style="--s:.7">for</mark> &nbsp;'
        f'<mark class="against strong" style="--s:.7">against</mark></p>\n<p>{pieces}</p>\n{_parts(evidence)}'
        f'<p class="foot">{strongest}Score {evidence.score:.2f}; {said} {evidence.base_score:.2f}; '
        f"method {escape(evidence.method)}{left}.</p></section>\n"
    )


def _parts(evidence: Evidence) -> str:
    """What each kind of a row and each field counts for, one a line."""
    most = max((abs(part.weight) for part in evidence.parts), default=0.0) or 1.0
    lines = [
        _marked(" ".join(filter(None, (part.name, part.value))), part.weight, part.weight / most)
        + f" {part.weight:+.2f}"
        for part in evidence.parts
    ]
    return f"<p>{'<br>'.join(lines)}</p>\n" if lines else ""


def _word(word: WordWeight) -> str:
    return f"<q>{escape(word.text if len(word.text) <= 24 else word.text[:23] + '…')}</q>"


def _marked(segment: str, weight: float, share: float) -> str:
    if abs(share) < FAINT:
        return escape(segment)
    kind = "for" if weight > 0 else "against"
    strong = " strong" if abs(share) >= STRONG else ""
    return f'<mark class="{kind}{strong}" style="--s:{abs(share):.2f}" title="{weight:+.3f}">{escape(segment)}</mark>'
