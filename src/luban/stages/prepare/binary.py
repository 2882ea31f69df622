"""Rows that do not come from text files: Parquet, image folders, and the Hugging Face hub through `datasets`."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luban.errors import DataError
from luban.stages.prepare.base import Item, Table, unreadable
from luban.stages.prepare.naming import part_of

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def parquet(path: Path) -> Table:
    """The table of a Parquet file, read batch by batch; raises `DataError` where it is none or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def items() -> Iterator[Item]:
        number = 0
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=1024):
                    for record in batch.to_pylist():
                        number += 1
                        yield number, record
        except (pa.ArrowException, OSError, ValueError) as error:
            raise unreadable(path, error, "A whole Parquet file", "Write or download it again.").at(
                row=number + 1
            ) from error

    try:
        with pq.ParquetFile(path) as file:
            columns, rows = tuple(file.schema_arrow.names), file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error, "A whole Parquet file", "Write or download it again.") from error
    if not rows:
        raise DataError("the file has no rows.", "Rows were expected.", "Fill it.", file=path)
    return Table(path, "Parquet", columns, items)


def is_image_folder(folder: Path) -> bool:
    """Whether a folder has one directory of images a class."""
    classes = _directories(folder)
    return bool(classes) and any(_images(directory) for directory in classes[:3])


def image_folder(folder: Path) -> Table:
    """Rows of ``image`` (its path from the folder) and ``label`` (its directory), in order of name."""

    def items() -> Iterator[Item]:
        number = 0
        for directory in _directories(folder):
            for path in _images(directory):
                number += 1
                yield number, {"image": path.relative_to(folder).as_posix(), "label": directory.name}

    others = sum(1 for each in _directories(folder) for path in each.iterdir() if not _is_image(path))
    return Table(
        folder, "image folder", ("image", "label"), items, notes={"files_passed_over": others} if others else {}
    )


def images(folder: Path) -> Table | None:
    """Rows of ``image`` alone, of a folder that holds pictures and no classes; None where it holds none."""

    def items() -> Iterator[Item]:
        for number, path in enumerate(_images(folder), start=1):
            yield number, {"image": path.name}

    return Table(folder, "images", ("image",), items) if _images(folder) else None


def hub(name: str) -> dict[str, Table]:
    """Tables by part of ``hf:NAME[:CONFIG]``; raises `DataError` at once where the hub cannot be reached."""
    import datasets
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    path, _, config = name.partition(":")
    _reachable(name)
    failures = (
        DatasetsError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        OSError,
        ValueError,
        RuntimeError,
    )
    try:
        loaded: Any = datasets.load_dataset(path, config or None)
    except failures as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(
            f"hf:{name} could not be loaded ({reason}).",
            "A data set of the Hugging Face hub: hf:NAME[:CONFIG].",
            "Check the name, HF_TOKEN for a private one, and HF_HUB_OFFLINE; or name a file.",
        ) from error
    found: dict[str, Table] = {}
    for split, rows in loaded.items():
        for column, feature in rows.features.items():
            if isinstance(feature, datasets.Image):
                rows = rows.cast_column(column, datasets.Image(decode=False))
        found.setdefault(part_of(str(split)) or str(split), _rows_of(f"hf:{name}/{split}", rows))
    return found


def _rows_of(name: str, rows: Any) -> Table:
    naming = {column: _class_names(feature) for column, feature in rows.features.items()}

    def items() -> Iterator[Item]:
        for number, record in enumerate(rows, start=1):
            yield number, {column: _named(value, naming.get(column)) for column, value in record.items()}

    return Table(Path(name), "hub data set", tuple(rows.column_names), items)


def _class_names(feature: Any) -> Sequence[str] | None:
    inner = getattr(feature, "feature", None) or (feature[0] if isinstance(feature, list) and feature else feature)
    found = getattr(inner, "names", None)
    return list(found) if found else None


def _named(value: Any, classes: Sequence[str] | None) -> Any:
    if classes is None:
        return value
    if isinstance(value, list):
        return [_named(item, classes) for item in value]
    return classes[value] if isinstance(value, int) and 0 <= value < len(classes) else None


def _reachable(name: str) -> None:
    """Raises `DataError` unless the hub answers within three seconds, or the user asked for what is cached only."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    host, port = address.hostname or "huggingface.co", address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError as error:
        raise DataError(
            f"hf:{name} was asked for, but {host} cannot be reached ({error}).",
            "The hub answers within three seconds.",
            "Name a local file, set HF_ENDPOINT to a mirror, or HF_HUB_OFFLINE=1 to use what was downloaded before.",
        ) from error


def _directories(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_image(path))


def _is_image(path: Path) -> bool:
    """Whether a file's name says that it is a picture."""
    return path.suffix.lower() in IMAGES and not path.name.startswith(".")
