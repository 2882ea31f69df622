"""A page as one HTML file that needs no network, in two languages; it knows nothing of what stands on it.

The page's own policy lets no script run but the file's own and nothing be fetched. Whoever fills a page escapes what comes
from data; `Phrases` escapes the values it is given.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from importlib.resources import files


def framed(title: str, body: str, *, language: str = "en") -> str:
    """The whole page around ``body``; it opens in ``language``, or in that of a Chinese browser, and can be switched.

    The body has a button with the id ``language``.
    """
    style, script = ((files("luban") / name).read_text(encoding="utf8") for name in ("page.css", "page.js"))
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        f'<!doctype html>\n<html lang="{language}" data-lang="{language}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · luban</title><style>{style}</style></head>\n"
        f"<body><main>{body}</main>\n<script>{script}</script></body></html>\n"
    )


class Phrases:
    """A page's words: a table of English and Chinese by key."""

    def __init__(self, table: Mapping[str, tuple[str, str]]) -> None:
        self.table = table

    def both(self, key: str, **values: object) -> str:
        """HTML of a phrase in both languages, of which the page shows one; ``values`` are escaped."""
        english, chinese = self.filled(key, **values)
        return f'<span lang="en">{english}</span><span lang="zh">{chinese}</span>'

    def filled(self, key: str, **values: object) -> tuple[str, str]:
        """A phrase in English and in Chinese, escaped; a key without an entry stands for itself."""
        safe = {name: escape(str(value)) for name, value in values.items()}
        english, chinese = self.table.get(key, (key, key))
        return escape(english).format(**safe), escape(chinese).format(**safe)
