"""What of the model learns: full, freeze, head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from luban.contrastive import supervised_contrast
from luban.errors import ConfigError, UnknownName
from luban.outputs import sentence_vectors
from luban.stages.train import train
from luban.stages.train.material import Material, encode
from luban.stages.train.methods import METHODS
from luban.stages.train.methods.contrastive import attract, batches_of_classes, vectors_of
from luban.stages.train.methods.freeze import frozen
from luban.stages.train.methods.prototypes import set_means
from luban.stages.train.model import build
from luban.testing import SAMPLES
from luban.training import collated
from tests.train.rows import base, config, prepared

EVERY = [
    (method, task)
    for method in sorted(METHODS)
    for task in sorted(SAMPLES)
    if not METHODS[method].refused(config(method=method), task)
    and (method, task) != ("head", "embedding")
    and task != "recommendation"
]
"methods and the tasks they take; what embeds has no head to be trained alone, and towers have one way to learn"


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


@pytest.mark.parametrize(("method", "task"), EVERY)
def test_every_method_gives_a_folder_that_reproduces_its_golden_rows(method: str, task: str, tmp_path: Path) -> None:
    folder = train(prepared(task), base(tmp_path, task), config(method=method, epochs=1), tmp_path / "model")
    assert folder.golden()
    assert folder.manifest.recipe["method"] == method
    assert not (tmp_path / "model.run" / "work").exists()


def test_a_method_there_is_not_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="freeze"):
        train(prepared(), base(tmp_path), config(method="frezee"), tmp_path / "model")


def test_more_layers_than_there_are_cannot_be_frozen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layers is 9"):
        train(prepared(), base(tmp_path), config(method="freeze", layers=9), tmp_path / "model")


@pytest.mark.parametrize("method", ["contrastive", "prototypes"])
def test_what_needs_one_class_a_row_is_refused_for_tags(method: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="token-classification have no one class"):
        train(prepared("token-classification"), base(tmp_path), config(method=method), tmp_path / "model")


def test_prototypes_learn_nothing_and_choose_the_nearest_mean(tmp_path: Path) -> None:
    linear, classes = torch.nn.Linear(3, 2), torch.tensor([0, 0, 1, 1])
    features = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 3.0], [4.0, 0.0, 0.0], [6.0, 0.0, 0.0]])
    set_means(linear, features, classes)
    asked = torch.tensor([[0.0, 0.0, 2.0], [5.0, 1.0, 0.0], [2.0, 0.0, 2.0]])
    nearest = torch.cdist(asked, torch.tensor([[0.0, 0.0, 2.0], [5.0, 0.0, 0.0]])).argmin(1)
    assert torch.equal(linear(asked).argmax(1), nearest)
    folder = train(prepared(), base(tmp_path), config(method="prototypes"), tmp_path / "model")
    assert folder.manifest.notes["parameters"]["trained"] == 0


def test_contrast_is_least_where_classes_stand_apart() -> None:
    classes = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert supervised_contrast(apart, classes, 0.1) < supervised_contrast(apart[[0, 2, 1, 3]], classes, 0.1)


def test_a_class_of_one_text_does_not_count_in_the_contrast() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(1)), dim=-1)
    alone = supervised_contrast(vectors, torch.arange(5), 0.1)
    assert alone.item() == 0.0


def test_batches_hold_several_texts_of_each_class_whatever_the_number_of_rows(tmp_path: Path) -> None:
    _, material = built(tmp_path)
    batch = next(batches_of_classes(material.examples, seed=1))
    classes = [int(material.examples[i].target) for i in batch]
    assert len(batch) == len(set(batch))
    assert all(classes.count(label) >= 2 for label in set(classes))


def test_rows_read_a_few_at_a_time_have_the_vectors_of_rows_read_together(tmp_path: Path) -> None:
    model, material = built(tmp_path)
    rows = list(range(20))
    feed = collated(model, material.examples, 0)
    with torch.no_grad():
        inputs = feed(rows)
        together = sentence_vectors(model.bert(**inputs).last_hidden_state, inputs["attention_mask"], "mean")
        assert torch.allclose(vectors_of(model.bert, feed, rows, "mean"), together, atol=1e-5)


def test_contrastive_steps_bring_the_texts_of_a_class_together(tmp_path: Path) -> None:
    model, material = built(tmp_path)
    rows = range(len(material.examples))
    classes = torch.tensor([int(example.target) for example in material.examples])

    def apart() -> float:
        with torch.no_grad():
            inputs = collated(model, material.examples, 0)(rows)
            vectors = sentence_vectors(model.bert(**inputs).last_hidden_state, inputs["attention_mask"], "mean")
            return float(supervised_contrast(vectors, classes, 0.1))

    before = apart()
    attract(model, material.examples, 0, pooling="mean", config=config(contrast_steps=5))
    assert apart() < before
