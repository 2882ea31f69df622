"""What the OpenAPI document says of bodies and replies; the protocols check and make them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """One sentence each."""

    happened: str
    expected: str
    remedy: str


class Refused(BaseModel):
    """The reply to a request that was not answered."""

    error: Problem


class KServeRefused(BaseModel):
    """KServe's error object."""

    error: str


class Model(BaseModel, extra="allow"):
    """A model that is served; ``fingerprint`` is the hash of its folder."""

    name: str
    fingerprint: str
    task: str
    labels: list[str]
    inputs: list[str] = Field(description="the columns of a row, each a text")
    explains: bool


class Models(BaseModel):
    """All models."""

    models: list[Model]


class Answered(BaseModel, extra="allow"):
    """One row's answer; which fields it has depends on the task."""

    label: str | None = None
    score: float | None = Field(None, description="probability of the label")
    scores: dict[str, float] | None = None
    labels: list[str] | None = None
    entities: list[dict[str, Any]] | None = None
    value: float | None = None
    text: str | None = Field(None, description="what was written")
    cut: bool = Field(False, description="whether the limit of new sub-words ended it")
    answer: str | None = Field(None, description="a piece of the context, context[start:end]; empty where it has none")
    start: int | None = None
    end: int | None = None
    embedding: list[float] | None = Field(None, description="the text's vector, of length 1")
    relevance: list[float] | None = Field(None, description="how well each passage answers the query, 0 to 1")
    answers: dict[str, dict[str, Any]] | None = Field(
        None, description="of a model that is asked several questions, the answer to each by the question's name"
    )
    items: list[dict[str, Any]] | None = Field(None, description="what is recommended, best first: item, text, score")
    unknown: list[str] | None = Field(None, description="items of the history that the model does not know")
    tokens: int = Field(description="sub-words of the row")
    truncated: bool = Field(description="whether the end of the row was not read")


class Predicted(BaseModel):
    """Answers in the order of the rows; feedback is taken under ``id``."""

    model: str
    fingerprint: str
    id: str
    predictions: list[Answered]
    seconds: float


class Explained(BaseModel):
    """Evidence for one row's answer: the words with their weights."""

    model: str
    fingerprint: str
    id: str
    evidence: dict[str, Any]
    seconds: float


class Tensor(BaseModel):
    """An output tensor."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class Inferred(BaseModel):
    """KServe's inference response."""

    model_name: str
    model_version: str
    id: str
    parameters: dict[str, Any]
    outputs: list[Tensor]


def _refusals(model: type[BaseModel], codes: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": model, "description": about} for code, about in codes.items()}


def _body(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


NOT_FOUND = {404: "no such model"}
STATUSES = {
    400: "not JSON, or not this protocol's JSON",
    **NOT_FOUND,
    408: "the body came too slowly",
    413: "body, rows or text too large",
    422: "a row the model cannot read",
    429: "the queue is full; see Retry-After",
    500: "the model failed",
    503: "shutting down",
}
MISSING = _refusals(Refused, NOT_FOUND)
REFUSALS = _refusals(Refused, STATUSES)
KSERVE_MISSING = _refusals(KServeRefused, NOT_FOUND)
KSERVE_REFUSALS = _refusals(KServeRefused, STATUSES)
AWAY: dict[int | str, dict[str, Any]] = {503: {"description": "shutting down"}}

_ROW = {
    "type": "object",
    "description": "a text a column; most models have one, 'text'; a picture as base64 or a data URL in 'image'; "
    "fields of a row of several kinds by their names",
    "properties": {"text": {"type": "string"}},
}
_MANY = {
    "type": "object",
    "required": ["inputs"],
    "properties": {"inputs": {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "string"}, _ROW]}}},
}
PREDICT = _body({"anyOf": [_MANY, _ROW]}, {"inputs": ["Where is my order?", {"text": "I lost my card."}]})
_EXPLAINED = {
    **_ROW,
    "properties": {
        "text": {"type": "string"},
        "target": {
            "type": "string",
            "description": "the label to explain, by default the answer's own; of several questions one, or QUESTION:LABEL",
        },
    },
}
EXPLAIN = _body(_EXPLAINED, {"text": "Where is my order?"})
INFER = _body(
    {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "datatype", "shape", "data"],
                    "properties": {
                        "name": {"type": "string"},
                        "datatype": {"type": "string", "enum": ["BYTES"]},
                        "shape": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
                        "data": {"type": "array", "items": {}},
                        "parameters": {"type": "object"},
                    },
                },
            },
            "outputs": {
                "type": "array",
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
            },
        },
    },
    {"id": "1", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Where is my order?"]}]},
)
