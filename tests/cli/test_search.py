"""`luban search` as it is typed: what it shows, its JSON object, its project file, and what it says to a mistake."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partial

import pytest

FEW = (
    "--task",
    "text-classification",
    "--epochs",
    "1",
    "--threads",
    "1",
    "--space",
    "method=full,head",
    "--trials",
    "2",
)


def test_a_search_shows_its_trials_and_leaves_a_project_that_runs(call, rows, base, tmp_path):
    out = tmp_path / "search"
    done = call("search", rows, *FEW, "--base", base, "--test-share", "0.2", "--out", out)
    assert done.code == 0, done.err
    assert "trial 1 of 2: luban's own settings" in done.err
    assert "trial 2 of 2 · best" in done.err
    for said in ("the best of 2 trials", "optimistic", "scored once", f"luban run {out}", "search.html"):
        assert said in done.out
    dry = call("run", out, "--dry-run", "--json")
    assert dry.code == 0, dry.err
    assert [step["name"] for step in dry.json["steps"]] == ["prepare", "train", "evaluate", "export"]
    again = call("search", rows, *FEW, "--base", base, "--test-share", "0.2", "--out", out, "--json")
    assert again.json == json.loads((out / "search.json").read_text(encoding="utf8"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--space", "epoch=1..2"), "Did you mean 'epochs'"),
        (("--space", "epochs"), "KEY=VALUES"),
        (("--space", "epochs=2..1"), "space.epochs cannot be '2..1'"),
        (("--trials", "0"), "--trials cannot be 0"),
        (("--bases", "minilmm"), "Did you mean 'minilm'"),
        (("--bases", "minilm", "--continue-from", "older"), "a model to start from"),
    ],
)
def test_search_refuses_a_mistake(call, rows, base, tmp_path, args, said):
    given = () if "--bases" in args else ("--base", base)
    done = call("search", rows, "--task", "text-classification", *given, "--out", tmp_path / "m", *args)
    assert done.code == 2
    assert said in done.err


def test_a_search_that_is_stopped_says_the_command_that_goes_on(rows, base, tmp_path):
    many = ["99" if word == "2" else word for word in FEW]  # so that it is not over before it is stopped
    words = ["search", str(rows), *many, "--base", str(base), "--out", str(tmp_path / "search")]
    command = [sys.executable, "-m", "luban", *words]
    # What runs in the background of a shell is started deaf to SIGINT, and so is what it starts.
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=listening
    ) as process:
        said = ""
        while "trial 1 of 99" not in said:
            said += process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said += process.stderr.read()
    assert process.returncode == 130
    assert "To go on: luban search" in said
    assert "--space method=full,head" in said
