"""The parts of training, one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from luban.config import TrainConfig
from luban.errors import BaseUnavailable, ConfigError
from luban.stages.train.calibrate import calibrated
from luban.stages.train.checkpoint import Checkpoint
from luban.stages.train.drift import bucket
from luban.stages.train.forecast import free_in_groups
from luban.stages.train.golden import COUNT, golden_rows
from luban.stages.train.material import encode
from luban.stages.train.model import build, head
from luban.stages.train.pooling import add_mean_layer, first_and_mean, pooled
from luban.stages.train.probe import fit, start_head
from luban.stages.train.recipe import epochs, schedule, tagger_epochs, window_length
from luban.stages.train.run import _key
from luban.tasks import TASKS
from luban.tasks.base import class_loss
from luban.testing import tiny_encoder
from luban.training import layer_of, parameter_groups, rate_factor
from tests.train.rows import base, config, plain_learner, prepared


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_rate_rises_to_its_peak_and_falls(total: int, warmup: float) -> None:
    factors = [rate_factor(done, total, warmup) for done in range(total)]
    peak = factors.index(max(factors))
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_fewer_rows_are_seen_more_often() -> None:
    assert [epochs(rows) for rows in (10, 100, 800, 5_000, 50_000)] == [8, 8, 4, 3, 1]
    assert [tagger_epochs(rows) for rows in (500, 4_000, 20_000, 50_000)] == [12, 8, 3, 2]


def test_what_is_set_is_not_chosen() -> None:
    task = TASKS["text-classification"](["a", "b", "c"])
    plan = schedule(TrainConfig(epochs=3, rate=1e-5, head_rate=2e-5, batch_rows=4, smoothing=0.0), task, 100)
    assert (plan.epochs, plan.rate, plan.head_rate, plan.batch_rows, plan.smoothing) == (3, 1e-5, 2e-5, 4, 0.0)


def test_a_window_holds_nearly_every_row_and_not_the_odd_long_one() -> None:
    assert window_length([20] * 999 + [500], 512) == 24
    assert window_length([900] * 10, 512) == 512


def test_layers_are_counted_from_the_embeddings() -> None:
    assert [layer_of(name) for name in ("bert.embeddings.x", "bert.encoder.layer.0.x", "bert.encoder.layer.5.x")] == [
        0,
        1,
        6,
    ]


def test_head_and_body_have_their_own_rates_and_biases_do_not_decay(tmp_path: Path) -> None:
    material = encode(prepared(), base(tmp_path), config())
    model = build(material.base, material.task, dropout=0.0)
    plan = schedule(config(rate=1e-4, head_rate=1e-3), material.task, 24)
    groups = {(group["lr"], group["weight_decay"]): group["params"] for group in parameter_groups(model, plan)}
    assert set(groups) == {(1e-4, 0.01), (1e-4, 0.0), (1e-3, 0.01), (1e-3, 0.0)}
    assert any(parameter is head(model, 2).weight for parameter in groups[1e-3, 0.01])


def test_lower_layers_learn_more_slowly_where_the_rate_decays_by_layer(tmp_path: Path) -> None:
    material = encode(prepared(), base(tmp_path), config())
    model = build(material.base, material.task, dropout=0.0)
    plan = schedule(config(rate=1e-4, head_rate=1e-3, layer_decay=0.5), material.task, 24)
    rates = {id(p): group["lr"] for group in parameter_groups(model, plan) for p in group["params"]}
    encoder = model.bert
    of_layers = [encoder.embeddings.word_embeddings, *(layer.output.dense for layer in encoder.encoder.layer)]
    assert [rates[id(part.weight)] for part in of_layers] == pytest.approx([2.5e-5, 5e-5, 1e-4])


def test_a_probe_separates_what_is_separable_and_ignores_dead_features() -> None:
    torch.manual_seed(0)
    targets = torch.arange(200) % 2
    features = torch.randn(200, 6) * 0.1 + 50.0
    features[:, 0] += targets
    features[:, 5] = 3.0
    linear = torch.nn.Linear(6, 2)
    fit(linear, features, targets, torch.ones(200), class_loss)
    assert float((linear(features).argmax(1) == targets).float().mean()) == 1.0
    assert linear.weight[:, 5].abs().max().item() < 1.0


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "text-regression", "intent-and-slots"])
def test_the_probe_lowers_the_loss_before_training_starts(task: str, tmp_path: Path) -> None:
    losses = []
    for probing in (False, True):
        material = encode(prepared(task), base(tmp_path), config())
        model = build(material.base, material.task, dropout=0.0, head_dropout=0.0)
        if probing:
            start_head(model, material.task, material.examples, pad_id=0, config=config())
        plan = schedule(config(), material.task, 24)
        losses.append(plain_learner(model, material, plan)._backward(range(8)))
    assert losses[1] < losses[0]


def test_the_averaging_layer_gives_the_first_token_the_mean_of_all(tmp_path: Path) -> None:
    material = encode(prepared(), base(tmp_path), config())
    model = build(material.base, material.task, dropout=0.0)
    first, mean = first_and_mean(model, material.examples, 0)
    add_mean_layer(model, seed=1)
    averaged, _ = first_and_mean(model, material.examples, 0)
    torch.testing.assert_close(averaged, pooled(first, mean, 1e-12), atol=1e-4, rtol=1e-4)
    assert model.config.num_hidden_layers == 3


def test_the_averaging_layer_can_learn_in_all_its_parts(tmp_path: Path) -> None:
    material = encode(prepared(), base(tmp_path), config())
    model = build(material.base, material.task, dropout=0.0)
    add_mean_layer(model, seed=1)
    plan = schedule(config(), material.task, 24)
    plain_learner(model, material, plan)._backward(range(8))
    layer = model.bert.encoder.layer[-1]
    grown = (layer.attention.self.key.weight, layer.attention.self.value.weight, layer.output.dense.weight)
    assert all(float(weight.grad.abs().sum()) > 0 for weight in grown)


def test_the_drift_sketch_counts_words_and_labels_and_holds_no_text(tmp_path: Path) -> None:
    material = encode(prepared(), base(tmp_path), config())
    drawn = material.drift
    assert drawn["labels"] == {"order": 0.5, "refund": 0.5}
    assert drawn["words"][bucket("order")] > 0
    assert sum(drawn["words"]) == pytest.approx(1.0, abs=1e-3)
    assert not any(word in json.dumps(drawn["words"]) for word in ("money", "order"))


def test_a_label_that_only_validation_rows_have_does_not_stop_the_calibration() -> None:
    task, encoder = TASKS["text-classification"](("a", "b")), tiny_encoder()
    rows = [{"text": "hello", "label": label} for label in ("a", "b") * 15 + ("c",)]
    encoded = [task.encode(row, encoder) for row in rows]
    logits = [[np.array([9.0, 0.0] if i % 3 else [0.0, 9.0], dtype=np.float32)] for i in range(len(rows))]
    assert calibrated(task, rows, encoded, logits).calibration.temperature > 1.0


def test_long_rows_are_golden_where_none_is_short() -> None:
    rows = [{"text": "word " * length, "label": "a"} for length in range(100, 200)]
    chosen = golden_rows(TASKS["text-classification"](("a", "b")), rows, synthetic=False, seed=1)
    assert len(chosen) == COUNT
    assert max(len(row["text"]) for row in chosen) == 5 * (100 + COUNT - 1)


def test_a_window_without_room_for_a_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_length is 2"):
        encode(prepared(), base(tmp_path), config(max_length=2))


def test_a_run_goes_on_with_less_memory_and_not_with_another_seed(tmp_path: Path) -> None:
    data, start = prepared(), base(tmp_path)
    assert _key(data, start, config(), {}) == _key(data, start, config(memory=4.0, threads=2, log=("tensorboard",)), {})
    assert _key(data, start, config(), {}) != _key(data, start, config(seed=14), {})


@pytest.mark.parametrize("damage", [{"auto_map": {"AutoConfig": "evil.Config"}, "model_type": "evil"}, None])
def test_a_base_with_code_or_damaged_weights_is_refused_without_a_question(
    tmp_path: Path, damage: dict[str, object] | None
) -> None:
    start = base(tmp_path)
    if damage is None:
        (start.path / "model.safetensors").write_bytes(b"no weights")
    else:
        (start.path / "config.json").write_text(json.dumps(damage), encoding="utf8")
    with pytest.raises(BaseUnavailable, match="cannot be opened"):
        build(start.path, TASKS["text-classification"](("a", "b")), dropout=0.1)


def test_a_base_that_lacks_a_part_of_its_encoder_is_refused(tmp_path: Path) -> None:
    file = base(tmp_path).path / "model.safetensors"
    weights = load_file(file)
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(BaseUnavailable, match=r"lacks 1 .*layer\.1\.output\.dense\.weight"):
        build(file.parent, TASKS["text-classification"](("a", "b")), dropout=0.1)


def test_a_base_with_weights_of_another_size_is_refused(tmp_path: Path) -> None:
    file = base(tmp_path).path / "config.json"
    config = json.loads(file.read_text(encoding="utf8"))
    file.write_text(json.dumps({**config, "vocab_size": config["vocab_size"] + 8}), encoding="utf8")
    with pytest.raises(BaseUnavailable, match="word_embeddings"):
        build(file.parent, TASKS["text-classification"](("a", "b")), dropout=0.1)


def test_a_base_without_a_pooler_is_taken(tmp_path: Path) -> None:
    file = base(tmp_path).path / "model.safetensors"
    weights = {name: value for name, value in load_file(file).items() if not name.startswith("pooler.")}
    save_file(weights, file, metadata={"format": "pt"})
    assert build(file.parent, TASKS["text-classification"](("a", "b")), dropout=0.1).bert.pooler is not None


def test_what_names_code_in_a_base_does_not_reach_the_model(tmp_path: Path) -> None:
    file = base(tmp_path).path / "config.json"
    config = json.loads(file.read_text(encoding="utf8"))
    file.write_text(json.dumps({**config, "auto_map": {"AutoModel": "own.Model"}}), encoding="utf8")
    model = build(file.parent, TASKS["text-classification"](("a", "b")), dropout=0.1)
    assert "auto_map" not in model.config.to_dict()


def group(path: Path, files: dict[str, object]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (path / name).write_text(f"{value}\n", encoding="ascii")


def test_the_tightest_control_group_says_what_is_free(tmp_path: Path) -> None:
    group(tmp_path / "a", {"memory.max": 900, "memory.current": 800, "memory.stat": "anon 5\ninactive_file 50"})
    group(tmp_path / "a" / "b", {"memory.max": "max", "memory.current": 700, "memory.stat": "inactive_file 9"})
    (tmp_path / "own").write_text("0::/a/b\n", encoding="ascii")
    assert list(free_in_groups(tmp_path / "own", tmp_path)) == [150]


def test_a_container_sees_its_own_limit_as_the_root(tmp_path: Path) -> None:
    limits = {"memory.limit_in_bytes": 900, "memory.usage_in_bytes": 300, "memory.stat": "total_inactive_file 7"}
    group(tmp_path / "memory", limits)
    (tmp_path / "own").write_text("3:cpu:/docker/x\n2:memory:/docker/x\n", encoding="ascii")
    assert list(free_in_groups(tmp_path / "own", tmp_path)) == [607]


def test_a_system_without_control_groups_sets_no_limit(tmp_path: Path) -> None:
    assert list(free_in_groups(tmp_path / "own", tmp_path)) == []


def saved(tmp_path: Path) -> tuple[Checkpoint, dict[str, Any]]:
    """A checkpoint of a learner after one step, with best weights, and that learner's state."""
    material = encode(prepared(), base(tmp_path), config())
    model = build(material.base, material.task, dropout=0.0)
    plan = schedule(config(), material.task, 24)
    learner = plain_learner(model, material, plan)
    next(learner.learn())
    checkpoint = Checkpoint(tmp_path / "checkpoint", "key")
    checkpoint.save_best(model.state_dict())
    checkpoint.save(learner.state(), {"best": 0.5})
    return checkpoint, learner.state()


