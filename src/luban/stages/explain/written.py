"""What is asked of a model that writes: which words of the prompt spoke for the sub-words that were written, or for others."""

from __future__ import annotations

from luban.chat import ASSISTANT
from luban.errors import ConfigError
from luban.predict import Predictor
from luban.records import Row
from luban.stages.explain.base import Question, Term, located, shown_text
from luban.written import foretold

MOST = 16
"sub-words of an answer that are explained: what comes later depends on them more than on the prompt"


def of_written(predictor: Predictor, row: Row, target: str | None) -> Question:
    """The mean logit of the first `MOST` sub-words of the answer, or of the text ``target`` in its place."""
    bare = dict(row)
    bare.pop("target", None)
    if bare.get("messages") and bare["messages"][-1]["role"] == ASSISTANT:
        bare["messages"] = bare["messages"][:-1]
    text = target if target is not None else predictor.predict([bare])[0].text
    if not text:
        raise ConfigError(
            "The model wrote nothing.", "Words are explained that it wrote, or a target.", "Name one with --target."
        )
    encoded = predictor.task.encode(_answered(bare, text), predictor.encoder)
    first = 0 if predictor.task.crosses else encoded.asked - 1
    told = [(int(place), int(one)) for place, one in zip(*foretold(encoded.windows[0]), strict=True) if place >= first]
    terms = tuple(Term(0, 1.0 / len(told[:MOST]), one, place) for place, one in told[:MOST])
    return Question(text, encoded, shown_text(bare), located(encoded, bare, predictor.encoder), terms)


def _answered(row: Row, text: str) -> dict[str, object]:
    """The row with an answer."""
    if row.get("messages"):
        return {**row, "messages": [*row["messages"], {"role": ASSISTANT, "content": text}]}
    return {**row, "target": text}
