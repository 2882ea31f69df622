"""Every benchmark runs on made rows with a tiny base and tells its figures in one form; nothing is said about the figures."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SHARED = {"bench", "loops", "made", "peers"}
"what the scripts share, and what one of them starts"
APART = {
    "against_peers": "has a test of its own below",
    "serve": "measures servers in turns for a minute",
}
OPTIONS = {
    "big_data": ["--rows", "400"],
    "continual": ["--way", "0"],
    "export": ["--part", "formats", "sessions"],
    "fewshot": ["--only", "CLINC150", "--method", "head", "prototypes"],
    "methods": ["--method", "lora"],
    "multimodal": [],
    "multitask": ["--only", "whole"],
    "preferences": ["--way", "1"],
    "robust": ["--ways", "plain", "adversarial=fgm,adversarial_radius=0.1", "--flip", "0.2"],
    "scores": ["--only", "TREC coarse", "WNUT-17"],
    "train_speed": ["--task", "text-classification"],
}
"what a script is given to be done sooner"
SCRIPTS = sorted({script.stem for script in BENCHMARKS.glob("*.py")} - SHARED - APART.keys())
FIGURE = {"what", "value", "unit", "ratio", "against"}


@pytest.fixture(autouse=True)
def _where_the_scripts_are(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    torch.set_num_threads(threads)


def test_what_is_not_run_as_the_others_are_is_there() -> None:
    known = SHARED | APART.keys() | OPTIONS.keys()
    assert known <= {script.stem for script in BENCHMARKS.glob("*.py")}


# The Trainer asks for pinned memory where there is no accelerator to pin it for.
@pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_needs_no_data_to_be_tried(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module(script).main(["--quick", "--json", *OPTIONS.get(script, [])])
    told = json.loads(capsys.readouterr().out)
    assert {"processor", "threads", "load"} <= told["machine"].keys()
    assert told["rows"]
    assert all(row.keys() >= FIGURE for row in told["rows"])


def test_figures_are_told_as_a_table_too(capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("pooling").main(["--quick"])
    machine, *rows = capsys.readouterr().out.splitlines()
    assert "threads 1" in machine
    assert [row.split()[0] for row in rows] == ["first", "mean"]


def test_peers_are_processes_in_turns_and_one_that_is_not_installed_is_a_line_of_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    importlib.import_module("against_peers").main(["--quick", "--json", "--on", "search"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    left_out = {row["what"]: row["why"] for row in rows if row["unit"] == "left out"}
    ran = [row["what"].split(": ")[1] for row in rows if row["unit"] != "left out"]
    figures = ["pace", "to its last dev score", "peak memory", "test rows"]
    assert [what.split(", ")[1] for what in ran[:4]] == figures
    assert len(ran) == 8 or "sentence_transformers" in left_out["search: sentence-transformers"]
