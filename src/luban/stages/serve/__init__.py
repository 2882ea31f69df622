"""Serve: models over HTTP. `build` makes the app, `serve` runs it; fastapi is imported when they are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from luban.config import ServeConfig
from luban.errors import MissingExtra
from luban.records import Watch, unwatched
from luban.stages.serve.served import Served

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["Served", "build", "serve"]


def build(models: Mapping[str, Served], config: ServeConfig, *, watch: Watch = unwatched) -> FastAPI:
    """An app that answers for these models, by the names they are asked under; each is calibrated first.

    ``watch`` gets a `Calibrated` a model. Raises `MissingExtra` where the server's libraries are not installed.
    """
    try:
        from luban.stages.serve.app import build_app
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] == "luban":
            raise
        raise MissingExtra(f"Serving ({missing.name})", "serve") from missing
    return build_app(models, config, watch=watch)


def serve(
    models: Mapping[str, Served],
    config: ServeConfig,
    *,
    ready: Callable[[str], None] = lambda url: None,
    watch: Watch = unwatched,
) -> None:
    """Serve until SIGTERM or SIGINT, finish what was taken, and return; ``ready`` is told the URL once it answers.

    Raises `ConfigError` for an address that others can reach and `ServiceError` for a port in use, both before loading.
    """
    from luban.stages.serve.limits import check_host

    check_host(config.host)
    try:
        from luban.stages.serve.run import listen, run
    except ModuleNotFoundError as missing:
        raise MissingExtra(f"Serving ({missing.name})", "serve") from missing
    with listen(config.host, config.port) as sock:
        run(build(models, config, watch=watch), sock, config, ready)
