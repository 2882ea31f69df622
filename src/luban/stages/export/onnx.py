"""A trained folder becomes an ONNX folder: traced, fused, compared with PyTorch, quantised where that is worth it.

Nothing is taken on trust: golden rows are re-run, real rows are compared, int8 is timed against fp32 on this machine,
and what was found stands in ``manifest.notes["export"]`` and ``reports/export.json``. It trains and prints nothing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luban.config import ExportConfig
from luban.encoding import Batch, collate
from luban.errors import DataError, FolderError, GateError, ParityError
from luban.folder import Folder, Golden, check_target, write, write_golden, write_text
from luban.manifest import NAME
from luban.predict import Predictor, check_golden, make_golden
from luban.records import Rows, Watch, unwatched
from luban.runtimes import RUNTIMES
from luban.runtimes.base import Runtime, encoder_beside
from luban.stages.export.agreement import Agreement, Answers, ask, compare, spaced
from luban.stages.export.crossing import trace_crossing
from luban.stages.export.graph import OPSET, fuse, trace
from luban.stages.export.quantise import features, quantise
from luban.stages.export.speed import faster
from luban.stages.export.writer import trace_writer
from luban.tasks import TASKS

STAGE = "export"
MODEL = "model.onnx"
REPORT = "reports/export.json"
TIMED = 24
LEFT_BEHIND = {NAME, "README.md", "golden.jsonl", REPORT}
WEIGHTS = {".safetensors", ".onnx"}
LEAST_GAIN = 1.02
"int8 must be faster by more than the noise of the timing"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One ONNX graph on its way: the file, ready to answer, and how it agrees with PyTorch."""

    file: Path
    predictor: Predictor
    agreement: Agreement
    scores: dict[str, float]


WAYS = {"int8": "", "int8-but-outputs": r"(?<!attention)/output/dense/MatMul$"}
"ways to quantise, fastest first, and the nodes each leaves in fp32: a feed-forward block's output sees the widest activations"

Judge = Callable[[Path], Candidate]
"opens a graph and compares it"


def export(folder: Folder, rows: Rows, config: ExportConfig, out: Path, *, watch: Watch = unwatched) -> Folder:
    """The folder as an ONNX folder at ``out``, compared on ``rows`` (held-out, canonical; labels are used where given).

    Raises `ParityError` where fp32 ONNX differs from PyTorch by more than ``config.max_difference``, `GateError` where
    int8 was demanded and is not inside ``config.max_flips``, `FolderError` for a folder that is not of runtime pytorch.
    """
    check_target(Path(out))
    _check(folder, rows)
    chosen = spaced(folder.task().asks_model(rows), config.rows)
    with tempfile.TemporaryDirectory(prefix="luban-export-") as work:
        reference = _reference(folder, config)
        expected = ask(reference, chosen)
        judge = _judge(folder, chosen, expected, config)
        fused = _traced(folder, Path(work))
        plain = judge(Path(work) / MODEL)
        _hold_parity(folder, plain, config)
        batches = _singles(plain.predictor, expected)
        notes: dict[str, Any] = {
            "opset": OPSET,
            "fused": fused or "nothing was recognised: the graph runs as it was traced",
            "processor": {"int8": features()},
            "rows": len(chosen),
            "fp32": _told(plain, reference.runtime, batches),
        }
        notes["pytorch"] = {"ms": round(notes["fp32"]["ms"] * notes["fp32"]["speedup"], 3)}
        if expected_scores := _scores(reference, chosen, expected):
            notes["pytorch"]["scores"] = expected_scores
        kept = plain
        if config.quantise != "none":
            kept = _quantised(judge, plain, config, notes, batches)
        notes["kept"] = "int8" if kept is not plain else "fp32"
        watch(notes)
        return _write(folder, kept, notes, Path(out))


def _check(folder: Folder, rows: Rows) -> None:
    if folder.manifest.runtime != "pytorch":
        raise FolderError(
            f"{folder.path} already runs on {folder.manifest.runtime!r}.",
            "Export starts from a folder of runtime 'pytorch'.",
            "Export the folder that training wrote.",
        )
    if not len(rows):
        raise DataError(
            "There is no row to compare the export on.",
            "Export compares ONNX with PyTorch on real held-out rows.",
            "Give a file of rows.",
        )


def _reference(folder: Folder, config: ExportConfig) -> Predictor:
    runtime = RUNTIMES["pytorch"].open(folder.path, threads=config.threads or None)
    return Predictor(folder.task(), folder.encoder(), runtime)


def _judge(folder: Folder, rows: Rows, expected: Answers, config: ExportConfig) -> Judge:
    """What makes a candidate of a file: opens it and compares it."""
    from luban.runtimes.onnx import OnnxRuntime

    def judge(file: Path) -> Candidate:
        runtime = OnnxRuntime.load(file, threads=config.threads or None)
        predictor = Predictor(folder.task(), folder.encoder(), runtime)
        got = ask(predictor, rows)
        return Candidate(file, predictor, compare(rows, expected, got), _scores(predictor, rows, got))

    return judge


def _traced(folder: Folder, work: Path) -> dict[str, int]:
    raw = work / "traced.onnx"
    if folder.task().crosses:
        trace_crossing(folder, work / MODEL)
        return {}
    if folder.task().generates:  # the fusions know encoders only
        trace_writer(folder, work / MODEL)
        return {}
    trace(folder, raw)
    return fuse(raw, work / MODEL, folder.path / "config.json")


