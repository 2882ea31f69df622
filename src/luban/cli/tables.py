"""What several verbs draw: rows as they were understood, scores, per-class figures, words with their weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from luban.cli.screen import ACCENT, Screen, bar, table
from luban.records import TEXTS, Evidence, Remembered, WordWeight, texts
from luban.units import size

if TYPE_CHECKING:
    from luban.metrics.classification import ClassScore
    from luban.verbs import Labelled

MOST_LABELS = 8
MOST_KEPT = 20
"old classes shown of a model that went on"


def show_rows(screen: Screen, facts: Mapping[str, Any]) -> None:
    """What was understood of the rows, before work starts: columns, counts, labels, rejects, three parsed rows."""
    word = screen.word
    screen.title(word("understood", source=facts["source"]))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    grid.add_row(
        word("columns"),
        " · ".join(f"{name} ← {column}" if name != column else name for name, column in facts["columns"].items()),
    )
    grid.add_row(
        word("rows"),
        " · ".join(
            f"{word(part)} {count:,}" if part else f"{count:,}" for part, count in facts["rows"].items() if count
        )
        or "0",
    )
    if facts.get("labels"):
        grid.add_row(word("labels"), f"{len(facts['labels'])}: " + shortened(facts["labels"], screen))
    grid.add_row(word("rejects"), str(facts["rejects"]) if facts["rejects"] else word("none"))
    for position, row in enumerate(facts["sample"]):
        grid.add_row(word("parsed") if position == 0 else "", one_row(row, screen.out.width - 24))
    screen.show(Padding(grid, (0, 0, 0, 2)))


def show_judged(screen: Screen, rows: Labelled) -> None:
    """What was understood of rows that a model is judged on."""
    facts = {
        "source": rows.source,
        "columns": rows.columns,
        "rows": {rows.part: len(rows.rows)},
        "rejects": len(rows.rejects),
        "sample": [rows.rows[i] for i in range(min(3, len(rows.rows)))],
    }
    show_rows(screen, facts)


def shortened(names: Sequence[str], screen: Screen) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:MOST_LABELS])
    return shown if len(names) <= MOST_LABELS else f"{shown} … {screen.word('more', count=len(names) - MOST_LABELS)}"


def one_row(row: Mapping[str, Any], width: int = 100) -> Text:
    """A canonical row on one line: its texts as they are, everything else as JSON."""
    from luban.pictures import named

    read = list(texts(row).values()) or ([named(str(row["image"]))] if "image" in row else [])
    rest = [value for name, value in row.items() if name not in (*TEXTS, "words", "id", "image", "hash")]
    said = "  ".join(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in rest)
    said = clipped(said, max(10, width // 2))
    left = max(10, (width - cell_len(said) - 4) // max(1, len(read)))
    return Text.assemble(" ‖ ".join(clipped(text, left) for text in read), ("  → ", "dim"), (said, ACCENT))


def clipped(text: str, most: int) -> str:
    """A text on one line of at most ``most`` columns of the terminal; Chinese characters take two."""
    text = " ".join(text.split())
    return text if cell_len(text) <= most else set_cell_size(text, most - 1).rstrip() + "…"


def score_table(screen: Screen, scores: Mapping[str, Any], intervals: Mapping[str, Any]) -> Table:
    """Each score with its interval."""
    word = screen.word
    made = table(word("score"), word("value"), word("interval"), "", numbers=(1, 2))
    for name, value in scores.items():
        low_high = intervals.get(name)
        between = f"{low_high[0]:.4f} – {low_high[1]:.4f}" if low_high else ""
        made.add_row(name, f"{value:.4f}", between, bar(value) if 0 <= value <= 1 else "")
    return made


def class_table(screen: Screen, classes: Sequence[ClassScore], averages: Sequence[ClassScore] = ()) -> Table:
    """Precision, recall, F1 and rows of each class, and the averages under a line."""
    word = screen.word
    made = table(
        word("class"), word("precision"), word("recall"), word("f1"), "", word("support"), numbers=(1, 2, 3, 5)
    )
    for one in classes:
        made.add_row(one.label, *_figures(one), bar(one.f1), f"{one.support:,}")
    made.add_section()
    for one in averages:
        made.add_row(Text(one.label, style="dim"), *_figures(one), bar(one.f1), f"{one.support:,}")
    return made


def _figures(one: ClassScore) -> list[str]:
    return [f"{value:.3f}" for value in (one.precision, one.recall, one.f1)]


def kept_classes(screen: Screen, found: Remembered | None) -> list[RenderableType]:
    """Each old class before and after a model went on, those that lost most on top, and all of them together."""
    if found is None:
        return []
    word = screen.word
    made = table(word("class"), word("before"), word("after"), "", word("support"), numbers=(1, 2, 3, 4))
    worst = sorted(found.classes, key=lambda one: one.after - one.before)
    for one in worst[:MOST_KEPT]:
        gap = f"{one.after - one.before:+.3f}"
        made.add_row(one.label, f"{one.before:.3f}", f"{one.after:.3f}", gap, f"{one.rows:,}")
    made.add_section()
    low, high = (0.0 - bound for bound in reversed(found.interval))
    both = [f"{share:.4f}" for share in (found.before, found.after)]
    made.add_row(word("old_rows"), *both, f"{0.0 - found.drop:+.4f} ({low:+.4f} – {high:+.4f})", f"{found.rows:,}")
    notes = [Text("  " + word("more", count=len(worst) - MOST_KEPT), style="dim")] if len(worst) > MOST_KEPT else []
    seen = [] if found.unseen else [Text("  " + word("perhaps_seen"), style="yellow")]
    return [Text(word("what_is_kept"), style="bold"), made, *notes, *seen]


def speed_line(screen: Screen, facts: Mapping[str, Any]) -> Text:
    """Rows a second, latency and size in one dim line."""
    latency = facts.get("latency_ms") or {}
    return Text(
        screen.word(
            "speed",
            rate=f"{facts.get('rows_per_second', 0):,.0f}",
            p50=f"{latency.get('p50', 0):.1f}",
            p99=f"{latency.get('p99', 0):.1f}",
            size=size(facts.get("bytes", 0)),
        ),
        style="dim",
    )


def highlighted(text: str, words: Sequence[WordWeight]) -> Text:
    """The text with each word's weight as its colour: green speaks for the answer, red against it."""
    shown = Text(text)
    most = max((abs(one.weight) for one in words), default=0.0) or 1.0
    for one in words:
        share = one.weight / most
        if abs(share) >= 0.15:
            strength = "bold " if abs(share) >= 0.6 else ""
            shown.stylize(strength + ("green" if share > 0 else "red"), one.start, one.end)
    return shown


