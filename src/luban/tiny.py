"""Tiny base models, for tests: a BERT, a Llama or GPT-2, a T5 or BART, a model of pictures; real, only small and untrained.

The sub-words of the model that writes are single bytes: a Chinese character is three of them, and every text can be written.
"""

from __future__ import annotations

import json
import shutil
import string
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

WORDS = """
the a i you my is was not it this that to in of and for on with good bad great awful order refund money back cancel where when
late card lost pay paid hello thanks please want need how what why love hate movie film food city paris london alice bob
""".split()
IDEOGRAPHS = (
    "我你的了不好坏很喜欢讨厌订单退款钱取消哪里什么时候快递迟到卡丢付谢请要怎么电影吃城市"
    "北京上海小明红在到今天人是有没这那个给和大学年月日一二三十"
)
SPECIALS = ("<pad>", "<s>", "</s>")
LONGEST = 192


def byte_tokenizer(single: str = "<s> $A") -> Tokenizer:
    """A tokenizer whose sub-words are the 256 bytes; ``single``: the tokens around a text, by default one before it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*SPECIALS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=f"{single} $B", special_tokens=[(token, vocabulary[token]) for token in SPECIALS]
    )
    return tokenizer


def tiny_writer(path: Path, *, kind: str = "llama", hidden: int = 32, seed: int = 7) -> Path:
    """A base-model folder with a random causal language model of about 30,000 parameters, llama or gpt2; returns ``path``."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    from luban.runtimes.pytorch import quiet

    path.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_tokenizer()
    tokenizer.save(str(path / "tokenizer.json"))
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    told = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names})
    (path / "tokenizer_config.json").write_text(told, encoding="utf8")
    torch.manual_seed(seed)
    common: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    model: Any
    if kind == "llama":
        sizes = {
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        }
        shared = {"num_key_value_heads": 2, "max_position_embeddings": LONGEST, "tie_word_embeddings": True}
        model = LlamaForCausalLM(LlamaConfig(**common, **sizes, **shared))
    else:
        model = GPT2LMHeadModel(GPT2Config(**common, n_embd=hidden, n_layer=2, n_head=2, n_positions=LONGEST))
    # As of the tiny BERT: else every text looks the same to it, and every sub-word as probable as the next.
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(20)
    with quiet():
        model.save_pretrained(path, safe_serialization=True)
    return path


def tiny_translator(path: Path, *, kind: str = "bart", hidden: int = 32, seed: int = 7) -> Path:
    """A base-model folder with a random encoder and decoder of about 50,000 parameters, bart, mbart or t5; returns ``path``."""
    import torch
    import transformers

    from luban.runtimes.pytorch import quiet

    path.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_tokenizer("$A </s>" if kind == "t5" else "<s> $A </s>")
    tokenizer.save(str(path / "tokenizer.json"))
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    told = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names})
    (path / "tokenizer_config.json").write_text(told, encoding="utf8")
    torch.manual_seed(seed)
    ids: dict[str, Any] = {"vocab_size": tokenizer.get_vocab_size(), "pad_token_id": 0, "eos_token_id": 2}
    ids["tie_word_embeddings"] = False  # else an untrained one repeats what it is fed
    sizes = {"layers": 2, "attention_heads": 2, "ffn_dim": 2 * hidden}
    common: dict[str, Any] = {f"{half}_{name}": size for half in ("encoder", "decoder") for name, size in sizes.items()}
    common |= {**ids, "d_model": hidden}
    common |= {
        "max_position_embeddings": LONGEST,
        "bos_token_id": 1,
        "decoder_start_token_id": 2,
        "forced_bos_token_id": None,
    }
    if kind == "t5":
        halves = {"d_model": hidden, "d_kv": 16, "d_ff": 2 * hidden, "num_layers": 2, "num_heads": 2}
        common = {**ids, **halves, "n_positions": LONGEST, "decoder_start_token_id": 0}
    config = transformers.AutoConfig.for_model(kind, **common)
    model: Any = transformers.AutoModelForSeq2SeqLM.from_config(config)
    with torch.no_grad():  # as of the tiny BERT
        for part in (model.get_input_embeddings(), model.lm_head) if kind != "t5" else ():
            part.weight.mul_(20)
    with quiet():
        model.save_pretrained(path, safe_serialization=True)
    return path


def tiny_base(path: Path, *, layers: int = 2, hidden: int = 32, seed: int = 7) -> Path:
    """A base-model folder with a random BERT of about 50,000 parameters that reads English and Chinese; returns ``path``."""
    import torch
    from transformers import BertConfig, BertModel

    from luban.runtimes.pytorch import quiet

    path.mkdir(parents=True, exist_ok=True)
    size = _save_tokenizer(path)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=size, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=2 * hidden,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    model = BertModel(config)
    # Random BERTs say almost the same of every text; larger embeddings make the tiny one tell texts apart.
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.mul_(20)
    with quiet():
        model.save_pretrained(path, safe_serialization=True)
    return path


def tiny_fused(path: Path, *, seed: int = 7) -> Path:
    """A base-model folder that reads texts, and one in its folder ``vision`` that sees pictures; returns ``path``."""
    sight = tiny_sight(path / "vision", seed=seed)
    shutil.copyfile(sight / "preprocessor_config.json", path / "preprocessor_config.json")
    return tiny_base(path, seed=seed)


TINY_SIGHT: dict[str, Any] = {
    "image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2, "do_resize": True,
    "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}  # fmt: skip
"how the tiny models see pictures"


def tiny_sight(path: Path, *, kind: str = "resnet", seed: int = 7) -> Path:
    """A base-model folder with a random model of pictures (32 x 32 pixels): resnet, vit or mobilenet; returns ``path``."""
    import torch
    from transformers import MobileNetV1Config, MobileNetV1Model, ResNetConfig, ResNetModel, ViTConfig, ViTModel

    from luban.runtimes.pytorch import quiet

    torch.manual_seed(seed)
    model: Any
    if kind == "resnet":
        model = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"))
    elif kind == "vit":
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        model = ViTModel(ViTConfig(image_size=32, patch_size=8, **sizes), add_pooling_layer=False)
        with torch.no_grad():  # as of the tiny BERT: else all pictures look the same to it
            model.embeddings.patch_embeddings.projection.weight.mul_(20)
    else:
        model = MobileNetV1Model(MobileNetV1Config(image_size=32, depth_multiplier=0.1, min_depth=4))
    with quiet():
        model.save_pretrained(path, safe_serialization=True)
    told = TINY_SIGHT
    if kind == "resnet":
        cropped = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.875}
        told = {**TINY_SIGHT, **cropped}
    (path / "preprocessor_config.json").write_text(json.dumps(told), encoding="utf8")
    return path


def tiny_tokenizer() -> Tokenizer:
    letters = string.ascii_lowercase + string.digits
    pieces = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation, *"，。！？：；、", *letters,
        *(f"##{c}" for c in letters), *WORDS, *IDEOGRAPHS,
    ]  # fmt: skip
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return tokenizer


def _save_tokenizer(path: Path) -> int:
    """Tokenizer files of the tiny base; returns the size of the vocabulary."""
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(path / "tokenizer.json"))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    config = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names})
    (path / "tokenizer_config.json").write_text(config, encoding="utf8")
    return int(tokenizer.get_vocab_size())
