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
for one epoch: it shows that the script runs, its scores mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from luban import bases
from luban.config import PrepareConfig, TrainConfig
from luban.folder import Folder
from luban.metrics.ranking import TfIdf, found, ranks_of
from luban.predict import Predictor
from luban.records import EpochEnd, Prepared
from luban.stages.prepare import prepare
from luban.stages.train import train
from luban.stages.train.material import encode, live
from luban.stages.train.model import build
from luban.tasks.embedding import Embedding, searched

Rows = list[dict[str, Any]]
FAQ = "faq-en-covidfaq/query_answer_pairs.json"
FOLDS = 5
TOP = 10
STATED = 0.70
"MRR of TF-IDF as stated with the data; the floor below is measured in the same run, on the same folds"


@dataclass(frozen=True)
class Trial:
    """What the parts share."""

    data: Path
    models: Path
    keep: Path
    quick: bool

    def config(self, base: str, **values: Any) -> TrainConfig:
        few = {"epochs": 1, "max_length": 16} if self.quick else {}
        return TrainConfig.model_validate({"base": base, "log": (), **values, **few})

    def base(self, name: str) -> bases.Base:
        """A base beside the data, or a known one."""
        return bases.find(str(self.models / name) if (self.models / name).is_dir() else name)

    def trained(self, name: str, rows: Prepared, config: TrainConfig) -> Folder:
        out = self.keep / name
        if (out / "luban.json").is_file():
            return Folder.open(out)
        return train(rows, self.base(config.base), config, out, watch=say)


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


def frozen(trial: Trial, rows: Prepared, config: TrainConfig) -> Predictor:
    """The base as it is."""
    material = encode(rows, trial.base(config.base), config)
    return live(build(material.base, material.task, dropout=0.0).eval(), material.task, material.encoder)


def faq(trial: Trial, folds: Sequence[int], wanted: Sequence[str]) -> list[dict[str, Any]]:
    rows, passages = faq_rows(trial.data)
    told: dict[str, dict[str, list[float]]] = {}

    def tell(what: str, scores: dict[str, float]) -> None:
        for name in ("mrr", "recall@1", "recall@5", "ndcg@10", "mrr, any"):
            told.setdefault(what, {}).setdefault(name, []).append(scores[name])
        print(what, {name: round(value, 4) for name, value in scores.items()}, file=sys.stderr, flush=True)

    for fold in folds:
        train_rows, valid, test = parts(rows, fold, trial.quick)
        config = trial.config("minilm", task="embedding")
        made = Prepared(
            "embedding", "faq", train_rows, among(valid, passages), test, (), {}, f"faq {fold} {trial.quick}"
        )
        scores, search = search_scores(frozen(trial, made, config), test, passages)
        tell("frozen minilm", scores)
        words = TfIdf(search.passages)
        tell("TF-IDF", judged(np.stack([words.scores(row["text"]) for row in test]), search, test))
        predictor = Predictor.open(trial.trained(f"faq-{fold}", made, config))
        scores, search = search_scores(predictor, test, passages)
        tell("fine-tuned minilm", scores)
        if "rerank" in wanted:
            tell("and its ten best reranked", reranked(trial, fold, made, predictor, search))
    return [
        line(f"FAQ, {what}: {name}", values, told["TF-IDF"][name])
        for what, s in told.items()
        for name, values in s.items()
    ]


def line(what: str, values: Sequence[float], floor: Sequence[float]) -> dict[str, Any]:
    mean, least = float(np.mean(values)), float(np.mean(floor))
    told = {"value": round(mean, 4), "unit": "share", "ratio": round(mean / least, 3)}
    against = f"TF-IDF {least:.3f} on the same folds ({STATED} MRR is stated with the data)"
    return {"what": what, **told, "against": against, "folds": [round(value, 4) for value in values]}


def reranked(trial: Trial, fold: int, made: Prepared, predictor: Predictor, search: Any) -> dict[str, float]:
    """Scores once a cross-encoder has put the ten best of each query in order; what lies below them stays."""
    passages = list(search.passages)
    rows = [dict(row) for row in made.train]
    mistakes = with_mistakes(predictor, rows, passages)
    valid = with_mistakes(predictor, [{k: row[k] for k in ("text", "text_pair")} for row in made.valid], passages)
    data = Prepared("rerank", "faq", mistakes, valid, [], (), {}, f"rerank {fold} {trial.quick}")
    order = Predictor.open(trial.trained(f"rerank-{fold}", data, trial.config("minilm", task="rerank", epochs=2)))
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


def sts(trial: Trial) -> list[dict[str, Any]]:
    """Spearman on the test part, before and after."""
    source = trial.data / "pair-zh-stsb"
    read = prepare(
        PrepareConfig(
            source=str(source / "cnsd-sts-train.txt"), valid=str(source / "cnsd-sts-dev.txt"),
            test=str(source / "cnsd-sts-test.txt"), columns={"text": "2", "text_pair": "3", "score": "4"},
        ),
        Embedding,
    )  # fmt: skip
    count = 40 if trial.quick else 10**6
    few = [[dict(row) for row in list(part)[:count]] for part in (read.train, read.valid, read.test)]
    rows = Prepared("embedding", "stsb", *few, (), {}, f"sts {trial.quick}")
    config = trial.config("e5-small-zh-en", task="embedding", epochs=1)
    base = frozen(trial, rows, config)
    before = base.task.score(rows.test, base.predict(bare(rows.test)))["spearman"]
    print("before", before, file=sys.stderr, flush=True)
    tuned = Predictor.open(trial.trained("stsb", rows, config))
    after = tuned.task.score(rows.test, tuned.predict(bare(rows.test)))["spearman"]
    told = (("before", before, "the stated 0.774", 0.774), ("after one epoch", after, "before", before))
    return [
        {
            "what": f"pair-zh-stsb test, e5-small {what}: spearman", "value": round(value, 4), "unit": "spearman",
            "ratio": round(value / least, 3), "against": against,
        }
        for what, value, against, least in told
    ]  # fmt: skip


def bare(rows: Any) -> Rows:
    return [{"text": row["text"], "text_pair": row["text_pair"]} for row in rows]


def say(event: object) -> None:
    """Dev scores to stderr."""
    if isinstance(event, EpochEnd):
        print(f"  epoch {event.epoch}: {dict(event.extra)}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", type=Path, default=Path("../shared/models"))
    parser.add_argument("--part", nargs="+", choices=("faq", "rerank", "sts"), default=["faq", "rerank", "sts"])
    parser.add_argument("--folds", nargs="+", type=int, choices=range(FOLDS), default=list(range(FOLDS)))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        trial = Trial(given.data, given.models, given.keep or Path(scratch), given.quick)
        rows: list[dict[str, Any]] = []
        if {"faq", "rerank"} & set(given.part):
            rows += faq(trial, given.folds[:1] if given.quick else given.folds, given.part)
        if "sts" in given.part:
            rows += sts(trial)
    told = {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores", "rows": rows}
    if given.json:
        print(json.dumps(told))
        return
    for row in rows:
        print(f"{row['value']:.4f}  {row['what']}  ({row['ratio']} x {row['against']})")


if __name__ == "__main__":
    main()
