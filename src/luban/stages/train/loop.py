"""One run of the loop with everything around it: probe, method, forecast, dev scores, checkpoints, curves, early stopping."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luban import processes
from luban.config import TrainConfig
from luban.errors import GateError
from luban.records import EpochEnd, Step, Watch, unwatched
from luban.runtimes.pytorch import device
from luban.stages.train import suspects
from luban.stages.train.cache import told
from luban.stages.train.checkpoint import Checkpoint
from luban.stages.train.forecast import forecast
from luban.stages.train.fused import settle
from luban.stages.train.material import Material, dev_scores
from luban.stages.train.methods import METHODS
from luban.stages.train.methods.base import BESIDE, Trained
from luban.stages.train.mining import with_negatives
from luban.stages.train.model import pooler
from luban.stages.train.objectives.compose import compose
from luban.stages.train.packed import packed
from luban.stages.train.pooling import add_mean_layer
from luban.stages.train.private import budget_of
from luban.stages.train.probe import may_average, pass_on, start_head
from luban.stages.train.sinks import Curves
from luban.stages.train.weights import balanced
from luban.training import Learner, Schedule, learnt, recall

CHECKPOINT_SECONDS = 120.0
"an interrupted run loses at most this much, besides what it lost at the last epoch's end"


@dataclass
class Run:
    """A run in the folder ``path``; ``key`` says whose it is, so that only the same run is resumed.

    ``progress`` is what a resumed run must remember: ``history`` of dev scores, the ``best`` of them, and for how many
    evaluations there was nothing better (``stale``); whether the model ``averages`` its tokens (`pooling`); the
    micro-batch, because other sums in another order are other weights; and the ``suspects`` where labels were doubted.
    ``parameters`` counts those that were trained and all of the model that came out.
    """

    path: Path
    key: str
    config: TrainConfig
    watch: Watch = unwatched
    progress: dict[str, Any] = field(
        default_factory=lambda: {"history": [], "best": None, "stale": 0, "averages": False, "micro_tokens": 0}
    )
    parameters: dict[str, int] = field(default_factory=dict)

    def fine_tune(self, model: nn.Module, material: Material, plan: Schedule) -> nn.Module:
        """Train the model; returns the plain model, with its best weights where there are validation rows to choose by."""
        model.to(device())
        checkpoint = Checkpoint(self.path / "checkpoint", self.key)
        kept = checkpoint.progress()
        if kept is not None:
            self.progress = kept
            plan = replace(plan, micro_tokens=kept["micro_tokens"])
        method = METHODS[self.config.method]()
        method.prepare(model, material, self.config)
        material = self._counted(model, material)
        self._begin(model, material, fresh=kept is None)
        material = packed(model, with_negatives(model, material, self.config), self.config)
        work = work_of(self.path)
        shutil.rmtree(work / BESIDE, ignore_errors=True)  # of a run before this one, which may have had another method
        trained = method.begin(model, material, self.config, work)
        if any(parameter.requires_grad for parameter in trained.whole.parameters()):
            self._learn(trained, material, plan, checkpoint)
        else:
            self.progress["history"] = [{"epoch": 0, "step": 0, **dev_scores(trained.whole, material)}]
        learn = sum(p.numel() for p in trained.whole.parameters() if p.requires_grad)
        plain: nn.Module = method.finish(trained)
        self.parameters = {"trained": learn, "all": sum(p.numel() for p in plain.parameters())}
        return plain

    def _learn(self, trained: Trained, material: Material, plan: Schedule, checkpoint: Checkpoint) -> None:
        """The loop, from where an interrupted run stood; leaves the best weights in the model."""
        resumed = checkpoint.progress() is not None
        learner = self._learner(trained, material, plan)
        self.watch(forecast(learner, self.config.memory))
        self.progress["micro_tokens"] = learner.schedule.micro_tokens
        torch.manual_seed(self.config.seed)
        if resumed:
            learner.restore(checkpoint.load(learner.state()))
        processes.alike(trained.whole)
        recipe = {**asdict(plan), "task": material.task.name}
        with Curves(
            self.config.log if processes.rank() == 0 else (), self.path / "logs", self.path.stem, recipe
        ) as curves:
            self._loop(learner, trained.whole, material, (checkpoint, curves))
        processes.wait()
        if self.config.private:
            from luban.stages.train.private_steps import settled

            self.progress["private"] = settled(learner)
        if self.progress["best"] is not None:
            recall(trained.whole, checkpoint.best())

    def _learner(self, trained: Trained, material: Material, plan: Schedule) -> Learner:
        objective = trained.around(compose(self.config, material, plan))
        if not self.config.private:
            return Learner(
                trained.step, plan, material.examples, objective=objective, feed=trained.feed, whole=trained.whole
            )
        from luban.stages.train.private_steps import PrivateLearner  # opacus is an extra

        budget = budget_of(self.config, plan, len(material.examples))
        secret = self.progress.setdefault("secret", secrets.token_hex(32))
        return PrivateLearner(trained, plan, material.examples, objective=objective, budget=budget, secret=secret)

    def _counted(self, model: nn.Module, material: Material) -> Material:
        """The material with each row counting for what it is to; suspect labels are looked for once a run."""
        if self.config.noisy != "none":
            if "suspects" not in self.progress:
                self.progress["suspects"] = suspects.find(model, material, seed=self.config.seed)
            material = suspects.heeded(material, self.progress["suspects"], self.config.noisy)
        if self.config.class_weights == "balanced":
            material = replace(material, examples=balanced(material.examples))
        return material

    def _begin(self, model: nn.Module, material: Material, *, fresh: bool) -> None:
        """Give the model its averaging layer where it has one, and in a fresh run its head."""
        if material.task.embeds or material.task.generates:
            return
        if fresh and material.task.fuses:
            settle(model, material.examples, material.encoder.pad_id)
        if fresh and self.config.probe:
            self.progress["averages"] = start_head(
                model, material.task, told(material.examples), pad_id=material.encoder.pad_id, config=self.config
            )
            return
        if fresh:
            self.progress["averages"] = self.config.pooling == "mean" and may_average(model, material.task)
        if self.progress["averages"]:
            add_mean_layer(model, seed=self.config.seed)
            if self.config.private:
                pass_on(pooler(model))  # `probe` would standardise what it reads by the rows

    def _loop(self, learner: Learner, whole: nn.Module, material: Material, kept_in: tuple[Checkpoint, Curves]) -> None:
        if self._stale():
            return
        checkpoint, curves = kept_in
        if material.task.embeds and material.valid and not self.progress["history"]:
            # A base may search better than what few rows make of it: it is the first to be judged.
            scores = dev_scores(whole, material)
            if self._judge(EpochEnd(0, 0, learner.total), scores, material.task.main_score, 0.0):
                checkpoint.save_best(learnt(whole))
        saved = time.monotonic()
        for event in guarded(learner):
            if isinstance(event, Step):
                curves.log({**self._told(event.loss, "train/loss"), "train/rate": event.rate}, event.done)
                self.watch(event)
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    checkpoint.save(learner.state(), self.progress)
                    saved = time.monotonic()
                continue
            if self.progress["history"] and self.progress["history"][-1]["step"] == event.done:
                continue  # this epoch was judged before the run was interrupted
            scores = dev_scores(whole, material)
            curves.log({f"valid/{name}": value for name, value in scores.items()}, event.done)
            if self._judge(event, scores, material.task.main_score, learner.mean_loss()):
                checkpoint.save_best(learnt(whole))
            checkpoint.save(learner.state(), self.progress)
            saved = time.monotonic()
            self.watch(replace(event, extra=scores))
            if self._stale():
                return

    def _judge(self, event: EpochEnd, scores: dict[str, float], main: str, loss: float) -> bool:
        """Remember the scores; returns whether they are the best so far."""
        told = self._told(loss) if event.done else {}
        self.progress["history"].append({"epoch": event.epoch, "step": event.done, **told, **scores})
        if main not in scores:
            return False
        better = self.progress["best"] is None or scores[main] > self.progress["best"]
        if better:
            self.progress["best"], self.progress["stale"] = scores[main], 0
        else:
            self.progress["stale"] += 1
        return better

    def _told(self, loss: float, name: str = "loss") -> dict[str, float]:
        """The training loss where it may be told: a private run has no noise on it."""
        return {} if self.config.private else {name: loss}

    def _stale(self) -> bool:
        """Whether to stop, which all processes do together."""
        return bool(processes.least(self.progress["stale"] >= self.config.patience))


def work_of(run: Path) -> Path:
    """The folder for what a run need not remember, one a process."""
    rank = processes.rank()
    return run / (f"work-{rank}" if rank else "work")


def guarded(learner: Learner) -> Iterator[Step | EpochEnd]:
    """The steps of a learner; raises `GateError` where training diverges."""
    try:
        yield from learner.learn()
    except FloatingPointError as error:
        raise GateError(
            f"Training diverged: {error}.",
            "The loss must stay finite.",
            "Lower rate (or head_rate), or use precision=fp32.",
        ) from error
