"""Whole runs on pairs of answers: what is learnt, what is kept, what is told of it, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from luban import bases, verbs
from luban.cli import main
from luban.config import EvaluateConfig
from luban.errors import ConfigError, DataError
from luban.folder import Folder
from luban.pipeline import run
from luban.predict import Predictor
from luban.records import Prepared, Row
from luban.stages.evaluate import compare, evaluate
from luban.stages.train import train
from luban.tasks.text_generation import TextGeneration
from luban.testing import tiny_folder
from luban.tiny import tiny_base, tiny_writer
from tests.train.rows import config
from tests.train.rows import prepared as samples
from tests.writing.test_preferences import HI, PLAIN, judgements, prepared, rows_file, said, writer

ROOT = Path(__file__).parents[2]
LEARNING: dict[str, Any] = {"epochs": 3, "rate": 3e-3, "max_length": 96, "dpo_beta": 0.5}


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A tiny model that knows which of yes and no is better, from one that says both; this is beside it as ``start``."""
    place = tmp_path_factory.mktemp("learnt")
    both = [{"text": row["text"], "target": row[name]} for row in judgements() for name in ("chosen", "rejected")]
    answers = Prepared("text-generation", "both", both[48:], both[:48], [], (), {}, "both")
    start = train(answers, writer(place), config(epochs=3, rate=3e-3, max_length=96), place / "start")
    return train(prepared(judgements()), bases.find(str(start.path)), config(**LEARNING), place / "model")


def ranked(model: Predictor, rows: Sequence[Row]) -> float:
    return model.task.score(rows, model.predict([{**row, "max_new_tokens": 0} for row in rows]))["ranking_accuracy"]


def start_of(folder: Folder) -> str:
    return str(folder.path.parent / "start")


def test_from_about_half_nearly_all_preferences_are_learnt(learnt: Folder) -> None:
    """On prompts that were not learnt, of which each is another name or thing."""
    from luban.runtimes.pytorch import PyTorchRuntime

    rows = judgements()[:24]
    before = Predictor(learnt.task(), learnt.encoder(), PyTorchRuntime.open(Path(start_of(learnt)), threads=1))
    assert 0.3 < ranked(before, rows) < 0.7
    assert ranked(Predictor.open(learnt, threads=1), rows) > 0.9
    assert learnt.manifest.scores["valid"]["preference_accuracy"] > 0.9


def test_dev_scores_tell_what_was_gained_and_whether_the_chosen_answers_stay_probable(learnt: Folder) -> None:
    told = learnt.manifest.notes["history"]
    names = {"preference_accuracy", "preference_margin", "preference_log_likelihood", "ranking_accuracy", "perplexity"}
    assert all(names <= set(epoch) for epoch in told)
    best = max(told, key=lambda epoch: epoch["preference_log_likelihood"])
    assert learnt.manifest.scores["valid"]["preference_margin"] == pytest.approx(best["preference_margin"], abs=1e-3)


def test_what_is_preferred_is_written(learnt: Folder) -> None:
    model = Predictor.open(learnt, threads=1)
    assert model.task.prefers
    rows = judgements()[24:]
    asked = model.predict([{"text": row["text"], "max_new_tokens": 4} for row in rows])
    assert sum((one.text or "")[:1] == row["chosen"][:1] for one, row in zip(asked, rows, strict=True)) > 0.8 * len(
        rows
    )


def test_an_evaluation_against_the_start_tells_the_margins_and_their_intervals(learnt: Folder, tmp_path: Path) -> None:
    chosen = EvaluateConfig(reference=start_of(learnt), bootstrap=100, threads=1)
    found = evaluate(learnt, judgements()[:24], chosen)
    assert found.main_score == "preference_log_likelihood"
    known = learnt.manifest.scores["valid"]
    assert found.scores["preference_accuracy"] == known["preference_accuracy"]
    for name in ("preference_margin", "preference_log_likelihood", "perplexity"):
        assert found.scores[name] == pytest.approx(known[name], rel=1e-3)
        assert found.intervals[name][0] <= found.scores[name] <= found.intervals[name][1]


