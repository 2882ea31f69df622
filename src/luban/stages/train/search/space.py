"""What a search varies: the knobs, their bounds, and how what is suggested becomes a recipe; it suggests nothing itself.

A bound is a value, a range (``1e-5..1e-4``) or values with commas; with ``x`` it is a multiple of what luban would choose for
this method, task and number of rows, so that one bound suits methods whose rates lie a hundredfold apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from luban.bases import Base
from luban.config import SearchConfig, TrainConfig, parse
from luban.errors import ConfigError, LubanError
from luban.stages.train.choice import AUTO
from luban.stages.train.methods import METHODS
from luban.stages.train.methods.adapters import RANK
from luban.stages.train.recipe import dropout, schedule
from luban.stages.train.run import check_method
from luban.tasks.base import Task

STILL = {"head", "contrastive", "prototypes"}
"methods whose last step leaves the body as it is"
RANKED = {"lora", "dora", "adalora"}


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting: ``bears`` whether a method and a task heed it; ``log``: differences count as ratios; ``whole``: no fractions.

    ``zero``: nothing is a value of it, where with others it stands for automatic.
    """

    name: str
    bears: Callable[[str, Task], bool]
    log: bool = False
    whole: bool = False
    zero: bool = False


KNOBS = (
    Knob("rate", lambda method, _: method not in STILL, log=True),
    Knob("head_rate", lambda method, task: method != "prototypes" and not (task.embeds or task.generates), log=True),
    Knob("batch_rows", lambda method, _: method != "prototypes", whole=True),
    Knob("epochs", lambda method, _: method != "prototypes"),
    Knob("layers", lambda method, _: method == "freeze", whole=True),
    Knob("rank", lambda method, _: method in RANKED, whole=True),
    Knob("dropout", lambda method, _: method not in STILL, zero=True),
    Knob("smoothing", lambda method, task: method != "prototypes" and task.main_score == "accuracy", zero=True),
)


@dataclass(frozen=True, slots=True)
class Axis:
    """The values of a knob: ``choices``, else all from ``low`` to ``high``; ``times``: multiples of what luban would choose."""

    choices: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    times: bool = False

    def nearest(self, value: float) -> float:
        """The value of the axis that is nearest to another."""
        if self.choices:
            return min(self.choices, key=lambda choice: abs(choice - value))
        return min(max(value, self.low), self.high)


class Suggests(Protocol):
    """A trial of optuna, as far as it is asked here."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...
    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...


@dataclass(frozen=True, slots=True)
class Suggested:
    """One recipe to try, and the ``values`` of the knobs that bear on it, those that were left to luban included."""

    config: TrainConfig
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Space:
    """All recipes of a search over ``rows`` rows; ``config`` is what they share, ``left_out`` methods and why."""

    config: TrainConfig
    bases: Mapping[str, Base]
    methods: tuple[str, ...]
    axes: Mapping[str, Axis]
    task: Task
    rows: int
    left_out: Mapping[str, str]

    def suggested(self, trial: Suggests) -> Suggested:
        """The recipe that a trial suggests: base and method first, then what bears on them."""
        base = _chosen(trial, "base", tuple(self.bases))
        method = _chosen(trial, "method", self.methods)
        own = self.own(base, method)
        values: dict[str, Any] = {"base": base, "method": method}
        changed: dict[str, Any] = {"base": base, "method": method}
        for knob in self.knobs(method):
            usual = own[knob.name]
            values[knob.name] = usual
            axis = self.axes.get(knob.name)
            if axis is None or (axis.times and not usual):
                continue
            value = _drawn(trial, knob, axis) * (usual if axis.times else 1)
            if not math.isclose(value, usual):  # what luban would choose anyway is left to it
                values[knob.name] = changed[knob.name] = self._settled(knob, value, own)
        if "rate" in changed and "head_rate" in values:
            changed["head_rate"] = values["head_rate"]  # else it would follow the body's
        return Suggested(self.config.model_copy(update=changed), values)

    def usual(self) -> dict[str, Any]:
        """What a trial must suggest to get luban's own settings, or the nearest to them that the bounds allow."""
        base = next(iter(self.bases))
        method = self.config.method if self.config.method in self.methods else self.methods[0]
        found: dict[str, Any] = {"base": base} if len(self.bases) > 1 else {}
        found |= {"method": method} if len(self.methods) > 1 else {}
        own = self.own(base, method)
        for knob in self.knobs(method):
            axis = self.axes.get(knob.name)
            if axis is None or len(axis.choices) == 1 or (axis.times and not own[knob.name]):
                continue
            value = axis.nearest(1.0 if axis.times else own[knob.name])
            found[knob.name] = round(value) if knob.whole and not (axis.choices or axis.times) else value
        return found

    def knobs(self, method: str) -> list[Knob]:
        """The knobs that bear on a method."""
        return [knob for knob in KNOBS if knob.bears(method, self.task)]

    def own(self, base: str, method: str) -> dict[str, float]:
        """What luban would choose, by knob; 0 for the layers of a base that does not tell how many it has."""
        config = self.config
        plan = schedule(config.model_copy(update={"method": method}), self.task, self.rows)
        return {
            "rate": plan.rate, "head_rate": plan.head_rate, "batch_rows": plan.batch_rows, "epochs": plan.epochs,
            "smoothing": plan.smoothing, "rank": config.rank or RANK, "depth": (depth := _depth(self.bases[base])),
            "layers": config.layers or (depth + 1) // 2,
            "dropout": dropout(config, self.task),
        }  # fmt: skip

    def _settled(self, knob: Knob, value: float, own: Mapping[str, float]) -> float:
        """A value as a person would write it, and as the base can take it."""
        if knob.name == "layers" and own["depth"]:
            value = min(value, own["depth"] - self.task.embeds)
        return max(1, round(value)) if knob.whole else float(f"{value:.3g}")


