"""What can stand around a task's loss: adversarial embeddings, R-Drop, mixup, other curves, class weights; and which cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

from luban.errors import ConfigError
from luban.stages.train import fused, train
from luban.stages.train.forecast import saved_bytes
from luban.stages.train.material import Material, encode
from luban.stages.train.methods.freeze import frozen
from luban.stages.train.model import build
from luban.stages.train.objectives.adversarial import Adversarial, embedded
from luban.stages.train.objectives.compose import compose
from luban.stages.train.objectives.focal import focal
from luban.stages.train.objectives.gce import generalised
from luban.stages.train.objectives.mixup import Mixup
from luban.stages.train.objectives.rdrop import RDrop, apart
from luban.stages.train.objectives.reshaped import Reshaped
from luban.stages.train.objectives.rules import ANSWERS, OPTIONS, check
from luban.stages.train.recipe import schedule
from luban.stages.train.weights import balanced
from luban.tasks import TASKS
from luban.tasks.text_classification import TextClassification
from luban.training import Learner, Objective, Part, TaskLoss, collated
from tests.train.rows import base, config, prepared

ROOT = Path(__file__).parents[2]
ON: dict[str, dict[str, object]] = {
    "adversarial": {"adversarial": "fgm"},
    "rdrop": {"rdrop": 1.0},
    "mixup": {"mixup": 0.5},
    "focal": {"focal": 2.0},
    "gce": {"gce": 0.7},
    "class_weights": {"class_weights": "balanced"},
    "noisy": {"noisy": "weigh"},
}
"each option of `OPTIONS` with a value that turns it on"
KINDS = ["text-classification", "multi-label-classification", "token-classification"]


class Watched(Objective):
    """The task's loss, which remembers what the model was fed at each pass."""

    def __init__(self, material: Material) -> None:
        self.inner, self.fed = TaskLoss(material.task), list[torch.Tensor]()

    def logits(self, model: nn.Module, part: Part) -> torch.Tensor:
        self.fed.append(embedded(model, part).detach())
        return self.inner.logits(model, part)

    def of(self, logits: torch.Tensor, part: Part) -> torch.Tensor:
        return self.inner.of(logits, part)


def learner(tmp_path: Path, task: str = "text-classification", dropout: float = 0.0, **options: object) -> Learner:
    """A learner of all of a tiny model, with the objective of these options."""
    chosen = config(**options)
    material = encode(prepared(task), base(tmp_path, task), chosen)
    if material.task.fuses:
        model: nn.Module = fused.build(material.base, material.task, chosen, dropout=dropout, head_dropout=dropout)
    else:
        model = build(material.base, material.task, dropout=dropout, head_dropout=dropout)
    plan = schedule(chosen, material.task, len(material.examples))
    if chosen.class_weights == "balanced":
        material = replace(material, examples=balanced(material.examples))
    feed = collated(model, material.examples, pad_id=0)
    return Learner(model, plan, material.examples, objective=compose(chosen, material, plan), feed=feed)


def first_part(tmp_path: Path, task: str = "text-classification") -> tuple[nn.Module, Material, Part]:
    """A model without dropout, and the first rows of a task as a micro-batch."""
    material = encode(prepared(task), base(tmp_path, task), config())
    model = build(material.base, material.task, dropout=0.0, head_dropout=0.0)
    plan = schedule(config(), material.task, len(material.examples))
    feed = collated(model, material.examples, pad_id=0)
    whole = Learner(model, plan, material.examples, objective=TaskLoss(material.task), feed=feed)
    return model, material, whole._part(range(4))


