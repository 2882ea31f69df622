"""What fine-tuning does for search: an FAQ asked by people, and pairs of Chinese sentences by how near they are.

    python benchmarks/retrieval.py --data DIR [--part faq rerank sts] [--folds 0 1 2 3 4] [--keep DIR] [--quick] [--json]

faq: 1,387 questions of people to an FAQ of 68 (faq-en-covidfaq). Each question is searched for among the FAQ's own questions
(answers are not read: words of people are nearer to questions). The data has no split: distinct questions are dealt to five
folds, FAQ by FAQ, seeded; one fold is the test, a tenth of the rest chooses the checkpoint. Equal questions stay together.
The same question stands in the data with different answers: scores count a row's own answer only, as the stated floor does;
"any" is the MRR where each answer that somebody's row gives to the question is right, which is how `luban evaluate` counts.
rerank: a cross-encoder puts the ten best of the fine-tuned model in order; it learns from that model's own mistakes on the
training questions. sts: pair-zh-stsb, Spearman on the test part, before and after training on the train part.

``--keep`` keeps the model folders, and a folder that is there is scored, not trained again. ``--quick`` trains on a few rows
for one epoch.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bench
import numpy as np

from luban.config import TrainConfig
from luban.folder import Folder
from luban.metrics.ranking import TfIdf, found, ranks_of
from luban.predict import Predictor
from luban.records import Prepared
from luban.stages.train.material import encode, live
from luban.stages.train.model import build
from luban.tasks.embedding import searched

Rows = list[dict[str, Any]]
FILES, E5 = ("train", "dev", "test"), "e5-small-zh-en"
FAQ = "faq-en-covidfaq/query_answer_pairs.json"
FOLDS = 5
TOP = 10
STATED = 0.70
"MRR of TF-IDF as stated with the data; the floor below is measured in the same run, on the same folds"


def faq_rows(data: Path) -> tuple[Rows, list[str]]:
    """Each person's question with the FAQ's question of the same answer, and all FAQ questions."""
    every = json.loads((data / FAQ).read_text(encoding="utf8"))
    asked: dict[str, str] = {}
    for row in every:
        if row["query_type"] == "faq":
            asked.setdefault(row["answer"], row["question"].strip())
    people = [row for row in every if row["query_type"] != "faq"]
    passages = sorted({row["question"].strip() for row in every if row["query_type"] == "faq"})
    return [{"text": row["question"].strip(), "text_pair": asked[row["answer"]]} for row in people], passages


def folded(rows: Rows, seed: int = 13) -> list[int]:
    """The fold of each row: distinct questions are dealt FAQ by FAQ, so that each fold asks about all that are asked often."""
    by_passage: dict[str, list[str]] = {}
    for row in rows:
        by_passage.setdefault(row["text_pair"], []).append(row["text"].casefold())
    fold: dict[str, int] = {}
    turn = 0
    for passage in sorted(by_passage):
        texts = sorted(set(by_passage[passage]) - fold.keys())
        random.Random(f"{seed} {passage}").shuffle(texts)
        for text in texts:
            fold[text], turn = turn % FOLDS, turn + 1
    return [fold[row["text"].casefold()] for row in rows]


def parts(rows: Rows, fold: int, quick: bool) -> tuple[Rows, Rows, Rows]:
    """Train, valid and test rows of a fold."""
    of = folded(rows)
    rest = [row for row, f in zip(rows, of, strict=True) if f != fold]
    test = [row for row, f in zip(rows, of, strict=True) if f == fold]
    held = {text for i, text in enumerate(sorted({row["text"].casefold() for row in rest})) if i % 10 == fold}
    train_rows = [row for row in rest if row["text"].casefold() not in held]
    valid = [row for row in rest if row["text"].casefold() in held]
    return (train_rows[:40], valid[:20], test[:20]) if quick else (train_rows, valid, test)


def among(rows: Rows, passages: Sequence[str]) -> Rows:
    """The rows with all passages of the FAQ in the search: they stand as the wrong ones of the first row."""
    others = [text for text in passages if text != rows[0]["text_pair"]]
    return [{**rows[0], "negatives": others}, *rows[1:]]


def search_scores(predictor: Predictor, rows: Rows, passages: Sequence[str]) -> tuple[dict[str, float], Any]:
    asked = among(rows, passages)
    search = searched(asked, predictor.predict(asked))
    return judged(search.queries @ search.vectors.T, search, rows), search


def judged(scores: Any, search: Any, rows: Rows) -> dict[str, float]:
    """Scores of (queries, passages) cosines: by each row's own answer, and the MRR by any answer to the same question."""
    place = {text: j for j, text in enumerate(search.passages)}
    own = found([ranks_of(line, [place[row["text_pair"]]]) for line, row in zip(scores, rows, strict=True)])
    every = found([ranks_of(line, right) for line, right in zip(scores, search.right, strict=True)], ())
    return {name: float(values.mean()) for name, values in {**own, "mrr, any": every["mrr"]}.items()}


def trained(options: argparse.Namespace, name: str, rows: Prepared, **settings: Any) -> Predictor:
    """A model, trained or kept from before."""
    out = (options.keep or options.scratch) / name
    known = (out / "luban.json").is_file()
    return Predictor.open(Folder.open(out) if known else bench.learnt(options, rows, out, **settings))


