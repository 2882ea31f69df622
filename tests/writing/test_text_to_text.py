"""An encoder reads a text, a decoder writes another: what is learnt, what is written, and what is refused."""

from __future__ import annotations

import json
import math
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luban import bases
from luban.config import PrepareConfig
from luban.encoding import Encoded, TextEncoder
from luban.errors import ConfigError, DataError
from luban.generation import Reader
from luban.predict import Predictor
from luban.records import Lost
from luban.stages.prepare import prepare
from luban.stages.train import train
from luban.stages.train.material import Material, encode
from luban.tasks.base import Task
from luban.tasks.text_to_text import TextToText
from luban.testing import SAMPLES, TaskContract
from luban.tiny import byte_tokenizer, tiny_base, tiny_sight, tiny_tokenizer, tiny_translator, tiny_writer
from luban.training import TaskLoss
from luban.written import Crossing
from tests.train.rows import config, plain_learner, prepared

ROWS = SAMPLES["text-to-text"]
SETTINGS = {"begin": [0], "ends": [2], "longest": 192, "vocabulary": 259}
DATA = Path("/work/shared/data")
KINDS = ("t5", "bart", "mbart", "warm")


def encoder(limit: int = 192) -> TextEncoder:
    return TextEncoder(byte_tokenizer("$A </s>"), limit=limit)


def crossing(**settings: Any) -> TextToText:
    return TextToText(settings={**SETTINGS, **settings})


def base_of(kind: str, path: Path) -> bases.Base:
    return bases.find(str(tiny_base(path) if kind == "warm" else tiny_translator(path, kind=kind)))


class TestContract(TaskContract):
    task = TextToText
    rows = ROWS

    def encoder(self, limit: int = 192) -> TextEncoder:
        return encoder(limit)

    def fitted(self) -> tuple[Task, list[dict[str, Any]]]:
        return crossing(), super().fitted()[1]

    def perfect_outputs(self, task: Task, row: dict[str, Any], encoded: Encoded) -> list[Any]:
        return [np.eye(task.outputs, dtype=np.float32)[task.targets(row, encoded)[0]] * 20.0]

    def test_no_window_is_longer_than_the_limit_and_each_has_a_target(self) -> None:
        """Each of the two texts has a limit of its own."""
        task = crossing(longest=8)
        for row in self.rows:
            (window,) = task.encode(row, encoder(8)).windows
            assert len(window.ids) <= 8
            assert window.answers <= 8

    def test_perfect_logits_score_perfectly(self) -> None:
        task, rows = self.fitted()
        encoded = [task.encode(row, self.encoder()) for row in rows]
        outputs = [self.perfect_outputs(task, row, one) for row, one in zip(rows, encoded, strict=True)]
        answers = [task.decode(one, out) for one, out in zip(encoded, outputs, strict=True)]
        assert task.score(rows, answers)["perplexity"] == pytest.approx(1.0, abs=1e-4)


def test_the_decoder_is_fed_the_target_one_step_late_and_learns_its_end() -> None:
    window = crossing(begin=[2, 1]).encode({"text": "hi", "target": "ab"}, encoder()).windows[0]
    assert isinstance(window, Crossing)
    a, b = byte_tokenizer().encode("ab", add_special_tokens=False).ids
    assert window.fed.tolist() == [2, 1, a, b]
    assert crossing().targets({}, Encoded((window,), "", 0))[0].tolist() == [-100, a, b, 2]