def test_without_a_reference_an_evaluation_ranks_the_answers(learnt: Folder) -> None:
    found = evaluate(learnt, judgements()[:24], EvaluateConfig(bootstrap=100, threads=1))
    assert found.scores["ranking_accuracy"] > 0.9
    assert "preference_accuracy" not in found.scores


def test_two_models_are_compared_by_what_both_gained(learnt: Folder) -> None:
    chosen = EvaluateConfig(reference=start_of(learnt), bootstrap=100, threads=1)
    found = compare(learnt, learnt, judgements()[:24], chosen)
    assert (found.score, found.verdict) == ("preference_log_likelihood", "unsure")


def test_the_export_writes_the_same_and_is_judged_like_its_origin(learnt: Folder, tmp_path: Path) -> None:
    source = rows_file(tmp_path, judgements()[:12])
    made = verbs.export(learnt, out=tmp_path / "onnx", source=source, quantise="none", threads=1)
    chosen = EvaluateConfig(reference=start_of(learnt), bootstrap=100, threads=1)
    first, second = (evaluate(each, judgements()[:12], chosen).scores for each in (learnt, made))
    assert second["preference_margin"] == pytest.approx(first["preference_margin"], rel=1e-3)


def test_of_lora_only_the_adapter_learns_and_no_second_model_is_needed(tmp_path: Path) -> None:
    chosen = config(method="lora", **{**LEARNING, "rate": 2e-2})
    folder = train(prepared(judgements()), writer(tmp_path), chosen, tmp_path / "model")
    counted = folder.manifest.notes["parameters"]
    assert counted["trained"] < counted["all"] / 2
    assert (folder.path / "adapter" / "adapter_model.safetensors").is_file()
    assert folder.manifest.scores["valid"]["ranking_accuracy"] > 0.9


def test_a_model_that_talks_goes_on_from_its_folder_and_is_asked_in_messages(tmp_path: Path) -> None:
    talk = tiny_folder(tmp_path / "talk", "text-generation", [{"messages": [HI, said("hello")]}] * 2)
    start = bases.find(str(talk.path))
    folder = train(prepared([PLAIN] * 4, valid=1), start, config(epochs=1, max_length=96), tmp_path / "model")
    assert folder.task().settings["form"] == "messages"
    assert folder.task().settings["template"] == talk.task().settings["template"]


