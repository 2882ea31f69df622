"""`train`: from prepared rows and a base model to a model folder, start to end on one page."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luban.bases import Base
from luban.config import TrainConfig
from luban.encoding import Encoded, TextEncoder
from luban.errors import DataError, GateError
from luban.folder import Folder, check_target, write, write_golden, write_text
from luban.manifest import BaseInfo, CalibrationInfo, Manifest, canonical
from luban.predict import Predictor, make_golden
from luban.records import Prepared, Rows, Step, Watch, unwatched
from luban.tasks import TASKS
from luban.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

    from luban.training import Example, Learner, Schedule

CHECKPOINT_SECONDS = 120.0
"an interrupted run loses at most this much, besides what it lost at the last epoch's end"


TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
)  # fmt: skip
"the pickles-free files that transformers reads a tokenizer from"


@dataclass(frozen=True, slots=True)
class Material:
    """Rows, encoded once: what a run learns from and what it is watched on."""

    task: Task
    encoder: TextEncoder
    examples: list[Example]
    valid: Rows
    encoded_valid: list[Encoded]
    base: Path


def train(
    data: Prepared, base: Base, config: TrainConfig, out: Path, *, name: str = "", watch: Watch = unwatched
) -> Folder:
    """Fine-tune ``base`` on ``data`` and write the model folder ``out``.

    ``watch`` is called with `Forecast`, every `Step` and every `EpochEnd` (its ``extra`` holds the dev scores). A run that
    was interrupted goes on from ``<out>.run``. Raises `DataError` for rows that cannot be learnt from, `GateError` where
    training diverges.
    """
    from luban.stages.train.model import build
    from luban.stages.train.recipe import schedule

    check_target(out)
    start = time.perf_counter()
    material = encode(data, base, config)
    plan = schedule(config, material.task, len(material.examples))
    set_threads(config.threads)
    model = build(base.path, material.task, dropout=_dropout(config), seed=config.seed)
    run = Path(f"{out}.run")
    key = _key(data, base, config)
    history, best = fine_tune(model, material, plan, config, run=run, key=key, watch=watch)
    task, scores, predictor = _finish(model, material, best)
    recipe = {**config.model_dump(mode="json"), "schedule": asdict(plan)}
    manifest = Manifest(
        name=name or out.name,
        task=task.name,
        labels=task.labels,
        max_length=material.encoder.limit,
        base=BaseInfo(name=base.name, revision=base.revision, hash=base.hash, licence=base.licence),
        recipe=recipe,
        data=_data(data),
        thresholds=task.calibration.thresholds,
        calibration=CalibrationInfo(
            temperature=task.calibration.temperature, mean=task.calibration.mean, spread=task.calibration.spread
        ),
        scores={"valid": scores},
        notes={"seconds": round(time.perf_counter() - start, 1), "history": history},
    )
    folder = write(out, manifest, lambda work: _fill(work, predictor, material, config, history))
    Predictor.open(folder, stage="train")
    _forget(run)
    return folder


def encode(data: Prepared, base: Base, config: TrainConfig) -> Material:
    """Task, encoder and encoded windows of the prepared rows; raises `DataError` where there is nothing to learn."""
    from luban.stages.train.recipe import lengths_of, window_length
    from luban.training import Example

    if len(data.train) == 0:
        raise DataError(
            "there are no training rows.", "At least two rows are needed.", "Check the source.", file=data.source
        )
    task: Task = TASKS[data.task].fit(data.train)
    encoder = TextEncoder.open(base.path, limit=config.max_length or None)
    rows = list(data.train)
    encoded = [task.encode(row, encoder) for row in rows]
    if not config.max_length:
        lengths = lengths_of(encoded)
        length = window_length(lengths, encoder.limit)
        encoder.limit = length
        encoded = [
            e if n <= length else task.encode(r, encoder) for e, n, r in zip(encoded, lengths, rows, strict=True)
        ]
    examples = []
    for row, one in zip(rows, encoded, strict=True):
        for window, target in zip(one.windows, task.targets(row, one), strict=True):
            heads = window.heads
            weight = window.weight if heads is None else float(len(heads))
            if weight > 0:
                examples.append(Example(window, target, weight))
    valid = list(data.valid)
    return Material(task, encoder, examples, valid, [task.encode(row, encoder) for row in valid], base.path)


def fine_tune(
    model: nn.Module, material: Material, plan: Schedule, config: TrainConfig, *, run: Path, key: str, watch: Watch
) -> tuple[list[dict[str, float]], dict[str, Any] | None]:
    """Run the loop; returns the history of dev scores and the best weights (None: the model holds them already)."""
    from luban.runtimes.pytorch import device
    from luban.stages.train.checkpoint import Checkpoint
    from luban.stages.train.forecast import forecast
    from luban.stages.train.probe import start_head
    from luban.stages.train.sinks import Curves
    from luban.training import Learner

    model.to(device())
    learner = Learner(model, material.task, plan, pad_id=material.encoder.pad_id, examples=material.examples)
    checkpoint = Checkpoint(run / "checkpoint", key)
    kept = checkpoint.load(learner.state())
    if kept is None and config.probe:
        start_head(model, material.task, material.examples, pad_id=material.encoder.pad_id, seed=config.seed)
    watch(forecast(learner, config.memory))
    progress: dict[str, Any] = {"history": [], "best": None, "stale": 0}
    if kept is not None:
        learner.restore(kept[0])
        progress = kept[1]
    else:
        _seed(config.seed)
    with Curves(config.log, run / "logs", run.stem, {**asdict(plan), "task": material.task.name}) as curves:
        _loop(learner, material, checkpoint, progress, config.patience, curves, watch)
    best = checkpoint.best() if progress["best"] is not None else None
    return progress["history"], best


def _loop(
    learner: Learner,
    material: Material,
    checkpoint: Any,
    progress: dict[str, Any],
    patience: int,
    curves: Any,
    watch: Watch,
) -> None:
    saved = time.monotonic()
    for event in _guarded(learner):
        if isinstance(event, Step):
            curves.log({"train/loss": event.loss, "train/rate": event.rate}, event.done)
            watch(event)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                checkpoint.save(learner.state(), progress)
                saved = time.monotonic()
            continue
        scores = dev_scores(learner.model, material)
        curves.log({f"valid/{name}": value for name, value in scores.items()}, event.done)
        progress["history"].append({"epoch": event.epoch, "step": event.done, **scores})
        main = scores.get(material.task.main_score)
        if main is not None and (progress["best"] is None or main > progress["best"]):
            progress["best"], progress["stale"] = main, 0
            checkpoint.save_best(learner.model.state_dict())
        else:
            progress["stale"] += 1
        watch(replace(event, extra=scores))
        checkpoint.save(learner.state(), progress)
        saved = time.monotonic()
        if main is not None and progress["stale"] >= patience:
            return


def _guarded(learner: Learner) -> Any:
    try:
        yield from learner.learn()
    except FloatingPointError as error:
        raise GateError(
            f"Training diverged: {error}.",
            "The loss must stay finite.",
            "Lower rate (or head_rate), or use precision=fp32.",
        ) from error


def dev_scores(model: nn.Module, material: Material) -> dict[str, float]:
    """Scores of the model as it stands on the validation rows; empty where there are none."""
    if not material.valid:
        return {}
    predictions = _predictor(model, material.task, material.encoder).answer(material.encoded_valid)
    return material.task.score(material.valid, predictions)


def _predictor(model: nn.Module, task: Task, encoder: TextEncoder) -> Predictor:
    from luban.runtimes.pytorch import PyTorchRuntime

    return Predictor(task, encoder, PyTorchRuntime(model), max_rows=64, max_tokens=8192, slack=0.2)


def _finish(
    model: nn.Module, material: Material, best: dict[str, Any] | None
) -> tuple[Task, dict[str, float], Predictor]:
    """The best weights, calibrated on the validation rows, with their scores."""
    from luban.stages.train.calibrate import calibrated

    if best is not None:
        model.load_state_dict(best)
    model.eval()
    predictor = _predictor(model, material.task, material.encoder)
    if not material.valid:
        return material.task, {}, predictor
    logits = predictor.logits(material.encoded_valid)
    task = calibrated(material.task, material.valid, material.encoded_valid, logits)
    answers = [task.decode(row, out) for row, out in zip(material.encoded_valid, logits, strict=True)]
    return task, task.score(material.valid, answers), _predictor(model, task, material.encoder)


def _fill(
    work: Path, predictor: Predictor, material: Material, config: TrainConfig, history: Sequence[dict[str, float]]
) -> None:
    from luban.runtimes.pytorch import quiet
    from luban.stages.train.golden import golden_rows

    model = predictor.runtime.model  # type: ignore[attr-defined]
    with quiet():
        model.save_pretrained(work, safe_serialization=True)
    for name in TOKENIZER_FILES:
        if (material.base / name).is_file():
            shutil.copyfile(material.base / name, work / name)
    source = material.valid or [{"text": "a"}]
    rows = golden_rows(predictor.task, source, synthetic=config.golden == "synthetic", seed=config.seed)
    write_golden(work, make_golden(predictor, rows))
    (work / "reports").mkdir()
    write_text(work / "reports" / "training.json", json.dumps(list(history), indent=1) + "\n")


def _data(data: Prepared) -> dict[str, Any]:
    rows = {"train": len(data.train), "valid": len(data.valid), "test": len(data.test), "rejects": len(data.rejects)}
    return {"source": data.source, "rows": rows, "columns": dict(data.columns), "fingerprint": data.fingerprint}


def _key(data: Prepared, base: Base, config: TrainConfig) -> str:
    told = [data.fingerprint, data.task, base.hash or str(base.path), config.model_dump(mode="json")]
    return hashlib.sha256(canonical(told).encode()).hexdigest()


def _dropout(config: TrainConfig) -> float:
    return 0.1 if config.dropout < 0 else config.dropout


def _seed(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


def set_threads(threads: int) -> None:
    """Processor threads of PyTorch; 0 leaves its own choice."""
    import torch

    if threads:
        torch.set_num_threads(threads)


def _forget(run: Path) -> None:
    """Remove the run's checkpoints; its logs stay."""
    shutil.rmtree(run / "checkpoint", ignore_errors=True)
    if run.is_dir() and not any(run.iterdir()):
        run.rmdir()
