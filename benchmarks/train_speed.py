"""The training loop everyone copies, luban's with each method, and the plain Hugging Face Trainer: the same rows, interleaved.

    python benchmarks/train_speed.py [--task text-classification|token-classification] [--part speed|score] [--ways NAME ...]
                                     [--source FILE] [--rows N] [--threads N] [--quick] [--data DIR] [--json]

Speed: each loop in turn takes steps for a few seconds of CPU time, round after round; examples a second of process CPU time
and of wall time. luban's rows are its methods and what its steps can have added (WAYS; --ways chooses); what a method computes
once before it learns counts, spread over the passes that luban would make. Score: the tutorial's recipe, its labels repaired,
is trained for its usual epochs; luban, with its defaults, until it reaches the same score on the dev rows; CPU time of both.
luban's includes tokenising, probe and forecast, neither's includes reading the weights or scoring. Rows: Banking77 for texts,
WNUT-17 for tags; base: minilm. What a method scores is told by methods.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import bench
from loops import AfterSteps, HuggingFace, Luban, Problem, Tutorial, paces

from luban.config import TrainConfig
from luban.errors import ConfigError
from luban.stages.train.forecast import forecast
from luban.stages.train.material import dev_scores
from luban.stages.train.run import check_method, check_objectives

SOURCES = {
    "text-classification": {"source": bench.BANKING["source"]},
    "token-classification": {"source": "ner-en-wnut17"},
}
WAYS: dict[str, dict[str, Any]] = {
    **{
        name: {"method": name}
        for name in (
            "full", "freeze", "head", "contrastive", "prototypes", "lora", "dora", "adalora", "ia3", "bottleneck",
            "prompt", "prefix",
        )
    },
    "full, fgm": {"adversarial": "fgm"},
    "full, rdrop": {"rdrop": 1.0},
    "full, mixup": {"mixup": 0.2},
}  # fmt: skip
DEV_ROWS = 400
TUTORIAL_EPOCHS = 3
"what the loop is usually copied with"
MORE = 1.15
"luban is scored each time that its CPU time has grown by this factor"


@dataclass(frozen=True)
class Turn:
    """Examples learnt from in so many seconds."""

    examples: int = 0
    cpu: float = 0.0
    wall: float = 0.0

    def __add__(self, other: Turn) -> Turn:
        return Turn(self.examples + other.examples, self.cpu + other.cpu, self.wall + other.wall)


Take = Callable[[float], Turn]
"takes steps until so much CPU time is spent"


def taking(steps: Iterator[int], once: float = 0.0) -> Take:
    """``once``: CPU seconds that each example costs besides."""

    def take(seconds: float) -> Turn:
        cpu, wall, examples = time.process_time(), time.perf_counter(), 0
        while time.process_time() - cpu < seconds:
            examples += next(steps)
        more = once * examples
        return Turn(examples, time.process_time() - cpu + more, time.perf_counter() - wall + more)

    return take


def trainer(problem: Problem, folder: Path) -> Take:
    """Turns of the Hugging Face Trainer: what starting it costs is not counted, and the seed differs each time."""
    loop = HuggingFace(problem, folder)

    def take(seconds: float) -> Turn:
        marks: list[tuple[float, float]] = []

        def then(*_: int) -> bool:
            marks.append((time.process_time(), time.perf_counter()))
            return marks[-1][0] - marks[0][0] >= seconds

        after = AfterSteps(then)
        loop.arguments.seed += 1
        loop.trainer.add_callback(after)
        loop.trainer.train()
        loop.trainer.remove_callback(after)
        examples = (len(marks) - 1) * loop.arguments.train_batch_size
        return Turn(examples, marks[-1][0] - marks[0][0], marks[-1][1] - marks[0][1])

    return take


def speed(problem: Problem, options: argparse.Namespace) -> Iterator[bench.Line]:
    """Part one: turns of each, round after round; the first, shorter, round warms up and is not counted."""
    loops: dict[str, Take] = {"tutorial": taking(Tutorial(problem).steps())}
    if find_spec("accelerate"):
        loops["Hugging Face Trainer"] = trainer(problem, options.scratch / "trainer")
    else:
        bench.say("The Trainer is left out: it needs accelerate (pip install accelerate).")
    for name in ways(problem, options):
        loops[f"luban, {name}"] = taking(*paces(problem, WAYS[name], options.scratch / name))
    total = dict.fromkeys(loops, Turn())
    for number in range(options.rounds + 1):
        for name, take in loops.items():
            taken = take(options.seconds if number else min(1.0, options.seconds))
            total[name] = total[name] + taken if number else Turn()
            bench.say(f"  round {number} {name}: {taken.examples / taken.cpu:.1f} examples a CPU second")
    pace = {name: turns.examples / turns.cpu for name, turns in total.items()}
    for name, turns in total.items():
        against = (
            {} if name == "tutorial" else {"ratio": round(pace[name] / pace["tutorial"], 2), "against": "tutorial"}
        )
        if "luban, full" in pace:
            against["of_full"] = round(pace[name] / pace["luban, full"], 2)
        wall = {"examples_a_wall_second": round(turns.examples / turns.wall, 2)}
        what = f"{problem.task.name}: {name}"
        yield bench.line(what, round(pace[name], 2), "examples a CPU second", **against, **wall, **asdict(turns))


def ways(problem: Problem, options: argparse.Namespace) -> list[str]:
    """The ways that the task can take, or those of them that are named."""
    able = []
    for name in options.ways or WAYS:
        config = TrainConfig.model_validate({**problem.config.model_dump(), **WAYS[name]})
        try:
            check_method(config, problem.task.name, problem.base.path)
            check_objectives(config, problem.data)
        except ConfigError as error:
            bench.say(f"{name} is left out: {error}")
        else:
            able.append(name)
    return able


# --- part two: the same score -----------------------------------------------------------------------------------------


def same_score(problem: Problem, options: argparse.Namespace) -> Iterator[bench.Line]:
    """Part two: the tutorial's epochs, then luban until it is as good on the dev rows."""
    main = problem.task.main_score
    tutorial, spent, target = Tutorial(problem, repaired=True), 0.0, 0.0
    for epoch in range(options.epochs):
        started = time.process_time()
        for _ in tutorial.epoch():
            pass
        spent += time.process_time() - started
        target = dev_scores(tutorial.model, problem.material)[main]
        bench.say(f"  tutorial, labels repaired, epoch {epoch + 1}: {main} {target:.4f} after {spent:.0f} CPU seconds")
    what = f"{problem.task.name}: {main} on dev rows, "
    usual = f"{what}tutorial with labels repaired, {options.epochs} epochs"
    yield bench.line(usual, round(target, 4), main, cpu=round(spent, 1))
    last: dict[str, Any] = {}
    for steps, score, cpu in luban_scores(problem, options.scratch / "score"):
        bench.say(f"  luban, step {steps}: {main} {score:.4f} after {cpu:.0f} CPU seconds")
        last = {"value": round(score, 4), "cpu": round(cpu, 1), "steps": steps, "reached": score >= target}
        if score >= target:
            break
    against = "the tutorial's CPU time, as a multiple of luban's to the same score"
    yield bench.line(
        f"{what}luban until there", last.pop("value"), main, round(spent / last["cpu"], 2), against, **last
    )


