"""What a model gives to both answers of a pair before it learns which is better: asked once, kept in a file of the run, so that
no second model stands in memory while it learns. It trains nothing; the loss is `objectives/dpo.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from luban.config import TrainConfig
from luban.decoding import Decoding
from luban.encoding import Encoded
from luban.errors import ConfigError, DataError
from luban.preferences import is_pair
from luban.records import Prepared, Progress, Watch, unwatched
from luban.runtimes.pytorch import device
from luban.stages.train.material import Material, live
from luban.tasks import TASKS

FILE = "reference.npz"
CHUNK = 256
MOST_SMOOTHING = 0.5


def check(config: TrainConfig, data: Prepared) -> None:
    """Raises `ConfigError` or `DataError` for what pairs of answers cannot be learnt with, asked before any work."""
    pairs = TASKS[data.task].generates and len(data.train) > 0 and is_pair(data.train[0])
    if (config.dpo_beta or config.dpo_sft) and not pairs:
        raise ConfigError(
            "dpo_beta or dpo_sft is set, and the rows are no pairs of answers.",
            "Preferences are rows of text-generation with a chosen and a rejected answer.",
            "Leave out --dpo-beta and --dpo-sft, or name the columns with --columns chosen=NAME,rejected=NAME.",
        )
    if not pairs:
        return
    if config.packing:
        raise ConfigError(
            "packing and pairs of answers cannot be combined.",
            "Both answers to a prompt are compared, each in a window of its own.",
            "Leave out --packing.",
        )
    if config.smoothing >= MOST_SMOOTHING:
        raise ConfigError(
            f"smoothing is {config.smoothing}.",
            "Of preferences it is the share that is the wrong way round: below a half, or nothing is preferred.",
            "Set it lower.",
        )
    if any(not is_pair(row) for row in data.valid):
        raise DataError(
            "the validation rows hold one answer, the training rows pairs.",
            "Both are pairs of answers.",
            "Give other rows with --valid, or none: a share of the training rows is then split off.",
            column="rejected",
        )


def referred(
    model: nn.Module, material: Material, work: Path, *, key: str, bf16: bool, watch: Watch = unwatched
) -> Material:
    """The material with what the model gives to its pairs as it stands; any other as it is.

    ``key`` says whose ``work`` it is: a run that was interrupted reads what it asked before.
    """
    if not material.task.prefers:
        return material
    pairs = [*(_pair(example.windows) for example in material.examples), *material.encoded_valid]
    file = work / FILE
    told = _kept(file, key)
    if told is None:
        with torch.autocast(device().type, dtype=torch.bfloat16, enabled=bf16):
            told = _asked(model, material, pairs, watch)
        _keep(file, key, told)
    count = len(material.examples)
    known = [
        replace(one, wish=tuple(both)) for one, both in zip(material.encoded_valid, told[count:].tolist(), strict=True)
    ]
    return replace(material, reference=told[:count], encoded_valid=known)


def _pair(windows: tuple[Any, ...]) -> Encoded:
    return Encoded(windows, "", 0, apart=(1, 1), asked=0, decoding=Decoding())


def _asked(model: nn.Module, material: Material, pairs: Sequence[Encoded], watch: Watch) -> NDArray[np.float64]:
    """(pairs, 2): log probabilities of the chosen and of the rejected answers."""
    predictor = live(model.to(device()), material.task, material.encoder)
    out = np.zeros((len(pairs), 2))
    for begin in range(0, len(pairs), CHUNK):
        for i, told in enumerate(predictor.answer(pairs[begin : begin + CHUNK]), begin):
            for place, said in enumerate((told.likelihood, told.rejected)):
                assert said is not None, "a prompt leaves room, so that no answer is cut off whole"
                out[i, place] = said[0]
        watch(Progress("reference", min(begin + CHUNK, len(pairs)), len(pairs)))
    return out


def _kept(file: Path, key: str) -> NDArray[np.float64] | None:
    """What was asked before in this very run; None where it was not, or the file is damaged."""
    try:
        with np.load(file) as kept:
            return np.asarray(kept["told"]) if str(kept["key"]) == key else None
    except (OSError, ValueError, KeyError, BadZipFile):
        return None


def _keep(file: Path, key: str, told: NDArray[np.float64]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"part-{file.name}")
    np.savez(temporary, key=np.array(key), told=told)
    temporary.replace(file)
