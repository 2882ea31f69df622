"""Methods that leave the base as it is: adapters through peft, bottlenecks, prompts, prefixes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from luban.config import ExportConfig
from luban.errors import ConfigError, MissingExtra, ParityError
from luban.folder import Folder
from luban.predict import Predictor, check_golden
from luban.records import Step
from luban.stages.explain import explain
from luban.stages.export import export
from luban.stages.train import train
from luban.stages.train.material import encode
from luban.stages.train.methods import METHODS
from luban.stages.train.methods.adapters import ADAPTER, Adapter, seated
from luban.stages.train.methods.base import BESIDE as BESIDE_MODEL
from luban.stages.train.model import build
from luban.training import learnt, recall
from tests.train.rows import base, config, prepared

MERGED = ["lora", "dora", "adalora", "ia3"]
PLAIN = [*MERGED, "bottleneck", "prompt"]
BESIDE = [*PLAIN, "prefix"]


def trained(tmp_path: Path, method: str, task: str = "text-classification", **options: object) -> Folder:
    """A folder of a run that has learnt something; rates are those of a tiny model."""
    chosen = config(method=method, **{"epochs": 5, "rate": 3e-2, "head_rate": 1e-3, **options})
    return train(prepared(task), base(tmp_path), chosen, tmp_path / "model")


Kept = Callable[[str], Folder]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A folder a method for tests that only read it; its base is beside it."""
    return cache(lambda method: trained(tmp_path_factory.mktemp(method), method))


def answers_of_transformers(folder: Folder, text: str) -> np.ndarray:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder.path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder.path)
    with torch.inference_mode():
        return np.asarray(model(**tokenizer(text, return_tensors="pt")).logits[0].numpy())


def answers_of_luban(folder: Folder, text: str) -> np.ndarray:
    predictor = Predictor.open(folder)
    encoded = predictor.task.encode({"text": text}, predictor.encoder)
    return np.asarray(predictor.logits([encoded])[0][0])


def copied(folder: Folder, tmp_path: Path) -> Folder:
    """A copy that a test may spoil."""
    return Folder(Path(shutil.copytree(folder.path, tmp_path / "copy")), folder.manifest)


@pytest.mark.parametrize("method", PLAIN)
def test_the_folder_is_a_plain_transformers_model(method: str, kept: Kept) -> None:
    folder = kept(method)
    text = "where is my order"
    np.testing.assert_allclose(answers_of_luban(folder, text), answers_of_transformers(folder, text), atol=1e-4)


@pytest.mark.parametrize("method", BESIDE)
def test_what_stands_beside_the_base_learns(method: str, tmp_path: Path) -> None:
    """With a head that does not move, only what the method adds can change the answers."""
    start = base(tmp_path)
    outs = [
        train(prepared(), start, config(method=method, rate=rate, head_rate=1e-12, epochs=4), tmp_path / f"at{rate}")
        for rate in (1e-12, 3e-2)
    ]
    still, moved = (answers_of_luban(folder, "where is my order") for folder in outs)
    assert np.abs(still - moved).max() > 1e-3


@pytest.mark.parametrize("method", BESIDE)
def test_only_a_part_is_trained_and_the_manifest_tells_which_share(method: str, kept: Kept) -> None:
    counted = kept(method).manifest.notes["parameters"]
    assert 0 < counted["trained"] < counted["all"] / 2


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("method", MERGED)
def test_the_adapter_on_the_base_answers_as_the_merged_folder(method: str, pooling: str, tmp_path: Path) -> None:
    folder = trained(tmp_path, method, pooling=pooling)
    model = seated(folder, tmp_path / "base").eval()
    window = folder.encoder().text("where is my order").windows[0]
    with torch.inference_mode():
        on_base = model(input_ids=torch.from_numpy(window.ids)[None]).logits[0].numpy()
    np.testing.assert_allclose(answers_of_luban(folder, "where is my order"), on_base, atol=1e-4)


