"""Sub-words, windows and batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luban.encoding import SPECIAL, TextEncoder, _word_windows, batches, collate, position_limit
from luban.errors import FolderError
from luban.testing import tiny_encoder

TEXTS = st.text(alphabet="abc xyz 你好吗，.!?12\n", max_size=300)
ENCODER = tiny_encoder(16)


@given(TEXTS)
def test_every_sub_word_of_a_text_stands_in_some_window(text: str) -> None:
    encoded = ENCODER.text(text)
    whole = set(tiny_encoder().tokenizer.encode(text, add_special_tokens=False).offsets)
    read = {span for window in encoded.windows for span in window.offsets if span != SPECIAL}
    assert read == whole
    assert max(len(window.ids) for window in encoded.windows) <= 16
    assert sum(window.weight for window in encoded.windows) == pytest.approx(1.0)


@given(TEXTS, TEXTS)
def test_a_pair_is_framed_as_the_tokenizer_frames_it(first: str, second: str) -> None:
    wide = tiny_encoder(2000)
    window = wide.pair(first, second).windows[0]
    theirs = wide.tokenizer.encode(first, second)
    assert window.ids.tolist() == theirs.ids
    assert window.types.tolist() == theirs.type_ids


@given(TEXTS)
def test_a_short_text_is_framed_as_the_tokenizer_frames_it(text: str) -> None:
    wide = tiny_encoder(2000)
    assert wide.text(text).windows[0].ids.tolist() == wide.tokenizer.encode(text).ids


@given(TEXTS, TEXTS)
def test_the_windows_of_a_pair_keep_to_the_limit(first: str, second: str) -> None:
    encoded = ENCODER.pair(first, second)
    assert max(len(window.ids) for window in encoded.windows) <= 16
    assert sum(window.weight for window in encoded.windows) == pytest.approx(1.0)


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 9), st.integers(60, 400), st.floats(0, 1))
def test_batches_hold_every_row_once_within_their_bounds(
    lengths: list[int], rows: int, tokens: int, slack: float
) -> None:
    made = batches(lengths, max_rows=rows, max_tokens=tokens, slack=slack)
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    for batch in made:
        longest = lengths[batch[0]]
        assert len(batch) <= rows
        assert len(batch) * longest <= tokens or len(batch) == 1
        assert all(lengths[i] >= longest * (1 - slack) for i in batch)


def test_collating_pads_on_the_right_and_masks_it() -> None:
    short, long = (tiny_encoder().text(text).windows[0] for text in ("a", "a b c"))
    batch = collate([short, long], 7)
    assert batch["input_ids"].shape == (2, 5)
    assert batch["input_ids"][0, 3:].tolist() == [7, 7]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_an_ideograph_is_one_piece_and_a_strange_one_is_unknown() -> None:
    encoder = tiny_encoder()
    assert len(encoder.pieces("北", False)) == 1
    assert encoder.pieces("龘", False) == (encoder.tokenizer.token_to_id("[UNK]"),)


def test_roberta_loses_two_positions() -> None:
    assert position_limit({"max_position_embeddings": 514, "model_type": "roberta"}) == 512
    assert position_limit({"max_position_embeddings": 512, "model_type": "bert"}) == 512


@pytest.mark.parametrize(
    "kind", ["xlm-roberta-xl", "roberta-prelayernorm", "data2vec-text", "xmod", "luke", "ibert", "esm", "lilt"]
)
def test_the_kin_of_roberta_loses_the_padding_offset_too(kind: str) -> None:
    assert position_limit({"max_position_embeddings": 514, "model_type": kind}) == 512


@pytest.mark.parametrize("broken", ["", "{", "{}"])
def test_a_folder_without_a_readable_tokenizer_is_refused(tmp_path: Path, broken: str) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf8")
    (tmp_path / "tokenizer.json").write_text(broken, encoding="utf8")
    with pytest.raises(FolderError, match=r"tokenizer\.json"):
        TextEncoder.open(tmp_path)


def test_windows_of_words_overlap_so_that_each_word_has_company() -> None:
    text = " ".join(["paris"] * 40)
    spans = [(i * 6, i * 6 + 5) for i in range(40)]
    windows = ENCODER.words(text, spans).windows
    lengths = [0 if window.heads is None else len(window.heads) for window in windows]
    assert sum(lengths) == 40
    assert len(windows) > 3
    assert all(np.all(window.heads < len(window.ids)) for window in windows if window.heads is not None)


@given(st.lists(st.integers(1, 12), max_size=12), st.integers(4, 12))
def test_each_word_is_decided_once_in_a_window_that_holds_it(lengths: list[int], room: int) -> None:
    sizes = [min(length, room) for length in lengths]
    decided: list[int] = []
    for begin, end, first, stop in _word_windows(np.array(sizes, dtype=np.int64), room):
        assert begin <= first <= stop <= end
        assert sum(sizes[begin:end]) <= room
        decided += range(first, stop)
    assert decided == list(range(len(sizes)))


def test_words_as_long_as_a_text_are_not_kept_in_memory() -> None:
    encoder = tiny_encoder()
    encoder.words("a" * 1000, [(0, 1000)])
    assert encoder.pieces.cache_info().currsize == 0
