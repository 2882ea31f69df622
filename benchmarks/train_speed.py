"""The training loop everyone copies, luban's, and the plain Hugging Face Trainer: the same rows, interleaved in one run.

    python benchmarks/train_speed.py [--task text-classification|token-classification] [--part speed|score]
                                     [--source FILE] [--rows N] [--threads N] [--quick] [--data DIR] [--json]

Speed: each loop in turn takes steps for a few seconds of CPU time, round after round; examples a second of process CPU time
and of wall time. Score: the tutorial's recipe, its labels repaired, is trained for its usual epochs; luban, with its defaults,
until it reaches the same score on the dev rows; CPU time of both. luban's includes tokenising, probe and forecast, neither's
includes reading the weights or scoring. Rows: Banking77 for texts, WNUT-17 for tags; base: minilm. The Trainer needs
`pip install accelerate` (luban itself does not); without it its line is left out. ``--quick`` takes a few steps of each: it
shows that the script runs, its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
import transformers
from torch import nn
from torch.utils.data import DataLoader, Dataset

from luban import bases
from luban.bases import Base
from luban.config import PrepareConfig, TrainConfig
from luban.records import Row, Rows, Step
from luban.runtimes.pytorch import quiet
from luban.stages.prepare import prepare
from luban.stages.train.forecast import forecast
from luban.stages.train.material import Material, dev_scores, encode
from luban.stages.train.model import build
from luban.stages.train.probe import start_head
from luban.stages.train.recipe import schedule
from luban.tasks import TASKS
from luban.tasks.base import Task
from luban.training import Learner, Schedule, TaskLoss, collated

REPO = Path(__file__).resolve().parent.parent
SOURCES = {"text-classification": "intent-en-banking77/train.csv", "token-classification": "ner-en-wnut17"}
DEV_ROWS = 400
TUTORIAL_EPOCHS = 3
"what the loop is usually copied with"
MORE = 1.15
"luban is scored each time that its CPU time has grown by this factor"


# --- (a) the loop everyone copies -----------------------------------------------------------------------------------


class CopiedRows(Dataset[dict[str, torch.Tensor]]):
    """Tokenises in ``__getitem__``, pads to 128. ``repaired``: tags stand on first sub-words, nothing else is learnt."""

    def __init__(self, rows: Rows, task: Task, tokenizer: Any, *, repaired: bool) -> None:
        self.rows, self.task, self.tokenizer, self.repaired = rows, task, tokenizer, repaired

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        row = self.rows[i]
        padded = {"padding": "max_length", "truncation": True, "max_length": 128, "return_tensors": "pt"}
        if not self.task.tags_words:
            coded = self.tokenizer(row["text"], **padded)
            labels: int | list[int] = self.task.index[row["label"]]
        else:
            coded = self.tokenizer(words_of(row), is_split_into_words=True, **padded)
            ids = [self.task.index[tag] for tag in row["tags"]]
            labels = on_first_pieces(coded.word_ids(), ids) if self.repaired else copied(ids, self.task.index["O"])
        return {**{name: tensor.squeeze(0) for name, tensor in coded.items()}, "labels": torch.tensor(labels)}


def copied(ids: list[int], outside: int) -> list[int]:
    """The mistake everyone copies: word after word, whatever the sub-words are; the padding is taught as O."""
    return (ids + [outside] * 128)[:128]


def on_first_pieces(owners: Sequence[int | None], ids: list[int]) -> list[int]:
    """The repair: a word's tag on its first sub-word, -100 elsewhere."""
    before = (None, *owners)
    return [-100 if o is None or o == b else ids[o] for o, b in zip(owners, before, strict=False)]


class Tutorial:
    """Batches of 16, fp32, AdamW at 2e-5, no schedule."""

    def __init__(self, problem: Problem, *, repaired: bool = False) -> None:
        self.model = problem.plain_model()
        rows = CopiedRows(problem.rows, problem.task, problem.tokenizer(), repaired=repaired)
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


# --- (b) luban's loop -------------------------------------------------------------------------------------------------


class Luban:
    """`luban.training.Learner` with the defaults, on the model that `luban train` would make."""

    def __init__(self, problem: Problem, plan: Schedule) -> None:
        material, config = problem.material, problem.config
        self.model = build(problem.base.path, material.task, dropout=0.1, seed=config.seed)
        started = time.process_time()
        self.averages = start_head(
            self.model, material.task, material.examples, pad_id=material.encoder.pad_id, config=config
        )
        self.probe_seconds = time.process_time() - started
        self.learner = Learner(
            self.model,
            plan,
            material.examples,
            objective=TaskLoss(material.task, smoothing=plan.smoothing, bf16=plan.bf16),
            feed=collated(self.model, material.examples, material.encoder.pad_id),
        )

    def steps(self) -> Iterator[int]:
        for event in self.learner.learn():
            if isinstance(event, Step):
                yield event.rows


