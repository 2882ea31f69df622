"""What a transformers model answers, as one tensor: logits, or the vectors of an encoder alone; the one place that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

POOLING = "sentence_pooling"
"entry of an encoder's config.json: how its states become a text's vector, mean or first"


def answers_of(model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """The answers to a batch of inputs: (b, labels), (b, n, labels) for a tagger, (b, hidden) vectors of an encoder alone."""
    output = model(**inputs)
    if "logits" in output or "start_logits" in output:
        return logits_of(output)
    return sentence_vectors(output.last_hidden_state, inputs["attention_mask"], getattr(model.config, POOLING, "mean"))


def logits_of(output: Any) -> torch.Tensor:
    """The answers in what a model with a head gives: its logits; start and end logits side by side, (b, n, 2)."""
    if "start_logits" in output:
        import torch

        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    logits: torch.Tensor = output.logits
    return logits


def sentence_vectors(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """(b, n, hidden) states of texts to (b, hidden) vectors of length 1: the mean of the texts' tokens, or the first."""
    from torch.nn.functional import normalize

    if pooling == "first":
        return normalize(states[:, 0], dim=-1)
    read = mask.unsqueeze(-1).to(states.dtype)
    return normalize((states * read).sum(1) / read.sum(1).clamp_min(1e-9), dim=-1)
