"""A text rewritten as another: short sentences from English to Chinese, by a decoder that starts from an encoder.

    python benchmarks/rewriting.py [--base e5-small-zh-en] [--rows 2000] [--epochs 5] [--rate 3e-4] [--layers 3] [--json]

chrF of 200 held-out sentences (mt-en-zh-tatoeba, the shorter ones): before learning, after it, of a copy of the source, and of
the translation that stands beside the most similar learnt sentence (chrF of the sources), which few rows make hard to beat.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import bench

from luban import verbs
from luban.metrics.writing import chrf, chrf_counts, chrf_of
from luban.predict import Predictor
from luban.records import Rows
from luban.stages.train.crossing import build
from luban.stages.train.material import live

SHORT = 28
"characters of the longest sentence taken"
COUNT = 32


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--base", default="e5-small-zh-en")
    out.add_argument("--rows", type=int, default=2000)
    out.add_argument("--epochs", type=float, default=5)
    out.add_argument("--rate", type=float, default=3e-4)
    out.add_argument("--layers", type=int, default=3, help="of the decoder")
    return out


def shorter(rows: Rows, most: int) -> list[dict[str, Any]]:
    """The rows whose text has at most so many characters."""
    return [dict(row) for row in rows if len(row["text"]) <= most]


def nearest(known: Sequence[dict[str, Any]], text: str) -> str:
    """The target of the most similar source."""
    return str(max(known, key=lambda row: chrf_of(chrf_counts(text, row["text"])))["target"])


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        rows = bench.rows(options, "text-to-text", {"source": "mt-en-zh-tatoeba/cmn.txt"}, test_share=0.1)
        short = replace(
            rows,
            **{
                part: shorter(getattr(rows, part), 1000 if options.quick else SHORT)
                for part in ("train", "valid", "test")
            },
        )
        data = bench.thinned(
            short, train=24 if options.quick else options.rows, valid=100, test=4 if options.quick else 200
        )
        layers = 0 if options.quick else options.layers
        settings = {"base": options.base, "rate": options.rate, "epochs": options.epochs, "decoder_layers": layers}
        folder = bench.learnt(
            options, data, options.scratch / "model", threads=options.threads, batch_rows=32, **settings
        )
        task, base = folder.task(), bench.base(options, options.base, "text-to-text")
        fresh = build(base.path, task, layers=layers, dropout=0.0, seed=13).eval()
        onnx = verbs.load(verbs.export(folder, out=options.scratch / "onnx", quantise="none", threads=options.threads))
        before, after = live(fresh, task, folder.encoder()), verbs.load(folder, threads=options.threads)
        bench.tell(options, told(data, {"before": before, "after": after, "after, onnxruntime": onnx}))


def told(data: Any, models: dict[str, Predictor]) -> list[bench.Line]:
    """chrF of every way to answer, against a copy."""
    golds = [row["target"] for row in data.test]
    answers = {
        "a copy of the source": [row["text"] for row in data.test],
        "the nearest learnt sentence's": [nearest(data.train, row["text"]) for row in data.test],
    }
    answers |= {
        name: [
            answer.text or ""
            for answer in model.predict([{"text": row["text"], "max_new_tokens": COUNT} for row in data.test])
        ]
        for name, model in models.items()
    }
    copy = chrf(golds, answers["a copy of the source"])
    return [
        bench.line(
            f"{name}, {len(data.train):,} rows",
            round(chrf(golds, said), 4),
            "chrF",
            round(chrf(golds, said) / max(copy, 1e-4), 2),
            "a copy",
        )
        for name, said in answers.items()
    ]


if __name__ == "__main__":
    main()
