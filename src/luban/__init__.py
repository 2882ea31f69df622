"""luban: from a file of rows to a small, fast, explained, served model.

    import luban

    model = luban.train("tickets.csv", task="text-classification", out="tickets")
    luban.evaluate(model, "test.csv").scores
    luban.load("tickets").predict(["where is my parcel?"])

The names below are the front door; each is imported when it is first asked for, so that ``import luban`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luban.config import Project
    from luban.errors import (
        BaseUnavailable,
        ConfigError,
        DataError,
        FolderError,
        GateError,
        LubanError,
        MissingExtra,
        ParityError,
        ServiceError,
        UnknownName,
    )
    from luban.folder import Folder
    from luban.pipeline import run
    from luban.predict import Predictor
    from luban.project import create as new
    from luban.records import Entity, Evidence, Prediction
    from luban.searching import search
    from luban.verbs import compare, evaluate, explain, export, load, serve, train

_DOOR = {
    "BaseUnavailable": "luban.errors:BaseUnavailable",
    "ConfigError": "luban.errors:ConfigError",
    "DataError": "luban.errors:DataError",
    "Entity": "luban.records:Entity",
    "Evidence": "luban.records:Evidence",
    "Folder": "luban.folder:Folder",
    "FolderError": "luban.errors:FolderError",
    "GateError": "luban.errors:GateError",
    "LubanError": "luban.errors:LubanError",
    "MissingExtra": "luban.errors:MissingExtra",
    "ParityError": "luban.errors:ParityError",
    "Prediction": "luban.records:Prediction",
    "Predictor": "luban.predict:Predictor",
    "Project": "luban.config:Project",
    "ServiceError": "luban.errors:ServiceError",
    "UnknownName": "luban.errors:UnknownName",
    "compare": "luban.verbs:compare",
    "evaluate": "luban.verbs:evaluate",
    "explain": "luban.verbs:explain",
    "export": "luban.verbs:export",
    "load": "luban.verbs:load",
    "new": "luban.project:create",
    "run": "luban.pipeline:run",
    "search": "luban.searching:search",
    "serve": "luban.verbs:serve",
    "train": "luban.verbs:train",
}

__all__ = [  # noqa: RUF022 - errors, nouns, verbs
    "BaseUnavailable",
    "ConfigError",
    "DataError",
    "FolderError",
    "GateError",
    "LubanError",
    "MissingExtra",
    "ParityError",
    "ServiceError",
    "UnknownName",
    "Entity",
    "Evidence",
    "Folder",
    "Prediction",
    "Predictor",
    "Project",
    "compare",
    "evaluate",
    "explain",
    "export",
    "load",
    "new",
    "run",
    "search",
    "serve",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _DOOR:
        raise AttributeError(f"module 'luban' has no attribute {name!r}")
    module, _, attribute = _DOOR[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
