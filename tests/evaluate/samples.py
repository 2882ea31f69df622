"""Small evaluations made by hand from rows and answers, one a kind; no model is asked."""

from dataclasses import replace
from typing import Any

import numpy as np

from luban.config import EvaluateConfig
from luban.records import Entity, Prediction
from luban.stages.evaluate.evaluation import Evaluation, bounds, observed_scores, shown, slices
from luban.stages.evaluate.views import view_of

CONFIG = EvaluateConfig(bootstrap=200)


def classified(n=120, labels=("bad", "good"), seed=0):
    """Rows and answers of a classifier that is right about four times of five."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(labels), n)
    chances = rng.dirichlet(np.full(len(labels), 0.5), n) * 0.6
    chances[np.arange(n), np.where(rng.random(n) < 0.75, truth, rng.integers(0, len(labels), n))] += 0.4
    rows = [{"text": f"text number {i} " + "word " * (i % 17), "label": labels[t]} for i, t in enumerate(truth)]
    return rows, [answer(labels, p, tokens=3 + i % 17) for i, p in enumerate(chances)]


def answer(labels, chances, tokens=5):
    best = int(np.argmax(chances))
    scores = dict(zip(labels, map(float, chances), strict=True))
    return Prediction(label=labels[best], score=scores[labels[best]], scores=scores, tokens=tokens)


def several(n=60, labels=("late", "rude", "broken"), seed=0):
    rng = np.random.default_rng(seed)
    rows, predictions = [], []
    for i in range(n):
        wanted = rng.random(len(labels)) < 0.4
        stated = np.clip(np.where(wanted, 0.75, 0.2) + rng.normal(0, 0.25, len(labels)), 0, 1)
        chosen = tuple(label for label, p in zip(labels, stated, strict=True) if p >= 0.5)
        scores = dict(zip(labels, map(float, stated), strict=True))
        rows.append({"text": f"complaint {i}", "labels": [x for x, w in zip(labels, wanted, strict=True) if w]})
        predictions.append(Prediction(labels=chosen, scores=scores, tokens=2 + i % 9))
    return rows, predictions


def tagged(sentences):
    """Rows and answers of a tagger from (words, gold tags, answered tags) triples."""
    from luban.metrics.spans import spans_from_tags

    rows, predictions = [], []
    for words, gold, given in sentences:
        ends = np.cumsum([len(word) + 1 for word in words])
        spans = [[int(end) - len(word) - 1, int(end) - 1] for word, end in zip(words, ends, strict=True)]
        text = " ".join(words)
        entities = tuple(
            Entity(text[spans[a][0] : spans[b - 1][1]], kind, spans[a][0], spans[b - 1][1], 0.9)
            for a, b, kind in spans_from_tags(given)
        )
        rows.append({"text": text, "words": spans, "tags": list(gold)})
        predictions.append(Prediction(entities=entities, tags=tuple(given), tokens=len(words)))
    return rows, predictions


SENTENCES = [
    (
        ["Anna", "Smith", "lives", "in", "Berlin"],
        ["B-PER", "I-PER", "O", "O", "B-LOC"],
        ["B-PER", "O", "O", "O", "B-LOC"],
    ),
    (["Paris", "is", "large"], ["B-LOC", "O", "O"], ["B-LOC", "O", "O"]),
    (["Call", "Bob"], ["O", "B-PER"], ["O", "O"]),
    (["Nothing", "here"], ["O", "O"], ["O", "B-LOC"]),
]


UNDERSTOOD = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "intent:ask", "intent:tell")


def understood():
    """Rows and answers of intents and slots: both right, one of them right, none right."""
    rows, slots = tagged(SENTENCES)
    _, intents = classified(len(rows), ("ask", "tell"))
    rows = [{**row, "label": label} for row, label in zip(rows, ("ask", "tell", "tell", "ask"), strict=True)]
    return rows, [replace(i, entities=s.entities, tags=s.tags) for i, s in zip(intents, slots, strict=True)]


def asked(n=24, seed=0):
    """Rows and answers of questions: right, half right, wrongly answered, wrongly left open."""
    rng = np.random.default_rng(seed)
    context = "the train to Paris leaves at nine"
    rows, predictions = [], []
    for i in range(n):
        gold = [] if i % 3 == 0 else [{"text": "leaves at nine", "start": 19}]
        given = ("", "leaves at nine", "at nine", "Paris")[i % 4]
        start = context.find(given) if given else 0
        rows.append({"question": f"when does train {i} leave?", "context": context, "answers": gold})
        predictions.append(
            Prediction(answer=given, start=start, end=start + len(given), score=float(rng.random()), tokens=8 + i % 5)
        )
    return rows, predictions


def valued(n=80, seed=0):
    rng = np.random.default_rng(seed)
    gold = rng.uniform(0, 5, n)
    rows = [{"text": f"first {i}", "text_pair": f"second {i}", "label": float(g)} for i, g in enumerate(gold)]
    return rows, [Prediction(value=float(g + rng.normal(0, 0.7)), tokens=4 + i % 11) for i, g in enumerate(gold)]


def evaluation_of(rows, predictions, labels=(), main_score="accuracy", **others: Any) -> Evaluation:
    view = view_of(rows, predictions, labels)
    fields: dict[str, Any] = {
        "task": "text-classification",
        "model": "sample",
        "fingerprint": "0123456789abcdef" * 4,
        "main_score": main_score,
        "rejects": 0,
        "scores": {**view.extra, **observed_scores(view)},
        "intervals": bounds(view, CONFIG),
        "seconds": 1.5,
        "rows_per_second": len(rows) / 1.5,
        "latency_ms": {"p50": 3.2, "p99": 7.9},
        "bytes": 23_000_000,
        "peak_bytes": 140_000_000,
        "machine": "Linux x86_64, 2 cores, 2 threads",
        "runtime": "onnx",
        "slices": slices(view, [p.tokens for p in predictions]),
        **shown(view, CONFIG.worst),
    }
    return Evaluation(**(fields | others))
