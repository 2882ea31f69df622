"""One competitor of against_peers.py: trains, and writes down when it learnt, what it scored on the way, and its memory.

    python benchmarks/peers.py JOB.json        started by against_peers.py; a line of JSON an event, in the job's file

Every competitor has the same rows, base and passes; everything else is its own default, but for files, logs and progress bars.
What counts as learning: from rows and base in hand to trained weights, tokenising included. Reading the weights (once
before, so that imports are not counted either), scoring and reading the rows do not count.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bench
import numpy as np
import transformers
from fewshot import drawn
from loops import AfterSteps, HuggingFace, Luban, Problem
from numpy.typing import NDArray
from retrieval import faq_rows, parts

from luban.metrics.ranking import found, ranks_of
from luban.records import Prepared, Row
from luban.stages.train.material import live

Vectors = NDArray[Any]


class Course:
    """The course of a training, event by event: ``learn`` and ``rest`` turn the clock on and off, ``score`` is on dev rows."""

    def __init__(self, file: Path, points: int) -> None:
        self.file, self.points, self.due = file.open("a", encoding="utf8"), points, 1
        self.texts = 0

    def told(self, event: str, **more: Any) -> None:
        line = {"event": event, "cpu": time.process_time(), "at": time.monotonic(), **more}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    @contextmanager
    def learning(self) -> Iterator[None]:
        self.told("learn")
        yield
        self.told("rest")

    def score(self, dev: Callable[[], float]) -> None:
        """A score on the way, while the clock stands still."""
        self.told("rest")
        self.told("score", score=dev(), texts=self.texts)
        self.told("learn")

    def stepped(self, texts: int, share: float, dev: Callable[[], float]) -> None:
        """A step is taken, and with it ``share`` of all: scored at so many points of the way."""
        self.texts += texts
        if share * self.points >= self.due and share < 1:
            self.due += 1
            self.score(dev)


class Contest:
    """The rows of one contest, and how a competitor is scored on them: accuracy, or the MRR of a search in an FAQ."""

    def __init__(self, job: dict[str, Any]) -> None:
        options = argparse.Namespace(**{**job, "data": Path(job["data"]), "models": Path(job["models"])})
        options.scratch = Path(job["scratch"])
        self.job, self.scratch = job, options.scratch / f"{job['on']}-{job['who']}"
        self.passages: list[str] = []
        self.data = getattr(self, f"_{job['on']}")(options)
        self.base = bench.base(options)
        transformers.AutoModel.from_pretrained(self.base.path, local_files_only=True)
        transformers.AutoTokenizer.from_pretrained(self.base.path, local_files_only=True)
        self.course = Course(Path(job["out"]), job["points"])

    def _classify(self, options: argparse.Namespace) -> Prepared:
        data = bench.rows(options, "text-classification", bench.TREC, valid_share=0.1)
        return bench.thinned(data, train=options.rows, valid=options.dev, test=options.judged)

    def _few(self, options: argparse.Namespace) -> Prepared:
        data = bench.rows(options, "text-classification", bench.BANKING)
        taken, rest = drawn([*data.train, *data.valid], options.a_class, seed=0)
        test = bench.few(data.test, options.judged)
        return Prepared(data.task, "few", taken, rest[: options.dev], test, (), data.columns, "few")

    def _search(self, options: argparse.Namespace) -> Prepared:
        rows, self.passages = faq_rows(options.data)
        return Prepared("embedding", "faq", *parts(rows, 0, options.quick), (), {}, "faq")

    def problem(self, **options: Any) -> Problem:
        return Problem.of(self.data, self.base, epochs=self.job["epochs"], **options)

    def accuracy(self, rows: Sequence[Row], labels: Sequence[str]) -> float:
        return float(np.mean([row["label"] == label for row, label in zip(rows, labels, strict=True)]))

    def mrr(self, rows: Sequence[Row], vectors: Callable[[list[str]], Vectors]) -> float:
        """Of each row's own answer among all questions of the FAQ."""
        scores = vectors([row["text"] for row in rows]) @ vectors(self.passages).T
        place = {text: j for j, text in enumerate(self.passages)}
        ranks = [ranks_of(line, [place[row["text_pair"]]]) for line, row in zip(scores, rows, strict=True)]
        return float(found(ranks)["mrr"].mean())

    def scored(self, model: Any, problem: Problem, rows: Sequence[Row]) -> float:
        """A transformers model's score on rows."""
        predictor = live(model, problem.task, problem.material.encoder)
        if self.passages:
            return self.mrr(rows, lambda texts: np.array([p.embedding for p in predictor.predict(texts)]))
        answers = predictor.predict([{"text": row["text"]} for row in rows])
        return self.accuracy(rows, [str(answer.label) for answer in answers])

    def ended(self, score: Callable[[Sequence[Row]], float]) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = peak if sys.platform == "darwin" else peak * 1024
        self.course.told("score", score=score(self.data.valid), texts=self.course.texts)
        self.course.told("end", test=score(self.data.test), peak=peak, train=len(self.data.train))


