"""Texts as hurried people write them: seeded typos and swapped words, in English and Chinese; labels are none of its business.

A text, a share and a seed always give the same result, whatever other texts there are. Inner letters alone are changed in
English, since people read words by their ends (Pruthi et al. 2019, "Combating Adversarial Misspellings with Robust Word
Recognition"). Chinese characters are doubled, dropped or swapped; look-alikes and homophones need a dictionary: none are made.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from luban.encoding import IDEOGRAPHS

KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
"the rows of letters of a QWERTY keyboard, each half a key to the right of the one above"
SHORTEST = 4
"letters of an English word that can be mistyped: two ends and two between"
SHARE = 0.15
"of the words (or characters, in Chinese) that are changed; at least one, where one can be"

TYPED = re.compile(rf"[A-Za-z]{{{SHORTEST},}}|[{IDEOGRAPHS}]")
WORDS = re.compile(rf"[{IDEOGRAPHS}]{{1,2}}|[^\W_{IDEOGRAPHS}]+(?:['’-][^\W_{IDEOGRAPHS}]+)*")
"words between spaces; in Chinese two characters at a time, which most of its words have"

Perturb = Callable[..., str]


def typos(text: str, *, share: float = SHARE, seed: int = 13) -> str:
    """The text with slips of the finger: a neighbouring key, a character left out, doubled, or swapped with the next."""
    rng = _random(text, seed)
    places = [match.span() for match in TYPED.finditer(text)]
    units = len(WORDS.findall(text)) if any(end - start > 1 for start, end in places) else len(places)
    letters = list(text)
    for start, end in sorted(rng.sample(places, _count(share, units, len(places))), reverse=True):
        if end - start == 1:
            _mistype(letters, start, rng, ("drop", "double", "swap"))
        else:
            _mistype(letters, rng.randrange(start + 1, end - 2), rng, ("key", "drop", "double", "swap"))
    return "".join(letters)


def swapped_words(text: str, *, share: float = SHARE, seed: int = 13) -> str:
    """The text with neighbouring words swapped; what stands between words stays in its place."""
    rng = _random(text, seed)
    words = [match.span() for match in WORDS.finditer(text)]
    left = list(range(len(words) - 1))
    rng.shuffle(left)
    most, chosen = _count(share, len(words), len(words) // 2), set[int]()
    for i in left:
        (a, b), (c, d) = words[i], words[i + 1]
        if len(chosen) < most and not chosen & {i - 1, i, i + 1} and text[a:b] != text[c:d]:
            chosen.add(i)
    for i in sorted(chosen, reverse=True):
        (a, b), (c, d) = words[i], words[i + 1]
        text = text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:]
    return text


PERTURBATIONS: Mapping[str, Perturb] = MappingProxyType({"typos": typos, "swapped words": swapped_words})
"what can be done to a text, by the name that reports use"


def _mistype(letters: list[str], at: int, rng: random.Random, ways: tuple[str, ...]) -> None:
    """One slip at a position, in place; swapping equal or last characters would be none, so that one is dropped."""
    way = rng.choice(ways)
    letter = letters[at]
    if way == "swap" and (at + 1 == len(letters) or letters[at + 1] == letter or not letters[at + 1].isalpha()):
        way = "drop"
    if way == "swap":
        letters[at], letters[at + 1] = letters[at + 1], letter
    elif way == "double":
        letters[at] = letter * 2
    elif way == "drop" and len(letters) > 1:
        letters[at] = ""
    elif way == "key":
        beside = rng.choice(NEIGHBOURS[letter.lower()])
        letters[at] = beside.upper() if letter.isupper() else beside


def _neighbours() -> dict[str, str]:
    """Each letter's neighbours on the keyboard: beside it, and the two it touches in the rows above and below."""
    out = {}
    for r, row in enumerate(KEYS):
        for i, key in enumerate(row):
            near = [(r, i - 1), (r, i + 1), (r - 1, i), (r - 1, i + 1), (r + 1, i - 1), (r + 1, i)]
            out[key] = "".join(KEYS[y][x] for y, x in near if 0 <= y < len(KEYS) and 0 <= x < len(KEYS[y]))
    return out


NEIGHBOURS: Mapping[str, str] = MappingProxyType(_neighbours())


def _count(share: float, units: int, possible: int) -> int:
    return min(possible, max(1, round(share * units))) if share > 0 else 0


def _random(text: str, seed: int) -> random.Random:
    return random.Random(zlib.crc32(text.encode(errors="replace")) * 1_000_003 + seed)