# --- (c) the Hugging Face Trainer ---------------------------------------------------------------------------------------


class Clock(transformers.TrainerCallback):  # type: ignore[misc]
    """Times whole steps, batch making included, from the end of the first one on, and stops when the turn is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.steps = seconds, -1
        self.at = self.end = (0.0, 0.0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.steps += 1
        self.end = (time.process_time(), time.perf_counter())
        if self.steps == 0:
            self.at = self.end
        elif self.end[0] - self.at[0] >= self.seconds:
            control.should_training_stop = True
        return control


class HuggingFace:
    """`transformers.Trainer` as it comes: rows tokenised beforehand, dynamic padding; only logs and files are off."""

    def __init__(self, problem: Problem, folder: str) -> None:
        tokenizer, task = problem.tokenizer(), problem.task
        kind = "ForTokenClassification" if task.tags_words else "WithPadding"
        self.arguments = transformers.TrainingArguments(
            output_dir=folder, report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True
        )
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

    def turn(self, seconds: float) -> Turn:
        """Another seed each time, so that other batches come; what starting the Trainer costs is not counted."""
        clock = Clock(seconds)
        self.arguments.seed += 1
        self.trainer.add_callback(clock)
        self.trainer.train()
        self.trainer.remove_callback(clock)
        rows = clock.steps * self.arguments.train_batch_size
        return Turn(rows, clock.end[0] - clock.at[0], clock.end[1] - clock.at[1])


# --- rows and rounds ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Rows, base and defaults that all three share."""

    task: Task
    rows: Rows
    base: Base
    config: TrainConfig
    material: Material
    encode_seconds: float

    @classmethod
    def open(cls, name: str, source: Path, rows: int) -> Problem:
        prepared = prepare(PrepareConfig(source=str(source), valid_share=0.1, strict=False), TASKS[name])
        prepared = replace(prepared, train=spread(prepared.train, rows), valid=spread(prepared.valid, DEV_ROWS))
        base, config = bases.find("minilm"), TrainConfig(task=name)
        started = time.process_time()
        material = encode(prepared, base, config)
        return cls(material.task, prepared.train, base, config, material, time.process_time() - started)

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


@dataclass(frozen=True)
class Turn:
    """Examples learnt from in so many seconds."""

    examples: int = 0
    cpu: float = 0.0
    wall: float = 0.0

    def __add__(self, other: Turn) -> Turn:
        return Turn(self.examples + other.examples, self.cpu + other.cpu, self.wall + other.wall)


def spend(steps: Iterator[int], seconds: float) -> Turn:
    """Take steps until so much CPU time is spent."""
    cpu, wall, examples = time.process_time(), time.perf_counter(), 0
    while time.process_time() - cpu < seconds:
        examples += next(steps)
    return Turn(examples, time.process_time() - cpu, time.perf_counter() - wall)


def words_of(row: Row) -> list[str]:
    return [row["text"][start:end] for start, end in row["words"]]


def spread(rows: Rows, count: int) -> list[dict[str, Any]]:
    """Up to ``count`` rows, evenly spread over the whole."""
    return [dict(rows[int(i)]) for i in np.linspace(0, len(rows) - 1, min(count, len(rows)))]