def luban(contest: Contest, method: str) -> None:
    """luban's loop with its defaults and a method."""
    course = contest.course
    with course.learning():
        problem = contest.problem(method=method)
        loop = Luban(problem, {}, contest.scratch)
        course.texts += loop.drawn
        each = 2 if contest.passages else 1

        def dev() -> float:
            return contest.scored(loop.model, problem, contest.data.valid)

        course.score(dev)
        learner = loop.learner
        for rows in loop.steps():
            assert learner is not None
            course.stepped(rows * each, learner.done / learner.total, dev)
    contest.ended(lambda rows: contest.scored(loop.model, problem, rows))


def trainer(contest: Contest) -> None:
    """The Hugging Face Trainer."""
    problem, course = contest.problem(), contest.course
    with course.learning():
        loop = HuggingFace(problem, contest.scratch, num_train_epochs=contest.job["epochs"])

        def dev() -> float:
            return contest.scored(loop.trainer.model, problem, contest.data.valid)

        def then(step: int, steps: int) -> bool:
            course.stepped(loop.arguments.train_batch_size, step / steps, dev)
            loop.trainer.model.train()
            return False

        loop.trainer.add_callback(AfterSteps(then))
        loop.trainer.train()
    contest.ended(lambda rows: contest.scored(loop.trainer.model, problem, rows))


def setfit(contest: Contest) -> None:
    """SetFit: pairs, then a logistic regression. ``iterations``: pairs of each kind a row; its authors took 20."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    rows, course = contest.data.train, contest.course
    texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
    model = SetFitModel.from_pretrained(str(contest.base.path), labels=sorted(set(labels)))

    def score(asked: Sequence[Row]) -> float:
        return contest.accuracy(asked, [str(label) for label in model.predict([row["text"] for row in asked])])

    def dev() -> float:
        model.fit(texts, labels, num_epochs=1)
        value = score(contest.data.valid)
        model.model_body.train()
        return value

    with course.learning():
        arguments = TrainingArguments(
            output_dir=str(contest.scratch), num_iterations=contest.job["iterations"], report_to="none",
            save_strategy="no", logging_strategy="no", show_progress_bar=False,
        )  # fmt: skip

        def then(step: int, steps: int) -> bool:
            course.stepped(2 * arguments.embedding_batch_size, step / steps, dev)
            return False

        data = Dataset.from_dict({"text": texts, "label": labels})
        loop = Trainer(model=model, args=arguments, train_dataset=data, callbacks=[AfterSteps(then)])
        loop.train()
    contest.ended(score)


def sentence_transformers(contest: Contest) -> None:
    """sentence-transformers with MultipleNegativesRankingLoss."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    course, rows = contest.course, contest.data.train
    model = SentenceTransformer(str(contest.base.path), device="cpu")

    def score(asked: Sequence[Row]) -> float:
        return contest.mrr(asked, lambda texts: np.asarray(model.encode(texts, normalize_embeddings=True)))

    def dev() -> float:
        value = score(contest.data.valid)
        model.train()
        return value

    with course.learning():
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(contest.scratch), num_train_epochs=contest.job["epochs"], report_to="none",
            save_strategy="no", logging_strategy="no", disable_tqdm=True,
        )  # fmt: skip

        def then(step: int, steps: int) -> bool:
            course.stepped(2 * arguments.train_batch_size, step / steps, dev)
            return False

        pairs = {"anchor": [row["text"] for row in rows], "positive": [row["text_pair"] for row in rows]}
        loop = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_dict(pairs),
            loss=MultipleNegativesRankingLoss(model), callbacks=[AfterSteps(then)],
        )  # fmt: skip
        loop.train()
    contest.ended(score)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf8"))
    warnings.simplefilter("ignore")
    bench.torch.set_num_threads(job["threads"])
    name, _, method = job["who"].partition(" ")
    competitors = {"Trainer": trainer, "setfit": setfit, "sentence-transformers": sentence_transformers}
    if name == "luban":
        luban(Contest(job), method)
    else:
        competitors[name](Contest(job))


if __name__ == "__main__":
    main()
