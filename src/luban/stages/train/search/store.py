"""Where a search is kept, so that it goes on after a kill: optuna's study in SQLite, for one process at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from luban.errors import ConfigError
from luban.stages.train.search.found import KEPT, State, Tried

STUDY, LOCK = "search", "search.lock"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
BUSY_SECONDS = 60.0


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Inside, no other process searches in ``out``; the system gives the place free however this one ends."""
    with closing(sqlite3.connect(out / LOCK, timeout=0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise ConfigError(
                f"Another search is at work in {out}.", "One search runs in a directory.", "Wait for it, or stop it."
            ) from error
        yield


@contextmanager
def opened(out: Path, *, prune: bool) -> Iterator[optuna.Study]:
    """The study that is kept in ``out``, a new one where there is none; raises `ConfigError` where it cannot be read."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = out / KEPT

    def connect() -> sqlite3.Connection:  # a path in a URL would have to be quoted
        return sqlite3.connect(file, timeout=BUSY_SECONDS, check_same_thread=False)

    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2) if prune else optuna.pruners.NopPruner()
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{KEPT}", engine_kwargs={"creator": connect})
        study = optuna.create_study(
            storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True, pruner=pruner
        )
    except (SQLAlchemyError, RuntimeError) as error:
        raise ConfigError(
            f"{file} cannot be read ({str(error).partition(chr(10))[0]}).",
            "It holds the trials of a search.",
            "Search into a new directory, or remove the old one yourself.",
        ) from error
    try:
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def claim(study: optuna.Study, told: Mapping[str, Any], out: Path) -> None:
    """Bind the study to what is searched in; raises `ConfigError` where it was begun with other rows or options."""
    kept = study.user_attrs.get("told")
    if kept is None:
        study.set_user_attr("told", dict(told))
        return
    other = [name for name in told if kept.get(name) != told[name]]
    if other:
        raise ConfigError(
            f"{out} holds a search that was begun with other {', '.join(other)}.",
            "A search goes on with what it was begun with; only trials and minutes may change.",
            "Name another directory with --out, or say everything as before.",
        )


def revive(study: optuna.Study, usual: Mapping[str, Any]) -> None:
    """Mark what a stopped search left half done as failed, to be tried again; luban's own settings come first."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params and not trial.user_attrs.get("usual"):
            study.enqueue_trial(trial.params)
    waiting = study.get_trials(states=(TrialState.WAITING,))
    if not any(trial.user_attrs.get("usual") for trial in [*counted(study), *waiting]):
        study.enqueue_trial(dict(usual), user_attrs={"usual": True})


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that ended by themselves."""
    return [trial for trial in study.get_trials(states=ENDED) if state_of(trial) != "interrupted"]


def state_of(trial: FrozenTrial) -> State:
    """How a trial ended; one that was stopped from outside says nothing of it."""
    if trial.state == TrialState.FAIL:
        said = trial.user_attrs.get("ended")
        return "failed" if said == "failed" else "skipped" if said == "skipped" else "interrupted"
    return "complete" if trial.state == TrialState.COMPLETE else "pruned"


def spent(study: optuna.Study) -> float:
    """Seconds that all trials took; of one that was killed, those until it last told."""
    return sum(float(trial.user_attrs.get("seconds", 0.0)) for trial in study.get_trials(deepcopy=False))


def best_of(study: optuna.Study) -> FrozenTrial | None:
    """The trial with the highest dev score, of equals the first."""
    done = study.get_trials(states=(TrialState.COMPLETE,))
    return max(done, key=lambda trial: (trial.values[0], -trial.number), default=None)


def tried(trial: FrozenTrial) -> Tried:
    """A trial as plain values."""
    told = trial.user_attrs
    return Tried(
        number=trial.number + 1,
        state=state_of(trial),
        values=told.get("values", {}),
        recipe=told.get("recipe", {}),
        score=trial.values[0] if trial.state == TrialState.COMPLETE else None,
        history=tuple(sorted(trial.intermediate_values.items())),
        seconds=round(told.get("seconds", 0.0), 1),
        why=told.get("why", ""),
        usual=bool(told.get("usual")),
    )


def importance(study: optuna.Study) -> dict[str, float]:
    """Share of the differences in score that each knob accounts for; empty where there is too little to tell from.

    PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255): how far the values of the best trials lie from the rest.
    """
    done = study.get_trials(states=(TrialState.COMPLETE,))
    if len(done) < ENOUGH or len({trial.values[0] for trial in done}) < 2:
        return {}
    return {name: round(share, 4) for name, share in optuna.importance.get_param_importances(study).items()}


ENOUGH = 6
"complete trials from which on something is said of what mattered"
