"""Which parts of a picture speak for an answer: each part is greyed out in turn, and what the answer loses is its weight.

Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks" (section 4.2). It needs no gradients and no
torch: any runtime will do. Parts overlap, so that what lies across an edge is not missed; the weights do not sum up to the
score, and `Evidence.gap` says by how much they fail to.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Encoded
from luban.errors import ConfigError
from luban.pictures import Picture, pictured
from luban.predict import Predictor
from luban.records import Evidence
from luban.stages.explain.base import Question

CELLS = 7
"parts a side; a mask covers a part and half of each neighbour"


def occlusion(predictor: Predictor, question: Question) -> Evidence:
    """The weight of each of 7 x 7 parts; ``base_score`` is the score of the picture's mean colour alone.

    Raises `ConfigError` for a text.
    """
    picture = question.encoded.windows[0]
    if not isinstance(picture, Picture):
        raise ConfigError(
            "Occlusion covers parts of pictures, and this is a text.",
            "A text's words are explained by shapley or integrated-gradients.",
            "Use one of these, or method=auto.",
        )
    pixels = picture.pixels
    grey = pixels.mean(axis=(1, 2), keepdims=True).astype(np.uint8)
    hidden = [pixels, np.broadcast_to(grey, pixels.shape), *(_covered(pixels, grey, i) for i in range(CELLS**2))]
    rows = [Encoded((replace(picture, kept=np.ascontiguousarray(one)),), "", 0) for one in hidden]
    outputs = predictor.logits(rows)
    score, base, *left = (question.offset + question.scale * question.of_window(0, out[0]) for out in outputs)
    weights = score - np.array(left).reshape(CELLS, CELLS)
    grid = tuple(tuple(float(weight) for weight in line) for line in weights)
    gap = score - base - float(weights.sum())
    return Evidence(question.target, score, base, (), "occlusion", gap, grid, pictured(pixels))


def _covered(pixels: NDArray[np.uint8], grey: NDArray[np.uint8], part: int) -> NDArray[np.uint8]:
    """The picture with one part, and half of each neighbouring one, in its mean colour."""
    covered = pixels.copy()
    spans = []
    for place, side in zip(divmod(part, CELLS), pixels.shape[1:], strict=True):
        cell = side / CELLS
        spans.append(slice(max(0, round((place - 0.5) * cell)), round((place + 1.5) * cell)))
    covered[:, spans[0], spans[1]] = grey
    return covered
