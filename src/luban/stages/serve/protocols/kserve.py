"""KServe's Open Inference Protocol, version 2, in JSON; the binary tensor extension is not spoken here.

Each column is a BYTES tensor of shape [n] or [n, 1]; a field is BYTES too, and missing where it is empty. Which outputs a
model has is read off an answer of it: numbers return as FP32, texts as BYTES; several labels and entities as BYTES that hold
JSON. Outputs of a model that is asked several questions begin with the question, as in ``intent.label``.
Source: https://github.com/kserve/open-inference-protocol (inference_rest).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from luban.errors import ServiceError
from luban.records import Prediction
from luban.stages.serve.engine import Answer
from luban.stages.serve.limits import Limits, check_rows, check_text, parse_json, posted, refuse
from luban.stages.serve.protocols.base import Face, Question

NAME = "kserve"
SHAPES = "Its shape is [n] or [n, 1]."

Output = tuple[str, int, Callable[[Prediction], Any]]
"datatype, width of a row (0: one value), and the value(s) of one row"


def question(body: bytes, face: Face, limits: Limits) -> Question:
    """The rows of an inference request; raises `ServiceError` 400 or 413."""
    value = parse_json(body)
    tensors = value.get("inputs")
    if not isinstance(tensors, list) or not all(isinstance(tensor, dict) for tensor in tensors):
        raise refuse(
            400, "'inputs' is no array of tensors.", "It holds one object a tensor.", f"Send {', '.join(face.inputs)}."
        )
    columns = {}
    for tensor in tensors:
        name = tensor.get("name")
        if name not in face.inputs or name in columns:
            raise refuse(
                400, f"There is no input {name!r} to take (or it came twice).", f"Inputs: {', '.join(face.inputs)}."
            )
        columns[name] = _pictures(tensor, face, limits) if name in face.pictures else _texts(tensor, limits)
    missing = [name for name in face.inputs if name not in columns]
    if missing and not (face.partial and columns):
        raise refuse(400, f"The input {missing[0]!r} is missing.", f"Inputs: {', '.join(face.inputs)}.")
    if len({len(texts) for texts in columns.values()}) > 1:
        raise refuse(400, "The inputs have different numbers of rows.", "Each row has one text a column.")
    rows = [dict(zip(columns, texts, strict=True)) for texts in zip(*columns.values(), strict=True)]
    check_rows(len(rows), limits)
    return Question(list(rows), _id(value), _wanted(value, face))


def reply(answers: Sequence[Answer], face: Face, asked: Question, *, id: str, seconds: float) -> dict[str, Any]:
    """The inference response; ``parameters`` carry what the protocol has no field for."""
    known = _outputs(face)
    tensors = []
    for name in asked.wanted or known:
        datatype, width, value = known[name]
        data: list[Any] = [value(answer.prediction) for answer in answers]
        if width:
            data = [item for row in data for item in row]
        tensors.append(
            {
                "name": name,
                "datatype": datatype,
                "shape": [len(answers), width] if width else [len(answers)],
                "data": data,
            }
        )
    truncated = [i for i, answer in enumerate(answers) if answer.prediction.truncated]
    return {
        "model_name": face.name,
        "model_version": face.version,
        "id": asked.id if asked.id is not None else id,
        "parameters": {
            "fingerprint": face.fingerprint,
            "feedback_id": id,
            "seconds": seconds,
            "truncated_rows": len(truncated),
        },
        "outputs": tensors,
    }


def refused(error: ServiceError) -> dict[str, Any]:
    """The protocol's error object: one string."""
    return {"error": str(error)}


def server(version: str) -> dict[str, Any]:
    """Server metadata."""
    return {"name": "luban", "version": version, "extensions": []}


def described(face: Face) -> dict[str, Any]:
    """Model metadata; ``parameters`` name the columns of ``scores``."""
    return {
        "name": face.name,
        "versions": [face.version],
        "platform": f"luban_{face.about.get('runtime', 'model')}",
        "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in face.inputs],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1, width] if width else [-1]}
            for name, (datatype, width, _) in _outputs(face).items()
        ],
        "parameters": {
            "fingerprint": face.fingerprint,
            "task": face.task,
            "labels": list(face.sample.scores or face.labels),
            **_questions(face.sample),
        },
    }


def check_version(version: str, face: Face) -> None:
    """Raises 404 for another version than the one that is served."""
    if version != face.version:
        raise refuse(
            404,
            f"There is no version {version!r} of {face.name}.",
            f"Served: {face.version}.",
            "Leave the version out.",
        )


def _outputs(face: Face) -> dict[str, Output]:
    """The outputs in order, from the fields of a sample answer; of several questions, question by question."""
    if face.sample.answers is None:
        return _fields(face.sample)
    return {
        f"{question}.{name}": (datatype, width, _of(question, value))
        for question, answer in face.sample.answers.items()
        for name, (datatype, width, value) in _fields(answer).items()
    }


