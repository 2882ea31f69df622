"""What exporting gains: PyTorch, fp32 and int8 ONNX on single texts, interleaved in one run; agreement beside speed.

    python benchmarks/export.py [MODEL] [--data FILE_OR_DIR] [--quick] [--json]

MODEL is a folder of runtime pytorch (`luban train --out DIR`). ``--data`` is a CSV, or a folder with a test.csv, whose
first column is the text. Without MODEL a random MiniLM-sized model reads made-up texts: its speed is real, its answers
are not. Small machines that do other things at the same time scatter: compare ratios, not milliseconds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import tempfile
from pathlib import Path
from typing import Any

from luban.encoding import collate
from luban.folder import Folder
from luban.predict import Predictor
from luban.runtimes.base import Runtime
from luban.runtimes.onnx import OnnxRuntime
from luban.runtimes.pytorch import PyTorchRuntime
from luban.stages.export.agreement import ask, compare, spaced
from luban.stages.export.graph import fuse, trace
from luban.stages.export.quantise import features, quantise
from luban.stages.export.speed import interleaved

Found = dict[str, Any]


def main() -> None:
    asked = options()
    with tempfile.TemporaryDirectory() as work:
        rows = measure(asked, Path(work))
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "int8": features(),
               "load": os.getloadavg()[0], "threads": asked.threads}  # fmt: skip
    if asked.json:
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    print(machine)
    for row in rows:
        against = f"  {row['ratio']:.2f} x {row['against']}" if row["ratio"] else ""
        print(f"{row['what']:36s}{row['value']:10.3f} {row['unit']}{against}")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def measure(asked: argparse.Namespace, work: Path) -> list[Found]:
    folder = Folder.open(asked.model) if asked.model else random_model(work / "model")
    rows = spaced(texts(asked.data), 60 if asked.quick else 500)
    fused, small = work / "fused.onnx", work / "int8.onnx"
    trace(folder, work / "traced.onnx")
    fuse(work / "traced.onnx", fused, folder.path / "config.json")
    quantise(fused, small)
    runtimes: dict[str, Runtime] = {
        "PyTorch": PyTorchRuntime.open(folder.path, threads=asked.threads),
        "ONNX traced": OnnxRuntime.load(work / "traced.onnx", threads=asked.threads),
        "ONNX fused": OnnxRuntime.load(fused, threads=asked.threads),
        "ONNX int8": OnnxRuntime.load(small, threads=asked.threads),
    }
    return [
        *speeds(folder, rows, runtimes, quick=asked.quick),
        *agreements(folder, rows, runtimes),
        *batching(folder, rows, runtimes["ONNX int8"], quick=asked.quick),
        size("fused", fused, fused),
        size("int8", small, fused),
    ]


def speeds(folder: Folder, rows: list[Any], runtimes: dict[str, Runtime], *, quick: bool) -> list[Found]:
    encoder = folder.encoder()
    batches = [collate([encoder.text(row["text"]).windows[0]], encoder.pad_id) for row in spaced(rows, 24)]
    times = interleaved(runtimes, batches, rounds=3 if quick else 9)
    return [found(f"{name}, one text", ms, "ms", times["PyTorch"] / ms, "PyTorch") for name, ms in times.items()]


def agreements(folder: Folder, rows: list[Any], runtimes: dict[str, Runtime]) -> list[Found]:
    said = {n: ask(Predictor(folder.task(), folder.encoder(), r, max_rows=1), rows) for n, r in runtimes.items()}
    out = []
    for name in ("ONNX fused", "ONNX int8"):
        agreement = compare(rows, said["PyTorch"], said[name])
        out.append(found(f"{name}, answers changed", 100 * agreement.flips, "%"))
        out.append(found(f"{name}, largest difference", agreement.difference, "probability"))
    return out


def batching(folder: Folder, rows: list[Any], runtime: Runtime, *, quick: bool) -> list[Found]:
    """Several texts in one call against one at a time, at equal length."""
    encoder = folder.encoder()
    out = []
    for length in (12, 24, 64) if quick else (12, 24, 64, 128):
        words = " ".join(row["text"] for row in rows[:60])
        window = first_window(encoder, words, length)
        one = interleaved({"one": runtime}, [collate([window], encoder.pad_id)] * 8, rounds=5)["one"]
        for count in (4, 8, 16):
            many = interleaved({"many": runtime}, [collate([window] * count, encoder.pad_id)], rounds=5)["many"] / count
            out.append(found(f"{count} texts of {length} sub-words", many, "ms a text", one / many, "one at a time"))
    return out


def first_window(encoder: Any, text: str, length: int) -> Any:
    from luban.encoding import TextEncoder

    return TextEncoder(encoder.tokenizer, limit=length).text(text).windows[0]


def size(name: str, file: Path, against: Path) -> Found:
    ratio = against.stat().st_size / file.stat().st_size
    return found(f"size {name}", file.stat().st_size / 1e6, "MB", ratio, "smaller than fused" if ratio > 1 else "fused")


def found(what: str, value: float, unit: str, ratio: float | None = None, against: str | None = None) -> Found:
    return {"what": what, "value": value, "unit": unit, "ratio": ratio, "against": against}


def texts(source: Path | None) -> list[Any]:
    if source is None:
        draw = random.Random(13)
        return [{"text": " ".join(draw.choice("abcdefghij") for _ in range(draw.randint(5, 30)))} for _ in range(500)]
    file = source / "test.csv" if source.is_dir() else source
    with file.open(encoding="utf8", newline="") as stream:
        rows = list(csv.reader(stream))
    return [{"text": row[0]} for row in rows[1:] if row and row[0].strip()]


def random_model(out: Path) -> Folder:
    """A random model of MiniLM's shape as a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification

    from luban.folder import write
    from luban.manifest import BaseInfo, Manifest

    labels = ("no", "yes")

    def fill(work: Path) -> None:
        shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
        config = BertConfig(id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)}, **shape)
        BertForSequenceClassification(config).save_pretrained(work)
        pieces = {piece: i for i, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij"])}
        tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        tokenizer.save(str(work / "tokenizer.json"))

    manifest = Manifest(name="random", task="text-classification", labels=labels, base=BaseInfo(name="random"))
    return write(out, manifest, fill)


if __name__ == "__main__":
    main()
