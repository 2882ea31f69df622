"""Learning from a teacher: soft labels, fewer layers, other tokenizers, rows without labels, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luban.bases import Base, find
from luban.errors import ConfigError
from luban.folder import Folder
from luban.predict import Predictor
from luban.records import Prepared
from luban.stages.train import train
from luban.stages.train.material import encode
from luban.stages.train.model import build
from luban.stages.train.objectives.distil import Distil
from luban.stages.train.objectives.imitation import attention_gap, hidden_gap, mapped
from luban.stages.train.origin import origin_of
from luban.stages.train.pooling import add_mean_layer, averages
from luban.stages.train.student import kept_layers, shorten
from luban.stages.train.teacher import TEACHABLE, ask, opened
from luban.tasks import TASKS
from luban.testing import SAMPLES, tiny_base, tiny_folder
from luban.training import Part, TaskLoss, padded_targets
from tests.train.rows import base, config, prepared


def unlabelled(data: Prepared) -> Prepared:
    """The same rows with as many beside them whose targets are not known."""
    kind = TASKS[data.task]
    bare = [{c.name: row[c.name] for c in kind.columns if c.name in row and not c.target} for row in SAMPLES[data.task]]
    return replace(data, unlabelled=[kind.parse(row, labelled=False) for row in bare])


def cased(start: Base) -> Base:
    """The base with a tokenizer that minds capitals."""
    file = start.path / "tokenizer.json"
    told = json.loads(file.read_text(encoding="utf8"))
    told["normalizer"]["lowercase"] = False
    file.write_text(json.dumps(told), encoding="utf8")
    return start


@pytest.mark.parametrize("task", TEACHABLE)
def test_every_task_learns_from_a_teacher_and_from_rows_without_labels(task: str, tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher", task)
    data = unlabelled(prepared(task))
    folder = train(data, base(tmp_path), config(epochs=1, teacher=str(teacher.path)), tmp_path / "model")
    assert folder.manifest.notes["teacher"]["fingerprint"] == teacher.manifest.fingerprint
    assert not (tmp_path / "model.run" / "work").exists()


def test_a_student_answers_like_its_teacher_where_only_the_teacher_is_believed(tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher")
    data = replace(prepared(times=12), valid=[])  # so that the last weights are taken, not those best by the labels
    options = {"epochs": 25, "rate": 3e-3, "distil_temperature": 1}
    asked = [dict(row) for row in data.train[:4]]
    want = [answer.scores for answer in Predictor.open(teacher).predict(asked)]

    def gap(weight: float) -> float:
        chosen = config(teacher=str(teacher.path), distil_weight=weight, **options)
        folder = train(data, base(tmp_path), chosen, tmp_path / f"model-{weight}")
        got = Predictor.open(folder).logits([folder.task().encode(row, folder.encoder()) for row in asked])
        said = [np.exp(one[0]) / np.exp(one[0]).sum() for one in got]
        told = zip(said, want, strict=True)
        return float(np.mean([abs(s - [w[label] for label in folder.manifest.labels]).max() for s, w in told if w]))

    assert gap(1.0) < 0.1 < gap(0.0)


def test_a_lesson_gives_each_example_what_the_teacher_said_of_it(tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher", "token-classification")
    chosen = config(teacher=str(teacher.path))
    data = prepared("token-classification")
    material = encode(data, base(tmp_path), chosen, task=origin_of(data, base(tmp_path), chosen).task)
    lesson = ask(opened(chosen, data), material, tmp_path / "said.npy")
    second = material.examples[1]
    own = Predictor.open(teacher).runtime.run(_batch(second.window))[0]
    np.testing.assert_allclose(lesson.of([0, 1])[1, : len(second.window.ids)], own, atol=2e-2)


def _batch(window: object) -> dict[str, np.ndarray]:
    from luban.encoding import collate

    return collate([window], 0)  # type: ignore[list-item]


def test_a_row_without_a_label_teaches_only_what_the_teacher_says(tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher")
    chosen = config(teacher=str(teacher.path))
    data = unlabelled(prepared(times=1))
    origin = origin_of(data, base(tmp_path), chosen)
    material = origin.taught(encode(data, base(tmp_path), chosen, task=origin.task), tmp_path)
    assert material.lesson is not None
    distil = Distil(
        TaskLoss(origin.task), material.lesson, material.examples, task=origin.task, weight=0.5, temperature=2
    )
    rows = [i for i, example in enumerate(material.examples) if not example.labelled]
    told = [material.examples[i] for i in rows]
    targets = torch.from_numpy(padded_targets(told))
    part = Part({}, targets, torch.ones(len(rows)), tuple(rows))
    agreeing = material.lesson.of(rows)[:, 0]
    assert rows
    assert float(distil.of(agreeing, part)) == pytest.approx(0.0, abs=1e-4)
    assert float(distil.of(agreeing.flip(-1), part)) > 0.1


def test_a_teacher_with_another_tokenizer_reads_the_texts_itself(tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher")
    start = cased(base(tmp_path))
    folder = train(prepared(), start, config(epochs=1, teacher=str(teacher.path)), tmp_path / "model")
    assert folder.manifest.notes["teacher"]["name"] == "teacher"


def test_a_tagger_refuses_a_teacher_with_other_sub_words(tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher", "token-classification")
    start = cased(base(tmp_path))
    with pytest.raises(ConfigError, match="other sub-words"):
        train(prepared("token-classification"), start, config(teacher=str(teacher.path)), tmp_path / "model")


@pytest.mark.parametrize("mean", [False, True])
def test_a_student_keeps_layers_evenly_and_the_one_that_averages(mean: bool, tmp_path: Path) -> None:
    path = tiny_base(tmp_path / "base", layers=6)
    task = TASKS["text-classification"].fit(prepared().train)
    model = build(path, task, dropout=0.0)
    if mean:
        add_mean_layer(model, seed=1)
    layers = list(model.bert.encoder.layer)
    assert averages(model) is mean
    shorten(model, 3)
    assert list(model.bert.encoder.layer) == [layers[i] for i in (0, 2, 4)] + layers[6:]
    assert model.config.num_hidden_layers == 3 + mean


def test_a_copy_of_its_teacher_has_fewer_layers_the_same_head_and_a_parent(tmp_path: Path) -> None:
    six = find(str(tiny_base(tmp_path / "six", layers=6)))
    teacher = train(prepared(), six, config(), tmp_path / "teacher")
    chosen = config(teacher=str(teacher.path), student_layers=3, epochs=1, rate=1e-12)
    folder = train(prepared(), find(str(teacher.path)), chosen, tmp_path / "student")
    before, after = (_weights(one) for one in (teacher, folder))
    assert np.allclose(before["classifier.weight"], after["classifier.weight"], atol=1e-6)
    assert np.allclose(
        before["bert.encoder.layer.2.output.dense.bias"], after["bert.encoder.layer.1.output.dense.bias"]
    )
    assert folder.manifest.parent == teacher.manifest.fingerprint
    assert folder.manifest.base == teacher.manifest.base


def _weights(folder: Folder) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder.path / "model.safetensors")


@pytest.mark.parametrize("hidden", [32, 16])
def test_hidden_states_and_attention_are_learnt_and_no_projection_is_left(hidden: int, tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher")
    start = find(str(tiny_base(tmp_path / "small", layers=1, hidden=hidden)))
    chosen = config(teacher=str(teacher.path), distil_hidden=1.0, distil_attention=1.0, epochs=1, log=())
    folder = train(prepared(), start, chosen, tmp_path / "model")
    assert not [name for name in _weights(folder) if "imitation" in name]


def test_the_gap_between_equal_insides_is_nothing() -> None:
    torch.manual_seed(1)
    states, read = [torch.randn(2, 5, 4) for _ in range(3)], torch.ones(2, 5)
    attention = [torch.softmax(torch.randn(2, 3, 5, 5), -1) for _ in range(2)]
    same = [(1, 1), (2, 2)]
    assert torch.allclose(hidden_gap(states, states, same, read, None), torch.zeros(2))
    assert torch.allclose(attention_gap(attention, attention, same, read), torch.zeros(2), atol=1e-5)
    assert (hidden_gap(states, states, [(1, 2)], read, None) > 0.1).all()
    assert (attention_gap(attention, attention, [(1, 2)], read) > 0.01).all()


@given(st.integers(1, 12), st.integers(1, 24))
def test_layers_stand_for_layers_in_order_the_last_for_the_last(student: int, more: int) -> None:
    pairs = mapped(student, student + more)
    assert [here for here, _ in pairs] == list(range(1, student + 1))
    there = [layer for _, layer in pairs]
    assert there == sorted(there)
    assert there[-1] == student + more


@given(st.integers(2, 48), st.data())
def test_kept_layers_are_different_ones_from_the_first_on(depth: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, depth - 1))
    kept = kept_layers(depth, count)
    assert len(set(kept)) == count
    assert kept[0] == 0
    assert max(kept) < depth


def test_a_hub_model_with_a_head_teaches_by_its_own_labels(tmp_path: Path) -> None:
    made = tiny_folder(tmp_path / "made")
    (made.path / "luban.json").unlink()
    folder = train(prepared(), base(tmp_path), config(epochs=1, teacher=str(made.path)), tmp_path / "model")
    assert folder.manifest.labels == ("order", "refund")


def test_a_base_without_a_head_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no head"):
        train(prepared(), base(tmp_path), config(teacher=str(tmp_path / "base")), tmp_path / "model")


def test_a_teacher_with_other_labels_is_refused_before_any_work(tmp_path: Path) -> None:
    rows = [{"text": "where is my order", "label": "order"}, {"text": "hello", "label": "greeting"}]
    teacher = tiny_folder(tmp_path / "teacher", rows=rows)
    with pytest.raises(ConfigError, match="The rows have 'refund', which the teacher teacher does not know"):
        train(prepared(), base(tmp_path), config(teacher=str(teacher.path)), tmp_path / "model")
    assert not (tmp_path / "model.run").exists()


def test_a_teacher_of_another_task_is_refused(tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher", "token-classification")
    with pytest.raises(ConfigError, match="was trained for token-classification"):
        train(prepared(), base(tmp_path), config(teacher=str(teacher.path)), tmp_path / "model")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"student_layers": 1}, "there is no teacher"),
        ({"distil_hidden": 1.0}, "are to be like a teacher's"),
        ({"teacher": "T", "distil_hidden": 1.0, "method": "freeze"}, "are to be like a teacher's"),
        ({"teacher": "T", "distil_hidden": 1.0, "rdrop": 1.0}, "cannot be combined"),
        ({"teacher": "T", "mixup": 0.2}, "cannot be combined"),
        ({"teacher": "T", "student_layers": 2}, "student_layers is 2"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object], said: str, tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher")
    chosen = config(**{key: str(teacher.path) if value == "T" else value for key, value in options.items()})
    with pytest.raises(ConfigError, match=said):
        train(prepared(), find(str(teacher.path)), chosen, tmp_path / "model")


def test_rows_without_labels_need_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unlabelled rows, and no teacher"):
        train(unlabelled(prepared()), base(tmp_path), config(), tmp_path / "model")


@pytest.mark.parametrize("method", ["freeze", "head"])
def test_a_teacher_goes_with_every_method(method: str, tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher")
    chosen = config(epochs=1, teacher=str(teacher.path), method=method, student_layers=1)
    folder = train(prepared(), find(str(teacher.path)), chosen, tmp_path / "model")
    assert folder.manifest.recipe["method"] == method
