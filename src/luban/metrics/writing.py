"""Scores of written text against a reference: chrF, ROUGE, exact match; pure.

chrF: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation" (https://aclanthology.org/W15-3049), with the
defaults of sacrebleu: characters without white space, orders 1 to 6, recall counts twice. ROUGE-1, -2 and -L: Lin 2004,
"ROUGE: A Package for Automatic Evaluation of Summaries" (https://aclanthology.org/W04-1013), F1 as rouge-score counts it,
without stemming; each ideograph is a word of its own, which rouge-score does not read at all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

ORDERS = 6
BETA = 2.0
TINY = 1e-16
IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(f"[{IDEOGRAPHS}]|[^\\W_{IDEOGRAPHS}]+")
"letters and digits in a run, and ideographs and kana one by one"


def chrf(golds: Sequence[str], answers: Sequence[str]) -> float:
    """chrF of a corpus, 0 to 1: n-grams are counted over all texts; 0 where there are none."""
    return chrf_of(np.sum([chrf_counts(gold, answer) for gold, answer in zip(golds, answers, strict=True)], axis=0))


def chrf_counts(gold: str, answer: str) -> list[list[int]]:
    """(orders, 3): n-grams of the answer, of gold, and of both; 0, 0, 0 where one of them has none of this order."""
    texts = ["".join(text.split()) for text in (answer, gold)]
    out = []
    for order in range(1, ORDERS + 1):
        given, wanted = (Counter(text[i : i + order] for i in range(len(text) - order + 1)) for text in texts)
        out.append([given.total() if wanted else 0, wanted.total(), (given & wanted).total()])
    return out


def chrf_of(counts: np.typing.ArrayLike) -> float:
    """The F-score of summed counts: that of the mean precision and the mean recall over the orders that both sides have."""
    shares = [(both / given, both / wanted) for given, wanted, both in np.asarray(counts) if given and wanted]
    if not shares:
        return 0.0
    precision, recall = np.mean(shares, axis=0)
    below = BETA**2 * precision + recall
    return float((1 + BETA**2) * precision * recall / below) if below else 0.0


def rouge_l(gold: str, answer: str) -> float:
    """F1 of the longest common subsequence of words, 0 to 1."""
    wanted, given = (WORD.findall(text.lower()) for text in (gold, answer))
    both = _common(wanted, given)
    return 2 * both / (len(wanted) + len(given)) if both else 0.0


def rouge_n(gold: str, answer: str, *, n: int) -> float:
    """F1 of the runs of ``n`` words that both have, 0 to 1."""
    words = (WORD.findall(text.lower()) for text in (gold, answer))
    wanted, given = (Counter(tuple(own[i : i + n]) for i in range(len(own) - n + 1)) for own in words)
    both = (wanted & given).total()
    return 2 * both / (wanted.total() + given.total()) if both else 0.0


ROUGE: dict[str, Callable[[str, str], float]] = {
    "rouge_1": partial(rouge_n, n=1),
    "rouge_2": partial(rouge_n, n=2),
    "rouge_l": rouge_l,
}


def exact(gold: str, answer: str) -> bool:
    """Whether two texts are the same but for white space."""
    return gold.split() == answer.split()


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for one in a:
        diagonal = 0
        for i, other in enumerate(b, 1):
            diagonal, row[i] = row[i], diagonal + 1 if one == other else max(row[i], row[i - 1])
    return row[-1]
