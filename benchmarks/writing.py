"""A model that writes, before and after fine-tuning: perplexity and chrF on held-out answers, sub-words a second by runtime.

    python benchmarks/writing.py [--base stories260K-llama] [--rows FILE.jsonl] [--models DIR] [--quick] [--json]

Without --rows they are made: who has which thing, told in two turns. The base is a folder with a causal language model.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bench

from luban import verbs
from luban.bases import Base
from luban.folder import Folder
from luban.predict import Predictor
from luban.stages.train.material import live
from luban.stages.train.model import build

NAMES = "Tom Lily Ben Anna Sam Mia Max Sue Tim Amy".split()
THINGS = "ball cat dog hat cake car book bird".split()
PLACES = "park house garden tree box bed".split()


def made(path: Path, count: int) -> Path:
    """Rows of two turns, each answer told by its question alone."""
    chance = random.Random(13)
    every = [(n, t, p) for n in NAMES for t in THINGS for p in PLACES]
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{n} has a {t} in the {p}. Who has it?"},
                {"role": "assistant", "content": f"{n} has the {t}."},
                {"role": "user", "content": "Where is it?"},
                {"role": "assistant", "content": f"The {t} is in the {p}."},
            ]
        }
        for n, t, p in chance.sample(every, count)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf8")
    return path


def speed(predictor: Predictor, rows: list[Any], count: int) -> float:
    """Sub-words a second of one answer after the other, greedily."""
    predictor.predict([{**rows[0], "max_new_tokens": 4}])
    began, written = time.perf_counter(), 0
    for row in rows:
        answer = predictor.predict([{**row, "max_new_tokens": count}])[0]
        written += len(predictor.encoder.tokenizer.encode(answer.text or "", add_special_tokens=False).ids) + 1
    return written / (time.perf_counter() - began)


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--base", default="stories260K-llama")
    out.add_argument("--rows", type=Path, help="a file with rows of text-generation")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        source = options.rows or made(options.scratch / "rows.jsonl", 40 if options.quick else 400)
        rows = bench.rows(options, "text-generation", {"source": str(source)}, test_share=0.2)
        settings = {"epochs": 4, "rate": 2e-3, "threads": options.threads, "batch_rows": 8, "max_length": 256}
        folder = bench.learnt(options, rows, options.scratch / "model", **settings)
        base = bench.base(options, task="text-generation")
        test = [dict(row) for row in rows.test]
        bench.tell(options, told(folder, base, test[:4] if options.quick else test, options))


def told(folder: Folder, base: Base, test: list[Any], options: argparse.Namespace) -> list[bench.Line]:
    """The lines of the report."""
    exported = verbs.export(folder, out=options.scratch / "onnx", quantise="none", threads=options.threads)
    after, onnx = (verbs.load(each, threads=options.threads) for each in (folder, exported))
    task = folder.task()
    before = live(build(base.path, task, dropout=0.0).eval(), task, folder.encoder())
    count = 4 if options.quick else 32
    rows = [{**row, "max_new_tokens": count} for row in test]
    scores = [task.score(test, one.predict(rows)) for one in (before, after, onnx)]
    out = [
        bench.line(
            f"{name}, {len(test)} held-out rows", round(scores[1][name], 3), "",
            round(scores[1][name] / max(scores[0][name], 1e-9), 3), f"the base: {scores[0][name]:.3f}",
        )
        for name in ("perplexity", "chrf", "exact_match")
    ]  # fmt: skip
    torch_speed, onnx_speed = (speed(one, test[:20], count) for one in (after, onnx))
    faster = round(onnx_speed / torch_speed, 2)
    out.append(
        bench.line(
            "greedy writing with onnxruntime",
            round(onnx_speed, 1),
            "sub-words/s",
            faster,
            f"PyTorch: {torch_speed:.1f}",
        )
    )
    near = round(scores[2]["perplexity"] / scores[1]["perplexity"], 5)
    out.append(bench.line("perplexity with onnxruntime", round(scores[2]["perplexity"], 3), "", near, "PyTorch"))
    return out


if __name__ == "__main__":
    main()
