"""Made rows in the files of the public data sets, for ``--quick``: the word that decides stands in each text.

The words are those that `luban.testing.tiny_base` reads. Nothing can be learnt about languages here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

KINDS = ("refund", "order", "cancel", "late", "card", "movie", "food", "city")
FILLER = "the a my is was this that to with please want need how what why hello thanks".split()


def made(place: Path) -> Path:
    """A folder with the files that the benchmarks look for; returns it."""
    rng = random.Random(13)
    files = {
        "topic-en-trec/train.txt": "\n".join(f"{kind.upper()}:x {text}" for kind, text in texts(rng, 30)),
        "topic-en-trec/test.txt": "\n".join(f"{kind.upper()}:x {text}" for kind, text in texts(rng, 4)),
        "intent-en-banking77/train.csv": "text,category\n" + "\n".join(f"{t},{k}" for k, t in texts(rng, 40)),
        "intent-en-banking77/test.csv": "text,category\n" + "\n".join(f"{t},{k}" for k, t in texts(rng, 6)),
        "ner-en-wnut17/train.conll": "\n\n".join(tagged(text) for _, text in texts(rng, 12)),
        "ner-en-wnut17/dev.conll": "\n\n".join(tagged(text) for _, text in texts(rng, 4)),
        "ner-en-wnut17/test.conll": "\n\n".join(tagged(text) for _, text in texts(rng, 4)),
        "intent-en-clinc150/data_full.json": json.dumps(
            {part: [[text, kind] for kind, text in texts(rng, 12)] for part in ("train", "val", "test")}
        ),
        "mt-en-zh-tatoeba/cmn.txt": "\n".join(f"{text}.\t{text}。" for _, text in texts(rng, 8)),
        "faq-en-covidfaq/query_answer_pairs.json": json.dumps(faq(rng)),
    }
    for part in ("train", "dev", "test"):
        label = {kind: i % 2 for i, kind in enumerate(KINDS)}
        files[f"sent-en-sst2/{part}.tsv"] = "\n".join(f"{text}\t{label[kind]}" for kind, text in texts(rng, 15))
        files[f"pair-zh-stsb/cnsd-sts-{part}.txt"] = "\n".join(scored(rng))
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text + "\n", encoding="utf8")
    return place


def texts(rng: random.Random, each: int) -> Iterator[tuple[str, str]]:
    """Kind and text, ``each`` of every kind, no two alike."""
    for number in range(each * len(KINDS)):
        kind = KINDS[number % len(KINDS)]
        words = [*rng.choices(FILLER, k=rng.randint(3, 9)), kind, *rng.choices(FILLER, k=rng.randint(1, 5))]
        yield kind, " ".join(words)


def tagged(text: str) -> str:
    """A CoNLL sentence in which cities and films are entities."""
    tags = {"city": "B-location", "movie": "B-product"}
    return "\n".join(f"{word}\t{tags.get(word, 'O')}" for word in text.split())


def faq(rng: random.Random) -> list[dict[str, str]]:
    """An FAQ of a question a kind, and what people ask of it."""
    own = [{"query_type": "faq", "question": f"what is the {kind}", "answer": f"the {kind}"} for kind in KINDS]
    asked = [{"query_type": "user", "question": text, "answer": f"the {kind}"} for kind, text in texts(rng, 12)]
    return own + asked


def scored(rng: random.Random) -> Iterator[str]:
    """Pairs in the form of STS-B: alike where both are of one kind."""
    one, other = list(texts(rng, 6)), list(texts(rng, 6))
    rng.shuffle(other)
    for number, ((kind, text), (second, pair)) in enumerate(zip(one, other, strict=True)):
        yield f"made-{number}||{text}||{pair}||{5 if kind == second else number % 3}"
