"""`luban serve MODEL ...`: answers over HTTP until it is told to stop."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from luban.cli.asking import body
from luban.cli.frame import MODEL, STAGES, command
from luban.cli.screen import ACCENT, Screen, seconds
from luban.config import ServeConfig

if TYPE_CHECKING:
    from luban.folder import Folder

SERVED = f"{MODEL} or a project (luban.yaml or its directory), one or more"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=STAGES)(serve)


def serve(
    screen: Screen,
    model: Annotated[list[str], typer.Argument(metavar="MODEL ...", help=SERVED, show_default=False)],
    *,
    serve: ServeConfig,
) -> None:
    """Answer over HTTP: plain, KServe v2, Prometheus metrics, OpenAPI."""

    from luban import verbs

    def ready(url: str) -> None:
        if screen.as_json:
            screen.object(
                {"url": url, "models": list(models), "fingerprints": [one.fingerprint for one in models.values()]}
            )
        else:
            show_address(screen, url, dict(zip(models, map(verbs.opened, folders), strict=True)))

    folders, config = verbs.of_projects(model, serve)
    models: dict[str, Any] = verbs.served(folders, threads=config.threads)
    with contextlib.suppress(KeyboardInterrupt):
        verbs.answer(models, config, ready=ready, watch=lambda event: show_plan(screen, event))
    leave()


def leave() -> None:
    """End the process at once where an explanation still runs: an ordinary exit under it would abort inside PyTorch."""
    from luban.stages.serve.aside import THREAD

    if any(thread.name == THREAD for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def show_plan(screen: Screen, event: object) -> None:
    """How a model will be run, as the calibration chose."""
    from luban.stages.serve.calibrate import Calibrated

    if isinstance(event, Calibrated):
        plan, took = event.plan, seconds(event.seconds)
        rows = {"workers": plan.workers, "threads": plan.threads, "rows": plan.batch_rows}
        screen.note(screen.word("calibrated", name=event.model, seconds=took, **rows))


def show_address(screen: Screen, url: str, folders: Mapping[str, Folder]) -> None:
    """Where the server answers, and one request to try."""
    screen.show(
        Text.assemble(("● ", "bold green"), (screen.word("serving", names=", ".join(folders), url=url), "bold"))
    )
    for name, folder in list(folders.items())[:3]:
        screen.typed(Text(f"  curl -s {url}/models/{name}/predict -d {body(folder, screen)}", style=ACCENT))
    screen.show(Text(f"  {url}/docs · {url}/metrics · {screen.word('stop')}", style="dim"))
