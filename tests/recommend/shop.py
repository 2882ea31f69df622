"""Sixty customers of two kinds, who stay with their kind: what a recommender can learn, in files as people have them."""

from __future__ import annotations

import random
from pathlib import Path

FOOD = ("good food", "bad food", "food to eat", "great food", "food in the city", "late food", "thanks for the food")
FILM = (
    "great film",
    "love this movie",
    "hate that movie",
    "awful film",
    "film in paris",
    "film of london",
    "hello film",
)
ITEMS = [
    (f"{kind[:2]}{i}", text, kind) for kind, texts in (("food", FOOD), ("film", FILM)) for i, text in enumerate(texts)
]


def interactions(users: int = 60, seed: int = 1) -> list[tuple[str, str, int, int]]:
    """User, item, rating and time; in no order."""
    rng = random.Random(seed)
    rows = []
    for user in range(users):
        mine = [item for item, _, kind in ITEMS if kind == ("food" if user % 2 else "film")]
        for when, item in enumerate(rng.sample(mine, rng.randint(2, 5))):
            rows.append((f"u{user}", item, rng.randint(5, 10), 1_000 + 60 * when))
    rng.shuffle(rows)
    return rows


def write(folder: Path, *, users: int = 60) -> Path:
    """Two CSV files with headers."""
    folder.mkdir(parents=True)
    items = "item,title,genres\n" + "".join(f"{item},{text},{kind}\n" for item, text, kind in ITEMS)
    (folder / "items.csv").write_text(items, encoding="utf8")
    lines = "".join(",".join(map(str, row)) + "\n" for row in interactions(users))
    (folder / "ratings.csv").write_text("user,item,rating,timestamp\n" + lines, encoding="utf8")
    return folder
