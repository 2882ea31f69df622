"""What all verbs share: exit codes, errors as sentences, purity of --json, language, speed of --help."""

from __future__ import annotations

import json
import os
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest

from luban.cli import VERBS, words
from luban.cli.words import language
from luban.errors import ConfigError

HEAVY = ("torch", "transformers", "datasets", "onnxruntime", "fastapi", "sklearn")
LIGHT = f"import sys, luban.cli; print([m for m in {HEAVY} if m in sys.modules])"


def luban(*args: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``luban ARGS`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "luban", *map(str, args)],
        capture_output=True,
        text=True,
        encoding="utf8",
        env={**os.environ, "LUBAN_LANG": "en", "NO_COLOR": "1", **environment},
        timeout=120,
        check=False,
    )


def test_help_names_every_verb_in_order(call):
    said = call("--help").out
    listed = re.findall(r"^│ (\w+) ", said, re.MULTILINE)
    assert listed == [verb.__name__.rpartition(".")[2] for verb in VERBS]


def test_the_command_line_loads_nothing_heavy():
    found = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_version_is_one_line(call):
    assert call("--version").out.startswith("luban ")


def test_an_unknown_verb_names_the_nearest_and_exits_with_2():
    done = luban("trian")
    assert done.returncode == 2
    assert "Did you mean 'train'" in done.stderr
    assert done.stdout == ""


def test_an_unknown_option_names_the_nearest(call):
    done = call("train", "rows.csv", "--taks", "x", "--out", "y")
    assert done.code == 2
    assert "Did you mean '--task'" in done.err


def test_a_missing_argument_is_wrong_use(call):
    assert call("evaluate").code == 2


def test_a_users_mistake_is_three_sentences_and_no_traceback():
    done = luban("predict", "nowhere", "text")
    assert done.returncode == 2
    assert "nowhere is not a model folder" in done.stderr
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_of_a_process_is_one_object_and_nothing_else(model, rows):
    done = luban("evaluate", model, rows, "--json", "--bootstrap", "100")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) >= {"task", "model", "fingerprint", "rows", "rejects", "scores", "intervals"}
    assert done.stdout.count("\n") == 1


def test_an_error_under_json_is_one_object_on_stdout_and_prose_on_stderr():
    done = luban("evaluate", "nowhere", "rows.csv", "--json")
    assert done.returncode == 2
    assert done.stdout.count("\n") == 1
    told = json.loads(done.stdout)["error"]
    assert set(told) == {"happened", "expected", "remedy"}
    assert told["happened"].startswith("nowhere is not a model folder")
    assert told["happened"] in done.stderr


def test_an_error_of_rows_under_json_has_its_place_apart(call, tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("text,label\na b,x\nc,d,y\n", encoding="utf8")
    told = call("train", file, "--task", "text-classification", "--out", tmp_path / "m", "--json").json["error"]
    assert (told["file"], told["row"]) == (str(file), 3)
    assert "column" not in told
    assert told["happened"] == "the row has 3 cells."


def test_wrong_use_under_json_is_an_object_too(call):
    done = call("evaluate", "--json")
    assert done.code == 2
    assert "MODEL" in done.json["error"]["happened"]


def test_an_error_of_predict_under_json_is_its_last_line(call, model, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "hello"}\n{"text": ', encoding="utf8")
    done = call("predict", model, "--input", file, "--json")
    assert done.code == 2
    assert "error" in json.loads(done.out.splitlines()[-1])


def test_json_after_two_dashes_is_a_text(call):
    done = call("predict", "nowhere", "--", "--json")
    assert (done.code, done.out) == (2, "")


def test_a_failure_under_json_that_is_an_interrupt_is_an_object_too(call, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("luban.verbs.opened", interrupted)
    done = call("evaluate", "model", "rows.csv", "--json")
    assert done.code == 130
    assert "Stopped" in done.json["error"]["happened"]


@pytest.mark.parametrize("words", [("--lang", "zh"), ("--lang=zh",)])
def test_an_error_is_in_the_language_asked_for(call, words):
    done = call("predict", "nowhere", "text", *words)
    assert "nowhere 不是模型目录" in done.err
    assert "is not" not in done.err


def test_wrong_use_is_in_the_language_of_the_environment(call, monkeypatch):
    monkeypatch.setenv("LUBAN_LANG", "zh")
    assert "缺少选项 '--out'" in call("train", "rows.csv", "--task", "x").err


def test_the_error_of_a_language_that_is_not_there_is_in_english(call):
    assert "There is no language 'fr'" in call("models", "--lang", "fr").err


def test_a_closed_pipe_is_quiet():
    command = f"{sys.executable} -m luban models --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""


def test_a_page_that_cannot_be_written_is_refused_before_the_model_is_opened(call, tmp_path):
    (tmp_path / "page.html").mkdir()
    done = call("explain", "nowhere", "where is my order", "--html", tmp_path / "page.html")
    assert done.code == 2
    assert "page.html is a directory" in done.err


UNWRITABLE = {
    "train": ("train", "nowhere.csv", "--task", "text-classification", "--out"),
    "export": ("export", "nowhere", "--out"),
    "evaluate": ("evaluate", "nowhere", "nowhere.csv", "--report"),
    "predict": ("predict", "nowhere", "text", "--output"),
    "clean": ("data", "clean", "nowhere.csv", "--task", "text-classification", "--out"),
    "anonymise": ("data", "anonymise", "nowhere.csv", "--task", "text-classification", "--out"),
    "split": ("data", "split", "nowhere.csv", "--task", "text-classification", "--out"),
}


@pytest.mark.parametrize("verb", UNWRITABLE)
def test_a_place_below_a_file_is_refused_before_any_work(call, tmp_path, verb):
    (tmp_path / "file").write_text("", encoding="utf8")
    done = call(*UNWRITABLE[verb], tmp_path / "file" / "deep" / "out")
    assert done.code == 2
    assert f"{tmp_path / 'file'} is no directory" in " ".join(done.err.split())
    assert "Choose another place" in done.err


@pytest.mark.parametrize("verb", UNWRITABLE)
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the system has no directory that nobody writes to")
def test_a_directory_that_takes_no_file_is_refused_before_any_work(call, verb):
    done = call(*UNWRITABLE[verb], "/proc/luban")
    assert done.code == 2
    assert "/proc must take new files" in done.err


def test_what_the_system_refuses_is_one_sentence_and_exits_with_2(call, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "secret.json")

    monkeypatch.setattr("luban.verbs.opened", refused)
    done = call("evaluate", "model", "rows.csv", "--json")
    assert done.code == 2
    assert done.json["error"]["happened"] == "secret.json: Permission denied."
    assert "Traceback" not in done.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_sentence_and_exits_with_2():
    command = f"{sys.executable} -m luban models --json > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_an_interrupt_is_one_line_and_130(call, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("luban.verbs.opened", interrupted)
    done = call("predict", "model", "text")
    assert done.code == 130
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "en_GB.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LUBAN_LANG": "en"}, "en"),
    ],
)
def test_the_language_follows_the_environment(environment, expected):
    assert language("", environment) == expected


def test_an_option_comes_before_the_environment():
    assert language("zh", {"LUBAN_LANG": "en"}) == "zh"


def test_another_language_is_refused():
    with pytest.raises(ConfigError, match="no language 'fr'"):
        language("fr", {})


@pytest.mark.parametrize("key", sorted(words.WORDS))
def test_both_languages_name_the_same_values(key):
    english, chinese = ({name for _, name, _, _ in string.Formatter().parse(text) if name} for text in words.WORDS[key])
    assert english == chinese


def test_every_word_that_is_said_stands_in_the_table():
    source = "".join(file.read_text(encoding="utf8") for file in (Path(words.__file__).parent).glob("*.py"))
    said = set(re.findall(r"""word\(\s*["'](\w+)["']""", source))
    assert said <= set(words.WORDS)


def test_every_word_of_the_table_is_said():
    source = "".join(
        file.read_text(encoding="utf8") for file in Path(words.__file__).parent.glob("*.py") if file.name != "words.py"
    )
    built = {f"why_{kind}" for kind in ("new", "changed", "missing", "altered", "after", "kept")}
    built |= {f"lost_{what}" for what in ("text", "target", "characters")}
    built |= {"chosen_contrastive", "trial_pruned", "trial_failed", "trial_skipped", "ended_trials", "ended_time"}
    by_name = {
        "train",
        "valid",
        "test",
        "prepare",
        "evaluate",
        "export",
        "labelled",
        "characters",
        "sub-words",
        "items",
    }
    unsaid = [key for key in words.WORDS if not re.search(rf"""["']{key}["']""", source) and key not in built | by_name]
    assert unsaid == []


@pytest.mark.parametrize(
    ("count", "said"), [(1, "wrote 1 row to d; 1 was changed"), (2, "wrote 2 rows to d; 2 were changed")]
)
def test_counts_on_the_screen_agree(count: int, said: str):
    assert words.word("rows_written", "en", rows=count, path="d", changed=count) == said


def test_the_noun_alone_agrees_with_a_count_that_stands_before():
    assert words.word("scored_on", "en", rows=1, part="test") == "Scores on 1 test row"
