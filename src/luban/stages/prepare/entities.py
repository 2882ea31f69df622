"""The forms in which data sets write spans of a text, to one: ``{start, end, label}`` with the end exclusive.

Taken are lists of objects under the usual names (CLUE's ``entity_index``, Presidio's, doccano's), spaCy's triples, and
CLUENER's ``{type: {surface: [[start, last]]}}``. Where the surface is given it must stand where the span says. A tag a
word cannot say that an entity stands inside another: the outer one is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from luban.errors import DataError

START = ("start", "begin", "start_offset", "start_position", "start_char", "start_idx")
END = ("end", "end_offset", "end_position", "end_char", "end_idx")
KIND = ("label", "type", "entity_type", "entity_group", "tag", "category")
SURFACE = ("entity", "text", "entity_value", "word", "surface", "value")
Triple = tuple[Any, Any, Any, Any]


def entities_of(text: str, value: object) -> tuple[list[dict[str, Any]], int]:
    """Spans of ``text`` in reading order, and how many more stood inside one of these.

    Raises `DataError` for a form or a span that does not fit the text.
    """
    spans = sorted(
        (_checked(text, *found) for found in _triples(value)), key=lambda span: (span["start"], -span["end"])
    )
    outer: list[dict[str, Any]] = []
    for span in spans:
        if not outer or span["end"] > outer[-1]["end"]:
            outer.append(span)
    return outer, len(spans) - len(outer)


def _triples(value: object) -> Iterator[Triple]:
    """(start, end, type, surface or None) of each; the end of CLUENER's is made exclusive."""
    if isinstance(value, Mapping):
        yield from _by_type(value)
    elif isinstance(value, list | tuple):
        for entity in value:
            yield _one(entity)
    else:
        raise _odd(value)


def _by_type(value: Mapping[str, Any]) -> Iterator[Triple]:
    for kind, surfaces in value.items():
        if not isinstance(surfaces, Mapping):
            raise _odd(value)
        for surface, spans in surfaces.items():
            if not isinstance(spans, list):
                raise _odd(spans)
            for span in spans:
                if not isinstance(span, list) or len(span) != 2 or not isinstance(span[1], int):
                    raise _odd(span)
                yield span[0], span[1] + 1, kind, surface


def _one(entity: object) -> Triple:
    if isinstance(entity, Mapping):
        inner = entity.get("entity_index") if isinstance(entity.get("entity_index"), Mapping) else entity
        return _first(inner, START), _first(inner, END), _first(entity, KIND), _first(entity, SURFACE)
    if isinstance(entity, Sequence) and not isinstance(entity, str) and len(entity) == 3:
        start, end, kind = entity if isinstance(entity[0], int) else (entity[1], entity[2], entity[0])
        return start, end, kind, None
    raise _odd(entity)


def _first(entity: Any, keys: Sequence[str]) -> Any:
    return next((entity[key] for key in keys if key in entity), None)


def _checked(text: str, start: Any, end: Any, kind: Any, surface: Any) -> dict[str, Any]:
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(kind, str) and kind.strip()):
        raise _odd({"start": start, "end": end, "label": kind})
    if isinstance(surface, str) and text[start:end] != surface and text[start : end + 1] == surface:
        end += 1  # some data sets count the last character instead of the one after it
    if isinstance(surface, str) and text[start:end] != surface:
        raise DataError(
            f"{surface!r:.40} does not stand at {start}..{end} of the text, {text[start:end]!r:.40} does.",
            "Offsets count characters from 0, the end exclusive.",
            "Mend the offsets.",
            column="entities",
        )
    return {"start": start, "end": end, "label": kind.strip()}


def _odd(value: object) -> DataError:
    return DataError(
        f"{value!r:.80} is no entity.",
        "Entities are [{start, end, label}], or {type: {surface: [[start, last]]}}.",
        "Mend the row, or name the column (--columns entities=NAME).",
        column="entities",
    )