def test_a_checkpoint_gives_back_what_was_saved(tmp_path: Path) -> None:
    checkpoint, state = saved(tmp_path)
    loaded = checkpoint.load(state)
    assert checkpoint.progress() == {"best": 0.5}
    assert set(loaded) == set(state)
    assert torch.equal(loaded["rng"], state["rng"])
    assert all(torch.equal(loaded["model"][name], value) for name, value in state["model"].items())


def test_a_checkpoint_carries_the_generator_of_a_gpu(tmp_path: Path) -> None:
    checkpoint, state = saved(tmp_path)
    checkpoint.save({**state, "cuda_rng": torch.arange(16, dtype=torch.uint8)}, {})
    assert torch.equal(checkpoint.load(state)["cuda_rng"], torch.arange(16, dtype=torch.uint8))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_restored_learner_draws_the_same_dropout_on_a_gpu(tmp_path: Path) -> None:
    material = encode(prepared(), base(tmp_path), config())
    model = build(material.base, material.task, dropout=0.0).to("cuda")
    plan = schedule(config(), material.task, 24)
    learner = plain_learner(model, material, plan)
    next(learner.learn())
    checkpoint = Checkpoint(tmp_path / "checkpoint", "key")
    checkpoint.save(learner.state(), {})
    drawn = torch.rand(8, device="cuda")
    learner.restore(checkpoint.load(learner.state()))
    assert torch.equal(torch.rand(8, device="cuda"), drawn)


@pytest.mark.parametrize("name", ["state-1.safetensors", "best.safetensors", "state.json"])
def test_a_checkpoint_cut_short_is_none(tmp_path: Path, name: str) -> None:
    checkpoint, _ = saved(tmp_path)
    file = checkpoint.path / name
    file.write_bytes(file.read_bytes()[:-9])
    assert checkpoint.progress() is None


def test_a_checkpoint_that_lacks_a_tensor_is_none(tmp_path: Path) -> None:
    checkpoint, _ = saved(tmp_path)
    file = checkpoint.path / "state-1.safetensors"
    weights = load_file(file)
    del weights["model.classifier.bias"]
    save_file(weights, file)
    assert checkpoint.progress() is None


def test_a_run_of_another_version_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, start = prepared(), base(tmp_path)
    before = _key(data, start, config(), {})
    monkeypatch.setattr("luban.stages.train.run.made_by", lambda: {"luban": "99"})
    assert _key(data, start, config(), {}) != before