def test_the_adapter_names_no_place_of_this_machine(kept: Kept) -> None:
    folder = kept("lora")
    assert str(folder.path.parent) not in (folder.path / ADAPTER / "adapter_config.json").read_text(encoding="utf8")


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
@pytest.mark.parametrize("lost", ["classifier", "pooler", "lora_B"])
def test_a_part_lost_from_the_adapter_is_caught(lost: str, kept: Kept, tmp_path: Path) -> None:
    folder = copied(kept("lora"), tmp_path)
    file = folder.path / ADAPTER / "adapter_model.safetensors"
    whole = load_file(file)
    assert any(lost in name for name in whole)
    save_file({name: tensor for name, tensor in whole.items() if lost not in name}, file)
    with pytest.raises(ParityError, match="adapter"):
        Adapter.check(folder, kept("lora").path.parent / "base")


def test_an_adapter_of_a_run_before_this_one_does_not_reach_the_folder(tmp_path: Path) -> None:
    left = tmp_path / "model.run" / "work" / BESIDE_MODEL / ADAPTER
    left.mkdir(parents=True)
    (left / "adapter_config.json").write_text("{}", encoding="utf8")
    assert not (trained(tmp_path, "full", epochs=1).path / ADAPTER).exists()


def test_a_head_that_peft_does_not_write_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luban.stages.train.methods.adapters.fresh", lambda model: [])
    with pytest.raises(ParityError, match="adapter"):
        trained(tmp_path, "lora")


def test_a_head_lost_from_the_folder_is_caught(kept: Kept, tmp_path: Path) -> None:
    folder = copied(kept("lora"), tmp_path)
    whole = load_file(folder.path / "model.safetensors")
    save_file({n: t for n, t in whole.items() if not n.startswith("classifier")}, folder.path / "model.safetensors")
    with pytest.raises(ParityError):
        Predictor.open(folder)


def test_plain_transformers_skips_a_prefix_and_luban_reads_it(kept: Kept) -> None:
    folder = kept("prefix")
    ours, theirs = (f(folder, "where is my order") for f in (answers_of_luban, answers_of_transformers))
    assert np.abs(ours - theirs).max() > 1e-3


def test_padding_does_not_change_an_answer_behind_a_prefix(kept: Kept) -> None:
    predictor = Predictor.open(kept("prefix"))
    rows = [predictor.task.encode({"text": text}, predictor.encoder) for text in ("hello", "where is my order please")]
    alone = predictor.logits(rows[:1])[0][0]
    predictor.slack = 1.0
    np.testing.assert_allclose(alone, predictor.logits(rows)[0][0], atol=1e-3)


@pytest.mark.parametrize("method", ["lora", "bottleneck", "prompt", "prefix"])
@pytest.mark.parametrize("task", ["text-pair", "token-classification"])
def test_the_folder_exports_and_reproduces_its_golden_rows(method: str, task: str, tmp_path: Path) -> None:
    folder = trained(tmp_path, method, task, epochs=1)
    made = export(folder, list(prepared(task).valid), ExportConfig(quantise="none", threads=1), tmp_path / "onnx")
    assert not (made.path / ADAPTER / "adapter_model.safetensors").exists()
    check_golden(Predictor.open(made), folder.golden(), stage="export")


@pytest.mark.parametrize("method", ["lora", "bottleneck", "prompt", "prefix"])
def test_the_folder_is_explained(method: str, kept: Kept) -> None:
    evidence = explain(Predictor.open(kept(method)), "where is my order")
    assert [word.text for word in evidence.words] == ["where", "is", "my", "order"]
    assert abs(evidence.gap) < 0.1


@pytest.mark.parametrize("method", BESIDE)
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luban.stages.train.loop.CHECKPOINT_SECONDS", 0.0)
    start, chosen = base(tmp_path), config(method=method, epochs=4, rate=1e-2, dropout=0.1, patience=9)

    def stop(event: object) -> None:
        if isinstance(event, Step) and event.done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(prepared(), start, chosen, tmp_path / "stopped", watch=stop)
    folders = [train(prepared(), start, chosen, tmp_path / name) for name in ("stopped", "whole")]
    stopped, whole = (load_file(folder.path / "model.safetensors") for folder in folders)
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_a_checkpoint_holds_what_learns_only(tmp_path: Path) -> None:
    material = encode(prepared(), base(tmp_path), config())
    model = build(material.base, material.task, dropout=0.0)
    METHODS["bottleneck"]().begin(model, material, config(method="bottleneck"), tmp_path / "work")
    names = set(learnt(model))
    assert "classifier.weight" in names
    assert all(".down." in name or ".up." in name or "pooler" in name or "classifier" in name for name in names)


