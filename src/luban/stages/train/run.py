"""`train`: from prepared rows and a base model to a model folder, start to end on one page."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luban.bases import Base
from luban.config import TrainConfig
from luban.errors import ConfigError, DataError
from luban.folder import Folder, check_target, made_by
from luban.manifest import canonical, check_name
from luban.predict import Predictor
from luban.records import Lost, Prepared, Watch, unwatched
from luban.tasks import TASKS

if TYPE_CHECKING:
    from luban.stages.train.loop import Run
    from luban.stages.train.origin import Origin


def train(
    data: Prepared, base: Base, config: TrainConfig, out: Path, *, name: str = "", watch: Watch = unwatched
) -> Folder:
    """Fine-tune ``base`` on ``data`` and write the model folder ``out``.

    ``watch`` is called with `Forecast`, every `Step` and every `EpochEnd` (its ``extra`` holds the dev scores). A run that
    was interrupted goes on from ``<out>.run``. Raises `DataError` for rows that cannot be learnt from, `ConfigError` for a
    name that no URL can hold, `GateError` where training diverges.
    """
    from luban import processes
    from luban.stages.train import adapt, private, room
    from luban.stages.train.choice import chosen
    from luban.stages.train.origin import origin_of

    processes.join()
    config = chosen(config, data, base, watch)
    if TASKS[data.task].recommends:
        from luban.stages.train.recommender import train as towers

        return towers(data, base, config, out, name=name, watch=watch)
    check_target(out)
    if not len(data.train):
        raise DataError(
            "there are no training rows.", "At least two rows are needed.", "Check the source.", file=data.source
        )
    check_method(config, data.task, base.path)
    check_objectives(config, data)
    private.check(config, data, base.path)
    adapt.check(data, config, base.path)
    room.check(config, data, base.path)
    name = check_name(name or out.resolve().name)
    return _trained(origin_of(data, base, private.guarded(config)), out, name, watch)


def _trained(origin: Origin, out: Path, name: str, watch: Watch) -> Folder:
    """The folder of a run that was found to be possible."""
    from luban import processes
    from luban.stages.train import private
    from luban.stages.train.adapt import adapted
    from luban.stages.train.cache import Place
    from luban.stages.train.finish import Finished, judged, write_folder
    from luban.stages.train.loop import Run, work_of
    from luban.stages.train.material import encode
    from luban.stages.train.methods import METHODS
    from luban.stages.train.recipe import schedule
    from luban.stages.train.reference import referred

    data, config = origin.data, origin.config
    start = time.perf_counter()
    set_threads(config.threads)
    base, read = adapted(origin.base, data, config, Path(f"{out}.run"), watch=watch)
    origin = replace(origin, base=base)
    work = work_of(Path(f"{out}.run"))
    method = METHODS[config.method]
    key = _key(data, base, config, origin.notes)
    read_by = replace(base, path=method.reader(base.path, config, work))
    material = encode(data, read_by, config, task=origin.task, place=Place(work / "examples", key))
    if config.private:
        material = private.first_windows(material)
    plan = schedule(config, material.task, len(material.examples))
    material = origin.taught(material, work)
    model = origin.model(material)
    run = Run(Path(f"{out}.run"), key, config, unwatched if processes.rank() else watch)
    material = referred(model, material, work, key=run.key, bf16=plan.bf16, watch=run.watch)
    if material.lost:
        run.watch(Lost(**material.lost))
    model = origin.plain(run.fine_tune(model, material, plan))
    scores, predictor = judged(model, material)
    kept = _remembered(origin, predictor, run)
    if processes.rank() == 0:
        notes = {"seconds": round(time.perf_counter() - start, 1), **read, **kept}
        notes |= {"lost": dict(material.lost)} if material.lost else {}
        recipe = {**config.model_dump(mode="json"), "schedule": asdict(plan)}
        done = Finished(origin, material, run, predictor, scores, recipe, notes)
        folder = write_folder(done, out, name)
        Predictor.open(folder, stage="train")
        method.check(folder, base.path)
        _forget(run.path)
    processes.wait()
    return Folder.open(out)


def check_method(config: TrainConfig, task: str, base: Path) -> None:
    """Raises `UnknownName` for a method there is not, `ConfigError` for a task or a base that it cannot train."""
    from luban.stages.train.methods import METHODS

    if config.packing and (not TASKS[task].generates or TASKS[task].crosses):
        raise ConfigError(
            f"packing is on, and {task} does not go on from texts.",
            "Rows are packed for text-generation.",
            "Leave out --packing.",
        )
    if config.vision_base and not TASKS[task].fuses:
        raise ConfigError(
            f"vision_base is {config.vision_base}, and {task} has one base.",
            "Rows of multimodal-classification have a second one for their pictures.",
            "Name the base with --base.",
        )
    reason = METHODS[config.method].refused(config, task)
    if reason:
        able = [name for name in METHODS if not METHODS[name].refused(config, task)]
        raise ConfigError(reason, f"Methods for {task}: {', '.join(able)}.", "Choose one of them with --method.")
    METHODS[config.method].check_base(config, base)
    if TASKS[task].crosses:
        TASKS[task].check_start(config, base, base.name)


def check_objectives(config: TrainConfig, data: Prepared) -> None:
    """Raises `ConfigError` for an option of the loss that these rows cannot take."""
    from luban.stages.train import reference
    from luban.stages.train.objectives.rules import check

    check(config, data.task, data.train)
    reference.check(config, data)


def _remembered(origin: Origin, predictor: Predictor, run: Run) -> dict[str, Any]:
    """What the manifest says of how much a continued model forgot; raises `GateError` where it was too much."""
    from luban.stages.train.continual import check

    found = origin.remembered(predictor)
    if found is None:
        return {}
    run.watch(found)
    check(found, run.path)
    return {"continual": asdict(found)}


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
