"""`train` for recommendations: items' texts are read once by the base, two towers learn over them, and a folder is written.

The text encoder stays as it is, so that its vectors are found once; what learns is small and takes minutes on a processor. A
run that was interrupted starts anew; of several processes each learns all of it, and the first writes. Towers stand in
`two_towers`, what they become in `luban.towers`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from luban import processes
from luban.bases import Base
from luban.config import TrainConfig
from luban.encoding import TextEncoder
from luban.errors import ConfigError
from luban.folder import Folder, check_target, write, write_golden
from luban.manifest import BaseInfo, Manifest, check_name
from luban.metrics.recommending import CUT, found
from luban.outputs import POOLING
from luban.predict import Predictor, make_golden
from luban.records import EpochEnd, Prepared, Progress, Row, Rows, Step, Watch, unwatched
from luban.stages.train.finish import data_of, write_plain
from luban.stages.train.golden import COUNT
from luban.stages.train.run import set_threads
from luban.tasks.base import stitched
from luban.tasks.recommendation import Recommendation
from luban.towers import Catalogue, Shop, Towers

if TYPE_CHECKING:
    import torch
    from torch import nn

    from luban.stages.train.two_towers import TwoTowers
    from luban.training import Schedule

TAKES = {
    "task", "base", "method", "epochs", "rate", "batch_rows", "warmup", "decay", "clip", "dropout", "max_length", "pooling",
    "items_by", "item_size", "recent", "top", "keep_users", "threads", "patience", "golden", "log", "seed",
}  # fmt: skip
"options of training that mean something here"
SIZE, RECENT, EPOCHS, RATE, ROWS, DROPOUT = 64, 50, 4.0, 5e-3, 512, 0.2
"the defaults (docs/training.md tells how they were found)"
SPREAD = 3.0
"the mean length of texts' vectors, around their mean, as the towers read them"
BLOCK = 4_000_000
"scores held at a time: rows x items"
CHUNK = 512
GOLDEN_TEXTS = 8
"golden rows that are texts: the others are histories, of which the encoder reads nothing"

Floats = NDArray[np.float32]


@dataclass
class Learnt:
    """The towers of the best epoch, the points of the run, and its best score."""

    towers: Towers
    history: list[dict[str, float]] = field(default_factory=list)
    best: float = -1.0
    stale: int = 0


def train(
    data: Prepared, base: Base, config: TrainConfig, out: Path, *, name: str = "", watch: Watch = unwatched
) -> Folder:
    """A recommender's folder from histories and items; raises as `luban.stages.train.train` does."""
    from luban.stages.train.model import build

    check_target(out)
    _check(config)
    watch = unwatched if processes.rank() else watch
    name = check_name(name or out.resolve().name)
    start = time.perf_counter()
    set_threads(config.threads)
    task = taught(config)
    encoder = TextEncoder.open(base.path, limit=config.max_length or None)
    model = build(base.path, task, dropout=0.0).eval()
    catalogue = catalogue_of(data)
    vectors = read(catalogue.texts, model, task, encoder, watch) if config.items_by != "id" else None
    width = int(getattr(model.config, "hidden_size", 0))
    learnt = learn(data, catalogue, vectors, config, (out, watch), width=width)
    task = task.stocked(Shop(catalogue, learnt.towers, _users(data) if config.keep_users else None))
    numbers = sum(getattr(learnt.towers, part).size for part in ("history", "candidates", "bias", "recency"))
    manifest = Manifest(
        name=name,
        task=task.name,
        max_length=encoder.limit,
        base=BaseInfo(name=base.name, revision=base.revision, hash=base.hash, licence=base.licence),
        recipe={**config.model_dump(mode="json"), "schedule": asdict(schedule(config))},
        data={**data_of(data), "taken": dict(data.notes.get("taken", {}))},
        settings=task.settings,
        scores={"valid": scores_of(learnt.towers, catalogue, data.valid)} if len(data.valid) else {},
        notes={
            "seconds": round(time.perf_counter() - start, 1),
            "history": learnt.history,
            "parameters": {"trained": numbers, "all": numbers + sum(p.numel() for p in model.parameters())},
        },
    )
    if processes.rank() == 0:
        folder = write(out, manifest, lambda place: _fill(place, model, task, encoder, (base, data, config, learnt)))
        Predictor.open(folder, stage="train")
    processes.wait()
    return Folder.open(out)