def test_a_state_that_lacks_what_learns_is_refused(tmp_path: Path) -> None:
    material = encode(prepared(), base(tmp_path), config())
    model = build(material.base, material.task, dropout=0.0)
    kept = learnt(model)
    del kept["classifier.weight"]
    with pytest.raises(KeyError, match=r"classifier\.weight"):
        recall(model, kept)


def test_the_forecast_counts_gradients_of_what_learns_only(tmp_path: Path) -> None:
    start, least = base(tmp_path), {}
    for method in ("full", "ia3"):
        with pytest.raises(ConfigError, match="GiB") as refused:
            train(prepared(), start, config(method=method, memory=1e-9, pooling="first"), tmp_path / method)
        least[method] = float(refused.value.happened.split()[2])
    assert least["ia3"] <= least["full"]


def test_adalora_ends_with_fewer_ranks_than_it_began_with(tmp_path: Path) -> None:
    data = replace(prepared(), valid=[])  # else the weights of an earlier epoch may be the best
    folder = train(data, base(tmp_path), config(method="adalora", epochs=20, rank=2, rate=1e-2), tmp_path / "model")
    settings = json.loads((folder.path / ADAPTER / "adapter_config.json").read_text(encoding="utf8"))
    kept = [sum(which) for which in settings["rank_pattern"].values()]
    assert 0 < sum(kept) < settings["init_r"] * len(kept)


def test_a_window_without_room_beside_the_prompt_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="60 prompt tokens leave no room"):
        trained(tmp_path, "prompt", prompt_tokens=60)
    assert not (tmp_path / "model.run").exists()


@pytest.mark.parametrize("method", MERGED)
def test_targets_that_name_nothing_are_refused_with_those_there_are(method: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'q_proj|q_proj.*self\.query"):
        trained(tmp_path, method, targets="q_proj")
    assert not (tmp_path / "model.run").exists()


def test_targets_choose_the_layers_beside_which_an_adapter_stands(tmp_path: Path) -> None:
    folder = trained(tmp_path, "lora", targets="query, value", epochs=1)
    names = load_file(folder.path / ADAPTER / "adapter_model.safetensors")
    beside = {name.split(".lora_")[0].rpartition(".")[2] for name in names if ".lora_" in name}
    assert beside == {"query", "value"}


@pytest.mark.parametrize("method", ["bottleneck", "prompt", "prefix", "ia3"])
def test_a_base_of_other_layers_is_refused_before_any_work(method: str, tmp_path: Path) -> None:
    other = transformers.DistilBertConfig(vocab_size=100, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    start = base(tmp_path)
    (start.path / "config.json").write_text(json.dumps(other.to_dict()), encoding="utf8")
    with pytest.raises(ConfigError):
        train(prepared(), start, config(method=method), tmp_path / "model")
    assert not (tmp_path / "model.run").exists()


def test_without_peft_the_command_that_adds_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luban.stages.train.methods.adapters.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install"):
        trained(tmp_path, "lora")


def test_the_memory_of_ranks_does_not_reach_the_folder(kept: Kept) -> None:
    names = load_file(kept("adalora").path / "model.safetensors")
    assert not any("rank_memory" in name or "lora" in name for name in names)


def test_a_prompt_stands_after_the_special_sub_word_that_begins_a_text(kept: Kept) -> None:
    first = kept("prompt")
    begins = [first.encoder().tokenizer.id_to_token(int(i)) for i in first.encoder().prefix]
    assert begins == ["[CLS]", *(f"[prompt{i}]" for i in range(20))]
