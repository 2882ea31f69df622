"""Every knob: closed, frozen, explained; and what a wrong one is told."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from luban.config import EvaluateConfig, ExportConfig, PrepareConfig, Project, Section, ServeConfig, TrainConfig, parse
from luban.errors import ConfigError

SECTIONS = [PrepareConfig, TrainConfig, EvaluateConfig, ExportConfig, ServeConfig]


def test_values_become_a_section() -> None:
    assert parse(TrainConfig, {"epochs": 2, "base": "e5-small"}) == TrainConfig(epochs=2, base="e5-small")


def test_an_unknown_key_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"luban\.yaml: there is no key 'epoch'\..*Did you mean 'epochs'\?"):
        parse(TrainConfig, {"epoch": 2}, source="luban.yaml")


def test_an_unknown_key_deep_down_is_named_with_its_path() -> None:
    with pytest.raises(ConfigError, match=r"no key 'train\.basis'.*Did you mean 'base'\?"):
        parse(Project, {"train": {"basis": "minilm"}})


@pytest.mark.parametrize(
    ("section", "values", "named"),
    [
        (TrainConfig, {"epochs": "many"}, "epochs cannot be 'many'"),
        (TrainConfig, {"dropout": -5}, "dropout cannot be -5"),
        (TrainConfig, {"dropout": -0.5}, "dropout cannot be -0.5"),
        (TrainConfig, {"smoothing": -5}, "smoothing cannot be -5"),
        (TrainConfig, {"smoothing": float("nan")}, "smoothing cannot be nan"),
        (TrainConfig, {"precision": "fp8"}, "precision cannot be 'fp8'"),
        (PrepareConfig, {"valid_share": 1.5}, "valid_share cannot be 1.5"),
        (ServeConfig, {"port": 70000}, "port cannot be 70000"),
        (Project, {"serve": {"queue": 0}}, "serve.queue cannot be 0"),
    ],
)
def test_a_value_that_does_not_fit_is_named(section: type[Section], values: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(section, values)
    assert named in caught.value.happened


def test_a_section_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_knob_is_explained(section: type[Section]) -> None:
    assert [name for name, field in section.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("section", [*SECTIONS, Project])
def test_every_knob_has_a_default_that_fits(section: type[Section]) -> None:
    assert section.model_validate(section().model_dump()) == section()
