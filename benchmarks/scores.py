"""Scores of luban's defaults on public data: every row of docs/results.md's first table.

    python benchmarks/scores.py --data DIR [--only NAME ...] [--set KEY=VALUE ...] [--keep DIR] [--quick] [--json]

Each data set is prepared, trained with the defaults (nothing is set but task, base and sources) and scored on its test
rows beside the linear floor and the goal. ``--keep`` keeps the model folders, and a folder that is there is scored, not
trained again. ``--set`` sets options of training after all, and the row says so. ``--quick`` trains on 300 rows for one
epoch: it shows that the script runs, its scores mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from luban import bases
from luban.config import EvaluateConfig, PrepareConfig, TrainConfig
from luban.folder import Folder
from luban.records import EpochEnd, Prepared, Rows
from luban.stages.evaluate import evaluate, unseen
from luban.stages.prepare import fingerprint, prepare
from luban.stages.train import train
from luban.tasks import TASKS


@dataclass(frozen=True)
class Trial:
    """One row of the table; paths are relative to the data directory."""

    name: str
    task: str
    score: str
    goal: float | None
    floor: float | None
    train: str
    test: str
    valid: str = ""
    base: str = "minilm"
    columns: tuple[tuple[str, str], ...] = ()
    unseen: bool = False
    drop: str = ""
    note: str = ""
    share: float = 0.05
    "of the training rows, split off to choose by where there are no validation rows"
    most: int = 0
    "training rows at most, evenly spread; 0: all"


CLASSIFY, TAG, JOINT, ANSWER = "text-classification", "token-classification", "intent-and-slots", "extractive-qa"
SUBJ, CMRC = "qa-en-subjqa/electronics", "qa-zh-cmrc2018"
SST, SNIPS, SENTI, THUC = "sent-en-sst2", "slu-en-snips", "sent-zh-chnsenticorp", "topic-zh-thucnews10"
BANKING, CLUENER, TREC = "intent-en-banking77", "ner-zh-cluener", "topic-en-trec"
E5 = "e5-small-zh-en"
TRIALS = (
    Trial("Banking77", CLASSIFY, "accuracy", 0.935, 0.915, f"{BANKING}/train.csv", f"{BANKING}/test.csv"),
    Trial(
        "CLINC150",
        CLASSIFY,
        "accuracy",
        0.955,
        0.929,
        "intent-en-clinc150/data_full.json",
        "",
        drop="oos",
        note="in scope",
    ),
    Trial("SST-2", CLASSIFY, "accuracy", 0.905, 0.824, f"{SST}/glue_train.parquet", f"{SST}/glue_dev.tsv", note="dev"),
    Trial("TREC coarse", CLASSIFY, "accuracy", 0.96, 0.882, f"{TREC}/train.txt", f"{TREC}/test.txt"),
    Trial("SNIPS intents", CLASSIFY, "accuracy", 0.98, 0.977, SNIPS, ""),
    Trial("SNIPS slots", TAG, "entity_f1", 0.95, None, SNIPS, ""),
    Trial("WNUT-17", TAG, "entity_f1", 0.42, None, "ner-en-wnut17", ""),
    Trial("ChnSentiCorp", CLASSIFY, "accuracy", 0.92, 0.929, SENTI, "", base=E5, unseen=True, note="unseen test rows"),
    Trial(
        "CLUENER", TAG, "entity_f1", 0.70, None, f"{CLUENER}/train.jsonl", f"{CLUENER}/dev.jsonl", base=E5, note="dev"
    ),
    Trial(
        "THUCNews-10",
        CLASSIFY,
        "accuracy",
        0.90,
        0.878,
        f"{THUC}/dev.txt",
        f"{THUC}/test.txt",
        base=E5,
        note="from dev",
    ),
    Trial(
        "Flowers-12",
        "image-classification",
        "accuracy",
        0.95,
        0.958,
        "img-flowers12/train",
        "img-flowers12/test",
        base="mobilenet_v1_0.25_224",
        note="floor: a probe",
        share=0.2,
    ),
    Trial("SNIPS intents and slots", JOINT, "exact_match", 0.90, None, SNIPS, ""),
    Trial("ATIS intents and slots", JOINT, "exact_match", 0.85, None, "slu-en-atis", ""),
    Trial("CAIS intents and slots", JOINT, "exact_match", 0.847, None, "slu-zh-cais", "", base=E5),
    Trial("SMP2019 intents and slots", JOINT, "exact_match", 0.726, None, "slu-zh-smp2019", "", base=E5),
    Trial("SubjQA electronics", ANSWER, "f1", None, None, f"{SUBJ}/train.parquet", f"{SUBJ}/test.parquet", most=700),
    Trial(
        "CMRC 2018", ANSWER, "f1", None, None, f"{CMRC}/trial.json", f"{CMRC}/dev.json", base=E5, note="from trial, dev"
    ),
)


def rows_of(trial: Trial, data: Path, quick: bool) -> Prepared:
    """The trial's rows; validation rows are split off the training rows where the data has none."""
    found = prepare(
        PrepareConfig(
            source=str(data / trial.train),
            valid=str(data / trial.valid) if trial.valid else "",
            test=str(data / trial.test) if trial.test else "",
            columns=dict(trial.columns),
            valid_share=trial.share,
            strict=False,
        ),
        TASKS[trial.task],
    )
    if trial.drop:
        kept = {
            part: [dict(r) for r in getattr(found, part) if r["label"] != trial.drop]
            for part in ("train", "valid", "test")
        }
        found = replace(found, **kept, fingerprint=fingerprint(*kept.values()))
    if trial.most:
        found = replace(found, train=first(found.train, trial.most), fingerprint=f"{found.fingerprint}:{trial.most}")
    if not quick:
        return found
    parts = {"train": first(found.train, 300), "valid": first(found.valid, 60), "test": first(found.test, 60)}
    return Prepared(found.task, found.source, **parts, rejects=(), columns=found.columns, fingerprint="quick")


