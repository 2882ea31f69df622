"""Lazy tables of names: ``Registry("task", {"name": "module:Object"})``; it does not scan, plug in or cache modules.

Each table stands visibly in one file; looking a name up imports its module, a miss lists what exists and the nearest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from luban.errors import MissingExtra, UnknownName


class Registry(Mapping[str, Any]):
    """A read-only mapping from a name to an object that is imported when it is first asked for.

    ``extra`` names the pip extra to suggest when importing an entry fails for lack of a library, ``extras`` those of
    entries that need another one.
    """

    def __init__(
        self, kind: str, table: Mapping[str, str], *, extra: str = "all", extras: Mapping[str, str] | None = None
    ) -> None:
        self.kind = kind
        self.table = dict(table)
        self.extra, self.extras = extra, dict(extras or {})

    def __getitem__(self, name: str) -> Any:
        if name not in self.table:
            raise UnknownName(self.kind, name, self.table)
        module, _, attribute = self.table[name].partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as missing:
            if (missing.name or "").split(".")[0] == "luban":
                raise
            raise MissingExtra(
                f"The {self.kind} {name!r} ({missing.name})", self.extras.get(name, self.extra)
            ) from missing

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, name: object) -> bool:
        return name in self.table
