"""Private training: what a step may say of a row, what a run spends and tells, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import RDPAccountant
from safetensors.numpy import load_file

from luban.errors import ConfigError, MissingExtra
from luban.folder import Folder
from luban.records import Step
from luban.stages.train import private, train
from luban.stages.train.material import encode
from luban.stages.train.methods import METHODS
from luban.stages.train.model import build
from luban.stages.train.objectives.compose import compose
from luban.stages.train.private import Budget, budget_of, check, first_windows, guarded, number_of
from luban.stages.train.private_steps import PrivateLearner
from luban.stages.train.recipe import schedule
from tests.train.rows import base, config, prepared

ROOT = Path(__file__).parents[2]
QUIET = Budget(8.0, 1e-3, 0, 1.0, 4, 1.0, 0.0)
"no noise, so that what is bounded can be seen; every row at each step"


def options(**values: Any) -> Any:
    """Every row at each step, for which the accountant has a closed form: a search for the noise takes no time."""
    return guarded(config(**{"private": 20.0, "batch_rows": 24, "dropout": 0.0, "rate": 1e-3, **values}))


def learner(tmp_path: Path, method: str = "full", *, budget: Budget = QUIET, secret: str = "s") -> PrivateLearner:
    chosen = options(method=method)
    material = first_windows(encode(prepared(), base(tmp_path), chosen))
    model = build(material.base, material.task, dropout=0.0, head_dropout=0.0)
    plan = schedule(chosen, material.task, len(material.examples))
    trained = METHODS[method]().begin(model, material, chosen, tmp_path / "work")
    objective = compose(chosen, material, plan)
    budget = replace(budget, rows=len(material.examples))
    return PrivateLearner(trained, plan, material.examples, objective=objective, budget=budget, secret=secret)


def sum_of(one: PrivateLearner, rows: list[int]) -> torch.Tensor:
    """The bounded sum of these rows' gradients, as one vector."""
    one.model.train()
    one._backward(rows)
    flat = torch.cat([p.summed_grad.flatten() for p in one.bounds.params])
    one._cleared()
    return flat


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("method", ["full", "freeze", "head", "lora"])
def test_a_batch_says_the_sum_of_what_its_rows_may_say(method: str, tmp_path: Path) -> None:
    """One row at a time is plain clipping, whatever takes gradients apart: opacus and each method must agree with it."""
    one = learner(tmp_path, method, budget=replace(QUIET, clip=0.01))
    plain = torch.zeros(())
    for row in range(3):
        one.hooks.disable_hooks()
        one.objective.backward(one.model.train(), one._part([row]), 1.0)
        gradient = torch.cat([p.grad.flatten() for p in one.bounds.params if p.grad is not None])
        plain = plain + gradient * min(1.0, 0.01 / float(gradient.norm()))
        one._cleared()
        one.hooks.enable_hooks()
    torch.testing.assert_close(sum_of(one, [0, 1, 2]), plain, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("times", [1.0, 1e4])
def test_no_row_says_more_than_the_bound_however_loud_it_is(times: float, tmp_path: Path) -> None:
    one = learner(tmp_path, budget=replace(QUIET, clip=0.5))
    quiet = sum_of(one, [1, 2, 3])
    one.examples = [replace(one.examples[0], weight=times), *one.examples[1:]]
    loud = sum_of(one, [0, 1, 2, 3])
    assert float((loud - quiet).norm()) == pytest.approx(0.5, rel=1e-2)


def test_parts_of_a_batch_say_what_the_whole_batch_says(tmp_path: Path) -> None:
    one = learner(tmp_path)
    whole = sum_of(one, list(range(6)))
    one.most_rows = 2
    torch.testing.assert_close(sum_of(one, list(range(6))), whole, atol=1e-6, rtol=1e-4)


def test_the_noise_is_as_large_as_the_budget_says(tmp_path: Path) -> None:
    one = learner(tmp_path, budget=replace(QUIET, clip=0.5, noise=3.0))
    one._limited()
    noise = torch.cat([p.grad.flatten() for p in one.bounds.params])
    assert float(noise.std()) == pytest.approx(3.0 * 0.5 / one.budget.batch, rel=0.05)


def test_a_step_that_drew_no_row_is_noise_alone(tmp_path: Path) -> None:
    one = learner(tmp_path, budget=replace(QUIET, noise=1.0))
    step = one._step([], 0)
    assert step.rows == 0
    assert step.grad_norm > 0


def test_embeddings_and_pooler_do_not_learn(tmp_path: Path) -> None:
    one = learner(tmp_path)
    learning = {name for name, p in one.model.named_parameters() if p.requires_grad}
    assert learning
    assert not [name for name in learning if "embeddings." in name or "pooler." in name]


@settings(max_examples=20, deadline=None)
@given(rate=st.floats(0.05, 0.9), seed=st.integers(0, 10**6))
def test_every_row_is_drawn_as_often_as_any_other_and_by_itself(rate: float, seed: int) -> None:
    """Counts within six standard deviations, of rows and of pairs of rows."""
    one = object.__new__(PrivateLearner)
    one.examples, one.secret = [None] * 12, str(seed)  # type: ignore[assignment]
    one.budget = Budget(8.0, 1e-3, 12, rate, 1, 1.0, 1.0)
    draws = np.zeros((0, 12))
    epoch = 0
    while len(draws) < 400:
        drawn = np.zeros((one.budget.a_pass, 12))
        for i, batch in enumerate(one.order(epoch)):
            drawn[i, batch] = 1
        draws, epoch = np.concatenate([draws, drawn]), epoch + 1
    for seen, wanted in ((draws.mean(0), rate), ((draws[:, :-1] * draws[:, 1:]).mean(0), rate * rate)):
        assert np.abs(seen - wanted).max() < 6 * np.sqrt(wanted * (1 - wanted) / len(draws)) + 1e-9


def test_a_secret_decides_rows_and_noise_and_the_seed_does_not(tmp_path: Path) -> None:
    loud = replace(QUIET, noise=1.0, rate=0.5)
    first, again, other = (learner(tmp_path, budget=loud, secret=s) for s in ("a", "a", "b"))
    assert first.order(0) == again.order(0) != other.order(0)
    for one in (first, again, other):
        one._limited()
    assert torch.equal(first.bounds.params[0].grad, again.bounds.params[0].grad)
    assert not torch.equal(first.bounds.params[0].grad, other.bounds.params[0].grad)
    assert number_of("a", "noise", 1) != number_of("a", "noise", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    place = tmp_path_factory.mktemp("private")
    return train(prepared(), base(place), options(method="head", epochs=3), place / "model")


def test_what_was_spent_is_what_the_accountant_says_of_these_steps(folder: Folder) -> None:
    told = folder.manifest.notes["private"]
    accountant = RDPAccountant()
    for _ in range(told["steps"]):
        accountant.step(noise_multiplier=told["noise"], sample_rate=told["rate"])
    assert told["steps"] == 3
    assert told["epsilon"] == pytest.approx(accountant.get_epsilon(delta=told["delta"]), abs=1e-3)
    assert told["epsilon"] <= told["target"] == 20.0


def test_the_card_says_what_was_spent_and_what_is_outside(folder: Folder) -> None:
    card = (folder.path / "README.md").read_text(encoding="utf8")
    assert f"Epsilon spent: {folder.manifest.notes['private']['epsilon']:.2f}" in card
    assert "Outside of this promise: the weights of the base model" in card


def test_the_folder_holds_nothing_of_the_training_rows_that_has_no_noise(folder: Folder) -> None:
    texts = {str(row["text"]) for row in prepared().train}
    files = [file for file in folder.path.rglob("*.json*") if "token" not in file.name]
    whole = "\n".join(file.read_text(encoding="utf8") for file in files)
    assert not [text for text in texts if json.dumps(text, ensure_ascii=False) in whole]
    assert not (folder.path / "drift.json").exists()
    assert "fingerprint" not in folder.manifest.data
    assert all("loss" not in entry for entry in folder.manifest.notes["history"])
    assert not list(folder.path.parent.glob("model.run/checkpoint"))  # where the secret was


def test_a_run_that_stopped_early_has_spent_less(tmp_path: Path) -> None:
    chosen = options(method="head", epochs=9, rate=1e-9, head_rate=1e-9, patience=1)
    stopped = train(prepared(), base(tmp_path), chosen, tmp_path / "m")
    told = stopped.manifest.notes["private"]
    budget = budget_of(chosen, schedule(chosen, stopped.task(), told["rows"]), told["rows"])
    assert told["steps"] < 9
    assert told["epsilon"] < 0.9 * budget.spent(9)


@pytest.mark.parametrize("task", ["multi-label-classification", "token-classification", "text-pair"])
def test_other_tasks_learn_privately(task: str, tmp_path: Path) -> None:
    rows = prepared(task)
    chosen = options(private=100.0, batch_rows=len(rows.train), epochs=1)
    made = train(rows, base(tmp_path, task), chosen, tmp_path / "model")
    assert made.manifest.notes["private"]["epsilon"] <= 100


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """Rows and noise are drawn again from the secret in the checkpoint."""
    script = (
        "import sys, os, signal\nfrom pathlib import Path\n"
        "from luban.records import Step\nfrom luban.stages.train import loop, train\n"
        "from tests.train.rows import base, prepared\nfrom tests.train.test_private import options\n"
        "loop.CHECKPOINT_SECONDS = 0.0\nloop.secrets.token_hex = lambda n: 'known'\n"
        "def watch(event):\n    if sys.argv[2] == 'die' and isinstance(event, Step) and event.done == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "place = Path(sys.argv[1])\n"
        "train(prepared(), base(place), options(method='head', epochs=4, dropout=0.1), place / 'model', watch=watch)\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}

    def run(place: Path, how: str) -> int:
        place.mkdir(exist_ok=True)
        command = [sys.executable, "-c", script, str(place), how]
        return subprocess.run(command, env=env, cwd=ROOT, capture_output=True).returncode

    assert run(tmp_path / "a", "die") == -signal.SIGKILL
    state = json.loads((tmp_path / "a" / "model.run" / "checkpoint" / "state.json").read_text(encoding="utf8"))
    assert state["done"] == 2
    assert run(tmp_path / "a", "live") == run(tmp_path / "b", "live") == 0
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in "ab")
    assert all(np.array_equal(one[name], other[name]) for name in other)


REFUSED = {
    "adversarial": {"adversarial": "fgm"},
    "rdrop": {"rdrop": 1.0},
    "mixup": {"mixup": 0.5},
    "class_weights": {"class_weights": "balanced"},
    "noisy": {"noisy": "keep"},
    "teacher": {"teacher": "another"},
    "continue_from": {"continue_from": "older"},
    "precision=bf16": {"precision": "bf16"},
}


def refusal(tmp_path: Path, task: str = "text-classification", **values: Any) -> str:
    chosen = config(**{"private": 8.0, "batch_rows": 0, **values})
    with pytest.raises(ConfigError) as caught:
        check(chosen, prepared(task), base(tmp_path, task).path)
    return str(caught.value)


@pytest.mark.parametrize("name", list(private.OFF))
def test_what_cannot_be_private_is_refused(name: str, tmp_path: Path) -> None:
    assert f"{name} and private cannot be combined" in refusal(tmp_path, **REFUSED[name])


@pytest.mark.parametrize("task", ["text-regression", "embedding", "extractive-qa", "intent-and-slots"])
def test_a_task_that_takes_more_from_the_rows_is_refused(task: str, tmp_path: Path) -> None:
    assert f"{task} cannot be learnt privately" in refusal(tmp_path, task)


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(private.BOUNDED)))
def test_a_method_whose_gradients_are_not_taken_apart_is_refused(method: str, tmp_path: Path) -> None:
    assert "cannot be private" in refusal(tmp_path, method=method)


def test_a_batch_larger_than_the_rows_is_refused(tmp_path: Path) -> None:
    assert "cannot be drawn from" in refusal(tmp_path, batch_rows=1000)


def test_a_delta_by_which_a_row_could_be_given_away_is_refused(tmp_path: Path) -> None:
    assert "delta is 0.5" in refusal(tmp_path, delta=0.5)


def test_too_few_rows_for_the_epsilon_are_refused(tmp_path: Path) -> None:
    assert "An epsilon of 0.01 cannot be kept" in refusal(tmp_path, private=0.01)


def test_without_opacus_the_command_that_adds_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="opacus"):
        check(config(private=8.0), prepared(), tmp_path)


def test_a_run_without_a_promise_is_as_it_was(tmp_path: Path) -> None:
    chosen = config()
    assert guarded(chosen) is chosen


def test_steps_go_by_while_it_learns(tmp_path: Path) -> None:
    seen: list[object] = []
    train(prepared(), base(tmp_path), options(method="lora", epochs=2), tmp_path / "model", watch=seen.append)
    assert len([event for event in seen if isinstance(event, Step)]) == 2