def test_unasked_the_steps_are_a_tenth_of_those_by_which_answers_are_learnt(tmp_path: Path) -> None:
    rates = []
    for rows in (prepared([PLAIN] * 4, valid=1), samples("text-generation", times=1)):
        place = tmp_path / rows.fingerprint
        chosen = config(epochs=1, max_length=96).model_copy(update={"rate": 0.0})
        folder = train(rows, writer(place), chosen, place / "model")
        rates.append(folder.manifest.recipe["schedule"]["rate"])
    assert rates[0] == pytest.approx(rates[1] / 10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"packing": True}, "packing and pairs"),
        ({"smoothing": 0.5}, "smoothing is 0.5"),
        ({"rdrop": 1.0}, "rdrop does not work"),
        ({"noisy": "drop"}, "noisy does not work"),
        ({"private": 8.0}, "text-generation"),
        ({"teacher": "somewhere"}, "cannot be learnt from a teacher"),
        ({"method": "head"}, "no head to train"),
    ],
)
def test_what_pairs_cannot_be_learnt_with_is_refused_before_any_work(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        train(prepared(judgements(8), valid=2), writer(tmp_path), config(**options), tmp_path / "model")
    assert not (tmp_path / "model.run").exists()


@pytest.mark.parametrize(("task", "option"), [("text-classification", "dpo_beta"), ("text-generation", "dpo_sft")])
def test_its_options_are_refused_where_there_is_nothing_to_prefer(task: str, option: str, tmp_path: Path) -> None:
    start = bases.find(str((tiny_writer if task == "text-generation" else tiny_base)(tmp_path / "base")))
    with pytest.raises(ConfigError, match="the rows are no pairs"):
        train(samples(task), start, config(**{option: 0.1}), tmp_path / "model")


def test_validation_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    data = prepared(judgements(8), valid=2)
    mixed = type(data)(data.task, data.source, data.train, samples("text-generation").valid, [], (), {}, "mixed")
    with pytest.raises(DataError, match="the validation rows hold one answer"):
        train(mixed, writer(tmp_path), config(), tmp_path / "model")


def test_a_reference_is_refused_where_it_says_nothing(learnt: Folder, tmp_path: Path) -> None:
    rows = [TextGeneration.parse({"text": "a", "target": "b"})]
    with pytest.raises(ConfigError, match="the rows are no pairs"):
        evaluate(learnt, rows, EvaluateConfig(reference=start_of(learnt), threads=1))
    other = Path(start_of(learnt)).parent / "other"
    tiny_writer(other)
    told = json.loads((other / "tokenizer.json").read_text(encoding="utf8"))
    told["post_processor"] = None
    (other / "tokenizer.json").write_text(json.dumps(told), encoding="utf8")
    with pytest.raises(ConfigError, match="cuts texts into other sub-words"):
        evaluate(learnt, judgements()[:2], EvaluateConfig(reference=str(other), threads=1))


def test_the_command_line_trains_on_pairs_and_judges_them_against_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = rows_file(tmp_path, judgements(20))
    options = ["--base", str(tiny_writer(tmp_path / "base")), "--epochs", "1", "--max-length", "96", "--threads", "1"]
    code = main(["train", source, "--task", "text-generation", *options, "--out", str(tmp_path / "model"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert {"preference_accuracy", "preference_margin", "ranking_accuracy", "perplexity"} <= set(told["scores"])


def test_the_line_judges_preferences_against_what_it_started_from(tmp_path: Path) -> None:
    rows_file(tmp_path, judgements(20))
    tiny_writer(tmp_path / "base")
    (tmp_path / "luban.yaml").write_text(
        "prepare: {source: rows.jsonl, valid_share: 0.3}\n"
        "train: {task: text-generation, base: base, epochs: 1, max_length: 96, threads: 1, log: []}\n"
        "evaluate: {bootstrap: 100, threads: 1}\nexport: {quantise: none, rows: 8, threads: 1}\n",
        encoding="utf8",
    )
    found = {one.name: one.facts for one in run(tmp_path / "luban.yaml")}
    assert found["evaluate"]["main_score"] == "preference_log_likelihood"


SCRIPT = """
import os, signal, sys
from pathlib import Path
from luban.bases import find
from luban.records import Step
from luban.stages.train import loop, train
from tests.train.rows import config
from tests.writing.test_preferences import judgements, prepared
loop.CHECKPOINT_SECONDS = 0.0
here, die_at = Path(sys.argv[1]), int(sys.argv[2])
def watch(event):
    if isinstance(event, Step) and event.done == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
chosen = config(epochs=3, rate=1e-3, max_length=96, dropout=0.1)
train(prepared(judgements(24), valid=4), find(str(here / "base")), chosen, here / "model", watch=watch)
"""


def _run(folder: Path, die_at: int) -> int:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(die_at)], env=environment, check=False
    ).returncode


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        writer(tmp_path / name)
    assert _run(tmp_path / "whole", 0) == 0
    assert _run(tmp_path / "killed", 5) == -signal.SIGKILL
    assert (tmp_path / "killed" / "model.run" / "work" / "reference.npz").is_file()
    assert _run(tmp_path / "killed", 0) == 0
    whole, killed = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all((whole[name] == killed[name]).all() for name in whole)