def gradient(model: nn.Module, run: Callable[[], object]) -> torch.Tensor:
    """The gradients that ``run`` leaves, as one vector."""
    model.zero_grad(set_to_none=True)
    run()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def random_part(task: str, rows: int = 6) -> tuple[torch.Tensor, Part]:
    """Made-up answers of three labels, targets and weights, in the shapes of a task."""
    torch.manual_seed(3)
    if task == "token-classification":
        targets = torch.randint(0, 3, (rows, 4))
        targets[:, -1] = -100
        return torch.randn(rows, 4, 3), Part({}, targets, torch.ones(rows), tuple(range(rows)))
    several = task == "multi-label-classification"
    targets = torch.randint(0, 2, (rows, 3)).float() if several else torch.randint(0, 3, (rows,))
    return torch.randn(rows, 3), Part({}, targets, torch.rand(rows), tuple(range(rows)))


def fitted(task: str, tmp_path: Path) -> Any:
    return encode(prepared(task), base(tmp_path, task), config()).task


# --- every objective


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize(
    "options", [*(ON[n] for n in ("adversarial", "rdrop", "focal", "gce")), {"adversarial": "pgd"}]
)
def test_micro_batches_give_the_gradients_of_the_whole_batch(
    task: str, options: dict[str, object], tmp_path: Path
) -> None:
    found = []
    for tokens in (10_000, 20):
        one = learner(tmp_path, task, **options)
        one.schedule = replace(one.schedule, micro_tokens=tokens)
        found.append(gradient(one.model, lambda one=one: one._backward(range(8))))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-3)


def test_class_weights_stay_right_in_micro_batches(tmp_path: Path) -> None:
    found = []
    for tokens in (10_000, 20):
        one = learner(tmp_path, class_weights="balanced")
        one.schedule = replace(one.schedule, micro_tokens=tokens)
        found.append(gradient(one.model, lambda one=one: one._backward(range(8))))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", sorted(OPTIONS))
@pytest.mark.parametrize("task", sorted(ANSWERS))
def test_every_option_takes_a_step_or_is_refused_naming_what_can(name: str, task: str, tmp_path: Path) -> None:
    chosen, data = config(**ON[name]), prepared(task)
    if ANSWERS[task] in OPTIONS[name].takes:
        check(chosen, task, data.train)
        learner(tmp_path, task, dropout=0.1, **ON[name])._step(range(8), 0)
        return
    with pytest.raises(ConfigError, match=f"{name} does not work for {task}") as refused:
        check(chosen, task, data.train)
    assert all((other in refused.value.expected) == (ANSWERS[other] in OPTIONS[name].takes) for other in ANSWERS)


def test_a_refused_option_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mixup does not work for token-classification"):
        train(prepared("token-classification"), base(tmp_path), config(mixup=0.2), tmp_path / "model")
    assert not (tmp_path / "model.run").exists()


def test_focal_loss_of_a_pair_of_texts_that_is_scored_is_refused() -> None:
    rows = [{"text": "a", "text_pair": "b", "label": "0.5"}, {"text": "a", "text_pair": "c", "label": "1"}]
    with pytest.raises(ConfigError, match="text-pair with numbers for labels"):
        check(config(focal=2.0), "text-pair", rows)


@pytest.mark.parametrize(("one", "other"), [("adversarial", "mixup"), ("rdrop", "mixup"), ("focal", "gce")])
def test_what_cannot_be_combined_is_refused_with_what_can(one: str, other: str) -> None:
    with pytest.raises(ConfigError, match=f"{one} and {other} cannot be combined") as refused:
        check(config(**ON[one], **ON[other]), "text-classification", prepared().train)
    assert "class_weights" in refused.value.expected
    assert other not in refused.value.expected.partition("goes with")[2]


def test_all_that_can_be_combined_learns_together(tmp_path: Path) -> None:
    chosen = config(epochs=1, **ON["adversarial"], **ON["rdrop"], **ON["focal"], class_weights="balanced", noisy="drop")
    assert train(prepared(), base(tmp_path), chosen, tmp_path / "model").golden()


# --- adversarial


