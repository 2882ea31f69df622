"""Losses over vectors and scores of a batch, as pure functions: what is near, what is far, what comes first; no model here.

Vectors have length 1, so that a dot product is a cosine. Each function gives one loss a row, so that callers weigh rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from luban.encoding import IGNORE


def info_nce(queries: Tensor, passages: Tensor, right: Tensor, *, temperature: float, rivals: Tensor) -> Tensor:
    """Cross-entropy of the right passage among its rivals; (b,) losses.

    ``queries`` (b, d), ``passages`` (m, d), ``right`` (b,) the place of each query's passage, ``rivals`` (b, m) which
    passages count as wrong for a query. InfoNCE (van den Oord et al. 2018, "Representation Learning with Contrastive
    Predictive Coding"); with the other rows' passages as rivals also called multiple-negatives ranking (Henderson et al.
    2017, "Efficient Natural Language Response Suggestion").
    """
    own = torch.zeros_like(rivals).scatter_(1, right[:, None], True)
    scores = (queries @ passages.T / temperature).masked_fill(~(rivals | own), float("-inf"))
    return cross_entropy(scores, right, reduction="none")


def cosent(left: Tensor, right: Tensor, scores: Tensor, *, temperature: float) -> Tensor:
    """How often pairs of a lower score are nearer than pairs of a higher one, softly; one number for the batch.

    ``left``, ``right`` (b, d), ``scores`` (b,): only their order counts. CoSENT (Su Jianlin 2022, kexue.fm/archives/8847).
    """
    cosines = (left * right).sum(-1) / temperature
    gaps = cosines[:, None] - cosines[None, :]
    wrong_way = scores[:, None] < scores[None, :]
    return torch.logsumexp(torch.cat([gaps.new_zeros(1), gaps[wrong_way]]), dim=0)


def supervised_contrast(vectors: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Mean over (b, d) vectors of length 1 of how little each prefers those of its own class (b,) to all others.

    The loss L_out of Khosla et al. 2020, equation 2; a vector that is alone in its class does not count.
    """
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    alike = (classes[:, None] == classes[None, :]) & ~itself
    similar = (vectors @ vectors.T / temperature).masked_fill(itself, float("-inf"))
    chosen = (similar - similar.logsumexp(dim=1, keepdim=True)).masked_fill(~alike, 0.0)
    partners = alike.sum(1)
    counted = partners > 0
    loss: Tensor = -(chosen.sum(1)[counted] / partners[counted]).sum() / counted.sum().clamp_min(1)
    return loss


def first_of(scores: Tensor, targets: Tensor) -> Tensor:
    """Listwise cross-entropy: each list's right candidates (1) among all (0 or 1); (b,) losses.

    ``scores`` (b, k), ``targets`` (b, k), padded with `IGNORE`. ListNet's top-one loss (Cao et al. 2007, "Learning to Rank:
    From Pairwise Approach to Listwise Approach").
    """
    chances = torch.log_softmax(scores.masked_fill(targets == IGNORE, float("-inf")), dim=-1)
    right = targets == 1
    return -chances.masked_fill(~right, 0.0).sum(-1) / right.sum(-1).clamp_min(1)


def nested(vectors: Sequence[Tensor], sizes: Sequence[int], loss: Callable[[Sequence[Tensor]], Tensor]) -> Tensor:
    """The mean of a loss over prefixes of the vectors, each brought to length 1 again; the whole vector where no size is given.

    Matryoshka representation learning (Kusupati et al. 2022): whoever needs small vectors cuts them afterwards. Sizes larger
    than the vectors count as the whole.
    """
    width = vectors[0].shape[-1]
    kept = sorted({min(size, width) for size in (*sizes, width)}, reverse=True)
    losses = [loss([each if size == width else normalize(each[:, :size], dim=-1) for each in vectors]) for size in kept]
    return torch.stack(losses).mean(0)


def known_pairs(queries: Tensor, rights: Tensor, passages: Tensor) -> Tensor:
    """Which of ``passages`` (m,) are known to be right for each query (b, m), by ids: a rival must not be one of them.

    A passage is right for a query if any row of the batch says so: ``queries`` (b,) and ``rights`` (b,) are the rows.
    """
    same_query = queries[:, None] == queries[None, :]
    row_says = rights[:, None] == passages[None, :]
    return (same_query.float() @ row_says.float()) > 0
