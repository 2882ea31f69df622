"""A picture with the weights of its parts laid over it, as a small self-contained piece of HTML; it computes no weights.

Parts that speak for the answer are framed in orange, parts against it in blue and dashed; the stronger, the less
see-through. Every weight can be read by pointing at its part.
"""

from __future__ import annotations

from html import escape

from luban.records import Evidence

SIDE = 100
"units of the drawing's side"
FAINT = 0.08
"share of the largest weight under which a part is left as it is"
STYLE = """<style>
.luban-seen{--ink:#1b1b1b;--dim:#5c5c5c;--line:#d8d8d8;color:var(--ink);max-width:30rem;border:1px solid var(--line);
 border-radius:8px;padding:.9rem 1.1rem;margin:.5rem 0;font:16px/1.6 system-ui,"Noto Sans CJK SC",sans-serif}
@media(prefers-color-scheme:dark){.luban-seen{--ink:#ececec;--dim:#a8a8a8;--line:#444}}
.luban-seen p{margin:0 0 .5rem}.luban-seen .dim{color:var(--dim);font-size:.8125rem}
.luban-seen svg{width:100%;max-width:26rem;display:block;margin:0 0 .5rem}
.luban-seen .for{fill:#d97706;stroke:#d97706}
.luban-seen .against{fill:#2563eb;stroke:#2563eb;stroke-dasharray:2 1.4}
</style>"""


def overlay(evidence: Evidence) -> str:
    """One ``<section>`` with its own style; everything is escaped."""
    lines = len(evidence.grid)
    most = max((abs(weight) for line in evidence.grid for weight in line), default=0.0) or 1.0
    parts = "".join(
        _part(weight, weight / most, column * SIDE / len(line), row * SIDE / lines, SIDE / lines)
        for row, line in enumerate(evidence.grid)
        for column, weight in enumerate(line)
    )
    return (
        f'<meta charset="utf-8"><meta name="color-scheme" content="light dark">{STYLE}\n'
        f'<section class="luban-seen"><p>Why <b>{escape(evidence.target)}</b>: orange parts speak for it, '
        f"blue dashed ones against it.</p>\n"
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="the picture with the weights of its parts">'
        f'<image href="{escape(evidence.picture)}" width="{SIDE}" height="{SIDE}" preserveAspectRatio="none"/>{parts}</svg>\n'
        f'<p class="dim">Score {evidence.score:.2f}; of an even grey {evidence.base_score:.2f}; '
        f"method {escape(evidence.method)}. A part's number is what the score loses without it.</p></section>\n"
    )


def _part(weight: float, share: float, left: float, top: float, side: float) -> str:
    if abs(share) < FAINT:
        return ""
    kind = "for" if weight > 0 else "against"
    place = f'x="{left + 0.5:.2f}" y="{top + 0.5:.2f}" width="{side - 1:.2f}" height="{side - 1:.2f}"'
    strength = f'fill-opacity="{0.45 * abs(share):.2f}" stroke-opacity="{abs(share):.2f}" stroke-width="0.8"'
    return f'<rect class="{kind}" {place} {strength}><title>{weight:+.3f}</title></rect>'