def frozen(options: argparse.Namespace, rows: Prepared, base: str) -> Predictor:
    """The base as it is."""
    config = TrainConfig(task=rows.task, base=base)
    material = encode(rows, bench.base(options, base, rows.task), config)
    return live(build(material.base, material.task, dropout=0.0).eval(), material.task, material.encoder)


def faq(options: argparse.Namespace) -> list[bench.Line]:
    rows, passages = faq_rows(options.data)
    told: dict[str, dict[str, list[float]]] = {}

    def tell(what: str, scores: dict[str, float]) -> None:
        for name in ("mrr", "recall@1", "recall@5", "ndcg@10", "mrr, any"):
            told.setdefault(what, {}).setdefault(name, []).append(scores[name])
        bench.say(f"{what} { {name: round(value, 4) for name, value in scores.items()} }")

    for fold in options.folds[:1] if options.quick else options.folds:
        train_rows, valid, test = parts(rows, fold, options.quick)
        made = Prepared(
            "embedding", "faq", train_rows, among(valid, passages), test, (), {}, f"faq {fold} {options.quick}"
        )
        scores, search = search_scores(frozen(options, made, "minilm"), test, passages)
        tell("frozen minilm", scores)
        words = TfIdf(search.passages)
        tell("TF-IDF", judged(np.stack([words.scores(row["text"]) for row in test]), search, test))
        predictor = trained(options, f"faq-{fold}", made)
        scores, search = search_scores(predictor, test, passages)
        tell("fine-tuned minilm", scores)
        if "rerank" in options.part:
            tell("and its ten best reranked", reranked(options, fold, made, predictor, search))
    return [
        line(f"FAQ, {what}: {name}", values, told["TF-IDF"][name])
        for what, s in told.items()
        for name, values in s.items()
    ]


def line(what: str, values: Sequence[float], floor: Sequence[float]) -> bench.Line:
    mean, least = float(np.mean(values)), float(np.mean(floor))
    against = f"TF-IDF {least:.3f} on the same folds ({STATED} MRR is stated with the data)"
    folds = [round(value, 4) for value in values]
    return bench.line(what, round(mean, 4), "share", round(mean / least, 3), against, folds=folds)


def reranked(
    options: argparse.Namespace, fold: int, made: Prepared, predictor: Predictor, search: Any
) -> dict[str, float]:
    """Scores once a cross-encoder has put the ten best of each query in order; what lies below them stays."""
    passages = list(search.passages)
    rows = [dict(row) for row in made.train]
    mistakes = with_mistakes(predictor, rows, passages)
    valid = with_mistakes(predictor, [{k: row[k] for k in ("text", "text_pair")} for row in made.valid], passages)
    data = Prepared("rerank", "faq", mistakes, valid, [], (), {}, f"rerank {fold} {options.quick}")
    order = trained(options, f"rerank-{fold}", data, epochs=2)
    scores = search.queries @ search.vectors.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    asked = [
        {"text": row["text"], "passages": [passages[j] for j in top]} for row, top in zip(made.test, best, strict=True)
    ]
    for i, (top, answer) in enumerate(zip(best, order.predict(asked), strict=True)):
        scores[i, top] = 10.0 + np.array(answer.relevance)
    return judged(scores, search, made.test)


def with_mistakes(predictor: Predictor, rows: Rows, passages: Sequence[str], count: int = 4) -> Rows:
    """Each row with the wrong passages that the model puts highest."""
    _, search = search_scores(predictor, rows, passages)
    scores = search.queries @ search.vectors.T
    for i, right in enumerate(search.right):
        scores[i, list(right)] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return [{**row, "negatives": [search.passages[j] for j in top]} for row, top in zip(rows, best, strict=True)]


def sts(options: argparse.Namespace) -> list[bench.Line]:
    """Spearman on the test part, before and after."""
    names = {
        part: f"pair-zh-stsb/cnsd-sts-{file}.txt" for part, file in zip(("source", "valid", "test"), FILES, strict=True)
    }
    read = bench.rows(options, "embedding", names, columns={"text": "2", "text_pair": "3", "score": "4"})
    rows = bench.thinned(read, train=40, valid=40, test=40) if options.quick else read
    base = frozen(options, rows, E5)
    before = base.task.score(rows.test, base.predict(bare(rows.test)))["spearman"]
    bench.say(f"before {before}")
    tuned = trained(options, "stsb", rows, base=E5, epochs=1)
    after = tuned.task.score(rows.test, tuned.predict(bare(rows.test)))["spearman"]
    told = (("before", before, "the stated 0.774", 0.774), ("after one epoch", after, "before", before))
    return [
        bench.line(
            f"pair-zh-stsb test, e5-small {what}: spearman",
            round(value, 4),
            "spearman",
            round(value / least, 3),
            against,
        )
        for what, value, against, least in told
    ]


def bare(rows: Any) -> Rows:
    return [{"text": row["text"], "text_pair": row["text_pair"]} for row in rows]


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--part", nargs="+", choices=("faq", "rerank", "sts"), default=["faq", "rerank", "sts"])
    out.add_argument("--folds", nargs="+", type=int, choices=range(FOLDS), default=list(range(FOLDS)))
    out.add_argument("--keep", type=Path)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        found = faq(options) if {"faq", "rerank"} & set(options.part) else []
        found += sts(options) if "sts" in options.part else []
        bench.tell(options, found)


if __name__ == "__main__":
    main()
