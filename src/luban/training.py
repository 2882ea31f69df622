"""The one loop that learns: a generator of typed steps; it neither prints, saves nor evaluates.

    learner = Learner(model, schedule, examples, objective=TaskLoss(task), feed=collated(model, examples, pad_id))
    for event in learner.learn():      # Step ... Step, EpochEnd, Step ...
        ...                            # the caller scores, saves `learner.state()`, stops by leaving the loop

What it does: length-bucketed batches under a token budget, dynamic padding, micro-batches that fit the memory, fused AdamW
with a rate of its own for the head, warm-up and linear decay, clipping, bf16 autocast where the processor multiplies it.
What a method may change stands in three seams: which parameters learn (``requires_grad``), what the model is fed, and the
`Objective` that a step makes smaller.
The order of rows is a function of seed and epoch alone, so that a restored learner goes on exactly where it stood.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from luban import processes
from luban.batching import bucketed, micro_batches
from luban.encoding import IGNORE, Window, collate
from luban.outputs import answers_of
from luban.records import EpochEnd, Step
from luban.tasks.base import Task

Feed = Callable[[Sequence[int]], dict[str, torch.Tensor]]
"the model's inputs for these examples, padded to the longest, on the model's device"


@dataclass(frozen=True, slots=True)
class Example:
    """One window to learn from; ``weight`` is what it counts in the mean loss.

    ``row``: which of the run's rows it is a piece of; ``labelled``: whether ``target`` says anything. ``beside``: windows that
    are read apart in the same step (a query's passages); the model's answers then stand one a window, row by row.
    """

    window: Window
    target: NDArray[Any]
    weight: float
    row: int = -1
    labelled: bool = True
    beside: tuple[Window, ...] = ()

    @property
    def windows(self) -> tuple[Window, ...]:
        """Every window of it, in the order of the model's answers."""
        return (self.window, *self.beside)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The arithmetic of a run, all of it chosen: nothing here is zero for 'automatic'."""

    epochs: float
    rate: float
    head_rate: float
    batch_rows: int
    batch_tokens: int
    micro_tokens: int
    warmup: float = 0.1
    decay: float = 0.01
    clip: float = 1.0
    smoothing: float = 0.0
    layer_decay: float = 1.0
    bf16: bool = False
    seed: int = 13


@dataclass(frozen=True, slots=True)
class Part:
    """A micro-batch: the model's ``inputs``, what each row should say and counts for, and which examples these are."""

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    weights: torch.Tensor
    rows: tuple[int, ...]


class Objective(ABC):
    """What a step makes smaller; an objective may stand around another and add to it.

    ``whole_batch``: a row's loss depends on the batch's other rows, so that there are no micro-batches.
    """

    whole_batch: bool = False

    @abstractmethod
    def logits(self, model: nn.Module, part: Part) -> torch.Tensor:
        """The model's answers in float32: (b, labels), or (b, n, labels) for a tagger."""

    @abstractmethod
    def of(self, logits: torch.Tensor, part: Part) -> torch.Tensor:
        """The sum of the rows' weighted losses for these answers."""

    def loss(self, model: nn.Module, part: Part) -> torch.Tensor:
        """The sum of the rows' weighted losses, to be differentiated."""
        return self.of(self.logits(model, part), part)

    def backward(self, model: nn.Module, part: Part, whole: float) -> float:
        """Add the gradients of ``loss / whole`` to the parameters'; returns that quotient."""
        loss = self.loss(model, part) / whole
        loss.backward()
        return float(loss.detach())

    def stepped(self, done: int, total: int) -> None:  # noqa: B027 - most objectives have nothing to do then
        """Called after each step, while its gradients are still there; ``done`` of ``total`` steps are taken."""


class TaskLoss(Objective):
    """The loss of the task itself, with label smoothing where it applies; matrix products in bf16 where asked."""

    def __init__(self, task: Task, *, smoothing: float = 0.0, bf16: bool = False) -> None:
        self.task, self.smoothing, self.bf16 = task, smoothing, bf16
        self.whole_batch = task.whole_batch

    def logits(self, model: nn.Module, part: Part) -> torch.Tensor:
        with torch.autocast(part.targets.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            answers = answers_of(model, part.inputs)
        return answers.float()

    def of(self, logits: torch.Tensor, part: Part) -> torch.Tensor:
        return self.task.loss(logits, part.targets, part.weights, self.smoothing)


class Learner:
    """A model being trained: weights, optimiser and position; restored bit for bit by ``restore(state())``.

    ``whole``: the model that ``model`` is the trained part of, where that is not all of it; it names the parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        examples: Sequence[Example],
        *,
        objective: Objective,
        feed: Feed,
        whole: nn.Module | None = None,
    ) -> None:
        self.model, self.schedule, self.examples = model, schedule, examples
        self.objective, self.feed = objective, feed
        self.lengths = array("i", (max(w.length for w in e.windows) * len(e.windows) for e in examples))
        self.device = next(model.parameters()).device
        self.optimiser = torch.optim.AdamW(parameter_groups(whole or model, schedule), fused=True)
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.done = 0
        self.losses: list[float] = []
        self.allow(schedule.micro_tokens)

    def allow(self, tokens: int) -> None:
        """Hold at most ``tokens`` padded sub-words at a time: in micro-batches or, where there are none, in smaller batches."""
        most = min(self.schedule.batch_tokens, tokens) if self.objective.whole_batch else self.schedule.batch_tokens
        self.schedule = replace(self.schedule, micro_tokens=tokens, batch_tokens=most)
        self.total = max(1, math.ceil(len(self.order(0)) * self.schedule.epochs))

    def order(self, epoch: int) -> Sequence[Sequence[int]]:
        """The batches of an epoch, as indices of examples."""
        return bucketed(
            self.lengths, self.schedule.batch_rows, self.schedule.batch_tokens, seed=self.schedule.seed * 1000 + epoch
        )

    def learn(self) -> Iterator[Step | EpochEnd]:
        """Train from where the learner stands to the schedule's end; raises FloatingPointError if the loss is not finite.

        A learner that was restored at the very end of an epoch gives that `EpochEnd` once more.
        """
        position = 0
        epoch = 0
        while position < self.total:
            for batch in islice(self.order(epoch), self.total - position):
                position += 1
                if position > self.done:
                    yield self._step(batch, epoch)
            epoch += 1
            if self.done == position:
                yield EpochEnd(epoch, self.done, self.total, last=self.done == self.total)

    def mean_loss(self) -> float:
        """Mean training loss since it was last asked for; 0 where no step was taken."""
        mean = sum(self.losses) / max(1, len(self.losses))
        self.losses.clear()
        return mean

    def probe(self, batch: Sequence[int]) -> None:
        """Forward and backward of one batch without a step: to see what it takes."""
        self.model.train()
        self._backward(batch)
        self._cleared()

    def state(self) -> dict[str, Any]:
        """All that is needed to go on: the weights that learn, optimiser, position and the generators of random numbers."""
        generators = {"rng": torch.get_rng_state()}
        if self.device.type == "cuda":
            generators["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        return {
            "model": learnt(self.model),
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
            "losses": list(self.losses),
            **generators,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        recall(self.model, state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.done = int(state["done"])
        self.losses = list(state["losses"])
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)

    def _step(self, batch: Sequence[int], epoch: int) -> Step:
        self.model.train()
        factor = rate_factor(self.done, self.total, self.schedule.warmup)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        loss = self._backward(batch)
        norm = self._limited()
        if not math.isfinite(norm) or not math.isfinite(loss):
            raise FloatingPointError(f"the loss became {loss} (gradient norm {norm}) at step {self.done + 1}")
        self.optimiser.step()
        self.done += 1
        self.objective.stepped(self.done, self.total)
        self._cleared()
        self.losses.append(loss)
        tokens = sum(self.lengths[i] for i in batch)
        return Step(self.done, self.total, epoch, loss, self.schedule.rate * factor, len(batch), tokens, norm)

    def _backward(self, batch: Sequence[int]) -> float:
        """Gradients of the batch's mean loss, micro-batch by micro-batch; returns that loss.

        Several processes take a share of the rows each; a batch that must stay whole is done by all of them.
        """
        whole = sum(self.examples[i].weight for i in batch)
        if self.objective.whole_batch:
            return self.objective.backward(self.model, self._part(batch), whole)
        total = 0.0
        for part in micro_batches(processes.share(batch), self.lengths, self.schedule.micro_tokens):
            total += self.objective.backward(self.model, self._part(part), whole)
        return processes.summed(self.model.parameters(), total)

    def _limited(self) -> float:
        """Bound the step's gradients; returns the norm they had."""
        return float(nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip))

    def _cleared(self) -> None:
        """Forget the step's gradients."""
        self.optimiser.zero_grad(set_to_none=True)

    def _part(self, rows: Sequence[int]) -> Part:
        chosen = [self.examples[i] for i in rows]
        targets = torch.from_numpy(padded_targets(chosen)).to(self.device)
        weights = torch.tensor([example.weight for example in chosen], device=self.device)
        return Part(self.feed(rows), targets, weights, tuple(rows))


def learnt(model: nn.Module) -> dict[str, torch.Tensor]:
    """What training changes: the model's state without the parameters that do not learn."""
    still = {name for name, one in model.named_parameters(remove_duplicate=False) if not one.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in still}


def recall(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Give a model back what `learnt` took of it; raises `KeyError` where that is not the whole of it."""
    found = model.load_state_dict(state, strict=False)
    lacking = sorted(learnt(model).keys() & set(found.missing_keys)) + found.unexpected_keys
    if lacking:
        raise KeyError(f"the state and the model differ in {', '.join(lacking[:3])}")


def collated(model: nn.Module, examples: Sequence[Example], pad_id: int) -> Feed:
    """Feeds a model its examples' windows: those of their arrays (`encoding.collate`) that it takes.

    A picture is varied by numbers drawn from torch's generator, whose state is kept with the learner's.
    """
    takes = set(inspect.signature(model.forward).parameters)
    device = next(model.parameters()).device

    def feed(rows: Sequence[int]) -> dict[str, torch.Tensor]:
        arrays = collate([window.seen(drawn) for i in rows for window in examples[i].windows], pad_id)
        return {name: torch.from_numpy(array).to(device) for name, array in arrays.items() if name in takes}

    return feed


def drawn() -> np.random.Generator:
    """A generator of random numbers with a seed from torch's, so that a restored learner draws the same."""
    return np.random.default_rng(int(torch.randint(2**62, (1,))))


def parameter_groups(model: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Body and head, each with and without weight decay; the head is what the base model does not have.

    With ``layer_decay`` below 1 a layer's rate is that factor times the next layer's (ULMFiT's discriminative rates,
    Howard & Ruder 2018); embeddings count as the layer below the first.
    """
    prefix = cast(str, getattr(model, "base_model_prefix", ""))
    start = f"{prefix}." if hasattr(model, prefix) else ""  # an encoder alone is all body
    depth = max((layer_of(name) for name, _ in model.named_parameters() if name.startswith(start)), default=0)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith(start) and ".pooler." not in name:
            rate = schedule.rate * schedule.layer_decay ** (depth - layer_of(name))
        else:
            rate = schedule.head_rate
        rate *= getattr(parameter, "pace", 1.0)
        decay = schedule.decay if parameter.ndim > 1 and not getattr(parameter, "undecayed", False) else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def layer_of(name: str) -> int:
    """1-based encoder layer of a parameter's name; 0 for embeddings and anything else without a number."""
    return next((int(part) + 1 for part in name.split(".") if part.isdigit()), 0)


def rate_factor(done: int, total: int, warmup: float) -> float:
    """Share of the peak rate for the step after ``done``: a linear rise over ``warmup``, then a linear fall to zero."""
    rising = max(1, math.ceil(total * warmup)) if warmup else 0
    if done < rising:
        return (done + 1) / rising
    return max(0.0, (total - done) / max(1, total - rising))


def padded_targets(examples: Sequence[Example]) -> NDArray[Any]:
    """Targets of a micro-batch in one array; lists of different lengths (tags, passages) are padded with `IGNORE`."""
    first = examples[0].target
    if first.ndim == 0:
        return np.stack([example.target for example in examples])
    longest = max(len(example.target) for example in examples)
    out = np.full((len(examples), longest), IGNORE, dtype=first.dtype)
    for i, example in enumerate(examples):
        out[i, : len(example.target)] = example.target
    return out


def multiplies_bf16() -> bool:
    """Whether this machine multiplies bf16 faster than fp32: a GPU that supports it, or AVX512-BF16, AMX or Arm's bf16."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    asked = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    if any(ask() for ask in asked if ask is not None):
        return True
    return "bf16" in str(getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")()).lower()
