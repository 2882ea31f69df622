"""Each verb on a tiny model: its table, its JSON object, and what it says to bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

SCORED = {
    "task",
    "model",
    "fingerprint",
    "rows",
    "rejects",
    "scores",
    "intervals",
    "seconds",
    "rows_per_second",
    "latency_ms",
    "bytes",
}


def test_train_shows_the_rows_and_scores_the_model(call, rows, base, tmp_path):
    done = call("train", rows, "--task", "text-classification", "--base", base, "--epochs", 1, "--out", tmp_path / "m")
    assert done.code == 0, done.err
    for said in ("What was understood of", "labels", "three parsed rows", "forecast", "macro_f1", "What to type next"):
        assert said in done.out
    assert (tmp_path / "m" / "luban.json").is_file()


def test_train_gives_the_designs_object(call, rows, base, tmp_path):
    done = call(
        "train", rows, "--task", "text-classification", "--base", base, "--epochs", 1, "--out", tmp_path / "m", "--json"
    )  # fmt: skip
    assert set(done.json) >= SCORED


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--task", "text-clasification", "--out", "m"), "Did you mean 'text-classification'"),
        (("--task", "text-classification", "--out", "m", "--epochs", "-1"), "epochs cannot be -1"),
        (("--task", "text-classification", "--out", "m", "--columns", "text"), "NAME=COLUMN"),
        (("--task", "text-classification", "--out", "m", "--base", "minilmm"), "Did you mean 'minilm'"),
        (("--task", "text-classification", "--out", "/"), "is, or holds, the current directory"),
    ],
)
def test_train_refuses_a_mistake(call, rows, args, said):
    done = call("train", rows, *args)
    assert done.code == 2
    assert said in done.err


def test_train_names_the_place_of_a_bad_row(call, tmp_path):
    (tmp_path / "bad.csv").write_text("text,label\nhello,greeting\n,greeting\n", encoding="utf8")
    done = call("train", tmp_path / "bad.csv", "--task", "text-classification", "--out", tmp_path / "m")
    assert done.code == 2
    assert "row 3, column text" in done.err


def test_predict_answers_texts(call, model):
    done = call("predict", model, "where is my order", "refund me")
    assert done.out.count("\n") == 2


def test_predict_json_is_one_object_a_line(call, model):
    lines = call("predict", model, "where is my order", "refund me", "--json").out.splitlines()
    answers = [json.loads(one) for one in lines]
    assert [answer["id"] for answer in answers] == ["1", "2"]
    assert set(answers[0]) == {"id", "label", "score", "scores"}


def test_predict_reads_a_file_and_writes_one(call, model, rows, tmp_path):
    assert call("predict", model, "--input", rows, "--output", tmp_path / "out.jsonl").code == 0
    answers = [json.loads(one) for one in (tmp_path / "out.jsonl").read_text(encoding="utf8").splitlines()]
    assert len(answers) == 48
    assert answers[0]["id"] == "2"


def test_predict_explains(call, model):
    answer = call("predict", model, "where is my order", "--explain", "--json").json
    assert all(set(word) == {"text", "weight"} for word in answer["words"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "nothing to answer"),
        (("text", "--input", "rows.csv"), "TEXT, --input are given together"),
        (("text", "--history", "a,b"), "TEXT, --history are given together"),
        (("--fields", "price=3", "--history", "a,b"), "--fields, --history are given together"),
        (("text", "--stream", "--output", "answers.jsonl"), "--stream, --output are given together"),
        (("--input", "rows.csv", "--context", "a text"), "no question is typed"),
    ],
)
def test_predict_passes_over_nothing_that_is_typed(call, model, args, said):
    done = call("predict", model, *args)
    assert done.code == 2
    assert said in done.err


def test_predict_leaves_no_half_file(call, model, tmp_path):
    done = call("predict", model, "--input", tmp_path / "none.csv", "--output", tmp_path / "out.jsonl")
    assert done.code == 2
    assert list(tmp_path.iterdir()) == []


def test_evaluate_shows_classes_and_writes_a_report(call, model, rows, tmp_path):
    done = call("evaluate", model, rows, "--bootstrap", 100, "--report", tmp_path / "r.html")
    assert done.code == 0, done.err
    assert "precision" in done.out
    assert (tmp_path / "r.html").stat().st_size > 1000


def test_evaluate_refuses_labels_the_rows_lack(call, model, tmp_path):
    (tmp_path / "texts.csv").write_text("text\nhello\n", encoding="utf8")
    assert call("evaluate", model, tmp_path / "texts.csv").code == 2


def test_evaluate_refuses_rows_none_of_whose_labels_the_model_knows(call, model, tmp_path):
    odd = tmp_path / "odd.csv"
    odd.write_text("text,label\nwhere is it?,odd\nis it here?,strange\n", encoding="utf8")
    for args in (("evaluate", model, odd), ("compare", model, model, odd)):
        done = call(*args)
        assert done.code == 2
        assert "knows none of the labels of these rows: 'odd', 'strange'" in done.err


def test_evaluate_tells_of_labels_the_model_does_not_know(call, model, rows, tmp_path):
    mixed = tmp_path / "mixed.csv"
    mixed.write_text(rows.read_text(encoding="utf8") + "is it here?,strange\n", encoding="utf8")
    done = call("evaluate", model, mixed, "--json")
    assert done.code == 0
    assert done.json["unknown_labels"] == {"rows": 1, "labels": {"strange": 1}}
    assert "1 row of " in done.err
    assert "strange" in done.err


@pytest.mark.parametrize(("name", "shown"), [("mine.csv", "rows "), ("my-test.csv", "test ")])
def test_evaluate_names_a_part_only_where_the_files_name_does(call, model, rows, tmp_path, name, shown):
    (tmp_path / name).write_text(rows.read_text(encoding="utf8"), encoding="utf8")
    lines = call("evaluate", model, tmp_path / name).out.splitlines()
    (line,) = [line for line in lines if line.strip().startswith("rows ")]
    assert "train" not in line
    assert shown in line


def test_compare_shows_the_score_that_decides_first(call, model, rows):
    lines = [
        line.split()[0]
        for line in call("compare", model, model, rows, "--bootstrap", 100).out.splitlines()
        if line.split()
    ]
    assert lines.index("accuracy") == lines.index("macro_f1") - 1


def test_data_check_of_one_file_names_no_part(call, rows):
    done = call("data", "check", rows, "--task", "text-classification")
    assert "train" not in done.out


def test_columns_that_are_missing_are_all_asked_for(call, tmp_path):
    (tmp_path / "odd.csv").write_text("name,age\nann,3\nbob,4\n", encoding="utf8")
    done = call("data", "check", tmp_path / "odd.csv", "--task", "text-classification")
    assert "--columns text=COLUMN,label=COLUMN" in done.err


def test_compare_says_which_is_better(call, model, rows):
    found = call("compare", model, model, rows, "--bootstrap", 100, "--json").json
    assert found["verdict"] == "unsure"
    assert "Too close to call" in call("compare", model, model, rows, "--bootstrap", 100).out


def test_explain_weighs_the_words(call, model, tmp_path):
    done = call("explain", model, "where is my order", "--html", tmp_path / "why.html", "--json")
    assert [word["text"] for word in done.json["evidence"]["words"]] == ["where", "is", "my", "order"]
    assert "order" in (tmp_path / "why.html").read_text(encoding="utf8")


def test_explain_refuses_a_label_there_is_not(call, model):
    assert call("explain", model, "hello", "--target", "refnd").code == 2


def test_models_lists_the_catalogue(call):
    assert "minilm" in {entry["name"] for entry in call("models", "--json").json["models"]}
    assert "e5-small" in call("models").out


def test_doctor_tells_what_is_installed(call):
    assert call("doctor", "--json").json["processor"]["cores"] >= 1
    assert "What is installed" in call("doctor").out


def test_data_check_finds_a_contradiction_and_fails_on_a_broken_row(call, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\nhello,a\nhello,b\nbye,a\n,b\n", encoding="utf8")
    done = call("data", "check", tmp_path / "rows.csv", "--task", "text-classification")
    assert done.code == 1
    assert "different labels" in done.out


def test_data_split_writes_parts_that_are_rows_again(call, rows, tmp_path):
    done = call(
        "data", "split", rows, "--task", "text-classification", "--out", tmp_path / "s", "--test-share", 0.25, "--json"
    )
    assert sum(done.json["rows"].values()) == 48
    assert call("data", "check", tmp_path / "s", "--task", "text-classification", "--json").json["rows"]["test"] > 0


def test_data_clean_and_anonymise_write_rows(call, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n<b>write to ann@corp.com</b>,a\nhello,b\n", encoding="utf8")
    call("data", "clean", tmp_path / "rows.csv", "--task", "text-classification", "--out", tmp_path / "c")
    call("data", "anonymise", tmp_path / "c", "--task", "text-classification", "--out", tmp_path / "a")
    first = json.loads((tmp_path / "a" / "train.jsonl").read_text(encoding="utf8").splitlines()[0])
    assert first["text"].startswith("write to ")
    assert "ann@corp.com" not in first["text"]


def test_data_leaves_a_directory_that_is_not_empty(call, rows, tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf8")
    assert call("data", "split", rows, "--task", "text-classification", "--out", tmp_path).code == 2


def test_new_and_a_dry_run(call, tmp_path):
    assert call("new", "text-classifier", tmp_path / "desk").code == 0
    done = call("run", tmp_path / "desk", "train.epochs=2", "--dry-run", "--json")
    assert [step["ran"] for step in done.json["steps"]] == [True] * 4


def test_run_refuses_an_unknown_key(call, tmp_path):
    call("new", "text-classifier", tmp_path / "desk")
    done = call("run", tmp_path / "desk", "train.epoch=2")
    assert done.code == 2
    assert "Did you mean 'epochs'" in done.err


def test_the_surface_speaks_chinese(call, tmp_path):
    assert "已生成" in call("new", "text-classifier", tmp_path / "desk", "--lang", "zh").out


def test_the_demo_wants_a_free_place(call, tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf8")
    done = call("demo", "--out", tmp_path)
    assert done.code == 2
    assert (tmp_path / "mine.txt").is_file()


def test_a_demo_there_is_not_names_those_there_are(call):
    done = call("demo", "customer-servise-en")
    assert done.code == 2
    assert "Did you mean 'customer-service-en'" in done.err


def test_the_demo_removes_what_it_could_not_finish(call, tmp_path, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("luban.pipeline.run", interrupted)
    done = call("demo", "--out", tmp_path / "demo")
    assert done.code == 130
    assert "anew" in done.err
    assert list(tmp_path.iterdir()) == []


def test_serve_answers_until_it_is_told_to_stop(model: Path):
    words = [sys.executable, "-m", "luban", "serve", str(model), "--port", "0", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        body = json.dumps({"text": "where is my order"}).encode()
        for verb, key in (("predict", "predictions"), ("explain", "evidence")):
            request = urllib.request.Request(f"{told['url']}/models/{told['models'][0]}/{verb}", body)
            with urllib.request.urlopen(request, timeout=60) as response:
                assert key in json.load(response)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        remarks = process.communicate()[1]
    assert "calls at once" in remarks


def test_serve_refuses_a_folder_that_is_none(call, tmp_path):
    assert call("serve", tmp_path).code == 2
