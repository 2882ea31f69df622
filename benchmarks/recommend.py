"""Recommendations on MovieTweetings, leave-one-out by time, beside popularity and item-kNN: what text and ids contribute.

    python benchmarks/recommend.py --data DIR [--by both text id] [--base NAME] [--set KEY=VALUE ...] [--quick] [--json]

The split is luban's own (the last film of each user is the test row, the one before chose the epoch), every film that is
not in the history is a candidate, and all rows of the table rank the same ones for the same users. Items' texts are read
once and serve every variant. ``--quick`` takes forty made films: it shows that the script runs.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import bench
import numpy as np

from luban.config import TrainConfig
from luban.encoding import TextEncoder
from luban.metrics.recommending import Neighbours, coverage, found, popularity, rank_of
from luban.records import Prepared, unwatched
from luban.stages.train.model import build
from luban.stages.train.recommender import catalogue_of, learn, read, taught
from luban.towers import Catalogue, Towers

TASK, DATA = "recommendation", "rec-en-movietweetings"
WAYS = ("both", "text", "id")
NAMES = {"both": "text and ids", "text": "text alone", "id": "ids alone"}


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        source = made(options.scratch / "rows") if options.quick else options.data / DATA
        bench.tell(options, table(bench.rows(options, TASK, {"source": str(source)}), options))


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--by", nargs="+", choices=WAYS, default=list(WAYS))
    out.add_argument("--base", default="minilm")
    out.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="options of training")
    out.add_argument("--part", choices=["valid", "test"], default="test")
    return out


def table(data: Prepared, options: argparse.Namespace) -> list[bench.Line]:
    """One line a score and way, against the better baseline."""
    rows = list(getattr(data, options.part))
    catalogue = catalogue_of(data)
    scores = {f"floor: {name}": told for name, told in baselines(data, catalogue, rows).items()}
    floor = {name: max(told[name] for told in scores.values()) for name in ("hit_rate@10", "ndcg@10", "mrr")}
    chosen = dict(pair.split("=", 1) for pair in options.set)
    vectors, width = texts(catalogue, options) if set(options.by) - {"id"} else (None, 1)
    for by in options.by:
        config = TrainConfig.model_validate({"task": TASK, "items_by": by, "log": (), **chosen})
        started = time.process_time()
        mine = vectors if by != "id" else None
        learnt = learn(data, catalogue, mine, config, (options.scratch / by, unwatched), width=width)
        seconds = time.process_time() - started
        scores[NAMES[by]] = judged(learnt.towers, catalogue, rows)
        bench.say(f"{NAMES[by]}: {seconds:.0f} CPU s, {len(learnt.history)} epochs {learnt.history}")
    return [
        bench.line(
            f"{way}, {name} ({options.part}, {len(rows)} rows)", value, name,
            value / floor.get(name, value), "the better floor" if name in floor else "itself",
        )
        for way, told in scores.items()
        for name, value in told.items()
    ]  # fmt: skip


def texts(catalogue: Catalogue, options: argparse.Namespace) -> tuple[Any, int]:
    """The base's vectors of the items' texts, and their width."""
    started = time.process_time()
    at = bench.base(options).path
    task = taught(TrainConfig.model_validate({"task": TASK}))
    model = build(at, task, dropout=0.0).eval()
    vectors = read(catalogue.texts, model, task, TextEncoder.open(at), unwatched)
    bench.say(f"{len(vectors)} texts read: {time.process_time() - started:.0f} CPU s")
    return vectors, vectors.shape[1]


def baselines(data: Prepared, catalogue: Catalogue, rows: list[Any]) -> dict[str, dict[str, float]]:
    """Popularity and item-kNN, which know the same training histories."""
    index = catalogue.index
    near = Neighbours([[index[i] for i in row["history"]] for row in data.train], len(index))
    histories = [[index[i] for i in row["history"]] for row in rows]
    ways = {"popularity": lambda history: catalogue.taken.astype(float), "item-kNN": near.scores}
    return {name: summed(((score(h), h) for h in histories), rows, catalogue) for name, score in ways.items()}


def judged(towers: Towers, catalogue: Catalogue, rows: list[Any]) -> dict[str, float]:
    """The scores of towers."""
    histories = [[catalogue.index[i] for i in row["history"]] for row in rows]
    return summed(((towers.scores(towers.user(h)), h) for h in histories), rows, catalogue)


def summed(said: Iterable[tuple[Any, list[int]]], rows: list[Any], catalogue: Catalogue) -> dict[str, float]:
    """Scores of the ranks, and of the ten items that are recommended."""
    places, lists = [], []
    for (scores, history), row in zip(said, rows, strict=True):
        places.append(rank_of(scores, history, catalogue.index[row["item"]]))
        open_ = np.array(scores, dtype=float)
        open_[history] = -np.inf
        lists.append(np.argpartition(-open_, 10)[:10].tolist())
    out = {name: float(values.mean()) for name, values in found(places).items()}
    return out | {
        "coverage@10": coverage(lists, len(catalogue.ids)),
        "popularity@10": popularity(lists, catalogue.taken),
    }


def made(out: Path) -> Path:
    """A small made source: forty films of four kinds, whose friends stay with their kind."""
    rng = random.Random(13)
    out.mkdir(parents=True)
    kinds = ("crime", "comedy", "drama", "space")
    films = [(f"f{i}", f"a {kinds[i % 4]} film number {i}", kinds[i % 4]) for i in range(40)]
    (out / "items.csv").write_text(
        "item,text,genre\n" + "".join(",".join(film) + "\n" for film in films), encoding="utf8"
    )
    lines = []
    for user in range(80):
        mine = rng.sample([film[0] for film in films if film[2] == kinds[user % 4]], 6)
        lines += [f"u{user},{film},{rng.randint(6, 10)},{when}\n" for when, film in enumerate(mine)]
    (out / "ratings.csv").write_text("user,item,rating,time\n" + "".join(lines), encoding="utf8")
    return out


if __name__ == "__main__":
    main()
