"""Text is written sub-word by sub-word: greedily, by beams, by chance, in whole characters, up to a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luban.decoding import Decoding, chosen, nucleus
from luban.errors import ConfigError, DataError
from luban.generation import Answer, Reader, answer_all, pieces, search
from luban.runtimes.pytorch import PyTorchRuntime, open_model
from luban.testing import tiny_folder
from luban.tiny import byte_tokenizer, tiny_writer

ENDS = frozenset({2})
TOKENIZER = byte_tokenizer()


def ids_of(text: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(TOKENIZER.encode(text).ids, dtype=np.int64)


def begun(**options: Any) -> Answer:
    decoding = Decoding().given({"max_new_tokens": 12, **options})
    return Answer(Reader(TOKENIZER, decoding.stop), decoding, ENDS, decoding.max_new_tokens)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PyTorchRuntime:
    return PyTorchRuntime(open_model(tiny_writer(tmp_path_factory.mktemp("base"), kind=request.param)).eval())


def by_transformers(runtime: PyTorchRuntime, prompt: str, **options: Any) -> list[int]:
    ids = torch.from_numpy(ids_of(prompt))[None]
    mask = torch.ones_like(ids)
    out = runtime.model.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False, **options)  # type: ignore[operator]
    return [token for token in out[0, ids.shape[1] :].tolist() if token not in (0, 2)]


@pytest.mark.parametrize("prompt", ["hello", "where is my order?", "你好"])
def test_greedy_writes_what_transformers_writes(runtime: PyTorchRuntime, prompt: str) -> None:
    answer = begun()
    answer_all(runtime.decoder, [(ids_of(prompt), answer)], 8)
    assert answer.reader.ids == by_transformers(runtime, prompt)


@pytest.mark.parametrize("beams", [2, 4])
def test_beams_find_what_transformers_finds(runtime: PyTorchRuntime, beams: int) -> None:
    answer = begun(beams=beams)
    search(runtime.decoder(), ids_of("where is my order?"), answer)
    assert answer.reader.ids == by_transformers(runtime, "where is my order?", num_beams=beams)


def test_more_beams_find_nothing_less_probable(runtime: PyTorchRuntime) -> None:
    one, many = begun(), begun(beams=8)
    answer_all(runtime.decoder, [(ids_of("hello"), one), (ids_of("hello"), many)], 8)
    assert many.score >= one.score - 1e-6


def test_what_is_written_is_judged_by_the_same_probabilities(runtime: PyTorchRuntime) -> None:
    """The model reads whole texts and goes on from them alike: GPT-2 would read segments as words."""
    from luban.decoding import log_softmax
    from luban.encoding import collate
    from luban.packing import Line

    answer = begun()
    answer_all(runtime.decoder, [(ids_of("hello"), answer)], 8)
    whole = np.concatenate([ids_of("hello"), answer.reader.ids])
    sure = log_softmax(runtime.run(collate([Line(whole, whole * 0, ())], 0))[0])
    places = np.arange(len(whole) - answer.taken, len(whole))
    assert answer.cut
    assert sure[places - 1, whole[places]].sum() == pytest.approx(answer.log_probability, rel=1e-4)


def test_company_changes_no_answer(runtime: PyTorchRuntime) -> None:
    warm = {"temperature": 1.0}
    prompts = ["hello bob", "hello alex", "hi"]
    together, alone = [begun(**warm) for _ in prompts], [begun(**warm) for _ in prompts]
    answer_all(runtime.decoder, [(ids_of(p), a) for p, a in zip(prompts, together, strict=True)], 8)
    for prompt, answer in zip(prompts, alone, strict=True):
        answer_all(runtime.decoder, [(ids_of(prompt), answer)], 1)
    assert [answer.reader.ids for answer in together] == [answer.reader.ids for answer in alone]


def test_a_seed_draws_the_same_answer_again_and_another_seed_another(runtime: PyTorchRuntime) -> None:
    drawn = []
    for seed in (1, 1, 2):
        answer = begun(temperature=2.0, seed=seed)
        answer_all(runtime.decoder, [(ids_of("hello"), answer)], 8)
        drawn.append(answer.reader.ids)
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_limit_cuts_and_an_end_does_not() -> None:
    cut, ended = begun(max_new_tokens=2), begun()
    for token in ids_of("abc")[1:3].tolist():
        cut.take(token, -1.0)
    ended.take(2, -0.5)
    assert (cut.done, cut.cut, cut.reader.text) == (True, True, "ab")
    assert (ended.done, ended.cut, ended.reader.text) == (True, False, "")
    assert cut.score == pytest.approx(np.exp(-1.0))


@given(st.text(), st.integers(0, 3))
def test_pieces_are_whole_characters_and_make_up_the_text(text: str, extra: int) -> None:
    reader, out = Reader(TOKENIZER), []
    for token in ids_of(text)[1:].tolist():
        reader.push(token)
        out.append(reader.piece())
        assert "\ufffd" not in out[-1] or "\ufffd" in text
    reader.finish()
    assert "".join(out) + reader.piece(last=True) == text


def test_half_a_character_at_the_end_is_shown_as_what_it_is() -> None:
    reader = Reader(TOKENIZER)
    for token in ids_of("好")[1:3].tolist():
        reader.push(token)
    assert reader.piece() == ""
    reader.finish()
    assert set(reader.piece(last=True)) == {"\ufffd"}


def test_a_stop_text_ends_the_answer_and_no_part_of_it_is_ever_shown() -> None:
    reader, shown = Reader(TOKENIZER, ("END", "。。")), ""
    for token in ids_of("an ENemy。 END of it")[1:].tolist():
        if not reader.stopped:
            reader.push(token)
            shown += reader.piece()
            assert not shown.endswith(("E", "。"))
    assert shown + reader.piece(last=True) == "an ENemy。 "


def test_streaming_gives_the_answer_in_pieces(runtime: PyTorchRuntime) -> None:
    whole, streamed = begun(), begun()
    answer_all(runtime.decoder, [(ids_of("hello"), whole)], 8)
    assert "".join(pieces(runtime.decoder, ids_of("hello"), streamed)) == whole.reader.text


def test_a_nucleus_holds_the_fewest_sub_words_with_the_share() -> None:
    logits = np.log(np.array([0.1, 0.5, 0.3, 0.1], dtype=np.float32))
    assert nucleus(logits, Decoding(temperature=1.0, top_p=0.79))[0].tolist() == [1, 2]
    assert nucleus(logits, Decoding(temperature=1.0, top_p=0.81))[0].tolist() == [1, 2, 0]
    assert nucleus(logits, Decoding(temperature=1.0, top_k=1))[0].tolist() == [1]


def test_draws_follow_the_probabilities() -> None:
    logits, chance = np.log(np.array([0.2, 0.8], dtype=np.float32)), np.random.default_rng(1)
    drawn = [chosen(logits, Decoding(temperature=1.0), chance) for _ in range(2000)]
    assert np.mean(drawn) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    "options", [{"beams": 0}, {"temperature": -1}, {"top_p": 0}, {"max_new_tokens": 1.5}, {"stop": [""]}, {"seed": "x"}]
)
def test_an_option_that_cannot_be_is_refused_by_its_name(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=next(iter(options))):
        Decoding().given(options)


def test_beams_and_chance_do_not_go_together() -> None:
    with pytest.raises(DataError, match="beams is 2 and temperature"):
        Decoding().given({"beams": 2, "temperature": 0.7})


def test_a_classifier_is_not_asked_to_write(tmp_path: Path) -> None:
    from luban.predict import Predictor

    predictor = Predictor.open(tiny_folder(tmp_path / "model"), threads=1)
    with pytest.raises(ConfigError, match="has its answer at once"):
        next(predictor.pieces("hello"))
