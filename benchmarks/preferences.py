"""Preferences: does a model that writes in two manners learn which one is wanted where, when people agree in most cases only?

    python benchmarks/preferences.py [--way N ...] [--writer stories260K-llama] [--models DIR] [--quick] [--json]

Rows are made. Who has which thing where is asked, politely or not; polite questions want a whole sentence, the others a short
answer; but in a quarter of the rows to learn from it is chosen the other way round. The start is fine-tuned on both manners
alike, so that it cannot know. From it one model goes on with the chosen answers alone (fine-tuning), others with pairs of
answers (DPO), all with the same prompts. Judged on prompts of their own that are all chosen rightly: which answer is more
probable; which manner is written, greedily and by chance (temperature 1); how probable the wanted answers stay.
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
WRONG = 0.25
"share of the pairs to learn from that are the wrong way round"
WAYS: dict[str, dict[str, Any]] = {
    "the chosen answers alone (fine-tuning)": {"rate": 1e-3},
    "pairs (DPO)": {"rate": 1e-3},
    "pairs (DPO, beta 0.5)": {"rate": 1e-3, "dpo_beta": 0.5},
    "pairs (DPO, with dpo_sft 1)": {"rate": 1e-3, "dpo_sft": 1.0},
    "pairs (DPO, lora)": {"rate": 1e-2, "method": "lora"},
    "pairs (DPO, lora, with dpo_sft 1)": {"rate": 1e-2, "method": "lora", "dpo_sft": 1.0},
}
"a model of 260 thousand parameters takes larger steps than one of millions: these were set by hand"


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


def slipped(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows with some of them the wrong way round."""
    chance = random.Random(5)
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    return [other if chance.random() < WRONG else dict(row) for row, other in zip(rows, turned, strict=True)]


def talk(row: Row, name: str) -> dict[str, Any]:
    """A pair as a conversation with one of its answers."""
    return {"messages": [*row["messages"], {"role": "assistant", "content": row[name]}]}


def data(name: str, train: Sequence[Row], valid: Sequence[Row]) -> Prepared:
    return Prepared("text-generation", name, list(train), list(valid), [], (), {}, f"{name}:{len(train)}")


def judged(folder: Folder, test: Sequence[Row], start: Folder) -> dict[str, float]:
    """Scores against the start, and the share of rows that are answered in the wanted manner."""
    config = EvaluateConfig(reference=str(start.path), bootstrap=100, threads=1)
    found = dict(evaluate(folder, [{**row, "max_new_tokens": 24} for row in test], config).scores)
    model = Predictor.open(folder, threads=1)
    for name, heat in (("wanted manner, greedily", 0.0), ("wanted manner, by chance", 1.0)):
        asked = [
            {"messages": row["messages"], "max_new_tokens": 24, "temperature": heat, "seed": i}
            for i, row in enumerate(test)
        ]
        pairs = zip(model.predict(asked), test, strict=True)
        found[name] = sum((answer.text or "")[:3] == row["chosen"][:3] for answer, row in pairs) / len(test)
    return found


def lines(options: Any) -> list[bench.Line]:
    rows = pairs(48 if options.quick else 440)
    cut = len(rows) // 11
    test, valid, taught, wanted = rows[: 2 * cut], rows[2 * cut : 3 * cut], rows[3 * cut : 7 * cut], rows[7 * cut :]
    parts = [slipped(part) for part in (wanted, valid)]
    common = {"epochs": 8, "batch_rows": 8, "max_length": 192, "threads": options.threads, "precision": "fp32"}
    both = [[talk(row, name) for row in part for name in ("chosen", "rejected")] for part in (taught, valid)]
    once = {**common, "base": options.writer, "rate": 2e-3, "epochs": 4}
    start = bench.learnt(options, data("start", *both), options.scratch / "start", **once)
    first = judged(start, test, start)
    out = told("the start", first, None, 0.0)
    for name in [list(WAYS)[way] for way in options.way] or WAYS:
        own = parts if "DPO" in name else [[talk(row, "chosen") for row in part] for part in parts]
        began = time.process_time()
        settings = {**common, "base": str(start.path), **WAYS[name]}
        folder = bench.learnt(options, data(name, *own), options.scratch / f"way-{len(out)}", **settings)
        out += told(name, judged(folder, test, start), first, time.process_time() - began)
    return out


def told(name: str, scores: dict[str, float], first: dict[str, float] | None, seconds: float) -> list[bench.Line]:
    """The figures of one way, each against the start."""
    gained = ("preference_accuracy", "preference_margin") if first else ()
    names = ("ranking_accuracy", "wanted manner, greedily", "wanted manner, by chance", *gained, "perplexity")
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
