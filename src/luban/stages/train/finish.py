"""The end of a run: the model is calibrated and judged on the validation rows, and written down as a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luban.config import TrainConfig
from luban.folder import Folder, write, write_golden, write_text
from luban.manifest import CalibrationInfo, Manifest
from luban.pictures import SETTINGS, PictureEncoder
from luban.predict import Predictor, make_golden
from luban.records import Prepared
from luban.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

    from luban.stages.train.loop import Run
    from luban.stages.train.material import Material
    from luban.stages.train.origin import Origin


TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
    "chat_template.jinja",
)  # fmt: skip
"the pickles-free files that transformers reads a tokenizer from"
TOLD = ("private",)
"what the manifest's notes take from the progress of a run"


@dataclass(frozen=True, slots=True)
class Finished:
    """A trained model with what is told of it: its ``recipe``, and ``notes`` for the manifest."""

    origin: Origin
    material: Material
    run: Run
    predictor: Predictor
    scores: Mapping[str, float]
    recipe: Mapping[str, Any]
    notes: Mapping[str, Any]


def judged(model: nn.Module, material: Material) -> tuple[dict[str, float], Predictor]:
    """The model, calibrated on the validation rows, with its scores there."""
    from luban.stages.train.calibrate import calibrated
    from luban.stages.train.material import dev_scores, live

    model.eval()
    predictor = live(model, material.task, material.encoder)
    if not material.valid:
        return {}, predictor
    if not material.task.labels:
        return dev_scores(model, material), predictor
    logits = predictor.logits(material.encoded_valid)
    task = calibrated(material.task, material.valid, material.encoded_valid, logits)
    answers = [task.decode(row, out) for row, out in zip(material.encoded_valid, logits, strict=True)]
    return task.score(material.valid, answers), live(model, task, material.encoder)


def write_folder(done: Finished, out: Path, name: str) -> Folder:
    """The model folder ``out``."""

    def fill(place: Path) -> None:
        _fill(place, done.predictor, done.material, done.run.config, done.run.progress["history"])
        _beside(place, done)

    return write(out, _manifest(done, name), fill)


def _manifest(done: Finished, name: str) -> Manifest:
    task, origin, run = done.predictor.task, done.origin, done.run
    return Manifest(
        name=name,
        task=task.name,
        labels=task.labels,
        max_length=done.material.encoder.limit,
        base=origin.root,
        parent=origin.parent.manifest.fingerprint if origin.parent is not None else None,
        recipe=dict(done.recipe),
        data=data_of(origin.data, hashed=not run.config.private),
        thresholds=task.calibration.thresholds,
        calibration=_calibration(task),
        settings=task.settings,
        scores={"valid": dict(done.scores)},
        notes={
            "history": run.progress["history"],
            "parameters": run.parameters,
            **origin.notes,
            **{key: run.progress[key] for key in TOLD if key in run.progress},
            **_suspected(run.progress, run.config, len(origin.data.train)),
            **_watched(len(done.material.valid), len(origin.data.valid)),
            **done.notes,
        },
    )


def _fill(
    work: Path, predictor: Predictor, material: Material, config: TrainConfig, history: Sequence[dict[str, float]]
) -> None:
    from luban.stages.train.golden import golden_rows

    model = predictor.runtime.model  # type: ignore[attr-defined]
    reads = not predictor.task.fuses or material.encoder.text is not None
    write_plain(work, model, material.base if reads else work, history)  # rows without texts need no tokenizer
    sight = getattr(material.encoder, "pictures", material.encoder)
    if isinstance(sight, PictureEncoder):
        write_text(work / SETTINGS, json.dumps(sight.settings, indent=1) + "\n")
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


def write_plain(place: Path, model: Any, base: Path, history: Sequence[Mapping[str, float]]) -> None:
    """What any trained folder holds: the transformers model, the tokenizer of the folder ``base``, and how it learnt."""
    from luban.runtimes.pytorch import quiet

    with quiet():
        model.save_pretrained(place, safe_serialization=True)
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, place / name)
    (place / "reports").mkdir()
    write_text(place / "reports" / "training.json", json.dumps(list(history), indent=1) + "\n")


def _suspected(progress: Mapping[str, Any], config: TrainConfig, rows: int) -> dict[str, Any]:
    """What the manifest says of suspect labels: how many there are, of how many rows, and what was done with them."""
    if "suspects" not in progress:
        return {}
    return {"suspects": {"found": len(progress["suspects"]), "rows": rows, "noisy": config.noisy}}


def _watched(rows: int, whole: int) -> dict[str, Any]:
    """What the manifest says where dev scores come from a part of the validation rows."""
    return {"watched": {"rows": rows, "of": whole}} if rows < whole else {}


def _beside(place: Path, done: Finished) -> None:
    """What else goes into the folder: reports of what was found on the way, and the files of the method."""
    from luban.stages.train import suspects
    from luban.stages.train.methods.base import BESIDE

    run, material = done.run, done.material
    if "continual" in done.notes:
        text = json.dumps(done.notes["continual"], ensure_ascii=False, indent=1)
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
