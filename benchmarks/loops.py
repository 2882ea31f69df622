"""Three ways to train from the same rows and base: the loop everyone copies, luban's with any method, the Hugging Face Trainer.

Each is taken step by step, so that scripts can give them turns (train_speed.py) or score them on the way (against_peers.py).
The Trainer needs `pip install accelerate`; luban itself does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from torch.utils.data import DataLoader, Dataset

from luban.bases import Base
from luban.config import TrainConfig
from luban.records import Prepared, Row, Rows, Step
from luban.runtimes.pytorch import quiet
from luban.stages.train.loop import work_of
from luban.stages.train.material import Material, encode
from luban.stages.train.methods import METHODS
from luban.stages.train.methods.contrastive import STEPS, attract, batches_of_classes
from luban.stages.train.mining import with_negatives
from luban.stages.train.model import head
from luban.stages.train.objectives.compose import compose
from luban.stages.train.origin import origin_of
from luban.stages.train.pooling import add_mean_layer
from luban.stages.train.probe import inputs_of, may_average, start_head
from luban.stages.train.recipe import schedule
from luban.tasks.base import Task
from luban.training import Learner, Schedule


@dataclass(frozen=True)
class Problem:
    """Rows, base and task that all of them share."""

    data: Prepared
    base: Base
    config: TrainConfig
    material: Material
    encode_seconds: float

    @classmethod
    def of(cls, data: Prepared, base: Base, **options: Any) -> Problem:
        config = TrainConfig.model_validate(
            {"task": data.task, "base": base.name, "method": "full", "log": (), **options}
        )
        started = time.process_time()
        material = encode(data, base, config)
        return cls(data, base, config, material, time.process_time() - started)

    @property
    def task(self) -> Task:
        return self.material.task

    @property
    def rows(self) -> Rows:
        return self.data.train

    def schedule(self) -> Schedule:
        return schedule(self.config, self.task, len(self.material.examples))

    def tokenizer(self) -> Any:
        return transformers.AutoTokenizer.from_pretrained(self.base.path, local_files_only=True)

    def plain_model(self) -> nn.Module:
        """The base with a random head, as ``from_pretrained`` gives it."""
        torch.manual_seed(self.config.seed)
        with quiet():
            model = getattr(transformers, self.task.model_class).from_pretrained(
                self.base.path, local_files_only=True, num_labels=self.task.outputs, **self.task.model_config()
            )
        assert isinstance(model, nn.Module)
        return model


# --- the loop everyone copies ---------------------------------------------------------------------------------------


class CopiedRows(Dataset[dict[str, torch.Tensor]]):
    """Tokenises in ``__getitem__``, pads to 128. ``repaired``: tags stand on first sub-words, nothing else is learnt."""

    def __init__(self, rows: Rows, task: Task, tokenizer: Any, *, repaired: bool, length: int = 128) -> None:
        self.rows, self.task, self.tokenizer, self.repaired = rows, task, tokenizer, repaired
        self.length = length

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        row = self.rows[i]
        padded = {"padding": "max_length", "truncation": True, "max_length": self.length, "return_tensors": "pt"}
        if not self.task.tags_words:
            coded = self.tokenizer(row["text"], **padded)
            labels: int | list[int] = self.task.index[row["label"]]
        else:
            coded = self.tokenizer(words_of(row), is_split_into_words=True, **padded)
            ids = [self.task.index[tag] for tag in row["tags"]]
            outside = self.task.index["O"]
            labels = on_first_pieces(coded.word_ids(), ids) if self.repaired else copied(ids, outside, self.length)
        return {**{name: tensor.squeeze(0) for name, tensor in coded.items()}, "labels": torch.tensor(labels)}


def copied(ids: list[int], outside: int, length: int) -> list[int]:
    """The mistake everyone copies: word after word, whatever the sub-words are; the padding is taught as O."""
    return (ids + [outside] * length)[:length]


def on_first_pieces(owners: Sequence[int | None], ids: list[int]) -> list[int]:
    """The repair: a word's tag on its first sub-word, -100 elsewhere."""
    before = (None, *owners)
    return [-100 if o is None or o == b else ids[o] for o, b in zip(owners, before, strict=False)]


def words_of(row: Row) -> list[str]:
    return [row["text"][start:end] for start, end in row["words"]]


class Tutorial:
    """Batches of 16, fp32, AdamW at 2e-5, no schedule."""

    def __init__(self, problem: Problem, *, repaired: bool = False) -> None:
        self.model: Any = problem.plain_model()
        length = min(128, self.model.config.max_position_embeddings)
        rows = CopiedRows(problem.rows, problem.task, problem.tokenizer(), repaired=repaired, length=length)
        self.loader = DataLoader(rows, batch_size=16, shuffle=True)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-5)

    def epoch(self) -> Iterator[int]:
        self.model.train()
        for batch in self.loader:
            self.optimizer.zero_grad()
            outputs = self.model(**batch)
            outputs.loss.backward()
            self.optimizer.step()
            yield len(batch["labels"])

    def steps(self) -> Iterator[int]:
        while True:
            yield from self.epoch()


# --- luban's loop -----------------------------------------------------------------------------------------------------


