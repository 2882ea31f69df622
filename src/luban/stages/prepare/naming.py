"""Which part of a data set a name speaks of: "train", "valid" or "test"; pure."""

from __future__ import annotations

import re
from pathlib import Path

WORDS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "development": "valid",
    "trial": "valid",
    "test": "test",
    "testing": "test",
}
SHARD = re.compile(r"[-_.]\d+-of-\d+")


def part_of(name: str) -> str:
    """The part that a file, folder or key is named after, or "" for none: ``cnsd-sts-dev.txt`` is "valid"."""
    found = {WORDS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in WORDS}
    return found.pop() if len(found) == 1 else ""


def exactness(path: Path) -> tuple[int, int, str]:
    """Sorting key that puts the plainest name for a part first: ``train.tsv`` before ``glue_train.parquet``."""
    stem = path.name.lower().split(".")[0]
    return (0 if stem in WORDS else 1, len(path.name), path.name)


def shards(paths: list[Path]) -> list[Path]:
    """The plainest of these files, or all its pieces where it is in pieces (``train-00000-of-00002``)."""
    best = min(paths, key=exactness)
    stem = SHARD.sub("", best.name)
    same = sorted(path for path in paths if SHARD.search(path.name) and SHARD.sub("", path.name) == stem)
    return same or [best]
