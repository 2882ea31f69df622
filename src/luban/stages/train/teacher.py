"""The model that is learnt from: opened, held against the rows before any work, and asked once about every example.

A teacher is a model folder, or a base that comes with a head. What it says of the examples is kept in a file of the run, as
logits, so that memory stays bounded and a step costs no second model. Its hidden states and attention would be too large to
keep: for those the teacher itself goes along (`objectives/imitation.py`). This module trains nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import nn

from luban import bases, manifest
from luban.config import TrainConfig
from luban.encoding import Encoded, TextEncoder
from luban.errors import BaseUnavailable, ConfigError
from luban.folder import Folder
from luban.predict import Predictor
from luban.questions import kinds
from luban.records import Prepared, Row
from luban.runtimes.pytorch import UNREADABLE, PyTorchRuntime, device, quiet
from luban.stages.train.cache import room_for
from luban.stages.train.material import Material
from luban.stages.train.pooling import encoder_of
from luban.tasks import TASKS
from luban.tasks.base import Task, stitched

TEACHABLE = (
    "text-classification",
    "multi-label-classification",
    "text-regression",
    "text-pair",
    "token-classification",
    "multi-task",
)
"tasks whose answers can be learnt from another model's"
CHUNK = 1024
"examples that a teacher is asked about at a time"
KEPT_AS = np.float16
"logits lie within a few tens: rounded by less than a hundredth"


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model that answers the same task; ``name`` and ``fingerprint`` say which, in the manifest."""

    name: str
    path: Path
    predictor: Predictor
    fingerprint: str = ""

    @property
    def task(self) -> Task:
        return self.predictor.task

    @property
    def model(self) -> nn.Module | None:
        """The model itself, where it runs in PyTorch."""
        runtime = self.predictor.runtime
        return runtime.model if isinstance(runtime, PyTorchRuntime) else None

    def as_json(self) -> dict[str, str]:
        """What the manifest says of it."""
        return {"name": self.name, "fingerprint": self.fingerprint}


class Lesson:
    """What a teacher says of each example: ``width`` logits a row, or a sub-word for a tagger.

    ``model``: the teacher itself, for what is not kept. A teacher that knows fewer labels than its student speaks of the
    student's first ``width``.
    """

    def __init__(self, values: NDArray[Any], starts: NDArray[np.int64], model: nn.Module | None = None) -> None:
        self.values, self.starts, self.model = values, starts, model
        self.width = int(values.shape[1])

    def of(self, rows: Sequence[int]) -> torch.Tensor:
        """Logits of these examples, padded with zeros: (b, longest, width); longest is 1 where answers stand a row."""
        lengths = [int(self.starts[i + 1] - self.starts[i]) for i in rows]
        out = np.zeros((len(rows), max(lengths), self.width), dtype=np.float32)
        for at, (i, n) in enumerate(zip(rows, lengths, strict=True)):
            out[at, :n] = self.values[self.starts[i] : self.starts[i + 1]]
        return torch.from_numpy(out)


def opened(config: TrainConfig, data: Prepared) -> Teacher:
    """The teacher of a run; raises `ConfigError` where it answers another question or gives other answers than the rows."""
    kind = TASKS[data.task]
    if data.task not in TEACHABLE:
        raise ConfigError(
            f"{data.task} cannot be learnt from a teacher.",
            f"Tasks that can: {', '.join(TEACHABLE)}.",
            "Leave out --teacher.",
        )
    teacher = _folder(config.teacher, data.task) if is_folder(config.teacher) else _with_head(config.teacher, kind)
    task = kind.fit(data.train)
    _check_kinds(teacher, kinds(task.settings))
    known, found = set(teacher.task.labels), set(task.labels)
    if found - known:
        raise ConfigError(
            f"The rows have {_some(found - known)}, which the teacher {teacher.name} does not know.",
            f"A teacher has all of its student's labels; this one has {_some(known)}.",
            "Take a teacher of these rows, or leave the other rows out.",
        )
    return teacher


def _check_kinds(teacher: Teacher, asked: Mapping[str, str]) -> None:
    """Raises `ConfigError` where rows answer a question otherwise than the teacher does, or it knows no questions at all."""
    known = kinds(teacher.task.settings)
    for name, kind in asked.items():
        if known.get(name) != kind:
            told = ", ".join(f"{one}={known[one]}" for one in known) or "none"
            raise ConfigError(
                f"The rows ask {name}={kind}, which the teacher {teacher.name} does not answer.",
                f"A teacher answers all of its student's questions; this one's: {told}.",
                "Take a teacher of these questions, or leave the others out of --questions.",
            )


def is_folder(name: str) -> bool:
    """Whether a name is that of a model folder."""
    return (Path(name).expanduser() / manifest.NAME).is_file()


def _folder(name: str, task: str) -> Teacher:
    folder = Folder.open(Path(name).expanduser())
    if folder.manifest.task != task:
        raise ConfigError(
            f"The teacher {name} was trained for {folder.manifest.task}.", f"A teacher of {task} was expected.",
            "Name another teacher, or another --task.",
        )  # fmt: skip
    return Teacher(
        folder.manifest.name, folder.path, Predictor.open(folder, stage="teacher"), folder.manifest.fingerprint
    )


