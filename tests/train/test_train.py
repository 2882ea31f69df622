"""From rows to a folder, with every task, and with every way it can go wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from luban.errors import BaseUnavailable, ConfigError, DataError, FolderError
from luban.folder import Folder
from luban.predict import Predictor
from luban.records import EpochEnd, Forecast, Step
from luban.stages.train import train
from luban.tasks import TASKS
from tests.train.rows import base, config, plain_learner, prepared

SRC = Path(__file__).parents[2]


# A recommender learns from interactions, which prepare makes histories of: tests/recommend.
@pytest.mark.parametrize("task", [task for task in TASKS if task != "recommendation"])
def test_every_task_trains_to_a_folder_that_answers(task: str, tmp_path: Path) -> None:
    folder = train(prepared(task), base(tmp_path, task), config(epochs=1), tmp_path / "model")
    row = folder.golden()[0].row
    assert Predictor.open(folder).predict([row])[0].as_json()


def test_what_can_be_learnt_is_learnt(tmp_path: Path) -> None:
    folder = train(prepared(), base(tmp_path), config(epochs=20, rate=3e-3, patience=20), tmp_path / "model")
    assert folder.manifest.scores["valid"]["accuracy"] == 1.0


def test_the_folder_gives_the_same_logits_in_plain_transformers(tmp_path: Path) -> None:
    folder = train(prepared(), base(tmp_path), config(), tmp_path / "model")
    predictor = Predictor.open(folder)
    encoded = predictor.task.encode({"text": "where is my order"}, predictor.encoder)
    ours = predictor.logits([encoded])[0][0]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder.path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder.path)
    with torch.inference_mode():
        theirs = model(**tokenizer("where is my order", return_tensors="pt")).logits[0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert model.config.id2label == dict(enumerate(folder.manifest.labels))


def test_whoever_watches_sees_the_forecast_every_step_and_every_epoch(tmp_path: Path) -> None:
    seen: list[object] = []
    train(prepared(), base(tmp_path), config(), tmp_path / "model", watch=seen.append)
    assert isinstance(seen[0], Forecast)
    steps = [event for event in seen if isinstance(event, Step)]
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    ends = [event for event in seen if isinstance(event, EpochEnd)]
    assert [end.epoch for end in ends] == [1, 2]
    assert "accuracy" in ends[-1].extra


def test_the_manifest_tells_rows_recipe_base_and_history(tmp_path: Path) -> None:
    manifest = train(prepared(), base(tmp_path), config(), tmp_path / "model", name="desk").manifest
    assert manifest.name == "desk"
    assert manifest.data["rows"] == {"train": 24, "valid": 8, "test": 0, "rejects": 0}
    assert manifest.recipe["schedule"]["epochs"] == 2
    assert [point["epoch"] for point in manifest.notes["history"]] == [1, 2]
    assert len(manifest.base.hash) == 64


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    start = base(tmp_path)
    left = train(prepared(), start, config(), tmp_path / "left")
    right = train(prepared(), start, config(), tmp_path / "right")
    assert left.manifest.files["model.safetensors"] == right.manifest.files["model.safetensors"]


def test_micro_batches_give_the_gradients_of_the_whole_batch(tmp_path: Path) -> None:
    from luban.stages.train.material import encode
    from luban.stages.train.model import build
    from luban.stages.train.recipe import schedule

    start, material = base(tmp_path), None
    grads = []
    for micro in (10_000, 20):
        material = encode(prepared(), start, config())
        plan = schedule(config(), material.task, len(material.examples))
        model = build(start.path, material.task, dropout=0.0, head_dropout=0.0)
        learner = plain_learner(model, material, plan)
        learner.schedule = type(plan)(**{**{f: getattr(plan, f) for f in plan.__slots__}, "micro_tokens": micro})
        learner._backward(range(8))
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(grads[0], grads[1], atol=1e-5, rtol=1e-4)


def test_personal_data_does_not_reach_the_golden_rows(tmp_path: Path) -> None:
    data = prepared()
    rows = [{**row, "text": f"{row['text']} ann.smith@corp.org"} for row in data.train]
    data = type(data)(data.task, data.source, rows, rows, [], (), {}, "personal")
    folder = train(data, base(tmp_path), config(epochs=1), tmp_path / "model")
    assert "ann.smith" not in (folder.path / "golden.jsonl").read_text(encoding="utf8")


def test_golden_rows_can_be_made_up(tmp_path: Path) -> None:
    folder = train(prepared(), base(tmp_path), config(epochs=1, golden="synthetic"), tmp_path / "model")
    texts = {row["text"] for row in prepared().train}
    assert len(folder.golden()) == 32
    assert not {golden.row["text"] for golden in folder.golden()} & texts


def test_rows_without_validation_train_all_the_same(tmp_path: Path) -> None:
    data = prepared()
    data = type(data)(data.task, data.source, data.train, [], [], (), {}, "no-valid")
    folder = train(data, base(tmp_path), config(epochs=1), tmp_path / "model")
    assert folder.manifest.scores["valid"] == {}
    assert folder.golden()


def test_no_rows_at_all_are_refused(tmp_path: Path) -> None:
    data = prepared()
    with pytest.raises(DataError, match="no training rows"):
        train(type(data)(data.task, "x", [], [], [], (), {}, ""), base(tmp_path), config(), tmp_path / "model")


def test_an_output_that_is_no_model_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("years of work", encoding="utf8")
    with pytest.raises(FolderError, match="not a model folder"):
        train(prepared(), base(tmp_path), config(), tmp_path / "model")
    assert (tmp_path / "model" / "thesis.txt").exists()


def test_a_base_that_is_none_is_refused(tmp_path: Path) -> None:
    broken = base(tmp_path)
    (broken.path / "config.json").write_text('{"model_type": "cuckoo", "max_position_embeddings": 32}', encoding="utf8")
    with pytest.raises(BaseUnavailable, match="cannot be opened"):
        train(prepared(), broken, config(), tmp_path / "model")


def test_memory_for_less_than_one_row_is_refused_before_work_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GiB"):
        train(prepared(), base(tmp_path), config(memory=1e-6), tmp_path / "model")


def test_little_memory_lowers_the_micro_batch_and_says_so(tmp_path: Path) -> None:
    seen: list[object] = []
    train(prepared(), base(tmp_path), config(epochs=1, memory=0.002), tmp_path / "model", watch=seen.append)
    forecast = next(event for event in seen if isinstance(event, Forecast))
    assert "lowered" in forecast.note
    assert forecast.micro_tokens < 8 * 128


def test_training_leaves_tensorboard_logs_and_no_checkpoint(tmp_path: Path) -> None:
    train(prepared(), base(tmp_path), config(epochs=1, log=("tensorboard",)), tmp_path / "model")
    run = tmp_path / "model.run"
    assert list((run / "logs").glob("events.out.tfevents.*"))
    assert not (run / "checkpoint").exists()


def test_a_resumed_run_keeps_its_micro_batch_when_there_is_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luban.stages.train.loop.CHECKPOINT_SECONDS", 0.0)
    start, chosen = base(tmp_path), []

    def stop_at_the_fourth_step(event: object) -> None:
        if isinstance(event, Forecast):
            chosen.append(event.micro_tokens)
        if isinstance(event, Step) and event.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(prepared(), start, config(memory=0.002), tmp_path / "model", watch=stop_at_the_fourth_step)
    seen: list[object] = []
    train(prepared(), start, config(), tmp_path / "model", watch=seen.append)
    assert [event.micro_tokens for event in seen if isinstance(event, Forecast)] == chosen
    assert min(event.done for event in seen if isinstance(event, Step)) > 1


def test_the_averaging_layer_is_added_without_a_probe_too(tmp_path: Path) -> None:
    folder = train(prepared(), base(tmp_path), config(epochs=1, probe=False, pooling="mean"), tmp_path / "model")
    assert json.loads((folder.path / "config.json").read_text(encoding="utf8"))["num_hidden_layers"] == 3


def test_a_tagger_has_no_averaging_layer(tmp_path: Path) -> None:
    chosen = config(epochs=1, probe=False, pooling="mean")
    folder = train(prepared("token-classification"), base(tmp_path), chosen, tmp_path / "model")
    assert json.loads((folder.path / "config.json").read_text(encoding="utf8"))["num_hidden_layers"] == 2


SCRIPT = """
import sys
from pathlib import Path
from luban.records import Step
from luban.stages.train import loop, train
from tests.train.rows import base, config, plain_learner, prepared
from luban.bases import find
loop.CHECKPOINT_SECONDS = 0.0
die_at = int(sys.argv[2])
def watch(event):
    if isinstance(event, Step) and event.done == die_at:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
here = Path(sys.argv[1])
train(prepared(), find(str(here / "base")), config(epochs=3, dropout=0.1), here / "model", watch=watch)
"""


def _run(tmp_path: Path, die_at: int) -> int:
    environment = {**os.environ, "PYTHONPATH": f"{SRC / 'src'}:{SRC}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path), str(die_at)], env=environment, check=False)
    return done.returncode


def test_a_run_killed_in_the_middle_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        base(tmp_path / name)
    assert _run(tmp_path / "whole", die_at=0) == 0
    assert _run(tmp_path / "killed", die_at=5) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model").exists()
    kept = json.loads((tmp_path / "killed" / "model.run" / "checkpoint" / "state.json").read_text(encoding="utf8"))
    assert 0 < kept["done"] <= 5
    assert _run(tmp_path / "killed", die_at=0) == 0
    whole, resumed = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    assert (
        Folder.open(tmp_path / "killed" / "model").manifest.scores
        == Folder.open(tmp_path / "whole" / "model").manifest.scores
    )
