"""Two questions of a text, answered by one folder or by two: what each scores, and what an answer costs.

    python benchmarks/multitask.py --data DIR [--only whole known] [--rows N] [--epochs N] [--seed N] [--quick] [--json]

The rows are TREC's, whose labels hold two answers: a coarse one of 6 and a fine one of 50. ``whole``: every row has both.
``known``: the fine answer of nine rows in ten is taken away, as where a source was labelled for another purpose; a folder that
learns what is left alone stands beside one that learns both questions, with each question counting the same (luban's own
way) and with each answer counting the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import bench
import numpy as np
from numpy.typing import NDArray

from luban.folder import Folder
from luban.predict import Predictor
from luban.records import Prepared, Row

QUESTIONS = ("coarse", "fine")
EACH = 10
"of so many rows one keeps its fine answer"
TIMED = 200
"rows that are answered one at a time to be timed"


def answers(row: Row) -> dict[str, str]:
    """What a row of TREC says to both questions."""
    return {"coarse": str(row["label"]).partition(":")[0], "fine": str(row["label"])}


def alone(found: Prepared, question: str, *, every: int = 1) -> Prepared:
    """Rows of one question; of the training rows each ``every``-th."""
    parts = {
        part: [{"text": row["text"], "label": answers(row)[question]} for row in getattr(found, part)]
        for part in ("train", "valid", "test")
    }
    parts["train"] = parts["train"][::every]
    return replace(found, **parts, fingerprint=f"{found.fingerprint}:{question}:{every}")


def together(found: Prepared, *, every: int = 1) -> Prepared:
    """Rows of both questions; of the training rows each ``every``-th has a fine answer."""
    parts = {
        part: [{"text": row["text"], "targets": answers(row)} for row in getattr(found, part)]
        for part in ("train", "valid", "test")
    }
    for i, row in enumerate(parts["train"]):
        row["targets"]["fine"] = row["targets"]["fine"] if i % every == 0 else None
    return replace(found, **parts, task="multi-task", fingerprint=f"{found.fingerprint}:both:{every}")


def right(folder: Folder, rows: Sequence[Row], question: str) -> NDArray[np.bool_]:
    """Which of the rows a folder answers rightly, whether it answers this question alone or another as well."""
    told = Predictor.open(folder, check=False).predict([str(row["text"]) for row in rows])
    given = [answer.answers[question].label if answer.answers else answer.label for answer in told]
    return np.array([answer == answers(row)[question] for answer, row in zip(given, rows, strict=True)])


def milliseconds(folders: Sequence[Folder], texts: Sequence[str], threads: int) -> list[float]:
    """The median time of a text that is answered by itself, folder by folder; the folders take turns."""
    opened = [Predictor.open(folder, check=False, threads=threads) for folder in folders]
    took: list[list[float]] = [[] for _ in folders]
    for text in texts:
        for predictor, times in zip(opened, took, strict=True):
            start = time.perf_counter()
            predictor.predict([text])
            times.append((time.perf_counter() - start) * 1e3)
    return [float(np.median(times)) for times in took]


def whole(options: argparse.Namespace, found: Prepared, settings: dict[str, Any]) -> list[bench.Line]:
    """One folder of both questions beside two folders of one each: accuracy, and time of a text."""
    both = bench.learnt(options, together(found), options.scratch / "both", **settings)
    single = {q: bench.learnt(options, alone(found, q), options.scratch / q, **settings) for q in QUESTIONS}
    out = []
    for question in QUESTIONS:
        before = right(single[question], found.test, question)
        out.append(bench.accuracy(f"TREC {question}, a folder of its own", before))
        now = right(both, found.test, question)
        out.append(bench.accuracy(f"TREC {question}, one folder for both", now, before, "a folder of its own"))
    texts = [str(row["text"]) for row in bench.few(found.test, TIMED)]
    *apart, one = milliseconds([*single.values(), both], texts, options.threads)
    out.append(bench.line("both answers, two folders", round(sum(apart), 3), "ms a text"))
    ratio = round(one / sum(apart), 3)
    return [*out, bench.line("both answers, one folder", round(one, 3), "ms a text", ratio, "two folders")]


def known(options: argparse.Namespace, found: Prepared, settings: dict[str, Any]) -> list[bench.Line]:
    """The fine answer where one training row in ten has it."""
    data = together(found, every=EACH)
    before = right(
        bench.learnt(options, alone(found, "fine", every=EACH), options.scratch / "few", **settings), found.test, "fine"
    )
    out = [bench.accuracy(f"TREC fine of 1 row in {EACH}, by itself", before)]
    ways = {"each question counting the same": {}, "each answer counting the same": {"coarse": EACH}}
    for i, (way, weights) in enumerate(ways.items()):
        made = bench.learnt(options, data, options.scratch / f"known-{i}", **settings, question_weights=weights)
        what = f"TREC fine of 1 row in {EACH}, beside coarse of all, {way}"
        out.append(bench.accuracy(what, right(made, found.test, "fine"), before, "by itself"))
        out.append(bench.accuracy(f"TREC coarse, beside it, {way}", right(made, found.test, "coarse")))
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--only", nargs="+", default=["whole", "known"], choices=["whole", "known"])
    parser.add_argument("--rows", type=int, default=0, help="training rows, evenly spread; 0: all")
    parser.add_argument("--epochs", type=float, default=0, help="passes; 0: luban's own choice")
    parser.add_argument("--seed", type=int, default=13)
    with bench.begun(parser, arguments) as options:
        found = bench.rows(options, "text-classification", bench.TREC)
        found = bench.thinned(found, train=options.rows, test=60 if options.quick else 0)
        settings = {"epochs": options.epochs, "seed": options.seed, "threads": options.threads}
        parts = {"whole": whole, "known": known}
        rows = [row for part in options.only for row in parts[part](options, found, settings)]
        bench.tell(options, rows)


if __name__ == "__main__":
    main()