def space_of(config: TrainConfig, search: SearchConfig, bases: Mapping[str, Base], *, task: Task, rows: int) -> Space:
    """The space of a search: an option of training that is set stays as it is, unless the search's own space names it too.

    Raises `ConfigError` or `UnknownName` for bounds that cannot be read or used, or a method that cannot be taken.
    """
    bounds, named = search.space, search.space.model_fields_set
    fixed = config.model_fields_set - named - ({"method"} if config.method == AUTO else set())
    wanted = (config.method,) if "method" in fixed else tuple(filter(None, map(str.strip, bounds.method.split(","))))
    if not wanted:
        raise ConfigError(
            "space.method names no method.", f"Known: {', '.join(METHODS)}.", "Name one, or leave it out."
        )
    methods, left_out = _able(config, wanted, bases, task.name, strict="method" in fixed | named)
    axes = {knob.name: axis_of(knob, getattr(bounds, knob.name)) for knob in KNOBS if knob.name not in fixed}
    usual = "full" if config.method == AUTO else config.method
    return Space(config, bases, methods or (usual,), axes, task, rows, left_out)


def _able(
    config: TrainConfig, wanted: Sequence[str], bases: Mapping[str, Base], task: str, *, strict: bool
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The methods that all bases and the task can take, and why not the others; ``strict``: raises for these."""
    able, left_out = [], {}
    for method in wanted:
        try:
            for base in bases.values():
                check_method(config.model_copy(update={"method": method}), task, base.path)
        except LubanError as error:
            if strict:
                raise
            left_out[method] = error.happened
        else:
            able.append(method)
    return tuple(able), left_out


def axis_of(knob: Knob, text: str) -> Axis:
    """The axis of a bound as it is typed; raises `ConfigError` for one that cannot be read, or that training refuses."""
    ranged = ".." in text
    parts = [part.strip() for part in text.split(".." if ranged else ",")]
    times = all(part.endswith("x") for part in parts)
    try:
        numbers = [float(part.removesuffix("x") if times else part) for part in parts]
    except ValueError:
        numbers = []
    fits = all(0 < number < math.inf or (number == 0 and knob.zero) for number in numbers)
    if not numbers or not fits or (ranged and (len(numbers) != 2 or numbers[0] >= numbers[1])):
        raise ConfigError(
            f"space.{knob.name} cannot be {text!r}.",
            "A value, a range such as 1e-5..1e-4, or values joined by commas, from small to large; "
            "with x, times what luban would choose.",
            f"Mend it, for example {knob.name}=2..4, or leave it out.",
        )
    for number in () if times else numbers:
        parse(TrainConfig, {knob.name: number}, source="space")
    return Axis((), numbers[0], numbers[1], times) if ranged else Axis(tuple(dict.fromkeys(numbers)), times=times)


def _chosen(trial: Suggests, name: str, choices: Sequence[str]) -> str:
    return choices[0] if len(choices) == 1 else str(trial.suggest_categorical(name, choices))


def _drawn(trial: Suggests, knob: Knob, axis: Axis) -> float:
    """A suggestion on an axis; of one value, that."""
    if axis.choices:
        return axis.choices[0] if len(axis.choices) == 1 else float(trial.suggest_categorical(knob.name, axis.choices))
    if knob.whole and not axis.times:
        return trial.suggest_int(knob.name, int(axis.low), int(axis.high), log=knob.log)
    return trial.suggest_float(knob.name, axis.low, axis.high, log=knob.log)


def _depth(base: Base) -> int:
    """Layers of a base, 0 where its config does not tell."""
    config = json.loads((base.path / "config.json").read_text(encoding="utf8"))
    return int(config.get("num_hidden_layers") or 0)
