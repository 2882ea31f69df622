"""Rows in one window do not read each other, and teach what they teach apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luban import bases
from luban.errors import ConfigError
from luban.packing import filled
from luban.predict import Predictor
from luban.stages.train import train
from luban.stages.train.material import Material, encode
from luban.stages.train.model import build
from luban.stages.train.packed import check, joined, loss_of
from luban.tiny import tiny_writer
from tests.train.rows import base, config, prepared


def built(tmp_path: Path, kind: str) -> tuple[torch.nn.Module, Material]:
    start = bases.find(str(tiny_writer(tmp_path / "base", kind=kind)))
    material = encode(prepared("text-generation", times=1), start, config())
    return build(material.base, material.task, dropout=0.0).eval(), material


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_each_row_of_a_pack_has_the_loss_it_has_alone(kind: str, tmp_path: Path) -> None:
    model, material = built(tmp_path, kind)
    alone = [loss_of(model, material, [example]) for example in material.examples]
    for i, own in enumerate(alone):
        others = [example for j, example in enumerate(material.examples) if j != i]
        rest = sum(loss for j, loss in enumerate(alone) if j != i)
        whole = loss_of(model, material, [joined([*others, material.examples[i]])])
        assert whole - rest == pytest.approx(own, rel=1e-4)
    two = [joined(material.examples[:1]), joined(material.examples[1:])]  # packs of different lengths are padded
    assert loss_of(model, material, two) == pytest.approx(sum(alone), rel=1e-5)


def test_another_row_moves_no_logit_of_a_row(tmp_path: Path) -> None:
    model, material = built(tmp_path, "llama")
    first, second = material.examples[:2]
    pack = joined([first, second]).window
    arrays = {name: torch.from_numpy(array) for name, array in pack.batched([pack], 0).items()}
    with torch.no_grad():
        before = model(**arrays).logits[0, len(first.window.ids) :]
        arrays["input_ids"][0, : len(first.window.ids)] = 7
        after = model(**arrays).logits[0, len(first.window.ids) :]
    torch.testing.assert_close(before, after)


def test_a_model_that_heeds_no_mask_is_refused(tmp_path: Path) -> None:
    model, material = built(tmp_path, "llama")
    plain = model.forward

    def careless(input_ids: torch.Tensor, attention_mask: object = None, position_ids: object = None) -> object:
        return plain(input_ids=input_ids, attention_mask=None)

    model.forward = careless  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="reads across the rows"):
        check(model, material, material.examples[:3])


def test_packed_training_ends_in_a_folder_that_writes(tmp_path: Path) -> None:
    start = base(tmp_path, "text-generation")
    folder = train(prepared("text-generation"), start, config(packing=True, epochs=1), tmp_path / "model")
    assert Predictor.open(folder, threads=1).predict(["hello, "])[0].text is not None


def test_packing_is_refused_where_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="packing is on"):
        train(prepared(), base(tmp_path), config(packing=True), tmp_path / "model")


@given(st.lists(st.integers(1, 20), max_size=30))
def test_every_row_stands_in_one_pack_that_has_room_for_it(lengths: list[int]) -> None:
    packs = filled(lengths, 20)
    assert sorted(i for pack in packs for i in pack) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in pack) <= 20 for pack in packs)
