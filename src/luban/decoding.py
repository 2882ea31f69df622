"""How the next sub-word is chosen: greedily, by beams or by chance; numpy only, it knows no model and no tokenizer.

Nucleus sampling (top_p): Holtzman et al. 2020, https://arxiv.org/abs/1904.09751. Top-k sampling: Fan et al. 2018,
https://arxiv.org/abs/1805.04833. Both are applied after the temperature, top_k first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luban.errors import DataError

NEW_TOKENS = 128
MOST_NEW = 32_768
MOST_BEAMS = 64


@dataclass(frozen=True, slots=True)
class Decoding:
    """What one answer is written with; the defaults are greedy.

    ``temperature``: 0 takes the most probable sub-word; above, one is drawn from the probabilities it softens. ``top_k``: of
    so many (0: all); ``top_p``: of those that hold this share of the probability. ``stop``: texts before which it ends.
    """

    max_new_tokens: int = NEW_TOKENS
    beams: int = 1
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 13
    stop: tuple[str, ...] = ()

    def given(self, options: Mapping[str, Any]) -> Decoding:
        """The same with some options set; raises `DataError` for a value that cannot be, or two."""
        known = {name: options[name] for name in asdict(self) if options.get(name) is not None}
        if not known:
            return self
        chosen = replace(self, **{name: _checked(name, value) for name, value in known.items()})
        if chosen.beams > 1 and chosen.temperature > 0:
            raise DataError(
                f"The option beams is {chosen.beams} and temperature {chosen.temperature:g}.",
                "Beams look for the most probable answer, a temperature draws one by chance.",
                "Set beams to 1, or temperature to 0.",
                column="beams",
            )
        return chosen


ABOUT = {
    "max_new_tokens": "most sub-words of the answer",
    "beams": "beams that look for the most probable answer",
    "temperature": "above 0 the answer is drawn by chance",
    "top_k": "of the so many most probable sub-words",
    "top_p": "of those that hold this share of the probability",
    "seed": "seed of the draw",
    "stop": "texts before which the answer ends",
}
"what a row may say of how it is answered"
BOUNDS: dict[str, tuple[type, float, float]] = {
    "max_new_tokens": (int, 0, MOST_NEW),
    "beams": (int, 1, MOST_BEAMS),
    "temperature": (float, 0.0, 100.0),
    "top_k": (int, 0, 10_000_000),
    "top_p": (float, 1e-6, 1.0),
    "seed": (int, 0, 2**63 - 1),
}
"kind, least and most of each option that is a number"


def _checked(name: str, value: Any) -> Any:
    if name == "stop":
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list | tuple) and all(isinstance(text, str) and text for text in texts):
            return tuple(texts)
        raise DataError(
            f"The option {name} is {value!r}.", "A text, or a list of texts, is expected.", "Mend it.", column="stop"
        )
    kind, least, most = BOUNDS[name]
    right = isinstance(value, int | float) and not isinstance(value, bool) and (kind is float or value == int(value))
    if not right or not least <= value <= most:
        raise DataError(
            f"The option {name} is {value!r}.",
            f"A {'whole ' if kind is int else ''}number from {least:g} to {most:g} is expected.",
            "Mend it.",
            column=name,
        )
    return kind(value)


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    """Log probabilities along the last axis."""
    shifted = logits.astype(np.float32) - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), dtype=np.float32)


def chosen(logits: NDArray[Any], decoding: Decoding, chance: np.random.Generator) -> int:
    """The id of the next sub-word from its (vocabulary,) logits."""
    if not decoding.temperature:
        return int(logits.argmax())
    ids, shares = nucleus(logits, decoding)
    drawn = np.searchsorted(shares.cumsum(), chance.random() * shares.sum(), side="right")
    return int(ids[min(int(drawn), len(ids) - 1)])


def nucleus(logits: NDArray[Any], decoding: Decoding) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The ids that may be drawn, the most probable first, and their probabilities (which sum to at most 1)."""
    heated = logits.astype(np.float64) / decoding.temperature
    shares = np.exp(heated - heated.max())
    count = min(decoding.top_k or len(shares), len(shares))
    order = np.argsort(-shares, kind="stable")[:count]
    kept = shares[order] / shares[order].sum()
    # The one that crosses the share is the last to be kept, so that one is always left.
    last = int(np.searchsorted(kept.cumsum(), decoding.top_p - 1e-12)) + 1
    return order[:last].astype(np.int64), kept[:last]
