"""Searching for a recipe: what is varied, that it goes on after a kill, that it keeps its time, and what it leaves behind."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from luban import searching
from luban.bases import Base, find
from luban.config import PrepareConfig, Project, SearchConfig, SpaceConfig, TrainConfig, parse
from luban.errors import ConfigError, DataError, MissingExtra, UnknownName
from luban.folder import Folder
from luban.records import EpochEnd, Forecast, Prepared, Step
from luban.stages.train import recipe
from luban.stages.train.search import Ended, Search, Tried, Trying, check_out, search, store
from luban.stages.train.search.report import page
from luban.stages.train.search.space import Space, space_of
from luban.stages.train.search.watched import CutShort, NotBegun, Pruned, Watched
from luban.stages.train.search.words import WORDS
from luban.tasks import TASKS
from luban.testing import tiny_base
from tests.evaluate.test_report import EVIL, Page
from tests.train.rows import base, config, prepared

ROOT = Path(__file__).parents[2]


def found(
    out: Path, start: Base, *, data: Prepared | None = None, watch: Any = lambda event: None, **options: Any
) -> Search:
    """A search over two knobs of short trainings."""
    space = {"rate": "0.5x..2x", "dropout": "0..0.3", **options.pop("space", {})}
    settings = SearchConfig.model_validate({"trials": 2, "space": space, **options})
    fixed = config(epochs=1, head_rate=1e-3, smoothing=0.0, method="full")
    return search(data or prepared(), {"tiny": start}, fixed, settings, out, watch=watch)


def space(
    start: Base, given: dict[str, Any] | None = None, *, task: str = "text-classification", **bounds: Any
) -> Space:
    settings = SearchConfig(space=SpaceConfig.model_validate(bounds))
    rows = prepared(task)
    fitted = TASKS[task].fit(rows.train)
    chosen = TrainConfig.model_validate(given or {})
    return space_of(chosen, settings, {"tiny": start}, task=fitted, rows=len(rows.train))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return base(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, start: Base) -> Search:
    """A search of two trials."""
    return found(tmp_path_factory.mktemp("search") / "done", start)


def test_luban_s_own_settings_are_tried_first(done: Search) -> None:
    first = done.tried[0]
    assert (first.usual, first.number, done.usual) == (True, 1, 1)
    assert set(first.recipe) <= {"task", "base", "method", "epochs", "rate", "head_rate", "batch_rows", "smoothing"}
    assert done.winner is not None
    assert first.score is not None
    assert done.winner.score >= first.score


def test_the_best_trial_s_own_folder_is_the_model(done: Search) -> None:
    folder = Folder.open(done.model)
    assert folder.manifest.scores["valid"]["accuracy"] == done.winner.score
    assert not (done.model.parent / "trials").exists()


def test_the_same_seed_suggests_the_same(done: Search, start: Base, tmp_path: Path) -> None:
    again = found(tmp_path / "again", start)
    assert [trial.values for trial in again.tried] == [trial.values for trial in done.tried]
    assert [trial.score for trial in again.tried] == [trial.score for trial in done.tried]


def test_a_search_that_is_over_goes_on_with_more_trials_only(done: Search, start: Base) -> None:
    begun: list[object] = []
    again = found(done.model.parent, start, watch=begun.append)
    assert begun == []
    assert again.tried == done.tried


def test_another_search_in_the_same_directory_is_refused(done: Search, start: Base) -> None:
    other = replace(prepared(), fingerprint="other")
    with pytest.raises(ConfigError, match="begun with other rows"):
        found(done.model.parent, start, data=other)
    with pytest.raises(ConfigError, match="begun with other space"):
        found(done.model.parent, start, space={"rate": "1e-5..1e-4"})


def test_a_directory_that_holds_no_search_is_refused(start: Base, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf8")
    with pytest.raises(ConfigError, match="holds no search"):
        found(tmp_path, start)


def test_two_searches_at_once_in_one_directory_are_refused(done: Search, start: Base) -> None:
    with store.alone(done.model.parent), pytest.raises(ConfigError, match="Another search is at work"):
        found(done.model.parent, start)


def test_a_file_that_is_no_study_is_refused(start: Base, tmp_path: Path) -> None:
    (tmp_path / "search.db").write_text("not a database" * 99, encoding="utf8")
    with pytest.raises(ConfigError, match="cannot be read"):
        found(tmp_path, start)


def test_a_search_needs_validation_rows(start: Base, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no validation rows"):
        found(tmp_path / "search", start, data=replace(prepared(), valid=[]))


def test_recommendation_is_refused(start: Base, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="recommendation cannot be searched for"):
        found(tmp_path / "search", start, data=replace(prepared(), task="recommendation"))


def test_several_processes_do_not_search_together(start: Base, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="the work of one process"):
        check_out(tmp_path / "new")


def test_without_optuna_the_command_that_adds_it_is_told(start: Base, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"'search'.*pip install"):
        found(tmp_path / "search", start)


KILLED = """
import os, signal, sys
from pathlib import Path
from luban.bases import find
from luban.records import EpochEnd
from luban.stages.train.search import Trying
from tests.train.test_search import found

