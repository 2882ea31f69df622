"""A causal language model learns answers and nothing else, and is asked as it was taught."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luban import bases
from luban.bases import Base
from luban.chat import PLAIN, Template
from luban.config import PrepareConfig
from luban.encoding import IGNORE, Encoded, TextEncoder
from luban.errors import ConfigError, DataError
from luban.predict import Predictor
from luban.records import Row
from luban.stages.prepare import prepare
from luban.stages.train import train
from luban.stages.train.material import Material, encode
from luban.stages.train.model import build
from luban.tasks.base import Task
from luban.tasks.text_generation import TextGeneration
from luban.testing import SAMPLES, TaskContract
from luban.tiny import byte_tokenizer, tiny_writer
from luban.training import TaskLoss, collated
from tests.train.rows import config, plain_learner, prepared

TALK: list[dict[str, str]] = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hello bob"},
    {"role": "user", "content": "北京在哪里"},
    {"role": "assistant", "content": "在这里"},
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
MARKED = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %}{{ m.content }}{{ eos_token }}"
    "{% endgeneration %}{% else %}U:{{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
)


def encoder(limit: int = 192) -> TextEncoder:
    return TextEncoder(byte_tokenizer(), limit=limit)


def talking(template: str = PLAIN) -> TextGeneration:
    told = {"form": "messages", "template": template, "tokens": TOKENS, "ends": [2], "vocabulary": 259}
    return TextGeneration(settings=told)


def continuing() -> TextGeneration:
    return TextGeneration(settings={"form": "text", "ends": [2], "vocabulary": 259})


def said(task: Task, row: Row, reader: TextEncoder) -> str:
    """What of a row the loss counts, as text."""
    encoded = task.encode(task.parse(row), reader)
    target = task.targets(row, encoded)[0]
    return reader.tokenizer.decode(target[target != IGNORE].tolist(), skip_special_tokens=False)


class Writes(TaskContract):
    """The contract over bytes."""

    task = TextGeneration

    def encoder(self, limit: int = 192) -> TextEncoder:
        return encoder(limit)

    def fitted(self) -> tuple[Task, list[dict[str, Any]]]:
        task, rows = super().fitted()
        return TextGeneration(settings={**task.settings, "vocabulary": 259, "ends": [2], "tokens": TOKENS}), rows

    def perfect_outputs(self, task: Task, row: dict[str, Any], encoded: Encoded) -> list[Any]:
        """Each sub-word is foretold by the one before it."""
        return [np.roll(np.eye(task.outputs, dtype=np.float32)[encoded.windows[0].ids] * 20.0, -1, axis=0)]

    def test_perfect_logits_score_perfectly(self) -> None:
        task, rows = self.fitted()
        encoded = [task.encode(row, self.encoder()) for row in rows]
        outputs = [self.perfect_outputs(task, row, one) for row, one in zip(rows, encoded, strict=True)]
        answers = [task.decode(one, out) for one, out in zip(encoded, outputs, strict=True)]
        assert task.score(rows, answers)["perplexity"] == pytest.approx(1.0, abs=1e-4)


class TestContinuing(Writes):
    rows = SAMPLES["text-generation"]


class TestTalking(Writes):
    rows = [{"messages": TALK}, {"messages": TALK[1:3]}, {"messages": TALK[3:]}]  # noqa: RUF012 - as the contract has it


@pytest.mark.parametrize("template", [PLAIN, MARKED])
def test_exactly_what_the_assistant_says_counts_in_every_turn(template: str) -> None:
    assert said(talking(template), {"messages": TALK}, encoder()) == "hello bob</s>在这里</s>"


def test_exactly_the_completion_and_the_end_count() -> None:
    assert said(continuing(), {"text": "one two", "target": " three"}, encoder()) == " three</s>"


def test_a_prompt_has_the_same_sub_words_with_its_answer_and_without() -> None:
    for task, row, bare in (
        (talking(), {"messages": TALK}, {"messages": TALK[:-1]}),
        (continuing(), {"text": "wh", "target": "ere"}, {"text": "wh"}),
    ):
        whole, prompt = (task.encode(task.parse(one, labelled=False), encoder()) for one in (row, bare))
        np.testing.assert_array_equal(whole.windows[0].ids[: whole.asked], prompt.windows[0].ids)


def test_the_template_is_rendered_as_transformers_renders_it(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_writer(tmp_path / "base"))
    for template in (PLAIN, MARKED):
        for prompt in (True, False):
            theirs = tokenizer.apply_chat_template(
                TALK[:4] if prompt else TALK, chat_template=template, tokenize=False, add_generation_prompt=prompt
            )
            assert Template(template, TOKENS).render(TALK[:4] if prompt else TALK, prompt=prompt) == theirs


@pytest.mark.parametrize(
    "template",
    ["{{ messages.__class__.__mro__[1].__subclasses__() }}", "{{ ''.__class__.__base__ }}", "{{ messages.append(1) }}"],
)
def test_a_template_reaches_nothing_but_its_messages(template: str) -> None:
    with pytest.raises(DataError, match="refuses the messages"):
        Template(template, TOKENS).parts(TALK)


def test_a_refusal_of_the_template_names_the_column() -> None:
    strict = (
        "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}{{ messages[0].content }}"
    )
    with pytest.raises(DataError, match="user first") as caught:
        Template(strict, TOKENS).parts(TALK)
    assert caught.value.column == "messages"


def test_a_template_that_forgets_earlier_answers_is_refused_unless_it_marks_them() -> None:
    forgetful = (
        "{% for m in messages %}{% if m.role == 'assistant' and not loop.last %}...{% else %}{{ m.content }}|{% endif %}"
        "{% endfor %}"
    )
    with pytest.raises(DataError, match="otherwise when others follow"):
        Template(forgetful, TOKENS).parts(TALK)


def test_the_marks_around_answers_cannot_be_written_by_a_message() -> None:
    sly = [{"role": "user", "content": "\ue0f0mine\ue0f1"}, {"role": "assistant", "content": "no"}]
    assert [part.text for part in Template(MARKED, TOKENS).parts(sly) if part.said] == ["no</s>"]


def test_a_prompt_that_is_too_long_is_cut_at_the_left_and_says_so() -> None:
    encoded = continuing().encode({"text": "a" * 40 + "z", "target": "bc"}, encoder(16))
    ids = encoded.windows[0].ids
    assert encoded.truncated
    assert (len(ids), encoded.asked) == (15, 12)
    assert byte_tokenizer().decode(ids.tolist(), skip_special_tokens=False) == "<s>" + "a" * 10 + "zbc</s>"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": "hello"}, "no conversation"),
        ({"messages": []}, "no conversation"),
        ({"messages": [{"role": "user", "content": 3}]}, "message 1 has the role"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "no message of the assistant"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "no message of the assistant"),
        ({"text": "hi"}, "None is no text"),
        ({"text": "hi", "target": " "}, "the text is empty"),
    ],
)
def test_a_row_that_teaches_nothing_is_refused(row: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        TextGeneration.parse(row)


def test_other_names_for_roles_and_messages_as_json_are_read() -> None:
    cell = json.dumps([{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}])
    row = TextGeneration.parse({"messages": cell})
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]


def test_rows_of_two_forms_are_refused() -> None:
    with pytest.raises(DataError, match="some rows hold messages"):
        TextGeneration.fit([{"messages": TALK}, {"text": "a", "target": "b"}])


def test_a_model_that_was_taught_to_go_on_is_not_talked_to() -> None:
    with pytest.raises(DataError, match="not to talk"):
        continuing().encode({"messages": TALK}, encoder())


@pytest.mark.parametrize("columns", [("prompt", "completion"), ("instruction", "output"), ("text", "target")])
def test_a_file_is_recognised_by_its_columns_and_kept_as_it_is(columns: tuple[str, str], tmp_path: Path) -> None:
    rows = [{columns[0]: f"line {i}\n\n  two ", columns[1]: f" so\t{i}", "seed": "x"} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    found = prepare(PrepareConfig(source=str(tmp_path / "rows.jsonl")), TextGeneration)
    assert {(row["text"][-6:], row["target"][:4]) for row in found.train} == {("\n  two "[-6:], " so\t")}


def test_conversations_go_through_preparing_whole(tmp_path: Path) -> None:
    rows = [{"messages": [*TALK[:1], {"role": "user", "content": f"hi {i}"}, *TALK[2:]]} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    found = prepare(PrepareConfig(source=str(tmp_path / "rows.jsonl")), TextGeneration)
    assert len(found.train) + len(found.valid) == 10
    assert [message["role"] for message in found.train[0]["messages"]] == [message["role"] for message in TALK]


def test_a_base_that_does_not_write_is_refused_by_name(tmp_path: Path) -> None:
    from tests.train.rows import base

    with pytest.raises(ConfigError, match="is no model that writes"):
        train(prepared("text-generation"), base(tmp_path), config(), tmp_path / "model")


def writer(tmp_path: Path) -> Base:
    return bases.find(str(tiny_writer(tmp_path / "base")))


def material_of(tmp_path: Path, **values: object) -> tuple[torch.nn.Module, Material]:
    material = encode(prepared("text-generation", times=2), writer(tmp_path), config(**values))
    return build(material.base, material.task, dropout=0.0), material


def test_the_loss_is_the_mean_over_answers_whatever_the_micro_batches(tmp_path: Path) -> None:
    from luban.stages.train.recipe import schedule

    gradients, losses = [], []
    for micro in (4096, 8):
        model, material = material_of(tmp_path / str(micro))
        plan = schedule(config(), material.task, len(material.examples))
        learner = plain_learner(model, material, plan)
        learner.allow(micro)
        losses.append(learner._backward(range(len(material.examples))))
        gradients.append(model.get_input_embeddings().weight.grad.clone())  # type: ignore[operator]
    told = [asking(model, material).answer([one])[0].likelihood for one in material.encoded_valid[:4]]
    mean = -sum(total for total, _ in told) / sum(count for _, count in told)  # type: ignore[misc]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] == pytest.approx(mean, rel=1e-4)


def asking(model: torch.nn.Module, material: Material) -> Predictor:
    from luban.stages.train.material import live

    return live(model.eval(), material.task, material.encoder)


def test_the_prompt_moves_no_loss(tmp_path: Path) -> None:
    model, material = material_of(tmp_path)
    feed, objective = collated(model, material.examples, 0), TaskLoss(material.task)
    learner = plain_learner(model, material, _plan(material))
    part = learner._part([0])
    logits = objective.logits(model, part)
    head = int(np.flatnonzero(material.examples[0].target != IGNORE)[0])
    moved = logits.clone()
    moved[0, : head - 1] += torch.randn_like(moved[0, : head - 1])
    assert feed([0])["input_ids"].shape[1] == len(material.examples[0].target)
    assert objective.of(logits, part) == objective.of(moved, part)


def _plan(material: Material) -> Any:
    from luban.stages.train.recipe import schedule

    return schedule(config(), material.task, len(material.examples))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A tiny model that knows its samples by heart."""
    place = tmp_path_factory.mktemp("taught")
    chosen = config(epochs=30, rate=1e-2, batch_rows=4, max_length=64)
    folder = train(prepared("text-generation", times=2), writer(place), chosen, place / "model")
    return Predictor.open(folder, threads=1)