def evidence_view(screen: Screen, text: str, evidence: Evidence) -> RenderableType:
    """The text in colours and, for those who see none, the strongest words on both sides with their weights; of a picture,
    the weights of its parts."""
    if evidence.grid:
        return grid_view(evidence)
    strongest = sorted(evidence.words, key=lambda one: -abs(one.weight))[:12]
    most = abs(strongest[0].weight) if strongest else 1.0
    made = table(screen.word("because"), "", "", numbers=(1,))
    for one in strongest:
        side = screen.word("for" if one.weight > 0 else "against")
        drawn = Text(bar(abs(one.weight) / (most or 1.0)).plain, style="green" if one.weight > 0 else "red")
        made.add_row(one.text, f"{one.weight:+.3f}", Text.assemble(drawn, f" {side}"))
    shown: list[RenderableType] = (
        [highlighted(text, evidence.words), made] if evidence.words or not evidence.parts else []
    )
    return Group(*shown, *([parts_view(screen, evidence)] if evidence.parts else []))


def parts_view(screen: Screen, evidence: Evidence) -> Table:
    """What each kind of a row and each field counts for."""
    most = max(abs(one.weight) for one in evidence.parts) or 1.0
    made = table(screen.word("mattered"), "", "", "", numbers=(2,))
    for one in evidence.parts:
        side = screen.word("for" if one.weight > 0 else "against")
        drawn = Text(bar(abs(one.weight) / most).plain, style="green" if one.weight > 0 else "red")
        made.add_row(one.name, clipped(one.value, 30), f"{one.weight:+.3f}", Text.assemble(drawn, f" {side}"))
    return made


def grid_view(evidence: Evidence) -> Table:
    """The weights of a picture's parts where they lie: green speaks for the answer, red against it."""
    made = Table.grid(padding=(0, 1))
    most = max(abs(weight) for line in evidence.grid for weight in line) or 1.0
    for line in evidence.grid:
        styles = ["dim" if abs(w) < 0.15 * most else "green" if w > 0 else "red" for w in line]
        bold = ["bold " if abs(w) >= 0.6 * most else "" for w in line]
        cells = zip(line, bold, styles, strict=True)
        made.add_row(*(Text(f"{weight:+.2f}", style=strong + style) for weight, strong, style in cells))
    return made


def reasons(evidence: Evidence, count: int = 3) -> str:
    """The words that mattered most, on one line; of a picture, where its strongest part lies."""
    if evidence.grid:
        weight, row, column = max((w, r, c) for r, line in enumerate(evidence.grid) for c, w in enumerate(line))
        return f"row {row + 1}, column {column + 1} of {len(evidence.grid)} ({weight:+.2f})"
    if evidence.parts:
        strongest = sorted(evidence.parts, key=lambda one: -abs(one.weight))[:count]
        return ", ".join(f"{one.name} ({one.weight:+.2f})" for one in strongest)
    return ", ".join(f"{one.text} ({one.weight:+.2f})" for one in evidence.top(count))


def comparison(screen: Screen, told: Mapping[str, Any]) -> list[Any]:
    """What the export found out: each graph's size, speed and changed answers, and why one of them was kept."""
    made = table(
        "",
        *(screen.word(key) for key in ("size", "ms_row", "faster_than", "answers_changed", "largest_difference")),
        numbers=(1, 2, 3, 4, 5),
    )
    for name, against in (("fp32", "PyTorch"), ("int8", "fp32")):
        if name in told:
            one = told[name]
            made.add_row(
                name,
                size(one["bytes"]),
                f"{one['ms']:.2f}",
                f"{one['speedup']:.2f} x {against}",
                f"{one['flips']:.2%}",
                f"{one['difference']:.3g}",
            )
    reason = str(told.get("reason", ""))
    return [made, Text(f"  {screen.word('graph_kept', name=told['kept'])} {reason}", style="dim")]
