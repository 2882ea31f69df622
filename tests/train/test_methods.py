"""What of the model learns: full, freeze, head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from luban.errors import ConfigError, UnknownName
from luban.stages.train import train
from luban.stages.train.material import Material, encode
from luban.stages.train.methods import METHODS
from luban.stages.train.methods.freeze import frozen
from luban.stages.train.model import build
from luban.testing import SAMPLES
from luban.training import collated
from tests.train.rows import base, config, prepared

EVERY = sorted(METHODS)


def built(tmp_path: Path, task: str = "text-classification") -> tuple[torch.nn.Module, Material]:
    material = encode(prepared(task), base(tmp_path), config())
    return build(material.base, material.task, dropout=0.0, head_dropout=0.0).eval(), material


@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_the_upper_part_fed_from_the_cache_answers_as_the_whole_model(task: str, layers: int, tmp_path: Path) -> None:
    model, material = built(tmp_path, task)
    rows = range(len(material.examples))
    with torch.no_grad():
        inputs = collated(model, material.examples, 0)(rows)
        expected = model(**inputs).logits
        trained = frozen(model, material, layers, tmp_path / "work")
        got = trained.step(**trained.feed(rows)).logits
    read = inputs["attention_mask"].bool() if material.task.tags_words else slice(None)
    torch.testing.assert_close(got[read], expected[read], atol=2e-2, rtol=0)


def test_frozen_layers_do_not_change_and_the_others_do(tmp_path: Path) -> None:
    start = base(tmp_path)
    folder = train(prepared(), start, config(method="freeze", layers=1, pooling="first"), tmp_path / "model")
    before, after = load_file(start.path / "model.safetensors"), load_file(folder.path / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[f"bert.{name}"])}
    assert not any(name.startswith(("embeddings.", "encoder.layer.0.")) for name in changed)
    assert any(name.startswith("encoder.layer.1.") for name in changed)


def test_head_only_leaves_the_encoder_as_it_is(tmp_path: Path) -> None:
    start = base(tmp_path)
    folder = train(prepared(), start, config(method="head", pooling="first"), tmp_path / "model")
    before, after = load_file(start.path / "model.safetensors"), load_file(folder.path / "model.safetensors")
    assert all(torch.equal(before[n], after[f"bert.{n}"]) for n in before if not n.startswith("pooler."))


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("task", sorted(SAMPLES))
def test_every_method_gives_a_folder_that_reproduces_its_golden_rows(method: str, task: str, tmp_path: Path) -> None:
    if (task, method) == ("embedding", "head"):
        pytest.skip("a model that embeds has no head")
    folder = train(prepared(task), base(tmp_path), config(method=method, epochs=1), tmp_path / "model")
    assert folder.golden()
    assert folder.manifest.recipe["method"] == method
    assert not (tmp_path / "model.run" / "work").exists()


def test_a_method_there_is_not_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="freeze"):
        train(prepared(), base(tmp_path), config(method="frezee"), tmp_path / "model")


def test_more_layers_than_there_are_cannot_be_frozen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layers is 9"):
        train(prepared(), base(tmp_path), config(method="freeze", layers=9), tmp_path / "model")
