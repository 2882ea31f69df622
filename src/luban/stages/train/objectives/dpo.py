"""Of two answers the one that people prefer is to gain more over what the model gave them at first: direct preference
optimisation (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290), with the sigmoid loss.

Both answers may become improbable together, as long as the rejected one does so faster: fine-tuning on the chosen ones at the
same time holds them up (Pang et al. 2024, https://arxiv.org/abs/2404.19733). With label smoothing a share of the preferences is
taken to be the wrong way round (conservative DPO, Mitchell 2023, https://ericmitchell.ai/cdpo.pdf). What the model gave at
first was asked once, before it learnt (`stages/train/reference.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from luban.training import Example, Objective, Part
from luban.written import foretold


class DPO(Objective):
    """The negative log probability of the preferences under ``beta`` times the change of both answers' log odds.

    ``inner`` gives the logits; ``reference`` (examples, 2): log probabilities of the chosen and of the rejected answers.
    ``sft``: weight of the mean loss of the chosen answer's sub-words.
    """

    def __init__(
        self,
        inner: Objective,
        examples: Sequence[Example],
        reference: NDArray[np.float64],
        *,
        beta: float,
        smoothing: float,
        sft: float = 0.0,
    ) -> None:
        self.inner, self.examples, self.beta, self.smoothing, self.sft = inner, examples, beta, smoothing, sft
        self.reference = torch.from_numpy(reference).float()

    def logits(self, model: nn.Module, part: Part) -> Tensor:
        return self.inner.logits(model, part)

    def of(self, logits: Tensor, part: Part) -> Tensor:
        windows = [window for i in part.rows for window in self.examples[i].windows]
        said = log_probabilities(logits, [foretold(window) for window in windows]).view(-1, 2)
        gained = said - self.reference[list(part.rows)].to(said.device)
        margins = self.beta * (gained[:, 0] - gained[:, 1])
        losses = (1 - self.smoothing) * -logsigmoid(margins) + self.smoothing * -logsigmoid(-margins)
        if self.sft:
            lengths = torch.tensor([len(foretold(window)[1]) for window in windows[::2]], device=said.device)
            losses = losses - self.sft * said[:, 0] / lengths.clamp_min(1)
        return (losses * part.weights).sum()


def log_probabilities(logits: Tensor, answers: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> Tensor:
    """(b,) log probabilities of answers, each given as the places whose logits (b, n, vocabulary) foretell it and its ids."""
    rows = np.repeat(np.arange(len(answers)), [len(places) for places, _ in answers])
    at, places, ids = (
        torch.from_numpy(one).to(logits.device)
        for one in (rows, *(np.concatenate(column) for column in zip(*answers, strict=True)))
    )
    each = logits[at, places].log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    return torch.zeros(len(answers), device=logits.device).index_add(0, at, each)