def speed(problem: Problem, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Part one: turns of each, round after round; the first, shorter, round warms up and is not counted."""
    endless = replace(problem.schedule(), epochs=1000.0)
    tutorial, luban = Tutorial(problem).steps(), Luban(problem, endless).steps()
    with tempfile.TemporaryDirectory() as scratch:
        loops = {
            "tutorial": lambda seconds: spend(tutorial, seconds),
            "luban": lambda seconds: spend(luban, seconds),
        }
        if find_spec("accelerate"):
            loops["trainer"] = HuggingFace(problem, scratch).turn
        else:
            say("The Trainer is left out: it needs accelerate (pip install accelerate).")
        total = dict.fromkeys(loops, Turn())
        for number in range(options.rounds + 1):
            for name, turn in loops.items():
                taken = turn(options.seconds if number else min(1.0, options.seconds))
                total[name] = total[name] + taken if number else Turn()
                say(f"  round {number} {name}: {taken.examples / taken.cpu:.1f} examples a CPU second")
    mine = total["luban"]
    for name, all_turns in total.items():
        cpu, wall = all_turns.examples / all_turns.cpu, all_turns.examples / all_turns.wall
        yield {
            "what": f"{problem.task.name}: {name}",
            "value": round(cpu, 2),
            "unit": "examples a CPU second",
            "ratio": None if name == "luban" else round(mine.examples / mine.cpu / cpu, 2),
            "against": "luban's, as a multiple of this",
            "examples_a_wall_second": round(wall, 2),
            **asdict(all_turns),
        }


# --- part two: the same score -----------------------------------------------------------------------------------------


def same_score(problem: Problem, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Part two: the tutorial's epochs, then luban until it is as good on the dev rows."""
    main = problem.task.main_score
    tutorial, spent = Tutorial(problem, repaired=True), 0.0
    for epoch in range(options.epochs):
        started = time.process_time()
        for _ in tutorial.epoch():
            pass
        spent += time.process_time() - started
        target = dev_scores(tutorial.model, problem.material)[main]
        say(f"  tutorial, labels repaired, epoch {epoch + 1}: {main} {target:.4f} after {spent:.0f} CPU seconds")
    what = f"{problem.task.name}: {main} on dev rows, "
    yield {
        "what": f"{what}tutorial with labels repaired, {options.epochs} epochs",
        "value": round(target, 4),
        "unit": main,
        "ratio": None,
        "against": "",
        "cpu": round(spent, 1),
    }
    last: dict[str, Any] = {}
    for steps, score, cpu in luban_scores(problem):
        say(f"  luban, step {steps}: {main} {score:.4f} after {cpu:.0f} CPU seconds")
        last = {"value": round(score, 4), "cpu": round(cpu, 1), "steps": steps, "reached": score >= target}
        if score >= target:
            break
    ratio = round(spent / last["cpu"], 2)
    against = "the tutorial's CPU time, as a multiple of luban's to the same score"
    yield {"what": f"{what}luban until there", "unit": main, "ratio": ratio, "against": against, **last}


def luban_scores(problem: Problem) -> Iterator[tuple[int, float, float]]:
    """(steps, dev score, CPU seconds) of a run with the defaults: after the probe, then ever later, then at the end."""
    main, plan = problem.task.main_score, problem.schedule()
    luban = Luban(problem, plan)
    spent = problem.encode_seconds + luban.probe_seconds
    yield 0, dev_scores(luban.model, problem.material)[main], spent
    started = time.process_time()
    forecast(luban.learner, 0.0)
    steps, due = luban.steps(), spent * MORE
    for _ in steps:
        now = spent + time.process_time() - started
        if now < due and luban.learner.done < luban.learner.total:
            continue
        spent, due = now, now * MORE
        yield luban.learner.done, dev_scores(luban.model, problem.material)[main], spent
        started = time.process_time()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(SOURCES), help="both, one after the other, where none is named")
    parser.add_argument("--source", help="other rows than the task's usual ones, relative to --data (with --task)")
    parser.add_argument("--part", choices=["speed", "score"], help="both where none is named")
    parser.add_argument("--rows", type=int, default=2000, help="training rows, evenly spread over the data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="CPU seconds of a turn")
    parser.add_argument("--epochs", type=int, default=TUTORIAL_EPOCHS, help="of the tutorial's recipe in part two")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.rounds, options.seconds, options.epochs = 48, 1, 0.5, 1
    return options


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    load, rows = round(os.getloadavg()[0], 2), []
    for name in [options.task] if options.task else list(SOURCES):
        problem = Problem.open(name, options.data / (options.source or SOURCES[name]), options.rows)
        say(f"{name}: {len(problem.rows)} rows, {len(problem.material.valid)} dev rows, {problem.schedule()}")
        for part, measure in (("speed", speed), ("score", same_score)):
            if options.part in (None, part):
                rows += list(measure(problem, options))
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "bf16": problem.schedule().bf16,
        "load": [load, round(os.getloadavg()[0], 2)],
        "torch": torch.__version__,
    }
    if options.json:
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    print(machine)
    for row in rows:
        ratio = f"{row['ratio']:8.2f} x {row['against']}" if row["ratio"] is not None else ""
        print(f"{row['what']:<78}{row['value']:>9.2f} {row['unit']:<23}{ratio}")


if __name__ == "__main__":
    main()
