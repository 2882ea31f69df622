"""Which method learns where none is named: few rows a class on a base that embeds texts are learnt by contrast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luban.bases import Base
from luban.config import TrainConfig
from luban.records import Chosen, Prepared, unwatched
from luban.stages.train import train
from luban.stages.train.choice import FEW_A_CLASS, chosen
from tests.train.rows import base, prepared


@pytest.fixture
def embedder(tmp_path: Path) -> Base:
    """A base whose folder says that it embeds texts."""
    found = base(tmp_path)
    (found.path / "modules.json").write_text("[]", encoding="utf8")
    return found


def method(data: Prepared, start: Base, **options: Any) -> str:
    return chosen(TrainConfig(**{"task": data.task, "log": (), **options}), data, start, unwatched).method


def test_few_rows_a_class_are_learnt_by_contrast_on_a_base_that_embeds(embedder: Base) -> None:
    assert method(prepared(), embedder) == "contrastive"


def test_a_base_that_does_not_say_that_it_embeds_is_trained_whole(tmp_path: Path) -> None:
    assert method(prepared(), base(tmp_path)) == "full"


def test_many_rows_of_one_class_are_learnt_by_the_whole_model(embedder: Base) -> None:
    data = prepared()
    often = [{**data.train[0], "text": f"hello {i}"} for i in range(FEW_A_CLASS)]
    assert method(replace(data, train=[*data.train, *often]), embedder) == "full"


@pytest.mark.parametrize("option", [{"rate": 1e-4}, {"epochs": 2}, {"adversarial": "fgm"}, {"private": 8.0}])
def test_an_option_of_learning_speaks_of_the_whole_model(embedder: Base, option: dict[str, Any]) -> None:
    assert method(prepared(), embedder, **option) == "full"


@pytest.mark.parametrize("task", ["token-classification", "multi-label-classification", "text-regression"])
def test_rows_without_one_class_each_are_learnt_by_the_whole_model(embedder: Base, task: str) -> None:
    assert method(prepared(task), embedder) == "full"


def test_a_method_that_is_named_is_taken(embedder: Base) -> None:
    assert method(prepared(), embedder, method="lora") == "lora"


def test_the_choice_is_told_and_stands_in_the_recipe(tmp_path: Path, embedder: Base) -> None:
    told: list[object] = []
    plain = TrainConfig(task="text-classification", log=(), contrast_steps=2)
    folder = train(prepared(), embedder, plain, tmp_path / "model", watch=told.append)
    assert folder.manifest.recipe["method"] == "contrastive"
    (choice,) = (event for event in told if isinstance(event, Chosen))
    assert (choice.method, choice.rows) == ("contrastive", len(prepared().train))
