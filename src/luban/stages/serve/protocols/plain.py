"""The plain protocol: ``{"text": ...}`` or ``{"inputs": [...]}`` in, predictions out as `luban predict --json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luban.errors import nearest_hint
from luban.records import Evidence
from luban.stages.serve.engine import Answer
from luban.stages.serve.limits import Limits, check_rows, check_text, parse_json, posted, refuse
from luban.stages.serve.protocols.base import Face, Question

NAME = "plain"
SHOWN = 40
"characters of an unknown key that its refusal repeats"


def question(body: bytes, face: Face, limits: Limits, *, explaining: bool = False) -> Question:
    """The rows of a body, and the ``target`` of one that asks for an explanation; raises `ServiceError` 400, 413 or 422."""
    value = parse_json(body)
    target = _target(value.pop("target", None)) if explaining else None
    beside = ("inputs", "target") if explaining else ("inputs",)
    if "inputs" in value:
        _check_keys(value, beside, "The request")
    given = value.get("inputs", [value])
    if not isinstance(given, list):
        raise refuse(
            422,
            "'inputs' is no array.",
            "It holds texts, or objects with the model's columns.",
            f"Send {_example(face)}.",
        )
    check_rows(len(given), limits)
    return Question([_row(item, i, face, limits) for i, item in enumerate(given, start=1)], target=target)


def reply(answers: Sequence[Answer], face: Face, *, id: str, seconds: float) -> dict[str, Any]:
    """The reply's JSON object; feedback is taken under ``id``."""
    predictions = []
    for answer in answers:
        said = answer.prediction.as_json()
        said["tokens"], said["truncated"] = answer.tokens, answer.prediction.truncated
        predictions.append(said)
    return {
        "model": face.name,
        "fingerprint": face.fingerprint,
        "id": id,
        "predictions": predictions,
        "seconds": seconds,
    }


def explained(evidence: Evidence, face: Face, *, id: str, seconds: float) -> dict[str, Any]:
    """The reply of /explain."""
    return {
        "model": face.name, "fingerprint": face.fingerprint, "id": id,
        "evidence": evidence.as_json(), "seconds": seconds,
    }  # fmt: skip


def described(face: Face) -> dict[str, Any]:
    """What GET /models/NAME says."""
    return {
        "name": face.name,
        "fingerprint": face.fingerprint,
        "task": face.task,
        "labels": list(face.labels),
        "inputs": list(face.inputs),
        "explains": face.explains,
        **face.about,
    }


def _row(item: object, position: int, face: Face, limits: Limits) -> Mapping[str, Any]:
    if isinstance(item, str) and len(face.inputs) == 1:
        item = {face.inputs[0]: item}
    if not isinstance(item, dict):
        raise refuse(
            422,
            f"Row {position} is {type(item).__name__}.",
            f"A row has the columns {', '.join(face.inputs)}.",
            f"Send {_example(face)}.",
        )
    _check_keys(item, face.columns, f"Row {position}")
    if not item:
        raise refuse(
            422, f"Row {position} is empty.", f"A row has the columns {', '.join(face.inputs)}.",
            f"Send {_example(face)}.",
        )  # fmt: skip
    for name, value in item.items():
        if name not in face.pictures:
            check_text(value, position, limits)
    sent = {name for name in face.pictures if not (face.partial and item.get(name) in (None, ""))}
    return {name: posted(value, position) if name in sent else value for name, value in item.items()}


def _check_keys(given: Mapping[str, Any], known: Sequence[str], whose: str) -> None:
    """Raises 422 for a key that would be overlooked: a misspelt one is a mistake, not a wish."""
    for key in given:
        if key not in known:
            shown = key[:SHOWN]
            raise refuse(
                422,
                f"{whose} has the unknown key {shown!r}.",
                f"Known here: {', '.join(known)}.",
                nearest_hint(shown, known) or "Leave it out.",
            )


def _target(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise refuse(
        422, "'target' is no text.", "It is the label to be explained.", "Leave it out to explain the answer itself."
    )


def _example(face: Face) -> str:
    columns = ", ".join(f'"{name}": "..."' for name in face.inputs)
    return f'{{{columns}}} or {{"inputs": [{{{columns}}}]}}'