def _of(question: str, value: Callable[[Prediction], Any]) -> Callable[[Prediction], Any]:
    """The same value of the answer to one question."""
    return lambda answer: value((answer.answers or {})[question])


def _questions(sample: Prediction) -> dict[str, Any]:
    """The columns of ``scores`` by question, where there are several."""
    if sample.answers is None:
        return {}
    return {"questions": {name: list(answer.scores or ()) for name, answer in sample.answers.items()}}


def _fields(sample: Prediction) -> dict[str, Output]:
    """The outputs of one answer."""
    found = dict[str, Output]()
    if sample.label is not None:
        found["label"] = ("BYTES", 0, lambda answer: answer.label)
    if sample.text is not None:
        found["text"] = ("BYTES", 0, lambda answer: answer.text)
    if sample.answer is not None:
        found["answer"] = ("BYTES", 0, lambda answer: answer.answer)
        found["start"] = ("INT64", 0, lambda answer: answer.start)
        found["end"] = ("INT64", 0, lambda answer: answer.end)
    if sample.score is not None:
        found["score"] = ("FP32", 0, lambda answer: answer.score)
    if sample.scores is not None:
        found["scores"] = ("FP32", len(sample.scores), lambda answer: list((answer.scores or {}).values()))
    if sample.embedding is not None:
        found["embedding"] = ("FP32", len(sample.embedding), lambda answer: answer.embedding)
    if sample.relevance is not None:
        found["relevance"] = ("BYTES", 0, _as_text("relevance"))
    if sample.value is not None:
        found["value"] = ("FP32", 0, lambda answer: answer.value)
    for name in ("labels", "entities", "items"):
        if getattr(sample, name) is not None:
            found[name] = ("BYTES", 0, _as_text(name))
    return found


def _as_text(field: str) -> Callable[[Prediction], str]:
    return lambda answer: orjson.dumps(answer.as_json()[field]).decode()


def _texts(tensor: Mapping[str, Any], limits: Limits) -> list[str]:
    name, shape = tensor["name"], tensor.get("shape")
    if tensor.get("datatype") != "BYTES":
        raise refuse(400, f"Input {name!r} has datatype {tensor.get('datatype')!r}.", "A text is BYTES.")
    if "binary_data_size" in _mapping(tensor.get("parameters"), "parameters"):
        raise refuse(
            400,
            f"Input {name!r} is binary.",
            "This server speaks the protocol's JSON.",
            "Send it with binary_data=False.",
        )
    if (
        not isinstance(shape, list)
        or len(shape) not in (1, 2)
        or not all(type(size) is int and size >= 0 for size in shape)
    ):
        raise refuse(400, f"Input {name!r} has shape {shape!r}.", SHAPES)
    if len(shape) == 2 and shape[1] != 1:
        raise refuse(400, f"Input {name!r} has shape {shape!r}.", SHAPES)
    data = tensor.get("data")
    if not isinstance(data, list):
        raise refuse(400, f"Input {name!r} has no array 'data'.", "It holds the texts.")
    flat = [item for part in data for item in (part if isinstance(part, list) else [part])]
    if len(flat) != math.prod(shape):
        raise refuse(400, f"Input {name!r} has {len(flat)} texts and shape {shape!r}.", "The shape counts the texts.")
    check_rows(len(flat), limits)
    for position, item in enumerate(flat, start=1):
        if not isinstance(item, str):
            raise refuse(400, f"Input {name!r}, row {position} is no string.", "BYTES in JSON are strings.")
        check_text(item, position, limits)
    return flat


def _pictures(tensor: Mapping[str, Any], face: Face, limits: Limits) -> list[str]:
    """Pictures in base64, empty where one may be missing and is; the limit of the body is theirs."""
    sent = _texts(tensor, replace(limits, text=limits.body))
    return [item if face.partial and not item else posted(item, i) for i, item in enumerate(sent, start=1)]


def _wanted(value: Mapping[str, Any], face: Face) -> tuple[str, ...]:
    outputs = value.get("outputs") or []
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise refuse(400, "'outputs' is no array of objects.", 'Each names an output: {"name": "label"}.')
    known, names = _outputs(face), [output.get("name") for output in outputs]
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise refuse(400, f"There is no output {name!r}.", f"Outputs: {', '.join(known)}.")
    return tuple(dict.fromkeys(names))


def _id(value: Mapping[str, Any]) -> str | None:
    given = value.get("id")
    if given is not None and not isinstance(given, str):
        raise refuse(400, f"The id {given!r} is no string.", "An id is a string of the client's choice.")
    _mapping(value.get("parameters"), "parameters")
    return given


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refuse(400, f"{name!r} is no object.", "Parameters are keys and values.")
    return value
