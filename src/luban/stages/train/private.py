"""Private training: what it refuses, what it leaves out, and how much it spends; the steps are in `private_steps`.

DP-SGD (Abadi et al. 2016, https://arxiv.org/abs/1607.00133): each step draws every row with the same probability, bounds what
each may say and adds noise to the sum. What the steps together give away of a row is counted by opacus's accountant of Renyi
differential privacy (Mironov 2017, https://arxiv.org/abs/1702.07476), an upper bound. Rows are neighbours where one is added or
left out. All else that sees training rows is off in such a run; docs/training.md lists what is and what the promise leaves out.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luban import processes
from luban.config import OWN_TEXTS, TrainConfig
from luban.errors import ConfigError, MissingExtra, counted
from luban.records import Prepared
from luban.tasks import TASKS

if TYPE_CHECKING:
    from luban.stages.train.material import Material
    from luban.training import Schedule

ACCOUNTANT = "rdp"
BOUNDED = ("full", "freeze", "head", "lora")
"whose steps are sums over rows, of layers that opacus takes apart by row"
KINDS = ("text-classification", "text-pair", "multi-label-classification", "token-classification")
"tasks that take from the rows nothing but their labels' names"
OFF: dict[str, tuple[Callable[[TrainConfig], bool], str]] = {
    "adversarial": (lambda c: c.adversarial != "none", "Several passes a row are not bounded as one"),
    "rdrop": (lambda c: c.rdrop > 0, "Several passes a row are not bounded as one"),
    "mixup": (lambda c: c.mixup > 0, "A mix of two rows cannot be bounded row by row"),
    "class_weights": (lambda c: c.class_weights != "none", "The weights are counted from the rows, without noise"),
    "noisy": (lambda c: c.noisy != "none", "Suspects are found, and told, from the rows without noise"),
    "teacher": (lambda c: bool(c.teacher), "A teacher may have learnt the rows without noise"),
    "continue_from": (lambda c: bool(c.continue_from), "The older model has learnt its rows without noise"),
    "precision=bf16": (lambda c: c.precision == "bf16", "Gradients are bounded in fp32"),
}
"options that cannot be private, and why"


@dataclass(frozen=True, slots=True)
class Budget:
    """The arithmetic of a private run over ``rows`` rows.

    ``epsilon`` at ``delta`` is allowed. Each of ``steps`` steps draws every row with probability ``rate``, bounds its gradient
    to norm ``clip`` and adds to the sum noise of standard deviation ``noise * clip``.
    """

    epsilon: float
    delta: float
    rows: int
    rate: float
    steps: int
    clip: float
    noise: float

    @property
    def batch(self) -> float:
        """Rows that a step draws on average."""
        return self.rate * self.rows

    @property
    def a_pass(self) -> int:
        """Steps in which every row is drawn once on average."""
        return max(1, round(1 / self.rate))

    def spent(self, steps: int) -> float:
        """The epsilon that ``steps`` of its steps have spent at ``delta``."""
        return spent(self.noise, self.rate, steps, self.delta) if steps else 0.0

    def as_json(self, steps: int) -> dict[str, Any]:
        """What the manifest says after ``steps`` steps: epsilon is what they spent, target what was allowed."""
        told = {**asdict(self), "epsilon": round(self.spent(steps), 4), "steps": steps}
        return {**told, "target": self.epsilon, "accountant": ACCOUNTANT, "unit": "row"}


def guarded(config: TrainConfig) -> TrainConfig:
    """The config of a private run without what would look at training rows unprotected; any other as it is."""
    if not config.private:
        return config
    pooling = "mean" if config.pooling == "auto" else config.pooling
    return config.model_copy(update={"probe": False, "pooling": pooling, "golden": "synthetic", "precision": "fp32"})


def first_windows(material: Material) -> Material:
    """The material of a private run: one window a row, each row counting the same, and no sketch of the rows."""
    import numpy as np

    from luban.stages.train.cache import Chosen, column

    _, first = np.unique(column(material.examples, "row"), return_index=True)
    return replace(material, examples=Chosen(material.examples, np.sort(first), weights=np.ones(len(first))), drift={})


def check(config: TrainConfig, data: Prepared, base: Path) -> None:
    """Raises `ConfigError` for a run that cannot be private, `MissingExtra` without opacus; asked before any work."""
    if not config.private:
        return
    if find_spec("opacus") is None:
        raise MissingExtra("Private training (opacus)", "private")
    _check_combination(config, data.task)
    if data.task == "text-pair" and not TASKS[data.task].fit(data.train).labels:
        raise _unfit("text-pair with numbers for labels")
    if dict(data.notes.get("section", {})).get("adapt") == OWN_TEXTS:
        raise ConfigError(
            "adapt=rows and private cannot be combined.", "The base would read the training rows without noise.",
            "Name other texts with --adapt, or leave it out.",
        )  # fmt: skip
    _check_base(base)
    _check_sampling(config, data)


def check_search(config: TrainConfig) -> None:
    """Raises `ConfigError` for a search among private runs: what all of them spend would be told of the best one only."""
    if config.private:
        raise ConfigError(
            "A search cannot be private.",
            "Each trial would spend an epsilon of its own on the same rows.",
            "Search on rows that need no promise, then train privately by what was found.",
        )


def _check_combination(config: TrainConfig, task: str) -> None:
    if task not in KINDS:
        raise _unfit(task)
    if config.method not in BOUNDED:
        raise ConfigError(
            f"The method {config.method!r} cannot be private.",
            f"Methods whose gradients can be bounded row by row: {', '.join(BOUNDED)}.",
            "Choose one of them with --method.",
        )
    for name, (on, why) in OFF.items():
        if on(config):
            raise ConfigError(f"{name} and private cannot be combined.", f"{why}.", f"Leave out {name}, or private.")
    if processes.count() > 1:
        raise ConfigError(
            "Several processes cannot train privately together.", "One process draws the rows and the noise.",
            "Start it without torchrun.",
        )  # fmt: skip


def _unfit(task: str) -> ConfigError:
    return ConfigError(
        f"{task} cannot be learnt privately.",
        f"A row must have its own loss, and nothing but the labels' names may come from the rows: {', '.join(KINDS)}.",
        "Choose one of these tasks, or leave out private.",
    )


def _check_base(base: Path) -> None:
    from luban.stages.train.model import skeleton
    from luban.stages.train.pooling import encoder_of

    model = skeleton(base)
    if model is not None and encoder_of(model) is None:
        raise ConfigError(
            f"{base.name} is not built of BERT's layers.",
            "A private run must take each gradient apart by row, which is known to be right for those only.",
            "Take another base: luban models",
        )


def _check_sampling(config: TrainConfig, data: Prepared) -> None:
    """Refuse a batch that cannot be drawn from these rows, and noise that leaves nothing to learn."""
    from luban.stages.train.recipe import schedule

    rows = len(data.train)
    if not rows:
        return  # said where rows are read
    if config.delta * rows >= 1:
        raise ConfigError(
            f"delta is {config.delta:g}, and there are {counted(rows, 'row')}.",
            f"It must be below {1 / rows:.2g}, one over the rows: else giving away one row whole would count as private.",
            "Set it lower, or 0 for a tenth of that.",
        )
    if config.batch_rows > rows:
        raise ConfigError(
            f"A private batch of {counted(config.batch_rows, 'row')} cannot be drawn from {counted(rows, 'row')}.",
            "Each step draws every row with the same probability, which is at most 1.",
            f"Set batch_rows to {rows} or lower, or 0.",
        )
    budget = budget_of(config, schedule(config, TASKS[data.task].fit(data.train), rows), rows)
    if budget.noise >= budget.batch:
        raise ConfigError(
            f"An epsilon of {config.private:g} cannot be kept with {counted(rows, 'row')} and {counted(budget.steps, 'step')}.",
            f"The noise on each weight would be {budget.noise:.1f} times what one row may say, and a batch has "
            f"{budget.batch:.0f} rows.",
            "Give more rows, fewer epochs, larger batches or a larger epsilon.",
        )


def budget_of(config: TrainConfig, plan: Schedule, rows: int) -> Budget:
    """The budget of a run over ``rows`` rows, with the least noise that keeps to its epsilon; infinite where none does."""
    rate = min(1.0, plan.batch_rows / rows)
    steps = max(1, math.ceil(max(1, round(1 / rate)) * plan.epochs))
    delta = config.delta or 1 / (10 * rows)
    noise = least_noise(config.private, delta, rate, steps)
    return Budget(config.private, delta, rows, rate, steps, plan.clip, noise)


@cache
def least_noise(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """The noise multiplier with which the accountant counts at most ``epsilon``."""
    from opacus.accountants.utils import get_noise_multiplier

    asked = {"target_epsilon": epsilon, "target_delta": delta, "sample_rate": rate, "steps": steps}
    try:
        with _calm():
            return float(get_noise_multiplier(**asked, accountant=ACCOUNTANT))
    except ValueError:
        return math.inf


@cache
def spent(noise: float, rate: float, steps: int, delta: float) -> float:
    """The epsilon of so many steps, by the accountant."""
    from opacus.accountants import create_accountant

    accountant = create_accountant(ACCOUNTANT)
    accountant.history = [(noise, rate, steps)]
    with _calm():
        return float(accountant.get_epsilon(delta=delta))


def number_of(secret: str, *what: object) -> int:
    """A seed that only whoever has the secret can tell: without it the noise is none to others."""
    return int.from_bytes(hashlib.sha256(f"{secret} {what}".encode()).digest()[:8], "big") >> 1


def _calm() -> warnings.catch_warnings[None]:
    """Without the accountant's note that other orders could give a tighter bound: it is a bound all the same."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
