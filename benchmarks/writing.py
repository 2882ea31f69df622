"""A model that writes, before and after fine-tuning: perplexity and chrF on held-out answers, sub-words a second by runtime.

    python benchmarks/writing.py --base DIR [--quick] [--data FILE.jsonl] [--json]

Without --data the rows are made: who has which thing, told in two turns. The base is a folder with a causal language model.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from luban import bases, verbs
from luban.config import PrepareConfig
from luban.folder import Folder
from luban.predict import Predictor
from luban.stages.evaluate.speed import machine
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--data", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        source = given.data or str(made(place / "rows.jsonl", 40 if given.quick else 400))
        rows = verbs.prepare(PrepareConfig(source=source, test_share=0.2), "text-generation")
        options = {"base": given.base, "epochs": 1 if given.quick else 4, "rate": 2e-3, "log": (), "threads": 1}
        folder = verbs.train(
            source, task="text-generation", out=place / "model", test_share=0.2, batch_rows=8, max_length=256, **options
        )
        test = [dict(row) for row in rows.test]
        report = told(folder, given.base, test, place)
    print(json.dumps({"machine": machine(1), "rows": report}, indent=None if given.json else 1))


def told(folder: Folder, base: str, test: list[Any], place: Path) -> list[dict[str, Any]]:
    """The lines of the report."""
    exported = verbs.export(folder, out=place / "onnx", quantise="none", threads=1)
    after, onnx = (verbs.load(each, threads=1) for each in (folder, exported))
    task = folder.task()
    before = live(build(bases.find(base).path, task, dropout=0.0).eval(), task, folder.encoder())
    rows = [{**row, "max_new_tokens": 32} for row in test]
    scores = [task.score(test, one.predict(rows)) for one in (before, after, onnx)]
    out = [
        {"what": f"{name}, {len(test)} held-out rows", "value": round(scores[1][name], 3), "unit": "",
         "ratio": round(scores[1][name] / max(scores[0][name], 1e-9), 3), "against": f"the base: {scores[0][name]:.3f}"}
        for name in ("perplexity", "chrf", "exact_match")
    ]  # fmt: skip
    torch_speed, onnx_speed = (speed(one, test[:20], 32) for one in (after, onnx))
    out.append(
        {"what": "greedy writing with onnxruntime", "value": round(onnx_speed, 1), "unit": "sub-words/s",
         "ratio": round(onnx_speed / torch_speed, 2), "against": f"PyTorch: {torch_speed:.1f}"}
    )  # fmt: skip
    out.append({"what": "perplexity with onnxruntime", "value": round(scores[2]["perplexity"], 3), "unit": "",
                "ratio": round(scores[2]["perplexity"] / scores[1]["perplexity"], 5), "against": "PyTorch"})  # fmt: skip
    return out


if __name__ == "__main__":
    main()
