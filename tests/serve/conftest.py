"""Real servers for these tests: in a thread on a free port, or in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import httpx
import pytest

from luban.config import ServeConfig
from luban.folder import Folder
from luban.records import Evidence, WordWeight
from luban.stages.serve import Served, build
from luban.stages.serve.run import listen, run
from tests.serve.models import make_folder

REPO = Path(__file__).resolve().parents[2]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return make_folder(tmp_path_factory.mktemp("serve") / "desk")


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return make_folder(tmp_path_factory.mktemp("serve") / "other", name="other", tilt=9.0)


@contextmanager
def serving(models: Mapping[str, Served], **options: object) -> Iterator[httpx.Client]:
    """A client of a server that runs in a thread until the block ends; it has nothing to calibrate unless told so."""
    config = ServeConfig(**{"port": 0, "threads": 1, "batch_rows": 1, **options})  # type: ignore[arg-type]
    app, told = build(models, config), Queue[str]()
    with listen("127.0.0.1", 0) as sock:
        thread = threading.Thread(target=run, args=(app, sock, config, told.put))
        thread.start()
        try:
            with httpx.Client(base_url=told.get(timeout=10), timeout=10) as client:
                client.service = app.state.service  # type: ignore[attr-defined]
                yield client
        finally:
            app.state.service.flow.draining = True
            thread.join(10)


def words_by_length(value: object, target: str | None) -> Evidence:
    """An explanation that is easily checked: a word's weight is its length."""
    text = value["text"] if isinstance(value, Mapping) else str(value)
    words, at = [], 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        words.append(WordWeight(word, start, at, float(len(word))))
    return Evidence(target or "delivery", 1.0, 0.0, tuple(words), "length")


@pytest.fixture(scope="module")
def client(folder: Folder, other: Folder) -> Iterator[httpx.Client]:
    models = {"desk": Served.open(folder, explain=words_by_length), "other": Served.open(other)}
    with serving(models, max_body=20_000, max_rows=16, max_text=5_000) as client:
        yield client


@pytest.fixture
def start(folder: Folder) -> Iterator[Start]:
    """Starts server processes, and ends those that a test leaves."""
    running: list[subprocess.Popen[str]] = []

    def begin(*, seconds: float = 0.0, port: int = 0) -> subprocess.Popen[str]:
        env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(REPO / "src"), str(REPO)]), OMP_NUM_THREADS="1")
        process = subprocess.Popen(
            [sys.executable, str(REPO / "tests/serve/server.py"), str(folder.path), str(seconds), str(port)],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPO,
        )  # fmt: skip
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
