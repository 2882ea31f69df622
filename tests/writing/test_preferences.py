"""Pairs of answers are read from the usual layouts, and a model learns which of two people prefer."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luban import bases
from luban.bases import Base
from luban.config import PrepareConfig
from luban.encoding import IGNORE, TextEncoder
from luban.errors import DataError
from luban.predict import Predictor
from luban.preferences import compared, scores
from luban.records import Prediction, Prepared, Row
from luban.stages.prepare import anonymise, check, clean, prepare
from luban.stages.train.material import Material, encode
from luban.stages.train.model import build
from luban.stages.train.objectives.compose import compose
from luban.stages.train.recipe import schedule
from luban.stages.train.reference import referred
from luban.tasks.text_generation import TextGeneration
from luban.tiny import byte_tokenizer, tiny_writer
from luban.training import Learner, collated
from tests.train.rows import config

HI = {"role": "user", "content": "hi"}
NAMES = "bob sam ann tom lily 小明 max eve ben kim".split()
THINGS = "film food card city cat dog car 书 hat".split()


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


PLAIN = {"text": "hi", "chosen": "yes", "rejected": "no"}
TALK = {"messages": [HI], "chosen": "yes", "rejected": "no"}


def judgements(count: int = 90) -> list[dict[str, Any]]:
    """Which of yes and no is better is told by a word of the prompt, and by nothing else."""
    chance = random.Random(1)
    asked = [(name, thing, chance.random() < 0.5) for name in NAMES for thing in THINGS]
    chance.shuffle(asked)
    rows = []
    for name, thing, good in asked[:count]:
        chosen, rejected = ("yes", "no") if good else ("no", "yes")
        prompt = f"{name}: {thing} {'good' if good else 'bad'}? "
        rows.append(TextGeneration.parse({"text": prompt, "chosen": chosen, "rejected": rejected}))
    return rows


def prepared(rows: Sequence[Row], valid: int = 24) -> Prepared:
    return Prepared("text-generation", "made", list(rows[valid:]), list(rows[:valid]), [], (), {}, "made")


def writer(tmp_path: Path) -> Base:
    return bases.find(str(tiny_writer(tmp_path / "base")))


def rows_file(tmp_path: Path, rows: Sequence[Row]) -> str:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    return str(file)


# --- reading


@pytest.mark.parametrize(
    ("record", "row"),
    [
        (PLAIN, PLAIN),
        ({"text": [HI], "chosen": [said("yes")], "rejected": [said("no")]}, TALK),
        ({"messages": [HI], "chosen": "yes", "rejected": "no"}, TALK),
        ({"chosen": [HI, said("yes")], "rejected": [HI, said("no")]}, TALK),
        ({"text": "hi", "chosen": [HI, said("yes")], "rejected": [HI, said("no")]}, TALK),
        ({"text": "hi", "chosen": [said("yes")], "rejected": [said("no")]}, TALK),
        ({"chosen": json.dumps([HI, said("yes")]), "rejected": json.dumps([HI, said("no")])}, TALK),
        (
            {
                "messages": [{"from": "human", "value": "hi"}],
                "chosen": {"from": "gpt", "value": "yes"},
                "rejected": {"from": "gpt", "value": "no"},
            },
            TALK,
        ),
        (
            {"chosen": "\n\nHuman: hi\n\nAssistant: yes", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
            TALK,
        ),
        ({"text": "hi", "chosen": "[1]", "rejected": "{}"}, {"text": "hi", "chosen": "[1]", "rejected": "{}"}),
    ],
)
def test_the_usual_layouts_are_read_as_a_prompt_and_two_answers(record: dict[str, Any], row: dict[str, Any]) -> None:
    found = TextGeneration.parse(record)
    assert found == row
    assert TextGeneration.parse(found) == found


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"text": "hi", "chosen": "yes", "rejected": "yes "}, "both answers are the same"),
        ({"text": "hi", "chosen": "yes", "rejected": " "}, "the text is empty"),
        ({"text": "hi", "chosen": "yes", "rejected": None}, "None is no text"),
        ({"chosen": "yes", "rejected": "no"}, "there is no prompt"),
        ({"chosen": [HI, said("yes")], "rejected": [said("x"), said("no")]}, "share no message"),
        ({"chosen": [HI, said("yes")], "rejected": "no"}, "the other a conversation"),
        ({"chosen": [HI, said("yes")], "rejected": [HI, said("no"), HI, said("no")]}, "has 3 messages"),
        ({"chosen": [HI, said("yes")], "rejected": [HI]}, "has 0 messages"),
        ({"text": "hi", "chosen": [{"role": 3, "content": "x"}], "rejected": [said("no")]}, "message 1 has the role"),
    ],
)
def test_a_pair_that_says_nothing_is_refused(record: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        TextGeneration.parse(record)
    assert caught.value.column in ("chosen", "rejected")


def test_bad_pairs_become_rejects_and_the_rest_goes_on(tmp_path: Path) -> None:
    rows = [{"prompt": f"hi {i}", "chosen": "yes", "rejected": "no"} for i in range(8)]
    bad = [{"prompt": "a", "chosen": "x", "rejected": "x"}, {"prompt": "b", "chosen": "x", "rejected": ""}]
    found = prepare(PrepareConfig(source=rows_file(tmp_path, [*rows, *bad]), strict=False), TextGeneration)
    assert len(found.train) + len(found.valid) == 8
    assert [(reject.row, reject.column) for reject in found.rejects] == [(9, "rejected"), (10, "rejected")]


def test_rows_with_both_answers_are_pairs_unless_the_chosen_one_is_named_the_target(tmp_path: Path) -> None:
    source = rows_file(tmp_path, [{"prompt": f"hi {i}", "chosen": "yes", "rejected": "no"} for i in range(8)])
    pairs = prepare(PrepareConfig(source=source), TextGeneration)
    answers = prepare(PrepareConfig(source=source, columns={"target": "chosen"}), TextGeneration)
    assert (set(pairs.train[0]), set(answers.train[0])) == ({"text", "chosen", "rejected"}, {"text", "target"})
    assert TextGeneration.fit(pairs.train).prefers
    assert not TextGeneration.fit(answers.train).prefers


def test_pairs_and_single_answers_are_not_learnt_together() -> None:
    with pytest.raises(DataError, match="others one answer"):
        TextGeneration.fit([PLAIN, {"text": "a", "target": "b"}])


def test_pairs_of_one_prompt_stay_in_one_part(tmp_path: Path) -> None:
    rows = [{"prompt": f"hi {i % 4}", "chosen": f"yes {i}", "rejected": "no"} for i in range(16)]
    found = prepare(PrepareConfig(source=rows_file(tmp_path, rows), valid_share=0.25), TextGeneration)
    assert not {row["text"] for row in found.train} & {row["text"] for row in found.valid}


def test_the_check_finds_pairs_that_are_preferred_both_ways_and_no_copies_of_a_prompt(tmp_path: Path) -> None:
    rows = [PLAIN, {**PLAIN, "chosen": "no", "rejected": "yes"}, {**PLAIN, "chosen": "well"}, PLAIN]
    found = check(rows_file(tmp_path, rows), TextGeneration)
    assert [finding.rows for finding in found.of("contradiction")] == [(2, 4)]
    assert [finding.rows for finding in found.of("duplicate")] == [(4,)]


def test_personal_data_in_answers_is_replaced(tmp_path: Path) -> None:
    row = {
        "messages": [{"role": "user", "content": "mail bob@example.com"}],
        "chosen": "to eve@example.com",
        "rejected": "no",
    }
    anonymise(rows_file(tmp_path, [row]), TextGeneration, tmp_path / "out")
    written = (tmp_path / "out" / "train.jsonl").read_text(encoding="utf8")
    assert "bob@" not in written
    assert "eve@" not in written


def test_pairs_that_were_written_are_read_again_as_they_are(tmp_path: Path) -> None:
    rows = [TALK, {**TALK, "messages": [{"role": "user", "content": "ho"}]}]
    done = clean(rows_file(tmp_path, rows), TextGeneration, tmp_path / "out")
    again = prepare(PrepareConfig(source=done.files[0], valid_share=0.5), TextGeneration)
    assert sorted([*again.train, *again.valid], key=str) == sorted(rows, key=str)


# --- encoding


@pytest.mark.parametrize("row", [PLAIN, {**TALK, "messages": [HI, said("hello"), HI]}])
def test_both_answers_stand_behind_the_same_prompt_and_nothing_else_counts(row: dict[str, Any]) -> None:
    told = {"form": "messages" if "messages" in row else "text", "ends": [2], "vocabulary": 259, "beta": 0.1}
    task = TextGeneration(settings={**told, "tokens": {"bos_token": "<s>", "eos_token": "</s>"}})
    encoded = task.encode(row, TextEncoder(byte_tokenizer(), limit=192))
    chosen, rejected = encoded.windows
    np.testing.assert_array_equal(chosen.ids[: encoded.asked], rejected.ids[: encoded.asked])
    counted = [target[target != IGNORE].tolist() for target in task.targets(row, encoded)]
    assert [byte_tokenizer().decode(ids, skip_special_tokens=False) for ids in counted] == ["yes</s>", "no</s>"]


def test_pairs_are_asked_like_any_other_prompt() -> None:
    task = TextGeneration(settings={"form": "text", "ends": [2], "vocabulary": 259, "beta": 0.1})
    assert {name: value for name, value in task.question(PLAIN).items() if name != "max_new_tokens"} == {"text": "hi"}


# --- scores


def test_scores_are_counted_from_margins_over_the_reference() -> None:
    known = ((-3.0, 2), (-5.0, 4)), ((-4.0, 2), (-2.0, 4))
    pairs = [Prediction(likelihood=a) for a, _ in known], [Prediction(likelihood=b) for _, b in known]
    references = [(-4.0, -4.0), (-5.0, -4.5)]
    told = [compared(a, b, before, 0.5) for a, b, before in zip(*pairs, references, strict=True)]
    assert [one.margin for one in told] == pytest.approx([1.0, -0.75])
    found = scores(told)
    assert found["preference_accuracy"] == 0.5
    assert found["ranking_accuracy"] == 0.5
    assert found["preference_margin"] == pytest.approx(0.125)
    mean = (-math.log1p(math.exp(-1.0)) - math.log1p(math.exp(0.75))) / 2
    assert found["preference_log_likelihood"] == pytest.approx(mean)
    assert set(scores([compared(*pair, None, 0.5) for pair in zip(*pairs, strict=True)])) == {"ranking_accuracy"}


# --- the loss


def material_of(tmp_path: Path, rows: Sequence[Row], **values: object) -> tuple[torch.nn.Module, Material]:
    """A tiny model that has moved away from the base it is held against."""
    material = encode(prepared(rows, valid=1), writer(tmp_path), config(max_length=96, **values))
    model = build(material.base, material.task, dropout=0.0)
    material = referred(model, material, tmp_path / "work", key="here", bf16=False)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return model, material


def learner_of(model: torch.nn.Module, material: Material, **values: object) -> Learner:
    chosen = config(**values)
    plan = schedule(chosen, material.task, len(material.examples))
    feed = collated(model, material.examples, pad_id=0)
    return Learner(model, plan, material.examples, objective=compose(chosen, material, plan), feed=feed)


def test_before_the_first_step_no_answer_has_gained_anything(tmp_path: Path) -> None:
    _, material = material_of(tmp_path, judgements(6))
    learner = learner_of(build(material.base, material.task, dropout=0.0), material)
    assert learner._backward(range(5)) == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize(("smoothing", "sft"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.5)])
def test_the_loss_is_that_of_the_paper(smoothing: float, sft: float, tmp_path: Path) -> None:
    model, material = material_of(tmp_path, judgements(6), dpo_beta=0.4)
    assert material.reference is not None
    predictor = Predictor(material.task, material.encoder, _runtime(model))
    told = [predictor.predict([{**row, "max_new_tokens": 0}])[0] for row in material.rows]
    margins = []
    for one, before in zip(told, material.reference.tolist(), strict=True):
        assert one.likelihood is not None
        assert one.rejected is not None
        margins.append(0.4 * ((one.likelihood[0] - before[0]) - (one.rejected[0] - before[1])))
    right, wrong = ([math.log1p(math.exp(sign * margin)) for margin in margins] for sign in (-1, 1))
    expected = [(1 - smoothing) * a + smoothing * b for a, b in zip(right, wrong, strict=True)]
    fits = [-one.likelihood[0] / one.likelihood[1] for one in told if one.likelihood is not None]
    expected = [loss + sft * fit for loss, fit in zip(expected, fits, strict=True)]
    loss = learner_of(model, material, smoothing=smoothing, dpo_sft=sft)._backward(range(5))
    assert loss == pytest.approx(float(np.mean(expected)), rel=1e-4)


def _runtime(model: torch.nn.Module) -> Any:
    from luban.runtimes.pytorch import PyTorchRuntime

    return PyTorchRuntime(model)


def test_micro_batches_make_no_difference(tmp_path: Path) -> None:
    gradients = []
    for micro in (4096, 8):
        model, material = material_of(tmp_path / str(micro), judgements(8))
        learner = learner_of(model, material)
        learner.allow(micro)
        learner._backward(range(7))
        gradients.append(model.get_input_embeddings().weight.grad.clone())  # type: ignore[operator]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_loss_and_gradients_are_those_of_trl(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="trl is no part of luban: the loss is held against it where it is installed")
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    model, material = material_of(tmp_path, [*judgements(3), *map(TextGeneration.parse, [PLAIN] * 2)], dpo_beta=0.3)
    loss = learner_of(model, material)._backward(range(4))
    own = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    renamed = [{"prompt" if name == "text" else name: value for name, value in row.items()} for row in material.rows]
    settings = DPOConfig(
        output_dir=str(tmp_path / "trl"), beta=0.3, report_to=[], per_device_train_batch_size=4, use_cpu=True, bf16=False,
        gradient_checkpointing=False, dataloader_pin_memory=False, disable_tqdm=True, max_length=96,
    )  # fmt: skip
    before = AutoModelForCausalLM.from_pretrained(material.base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(material.base)
    trainer = DPOTrainer(
        model=model,
        ref_model=before,
        args=settings,
        train_dataset=Dataset.from_list(renamed),
        processing_class=tokenizer,
    )
    theirs = trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))
    theirs.backward()
    assert loss == pytest.approx(float(theirs.detach()), rel=1e-5)
    for name, one in model.named_parameters():
        torch.testing.assert_close(own[name], one.grad, atol=1e-5, rtol=1e-3)


def test_what_was_asked_of_the_reference_is_asked_once_a_run(tmp_path: Path) -> None:
    model, material = material_of(tmp_path, judgements(6))
    same, other = (referred(model, material, tmp_path / "work", key=key, bf16=False) for key in ("here", "there"))
    assert material.reference is not None
    assert same.reference is not None
    assert other.reference is not None
    np.testing.assert_array_equal(same.reference, material.reference)
    assert np.abs(other.reference - material.reference).max() > 1e-3
    (tmp_path / "work" / "reference.npz").write_bytes(b"PK damaged")
    again = referred(model, material, tmp_path / "work", key="there", bf16=False)
    np.testing.assert_array_equal(again.reference, other.reference)  # type: ignore[arg-type]