def _with_head(name: str, kind: type[Task]) -> Teacher:
    """A base of transformers whose head was trained for such a task; its labels are those of its config."""
    base = bases.find(name)
    try:
        with quiet():
            model, loaded = getattr(transformers, kind.model_class).from_pretrained(
                base.path, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False,
                output_loading_info=True,
            )  # fmt: skip
    except UNREADABLE as error:
        raise BaseUnavailable(
            f"{name} cannot be opened as a teacher ({str(error).partition(chr(10))[0]}).",
            "A teacher is a model folder, or a base that was saved with its head.",
            "Name another.",
        ) from error
    if loaded["missing_keys"]:
        raise ConfigError(
            f"{name} has no head ({min(loaded['missing_keys'])} is missing), so it answers nothing.",
            "A teacher is a model folder, or a base that was saved with its head.",
            "Train it first: luban train SOURCE --base NAME --out DIR",
        )
    names = [str(label) for _, label in sorted(model.config.id2label.items())]
    labels = names if len(names) > 1 else []  # a single output is a number
    return Teacher(base.name, base.path, Predictor(kind(labels), TextEncoder.open(base.path), PyTorchRuntime(model)))


def ask(teacher: Teacher, material: Material, file: Path, *, along: bool = False) -> Lesson:
    """Ask the teacher about every example and keep what it says in ``file``; ``along``: its model is needed later, too.

    A teacher with another tokenizer reads the rows' texts its own way, and its answer holds for all windows of a row; tags
    stand on sub-words, so that a tagger's must agree: raises `ConfigError`.
    """
    same = reads_alike(teacher, material)
    if not same and material.task.tags_words:
        raise ConfigError(
            f"The teacher {teacher.name} cuts texts into other sub-words than {material.base.name} does.",
            "Tags stand on sub-words, so that both need the same tokenizer and windows the teacher can read.",
            "Take a base with the teacher's tokenizer, or --student-layers.",
        )
    examples = material.examples
    tags = material.task.tags_words
    sizes = array("i", (len(example.window.ids) if tags else 1 for example in examples))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    values = room_for(file, KEPT_AS, (int(starts[-1]), teacher.task.outputs))
    for begin in range(0, len(examples), CHUNK):
        end = min(begin + CHUNK, len(examples))
        said = _windows(teacher, material, begin, end) if same else _texts(teacher, material, begin, end)
        values[starts[begin] : starts[end]] = np.concatenate([np.atleast_2d(one) for one in said])
    values.flush()
    return Lesson(values, starts, _went_along(teacher, material, same=same) if along else None)


def reads_alike(teacher: Teacher, material: Material) -> bool:
    """Whether the teacher's sub-words are the student's, and none of the windows is too long for it."""
    own, longest = teacher.predictor.encoder, max(len(example.window.ids) for example in material.examples)
    if own.tokenizer.to_str() != material.encoder.tokenizer.to_str():
        return False
    return longest <= TextEncoder.open(teacher.path).limit


def _windows(teacher: Teacher, material: Material, begin: int, end: int) -> list[NDArray[Any]]:
    encoded = [Encoded((material.examples[i].window,), "", 0) for i in range(begin, end)]
    return [outputs[0] for outputs in teacher.predictor.logits(encoded)]


def _texts(teacher: Teacher, material: Material, begin: int, end: int) -> list[NDArray[Any]]:
    """The row's logits for each of its windows."""
    owners = [material.examples[i].row for i in range(begin, end)]
    rows: dict[int, Row] = {i: material.rows[i] for i in dict.fromkeys(owners)}
    encoded = [teacher.task.encode(row, teacher.predictor.encoder) for row in rows.values()]
    logits = teacher.predictor.logits(encoded)
    whole = {i: stitched(one, out) for i, one, out in zip(rows, encoded, logits, strict=True)}
    return [whole[i] for i in owners]


def _went_along(teacher: Teacher, material: Material, *, same: bool) -> nn.Module:
    """The teacher's model, ready to show its insides; raises `ConfigError` where they cannot be compared."""
    model = teacher.model
    if model is None or encoder_of(model) is None or not same:
        raise ConfigError(
            f"The insides of the teacher {teacher.name} cannot be learnt from.",
            "Hidden states and attention need a teacher in PyTorch, of BERT's layers, with its student's tokenizer.",
            "Set --distil-hidden and --distil-attention to 0: its answers can be learnt all the same.",
        )
    tells_attention(model)
    return model.to(device()).eval().requires_grad_(False)


def tells_attention(model: Any) -> None:
    """Have the model compute attention in the one way that also tells what is attended to."""
    if hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation("eager")


def _some(labels: set[str]) -> str:
    """The first few labels of a set, and how many more there are."""
    shown = ", ".join(repr(label) for label in sorted(labels)[:5])
    return shown + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
