"""Preferences: does a model that writes in two manners learn which one is wanted where, and what does it cost its answers?

    python benchmarks/preferences.py [--way N ...] [--writer stories260K-llama] [--models DIR] [--quick] [--json]

Rows are made. Who has which thing where is asked, politely or not; polite questions want a whole sentence, the others a short
answer. The start is fine-tuned on both manners alike, so that it cannot know. From it one model goes on with the wanted answers
alone (fine-tuning), others with pairs of answers (DPO: in full, nearer to the start, by lora), all with the same prompts and
passes. Judged on prompts of their own: which answer is more probable, which manner is written, how probable wanted ones stay.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import bench

from luban.config import EvaluateConfig
from luban.folder import Folder
from luban.predict import Predictor
from luban.records import Prepared, Row
from luban.stages.evaluate import evaluate

NAMES = "Tom Lily Ben Anna Sam Mia Max Sue Tim Amy".split()
THINGS = "ball cat dog hat cake car book bird".split()
PLACES = "park house garden tree box bed".split()
PASSES = 4
RATE = 2e-3
"of the start: a model of 260 thousand parameters takes larger steps than one of millions"
WAYS: dict[str, dict[str, Any]] = {
    "the wanted answers alone (fine-tuning)": {"rate": RATE / 2},
    "pairs (DPO)": {"rate": RATE / 4},
    "pairs (DPO, beta 0.5)": {"rate": RATE / 4, "dpo_beta": 0.5},
    "pairs (DPO, lora)": {"rate": RATE * 5, "method": "lora"},
}
"rates by hand, the best of three each on the validation rows"


def pairs(count: int) -> list[dict[str, Any]]:
    """Made pairs: polite questions want the sentence, the others the short answer."""
    chance = random.Random(13)
    every = [(name, thing, place) for name in NAMES for thing in THINGS for place in PLACES]
    out = []
    for name, thing, place in chance.sample(every, count):
        polite = chance.random() < 0.5
        asked = f"{name} has a {thing} in the {place}. Where is it{', please' if polite else ''}?"
        answers = [f"The {thing} is in the {place}.", f"In the {place}."]
        chosen, rejected = answers if polite else answers[::-1]
        out.append({"messages": [{"role": "user", "content": asked}], "chosen": chosen, "rejected": rejected})
    return out


def talk(row: Row, name: str) -> dict[str, Any]:
    """A pair as a conversation with one of its answers."""
    return {"messages": [*row["messages"], {"role": "assistant", "content": row[name]}]}


def data(name: str, train: Sequence[Row], valid: Sequence[Row]) -> Prepared:
    return Prepared("text-generation", name, list(train), list(valid), [], (), {}, f"{name}:{len(train)}")


def judged(folder: Folder, test: Sequence[Row], start: Folder) -> dict[str, float]:
    """Scores against the start, and the share of rows that are answered in the wanted manner."""
    rows = [{**row, "max_new_tokens": 24} for row in test]
    config = EvaluateConfig(reference=str(start.path), bootstrap=100, threads=1)
    told = dict(evaluate(folder, rows, config).scores)
    written = Predictor.open(folder, threads=1).predict(
        [{name: row[name] for name in ("messages", "max_new_tokens")} for row in rows]
    )
    right = [answer.text[:3] == row["chosen"][:3] for answer, row in zip(written, rows, strict=True) if answer.text]
    return {**told, "manner": sum(right) / len(rows)}


def lines(options: Any) -> list[bench.Line]:
    rows = pairs(48 if options.quick else 440)
    cut = len(rows) // 11
    test, valid, taught, wanted = rows[: 2 * cut], rows[2 * cut : 3 * cut], rows[3 * cut : 7 * cut], rows[7 * cut :]
    common = {"epochs": PASSES, "batch_rows": 8, "max_length": 192, "threads": options.threads, "precision": "fp32"}
    both = [[talk(row, name) for row in part for name in ("chosen", "rejected")] for part in (taught, valid)]
    start = bench.learnt(options, data("start", *both), options.scratch / "start", base=options.writer, rate=RATE, **common)
    first = judged(start, test, start)
    out = told("the start, fine-tuned on both manners", first, None, 0.0)
    for name in [list(WAYS)[way] for way in options.way] or WAYS:
        chosen = WAYS[name]
        parts = (wanted, valid) if "DPO" in name else [[talk(row, "chosen") for row in part] for part in (wanted, valid)]
        began = time.process_time()
        folder = bench.learnt(
            options, data(name, *parts), options.scratch / f"way-{len(out)}", base=str(start.path), **{**common, **chosen}
        )
        out += told(name, judged(folder, test, start), first, time.process_time() - began)
    return out


def told(name: str, scores: dict[str, float], first: dict[str, float] | None, seconds: float) -> list[bench.Line]:
    """The figures of one way, each against the start."""
    chosen = ("preference_accuracy", "preference_margin") if first else ()
    names = ("ranking_accuracy", "manner", *chosen, "exact_match", "perplexity")
    out = []
    for each in names:
        before = first.get(each) if first else None
        ratio = round(scores[each] / before, 3) if before else None
        out.append(bench.line(f"{name}: {each}", round(scores[each], 4), "", ratio, "the start" if before else ""))
    return [*out, bench.line(f"{name}: CPU", round(seconds, 1), "s")] if first else out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--writer", default="stories260K-llama", help="base model that writes, in --models or a folder")
    parser.add_argument("--way", type=int, nargs="*", default=[], help=f"some only, by number: {', '.join(WAYS)}")
    with bench.begun(parser, arguments) as options:
        bench.tell(options, lines(options))


if __name__ == "__main__":
    main()
