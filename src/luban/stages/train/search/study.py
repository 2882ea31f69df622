"""The search itself: trial after trial on the same rows, the best one's folder kept; how they are tried is optuna's.

The tree-structured Parzen estimator (Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization") suggests; a trial is
stopped where its dev score lies below the median of the others at the same epoch.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import TrialState

from luban.bases import Base
from luban.config import SearchConfig, TrainConfig
from luban.errors import ConfigError, DataError, FolderError, GateError, LubanError
from luban.manifest import NAME
from luban.records import Prepared, Watch
from luban.stages.train.private import check_search
from luban.stages.train.run import check_objectives, train
from luban.stages.train.search import store
from luban.stages.train.search.found import Ended, Search, Trying
from luban.stages.train.search.space import Space, Suggested, space_of
from luban.stages.train.search.watched import CutShort, NotBegun, Pruned, Watched
from luban.tasks import TASKS

MODEL, TRIALS = "model", "trials"
INERT = {"threads", "memory", "log"}
"options that change how a training runs or what it says, not what it makes"
RANDOM = 5
"trials before the sampler has enough to learn from"
SKIPS = 3
"trials in a row that would not end in time, after which none is looked for any more"


@dataclass(frozen=True, slots=True)
class Job:
    """One search in the directory ``out``."""

    data: Prepared
    space: Space
    settings: SearchConfig
    out: Path
    watch: Watch

    @classmethod
    def begun(
        cls,
        data: Prepared,
        bases: Mapping[str, Base],
        config: TrainConfig,
        settings: SearchConfig,
        out: Path,
        *,
        watch: Watch,
    ) -> Job:
        """A search, checked before any work: see `search`."""
        if TASKS[data.task].recommends:
            raise ConfigError(
                f"{data.task} cannot be searched for.", "A search varies how a base is fine-tuned.", "Use luban train."
            )
        if not len(data.valid):
            raise DataError(
                "there are no validation rows.", "A search chooses by them.", "Give them with --valid, or a larger source.",
                file=data.source,
            )  # fmt: skip
        check_objectives(config, data)
        check_search(config)
        if "log" not in config.model_fields_set:
            config = config.model_copy(update={"log": ()})  # what many trials did stands in the report
        task = TASKS[data.task].fit(data.train)
        rows = len(data.train) + len(data.unlabelled)
        return cls(data, space_of(config, settings, bases, task=task, rows=rows), settings, out, watch)

    def run(self) -> Search:
        """Try until the trials or the time are used up."""
        self.out.mkdir(parents=True, exist_ok=True)
        with store.alone(self.out), store.opened(self.out, prune=self.settings.prune) as study:
            store.claim(study, self.told(), self.out)
            store.revive(study, self.space.usual())
            self.settle(study)
            while not (ended := self.ended(study)):
                self.one(study)
            if store.best_of(study) is None:
                raise GateError(
                    "No trial was completed.", f"{self.out}/search.json tells why.", "Narrow the space, or allow more."
                )
            return self.standing(study, ended)

    def one(self, study: optuna.Study) -> None:
        """Try one recipe, and keep its folder where it is the best."""
        done = len(store.counted(study))
        # A seed a trial, so that a search that was stopped suggests what it would have suggested.
        study.sampler = optuna.samplers.TPESampler(seed=self.settings.seed + done, n_startup_trials=RANDOM)
        trial = study.ask()
        usual = bool(trial.user_attrs.get("usual"))
        suggested = self.space.suggested(trial)
        recipe = suggested.config.model_dump(mode="json", exclude_defaults=True, exclude=INERT)
        trial.set_user_attr("values", suggested.values)
        trial.set_user_attr("recipe", {"task": self.data.task, **recipe})
        best = store.best_of(study)
        left = self.left(study)
        self.watch(
            Trying(done + 1, self.settings.trials, suggested.values, best.values[0] if best else None, left, usual)
        )
        allowed = math.inf if usual or left is None else left  # without its first trial a search has found nothing
        watched = Watched(trial, self.space.task.main_score, self.watch, left=allowed)
        state, score = self._trained(trial, suggested, watched)
        trial.set_user_attr("seconds", watched.seconds)
        ended = study.tell(trial, score, state=state)
        self.settle(study)
        self.watch(Ended(store.tried(ended), self.standing(study, "")))

    def _trained(self, trial: optuna.Trial, suggested: Suggested, watched: Watched) -> tuple[TrialState, float | None]:
        """Train one recipe: how it ended, and its dev score where it is complete."""
        place = self.out / TRIALS / str(trial.number + 1)
        base = self.space.bases[suggested.values["base"]]
        try:
            folder = train(self.data, base, suggested.config, place, name=MODEL, watch=watched)
        except (Pruned, CutShort) as stopped:
            trial.set_user_attr("why", str(stopped))
            return TrialState.PRUNED, None
        except NotBegun as late:
            trial.set_user_attr("why", str(late))
            trial.set_user_attr("ended", "skipped")
            return TrialState.FAIL, None
        except LubanError as error:
            if trial.user_attrs.get("usual") and not isinstance(error, GateError):
                raise  # it is the rows, the base or the options: no other trial would fare better
            trial.set_user_attr("why", str(error))
            trial.set_user_attr("ended", "failed")
            return TrialState.FAIL, None
        score = folder.manifest.scores["valid"].get(self.space.task.main_score, math.nan)
        if math.isfinite(score):
            return TrialState.COMPLETE, score
        trial.set_user_attr("why", f"Its {self.space.task.main_score} is no number.")
        trial.set_user_attr("ended", "failed")
        return TrialState.FAIL, None

    def settle(self, study: optuna.Study) -> None:
        """Put the best trial's folder where the model belongs, and remove all else that trials left; may be repeated."""
        best, model = store.best_of(study), self.out / MODEL
        if best is not None:
            place = self.out / TRIALS / str(best.number + 1)
            if (place / NAME).is_file():
                shutil.rmtree(model, ignore_errors=True)
                place.rename(model)
            if not (model / NAME).is_file():
                raise FolderError(
                    f"{model} is gone.", "It held the best model of the search so far.", "Search into a new directory."
                )
        shutil.rmtree(self.out / TRIALS, ignore_errors=True)

    def ended(self, study: optuna.Study) -> Literal["", "trials", "time"]:
        """Why the search is over; empty where it is not."""
        done = store.counted(study)
        if len(done) >= self.settings.trials:
            return "trials"
        late = [store.state_of(trial) for trial in done[-SKIPS:]] == ["skipped"] * SKIPS
        left = self.left(study)
        return "time" if done and left is not None and (left <= 0 or late) else ""

    def left(self, study: optuna.Study) -> float | None:
        """Seconds that are left, None where time is not limited."""
        return self.settings.minutes * 60 - store.spent(study) if self.settings.minutes else None

    def standing(self, study: optuna.Study, ended: Literal["", "trials", "time"]) -> Search:
        """What is found so far."""
        trials = tuple(store.tried(trial) for trial in study.get_trials(states=store.ENDED))
        best = store.best_of(study)
        return Search(
            model=self.out / MODEL,
            task=self.data.task,
            score=self.space.task.main_score,
            tried=trials,
            best=best.number + 1 if best else 0,
            usual=next((t.number for t in reversed(trials) if t.usual), 0),
            importance=store.importance(study),
            trials=self.settings.trials,
            minutes=self.settings.minutes,
            seconds=round(store.spent(study), 1),
            rows={part: len(getattr(self.data, part)) for part in ("train", "valid", "test")},
            left_out=self.space.left_out,
            ended=ended,
        )

    def told(self) -> dict[str, Any]:
        """What a search may not change while it goes on, by what a person would call it."""
        return {
            "rows": self.data.fingerprint,
            "task": self.data.task,
            "bases": {name: base.hash or str(base.path) for name, base in self.space.bases.items()},
            "training options": self.space.config.model_dump(mode="json", exclude=INERT),
            "space": {"methods": list(self.space.methods), **self.settings.space.model_dump()},
            "seed": self.settings.seed,
        }
