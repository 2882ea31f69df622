"""A model goes on learning: new classes beside the old ones, old rows again, what was forgotten, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from luban.bases import find
from luban.errors import ConfigError, GateError
from luban.folder import Folder
from luban.predict import Predictor
from luban.records import Prepared, Remembered
from luban.stages.train import train
from luban.stages.train.continual import balanced
from luban.testing import tiny_folder
from tests.train.rows import base, config, prepared

NEW = [
    {"text": "my card is lost", "label": "card"},
    {"text": "please cancel the card", "label": "card"},
    {"text": "卡丢了", "label": "card"},
    {"text": "hello", "label": "greeting"},
    {"text": "hello alice", "label": "greeting"},
    {"text": "谢谢你", "label": "greeting"},
]


def older(tmp_path: Path) -> Folder:
    """A model that knows orders and refunds."""
    return train(prepared(), base(tmp_path), config(epochs=6, rate=3e-3), tmp_path / "old")


def newer(rows: list[dict[str, str]] = NEW) -> Prepared:
    """Rows of two new classes, and beside them those that the older model was trained from."""
    return Prepared("text-classification", "new", rows * 4, rows, [], (), {}, "new", replay=prepared())


def go_on(tmp_path: Path, old: Folder, data: Prepared, **options: object) -> Folder:
    chosen = config(**{"epochs": 10, "rate": 3e-3, "continue_from": str(old.path), "max_forget": 1.0, **options})
    return train(data, find(str(old.path)), chosen, tmp_path / "new")


def test_new_classes_are_learnt_and_the_old_ones_are_kept(tmp_path: Path) -> None:
    old = older(tmp_path)
    folder = go_on(tmp_path, old, newer(), max_forget=0.0, epochs=30, patience=99)
    assert folder.manifest.labels == ("order", "refund", "card", "greeting")
    assert folder.manifest.parent == old.manifest.fingerprint
    assert folder.manifest.base == old.manifest.base
    answers = [answer.label for answer in Predictor.open(folder).predict(["my card is lost", "where is my order"])]
    assert answers == ["card", "order"]


def test_the_report_holds_every_old_class_before_and_after(tmp_path: Path) -> None:
    folder = go_on(tmp_path, older(tmp_path), newer())
    report = json.loads((folder.path / "reports" / "continual.json").read_text(encoding="utf8"))
    assert report == folder.manifest.notes["continual"]
    assert [one["label"] for one in report["classes"]] == ["order", "refund"]
    assert report["rows"] == 8
    assert report["drop"] == pytest.approx(report["before"] - report["after"])
    assert report["interval"][0] <= report["drop"] <= report["interval"][1]


def test_the_rows_of_known_classes_start_where_they_were(tmp_path: Path) -> None:
    old = older(tmp_path)
    folder = go_on(tmp_path, old, newer(), rate=1e-12, epochs=1)
    before, after = (load_file(one.path / "model.safetensors") for one in (old, folder))
    np.testing.assert_allclose(after["classifier.weight"][:2], before["classifier.weight"], atol=1e-6)
    new = after["classifier.weight"][2:]
    assert new.shape[0] == 2
    assert np.abs(new).max() > 0.1  # a probe's, not the fresh head's hundredths


def test_more_rows_of_known_classes_alone_widen_nothing(tmp_path: Path) -> None:
    rows = [{"text": "when is my order", "label": "order"}, {"text": "i need money back", "label": "refund"}]
    folder = go_on(tmp_path, older(tmp_path), replace(newer(rows), replay=None))
    assert folder.manifest.labels == ("order", "refund")


def test_too_much_forgetting_fails_names_the_worst_classes_and_writes_no_folder(tmp_path: Path) -> None:
    old = older(tmp_path)
    with pytest.raises(GateError, match=r"fell from .* most: (order|refund)") as told:
        go_on(tmp_path, old, newer(), replay_rows=0, distil_weight=0.0, max_forget=0.1, epochs=30)
    assert told.value.exit_code == 1
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "new.run" / "continual.json").is_file()


def test_what_failed_is_kept_without_training_again_where_more_may_be_forgotten(tmp_path: Path) -> None:
    old = older(tmp_path)
    careless = {"replay_rows": 0, "distil_weight": 0.0, "epochs": 30}
    with pytest.raises(GateError):
        go_on(tmp_path, old, newer(), max_forget=0.1, **careless)
    seen: list[object] = []
    chosen = config(rate=3e-3, continue_from=str(old.path), max_forget=1.0, **careless)
    train(newer(), find(str(old.path)), chosen, tmp_path / "new", watch=seen.append)
    assert [type(event).__name__ for event in seen if type(event).__name__ != "Forecast"][-1] == "Remembered"
    assert "Step" not in {type(event).__name__ for event in seen}
    assert not (tmp_path / "new.run" / "continual.json").exists()


def test_whoever_watches_is_told_what_was_forgotten(tmp_path: Path) -> None:
    old, seen = older(tmp_path), []
    chosen = config(epochs=1, continue_from=str(old.path), max_forget=1.0)
    train(newer(), find(str(old.path)), chosen, tmp_path / "new", watch=seen.append)
    (found,) = [event for event in seen if isinstance(event, Remembered)]
    assert found.unseen  # the rows of replay have the fingerprint of those the older model was trained from


def test_old_rows_that_may_have_been_learnt_are_told_as_such(tmp_path: Path) -> None:
    data = newer()
    assert data.replay is not None
    other = replace(data, replay=replace(data.replay, fingerprint="other"))
    folder = go_on(tmp_path, older(tmp_path), other)
    assert folder.manifest.notes["continual"]["unseen"] is False


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1), st.integers(0, 40), st.integers())
def test_replay_gives_each_label_as_many_rows_as_it_can(rows: dict[str, int], count: int, seed: int) -> None:
    chosen = balanced([{"label": label} for label, n in rows.items() for _ in range(n)], count, seed=seed)
    got = Counter(row["label"] for row in chosen)
    assert len(chosen) == min(count, sum(rows.values()))
    most = max(got.values(), default=0)
    assert all(got[label] >= min(rows[label], most - 1) for label in rows)


def test_another_task_is_refused(tmp_path: Path) -> None:
    old = tiny_folder(tmp_path / "old", "text-pair")
    with pytest.raises(ConfigError, match="was trained for text-pair, the rows are for text-classification"):
        go_on(tmp_path, old, newer())


def test_a_tagger_cannot_go_on(tmp_path: Path) -> None:
    old = tiny_folder(tmp_path / "old", "token-classification")
    with pytest.raises(ConfigError, match="A model of token-classification cannot be continued"):
        go_on(tmp_path, old, prepared("token-classification"))


def test_another_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"base is minilm, and .* was trained from tiny"):
        go_on(tmp_path, tiny_folder(tmp_path / "old"), newer(), base="minilm")


def test_replay_that_lacks_a_class_is_refused(tmp_path: Path) -> None:
    data = newer()
    assert data.replay is not None
    fewer = [row for row in data.replay.train if row["label"] == "order"]
    with pytest.raises(ConfigError, match="none of 'refund', which the older model knows"):
        go_on(tmp_path, tiny_folder(tmp_path / "old"), replace(data, replay=replace(data.replay, train=fewer)))


def test_replay_with_a_class_of_its_own_is_refused(tmp_path: Path) -> None:
    data = newer()
    assert data.replay is not None
    more = [*data.replay.train, {"text": "good film", "label": "film"}]
    with pytest.raises(ConfigError, match="have 'film', which the older model does not know"):
        go_on(tmp_path, tiny_folder(tmp_path / "old"), replace(data, replay=replace(data.replay, train=more)))


def test_without_any_old_row_nothing_could_be_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There are no old rows"):
        go_on(tmp_path, tiny_folder(tmp_path / "old"), replace(newer(), replay=None))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"teacher": "T"}, "has itself for a teacher"), ({"mixup": 0.2}, "cannot be combined")],
)
def test_what_does_not_go_with_a_model_that_goes_on_is_refused(
    options: dict[str, object], said: str, tmp_path: Path
) -> None:
    old = tiny_folder(tmp_path / "old")
    given_options = {key: str(old.path) if value == "T" else value for key, value in options.items()}
    with pytest.raises(ConfigError, match=said):
        go_on(tmp_path, old, newer(), **given_options)


def test_replay_without_a_model_to_continue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model to continue"):
        train(newer(), base(tmp_path), config(), tmp_path / "model")
