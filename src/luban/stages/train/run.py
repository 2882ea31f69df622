"""`train`: from prepared rows and a base model to a model folder, start to end on one page."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luban.bases import Base
from luban.config import TrainConfig
from luban.errors import ConfigError
from luban.folder import Folder, check_target, made_by, write, write_golden, write_text
from luban.manifest import CalibrationInfo, Manifest, canonical, check_name
from luban.pictures import SETTINGS
from luban.predict import Predictor, make_golden
from luban.records import Prepared, Watch, unwatched
from luban.tasks import TASKS
from luban.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

    from luban.stages.train.loop import Run
    from luban.stages.train.material import Material
    from luban.stages.train.origin import Origin


TOLD = ("private",)
"what the manifest's notes take from the progress of a run"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
    "chat_template.jinja",
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
    from luban import processes
    from luban.stages.train import adapt, private
    from luban.stages.train.origin import origin_of

    processes.join()
    if TASKS[data.task].recommends:
        from luban.stages.train.recommender import train as towers

        return towers(data, base, config, out, name=name, watch=watch)
    check_target(out)
    check_method(config, data.task, base.path)
    check_objectives(config, data)
    private.check(config, data, base.path)
    adapt.check(data, config, base.path)
    name = check_name(name or out.resolve().name)
    return _trained(origin_of(data, base, private.guarded(config)), out, name, watch)


def _trained(origin: Origin, out: Path, name: str, watch: Watch) -> Folder:
    """The folder of a run that was found to be possible."""
    from luban import processes
    from luban.stages.train import private
    from luban.stages.train.adapt import adapted
    from luban.stages.train.loop import Run, work_of
    from luban.stages.train.material import encode
    from luban.stages.train.methods import METHODS
    from luban.stages.train.recipe import schedule

    data, config = origin.data, origin.config
    start = time.perf_counter()
    base, read = adapted(origin.base, data, config, Path(f"{out}.run"), watch=watch)
    origin = replace(origin, base=base)
    work = work_of(Path(f"{out}.run"))
    method = METHODS[config.method]
    material = encode(data, replace(base, path=method.reader(base.path, config, work)), config, task=origin.task)
    if config.private:
        material = private.first_windows(material)
    plan = schedule(config, material.task, len(material.examples))
    set_threads(config.threads)
    material = origin.taught(material, work)
    model = origin.model(material)
    run = Run(Path(f"{out}.run"), _key(data, base, config, origin.notes), config, unwatched if processes.rank() else watch)
    model = origin.plain(run.fine_tune(model, material, plan))
    history = run.progress["history"]
    task, scores, predictor = _finish(model, material)
    kept = _remembered(origin, predictor, run)
    recipe = {**config.model_dump(mode="json"), "schedule": asdict(plan)}
    manifest = Manifest(
        name=name,
        task=task.name,
        labels=task.labels,
        max_length=material.encoder.limit,
        base=origin.root,
        parent=origin.parent.manifest.fingerprint if origin.parent is not None else None,
        recipe=recipe,
        data=data_of(data, hashed=not config.private),
        thresholds=task.calibration.thresholds,
        calibration=_calibration(task),
        settings=task.settings,
        scores={"valid": scores},
        notes={
            "seconds": round(time.perf_counter() - start, 1),
            "history": history,
            "parameters": run.parameters,
            **origin.notes,
            **read,
            **{name: run.progress[name] for name in TOLD if name in run.progress},
            **kept,
            **_suspected(run.progress, config, len(data.train)),
        },
    )

    def fill(place: Path) -> None:
        _fill(place, predictor, material, config, history)
        _beside(place, run, material, kept)

    if processes.rank() == 0:
        write(out, manifest, fill)
        Predictor.open(out, stage="train")
        method.check(Folder.open(out), base.path)
        _forget(run.path)
    processes.wait()
    return Folder.open(out)


def check_method(config: TrainConfig, task: str, base: Path) -> None:
    """Raises `UnknownName` for a method there is not, `ConfigError` for a task or a base that it cannot train."""
    from luban.stages.train.methods import METHODS

    if config.packing and not TASKS[task].generates:
        raise ConfigError(
            f"packing is on, and {task} writes nothing.", "Rows are packed for text-generation.", "Leave out --packing."
        )
    reason = METHODS[config.method].refused(config, task)
    if reason:
        able = [name for name in METHODS if not METHODS[name].refused(config, task)]
        raise ConfigError(reason, f"Methods for {task}: {', '.join(able)}.", "Choose one of them with --method.")
    METHODS[config.method].check_base(config, base)


def check_objectives(config: TrainConfig, data: Prepared) -> None:
    """Raises `ConfigError` for an option of the loss that these rows cannot take."""
    from luban.stages.train.objectives.rules import check

    check(config, data.task, data.train)


def _finish(model: nn.Module, material: Material) -> tuple[Task, dict[str, float], Predictor]:
    """The model, calibrated on the validation rows, with its scores."""
    from luban.stages.train.calibrate import calibrated
    from luban.stages.train.material import dev_scores, live

    model.eval()
    predictor = live(model, material.task, material.encoder)
    if not material.valid:
        return material.task, {}, predictor
    if not material.task.labels:
        return material.task, dev_scores(model, material), predictor
    logits = predictor.logits(material.encoded_valid)
    task = calibrated(material.task, material.valid, material.encoded_valid, logits)
    answers = [task.decode(row, out) for row, out in zip(material.encoded_valid, logits, strict=True)]
    return task, task.score(material.valid, answers), live(model, task, material.encoder)


def _remembered(origin: Origin, predictor: Predictor, run: Run) -> dict[str, Any]:
    """What the manifest says of how much a continued model forgot; raises `GateError` where it was too much."""
    from luban.stages.train.continual import check

    found = origin.remembered(predictor)
    if found is None:
        return {}
    run.watch(found)
    check(found, run.path)
    return {"continual": asdict(found)}


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
    if predictor.task.sees:
        write_text(work / SETTINGS, json.dumps(material.encoder.settings, indent=1) + "\n")
    rows = golden_rows(
        predictor.task, material.valid or material.rows, synthetic=config.golden == "synthetic", seed=config.seed
    )
    write_golden(work, make_golden(predictor, rows))
    told = predictor.task.companions(int(getattr(model.config, "hidden_size", 0)), predictor.encoder.limit)
    for name, text in told.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(work / name, text)
    if material.drift:
        write_text(work / "drift.json", json.dumps(material.drift, ensure_ascii=False) + "\n")
    (work / "reports").mkdir()
    write_text(work / "reports" / "training.json", json.dumps(list(history), indent=1) + "\n")


def _suspected(progress: Mapping[str, Any], config: TrainConfig, rows: int) -> dict[str, Any]:
    """What the manifest says of suspect labels: how many there are, of how many rows, and what was done with them."""
    if "suspects" not in progress:
        return {}
    return {"suspects": {"found": len(progress["suspects"]), "rows": rows, "noisy": config.noisy}}


def _beside(place: Path, run: Run, material: Material, kept: dict[str, Any]) -> None:
    """What else goes into the folder: reports of what was found on the way, and the files of the method."""
    from luban.stages.train import suspects
    from luban.stages.train.methods.base import BESIDE

    if kept:
        text = json.dumps(kept["continual"], ensure_ascii=False, indent=1)
        write_text(place / "reports" / "continual.json", text + "\n")
    if "suspects" in run.progress:
        write_text(place / "reports" / suspects.FILE, suspects.report(run.progress["suspects"], material.rows))
    if (run.path / "work" / BESIDE).is_dir():
        shutil.copytree(run.path / "work" / BESIDE, place, dirs_exist_ok=True)


def _calibration(task: Task) -> CalibrationInfo:
    kept = task.calibration
    return CalibrationInfo(
        temperature=kept.temperature, mean=kept.mean, spread=kept.spread, temperatures=kept.temperatures
    )


def data_of(data: Prepared, *, hashed: bool = True) -> dict[str, Any]:
    """What the manifest says of the rows; not ``hashed``: nothing by which a guess of them all could be proved."""
    rows = {"train": len(data.train), "valid": len(data.valid), "test": len(data.test), "rejects": len(data.rejects)}
    told = {"source": data.source, "rows": rows, "columns": dict(data.columns)}
    told |= {"fingerprint": data.fingerprint} if hashed else {}
    return {**told, "prepare": dict(data.notes["section"])} if "section" in data.notes else told


def _key(data: Prepared, base: Base, config: TrainConfig, learnt_from: Mapping[str, Any]) -> str:
    # What changes no result may differ: a run that was killed for memory goes on with less of it.
    chosen = config.model_dump(mode="json", exclude={"threads", "memory", "log", "max_forget"})
    told = [data.fingerprint, data.task, base.hash or str(base.path), chosen, made_by().get("luban")]
    told += [dict(learnt_from)] if learnt_from else []
    return hashlib.sha256(canonical(told).encode()).hexdigest()


def set_threads(threads: int) -> None:
    """Processor threads of PyTorch; 0 leaves its own choice."""
    import torch

    if threads:
        torch.set_num_threads(threads)


def _forget(run: Path) -> None:
    """Remove the run's checkpoints and what its method kept; its logs stay."""
    for work in (run / "checkpoint", run / "adapted", *run.glob("work*")):
        shutil.rmtree(work, ignore_errors=True)
    (run / "continual.json").unlink(missing_ok=True)
    if run.is_dir() and not any(run.iterdir()):
        run.rmdir()
