"""Rows with pictures: each picture is found, read whole once, and told by its hash; those of a new folder are copied there.

A picture that cannot be read is the fault of its row, which is refused or set aside with the picture's file and the reason.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luban.errors import DataError
from luban.pictures import content, is_data, opened

PLACE = "images"
"folder beside written rows that holds their pictures"


def examined(row: dict[str, Any], root: Path) -> dict[str, Any]:
    """The row with its picture's place and ``hash``; raises `DataError` where it is not inside ``root``, or is broken.

    A row of several kinds may have no picture: both are then missing.
    """
    source = row["image"]
    if source is None:
        return {**row, "hash": None}
    if not is_data(source):
        source = inside(root, source)
    opened(source)
    return {**row, "image": source, "hash": hashlib.sha256(content(source)).hexdigest()}


def inside(root: Path, name: str) -> str:
    """The path of a picture that rows in ``root`` name; raises `DataError` for one that lies elsewhere."""
    path = root / name
    try:
        stays = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        stays = False
    if not stays:
        raise DataError(
            f"the picture {name!r:.200} is outside of {root}.",
            "Pictures lie in the folder of the rows that name them, or below it.",
            "Copy it there and name it from there.",
            column="image",
        )
    return str(path)


def brought(row: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The row as it is written in ``out``: its picture copied there, under its hash, unless the row holds it itself."""
    if row.get("hash") is None or is_data(row["image"]):
        return dict(row)
    file = Path(row["image"])
    copy = out / PLACE / f"{row['hash'][:32]}{file.suffix.lower()}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    if not copy.exists():
        shutil.copyfile(file, copy)
    return {**row, "image": f"{PLACE}/{copy.name}"}


def without_place(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row without the place its picture lies in, where its hash says all: copies are equal wherever they lie."""
    return {name: value for name, value in row.items() if name != "image"} if row.get("hash") else row