second = []

def watch(event):
    if isinstance(event, Trying) and not event.usual:
        second.append(event)
    if second and isinstance(event, EpochEnd):
        os.kill(os.getpid(), signal.SIGKILL)

found(Path(sys.argv[1]), find(sys.argv[2]), watch=watch)
"""


def test_a_search_that_was_killed_goes_on(done: Search, start: Base, tmp_path: Path) -> None:
    """The half trial is kept as interrupted and tried again, so that the end is that of a search nobody killed."""
    out = tmp_path / "search"
    ran = subprocess.run([sys.executable, "-c", KILLED, str(out), str(start.path)], cwd=ROOT, check=False, timeout=300)
    assert ran.returncode == -signal.SIGKILL
    assert (out / "trials").exists()
    found_in = found(out, start)
    assert [trial.state for trial in found_in.tried] == ["complete", "interrupted", "complete"]
    assert found_in.tried[1].values == found_in.tried[2].values == done.tried[1].values
    assert found_in.tried[2].score == done.tried[1].score
    assert not (out / "trials").exists()


def test_a_trial_that_is_stopped_early_is_recorded_and_leaves_no_folder(start: Base, tmp_path: Path) -> None:
    tried: list[Tried] = []

    def watch(event: object) -> None:
        if isinstance(event, Ended):
            tried.append(event.trial)
            assert not (tmp_path / "search" / "trials").exists()
        if isinstance(event, EpochEnd) and tried:
            raise Pruned("It stood below the median.")

    result = found(tmp_path / "search", start, watch=watch)
    assert [trial.state for trial in result.tried] == ["complete", "pruned"]
    assert result.tried[1].why == "It stood below the median."
    assert result.best == 1


def test_a_recipe_that_cannot_be_trained_is_recorded_and_the_search_goes_on(start: Base, tmp_path: Path) -> None:
    def watch(event: object) -> None:
        if isinstance(event, Step) and watched:
            raise ConfigError("The memory is full.")
        if isinstance(event, Ended):
            watched.append(event)

    watched: list[Ended] = []
    result = found(tmp_path / "search", start, watch=watch)
    assert [(trial.state, trial.why) for trial in result.tried][1] == ("failed", "The memory is full.")


def test_when_the_time_is_used_up_only_luban_s_own_settings_were_tried(start: Base, tmp_path: Path) -> None:
    result = found(tmp_path / "search", start, trials=50, minutes=1e-6)
    assert (len(result.tried), result.ended, result.best) == (1, "time", 1)


def trial(scores: list[float] | None = None) -> optuna.Trial:
    """A trial after others whose dev scores at epoch 2 were these."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(4, 2))
    for score in scores or []:
        other = study.ask()
        other.report(score, 2)
        study.tell(other, score)
    return study.ask()


