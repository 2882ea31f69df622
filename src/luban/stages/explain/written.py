"""What is asked of a model that writes: which words of the prompt spoke for the sub-words that were written, or for others."""

from __future__ import annotations

from luban.chat import ASSISTANT
from luban.errors import ConfigError
from luban.predict import Predictor
from luban.records import Row
from luban.stages.explain.base import Question, Term, located, shown_text

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
    window = encoded.windows[0]
    heads = [] if window.heads is None else [int(head) for head in window.heads if head >= encoded.asked][:MOST]
    terms = tuple(Term(0, 1.0 / len(heads), int(window.ids[head]), head - 1) for head in heads)
    return Question(text, encoded, shown_text(bare), located(encoded, bare, predictor.encoder), terms)


def _answered(row: Row, text: str) -> dict[str, object]:
    """The row with an answer."""
    if row.get("messages"):
        return {**row, "messages": [*row["messages"], {"role": ASSISTANT, "content": text}]}
    return {**row, "target": text}
