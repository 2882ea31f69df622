"""A chat model labels: what is asked, what is believed, what is kept through a kill, and what costs nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luban.config import LabelConfig, PrepareConfig
from luban.errors import ConfigError, LubanError
from luban.stages.prepare import Labelling, label, load
from luban.stages.prepare.label import prompt, read
from luban.tasks import TASKS
from luban.testing import FakeChat

TASK = TASKS["text-classification"]
TEXTS = ["where is my order", "i want my money back", "when will it come", "refund please", "where is my order"]
ROOT = Path(__file__).parents[2]


def by_words(messages: list[dict[str, str]]) -> str:
    """A model that knows two words."""
    text = json.loads(messages[-1]["content"])["text"]
    return json.dumps({"label": "refund" if "money" in text or "refund" in text else "order"})


def rows(tmp_path: Path, texts: list[str] = TEXTS) -> str:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf8")
    return str(file)


def labelled(tmp_path: Path, chat: FakeChat, texts: list[str] = TEXTS, **options: object) -> Labelling:
    chosen = {"labels": ("order", "refund"), "llm": chat.url, "model": "fake", "retries": 1, "timeout": 10, **options}
    reading = PrepareConfig(source=rows(tmp_path, texts))
    return label(LabelConfig.model_validate(chosen), reading, TASK, tmp_path / "out")


def test_every_text_gets_its_label_and_the_directory_is_a_source_of_rows(tmp_path: Path) -> None:
    with FakeChat(by_words) as chat:
        done = labelled(tmp_path, chat)
    got = load(str(tmp_path / "out"), TASK).parts["train"].rows
    assert [row["label"] for row in got] == ["order", "refund", "order", "refund", "order"]
    assert (done.rows, done.labelled, done.counts) == (5, 5, {"order": 3, "refund": 2})


def test_the_same_text_is_asked_about_once(tmp_path: Path) -> None:
    with FakeChat(by_words) as chat:
        labelled(tmp_path, chat)
    assert len(chat.asked) == 4


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    with FakeChat(by_words) as chat:
        labelled(tmp_path, chat, TEXTS[:2])
        done = labelled(tmp_path, chat)
    assert len(chat.asked) == 4
    assert done.asked == 2


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    def slowly(messages: list[dict[str, str]]) -> str:
        time.sleep(0.2)
        return by_words(messages)

    source = rows(tmp_path, [f"where is order {i}" for i in range(30)])
    kept = tmp_path / "out" / ".labelling" / "answers.jsonl"
    with FakeChat(slowly) as chat:
        words = [
            "data",
            "label",
            source,
            "--task",
            "text-classification",
            "--labels",
            "order,refund",
            "--llm",
            chat.url,
        ]
        words += ["--model", "fake", "--workers", "1", "--out", str(tmp_path / "out")]
        line = [sys.executable, "-m", "luban", *words]
        running = subprocess.Popen(line, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stderr=subprocess.DEVNULL)
        while not kept.is_file() or kept.read_text(encoding="utf8").count("\n") < 3:
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
        running.wait()
        with kept.open("a", encoding="utf8") as file:
            file.write('{"key": "cut o')
        before = kept.read_text(encoding="utf8").count("\n")
        done = label(
            LabelConfig(labels=("order", "refund"), llm=chat.url, model="fake"), PrepareConfig(source=source), TASK,
            tmp_path / "out",
        )  # fmt: skip
    assert done.labelled == 30
    assert done.asked == 30 - before


def test_a_busy_endpoint_is_asked_again(tmp_path: Path) -> None:
    with FakeChat(by_words, failures=[429, 503]) as chat:
        done = labelled(tmp_path, chat, TEXTS[:1], retries=3)
    assert done.labelled == 1


def test_an_endpoint_that_stays_silent_stops_the_run_and_keeps_what_it_said(tmp_path: Path) -> None:
    with FakeChat(by_words) as chat:
        labelled(tmp_path, chat, TEXTS[:1])
        chat.failures = [500] * 9
        with pytest.raises(LubanError, match=r"did not answer \(500\), asked 2 times"):
            labelled(tmp_path, chat, workers=1)
        chat.failures = []
        assert labelled(tmp_path, chat).asked == 3


def test_an_answer_that_names_no_label_is_rejected_with_what_was_said(tmp_path: Path) -> None:
    with FakeChat(lambda messages: '{"label": "weather"}') as chat:
        done = labelled(tmp_path, chat, TEXTS[:1])
    (reject,) = done.rejects
    assert "weather" in reject.reason
    assert reject.row == 1
    assert len(chat.asked) == 3
    assert done.rows == done.labelled + len(done.rejects)


def test_a_text_that_is_refused_alone_is_rejected_and_the_others_go_on(tmp_path: Path) -> None:
    with FakeChat(by_words, failures=[400]) as chat:
        done = labelled(tmp_path, chat, workers=1)
    assert (done.labelled, len(done.rejects)) == (3, 2)  # the refused text stands twice


def test_no_more_questions_than_workers_are_under_way(tmp_path: Path) -> None:
    def slowly(messages: list[dict[str, str]]) -> str:
        time.sleep(0.05)
        return by_words(messages)

    with FakeChat(slowly) as chat:
        labelled(tmp_path, chat, [f"order {i}" for i in range(12)], workers=3)
    assert 1 < chat.most_at_once <= 3


def test_tokens_are_counted_and_priced(tmp_path: Path) -> None:
    with FakeChat(by_words) as chat:
        done = labelled(tmp_path, chat, price_in=1.0, price_out=2.0)
    assert done.tokens["completion"] == 8
    assert done.cost == pytest.approx((done.tokens["prompt"] + 16) / 1e6)


def test_the_key_is_sent_and_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_KEY", "secret-123")
    with FakeChat(by_words, key="secret-123") as chat:
        done = labelled(tmp_path, chat, key_env="CHAT_KEY")
    assert done.labelled == 5
    written = [file.read_text(encoding="utf8") for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert written
    assert not any("secret-123" in text for text in written)


def test_a_key_that_is_not_taken_is_told_by_its_variable_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_KEY", "wrong-456")
    with FakeChat(by_words, key="secret-123") as chat, pytest.raises(ConfigError, match="the key in CHAT_KEY") as told:
        labelled(tmp_path, chat, key_env="CHAT_KEY")
    assert "wrong-456" not in str(told.value)


def test_answers_to_another_question_are_not_mixed_in(tmp_path: Path) -> None:
    with FakeChat(by_words) as chat:
        labelled(tmp_path, chat)
        with pytest.raises(ConfigError, match="another model or other labels"):
            labelled(tmp_path, chat, labels=("order", "refund", "other"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"llm": ""}, "No chat model is named"),
        ({"llm": "localhost"}, "no address of a chat model"),
        ({"labels": ("order",)}, "The labels are order"),
        ({"about": {"refunds": "money"}}, "no label 'refunds' to describe"),
        ({"key_env": "NO_SUCH_KEY"}, "has no NO_SUCH_KEY"),
    ],
)
def test_what_cannot_be_asked_is_refused(options: dict[str, object], said: str, tmp_path: Path) -> None:
    with FakeChat(by_words) as chat, pytest.raises(ConfigError, match=said):
        labelled(tmp_path, chat, **options)
    assert not chat.asked


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot label for text-pair"):
        label(LabelConfig(), PrepareConfig(), TASKS["text-pair"], tmp_path / "out")


def test_the_prompt_holds_every_label_with_its_meaning() -> None:
    said = prompt("a text", {"refund": "wants money back", "order": ""})
    assert '"refund": wants money back' in said[0]["content"]
    assert '"order"' in said[0]["content"]


@given(st.text(), st.sampled_from(["order", "Refund"]))
def test_a_label_is_read_out_of_what_stands_around_it(around: str, name: str) -> None:
    around = around.replace("{", "").replace("}", "")
    labels = {"order": "", "Refund": ""}
    assert read(f"{around}{json.dumps({'label': name.upper()})}{around}", labels) == name
    assert read(around, labels) is None