def test_a_trial_that_would_not_end_in_the_time_left_is_not_begun() -> None:
    watched = Watched(trial(), "accuracy", lambda event: None, left=10)
    with pytest.raises(NotBegun, match="It would take 100 s more"):
        watched(Forecast(100.0, 0, 5, 1))


def test_a_trial_is_cut_when_its_time_is_over_but_not_at_its_last_step() -> None:
    watched = Watched(trial(), "accuracy", lambda event: None, left=0)
    watched(Step(5, 5, 0, 0.1, 0.1, 1, 1))
    with pytest.raises(CutShort, match="after step 1 of 5"):
        watched(Step(1, 5, 0, 0.1, 0.1, 1, 1))


@pytest.mark.parametrize(("score", "epoch", "last", "ends"), [
    (0.1, 2, False, True), (0.9, 2, False, False), (0.1, 1, False, False), (0.1, 2, True, False),
])  # fmt: skip
def test_a_trial_below_the_median_is_pruned_from_the_second_epoch_on(
    score: float, epoch: int, last: bool, ends: bool
) -> None:
    one = trial([0.5, 0.6, 0.7, 0.8])
    watched = Watched(one, "accuracy", lambda event: None)
    event = EpochEnd(epoch, 1, 5, last=last, extra={"accuracy": score})
    if ends:
        with pytest.raises(Pruned, match="below the median"):
            watched(event)
    else:
        watched(event)


def test_what_mattered_adds_up_to_one_and_is_not_told_of_few_trials() -> None:
    study = optuna.create_study(direction="maximize")
    kinds = {"rate": optuna.distributions.FloatDistribution(0, 1), "rank": optuna.distributions.IntDistribution(1, 9)}
    for i in range(8):
        assert store.importance(study) == {} or i >= store.ENOUGH
        study.add_trial(
            optuna.create_trial(params={"rate": i / 8, "rank": 1 + i % 3}, distributions=kinds, value=float(i))
        )
    shares = store.importance(study)
    assert set(shares) == {"rate", "rank"}
    assert math.isclose(sum(shares.values()), 1, abs_tol=1e-3)


# what is varied


def test_bounds_with_x_are_multiples_of_what_luban_would_choose(start: Base) -> None:
    made = space(start, rate="0.5x..2x")
    usual = {**made.usual(), "method": "full"}
    twice = made.suggested(optuna.trial.FixedTrial({**usual, "rate": 2.0}))
    assert twice.config.rate == pytest.approx(2 * made.own("tiny", "full")["rate"])


@pytest.mark.parametrize(
    ("task", "usual"), [("text-classification", 0.1), ("text-generation", 0.0), ("text-to-text", 0.1)]
)
def test_what_a_task_drops_is_what_training_drops(task: str, usual: float, start: Base) -> None:
    made = space(start, {"method": "full"}, task=task)
    assert made.own("tiny", "full")["dropout"] == recipe.dropout(TrainConfig(), made.task) == usual
    assert recipe.dropout(TrainConfig(dropout=0.3), made.task) == 0.3


def test_what_luban_would_choose_is_left_to_it(start: Base) -> None:
    made = space(start)
    suggested = made.suggested(optuna.trial.FixedTrial(made.usual()))
    assert suggested.config.model_dump(exclude_defaults=True) == {"base": "tiny", "method": "full"}


def test_a_head_s_rate_does_not_follow_a_body_s_that_was_changed(start: Base) -> None:
    made = space(start)
    one = made.suggested(optuna.trial.FixedTrial({**made.usual(), "rate": 2.0})).config
    assert one.head_rate == made.own("tiny", "full")["head_rate"]


def test_bounds_that_leave_out_luban_s_own_value_are_tried_first_at_the_nearest(start: Base) -> None:
    usual = space(start, epochs="1..2", batch_rows="4,8", rate="2x..3x").usual()
    assert (usual["epochs"], usual["batch_rows"], usual["rate"]) == (2.0, 8.0, 2.0)