@pytest.mark.parametrize(("way", "passes"), [("fgm", 2), ("pgd", 4), ("freelb", 3)])
def test_no_pass_leaves_the_radius_or_touches_padding(way: str, passes: int, tmp_path: Path) -> None:
    model, material, part = first_part(tmp_path)
    watched = Watched(material)
    Adversarial(watched, way=way, radius=0.2, steps=3).backward(model, part, 1.0)
    clean, read = embedded(model, part).detach(), part.inputs["attention_mask"].bool()
    assert len(watched.fed) == passes
    most = 0.2 * (clean * read[..., None]).flatten(1).norm(dim=1)
    for fed in watched.fed:
        change = fed - clean
        assert torch.all(change.flatten(1).norm(dim=1) <= most * 1.001)
        assert torch.all(change[~read] == 0)
    assert torch.any(watched.fed[-1] != clean)


def test_the_worst_neighbour_has_a_higher_loss_than_the_row_itself(tmp_path: Path) -> None:
    model, material, part = first_part(tmp_path)
    watched = Watched(material)
    Adversarial(watched, way="fgm", radius=0.01, steps=1).backward(model, part, 1.0)
    bare = {name: value for name, value in part.inputs.items() if name != "input_ids"}
    losses = [
        float(TaskLoss(material.task).loss(model, replace(part, inputs={**bare, "inputs_embeds": fed})).detach())
        for fed in watched.fed
    ]
    assert losses[1] > losses[0]


