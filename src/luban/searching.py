"""`search`: recipes tried on the same rows, the best one judged on the test rows, all of it written; it prints nothing.

Under the directory of a search stand ``model/``, the best model folder; ``luban.yaml``, its recipe for `luban run`;
``search.json`` and ``search.html``, what was tried; and ``search.db``, from which a search that was stopped goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luban import verbs
from luban.config import PrepareConfig, SearchConfig, TrainConfig
from luban.errors import ConfigError
from luban.folder import Folder, write_text
from luban.project import NAME, written
from luban.records import Prepared, Watch, unwatched

if TYPE_CHECKING:
    from luban.stages.train.search import Search

FOUND, REPORT = "search.json", "search.html"


def search(source: str | Path, *, task: str, out: str | Path, watch: Watch = unwatched, **options: Any) -> Search:
    """Find the recipe that scores best on the validation rows of ``source``; goes on in ``out`` where it was stopped.

    ``options``: any field of `PrepareConfig`, `TrainConfig` and `SearchConfig`, such as ``trials=20``, ``minutes=30``,
    ``space={"rate": "1e-5..1e-4"}``. Raises what `train` raises, and `MissingExtra` without optuna.
    """
    reading, training, settings = verbs.sections(options, PrepareConfig, TrainConfig, SearchConfig)
    reading = reading.model_copy(update={"source": str(source)})
    check(training, settings, out)
    rows = verbs.prepare(reading, task)
    return sought(rows, reading, training.model_copy(update={"task": task}), settings, out, watch=watch)


def check(training: TrainConfig, settings: SearchConfig, out: str | Path) -> None:
    """Raises, before any work, for a place, a library or a combination with which no search can be begun."""
    from luban.stages.train.search import check_installed, check_out

    check_out(Path(out))
    check_installed()
    if settings.bases and (training.continue_from or training.student_layers):
        raise ConfigError(
            "bases are given, and a model to start from.",
            "A continued model and a copy of the teacher start from that model.",
            "Leave out bases, or continue_from and student_layers.",
        )


def sought(
    rows: Prepared,
    reading: PrepareConfig,
    training: TrainConfig,
    settings: SearchConfig,
    out: str | Path,
    *,
    watch: Watch = unwatched,
) -> Search:
    """The same on prepared rows; after every trial what is found so far is written."""
    from luban import bases
    from luban.stages.train.search import Ended
    from luban.stages.train.search import search as searched

    place = Path(out)
    # The base that is asked for comes first: with it luban's own settings are tried.
    own = [training.base] if "base" in training.model_fields_set or not settings.bases else []
    found = {name: bases.find(name) for name in (*own, *settings.bases)}
    if training.start != training.base:
        found = {training.base: bases.find(training.start)}

    def told(event: object) -> None:
        if isinstance(event, Ended):
            write(event.search, reading, place)
        watch(event)

    training = training.model_copy(update={"base": next(iter(found))})
    before = tested(place)
    result = searched(rows, found, training, settings, place, watch=told)
    if len(rows.test):
        folder = Folder.open(result.model)
        again = before.get("fingerprint") == folder.manifest.fingerprint  # test rows are for looking at once
        if not again:
            before = verbs.judge(folder, rows, start=_start(result, training), watch=watch).as_json()
        result = result.tested(before)
    write(result, reading, place)
    return result


def _start(result: Search, training: TrainConfig) -> str:
    """What the best trial started from."""
    tried = str(result.winner.recipe.get("base", "")) if result.winner is not None else ""
    return training.start if training.start != training.base else tried or training.base


def tested(out: Path) -> dict[str, Any]:
    """The scores on test rows that an earlier run wrote, nothing where there are none."""
    try:
        return dict(json.loads((out / FOUND).read_text(encoding="utf8"))["test"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write(result: Search, reading: PrepareConfig, out: Path) -> None:
    """The recipe of the best trial, where there is one, the trials and the report."""
    from luban.stages.train.search import write_report

    recipe = ""
    if result.winner is not None:
        recipe = written(out.resolve().name, reading, result.winner.recipe, out)
        write_text(out / NAME, recipe)
    write_text(out / FOUND, json.dumps(result.as_json(), ensure_ascii=False, indent=1) + "\n")
    write_report(result, out / REPORT, recipe=recipe)
