"""What exporting gains: PyTorch, fp32 and int8 ONNX on single texts, interleaved in one run; agreement beside speed.

    python benchmarks/export.py [MODEL] [--part formats sessions] [--data DIR] [--texts FILE] [--threads N] [--quick] [--json]

MODEL is a folder of runtime pytorch (`luban train --out DIR`); the texts are the first column of a CSV below ``--data``.
Without MODEL a random MiniLM-sized model reads made-up texts: its speed is real, its answers are not. Machines that do
other things at the same time scatter: compare ratios, not milliseconds. sessions: one short int8 text a call, a pause between
two, by threads inside the call and by how long these spin; alone, and beside as many busy processes as there are cores. That
part says something only on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import csv
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bench

from luban.cores import cores
from luban.encoding import collate
from luban.folder import Folder
from luban.predict import Predictor
from luban.runtimes.base import Runtime
from luban.runtimes.onnx import OnnxRuntime
from luban.runtimes.pytorch import PyTorchRuntime
from luban.stages.export.agreement import ask, compare, spaced
from luban.stages.export.graph import fuse, trace
from luban.stages.export.quantise import quantise
from luban.stages.export.speed import interleaved

SPINS = (50, 100, 1_000_000)
"microseconds; the last is without a bound"
PAUSE = 0.0015
"seconds between two lone requests"


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        bench.tell(options, measure(options))


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("model", nargs="?", type=Path)
    out.add_argument("--part", nargs="+", choices=["formats", "sessions"], default=["formats"])
    out.add_argument("--texts", default=bench.BANKING["test"], help="CSV below --data; read where a model is given")
    return out


def measure(options: argparse.Namespace) -> list[bench.Line]:
    work, threads, quick = options.scratch, options.threads, options.quick
    folder = Folder.open(options.model) if options.model else random_model(work / "model", layers=1 if quick else 6)
    rows = spaced(texts(options.data / options.texts if options.model else None), 40 if quick else 500)
    fused, small = work / "fused.onnx", work / "int8.onnx"
    trace(folder, work / "traced.onnx")
    fuse(work / "traced.onnx", fused, folder.path / "config.json")
    quantise(fused, small)
    if "formats" not in options.part:
        return list(sessions(folder, rows, small, quick=quick))
    runtimes: dict[str, Runtime] = {
        "PyTorch": PyTorchRuntime.open(folder.path, threads=threads),
        "ONNX traced": OnnxRuntime.load(work / "traced.onnx", threads=threads),
        "ONNX fused": OnnxRuntime.load(fused, threads=threads),
        "ONNX int8": OnnxRuntime.load(small, threads=threads),
    }
    return [
        *speeds(folder, rows, runtimes, quick=quick),
        *agreements(folder, rows, runtimes),
        *batching(folder, rows, runtimes["ONNX int8"], quick=quick),
        size("fused", fused, fused),
        size("int8", small, fused),
        *(sessions(folder, rows, small, quick=quick) if "sessions" in options.part else ()),
    ]


def sessions(folder: Folder, rows: list[Any], graph: Path, *, quick: bool) -> Iterator[bench.Line]:
    """Milliseconds and CPU milliseconds of a lone call, by threads and spinning, against one thread."""
    ways = {"one thread": OnnxRuntime.load(graph, threads=1)}
    ways[f"{cores()} threads that wait"] = OnnxRuntime.load(graph, threads=cores())
    for spin in SPINS:
        ways[f"{cores()} threads that spin for {spin} µs"] = OnnxRuntime.load(graph, threads=cores(), spin=spin)
    encoder = folder.encoder()
    arrays = collate([first_window(encoder, rows[0]["text"], 12)], encoder.pad_id)
    for busy in (0, cores()):
        with neighbours(busy):
            took = lone(ways, arrays, 20 if quick else 300)
        for name, (wall, cpu) in took.items():
            what = f"lone call, {name}, {busy} busy neighbours"
            ratio = round(took["one thread"][0] / wall, 3)
            yield bench.line(what, round(wall, 3), "ms", ratio, "one thread", cpu_ms=round(cpu, 3))


def lone(ways: dict[str, OnnxRuntime], arrays: dict[str, Any], calls: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds and mean CPU milliseconds of a call and the pause after it, the ways in turns."""
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus = dict.fromkeys(ways, 0.0)
    for _ in range(calls):
        for name, runtime in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            runtime.run(arrays)
            walls[name].append(1000 * (time.perf_counter() - wall))
            time.sleep(PAUSE)
            cpus[name] += 1000 * (time.process_time() - cpu)
    return {name: (statistics.median(walls[name]), cpus[name] / calls) for name in ways}


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many other processes that keep a core busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