def test_what_was_learnt_by_heart_is_written(taught: Predictor) -> None:
    answers = taught.predict([row["text"] for row in SAMPLES["text-generation"]])
    assert [answer.text for answer in answers] == [row["target"] for row in SAMPLES["text-generation"]]
    assert all(not answer.cut and answer.as_json().keys() == {"text", "score"} for answer in answers)


def test_pieces_make_up_the_answer(taught: Predictor) -> None:
    found = list(taught.pieces("你好，"))
    assert "".join(found) == "你好吗？"
    assert len(found) > 1


def test_a_row_says_how_it_is_answered(taught: Predictor) -> None:
    short, stopped = taught.predict([{"text": "hello, ", "max_new_tokens": 3}, {"text": "hello, ", "stop": "bob"}])
    assert (short.text, short.cut) == ("hel", True)
    assert (stopped.text, stopped.cut) == ("hello ", False)


def test_scores_of_known_answers_are_told(taught: Predictor) -> None:
    rows: Sequence[Row] = SAMPLES["text-generation"]
    scores = taught.task.score(rows, taught.predict(rows))
    assert scores["exact_match"] == scores["rouge_l"] == scores["chrf"] == pytest.approx(1.0)
    assert scores["perplexity"] == pytest.approx(math.exp(-scores["log_likelihood"]))
    assert scores["perplexity"] < 1.5


def test_the_folder_loads_in_plain_transformers_and_writes_the_same(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = [{"messages": TALK[1:3]}, {"messages": TALK[3:]}] * 4
    data = prepared("text-generation")
    talks = type(data)(data.task, data.source, rows, rows[:2], [], (), {"messages": "messages"}, "talks")
    folder = train(talks, writer(tmp_path), config(epochs=2, rate=1e-2, max_length=128), tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder.path)
    model = AutoModelForCausalLM.from_pretrained(folder.path, dtype=torch.float32).eval()
    asked = tokenizer.apply_chat_template(TALK[1:2], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**asked, max_new_tokens=8, do_sample=False)[0, asked["input_ids"].shape[1] :]
    answer = Predictor.open(folder, threads=1).predict([{"messages": TALK[1:2], "max_new_tokens": 8}])[0]
    assert answer.text == tokenizer.decode(out, skip_special_tokens=True)
    assert all("max_new_tokens" in golden.row for golden in folder.golden())
