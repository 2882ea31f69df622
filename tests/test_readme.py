"""What the READMEs say to type runs as written, on a tiny base model, and both say the same.

`make demo` and `make test` are only read here: the first is `luban demo`, which takes minutes; the second is this run.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from luban import bases
from luban.cli import main
from luban.testing import tiny_base

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh.md")
ADDRESS = "http://127.0.0.1:8080"
# what such a command prints does not depend on the model, so the README must show it word for word
SAME_EVERYWHERE = ("luban new", "luban data", "luban run")


@dataclass(frozen=True)
class Step:
    """One thing to type, ``kind`` being the language of its block, and what the README shows for it."""

    kind: str
    text: str
    shown: str = ""

    @property
    def refused(self) -> bool:
        """The README shows an error, as the command line marks it."""
        return self.shown.startswith("✗")


@dataclass(frozen=True)
class Done:
    """What a step gave."""

    code: int
    out: str
    err: str


def steps(readme: str) -> list[Step]:
    """Everything a reader is told to type, in order."""
    page = (ROOT / readme).read_text(encoding="utf8")
    found: list[Step] = []
    for kind, block in re.findall(r"^```(bash|console|python)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        if kind == "console":
            for typed in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, shown = typed.partition("\n")
                found.append(Step(kind, command, shown.strip("\n")))
        elif kind == "bash":
            found += [Step(kind, line) for line in block.splitlines() if line]
        else:
            found.append(Step(kind, block))
    return found


def squeezed(text: str) -> list[str]:
    """The words alone: tables and sentences are laid out by the width of the terminal."""
    return text.replace("─", "").split()


@contextmanager
def serving(command: str) -> Iterator[str]:
    """`luban serve ...` as written, but on a free port; gives the address."""
    words = [sys.executable, "-m", *shlex.split(command), "--port", "0", "--json"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        told = server.stdout.readline()
        yield json.loads(told)["url"] if told.strip() else server.communicate()[1]
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


class Reader:
    """Types what the README says, one step after another."""

    def __init__(self) -> None:
        self.address = ADDRESS
        self.names: dict[str, Any] = {}

    def do(self, step: Step) -> Done:
        """Raises nothing of its own: a step that fails has a code."""
        if step.kind == "python":
            return self._call(lambda: exec(compile(step.text, "README", "exec"), self.names))
        words = shlex.split(step.text)
        if words[0] == "cd":
            os.chdir(words[1])
            return Done(0, "", "")
        if words[0] == "luban":
            return self._call(lambda: main(words[1:]))
        shell = ["bash", "-c", step.text.replace(ADDRESS, self.address)]
        run = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=120)
        return Done(run.returncode, run.stdout, run.stderr)

    def _call(self, work: Any) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = work()
        return Done(code or 0, out.getvalue(), err.getvalue())


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """In an empty directory, with a tiny model in place of every base."""
    tiny = str(tiny_base(tmp_path / "tiny"))
    find = bases.find
    monkeypatch.setattr(bases, "find", lambda name: find(tiny))
    for name, value in {"COLUMNS": "100", "NO_COLOR": "1", "LUBAN_LANG": "en", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return Reader()


def wrong(step: Step, done: Done) -> str:
    """What differs from what the README lets one expect; empty: nothing."""
    if done.code != (2 if step.refused else 0):
        return f"exit code {done.code}: {done.err[-500:]}"
    if (step.refused or step.text.startswith(SAME_EVERYWHERE)) and step.shown:
        said = done.err if step.refused else done.out
        return "" if squeezed(step.shown) == squeezed(said) else f"the README shows something else than\n{said}"
    if step.shown.startswith("{"):
        shown, said = json.loads(step.shown.replace(", …", "")), json.loads(done.out)
        return "" if list(shown) == list(said) else f"its keys are {list(said)}"
    return ""


def test_the_tour_runs_as_written(reader: Reader) -> None:
    typed = [step for step in steps("README.md") if step.kind != "bash"]
    assert len(typed) > 15
    at = next(n for n, step in enumerate(typed) if step.text.startswith("luban serve"))
    found = [(step.text, wrong(step, reader.do(step))) for step in typed[:at]]
    with serving(typed[at].text) as reader.address:
        assert reader.address.startswith("http"), reader.address
        found += [(step.text, wrong(step, reader.do(step))) for step in typed[at + 1 :]]
    assert not [f"{text}: {what}" for text, what in found if what]


def test_both_readmes_say_to_type_the_same_in_the_same_order() -> None:
    english, chinese = (steps(readme) for readme in READMES)
    assert [step.text for step in english] == [step.text for step in chinese]


def test_both_readmes_show_the_same_output() -> None:
    english, chinese = (steps(readme) for readme in READMES)
    assert [step.shown for step in english] == [step.shown for step in chinese]


def test_the_make_commands_are_targets(tmp_path: Path) -> None:
    told = [step.text for step in steps("README.md") if step.text.startswith("make ")]
    assert told == ["make demo", "make test"]
    for command in told:
        words = [*shlex.split(command), "--dry-run", f"VENV={tmp_path / 'venv'}"]
        plan = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert {"make demo": "luban demo", "make test": "pytest"}[command] in plan


def test_the_install_lines_name_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    for readme in READMES:
        extras = re.findall(r'"\.\[([a-z0-9,]+)\]"', (ROOT / readme).read_text(encoding="utf8"))
        assert len(extras) >= 4
        assert {name for extra in extras for name in extra.split(",")} <= set(project["optional-dependencies"])


def test_a_serving_only_user_gets_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["serve"]
    names = {re.split(r"[\s\[<>=;]", line)[0] for line in needed}
    assert not names & {"torch", "transformers", "datasets", "luban"}


@pytest.mark.parametrize("readme", READMES)
def test_every_link_of_a_readme_leads_somewhere(readme: str) -> None:
    page = (ROOT / readme).read_text(encoding="utf8")
    links = re.findall(r"\]\(([^)#:]+)\)", page)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_both_readmes_lead_to_the_same_pages() -> None:
    pages = [(ROOT / readme).read_text(encoding="utf8") for readme in READMES]
    english, chinese = ({*re.findall(r"\]\(([^)#:]+)\)", page)} - set(READMES) for page in pages)
    assert english == chinese
