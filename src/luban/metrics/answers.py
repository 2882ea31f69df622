"""Scores of answers that are pieces of a text: exact match and F1 as SQuAD and CMRC 2018 count them; pure.

English: Rajpurkar et al. 2016 (lower case, no punctuation, no articles; F1 of the bags of words). With ideographs: Cui et
al. 2019, "A Span-Extraction Dataset for Chinese Machine Reading Comprehension" (no punctuation; each ideograph a word; F1
of the longest common run). Their scorer cuts Latin words with NLTK, this one at letters and digits.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

IDEOGRAPH = re.compile("[\u4e00-\u9fff]")
CMRC = "-:_*^/\\~`+=，。：？！“”；’《》…·、「」（）－～『』"
"the marks that CMRC's scorer leaves out"
PIECES = re.compile("[\u4e00-\u9fff]|[^\\W\u4e00-\u9fff]+|[^\\w\\s]")
ARTICLES = re.compile(r"\b(a|an|the)\b")


def exact_match(golds: Sequence[str], answer: str) -> bool:
    """Whether the answer is one of ``golds`` but for case and punctuation; no golds: whether it is empty."""
    return any(normalised(gold) == normalised(answer) for gold in golds or [""])


def f1(golds: Sequence[str], answer: str) -> float:
    """The best F1 between the answer and one of ``golds``; no golds: 1 where the answer is empty, else 0."""
    return max(_f1(gold, answer) for gold in golds or [""])


def normalised(text: str) -> str:
    """What two answers have in common that count as the same."""
    text = text.lower().strip()
    if IDEOGRAPH.search(text):
        return "".join(char for char in text if char not in CMRC)
    text = "".join(char for char in text if char not in string.punctuation)
    return " ".join(ARTICLES.sub(" ", text).split())


def _f1(gold: str, answer: str) -> float:
    chinese = IDEOGRAPH.search(gold) is not None or IDEOGRAPH.search(answer) is not None
    wanted, given = (
        PIECES.findall(normalised(text)) if chinese else normalised(text).split() for text in (gold, answer)
    )
    if not wanted or not given:
        return float(wanted == given)
    same = _run(wanted, given) if chinese else sum((Counter(wanted) & Counter(given)).values())
    return 2.0 * same / (len(wanted) + len(given))


def _run(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest run that both have."""
    return SequenceMatcher(None, a, b, autojunk=False).find_longest_match().size
