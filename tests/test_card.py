"""The model card: what it says of a manifest, and that nothing in a manifest can become markup."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from luban import card
from luban.card import code, escaped, model_card, table
from luban.manifest import BaseInfo, FileInfo, Manifest
from luban.tasks import TASKS
from luban.units import size


def manifest(**fields: Any) -> Manifest:
    given: dict[str, Any] = {
        "name": "tickets",
        "task": "text-classification",
        "labels": ("refund", "parcel"),
        "base": BaseInfo(name="minilm", licence="apache-2.0", hash="ab" * 32),
        "data": {"source": "/home/somebody/tickets.csv", "rows": {"train": 90, "valid": 10}, "fingerprint": "c0ffee"},
        "scores": {"valid": {"accuracy": 0.9123, "macro_f1": 0.9}, "test": {"accuracy": 0.5}},
    }
    return Manifest(**{**given, **fields})


def front_matter(text: str) -> dict[str, Any]:
    _, matter, _ = text.split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(matter)
    return loaded


def test_the_front_matter_is_what_the_hub_reads() -> None:
    body = front_matter(model_card(manifest()))
    assert body["license"] == "apache-2.0"
    assert body["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert body["pipeline_tag"] == "text-classification"
    assert body["metrics"] == ["accuracy", "macro_f1"]
    assert body["model-index"][0]["results"][0]["metrics"][0] == {"type": "accuracy", "value": 0.9123}


def test_what_is_not_known_is_left_out() -> None:
    body = front_matter(model_card(manifest(base=BaseInfo(name="my-folder"), scores={})))
    assert not {"license", "base_model", "metrics", "model-index", "language"} & set(body)


def test_scores_stand_by_split_with_the_number_of_rows() -> None:
    card = model_card(manifest())
    assert "| score | valid (10 rows) | test |" in card
    assert "| `accuracy` | 0.9123 | 0.5000 |" in card
    assert "| `macro_f1` | 0.9000 |  |" in card


def test_the_directory_of_the_rows_is_not_told() -> None:
    card = model_card(manifest(recipe={"base": "/home/somebody/base"}))
    assert "tickets.csv" in card
    assert "somebody" not in card


@pytest.mark.parametrize(("count", "folded"), [(30, False), (31, True)])
def test_many_labels_are_folded(count: int, folded: bool) -> None:
    card = model_card(manifest(labels=tuple(f"label {i}" for i in range(count)), recipe={}))
    assert (f"<details><summary>{count} labels</summary>" in card) is folded


def test_an_onnx_folder_is_not_said_to_load_in_transformers() -> None:
    assert "from_pretrained" in model_card(manifest())
    assert "from_pretrained" not in model_card(manifest(runtime="onnx"))


@pytest.mark.parametrize("task", sorted(set(TASKS.table) - card.OWN))
def test_every_task_s_model_is_loaded_by_its_own_class(task: str) -> None:
    assert task in card.TASKS
    assert f"import {TASKS[task].model_class}," in model_card(manifest(task=task, labels=()))


def test_a_model_that_rewrites_is_loaded_by_its_own_class_and_cuts_what_is_too_long() -> None:
    text = model_card(manifest(task="text-to-text", labels=()))
    assert "AutoModelForSeq2SeqLM" in text
    assert "longer ones are cut" in text


def test_the_lineage_names_the_parent() -> None:
    assert "d" * 64 in model_card(manifest(parent="d" * 64))


def test_files_are_listed_with_their_sizes() -> None:
    card = model_card(manifest(files={"model.safetensors": FileInfo(sha256="0" * 64, bytes=90_868_376)}))
    assert "| `model.safetensors` | 90.9 MB |" in card


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2.5e6, "2.5 MB"), (3e12, "3000.0 GB")]
)
def test_sizes_are_readable(count: float, text: str) -> None:
    assert size(count) == text


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert table(["a"], [[code("x|y")], [escaped("x|y")]]).splitlines()[2:] == ["| `x\\|y` |", "| x\\|y |"]


@given(st.text())
def test_escaped_text_has_no_live_markup(text: str) -> None:
    shown = escaped(text)
    assert "\n" not in shown
    bare = shown.replace("\\\\", "")
    assert all(bare[i - 1] == "\\" for i, char in enumerate(bare) if char in "`*_[]<>#|")


@given(name=st.text(min_size=1, max_size=40), label=st.text(max_size=40), base=st.text(max_size=40))
def test_any_manifest_has_a_card_with_whole_front_matter(name: str, label: str, base: str) -> None:
    made = manifest(name=name, labels=(label, "other"), base=BaseInfo(name=base))
    card = model_card(made)
    body = yaml.safe_load(card.removeprefix("---\n").split("\n---\n", 1)[0])
    assert body["model-index"][0]["name"] == " ".join(
        "".join(char if char.isprintable() else " " for char in name).split()
    )
    assert card.count("\n## Scores\n") == 1