class Luban:
    """What `luban train` does between prepared rows and trained weights, with any of its methods and objectives.

    ``prepared`` is the CPU time of what a method does once before the first step, ``probe`` that of the head's start;
    ``drawn``: texts of contrastive steps, which are taken there.
    ``endless``: the steps never end.
    """

    def __init__(self, problem: Problem, options: Mapping[str, Any], work: Path, *, endless: bool = False) -> None:
        self.config = TrainConfig.model_validate({**problem.config.model_dump(), **options})
        origin = origin_of(problem.data, problem.base, self.config)
        method = METHODS[self.config.method]()
        folder = work_of(work)
        read = replace(problem.base, path=method.reader(problem.base.path, self.config, folder))
        material = problem.material
        if read.path != problem.base.path:
            material = encode(problem.data, read, self.config, task=origin.task)
        plan = schedule(self.config, material.task, len(material.examples))
        self.epochs = plan.epochs
        plan = replace(plan, epochs=1e4) if endless else plan
        self.model = origin.model(material)
        started = time.process_time()
        method.prepare(self.model, material, self.config)
        self.prepared = time.process_time() - started
        self.probe = self._begin(material)
        started = time.process_time()
        material = with_negatives(self.model, material, self.config)
        trained = method.begin(self.model, material, self.config, folder)
        self.prepared += time.process_time() - started
        self.material = material
        batches = batches_of_classes(material.examples, seed=self.config.seed)
        steps = self.config.contrast_steps or STEPS
        self.drawn = steps * len(next(batches)) if self.config.method == "contrastive" else 0
        self.learner: Learner | None = None
        if any(parameter.requires_grad for parameter in trained.whole.parameters()):
            objective = trained.around(compose(self.config, material, plan))
            self.learner = Learner(
                trained.step, plan, material.examples, objective=objective, feed=trained.feed, whole=trained.whole
            )

    def _begin(self, material: Material) -> float:
        """The head's start, or without a probe the layer that averages; its CPU time."""
        started = time.process_time()
        if material.task.embeds or material.task.generates:
            return 0.0
        if self.config.probe:
            pad_id = material.encoder.pad_id
            start_head(self.model, material.task, material.examples, pad_id=pad_id, config=self.config)
        elif self.config.pooling == "mean" and may_average(self.model, material.task):
            add_mean_layer(self.model, seed=self.config.seed)
        return time.process_time() - started

    def steps(self) -> Iterator[int]:
        """Rows of each step."""
        if self.learner is None:
            return
        for event in self.learner.learn():
            if isinstance(event, Step):
                yield event.rows


def paces(problem: Problem, options: Mapping[str, Any], work: Path) -> tuple[Iterator[int], float]:
    """Endless steps of a method, and the CPU seconds a row that it takes once, spread over its passes.

    Two methods do not learn in steps of the loop: ``contrastive`` goes by its steps on the whole encoder (the head it fits
    afterwards is what ``head`` does), ``prototypes`` by the rows whose features it reads.
    """
    own = {"contrastive": attracted, "prototypes": features}.get(options.get("method", ""))
    plain = {**options, "method": "full"} if own else options
    luban = Luban(problem, {**plain, "probe": False, "pooling": "mean"}, work, endless=True)
    if own:
        return own(luban), 0.0
    return luban.steps(), luban.prepared / (luban.epochs * len(problem.rows))


def attracted(luban: Luban) -> Iterator[int]:
    """Contrastive steps on other examples each time."""
    examples = luban.material.examples
    for seed in count():
        config = luban.config.model_copy(update={"contrast_steps": 1, "seed": seed})
        attract(luban.model, examples, luban.material.encoder.pad_id, pooling="mean", config=config)
        yield len(next(batches_of_classes(examples, seed=seed)))


def features(luban: Luban) -> Iterator[int]:
    """Features of one batch of rows after the other, as the class means are made of."""
    linear, examples = head(luban.model, luban.material.task.outputs), luban.material.examples
    while True:
        for first in range(0, len(examples), 64):
            chosen = examples[first : first + 64]
            inputs_of(linear, luban.model, chosen, luban.material.encoder.pad_id)
            yield len(chosen)


# --- the Hugging Face Trainer -------------------------------------------------------------------------------------------


class HuggingFace:
    """`transformers.Trainer` as it comes: rows tokenised beforehand, dynamic padding; only logs and files are off."""

    def __init__(self, problem: Problem, folder: Path, **options: Any) -> None:
        tokenizer, task = problem.tokenizer(), problem.task
        kind = "ForTokenClassification" if task.tags_words else "WithPadding"
        quietly = {"report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
        self.arguments = transformers.TrainingArguments(output_dir=str(folder), **quietly, **options)
        self.trainer = transformers.Trainer(
            model=problem.plain_model(),
            args=self.arguments,
            train_dataset=[self._coded(row, tokenizer, task) for row in problem.rows],
            data_collator=getattr(transformers, f"DataCollator{kind}")(tokenizer),
            processing_class=tokenizer,
        )
        self.trainer.remove_callback(transformers.PrinterCallback)

    @staticmethod
    def _coded(row: Row, tokenizer: Any, task: Task) -> dict[str, Any]:
        if not task.tags_words:
            return {**tokenizer(row["text"], truncation=True), "labels": task.index[row["label"]]}
        coded = tokenizer(words_of(row), is_split_into_words=True, truncation=True)
        return {**coded, "labels": on_first_pieces(coded.word_ids(), [task.index[tag] for tag in row["tags"]])}


class AfterSteps(transformers.TrainerCallback):  # type: ignore[misc]
    """Calls a function after each step, with the steps taken and those to come; training stops where it says True."""

    def __init__(self, then: Callable[[int, int], bool]) -> None:
        self.then = then

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_training_stop = self.then(state.global_step, state.max_steps)
        return control
