"""Why values do not fit a section of options, as sentences: what was given, what is taken, which key is nearest."""

from __future__ import annotations

import difflib
import re
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from luban.errors import ConfigError, nearest_hint

SHARE_OR_TASK = "It is -1 (by task), or a share from 0 on."


def _nearest(name: str, known: list[str], most: int = 12) -> list[str]:
    """All that are known where they are few, else those most like a name."""
    if len(known) <= most:
        return known
    return [*sorted(difflib.get_close_matches(name, known, n=most, cutoff=0.0)), "…"]


def explained(section: type[BaseModel], error: ValidationError, source: str) -> ConfigError:
    """The error for the first value that does not fit; ``source`` names where it was written, empty: on the command line."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_at(section, first["loc"][:-1])
        return ConfigError(
            f"{source}: there is no key {path!r}." if source else f"There is no key {path!r}.",
            f"Known here: {', '.join(_nearest(str(first['loc'][-1]), known))}.",
            nearest_hint(str(first["loc"][-1]), known),
        )
    name, field = _field_at(section, first["loc"])
    value = first.get("input")
    given = f"{value:g}" if isinstance(value, float) else str(value) if _is_number(value) else repr(value)
    if not source:
        name = "--" + name.replace("_", "-")
    return ConfigError(
        f"{source}: {name} cannot be {given}." if source else f"{name} cannot be {given}.",
        SHARE_OR_TASK if first["type"] == "value_error" else allowed(name, field),
        "Mend the value.",
    )


def _is_number(text: object) -> bool:
    return isinstance(text, str) and bool(re.fullmatch(r"-?\d+(\.\d+)?", text))


def allowed(name: str, field: FieldInfo) -> str:
    """What a field takes, as a sentence: its choices, or its kind and bounds."""
    kind = field.annotation
    if get_origin(kind) is Literal:
        return f"One of these is expected: {', '.join(map(str, get_args(kind)))}."
    if get_origin(kind) is tuple:
        return f"Any of these is expected, joined by commas: {', '.join(map(str, get_args(get_args(kind)[0])))}."
    if kind in (int, float):
        range_ = bounds(name, field)
        whole = f"A whole number is expected: {range_}." if range_ else "A whole number is expected."
        return whole if kind is int else f"A number is expected: {range_}." if range_ else "A number is expected."
    return (
        "true or false is expected." if kind is bool else "Text is expected." if kind is str else "Keys are expected."
    )


def bounds(name: str, field: FieldInfo) -> str:
    """The range of a field in signs: ``epochs ≥ 0``, ``0 < valid_share < 0.9``; nothing where there is none."""
    limits = {sign: getattr(each, sign) for each in field.metadata for sign in SIGNS if hasattr(each, sign)}
    low = next((sign for sign in ("ge", "gt") if sign in limits), None)
    high = next((sign for sign in ("le", "lt") if sign in limits), None)
    above = f" {SIGNS[high]} {limits[high]:g}" if high else ""
    if low and not high:
        return f"{name} {SIGNS[low]} {limits[low]:g}"
    below = f"{limits[low]:g} {SIGNS[low].translate(TURNED)} " if low else ""
    return f"{below}{name}{above}" if low or high else ""


SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
TURNED = str.maketrans("≥>", "≤<")


def _field_at(section: type[BaseModel], path: tuple[int | str, ...]) -> tuple[str, FieldInfo]:
    """The dotted name and the field that a path of an error leads to; what stands inside the field's value is left."""
    names: list[str] = []
    for part in path:
        field = section.model_fields[str(part)]
        names.append(str(part))
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        section = field.annotation
    return ".".join(names), field


def _keys_at(section: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        kind = section.model_fields[str(part)].annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            section = kind
    return sorted(section.model_fields)