def luban_scores(problem: Problem, work: Path) -> Iterator[tuple[int, float, float]]:
    """(steps, dev score, CPU seconds) of a run with the defaults: after the probe, then ever later, then at the end."""
    main = problem.task.main_score
    luban = Luban(problem, {}, work)
    spent, learner = problem.encode_seconds + luban.probe, luban.learner
    assert learner is not None
    yield 0, dev_scores(luban.model, problem.material)[main], spent
    started = time.process_time()
    forecast(learner, 0.0)
    due = spent * MORE
    for _ in luban.steps():
        now = spent + time.process_time() - started
        if now < due and learner.done < learner.total:
            continue
        spent, due = now, now * MORE
        yield learner.done, dev_scores(luban.model, problem.material)[main], spent
        started = time.process_time()


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--task", choices=list(SOURCES), help="both, one after the other, where none is named")
    out.add_argument("--source", help="other rows than the task's usual ones, relative to --data (with --task)")
    out.add_argument("--part", choices=["speed", "score"], help="both where none is named")
    out.add_argument("--ways", nargs="*", choices=list(WAYS), help="all that the task can take where none is named")
    out.add_argument("--rows", type=int, default=2000, help="training rows, evenly spread over the data")
    out.add_argument("--rounds", type=int, default=5)
    out.add_argument("--seconds", type=float, default=8.0, help="CPU seconds of a turn")
    out.add_argument("--epochs", type=int, default=TUTORIAL_EPOCHS, help="of the tutorial's recipe in part two")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        if options.quick:
            options.rows, options.rounds, options.seconds, options.epochs = 48, 1, 0.05, 1
        found: list[bench.Line] = []
        for name in [options.task] if options.task else list(SOURCES):
            source = {"source": options.source} if options.source else SOURCES[name]
            data = bench.rows(options, name, source, valid_share=0.1)
            problem = Problem.of(bench.thinned(data, train=options.rows, valid=DEV_ROWS), bench.base(options))
            bench.say(f"{name}: {len(problem.rows)} rows, {len(problem.material.valid)} dev rows, {problem.schedule()}")
            for part, measure in (("speed", speed), ("score", same_score)):
                if options.part in (None, part):
                    found += measure(problem, options)
        bench.tell(options, found)


if __name__ == "__main__":
    main()
