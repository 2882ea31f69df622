"""Config sections as command-line options: one option a field, with the field's name, description and default.

The section stays the one source of truth: this file adds no knob, checks no value and prints nothing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from rich.markup import escape

from luban.config import Section, parse
from luban.errors import ConfigError

PANELS = {
    "PrepareConfig": "Rows",
    "TrainConfig": "Training",
    "SearchConfig": "Search",
    "LabelConfig": "Labelling",
    "EvaluateConfig": "Evaluation",
    "ExportConfig": "Export",
    "ServeConfig": "Serving",
    "WriteConfig": "Writing",
}

METAVARS = {
    "columns": "NAME=COLUMN,...",
    "questions": "NAME=KIND,...",
    "question_weights": "NAME=NUMBER,...",
    "base": "NAME",
    "task": "TASK",
    "host": "ADDRESS",
    "group": "COLUMN",
    "report": "FILE",
    "valid": "SOURCE",
    "test": "SOURCE",
    "unlabelled": "SOURCE",
    "replay": "SOURCE",
    "adapt": "SOURCE",
    "labels": "A,B,...",
    "about": "LABEL=MEANING,...",
    "llm": "URL",
    "model": "NAME",
    "key_env": "NAME",
    "stop": "TEXT",
    "teacher": "MODEL",
    "continue_from": "MODEL",
    "bases": "NAME,NAME,...",
    "space": "KEY=VALUES,...",
}
"what stands behind an option that is free text"
EXAMPLES = {
    "columns": "text=body,label=topic",
    "questions": "intent=label,stars=number",
    "question_weights": "intent=2",
    "about": "refund=the customer wants money back",
}


def expanded(
    function: Callable[..., Any], skip: Collection[str] = ()
) -> tuple[list[inspect.Parameter], dict[str, type[Section]]]:
    """The parameters a command line shows for ``function``, and its section parameters by name.

    Every parameter annotated with a `Section` is replaced by the fields of that section, except those in ``skip``.
    A field that two sections share becomes one option that sets both.
    """
    plain: list[inspect.Parameter] = []
    sections: dict[str, type[Section]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, Section):
            sections[parameter.name] = parameter.annotation
        else:
            plain.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    taken = {parameter.name for parameter in plain} | set(skip)
    for section in sections.values():
        for name, field in section.model_fields.items():
            if name not in taken:
                taken.add(name)
                plain.append(option(name, field, PANELS.get(section.__name__, "Options")))
    return plain, sections


def option(name: str, field: FieldInfo, panel: str) -> inspect.Parameter:
    """One field as an option whose value is None where it was not given, so that the section's default holds."""
    kind = option_type(field.annotation)
    flag = "--" + name.replace("_", "-")
    shown = default_text(field.default)
    about = escape(field.description or "")
    if shown:
        about += f" [dim]({escape(shown)})[/dim]"
    names = (f"{flag}/--no-{flag[2:]}",) if kind is bool and field.default else (flag,)
    info = typer.Option(
        *names, help=about, rich_help_panel=panel, show_default=False, metavar=metavar(name, field.annotation)
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, info]
    )


def option_type(annotation: Any) -> Any:
    """The type a field has on the command line: a switch, or text that the section reads, so that it says what it takes."""
    return bool if annotation is bool else str


def metavar(name: str, annotation: Any) -> str | None:
    """What stands behind the option in help: its choices, the shape of a mapping, or the name of its type."""
    if get_origin(annotation) is Literal:
        return "|".join(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) is tuple and get_args(get_args(annotation)[0]):
        return ",".join(str(choice) for choice in get_args(get_args(annotation)[0]))
    if annotation in (int, float):
        return {int: "N", float: "X"}[annotation]
    return "" if annotation is bool else METAVARS.get(name, "TEXT")


def default_text(default: Any) -> str:
    """A default as a person types it; nothing for an empty one."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple | list):
        return ",".join(str(item) for item in default)
    return "" if default in ("", None) or default == {} or isinstance(default, Section) else f"{default}"


def gathered(section: type[Section], given: Mapping[str, Any]) -> Any:
    """The section from the options a person gave; raises `ConfigError` for a value that does not fit."""
    values = {
        name: value_of(name, field.annotation, given[name])
        for name, field in section.model_fields.items()
        if given.get(name) is not None
    }
    return parse(section, values, flags=True)


def value_of(name: str, annotation: Any, value: Any) -> Any:
    """An option's text as the field wants it: ``a=b,c=d`` for a mapping or a section, ``a,b`` for a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return settings(name, value)
    if get_origin(annotation) is tuple:
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if (isinstance(value, str) and get_origin(annotation) is Mapping) or name == "columns":
        return pairs(name, value)
    return value


def pairs(name: str, text: str) -> dict[str, str]:
    """``text=body,label=topic`` as a mapping; raises `ConfigError` where a part has no ``=``."""
    out, wrong = split(text.split(","))
    if wrong:
        raise ConfigError(
            f"--{name} has {wrong!r}.",
            f"It is written {METAVARS.get(name, METAVARS['columns'])}",
            f"For example: --{name.replace('_', '-')} {EXAMPLES.get(name, EXAMPLES['columns'])}",
        )
    return out


def settings(name: str, text: str) -> dict[str, str]:
    """``rate=1e-5..1e-4,method=full,lora`` as a mapping: a comma that no key follows is part of the value."""
    out, wrong = split(re.split(r",(?=[^=,]*=)", text))
    if wrong:
        raise ConfigError(
            f"--{name} has {wrong!r}.",
            "It is written KEY=VALUES[,KEY=VALUES ...].",
            f"For example: --{name} rate=1e-5..1e-4,method=full,lora",
        )
    return out


def split(parts: Iterable[str]) -> tuple[dict[str, str], str]:
    """The two sides of each part's ``=``, and the first part that lacks one of them."""
    out = {}
    for part in filter(None, (piece.strip() for piece in parts)):
        key, _, value = (side.strip() for side in part.partition("="))
        if not key or not value:
            return {}, part
        out[key] = value
    return out, ""