def test_fgm_teaches_the_mean_of_a_row_and_its_worst_neighbour(tmp_path: Path) -> None:
    model, material, part = first_part(tmp_path)
    watched, plain = Watched(material), TaskLoss(material.task)
    got = gradient(model, lambda: Adversarial(watched, way="fgm", radius=0.3, steps=1).backward(model, part, 2.0))
    change = watched.fed[1] - watched.fed[0]
    bare = {name: value for name, value in part.inputs.items() if name != "input_ids"}

    def expected() -> None:
        moved = replace(part, inputs={**bare, "inputs_embeds": embedded(model, part) + change})
        ((plain.loss(model, part) + plain.loss(model, moved)) / 4).backward()

    torch.testing.assert_close(got, gradient(model, expected), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("way", ["fgm", "pgd", "freelb"])
def test_a_perturbation_leaves_no_trace_in_the_model(way: str, tmp_path: Path) -> None:
    model, material, part = first_part(tmp_path)
    before, answers = {k: v.clone() for k, v in model.state_dict().items()}, TaskLoss(material.task).logits(model, part)
    Adversarial(TaskLoss(material.task), way=way, radius=0.5, steps=2).backward(model, part, 1.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(TaskLoss(material.task).logits(model, part), answers)


def test_where_lower_layers_are_cached_what_they_gave_is_perturbed(tmp_path: Path) -> None:
    model, material, part = first_part(tmp_path)
    trained = frozen(model, material, 1, tmp_path / "work")
    cached = replace(part, inputs=trained.feed(range(4)))
    watched = Watched(material)
    Adversarial(watched, way="fgm", radius=0.2, steps=1).backward(trained.step, cached, 1.0)
    assert torch.equal(watched.fed[0], cached.inputs["inputs_embeds"])
    assert not torch.equal(watched.fed[1], watched.fed[0])
    assert model.get_input_embeddings().weight.grad is None  # type: ignore[operator]


def test_passes_after_each_other_take_the_memory_of_one_and_beside_each_other_of_both(tmp_path: Path) -> None:
    plain = saved_bytes(learner(tmp_path), range(8))
    assert saved_bytes(learner(tmp_path, adversarial="fgm"), range(8)) < 1.2 * plain
    assert saved_bytes(learner(tmp_path, rdrop=1.0), range(8)) > 1.5 * plain


# --- R-Drop


STEADY = [
    task
    for task, answers in ANSWERS.items()
    if answers in OPTIONS["rdrop"].takes and not (TASKS[task].sees or TASKS[task].fuses)
]
"whose rows look the same each time that they are read: a picture is varied, and of several kinds some are hidden"


@pytest.mark.parametrize("task", STEADY)
def test_r_drop_without_dropout_adds_nothing(task: str, tmp_path: Path) -> None:
    found = [gradient(one.model, lambda one=one: one._backward(range(8))) for one in
             (learner(tmp_path, task), learner(tmp_path, task, rdrop=5.0))]  # fmt: skip
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-4)


def test_r_drop_with_dropout_adds_how_far_two_passes_are_apart(tmp_path: Path) -> None:
    one = learner(tmp_path, dropout=0.5)
    one.model.train()
    part, losses = one._part(range(8)), []
    for weight in (0.0, 5.0):
        torch.manual_seed(1)
        both = RDrop(one.objective, task=TextClassification(), weight=weight)
        losses.append(float(both.loss(one.model, part).detach()))
    torch.manual_seed(1)
    first, second = (one.objective.logits(one.model, part) for _ in range(2))
    assert losses[1] - losses[0] == pytest.approx(5.0 * float(apart(first, second, part).detach()), rel=1e-4)
    assert losses[1] > losses[0]


def test_two_answers_are_apart_by_both_divergences() -> None:
    first, part = random_part("text-classification")
    second = first.roll(1, 0)
    logs = first.log_softmax(-1), second.log_softmax(-1)
    both = [kl_div(a, b, reduction="none", log_target=True).sum(-1) for a, b in (logs, logs[::-1])]
    torch.testing.assert_close(apart(first, second, part), ((both[0] + both[1]) / 2 * part.weights).sum())


def test_several_labels_are_apart_as_so_many_yes_or_noes() -> None:
    first, part = random_part("multi-label-classification")
    second = first.roll(1, 0)
    pairs = [torch.stack([x, torch.zeros_like(x)], -1) for x in (first, second)]
    one = replace(
        part, targets=torch.zeros(first.numel(), dtype=torch.int64), weights=part.weights.repeat_interleave(3)
    )
    expected = apart(pairs[0].flatten(0, 1), pairs[1].flatten(0, 1), one)
    torch.testing.assert_close(apart(first, second, part), expected)


# --- curves


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("task", KINDS)
def test_focal_loss_with_gamma_0_is_the_cross_entropy(task: str, smoothing: float, tmp_path: Path) -> None:
    logits, part = random_part(task)
    plain = TaskLoss(fitted(task, tmp_path), smoothing=smoothing)
    torch.testing.assert_close(
        Reshaped(plain, focal(0.0), task=plain.task, smoothing=smoothing).of(logits, part), plain.of(logits, part)
    )


@pytest.mark.parametrize("task", KINDS)
def test_generalised_cross_entropy_tends_to_the_cross_entropy(task: str, tmp_path: Path) -> None:
    logits, part = random_part(task)
    plain = TaskLoss(fitted(task, tmp_path))
    got = Reshaped(plain, generalised(1e-4), task=plain.task, smoothing=0.0).of(logits, part)
    torch.testing.assert_close(got, plain.of(logits, part), rtol=1e-3, atol=0)


def test_generalised_cross_entropy_with_q_1_is_what_is_missing_to_certainty() -> None:
    log_p = torch.tensor([0.1, 0.5, 0.9]).log()
    torch.testing.assert_close(generalised(1.0)(log_p), torch.tensor([0.9, 0.5, 0.1]))


def test_focal_loss_counts_a_sure_answer_less() -> None:
    log_p = torch.tensor([0.9, 0.2]).log()
    share = focal(2.0)(log_p) / -log_p
    torch.testing.assert_close(share, torch.tensor([0.01, 0.64]))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_has_a_gradient_where_the_answer_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    focal(gamma)(logits.log_softmax(-1)).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


# --- mixup


def test_mixed_rows_are_to_be_answered_with_both_labels_in_proportion(tmp_path: Path) -> None:
    model, material, part = first_part(tmp_path)
    torch.manual_seed(5)
    got = Mixup(TaskLoss(material.task), alpha=0.4).loss(model, part)
    torch.manual_seed(5)
    logits = TaskLoss(material.task).logits(model, part)
    share = torch.distributions.Beta(0.4, 0.4).sample()
    other = torch.randperm(4)
    told = nn.functional.one_hot(part.targets, material.task.outputs).float()
    mixed = share * logits + (1 - share) * logits[other]
    expected = cross_entropy(mixed, share * told + (1 - share) * told[other], reduction="sum")
    torch.testing.assert_close(got, expected)


def test_a_row_that_is_alone_is_not_mixed(tmp_path: Path) -> None:
    model, material, part = first_part(tmp_path)
    alone = Part({k: v[:1] for k, v in part.inputs.items()}, part.targets[:1], part.weights[:1], part.rows[:1])
    plain = TaskLoss(material.task)
    torch.testing.assert_close(Mixup(plain, alpha=0.4).loss(model, alone), plain.loss(model, alone))


# --- class weights


def test_balanced_classes_count_the_same_in_all_and_a_row_1_on_average(tmp_path: Path) -> None:
    examples = encode(prepared(), base(tmp_path), config()).examples
    rare = [e for e in examples if e.target == 0][:2] + [e for e in examples if e.target == 1]
    weighted = balanced(rare)
    totals = [sum(e.weight for e in weighted if e.target == label) for label in (0, 1)]
    assert totals[0] == pytest.approx(totals[1])
    assert sum(totals) == pytest.approx(len(rare))


@pytest.mark.parametrize(("how", "pull"), [("none", -0.3), ("balanced", 0.0)])
def test_a_rare_class_is_outvoted_unless_classes_are_balanced(how: str, pull: float, tmp_path: Path) -> None:
    rows = prepared().train
    uneven = [row for row in rows if row["label"] == "order"][:2] + [row for row in rows if row["label"] == "refund"][
        :8
    ]
    material = encode(replace(prepared(), train=uneven), base(tmp_path), config())
    model = build(material.base, material.task, dropout=0.0, head_dropout=0.0)
    nn.init.zeros_(model.classifier.weight)  # type: ignore[union-attr, arg-type]
    nn.init.zeros_(model.classifier.bias)  # type: ignore[union-attr, arg-type]
    examples = balanced(material.examples) if how == "balanced" else material.examples
    plan = schedule(config(), material.task, len(examples))
    feed = collated(model, examples, pad_id=0)
    Learner(model, plan, examples, objective=TaskLoss(material.task), feed=feed)._backward(range(10))
    # From even odds, the bias of "refund" is pulled up by as much as there is more of it.
    assert float(model.classifier.bias.grad[1]) == pytest.approx(pull, abs=1e-6)  # type: ignore[union-attr, index]


# --- going on after an interruption

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from luban.records import Step
from luban.stages.train import loop, train
from tests.train.rows import config, prepared
from luban.bases import find
loop.CHECKPOINT_SECONDS = 0.0
here, die_at, options = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
def watch(event):
    if isinstance(event, Step) and event.done == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
train(prepared(), find(str(here / "base")), config(epochs=3, dropout=0.1, **options), here / "model", watch=watch)
"""


def _run(folder: Path, die_at: int, options: str) -> int:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(folder), str(die_at), options]
    return subprocess.run(command, env=environment, check=False).returncode


@pytest.mark.parametrize("options", ['{"adversarial": "freelb", "rdrop": 1, "noisy": "weigh"}', '{"mixup": 0.5}'])
def test_a_killed_run_draws_the_same_perturbations_and_ends_with_the_same_weights(options: str, tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        base(tmp_path / name)
    assert _run(tmp_path / "whole", 0, options) == 0
    assert _run(tmp_path / "killed", 5, options) == -signal.SIGKILL
    assert _run(tmp_path / "killed", 0, options) == 0
    whole, killed = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all((whole[name] == killed[name]).all() for name in whole)