def _hold_parity(folder: Folder, plain: Candidate, config: ExportConfig) -> None:
    check_golden(plain.predictor, folder.golden(), stage=STAGE)
    if plain.agreement.difference > config.max_difference:
        first = plain.agreement.which[0] if plain.agreement.which else "no answer changed"
        raise ParityError(
            STAGE,
            f"plain ONNX differs from PyTorch by {plain.agreement.difference:.3g} on {plain.agreement.rows} rows, "
            f"more than max_difference {config.max_difference:.3g} (first change: {first}).",
            "Serve the folder with the pytorch runtime, or raise max_difference if you accept that.",
        )


def _quantised(
    judge: Judge, plain: Candidate, config: ExportConfig, notes: dict[str, Any], batches: list[Batch]
) -> Candidate:
    """The int8 candidate where it is to be kept, else ``plain``; the reason goes into the notes."""
    small, inside = plain, False
    for name, spared in WAYS.items():
        file = plain.file.with_name(f"{name}.onnx")
        for graph, small_one in zip(graphs(plain.file), (file, encoder_beside(file)), strict=False):
            quantise(graph, small_one, spared=spared)
        small = judge(file)
        notes["int8"] = {"way": name, **_told(small, plain.predictor.runtime, batches, notes["fp32"]["ms"])}
        inside = small.agreement.flips <= config.max_flips
        if inside:
            break
    gain, flips = notes["int8"]["speedup"], small.agreement.flips
    notes["reason"] = (
        f"int8 runs at {gain:.2f} times the speed of fp32 ONNX on this machine and changes {flips:.2%} of the answers "
        f"(bound {config.max_flips:.2%})."
    )
    if config.quantise == "int8" and not inside:
        raise GateError(
            f"int8 changes {flips:.2%} of {small.agreement.rows} rows' answers (largest difference of a probability "
            f"{small.agreement.difference:.3g}).",
            f"At most {config.max_flips:.2%} was asked for with max_flips.",
            "Raise max_flips, or export with quantise=auto, which keeps fp32 where int8 is not good enough.",
        )
    return small if inside and (gain > LEAST_GAIN or config.quantise == "int8") else plain


def _told(one: Candidate, slow: Runtime, batches: list[Batch], slow_ms: float = 0.0) -> dict[str, Any]:
    """A candidate for the notes, timed against ``slow`` on single rows; ``slow_ms``: what is already told of that.

    One time is measured, the others follow from it by the ratios, so that the figures agree on a busy machine, too.
    """
    speedup, measured = faster(one.predictor.runtime, slow, batches)
    told: dict[str, Any] = {
        **one.agreement.as_json(),
        "bytes": sum(graph.stat().st_size for graph in graphs(one.file)),
        "ms": round((slow_ms or measured) / speedup, 3),
        "speedup": round(speedup, 3),
    }
    return {**told, "scores": one.scores} if one.scores else told


def graphs(file: Path) -> list[Path]:
    """The graphs of a model: ``file``, and its encoder's where it stands by itself."""
    return [file, *(beside for beside in [encoder_beside(file)] if beside.is_file())]


def _singles(predictor: Predictor, answers: Answers) -> list[Batch]:
    """Single-row batches of evenly spaced rows, to time with."""
    windows = [window for row in answers.encoded for window in row.windows]
    step = max(1, len(windows) // TIMED)
    return [collate([window], predictor.encoder.pad_id) for window in windows[::step][:TIMED]]


def _scores(predictor: Predictor, rows: Rows, answers: Answers) -> dict[str, float]:
    """The task's scores where every row carries its target columns (a tagger's canonical rows: tags), else nothing."""
    task = predictor.task
    wanted = [c.name for c in task.columns if c.target and (c.required or c.name == "tags")]
    if task.generates:
        known = all(prediction.likelihood is not None for prediction in answers.predictions)
        return dict(task.score(rows, answers.predictions)) if known else {}
    if not wanted or not all(name in row for row in rows for name in wanted):
        return {}
    return {name: float(value) for name, value in predictor.task.score(rows, answers.predictions).items()}


def _write(folder: Folder, kept: Candidate, notes: dict[str, Any], out: Path) -> Folder:
    golden = make_golden(kept.predictor, [g.row for g in folder.golden()])
    brief = {name: _brief(value) for name, value in notes.items()}
    manifest = folder.manifest.model_copy(
        update={
            "runtime": "onnx",
            "parent": folder.manifest.fingerprint,
            "files": {},
            "made_by": {},
            "notes": {**folder.manifest.notes, STAGE: brief},
        }
    )
    return write(out, manifest, lambda work: _fill(folder, kept.file, golden, notes, work))


def _fill(folder: Folder, model: Path, golden: list[Golden], notes: dict[str, Any], work: Path) -> None:
    for name in folder.manifest.files:
        own = name in TASKS[folder.manifest.task].files
        if not own and (name in LEFT_BEHIND or Path(name).suffix in WEIGHTS or name.endswith(".index.json")):
            continue
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder.path / name, work / name)
    for graph in graphs(model):
        shutil.copyfile(graph, work / graph.name.replace(model.stem, Path(MODEL).stem, 1))
    if golden:
        write_golden(work, golden)
    (work / REPORT).parent.mkdir(exist_ok=True)
    write_text(work / REPORT, json.dumps(notes, indent=1, ensure_ascii=False) + "\n")


def _brief(note: Any) -> Any:
    """A note without texts: rows stand in the report, only their positions in the manifest."""
    if isinstance(note, dict) and "which" in note:
        return {**note, "which": [each["row"] for each in note["which"]]}
    return note
