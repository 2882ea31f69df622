"""`train`: from prepared rows and a base model to a model folder, start to end on one page."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luban.bases import Base
from luban.config import TrainConfig
from luban.errors import ConfigError
from luban.folder import Folder, check_target, made_by, write, write_golden, write_text
from luban.manifest import BaseInfo, CalibrationInfo, Manifest, canonical, check_name
from luban.predict import Predictor, make_golden
from luban.records import Prepared, Watch, unwatched
from luban.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

    from luban.stages.train.material import Material


TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
)  # fmt: skip
"the pickles-free files that transformers reads a tokenizer from"


def train(
    data: Prepared, base: Base, config: TrainConfig, out: Path, *, name: str = "", watch: Watch = unwatched
) -> Folder:
    """Fine-tune ``base`` on ``data`` and write the model folder ``out``.

    ``watch`` is called with `Forecast`, every `Step` and every `EpochEnd` (its ``extra`` holds the dev scores). A run that
    was interrupted goes on from ``<out>.run``. Raises `DataError` for rows that cannot be learnt from, `ConfigError` for a
    name that no URL can hold, `GateError` where training diverges.
    """
    from luban.stages.train.loop import Run
    from luban.stages.train.material import encode
    from luban.stages.train.methods import METHODS
    from luban.stages.train.methods.base import BESIDE
    from luban.stages.train.model import build
    from luban.stages.train.recipe import schedule

    check_target(out)
    _check_method(config, data.task, base.path)
    name = check_name(name or out.resolve().name)
    start = time.perf_counter()
    work = Path(f"{out}.run") / "work"
    method = METHODS[config.method]
    material = encode(data, replace(base, path=method.reader(base.path, config, work)), config)
    plan = schedule(config, material.task, len(material.examples))
    set_threads(config.threads)
    model = build(base.path, material.task, dropout=_dropout(config), seed=config.seed)
    run = Run(Path(f"{out}.run"), _key(data, base, config), config, watch)
    model = run.fine_tune(model, material, plan)
    history = run.progress["history"]
    task, scores, predictor = _finish(model, material)
    recipe = {**config.model_dump(mode="json"), "schedule": asdict(plan)}
    manifest = Manifest(
        name=name,
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
        notes={"seconds": round(time.perf_counter() - start, 1), "history": history, "parameters": run.parameters},
    )

    def fill(place: Path) -> None:
        _fill(place, predictor, material, config, history)
        if (work / BESIDE).is_dir():
            shutil.copytree(work / BESIDE, place, dirs_exist_ok=True)

    folder = write(out, manifest, fill)
    Predictor.open(folder, stage="train")
    method.check(folder, base.path)
    _forget(run.path)
    return folder


def _check_method(config: TrainConfig, task: str, base: Path) -> None:
    """Raises `UnknownName` for a method there is not, `ConfigError` for a task or a base that it cannot train."""
    from luban.stages.train.methods import METHODS

    reason = METHODS[config.method].refused(config, task)
    if reason:
        able = [name for name in METHODS if not METHODS[name].refused(config, task)]
        raise ConfigError(reason, f"Methods for {task}: {', '.join(able)}.", "Choose one of them with --method.")
    if (why := METHODS[config.method].unfit(config, base))[0]:
        raise ConfigError(*why)


def _finish(model: nn.Module, material: Material) -> tuple[Task, dict[str, float], Predictor]:
    """The model, calibrated on the validation rows, with its scores."""
    from luban.stages.train.calibrate import calibrated
    from luban.stages.train.material import live

    model.eval()
    predictor = live(model, material.task, material.encoder)
    if not material.valid:
        return material.task, {}, predictor
    logits = predictor.logits(material.encoded_valid)
    task = calibrated(material.task, material.valid, material.encoded_valid, logits)
    answers = [task.decode(row, out) for row, out in zip(material.encoded_valid, logits, strict=True)]
    return task, task.score(material.valid, answers), live(model, task, material.encoder)


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
    rows = golden_rows(
        predictor.task, material.valid or material.rows, synthetic=config.golden == "synthetic", seed=config.seed
    )
    write_golden(work, make_golden(predictor, rows))
    write_text(work / "drift.json", json.dumps(material.drift, ensure_ascii=False) + "\n")
    (work / "reports").mkdir()
    write_text(work / "reports" / "training.json", json.dumps(list(history), indent=1) + "\n")


def _data(data: Prepared) -> dict[str, Any]:
    rows = {"train": len(data.train), "valid": len(data.valid), "test": len(data.test), "rejects": len(data.rejects)}
    told = {"source": data.source, "rows": rows, "columns": dict(data.columns), "fingerprint": data.fingerprint}
    return {**told, "prepare": dict(data.notes["section"])} if "section" in data.notes else told


def _key(data: Prepared, base: Base, config: TrainConfig) -> str:
    # What changes no result may differ: a run that was killed for memory goes on with less of it.
    chosen = config.model_dump(mode="json", exclude={"threads", "memory", "log"})
    told = [data.fingerprint, data.task, base.hash or str(base.path), chosen, made_by().get("luban")]
    return hashlib.sha256(canonical(told).encode()).hexdigest()


def _dropout(config: TrainConfig) -> float:
    return 0.1 if config.dropout < 0 else config.dropout


def set_threads(threads: int) -> None:
    """Processor threads of PyTorch; 0 leaves its own choice."""
    import torch

    if threads:
        torch.set_num_threads(threads)


def _forget(run: Path) -> None:
    """Remove the run's checkpoints and what its method kept; its logs stay."""
    for name in ("checkpoint", "work"):
        shutil.rmtree(run / name, ignore_errors=True)
    if run.is_dir() and not any(run.iterdir()):
        run.rmdir()
