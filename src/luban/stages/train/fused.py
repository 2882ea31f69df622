"""What training needs of rows of several kinds: their encoders from two bases, their reader, and the start of the parts.

The base is that of the texts; that of the pictures is named by ``vision_base``, or stands in the folder ``vision`` of the
first. Only what the rows hold is loaded. The architecture itself is `luban.fusion`; nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luban import bases
from luban.bases import Base
from luban.config import TrainConfig
from luban.encoding import TextEncoder
from luban.errors import ConfigError
from luban.fusion import FIELDS, FusedClassifier, channels_last, described, headless
from luban.gathered import IMAGE, TEXT, Gathered, RowEncoder
from luban.manifest import BaseInfo
from luban.pictures import SETTINGS, Augmentation, PictureEncoder
from luban.stages.train.model import encoder_on, hold_statistics
from luban.stages.train.probe import inputs_of, standardise
from luban.stages.train.sight import settings_of
from luban.tasks.base import Task
from luban.training import Example

VISION = "vision"
"folder of a base that holds another one, for pictures"
PACES = {IMAGE: 10.0, FIELDS: 10.0}
"times the usual rate at which parts learn that take larger steps: convolutions, and what starts from nothing"


def reader(task: Task, base: Path, config: TrainConfig) -> RowEncoder:
    """What reads the rows while the model learns: pictures are varied, and kinds hidden now and then."""
    reads, pictures = task.settings["reads"], None
    text = TextEncoder.open(base, limit=config.max_length or None) if TEXT in reads else None
    if IMAGE in reads:
        varied = Augmentation() if config.augment else None
        pictures = PictureEncoder(settings_of(vision(base, config)), lazy=True, augmentation=varied)
    return RowEncoder(text, pictures, task.table, hide=config.modality_dropout)  # type: ignore[attr-defined]


def vision(base: Path, config: TrainConfig) -> Path:
    """The folder of the base for pictures; raises `ConfigError` where none is named."""
    if config.vision_base:
        return bases.find(config.vision_base).path
    if (base / VISION / SETTINGS).is_file():
        return base / VISION
    raise ConfigError(
        "The rows hold pictures, and nothing says what is to see them.",
        "A second base sees pictures, such as resnet-18.",
        "Name it with --vision-base, or remove the column of pictures.",
    )


def root(base: Base, task: Task, config: TrainConfig) -> BaseInfo:
    """The base that the manifest names: that of the texts, of pictures where there are no texts, else none."""
    if TEXT in task.settings["reads"]:
        return told_of(base)
    return told_of(_sight(base, config)) if IMAGE in task.settings["reads"] else BaseInfo(name="none")


def notes(base: Base, task: Task, config: TrainConfig) -> dict[str, Any]:
    """What the manifest says of the base for pictures, where the rows have any."""
    if IMAGE not in task.settings["reads"]:
        return {}
    return {"vision_base": told_of(_sight(base, config)).model_dump(mode="json")}


def told_of(base: Base) -> BaseInfo:
    """What a manifest says of a base."""
    return BaseInfo(name=base.name, revision=base.revision, hash=base.hash, licence=base.licence)


def _sight(base: Base, config: TrainConfig) -> Base:
    return bases.find(str(vision(base.path, config)))


def build(base: Path, task: Task, config: TrainConfig, *, dropout: float, head_dropout: float) -> FusedClassifier:
    """The model on the weights of its bases; raises `BaseUnavailable`."""
    reads = task.settings["reads"]
    encoders: dict[str, Any] = {}
    if TEXT in reads:
        encoders[TEXT] = headless(encoder_on(base, dropout=dropout))
    if IMAGE in reads:
        encoders[IMAGE] = headless(encoder_on(vision(base, config), dropout=dropout))
    torch.manual_seed(config.seed)
    told = task.model_config()
    sizes = {"numbers": told["numbers"], "categories": told["categories"]}
    model = FusedClassifier(described(encoders, labels=task.labels, dropout=head_dropout, **sizes), encoders)
    for name, pace in PACES.items():
        part = model.encoders[name] if name in model.encoders else getattr(model, name, None)
        for parameter in part.parameters() if isinstance(part, nn.Module) else ():
            parameter.pace = pace  # type: ignore[attr-defined]
    hold_statistics(model)
    return channels_last(model)


def settle(model: nn.Module, examples: Sequence[Example], pad_id: int) -> None:
    """Make each encoder's dense layer a near-linear standardisation of what the encoder says of the rows that have its kind.

    The other encoder is not asked: nothing of what it reads is there.
    """
    assert isinstance(model, FusedClassifier)
    for kind, dense in model.dense.items():
        others = set(model.dense) - {kind}
        there = [
            replace(one, window=one.window.without(others))
            for one in examples
            if isinstance(one.window, Gathered) and kind in one.window.kinds
        ]
        if len(there) > 1:
            assert isinstance(dense, nn.Linear)
            standardise(dense, torch.stack(inputs_of(dense, model, there, pad_id)))
