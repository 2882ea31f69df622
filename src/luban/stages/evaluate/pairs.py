"""Pairs of answers held against a reference: how much more than it a model gives to the answer that people preferred.

The reference is the model that the preferences were learnt from, or any that reads the same sub-words. It scores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luban import bases
from luban.config import EvaluateConfig
from luban.encoding import TextEncoder
from luban.errors import ConfigError
from luban.predict import Predictor
from luban.preferences import BETA, compared, is_pair
from luban.records import Prediction, Rows
from luban.runtimes import RUNTIMES


def against(
    predictor: Predictor, rows: Rows, predictions: Sequence[Prediction], config: EvaluateConfig
) -> list[Prediction]:
    """The predictions with their reward margins, where ``config`` names a reference.

    Raises `ConfigError` where there is nothing to compare, or the reference reads other sub-words.
    """
    if not config.reference:
        return list(predictions)
    if not predictor.task.generates or not all(is_pair(row) for row in rows):
        raise ConfigError(
            f"The reference is {config.reference}, and the rows are no pairs of answers.",
            "A reference says what a model has learnt of pairs with a chosen and a rejected answer.",
            "Leave out --reference.",
        )
    base = bases.find(config.reference)
    if TextEncoder.open(base.path).tokenizer.to_str() != predictor.encoder.tokenizer.to_str():
        raise ConfigError(
            f"The reference {base.name} cuts texts into other sub-words.",
            "It is the model that the preferences were learnt from, or one with its tokenizer.",
            "Name another with --reference.",
        )
    runtime = RUNTIMES["pytorch"].open(base.path, threads=config.threads or None)
    other = Predictor(predictor.task, predictor.encoder, runtime)
    beta = float(predictor.task.settings.get("beta", BETA))
    told = other.predict([{**row, "max_new_tokens": 0} for row in rows])
    return [_held(own, one, beta) for own, one in zip(predictions, told, strict=True)]


def _held(own: Prediction, reference: Prediction, beta: float) -> Prediction:
    if reference.likelihood is None or reference.rejected is None:
        return own
    before = reference.likelihood[0], reference.rejected[0]
    return compared(own, replace(own, likelihood=own.rejected), before, beta)
