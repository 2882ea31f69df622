"""A base that reads on before it learns: what is hidden of a text, what comes out, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from luban.bases import Base
from luban.config import PrepareConfig
from luban.encoding import IGNORE, TextEncoder
from luban.errors import ConfigError
from luban.records import Prepared, Progress
from luban.stages.prepare import prepare
from luban.stages.train import adapt, train
from luban.stages.train.adapt import Masking, Reader, adapted, check, hidden_part, words_of
from luban.stages.train.methods.adapters import ADAPTER
from luban.tasks import TASKS
from tests.train.rows import base, config, prepared

TEXTS = ["where is my order", "i want my money back", "the food was good", "please cancel this card", "我的订单在哪里"]


def reading(task: str = "text-classification", count: int = 40) -> Prepared:
    texts = [{"text": f"{TEXTS[i % len(TEXTS)]} {TEXTS[i // len(TEXTS) % len(TEXTS)]}"} for i in range(count)]
    notes = {"section": {"adapt": "some/place/notes.txt"}}
    return replace(prepared(task), texts=texts, notes=notes)


def reader(tmp_path: Path, steps: int = 30) -> Reader:
    return Reader(base(tmp_path).path, [str(row["text"]) for row in reading().texts], config(), steps)


def test_the_loss_on_texts_it_has_not_read_falls(tmp_path: Path) -> None:
    found = reader(tmp_path, steps=40).read(lambda event: None)
    assert found["loss"]["after"] < found["loss"]["before"] - 0.1
    assert found["head"] == "fresh"


def test_padding_and_special_tokens_are_never_hidden(tmp_path: Path) -> None:
    one = reader(tmp_path)
    examples = adapt.examples_of(one.learnt)
    special = {one.encoder.tokenizer.token_to_id(token) for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")}
    masking, feed = one.masking(one.learnt), one.feed(examples)
    rng = np.random.default_rng(1)
    rows = list(range(len(examples)))
    assert len({examples[i].window.length for i in rows}) > 1  # some are padded
    for _ in range(20):
        part = hidden_part(feed, masking, rows, rng)
        said = part.targets.numpy()
        assert not special & set(said[said != IGNORE].tolist())
        assert (said[part.inputs["attention_mask"].numpy() == 0] == IGNORE).all()
        assert not special & set(masking.others.tolist())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), lengths=st.lists(st.integers(1, 4), min_size=1, max_size=30))
def test_whole_words_are_hidden_and_about_15_per_cent_of_them(seed: int, lengths: list[int]) -> None:
    ends = np.cumsum(lengths)
    words = [np.arange(end - n, end) for end, n in zip(ends, lengths, strict=True)]
    masking = Masking(999, np.arange(500, 600), [words])
    ids = np.arange(ends[-1])
    said = masking.hide(ids, 0, np.random.default_rng(seed))
    for word in words:
        assert len({bool(told) for told in said[word] != IGNORE}) == 1
    assert 1 <= (said != IGNORE).sum() <= max(1, round(0.15 * ends[-1])) + 3
    assert (said[said != IGNORE] == np.flatnonzero(said != IGNORE)).all()  # the id that stood there
    assert (ids[said == IGNORE] == np.flatnonzero(said == IGNORE)).all()  # nothing else has changed


def test_of_what_is_hidden_most_is_masked_some_changed_and_some_kept() -> None:
    masking = Masking(999, np.arange(500, 600), [[np.array([i]) for i in range(400)]])
    kinds = {"mask": 0, "other": 0, "kept": 0}
    for seed in range(50):
        ids = np.arange(400)
        hidden = masking.hide(ids, 0, np.random.default_rng(seed)) != IGNORE
        kinds["mask"] += int((ids[hidden] == 999).sum())
        kinds["other"] += int(((ids[hidden] >= 500) & (ids[hidden] < 600)).sum())
        kinds["kept"] += int((ids[hidden] < 400).sum())
    shares = {name: count / sum(kinds.values()) for name, count in kinds.items()}
    assert shares == pytest.approx({"mask": 0.8, "other": 0.1, "kept": 0.1}, abs=0.03)


def test_sub_words_of_a_word_belong_together_and_ideographs_stand_alone(tmp_path: Path) -> None:
    encoder = TextEncoder.open(base(tmp_path).path)
    encoded = encoder.text("moneys, 订单")
    spans = [[encoded.windows[0].offsets[i] for i in word] for word in words_of(encoded.windows[0], encoded.text)]
    read = [encoded.text[word[0][0] : word[-1][1]] for word in spans]
    assert read == ["moneys", ",", "订", "单"]
    assert len(spans[0]) > 1


def test_the_base_that_comes_out_has_the_same_form_and_other_weights(tmp_path: Path) -> None:
    before = base(tmp_path)
    after, told = adapted(before, reading(), config(adapt_steps=3), tmp_path / "run", watch=lambda event: None)
    old, new = (load_file(one.path / "model.safetensors") for one in (before, after))
    assert {name: tensor.shape for name, tensor in old.items()} == {name: tensor.shape for name, tensor in new.items()}
    assert any(not np.array_equal(old[name], new[name]) for name in old if "layer.0" in name)
    assert (after.name, after.hash) == (before.name, before.hash)
    assert told["adapted"] | {"loss": None} == {
        "source": "notes.txt", "texts": 40, "steps": 3, "loss": None, "head": "fresh",
    }  # fmt: skip


def test_a_resumed_run_does_not_read_again(tmp_path: Path) -> None:
    seen: list[object] = []
    start, chosen = base(tmp_path), config(adapt_steps=2)
    first = adapted(start, reading(), chosen, tmp_path / "run", watch=seen.append)
    assert len(seen) == 2
    assert adapted(start, reading(), chosen, tmp_path / "run", watch=seen.append) == first
    assert len(seen) == 2


@pytest.mark.parametrize("changed", ["steps", "texts"])
def test_other_texts_or_steps_are_read(changed: str, tmp_path: Path) -> None:
    seen: list[object] = []
    start = base(tmp_path)
    adapted(start, reading(), config(adapt_steps=2), tmp_path / "run", watch=seen.append)
    other = reading(count=30) if changed == "texts" else reading()
    adapted(start, other, config(adapt_steps=3 if changed == "steps" else 2), tmp_path / "run", watch=seen.append)
    assert len(seen) > 2


def test_a_run_reads_then_learns_and_the_folder_tells(tmp_path: Path) -> None:
    seen: list[object] = []
    folder = train(reading(), base(tmp_path), config(adapt_steps=2, epochs=1), tmp_path / "model", watch=seen.append)
    assert [event for event in seen if isinstance(event, Progress)][-1] == Progress("adapting", 2, 2)
    assert folder.manifest.notes["adapted"]["texts"] == 40
    assert "the base read 40 texts of notes.txt" in (folder.path / "README.md").read_text(encoding="utf8")
    assert not (tmp_path / "model.run").exists()


def test_an_adapter_on_a_base_that_has_read_on_is_merged_only(tmp_path: Path) -> None:
    chosen = config(adapt_steps=2, epochs=1, method="lora")
    folder = train(reading(), base(tmp_path), chosen, tmp_path / "model")
    assert not (folder.path / ADAPTER).exists()


@pytest.mark.parametrize(("given", "expected"), [("rows", 6), ("texts.txt", 2), ("more.csv", 2)])
def test_texts_come_from_the_rows_a_file_of_lines_or_a_column(given: str, expected: int, tmp_path: Path) -> None:
    rows = "text,label\n" + "".join(f"row {i},{'ab'[i % 2]}\n" for i in range(8))
    (tmp_path / "rows.csv").write_text(rows, encoding="utf8")
    (tmp_path / "texts.txt").write_text("one text\nanother text\none text\n", encoding="utf8")
    (tmp_path / "more.csv").write_text("text\none text\nanother text\n", encoding="utf8")
    place = given if given == "rows" else str(tmp_path / given)
    values = {"source": str(tmp_path / "rows.csv"), "adapt": place, "valid_share": 0.25}
    found = prepare(PrepareConfig.model_validate(values), TASKS["text-classification"])
    assert len(found.texts) == expected
    if given == "rows":
        held = {row["text"] for row in found.valid}
        assert not held & {row["text"] for row in found.texts}


def test_reading_keeps_to_the_threads_of_the_run(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    seen: set[int] = set()

    def watch(event: object) -> None:
        if isinstance(event, Progress):
            seen.add(torch.get_num_threads())

    try:
        train(
            reading(), base(tmp_path), config(threads=before, adapt_steps=2, epochs=1), tmp_path / "model", watch=watch
        )
    finally:
        torch.set_num_threads(before)
    assert seen == {before}


def refusal(data: Prepared, start: Base, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check(data, config(**options), start.path)
    return str(caught.value)


def test_steps_without_texts_are_refused(tmp_path: Path) -> None:
    assert "there are no texts to read" in refusal(prepared(), base(tmp_path), adapt_steps=5)


def test_too_few_texts_are_refused(tmp_path: Path) -> None:
    assert "There are 3 texts to read" in refusal(reading(count=3), base(tmp_path))


@pytest.mark.parametrize("options", [{"continue_from": "a"}, {"teacher": "a", "student_layers": 1}])
def test_a_run_that_does_not_start_from_a_base_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    assert "adapt goes neither with" in refusal(reading(), base(tmp_path), **options)


@pytest.mark.parametrize("task", ["image-classification", "text-generation"])
def test_a_task_whose_base_guesses_no_words_is_refused(task: str, tmp_path: Path) -> None:
    assert f"adapt does not work for {task}" in refusal(replace(reading(), task=task), base(tmp_path))


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    start = base(tmp_path)
    file = start.path / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf8").replace("[MASK]", "[GONE]"), encoding="utf8")
    assert "has no mask" in refusal(reading(), start)