def speeds(folder: Folder, rows: list[Any], runtimes: dict[str, Runtime], *, quick: bool) -> list[bench.Line]:
    encoder = folder.encoder()
    batches = [collate([encoder.text(row["text"]).windows[0]], encoder.pad_id) for row in spaced(rows, 24)]
    times = interleaved(runtimes, batches, rounds=3 if quick else 9)
    return [bench.line(f"{name}, one text", ms, "ms", times["PyTorch"] / ms, "PyTorch") for name, ms in times.items()]


def agreements(folder: Folder, rows: list[Any], runtimes: dict[str, Runtime]) -> list[bench.Line]:
    said = {n: ask(Predictor(folder.task(), folder.encoder(), r, max_rows=1), rows) for n, r in runtimes.items()}
    out = []
    for name in ("ONNX fused", "ONNX int8"):
        agreement = compare(rows, said["PyTorch"], said[name])
        out.append(bench.line(f"{name}, answers changed", 100 * agreement.flips, "%"))
        out.append(bench.line(f"{name}, largest difference", agreement.difference, "probability"))
    return out


def batching(folder: Folder, rows: list[Any], runtime: Runtime, *, quick: bool) -> list[bench.Line]:
    """Several texts in one call against one at a time, at equal length."""
    encoder = folder.encoder()
    out = []
    for length in (12, 24, 64) if quick else (12, 24, 64, 128):
        words = " ".join(row["text"] for row in rows[:60])
        window = first_window(encoder, words, length)
        one = interleaved({"one": runtime}, [collate([window], encoder.pad_id)] * 8, rounds=5)["one"]
        for count in (4, 8, 16):
            many = interleaved({"many": runtime}, [collate([window] * count, encoder.pad_id)], rounds=5)["many"] / count
            out.append(
                bench.line(f"{count} texts of {length} sub-words", many, "ms a text", one / many, "one at a time")
            )
    return out


def first_window(encoder: Any, text: str, length: int) -> Any:
    from luban.encoding import TextEncoder

    return TextEncoder(encoder.tokenizer, limit=length).text(text).windows[0]


def size(name: str, file: Path, against: Path) -> bench.Line:
    ratio = against.stat().st_size / file.stat().st_size
    return bench.line(
        f"size {name}", file.stat().st_size / 1e6, "MB", ratio, "smaller than fused" if ratio > 1 else "fused"
    )


def texts(file: Path | None) -> list[Any]:
    if file is None:
        draw = random.Random(13)
        return [{"text": " ".join(draw.choice("abcdefghij") for _ in range(draw.randint(5, 30)))} for _ in range(500)]
    with file.open(encoding="utf8", newline="") as stream:
        rows = list(csv.reader(stream))
    return [{"text": row[0]} for row in rows[1:] if row and row[0].strip()]


def random_model(out: Path, *, layers: int) -> Folder:
    """A random model of MiniLM's shape, with six layers, as a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification

    from luban.folder import write
    from luban.manifest import BaseInfo, Manifest

    labels = ("no", "yes")

    def fill(work: Path) -> None:
        shape = {"hidden_size": 384, "num_hidden_layers": layers, "num_attention_heads": 12, "intermediate_size": 1536}
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
