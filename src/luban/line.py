"""Steps in a row, of which only what has changed runs again; it knows nothing of rows, models or stages.

A step states its inputs as a flat mapping of plain values; what it was made from, and the hash of one marker file that
proves its output, stand in a state file that is written atomically after each step. So a line that crashed goes on
where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from luban.errors import ConfigError
from luban.folder import write_text
from luban.manifest import canonical
from luban.records import Watch, unwatched

FORMAT = 1
UNKNOWN = "?"
"the output of a step that would run"


@dataclass(frozen=True, slots=True)
class Made:
    """What a step gave: ``output`` its fingerprint, ``marker`` the file that proves it, ``facts`` to show later."""

    output: str
    marker: Path
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """``inputs`` gets the outputs of the steps before it and says what this one depends on; ``make`` does it."""

    name: str
    inputs: Callable[[Mapping[str, str]], Mapping[str, Any]]
    make: Callable[[], Made]


@dataclass(frozen=True, slots=True)
class Why:
    """Why a step runs: ``new``, an input ``changed``, its output is ``missing`` or ``altered``, or one before it runs."""

    kind: Literal["new", "changed", "missing", "altered", "after", "kept"]
    what: str = ""
    before: Any = None
    now: Any = None

    def __str__(self) -> str:
        if self.kind == "changed" and self.before is not None and len(f"{self.before}{self.now}") < 60:
            return f"{self.what}: {self.before} → {self.now}"
        return {
            "new": "it has not run yet",
            "changed": f"{self.what} changed",
            "missing": f"{self.what} is missing",
            "altered": f"{self.what} was altered",
            "after": f"{self.what} runs before it",
            "kept": "nothing changed",
        }[self.kind]


@dataclass(frozen=True, slots=True)
class Begun:
    """A step starts."""

    name: str
    why: Why


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step: ``ran`` (``dry``: would run), why, its facts and how long it took when it last ran."""

    name: str
    ran: bool
    why: Why
    facts: Mapping[str, Any]
    seconds: float = 0.0
    dry: bool = False

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "facts": dict(self.facts), "why": str(self.why)}


def run(steps: Sequence[Step], state: Path, *, dry_run: bool = False, watch: Watch = unwatched) -> list[Outcome]:
    """Run what has changed, in order; ``dry_run`` only says what would run and why."""
    known = recorded(state)
    outputs: dict[str, str] = {}
    outcomes = []
    for step in steps:
        inputs = json.loads(json.dumps(dict(step.inputs(outputs)), default=str))
        past = known.get(step.name, {})
        why = reason(past, inputs, state.parent)
        if why.kind == "kept":
            outcome = Outcome(step.name, False, why, past["facts"], past["seconds"], dry_run)
            outputs[step.name] = past["output"]
        elif dry_run:
            outcome = Outcome(step.name, True, why, {}, dry=True)
            outputs[step.name] = UNKNOWN
        else:
            watch(Begun(step.name, why))
            started = time.monotonic()
            made = step.make()
            known[step.name] = entry(made, inputs, time.monotonic() - started, state.parent)
            save(state, known)
            outputs[step.name] = made.output
            outcome = Outcome(step.name, True, why, known[step.name]["facts"], known[step.name]["seconds"])
        watch(outcome)
        outcomes.append(outcome)
    return outcomes


def reason(past: Mapping[str, Any], inputs: Mapping[str, Any], root: Path) -> Why:
    """Why a step with these inputs must run, given what is recorded of it; kind ``kept`` where it need not."""
    if not past:
        return Why("new")
    for name in [*inputs, *(set(past["inputs"]) - set(inputs))]:
        before, now = past["inputs"].get(name), inputs.get(name)
        if now == UNKNOWN:
            return Why("after", name)
        if before != now:
            return Why("changed", name, before, now)
    marker = root / past["marker"]
    if not marker.is_file():
        return Why("missing", past["marker"])
    if hashed(marker) != past["hash"]:
        return Why("altered", past["marker"])
    return Why("kept")


def entry(made: Made, inputs: Mapping[str, Any], seconds: float, root: Path) -> dict[str, Any]:
    """What the state keeps of a step that ran."""
    return {
        "inputs": dict(inputs),
        "output": made.output,
        "marker": made.marker.relative_to(root).as_posix(),
        "hash": hashed(made.marker),
        "facts": json.loads(json.dumps(dict(made.facts), default=str)),
        "seconds": round(seconds, 3),
    }


def recorded(state: Path) -> dict[str, Any]:
    """The steps in the state file; empty where there is none; raises `ConfigError` where it cannot be read."""
    if not state.is_file():
        return {}
    try:
        body = json.loads(state.read_text(encoding="utf8"))
        if body["format"] != FORMAT:
            raise ValueError(f"format {body['format']}")
        return dict(body["steps"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{state} cannot be read ({error}).",
            f"It is written by luban, format {FORMAT}.",
            "Remove it: the line then runs again from its start.",
        ) from error


def save(state: Path, steps: Mapping[str, Any]) -> None:
    """Write the state atomically."""
    state.parent.mkdir(parents=True, exist_ok=True)
    write_text(state, json.dumps({"format": FORMAT, "steps": dict(steps)}, indent=1, ensure_ascii=False) + "\n")


def hashed(file: Path) -> str:
    """sha256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Hash of a plain value: equal values, equal fingerprints."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