def taught(config: TrainConfig) -> Recommendation:
    """The task with what a run chose."""
    pooling = "first" if config.pooling == "first" else "mean"
    return Recommendation(settings={"top": config.top, "items_by": config.items_by, POOLING: pooling})


def schedule(config: TrainConfig) -> Schedule:
    """The arithmetic of a run."""
    from luban.training import Schedule

    rows, rate = config.batch_rows or ROWS, config.rate or RATE
    return Schedule(
        epochs=config.epochs or EPOCHS, rate=rate, head_rate=rate, batch_rows=rows, batch_tokens=rows, micro_tokens=rows,
        warmup=config.warmup, decay=config.decay, clip=config.clip, seed=config.seed,
    )  # fmt: skip


def catalogue_of(data: Prepared) -> Catalogue:
    """What can be recommended, with how often each item was taken in the training rows."""
    ids = tuple(str(row["item"]) for row in data.items)
    place = {item: i for i, item in enumerate(ids)}
    taken = np.zeros(len(ids), dtype=np.int64)
    for row in data.train:
        for item in row["history"]:
            taken[place[item]] += 1
    return Catalogue(ids, tuple(str(row["text"]) for row in data.items), taken)


def read(texts: Sequence[str], model: nn.Module, task: Recommendation, encoder: TextEncoder, watch: Watch) -> Floats:
    """The base's vectors (n, hidden) of the items' texts."""
    from luban.stages.train.material import live

    predictor, out = live(model, task, encoder), []
    for at in range(0, len(texts), CHUNK):
        encoded = [encoder.text(text) for text in texts[at : at + CHUNK]]
        out += [stitched(row, told) for row, told in zip(encoded, predictor.logits(encoded), strict=True)]
        watch(Progress("texts", len(out), len(texts)))
    return np.stack(out)


def learn(
    data: Prepared,
    catalogue: Catalogue,
    vectors: Floats | None,
    config: TrainConfig,
    seen_by: tuple[Path, Watch],
    *,
    width: int,
) -> Learnt:
    """The towers of the epoch that ranks the validation rows best; without such rows, of the last one."""
    import torch

    from luban.runtimes.pytorch import device
    from luban.stages.train.loop import guarded
    from luban.stages.train.sinks import Curves
    from luban.stages.train.two_towers import Sampled, examples, feed
    from luban.training import Learner

    out, watch = seen_by
    torch.manual_seed(config.seed)
    recent = config.recent or RECENT
    index = catalogue.index
    made = examples([np.array([index[i] for i in row["history"]], dtype=np.int64) for row in data.train], recent)
    often = np.bincount([int(one.target) for one in made], minlength=len(catalogue.ids)) / len(made)
    centre, scale = _spread(vectors, width)
    model = _towers(vectors, catalogue, config, (centre, scale)).to(device())
    plan = schedule(config)
    objective = Sampled(taught(config), torch.from_numpy(often).float())
    learner = Learner(model, plan, made, objective=objective, feed=feed(made, device()))
    learnt = Learnt(model.towers(centre, scale))
    with Curves(
        config.log if processes.rank() == 0 else (), Path(f"{out}.run") / "logs", out.stem, asdict(plan)
    ) as curves:
        for event in guarded(learner):
            if isinstance(event, Step):
                curves.log({"train/loss": event.loss, "train/rate": event.rate}, event.done)
                watch(event)
                continue
            towers = model.towers(centre, scale)
            scores = scores_of(towers, catalogue, data.valid) if len(data.valid) else {}
            curves.log({f"valid/{score}": value for score, value in scores.items()}, event.done)
            watch(EpochEnd(event.epoch, event.done, event.total, event.last, scores))
            _judge(learnt, towers, {"epoch": event.epoch, "step": event.done, "loss": learner.mean_loss(), **scores})
            if learnt.stale >= config.patience:
                break
    return learnt


def _judge(learnt: Learnt, towers: Towers, point: dict[str, float]) -> None:
    """Keep the towers where they are the best so far, or where nothing judges them."""
    learnt.history.append(point)
    score = point.get(Recommendation.main_score)
    if score is None or score > learnt.best:
        learnt.towers, learnt.best, learnt.stale = towers, score or -1.0, 0
    else:
        learnt.stale += 1


