"""Cleaning of one text: Unicode, white space, control characters, HTML; words and order are never changed.

Rows with spans or tagged words are left as they are, because their offsets count characters.
"""

from __future__ import annotations

import re
import unicodedata
from html import unescape
from html.parser import HTMLParser

INLINE = (
    "a abbr acronym b bdi bdo big cite code del dfn em font i ins kbd mark q s samp small span strike strong sub "
    "sup tt u var"
)
BLOCK = (
    "address article aside blockquote body br button center dd details div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 head header hr html iframe img input label li link main meta nav noscript ol "
    "option p pre script section select style summary table tbody td textarea tfoot th thead title tr ul video"
)
BLOCKS, SILENT = frozenset(BLOCK.split()), frozenset({"script", "style"})
NAMES = "|".join(sorted((INLINE + " " + BLOCK).split(), key=len, reverse=True))
TAG = re.compile(
    rf"</?(?:{NAMES})(?:\s+[\w:-]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s<>\"']+))?)*\s*/?>|<!--.*?-->", re.I | re.S
)
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
CONTROLS = (
    *(code for code in range(0x20) if chr(code) not in "\t\n\r\x0b\x0c"),
    0x7F,
    *range(0x80, 0x85),
    *range(0x86, 0xA0),
)
INVISIBLE = (0xAD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0x202A, 0x202F))
UNSEEN = dict.fromkeys((*CONTROLS, *INVISIBLE))
"control and invisible characters that are taken out; joiners (U+200C, U+200D) stay, scripts and emoji need them"
WIDE = {0xFF10 + i: 0x30 + i for i in range(10)} | {
    start + i: plain + i for start, plain in ((0xFF21, 0x41), (0xFF41, 0x61)) for i in range(26)
}
SPACES = re.compile(r"[^\S\n]+")
BREAKS = re.compile(r" ?\n ?")
MASK = "\ue000"


def clean_text(text: str, *, html: bool = True, fold_width: bool = False) -> str:
    """The text in NFC without control characters and HTML, white space single and trimmed (blank lines at most one).

    ``fold_width`` also makes full-width letters and digits plain. A `<` that begins no HTML tag stays, as in "a < b".
    """
    if html and ("<" in text or "&" in text):
        text = without_html(text)
    text = unicodedata.normalize("NFC", text)
    text = text.translate(UNSEEN)
    if fold_width:
        text = text.translate(WIDE)
    text = (
        text.replace("\r\n", "\n")
        .replace("\r", "\n")
        .replace("\x85", "\n")
        .replace("\u2028", "\n")
        .replace("\u2029", "\n")
    )
    text = BREAKS.sub("\n", SPACES.sub(" ", text))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def without_html(text: str) -> str:
    """The text without the tags that HTML knows and with entities resolved; other angle brackets stay."""
    if MASK not in text and TAG.search(text):
        text = _stripped(text)
    return ENTITY.sub(_resolved, text)


def normalised(text: str) -> str:
    """What two texts have in common that differ only in case, width, white space or control characters."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(UNSEEN).casefold().split())


def _stripped(text: str) -> str:
    kept, at = [], 0
    for tag in TAG.finditer(text):
        kept += [text[at : tag.start()].replace("<", MASK), tag[0]]
        at = tag.end()
    reader = _Reader()
    reader.feed("".join(kept) + text[at:].replace("<", MASK))
    reader.close()
    return "".join(reader.pieces).replace(MASK, "<")


def _resolved(entity: re.Match[str]) -> str:
    found = unescape(entity[0])
    return entity[0] if found == "\ufffd" or any(0xD800 <= ord(char) <= 0xDFFF for char in found) else found


class _Reader(HTMLParser):
    """Collects what is text; a block's tag leaves a line break, scripts and styles leave nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.pieces: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in SILENT
        if tag in BLOCKS:
            self.pieces.append("\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in SILENT))
        if tag in BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.pieces.append(data)

    def handle_entityref(self, name: str) -> None:
        self.handle_data(f"&{name};" if f"&{name};" in self.rawdata else f"&{name}")

    def handle_charref(self, name: str) -> None:
        self.handle_data(f"&#{name};")
