"""The plain protocol: ``{"text": ...}`` or ``{"inputs": [...]}`` in, predictions out as `luban predict --json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luban.records import Evidence
from luban.stages.serve.engine import Answer
from luban.stages.serve.limits import Limits, check_rows, check_text, parse_json, refuse
from luban.stages.serve.protocols.base import Face, Question

NAME = "plain"


def question(body: bytes, face: Face, limits: Limits) -> Question:
    """The rows of a body; raises `ServiceError` 400, 413 or 422."""
    value = parse_json(body)
    given = value.get("inputs", [value])
    if not isinstance(given, list):
        raise refuse(
            422,
            "'inputs' is no array.",
            "It holds texts, or objects with the model's columns.",
            f"Send {_example(face)}.",
        )
    check_rows(len(given), limits)
    return Question([_row(item, i, face, limits) for i, item in enumerate(given, start=1)])


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
    row = {name: item[name] for name in face.columns if name in item}
    if not row:
        raise refuse(
            422,
            f"Row {position} has the keys {', '.join(map(repr, list(item)[:5])) or 'of no column'}.",
            f"This model reads {', '.join(face.inputs)}.",
            f"Send {_example(face)}.",
        )
    for value in row.values():
        check_text(value, position, limits)
    return row


def _example(face: Face) -> str:
    columns = ", ".join(f'"{name}": "..."' for name in face.inputs)
    return f'{{{columns}}} or {{"inputs": [{{{columns}}}]}}'
