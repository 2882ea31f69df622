"""Tiny real model folders for the tests of export and explain: two random BERT layers and a tokenizer of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luban.encoding import TextEncoder
from luban.folder import Folder, write, write_golden
from luban.manifest import BaseInfo, Manifest
from luban.predict import Predictor, make_golden
from luban.tasks import TASKS

WORDS = [
    "good",
    "bad",
    "room",
    "service",
    "paris",
    "lives",
    "in",
    "the",
    "was",
    "very",
    "not",
    "anna",
    "we",
    "like",
    "un",
]
SIGNS = [*"，。！.,!?'", *"房间很干净差服务态度好坏的我们喜欢"]
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *WORDS,
    *SIGNS,
    *[f"##{c}" for c in "abcdefghiklmnoprstuvy"],
    *"abcdeprs",
]
LABELS = {
    "text-classification": ("bad", "good", "plain"),
    "multi-label-classification": ("noisy", "clean", "dear"),
    "text-regression": (),
    "text-pair": ("no", "yes"),
    "token-classification": ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"),
    "intent-and-slots": ("O", "B-LOC", "I-LOC", "B-PER", "I-PER", "intent:ask", "intent:tell"),
}
TEXTS = (
    "the room was very good",
    "not good",
    "bad service in paris!",
    "anna lives in paris.",
    "we like the service",
    "房间很干净，服务好。",
    "服务态度很差！",
    "the service was not bad, we like the room",
    "good",
    "anna was in the room",
    "our unseen superb words",
    "paris 房间很好",
)


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(PIECES))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


MANY = tuple(
    " ".join(WORDS[(i * step) % len(WORDS)] for i in range(3 + step % 9)) + "!" * (step % 2) for step in range(1, 161)
)
"enough texts that int8 changes some answers of a random model"


def rows_for(task: str, texts: tuple[str, ...] = TEXTS) -> list[dict[str, Any]]:
    if task == "text-pair":
        return [{"text": text, "text_pair": other} for text, other in zip(texts, texts[::-1], strict=True)]
    return [{"text": text} for text in texts]


def tiny_model(task: str, path: Path, *, limit: int, spread: float = 0.35) -> None:
    """A random model of the task's class, its weights wide enough that words matter, saved as transformers saves it."""
    import torch
    import transformers

    torch.manual_seed(7)
    made = TASKS[task](LABELS[task])
    config = transformers.BertConfig(
        vocab_size=len(dict.fromkeys(PIECES)),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=limit,
        initializer_range=spread,
        num_labels=made.outputs,
        **made.model_config(),
    )
    model = getattr(transformers, _class_of(made.model_class))(config).eval()
    model.save_pretrained(path)
    tokenizer().save(str(path / "tokenizer.json"))


def tiny_folder(
    out: Path, task: str = "text-classification", *, limit: int = 64, golden: bool = True, spread: float = 0.35
) -> Folder:
    """A whole, valid folder of runtime pytorch; the wider the weights' ``spread``, the more int8 changes."""
    from luban.runtimes.pytorch import PyTorchRuntime

    rows = rows_for(task) if golden else []
    manifest = Manifest(
        name="tiny",
        task=task,
        labels=LABELS[task],
        base=BaseInfo(name="random"),
        max_length=limit,
        scores={"test": {"accuracy": 0.5}},
        data={"source": "made"},
    )

    def fill(work: Path) -> None:
        tiny_model(task, work, limit=limit, spread=spread)
        predictor = Predictor(TASKS[task](LABELS[task]), TextEncoder.open(work, limit=limit), PyTorchRuntime.open(work))
        if golden:
            write_golden(work, make_golden(predictor, rows))
        (work / "reports").mkdir()
        (work / "reports" / "evaluation.json").write_text("{}", encoding="utf8")
        (work / "drift.json").write_text("{}", encoding="utf8")

    return write(out, manifest, fill)


def _class_of(name: str) -> str:
    return name.replace("AutoModelFor", "BertFor")