def test_a_single_value_is_no_choice(start: Base) -> None:
    made = space(start, epochs="3", method="full")
    assert not {"epochs", "method"} & set(made.usual())
    assert made.suggested(optuna.trial.FixedTrial(made.usual())).config.epochs == 3


def test_an_option_that_is_given_stays_unless_the_space_names_it(start: Base) -> None:
    assert "epochs" not in space(start, {"epochs": 2}).usual()
    assert "epochs" in space(start, {"epochs": 2}, epochs="1..3").usual()
    assert space(start, {"method": "head"}).methods == ("head",)


@pytest.mark.parametrize(("method", "knobs"), [
    ("freeze", {"layers"}), ("lora", {"rank"}), ("full", set()), ("head", set()),
])  # fmt: skip
def test_knobs_bear_on_the_methods_that_heed_them(start: Base, method: str, knobs: set[str]) -> None:
    named = {knob.name for knob in space(start, method="full,freeze,lora,head").knobs(method)}
    assert named & {"layers", "rank"} == knobs
    assert ("rate" in named) == (method != "head")


def test_a_method_that_the_task_cannot_take_is_refused_where_it_is_named(start: Base) -> None:
    with pytest.raises(ConfigError, match="have no one class"):
        space(start, task="text-regression", method="full,contrastive")
    with pytest.raises(UnknownName, match="Did you mean 'lora'"):
        space(start, method="full,loraa")


def test_smoothing_is_not_varied_where_there_are_no_classes(start: Base) -> None:
    assert "smoothing" not in space(start, task="text-regression").usual()


def test_frozen_layers_stay_within_the_base(start: Base) -> None:
    made = space(start, layers="1..9", method="freeze")
    values = made.suggested(optuna.trial.FixedTrial({**made.usual(), "layers": 9})).values
    assert values["layers"] == 2


@pytest.mark.parametrize("wrong", [
    {"rate": "1e-4..1e-5"}, {"rate": "fast"}, {"rate": "0..1"}, {"rate": "1..2..3"}, {"rate": "1x..2"}, {"epochs": ""},
    {"epochs": "nan"}, {"rank": "-4"}, {"epochs": "1..inf"}, {"dropout": "2"}, {"batch_rows": "2.5"}, {"method": ","},
])  # fmt: skip
def test_bounds_that_cannot_be_read_or_used_are_refused(start: Base, wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"cannot be|names no method"):
        space(start, **wrong)


def test_an_unknown_knob_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'epochs'"):
        parse(SearchConfig, {"space": {"epoch": "1..2"}})


def test_bases_are_chosen_among_and_the_first_is_luban_s_own(start: Base, tmp_path: Path) -> None:
    other = find(str(tiny_base(tmp_path / "other", hidden=16)))
    rows = prepared()
    made = space_of(
        TrainConfig(), SearchConfig(), {"a": start, "b": other}, task=TASKS[rows.task].fit(rows.train), rows=24
    )
    assert made.usual()["base"] == "a"
    assert made.suggested(optuna.trial.FixedTrial({**made.usual(), "base": "b"})).config.base == "b"


# what is left behind


@pytest.fixture(scope="module")
def sought(tmp_path_factory: pytest.TempPathFactory, start: Base) -> tuple[Search, Path, Prepared]:
    """A search of one trial with test rows, and its directory."""
    out, data = tmp_path_factory.mktemp("sought") / "desk", prepared()
    data = replace(data, test=data.valid)
    training = config(epochs=1, base=str(start.path), task=data.task)
    return searching.sought(data, PrepareConfig(source="rows.csv"), training, SearchConfig(trials=1), out), out, data


