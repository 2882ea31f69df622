"""Integrated gradients of the word embeddings, through captum; needs the pytorch runtime.

Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks" (https://arxiv.org/abs/1703.01365). The
baseline is the same window with every sub-word but the special ones replaced by padding; sub-words add up to words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Window, collate
from luban.errors import ConfigError
from luban.outputs import answers_of
from luban.predict import Predictor
from luban.records import Evidence, WordWeight
from luban.stages.explain.base import Question, Term

STEPS = 32
AT_ONCE = 8
"steps of the path in one pass through the model"


def integrated_gradients(predictor: Predictor, question: Question) -> Evidence:
    """Weights of the words; ``gap`` is what the numerical integration leaves over (captum's convergence delta).

    Raises `ConfigError` for a runtime without gradients.
    """
    model = getattr(predictor.runtime, "model", None)
    if model is None:
        raise ConfigError(
            f"Integrated gradients need a model of runtime 'pytorch'; this one runs on {predictor.runtime.name!r}.",
            "An exported model has no gradients.",
            "Use method=shapley, or explain with the folder it was exported from.",
        )
    score, base = question.offset, question.offset
    weights = np.zeros(len(question.words))
    for at in question.windows:
        window = question.encoded.windows[at]
        places = np.array([p for word in question.words for w, p in word.places if w == at], dtype=np.int64)
        tokens, top, bottom = _window(predictor, model, question.within(at), window, places)
        score += question.scale * top
        base += question.scale * bottom
        for i, word in enumerate(question.words):
            weights[i] += question.scale * sum(tokens[p] for w, p in word.places if w == at)
    words = [
        WordWeight(question.text[word.start : word.end], word.start, word.end, float(weight))
        for word, weight in zip(question.words, weights, strict=True)
    ]
    gap = score - base - float(weights.sum())
    return Evidence(question.target, score, base, tuple(words), "integrated-gradients", gap)


def _window(
    predictor: Predictor, model: Any, terms: Sequence[Term], window: Window, places: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float, float]:
    """One window's weight a sub-word, the sum of its terms, and that sum at the baseline."""
    import torch
    from captum.attr import LayerIntegratedGradients

    batch = collate([window], predictor.encoder.pad_id)
    takes = predictor.runtime.takes  # type: ignore[attr-defined]
    device = next(model.parameters()).device
    ids = torch.from_numpy(batch["input_ids"]).to(device)
    extra = {name: torch.from_numpy(batch[name]).to(device) for name in batch if name in takes and name != "input_ids"}
    baseline = ids.clone()
    baseline[0, torch.from_numpy(places)] = predictor.encoder.pad_id

    def number(read: torch.Tensor) -> torch.Tensor:
        spread = {name: value.expand(len(read), -1) for name, value in extra.items()}
        logits = answers_of(model, {"input_ids": read, **spread})
        shares = torch.tensor([term.share for term in terms], device=logits.device)
        outputs = [term.output for term in terms]
        if terms[0].position is None:
            return logits[:, outputs] @ shares
        return logits[:, [term.position for term in terms], outputs] @ shares

    reading = model.get_encoder() if predictor.task.crosses else model
    method = LayerIntegratedGradients(number, reading.get_input_embeddings())
    lock = getattr(predictor.runtime, "lock", None)
    with _held(lock), torch.enable_grad():
        was_training = model.training
        model.eval()
        found = method.attribute(ids, baseline, n_steps=STEPS, internal_batch_size=AT_ONCE)
        with torch.no_grad():
            top, bottom = number(torch.cat([ids, baseline])).tolist()
        model.train(was_training)
    return found.sum(-1)[0].detach().double().cpu().numpy(), top, bottom


def _held(lock: Any) -> Any:
    from contextlib import nullcontext

    return lock if lock is not None else nullcontext()
