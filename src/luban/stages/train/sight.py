"""How a base sees pictures: the whole of its `preprocessor_config.json`, tried out against transformers' own processor.

What the file leaves to defaults is filled in, so that the model folder can be read without transformers. A base whose
pictures `luban.pictures` would prepare otherwise than transformers does is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from luban.errors import BaseUnavailable, FolderError
from luban.pictures import SETTINGS, PictureEncoder, made, opened
from luban.runtimes.pytorch import UNREADABLE, quiet

CLOSE = 1e-5
"largest difference of a value: float32 rounds"


def settings_of(base: Path) -> dict[str, Any]:
    """The settings of a base's image processor; raises `BaseUnavailable` where it has none, or one that does otherwise."""
    import transformers

    if not (base / SETTINGS).is_file():
        raise BaseUnavailable(
            f"{base.name} reads no pictures: it has no {SETTINGS}.",
            "A base for pictures is a folder or hub id of a model for them, such as ResNet, ViT or MobileNet.",
            "Name one with --base.",
        )
    try:
        with quiet():
            processor = transformers.AutoImageProcessor.from_pretrained(
                base, backend="pil", local_files_only=True, trust_remote_code=False
            )
        told: dict[str, Any] = processor.to_dict()
        own = PictureEncoder(told).picture(made(1, side=97))
        theirs = processor(images=opened(own.source), return_tensors="np")["pixel_values"]
        difference = float(np.abs(own.batched([own], 0)["pixel_values"] - theirs).max())
    except (*UNREADABLE, FolderError) as error:
        raise _unlike(base, str(error).partition("\n")[0]) from error
    if difference > CLOSE:
        raise _unlike(base, f"a picture's values differ by {difference:.3g}")
    return told


def _unlike(base: Path, why: str) -> BaseUnavailable:
    return BaseUnavailable(
        f"The way {base.name} prepares pictures is not done here ({why}).",
        "Pictures are resized, cropped in the middle and normalised, all to one size.",
        "Take another base.",
    )