def _spread(vectors: Floats | None, width: int) -> tuple[Floats, float]:
    """The mean of the texts' vectors, and what brings their mean distance from it to `SPREAD`."""
    if vectors is None:
        return np.zeros(width, dtype=np.float32), 1.0
    centre = vectors.mean(axis=0)
    return centre, SPREAD / max(1e-6, float(np.linalg.norm(vectors - centre, axis=1).mean()))


def _towers(vectors: Floats | None, catalogue: Catalogue, config: TrainConfig, how: tuple[Floats, float]) -> TwoTowers:
    import torch

    from luban.stages.train.two_towers import TwoTowers

    centre, scale = how
    texts: torch.Tensor | None = None if vectors is None else torch.from_numpy((vectors - centre) * np.float32(scale))
    return TwoTowers(
        texts,
        torch.from_numpy(catalogue.taken).float(),
        own=config.items_by != "text",
        size=config.item_size or SIZE,
        recent=config.recent or RECENT,
        dropout=DROPOUT if config.dropout < 0 else config.dropout,
    )


def scores_of(towers: Towers, catalogue: Catalogue, rows: Rows) -> dict[str, float]:
    """The scores of held-out rows, many at a time."""
    index, ranks = catalogue.index, []
    piece = max(1, BLOCK // max(1, len(catalogue.ids)))
    for at in range(0, len(rows), piece):
        held = [rows[i] for i in range(at, min(len(rows), at + piece))]
        histories = [[index[item] for item in row["history"] if item in index] for row in held]
        scores = towers.scores(np.stack([towers.user(history) for history in histories]))
        for one, history, row in zip(scores, histories, held, strict=True):
            right = index.get(row["item"], -1)
            own = one[right]
            one[history] = -np.inf
            ranks.append(int((one >= own).sum()) if right >= 0 else len(one) + 1)
    return {name: float(values.mean()) for name, values in found(ranks, CUT).items()}


def _check(config: TrainConfig) -> None:
    """Raises `ConfigError` for a method, or an option, that a recommender does not have."""
    if config.method != "full":
        raise ConfigError(
            f"A recommender is not trained by {config.method}.",
            "Its text encoder stays as it is, and all of its towers learns.",
            "Leave --method out.",
        )
    for name, option in type(config).model_fields.items():
        if name not in TAKES and getattr(config, name) != option.default:
            raise ConfigError(
                f"{name} is set for a recommendation, which has no use for it.",
                f"It takes: {', '.join(sorted(TAKES - {'task', 'method'}))}.",
                "Leave it out.",
            )


def _users(data: Prepared) -> dict[str, tuple[str, ...]]:
    """The whole history of each user, what was held out of it included."""
    out = {str(row["user"]): tuple(row["history"]) for row in data.train if "user" in row}
    held = (row for part in (data.valid, data.test) for row in part if "user" in row)
    return out | {str(row["user"]): (*row["history"], row["item"]) for row in held}


def _golden(data: Prepared, catalogue: Catalogue, config: TrainConfig) -> list[Row]:
    """Requests that every hand-off asks again: histories, and texts of items."""
    rng = random.Random(config.seed)
    held = data.valid if len(data.valid) else data.train
    chosen = sorted(rng.sample(range(len(held)), min(COUNT - GOLDEN_TEXTS, len(held))))
    rows: list[Row] = [{"history": list(held[i]["history"])} for i in chosen]
    if config.golden == "synthetic":
        items = list(catalogue.ids)
        rows = [{"history": rng.sample(items, min(1 + i % 5, len(items)))} for i in range(COUNT - GOLDEN_TEXTS)]
    if config.items_by == "id":
        return rows
    popular = np.argsort(-catalogue.taken, kind="stable")[:GOLDEN_TEXTS]
    return [*rows, *({"text": catalogue.texts[i]} for i in popular)]


def _fill(
    place: Path,
    model: nn.Module,
    task: Recommendation,
    encoder: TextEncoder,
    made: tuple[Base, Prepared, TrainConfig, Learnt],
) -> None:
    from luban.stages.train.material import live

    base, data, config, learnt = made
    write_plain(place, model, base.path, learnt.history)
    task.shop.write(place)
    predictor = live(model, task, encoder)
    write_golden(place, make_golden(predictor, _golden(data, task.shop.catalogue, config)))
