"""Config sections as options: one source of truth."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Literal, get_args

import pytest
from pydantic import Field

from luban.cli.options import default_text, expanded, gathered, pairs
from luban.config import PrepareConfig, Section, ServeConfig, TrainConfig
from luban.errors import ConfigError


class Some(Section):
    """An example."""

    rate: float = Field(0.5, description="how fast")
    on: bool = Field(True, description="whether")
    mode: Literal["a", "b"] = Field("a", description="which")
    names: Mapping[str, str] = Field({}, description="pairs")
    seed: int = Field(1, description="a seed")


class Other(Section):
    """Another with a shared field."""

    seed: int = Field(2, description="another seed")


def verb(rate: str, *, some: Some, other: Other) -> None:
    """A verb whose own parameter hides a field."""


def test_each_field_becomes_one_option():
    parameters, sections = expanded(verb)
    assert [p.name for p in parameters] == ["rate", "on", "mode", "names", "seed"]
    assert sections == {"some": Some, "other": Other}


def test_an_option_is_described_by_its_field():
    parameter = next(p for p in expanded(verb)[0] if p.name == "seed")
    info = get_args(parameter.annotation)[1]
    assert "a seed" in info.help
    assert "(1)" in info.help


def test_an_option_that_is_not_given_leaves_the_default():
    assert gathered(Some, {"rate": None, "on": None}) == Some()


def test_an_option_given_sets_the_field_of_every_section_that_has_it():
    given = {"seed": 7}
    assert gathered(Some, given).seed == gathered(Other, given).seed == 7


@pytest.mark.parametrize(
    ("section", "name", "value", "happened", "expected"),
    [
        (TrainConfig, "epochs", -1.0, "--epochs cannot be -1.", "A number is expected: --epochs ≥ 0."),
        (TrainConfig, "batch_rows", -2, "--batch-rows cannot be -2.", "A whole number is expected: --batch-rows ≥ 0."),
        (PrepareConfig, "valid_share", 2.0, "--valid-share cannot be 2.", "A number is expected: 0 < --valid-share < 0.9."),
        (ServeConfig, "port", 70000, "--port cannot be 70000.", "A whole number is expected: 0 ≤ --port ≤ 65535."),
        (TrainConfig, "clip", 0.0, "--clip cannot be 0.", "A number is expected: --clip > 0."),
        (TrainConfig, "dropout", -0.5, "--dropout cannot be -0.5.", "It is -1 (by task), or a share from 0 on."),
        (TrainConfig, "log", "disk", "--log cannot be 'disk'.",
         "Any of these is expected, joined by commas: tensorboard, wandb, mlflow."),
        (Some, "mode", "c", "--mode cannot be 'c'.", "One of these is expected: a, b."),
        (TrainConfig, "epochs", "-1", "--epochs cannot be -1.", "A number is expected: --epochs ≥ 0."),
        (TrainConfig, "epochs", "many", "--epochs cannot be 'many'.", "A number is expected: --epochs ≥ 0."),
        (Some, "seed", 1.5, "--seed cannot be 1.5.", "A whole number is expected."),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_with_its_flag_and_bounds(section, name, value, happened, expected):
    with pytest.raises(ConfigError) as caught:
        gathered(section, {name: value})
    assert (caught.value.happened, caught.value.expected) == (happened, expected)


def test_a_choice_is_checked_by_the_section():
    with pytest.raises(ConfigError, match="mode cannot be 'c'"):
        gathered(Some, {"mode": "c"})


def test_a_tuple_is_written_with_commas():
    assert gathered(TrainConfig, {"log": "tensorboard,wandb"}).log == ("tensorboard", "wandb")


def test_columns_are_written_as_pairs():
    assert gathered(PrepareConfig, {"columns": "text=body, label=topic"}).columns == {"text": "body", "label": "topic"}


@pytest.mark.parametrize("text", ["text", "text=", "=body"])
def test_half_a_pair_is_refused(text):
    with pytest.raises(ConfigError, match="It is written NAME=COLUMN"):
        pairs("columns", text)


@pytest.mark.parametrize("section", [PrepareConfig, TrainConfig, ServeConfig])
def test_every_knob_has_a_description(section):
    assert all(field.description for field in section.model_fields.values())


@pytest.mark.parametrize(
    ("default", "text"), [(True, "yes"), (False, "no"), ("", ""), ({}, ""), (("a", "b"), "a,b"), (0, "0")]
)
def test_defaults_are_shown_as_they_are_typed(default, text):
    assert default_text(default) == text


def test_options_are_keywords():
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in expanded(verb)[0])