def first(rows: Rows, count: int) -> list[dict[str, object]]:
    """Up to ``count`` rows, evenly spread."""
    step = max(1, len(rows) // count)
    return [dict(rows[i]) for i in range(0, len(rows), step)][:count]


def run(trial: Trial, keep: Path, options: argparse.Namespace) -> dict[str, object]:
    """Train (or open) and score one trial."""
    data, models, quick = options.data, options.models, options.quick
    settings = dict(word.split("=", 1) for word in options.set)
    prepared = rows_of(trial, data, quick)
    out = keep / trial.name.lower().replace(" ", "-")
    started = time.perf_counter(), time.process_time()
    if (out / "luban.json").is_file():
        folder = Folder.open(out)
    else:
        base = bases.find(str(models / trial.base) if (models / trial.base).is_dir() else trial.base)
        config = TrainConfig.model_validate(
            {"task": trial.task, "base": trial.base, "log": (), "epochs": 1 if quick else 0, **settings}
        )
        folder = train(prepared, base, config, out, watch=say)
    seconds, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    rows = list(prepared.test)
    scored = unseen(rows, prepared.train) if trial.unseen else rows
    evaluation = evaluate(folder, scored, EvaluateConfig())
    value = evaluation.as_json()["scores"][trial.score]
    return {
        "what": f"{trial.name} {trial.score}" + (f" ({trial.note})" if trial.note else ""),
        "value": round(value, 4),
        "unit": trial.score,
        "ratio": round(value / trial.goal, 4) if trial.goal else None,
        "against": (f"goal {trial.goal}" if trial.goal else "no goal")
        + (f", linear floor {trial.floor}" if trial.floor else ""),
        "interval": evaluation.as_json()["intervals"].get(trial.score),
        "rows": {"train": len(prepared.train), "valid": len(prepared.valid), "test": len(scored)},
        "base": trial.base,
        "set": settings,
        "seconds": folder.manifest.notes.get("seconds", round(seconds)),
        "cpu_seconds_here": round(cpu),
        "schedule": folder.manifest.recipe.get("schedule"),
    }


def say(event: object) -> None:
    """Dev scores to stderr."""
    if isinstance(event, EpochEnd):
        print(f"  epoch {event.epoch}: {dict(event.extra)}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", type=Path, default=Path("../shared/models"))
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    keep = options.keep or Path(tempfile.mkdtemp(prefix="luban-scores-"))
    rows = []
    for trial in TRIALS:
        if options.only and trial.name not in options.only:
            continue
        rows.append(run(trial, keep, options))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    if options.json:
        print(json.dumps({"machine": machine, "rows": rows}))
    else:
        for row in rows:
            print(f"{row['what']:48} {row['value']:.4f}   {row['against']}")


if __name__ == "__main__":
    main()