def test_the_winner_is_scored_on_the_test_rows_once(sought: tuple[Search, Path, Prepared], start: Base) -> None:
    result, out, data = sought
    assert result.test is not None
    assert result.test["rows"] == len(data.test)
    training = config(epochs=1, base=str(start.path), task=data.task)
    again = searching.sought(data, PrepareConfig(source="rows.csv"), training, SearchConfig(trials=1), out)
    assert again.test == json.loads(json.dumps(result.test))  # its times too, so that it was not scored again


def test_the_recipe_is_a_project_file(sought: tuple[Search, Path, Prepared], start: Base) -> None:
    project = parse(Project, yaml.safe_load((sought[1] / "luban.yaml").read_text(encoding="utf8")))
    assert project.name == "desk"
    assert (project.train.task, project.train.epochs, project.train.log) == ("text-classification", 1, ("tensorboard",))
    assert (sought[1] / project.train.base).resolve() == start.path.resolve()


def test_the_trials_are_written_as_json(sought: tuple[Search, Path, Prepared]) -> None:
    told = json.loads((sought[1] / "search.json").read_text(encoding="utf8"))
    assert told["best"] == told["usual"] == 1
    assert told["tried"][0]["values"]["method"] == "full"


def trials() -> Search:
    """A search with a trial of every state, some with words that would break a page."""
    values = {"base": EVIL, "method": "full", "rate": 1e-4, "epochs": 3.0}
    tried = (
        Tried(1, "complete", values, {}, 0.8, ((1, 0.7), (2, 0.8)), 20.0, usual=True),
        Tried(2, "complete", {**values, "base": "b", "rate": 1e-5, "rank": 8}, {}, 0.9, ((1, 0.9),), 30.0),
        Tried(3, "pruned", values, {}, None, ((1, 0.1),), 3.0, "After epoch 2"),
        Tried(4, "failed", values, {}, None, (), 3.0, EVIL),
        Tried(5, "skipped", values, {}, None, (), 1.0),
        Tried(6, "interrupted", {}, {}, None, (), 1.0),
    )
    test = {"rows": 9, "scores": {"accuracy": 0.85}, "intervals": {"accuracy": [0.8, 0.9]}}
    rows = {"train": 20, "valid": 8, "test": 9}
    return Search(
        Path(EVIL.replace("/", "")) / "model", "text-classification", "accuracy", tried, 2, 1, {"rate": 0.7, "base": 0.3},
        6, 30.0, 60.0, rows, {"lora": EVIL}, "", test,
    )  # fmt: skip


def test_the_report_is_one_whole_page_that_escapes_what_comes_from_data() -> None:
    made = Page(page(trials(), recipe=EVIL))
    assert made.tags.count("script") == 1
    assert made.tags.count("svg") >= 4
    assert not any(name.startswith("on") or name == "src" for name, _ in made.attributes)


def test_the_report_says_that_the_dev_score_is_optimistic_and_gives_the_test_score() -> None:
    words = " ".join(Page(page(trials())).words)
    assert "The dev score of the best trial is optimistic" in words
    assert "85.0%" in words


def test_a_search_without_any_score_has_a_report_too() -> None:
    bare = replace(trials(), tried=trials().tried[3:], best=0, usual=0, importance={}, test=None)
    assert "Too few trials" in page(bare)


def test_every_phrase_of_the_report_has_both_languages() -> None:
    for english, chinese in WORDS.values():
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese))


def test_whoever_watches_is_told_of_each_trial_and_the_best_so_far(start: Base, tmp_path: Path) -> None:
    told: list[Trying | Ended] = []

    def watch(event: object) -> None:
        if isinstance(event, Trying | Ended):
            told.append(event)

    found(tmp_path / "search", start, watch=watch, minutes=60)
    kinds = [type(event).__name__ for event in told]
    assert kinds == ["Trying", "Ended", "Trying", "Ended"]
    second = told[2]
    assert isinstance(second, Trying)
    assert (second.number, second.trials) == (2, 2)
    assert second.best is not None
    assert 0 < (second.left or 0) < 3600
