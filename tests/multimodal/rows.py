"""Rows of a text, a picture, a number and a category, any of which may be missing, in a file with its pictures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luban.pictures import content, made

TASK = "multimodal-classification"
TEXTS = {"yes": ("good film", "很好"), "no": ("bad film", "不好")}


def records(count: int = 40) -> list[dict[str, Any]]:
    """Every third row has no picture, every fourth no price, every fifth no brand."""
    return [
        {
            "id": 100 + 3 * number,
            "title": TEXTS[label][number // 2 % 2],
            "photo": f"photos/{number % 4}.png" if number % 3 else "",
            "price": f"{(30 if label == 'yes' else 10) + number % 7}.5" if number % 4 else "",
            "brand": ("north", "south", "east")[number % 3] if number % 5 else "",
            "label": label,
        }
        for number, label in enumerate(("yes", "no") * (count // 2))
    ]


def written(folder: Path, rows: Sequence[Mapping[str, Any]] = (), *, name: str = "rows.csv") -> str:
    """A CSV of the rows; its pictures lie beside it."""
    rows = rows or records()
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for number in range(4):
        (folder / "photos" / f"{number}.png").write_bytes(content(made(number)))
    with (folder / name).open("w", encoding="utf8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(folder / name)
