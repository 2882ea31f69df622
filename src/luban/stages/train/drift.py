"""`drift.json`: what the training rows looked like, as counts that hold no text, so that later rows can be held against them.

Words are counted in hashed buckets: a bucket is shared by many words, so that no word can be read back from its count.
"""

from __future__ import annotations

import zlib
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from luban.records import Row, Rows, texts, told_labels
from luban.tagging import WORD

FORMAT = 1
BUCKETS = 256
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def sketch(rows: Rows, tokens: Sequence[int]) -> dict[str, Any]:
    """Label shares, quantiles of length in characters and sub-words (``tokens`` of each row), shares of hashed words; JSON."""
    labels: Counter[str] = Counter()
    words, characters = np.zeros(BUCKETS, dtype=np.int64), array("i")
    for row in rows:
        labels.update(_labels(row))
        whole = " ".join(texts(row).values())
        characters.append(sum(map(len, texts(row).values())))
        np.add.at(words, [bucket(word) for word in WORD.findall(whole.lower())], 1)
    total = max(1, sum(labels.values()))
    return {
        "format": FORMAT,
        "rows": len(rows),
        "labels": {label: round(count / total, 6) for label, count in sorted(labels.items())},
        "quantiles": list(QUANTILES),
        "characters": _quantiles(characters),
        "subwords": _quantiles(tokens),
        "words": [round(float(share), 6) for share in words / max(1, words.sum())],
    }


def bucket(word: str) -> int:
    """The bucket of a word, the same on every machine."""
    return zlib.crc32(word.encode()) % BUCKETS


def _labels(row: Row) -> list[str]:
    if "targets" in row:
        return told_labels(row)
    if "tags" in row:
        own = [row["label"]] if "label" in row else []
        return own + [tag[2:] for tag in row["tags"] if tag.startswith("B-")]
    if "labels" in row:
        return list(row["labels"])
    return [row["label"]] if isinstance(row.get("label"), str) else []


def _quantiles(values: Sequence[int]) -> list[float]:
    return [round(float(value), 3) for value in np.quantile(np.array(values), QUANTILES)]