def test_a_text_that_is_too_long_is_cut_at_its_end_and_a_target_without_its_end() -> None:
    encoded = crossing(longest=4).encode({"text": "abcdefgh", "target": "xyzxyz"}, encoder(5))
    window = encoded.windows[0]
    tokenizer = byte_tokenizer()
    assert encoded.truncated
    assert tokenizer.decode(window.ids.tolist(), skip_special_tokens=False) == "abcd</s>"
    assert tokenizer.decode(window.written.tolist(), skip_special_tokens=False) == "xyz"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("row", "words"),
    [({"text": "hi", "target": " "}, "the text is empty"), ({"text": "", "target": "a"}, "the text is empty"),
     ({"text": "hi"}, "None is no text")],
)  # fmt: skip
def test_a_row_that_teaches_nothing_is_refused(row: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        TextToText.parse(row)


def test_rows_with_an_empty_target_are_counted_and_told(tmp_path: Path) -> None:
    rows = [{"document": f"text {i}", "summary": "" if i == 3 else f"t{i}"} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    found = prepare(PrepareConfig(source=str(tmp_path / "rows.jsonl"), strict=False), TextToText)
    assert len(found.train) + len(found.valid) == 9
    assert [(reject.row, reject.column) for reject in found.rejects] == [(4, "summary")]


@pytest.mark.parametrize(
    "names",
    [("document", "summary"), ("source", "target"), ("dialogue", "summary"), ("原文", "译文"), ("原文", "摘要")],
)
def test_a_file_is_recognised_by_its_columns(names: tuple[str, str], tmp_path: Path) -> None:
    rows = [dict(zip(names, (f"a long text {i}", f"s {i}"), strict=True)) for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf8")
    found = prepare(PrepareConfig(source=str(tmp_path / "rows.jsonl")), TextToText)
    assert (found.columns["text"], found.columns["target"]) == names


@pytest.mark.skipif(not DATA.is_dir(), reason="the public data are not here")
@pytest.mark.parametrize(
    ("file", "count", "text", "target"),
    [
        ("sum-en-dialogsum/dialogsum.dev.jsonl", 500, "#Person1#: Hello, how", "#Person2# has trouble breathing."),
        ("sum-en-dialogsum/dialogsum.test.jsonl", 500, "#Person1#: Ms. Dawson", "Ms. Dawson helps #Person1#"),
        ("sum-zh-csl/ts/dev.tsv", 1000, "采用修正的Rodrigues参数", "一种基于平方和优化的飞行器"),
        ("mt-en-zh-tatoeba/cmn.txt", 20133, "Hi.", "嗨。"),
    ],
)
def test_public_files_prepare_as_they_stand(file: str, count: int, text: str, target: str) -> None:
    found = prepare(PrepareConfig(source=str(DATA / file)), TextToText)
    rows = [*found.train, *found.valid]
    assert len(rows) == count
    assert any(row["text"].startswith(text) and row["target"].startswith(target) for row in rows)


def test_a_base_that_cannot_rewrite_is_refused_with_what_can(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither an encoder with a decoder"):
        train(prepared("text-to-text"), bases.find(str(tiny_writer(tmp_path / "base"))), config(), tmp_path / "model")


def test_a_method_that_leaves_a_fresh_decoder_as_it_is_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lora would leave a fresh one as it is") as caught:
        train(prepared("text-to-text"), base_of("warm", tmp_path / "base"), config(method="lora"), tmp_path / "model")
    assert "--method full or freeze" in caught.value.remedy


def test_a_search_leaves_out_what_a_fresh_decoder_cannot_take(tmp_path: Path) -> None:
    from luban.stages.train.run import check_method

    base = base_of("warm", tmp_path / "base")
    check_method(config(method="freeze"), "text-to-text", base.path)
    with pytest.raises(ConfigError, match="lora would leave a fresh one as it is"):
        check_method(config(method="lora"), "text-to-text", base.path)


def test_a_base_that_does_not_say_how_it_begins_is_refused(tmp_path: Path) -> None:
    base = base_of("mbart", tmp_path / "base")
    for name in ("config.json", "generation_config.json"):
        told = json.loads((base.path / name).read_text(encoding="utf8"))
        told.pop("decoder_start_token_id", None)
        (base.path / name).write_text(json.dumps(told), encoding="utf8")
    with pytest.raises(ConfigError, match="does not say with what its answers begin"):
        train(prepared("text-to-text"), base, config(), tmp_path / "model")


def test_texts_are_not_packed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="text-to-text does not go on from texts"):
        train(prepared("text-to-text"), base_of("t5", tmp_path / "base"), config(packing=True), tmp_path / "model")


def test_more_layers_than_the_base_has_cannot_be_copied(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="decoder_layers is 3"):
        train(
            prepared("text-to-text"), base_of("warm", tmp_path / "base"), config(decoder_layers=3), tmp_path / "model"
        )


def test_no_space_is_written_between_ideographs() -> None:
    reader = Reader(tiny_tokenizer())
    for token in tiny_tokenizer().encode("hello 我的快递。 love", add_special_tokens=False).ids:
        reader.push(token)
    assert reader.piece(last=True) == "hello 我的快递。 love"


def material_of(kind: str, place: Path) -> tuple[torch.nn.Module, Material]:
    from luban.stages.train.origin import origin_of

    data, base = prepared("text-to-text", times=2), base_of(kind, place)
    material = encode(data, base, config())
    return origin_of(data, base, config(dropout=0)).model(material), material


@pytest.mark.parametrize("kind", ["t5", "warm"])
def test_the_loss_is_the_mean_over_targets_whatever_the_micro_batches(kind: str, tmp_path: Path) -> None:
    from luban.stages.train.material import live
    from luban.stages.train.recipe import schedule

    gradients, losses = [], []
    for micro in (4096, 8):
        model, material = material_of(kind, tmp_path / str(micro))
        learner = plain_learner(model, material, schedule(config(), material.task, len(material.examples)))
        learner.allow(micro)
        losses.append(learner._backward(range(len(material.examples))))
        gradients.append(model.get_input_embeddings().weight.grad.clone())  # type: ignore[operator]
    told = live(model.eval(), material.task, material.encoder).answer(material.encoded_valid[:4])
    total, count = (sum(pair) for pair in zip(*(one.likelihood for one in told), strict=True))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-3)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] == pytest.approx(-total / count, rel=1e-4)


def test_the_loss_is_that_of_transformers(tmp_path: Path) -> None:
    model, material = material_of("bart", tmp_path / "base")
    learner = plain_learner(model.eval(), material, _plan(material))
    part = learner._part([0])
    ours = TaskLoss(material.task).loss(model, part)
    labels = part.targets.clone()
    theirs = model(
        input_ids=part.inputs["input_ids"], decoder_input_ids=part.inputs["decoder_input_ids"], labels=labels
    )
    assert ours.item() == pytest.approx(theirs.loss.item() * int((labels >= 0).sum()), rel=1e-4)


def _plan(material: Material) -> Any:
    from luban.stages.train.recipe import schedule

    return schedule(config(), material.task, len(material.examples))


@pytest.fixture(scope="module", params=["bart", "warm"])
def taught(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A tiny model that knows its samples by heart."""
    place = tmp_path_factory.mktemp("taught")
    chosen = config(epochs=25, rate=1e-2, batch_rows=4, dropout=0, decoder_layers=int(request.param == "warm"))
    folder = train(prepared("text-to-text", times=2), base_of(request.param, place / "base"), chosen, place / "model")
    return Predictor.open(folder, threads=1)


def known(predictor: Predictor) -> list[dict[str, Any]]:
    """The samples whose target the model's tokenizer can write."""
    tokenizer = predictor.encoder.tokenizer
    return [row for row in ROWS if "[UNK]" not in tokenizer.encode(row["target"]).tokens]


def test_what_was_learnt_by_heart_is_written(taught: Predictor) -> None:
    rows = known(taught)
    for options in ({}, {"beams": 3}):
        answers = taught.predict([{"text": row["text"], **options} for row in rows])
        assert [answer.text for answer in answers] == [row["target"] for row in rows]
    assert all(not answer.cut and answer.as_json().keys() == {"text", "score"} for answer in answers)


def test_pieces_make_up_the_answer(taught: Predictor) -> None:
    found = list(taught.pieces(ROWS[2]["text"]))
    assert "".join(found) == ROWS[2]["target"]
    assert len(found) > 1


def test_a_limit_cuts_and_chance_follows_its_seed(taught: Predictor) -> None:
    row = {"text": ROWS[0]["text"], "max_new_tokens": 2}
    assert taught.predict([row])[0].cut
    drawn = [taught.predict([{**ROWS[0], "temperature": 3.0, "seed": seed}])[0].text for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_company_changes_no_answer(taught: Predictor) -> None:
    rows = [{"text": text} for text in ("hello, bob", "hello, rob", "hi", "where is my order?")]
    together, alone = taught.predict(rows), [taught.predict([row])[0] for row in rows]
    assert [answer.text for answer in together] == [answer.text for answer in alone]


def test_scores_of_known_answers_are_told(taught: Predictor) -> None:
    rows = known(taught)
    scores = taught.task.score(rows, taught.predict(rows))
    assert scores["exact_match"] == scores["rouge_1"] == scores["rouge_l"] == scores["chrf"] == pytest.approx(1.0)
    assert scores["perplexity"] == pytest.approx(math.exp(-scores["log_likelihood"]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_what_transformers_writes(kind: str, tmp_path: Path) -> None:
    from luban.generation import answer_all, begun
    from luban.stages.train.material import live

    model, material = material_of(kind, tmp_path / "base")
    predictor, begin = live(model.eval(), material.task, material.encoder), material.task.settings["begin"]
    for options in ({}, {"num_beams": 3}):
        row = {"text": "where is bob", "max_new_tokens": 10, "beams": options.get("num_beams", 1)}
        encoded = predictor.task.encode(row, predictor.encoder)
        ids = torch.from_numpy(encoded.windows[0].ids)[None]
        out = model.generate(  # type: ignore[operator]
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False, pad_token_id=0, **options,
            decoder_input_ids=torch.tensor([begin]), eos_token_id=sorted(predictor.task.ends),
        )  # fmt: skip
        prompt, answer = begun(predictor.encoder.tokenizer, encoded, predictor.task.ends)
        answer_all(predictor._decoder, [(prompt, answer)], 1)
        written = out[0, len(begin) :].tolist()
        told = list(takewhile(lambda token: token not in predictor.task.ends, written))
        assert answer.reader.ids[: len(told)] == told  # transformers counts what the decoder was fed as new
        assert told


def test_the_folder_loads_in_plain_transformers_which_writes_the_same(taught: Predictor) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = taught.runtime.model.config.name_or_path  # type: ignore[attr-defined]
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    asked = tokenizer(ROWS[0]["text"], return_tensors="pt")
    out = model.generate(asked.input_ids, attention_mask=asked.attention_mask, max_new_tokens=16, do_sample=False)
    assert tokenizer.decode(out[0], skip_special_tokens=True).replace("[SEP]", "").split()[-1] == "late."


def test_pictures_are_no_base_for_texts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="resnet"):
        crossing().for_run(config(), bases.find(str(tiny_sight(tmp_path / "sight"))))


def test_what_is_not_learnt_whole_is_counted_and_told(tmp_path: Path) -> None:
    events: list[object] = []
    chosen = config(epochs=1, target_length=4, max_length=8)
    folder = train(
        prepared("text-to-text", times=1), base_of("warm", tmp_path / "base"), chosen, tmp_path / "model",
        watch=events.append,
    )  # fmt: skip
    assert [event for event in events if isinstance(event, Lost)] == [Lost(4, text=1, target=3, characters=1)]
    assert folder.manifest.notes["lost"] == {"rows": 4, "text": 1, "target": 3, "characters": 1}


def test_the_encoder_is_frozen_and_the_decoder_learns(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    base = base_of("warm", tmp_path / "base")
    folder = train(prepared("text-to-text"), base, config(method="freeze", layers=2, epochs=1), tmp_path / "model")
    before, after = load_file(base.path / "model.safetensors"), load_file(folder.path / "model.safetensors")
    assert all(torch.equal(before[name], after[f"encoder.{name}"]) for name in before)
    assert not torch.equal(
        before["encoder.layer.0.output.dense.weight"], after["decoder.bert.encoder.layer.0.output.dense.weight"]
    )
    with pytest.raises(ConfigError, match="layers is 3"):
        train(prepared("text-to-text"), base, config(method="freeze", layers=3), tmp_path / "other")


@pytest.mark.parametrize(("method", "kind"), [("lora", "t5"), ("ia3", "t5"), ("ia3", "bart")])
def test_what_stands_beside_the_layers_leaves_the_vocabulary_alone(method: str, kind: str, tmp_path: Path) -> None:
    base = base_of(kind, tmp_path / "base")
    folder = train(prepared("text-to-text"), base, config(method=method, epochs=1), tmp_path / "model")
    told = json.loads((folder.path / "adapter" / "adapter_config.json").read_text(encoding="utf8"))
    assert told["target_modules"]
    assert not any("lm_head" in name for name in told["target_modules"])
    assert Predictor.open(folder, threads=1).predict(["hello, bob"])[0].text is not None
