"""Pictures: they are learnt, varied while they are, and a run that was interrupted sees the same variations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification

from luban.bases import Base, find
from luban.errors import BaseUnavailable, ConfigError
from luban.pictures import opened
from luban.stages.train import train
from luban.stages.train.material import encode
from luban.stages.train.methods import METHODS
from luban.stages.train.methods.freeze import depth_of
from luban.stages.train.model import build
from luban.stages.train.recipe import schedule
from luban.testing import tiny_base, tiny_sight
from luban.training import Learner, collated
from tests.train.rows import config, plain_learner, prepared

IMAGES = "image-classification"


def sight(tmp_path: Path, kind: str = "resnet") -> Base:
    return find(str(tiny_sight(tmp_path / kind, kind=kind)))


def test_pictures_are_learnt_by_heart(tmp_path: Path) -> None:
    folder = train(prepared(IMAGES), sight(tmp_path), config(epochs=1), tmp_path / "model")
    assert folder.manifest.scores["valid"]["accuracy"] == 1.0


@pytest.mark.parametrize("kind", ["resnet", "vit", "mobilenet"])
def test_each_kind_of_model_gives_a_folder_that_plain_transformers_reads(kind: str, tmp_path: Path) -> None:
    folder = train(prepared(IMAGES), sight(tmp_path, kind), config(epochs=1), tmp_path / "model")
    model = AutoModelForImageClassification.from_pretrained(folder.path).eval()
    processor = AutoImageProcessor.from_pretrained(folder.path, backend="pil")
    for golden in folder.golden():
        with torch.no_grad():
            said = model(**processor(images=opened(golden.row["image"]), return_tensors="pt")).logits[0]
        assert model.config.id2label[int(said.argmax())] == golden.expect["label"]


@pytest.mark.parametrize("method", ["freeze", "head", "prototypes"])
def test_methods_that_fit_pictures_give_a_folder(method: str, tmp_path: Path) -> None:
    folder = train(prepared(IMAGES), sight(tmp_path), config(method=method, epochs=1), tmp_path / "model")
    assert folder.manifest.recipe["method"] == method


@pytest.mark.parametrize("method", sorted({*METHODS} - {"full", "freeze", "head", "prototypes"}))
def test_methods_inside_of_text_models_are_refused_for_pictures(method: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Methods for image-classification: full, freeze, head, prototypes"):
        train(prepared(IMAGES), sight(tmp_path), config(method=method), tmp_path / "model")


def test_head_only_leaves_the_convolutions_as_they_are(tmp_path: Path) -> None:
    base = sight(tmp_path)
    folder = train(prepared(IMAGES), base, config(method="head"), tmp_path / "model")
    before, after = load_file(base.path / "model.safetensors"), load_file(folder.path / "model.safetensors")
    assert all(torch.equal(before[name], after[f"resnet.{name}"]) for name in before)


def test_the_statistics_of_batch_normalisation_stay_those_of_the_base(tmp_path: Path) -> None:
    base = sight(tmp_path)
    folder = train(prepared(IMAGES), base, config(), tmp_path / "model")
    before, after = load_file(base.path / "model.safetensors"), load_file(folder.path / "model.safetensors")
    still = [name for name in before if "running" in name]
    assert still
    assert all(torch.equal(before[name], after[f"resnet.{name}"]) for name in still)
    assert any(not torch.equal(before[name], after[f"resnet.{name}"]) for name in before if name not in still)


def test_pictures_vary_while_a_model_learns_and_not_while_it_is_judged(tmp_path: Path) -> None:
    material = encode(prepared(IMAGES), sight(tmp_path), config())
    feed = collated(build(material.base, material.task, dropout=0.0), material.examples, 0)
    torch.manual_seed(1)
    one, other = (feed([0])["pixel_values"] for _ in range(2))
    assert not torch.equal(one, other)
    windows = [encoded.windows[0] for encoded in material.encoded_valid[:1]] * 2
    still = windows[0].batched(windows, 0)["pixel_values"]
    assert np.array_equal(still[0], still[1])


def test_without_augmentation_pictures_are_fed_as_they_are_judged(tmp_path: Path) -> None:
    material = encode(prepared(IMAGES), sight(tmp_path), config(augment=False))
    feed = collated(build(material.base, material.task, dropout=0.0), material.examples, 0)
    window = material.examples[0].window
    assert np.array_equal(feed([0])["pixel_values"].numpy(), window.batched([window], 0)["pixel_values"])


def test_a_restored_learner_sees_the_same_variations(tmp_path: Path) -> None:
    material = encode(prepared(IMAGES), sight(tmp_path), config())
    plan = schedule(config(), material.task, len(material.examples))

    def learner() -> Learner:
        torch.manual_seed(3)
        return plain_learner(build(material.base, material.task, dropout=0.0), material, plan)

    straight = learner()
    losses = [event.loss for event in straight.learn() if hasattr(event, "loss")]
    first, second = learner(), learner()
    steps = first.learn()
    next(steps)
    state = first.state()
    torch.manual_seed(99)
    second.restore(state)
    assert [event.loss for event in second.learn() if hasattr(event, "loss")] == losses[1:]


def test_the_depth_of_a_model_without_a_number_of_layers_is_read_off_its_names(tmp_path: Path) -> None:
    material = encode(prepared(IMAGES), sight(tmp_path), config())
    assert depth_of(build(material.base, material.task, dropout=0.0)) == 2


@pytest.mark.parametrize("option", [{"adversarial": "fgm"}])
def test_what_needs_embeddings_is_refused_for_pictures(option: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not work for image-classification"):
        train(prepared(IMAGES), sight(tmp_path), config(**option), tmp_path / "model")


@pytest.mark.parametrize(
    "option", [{"mixup": 0.2}, {"rdrop": 0.5}, {"focal": 2.0}, {"class_weights": "balanced"}, {"noisy": "drop"}]
)
def test_objectives_of_classes_take_pictures(option: dict[str, object], tmp_path: Path) -> None:
    assert train(prepared(IMAGES), sight(tmp_path), config(epochs=1, **option), tmp_path / "model").golden()


def test_a_base_that_reads_texts_is_refused_for_pictures(tmp_path: Path) -> None:
    base = find(str(tiny_base(tmp_path / "base")))
    with pytest.raises(BaseUnavailable, match="reads no pictures"):
        train(prepared(IMAGES), base, config(), tmp_path / "model")


def test_a_length_in_sub_words_is_refused_for_pictures(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pictures have none"):
        train(prepared(IMAGES), sight(tmp_path), config(max_length=64), tmp_path / "model")
