"""The terminal: results on stdout, progress and remarks on stderr; with --json one object and no table.

This file and its neighbours in cli/ are the only places of the package that print.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from luban.chinese import in_chinese, translated
from luban.cli.words import word
from luban.errors import LubanError

ACCENT = "cyan"


class Screen:
    """Where one run of a verb writes; ``as_json`` keeps stdout for the object, ``language`` is ``en`` or ``zh``."""

    def __init__(self, *, as_json: bool = False, language: str = "en") -> None:
        self.as_json, self.language = as_json, language
        self.stdout = sys.stdout
        self.failed = False
        self.out = Console(file=sys.stdout, highlight=False, soft_wrap=False)
        self.err = Console(file=sys.stderr, highlight=False)

    @property
    def lively(self) -> bool:
        """Whether someone watches stderr, so that a bar may move."""
        return self.err.is_terminal and not self.err.is_dumb_terminal

    def word(self, key: str, **values: Any) -> str:
        """A text of `words` in this screen's language."""
        return word(key, self.language, **values)

    def sentence(self, text: str) -> str:
        """A sentence of an error or a finding in this screen's language."""
        return text if self.language == "en" else translated(text)

    def show(self, *what: RenderableType) -> None:
        """A result for people, on stdout; nothing where the result is the JSON object."""
        if not self.as_json:
            for item in what:
                self.out.print(item)

    def note(self, text: str, *, style: str = "dim") -> None:
        """A remark about the work, on stderr."""
        self.err.print(Text(text, style=style))

    def title(self, text: str) -> None:
        """A headline above what follows."""
        self.show("", Text(text, style=f"bold {ACCENT}"))

    def done(self, text: str) -> None:
        """One thing that is finished."""
        self.show(Text.assemble(("✓ ", "bold green"), text))

    def plain(self, text: str) -> None:
        """Text that is the result itself, untouched by width or colour, on stdout."""
        self.stdout.write(text + "\n")
        self.stdout.flush()

    def object(self, value: Any) -> None:
        """One JSON object on one line of stdout."""
        self.plain(json.dumps(value, ensure_ascii=False, default=str))

    def refused(self, error: LubanError) -> None:
        """An error in this screen's language: sentences on stderr and, with --json, an object on stdout."""
        told = error if self.language == "en" else in_chinese(error)
        self.error(told.happened, told.expected, told.remedy)
        if self.as_json:
            self.object({"error": told.as_json()})

    def error(self, happened: str, expected: str = "", remedy: str = "") -> None:
        """Three short sentences on stderr: what happened, what was expected, what to do."""
        grid = Table.grid(padding=(0, 1))
        for sign, style, text in (("✗", "bold red", happened), ("", "", expected), ("→", ACCENT, remedy)):
            if text:
                grid.add_row(Text(sign, style=style), Text(text, style="bold" if sign == "✗" else ""))
        self.err.print(grid)

    def interrupted(self) -> None:
        """One line after Ctrl-C; with --json an object, too."""
        self.err.print(Text(self.word("interrupted"), style="yellow"))
        if self.as_json:
            self.object({"error": LubanError(self.word("interrupted")).as_json()})

    def commands(self, lines: Iterable[tuple[str, str]]) -> None:
        """What to type next: commands and, dimmed, what each is for."""
        self.title(self.word("next"))
        for typed, about in lines:
            self.show(Text(f"  {about}", style="dim"))
            self.typed(Text(f"  {typed}", style="bold"))

    def typed(self, line: Text) -> None:
        """Something to copy: never wrapped, whatever the width."""
        if not self.as_json:
            self.out.print(line, soft_wrap=True)


def table(*headers: str, numbers: Iterable[int] = (), title: str = "") -> Table:
    """An empty table in the house style; columns in ``numbers`` are set right."""
    made = Table(
        box=box.SIMPLE_HEAD,
        header_style="bold",
        title=title or None,
        title_justify="left",
        pad_edge=False,
        padding=(0, 1),
    )
    right = set(numbers)
    for position, header in enumerate(headers):
        made.add_column(header, justify="right" if position in right else "left", no_wrap=position in right)
    return made


def bar(share: float, width: int = 10) -> Text:
    """A number between 0 and 1 as a bar; its colour follows the number."""
    share = min(1.0, max(0.0, share))
    eighths = round(share * width * 8)
    full, part = divmod(eighths, 8)
    drawn = "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")
    return Text(drawn.ljust(width), style="green" if share >= 0.9 else "yellow" if share >= 0.7 else "red")


def seconds(value: float) -> str:
    """A duration for people: 0.8 s, 42 s, 3 min 05 s, 2 h 10 min."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 100:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
