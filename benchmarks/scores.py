"""Scores of luban's defaults on public data: every row of docs/results.md's first table.

    python benchmarks/scores.py --data DIR [--only NAME ...] [--rows N] [--set KEY=VALUE ...] [--keep DIR] [--quick] [--json]

Each data set is prepared, trained with the defaults (nothing is set but task, base and sources) and scored on its test
rows beside the linear floor and the goal. ``--keep`` keeps the model folders, and a folder that is there is scored, not
trained again. ``--rows`` and ``--set`` change training after all, and the row says so. ``--quick`` trains on
300 rows for one epoch.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import bench

from luban.config import EvaluateConfig
from luban.folder import Folder
from luban.records import Prepared
from luban.stages.evaluate import evaluate, unseen
from luban.stages.prepare import fingerprint


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


def rows_of(trial: Trial, options: argparse.Namespace) -> Prepared:
    """The trial's rows; validation rows are split off the training rows where the data has none."""
    sources = {"source": trial.train, "valid": trial.valid, "test": trial.test}
    given = {part: name for part, name in sources.items() if name}
    found = bench.rows(options, trial.task, given, columns=dict(trial.columns), valid_share=trial.share)
    if trial.drop:
        kept = {
            part: [dict(r) for r in getattr(found, part) if r["label"] != trial.drop]
            for part in ("train", "valid", "test")
        }
        found = replace(found, **kept, fingerprint=fingerprint(*kept.values()))
    if options.quick:
        return bench.thinned(found, train=300, valid=60, test=60)
    most = options.rows or trial.most
    return bench.thinned(found, train=most) if most else found


def run(trial: Trial, keep: Path, options: argparse.Namespace) -> bench.Line:
    """Train (or open) and score one trial."""
    settings = dict(word.split("=", 1) for word in options.set)
    prepared = rows_of(trial, options)
    out = keep / trial.name.lower().replace(" ", "-")
    started = time.perf_counter(), time.process_time()
    if (out / "luban.json").is_file():
        folder = Folder.open(out)
    else:
        folder = bench.learnt(options, prepared, out, base=trial.base, **settings)
    seconds, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    rows = list(prepared.test)
    scored = unseen(rows, prepared.train) if trial.unseen else rows
    told = evaluate(folder, scored, EvaluateConfig()).as_json()
    value = told["scores"][trial.score]
    floor = f", linear floor {trial.floor}" if trial.floor else ""
    return bench.line(
        f"{trial.name} {trial.score}" + (f" ({trial.note})" if trial.note else ""),
        round(value, 4),
        trial.score,
        round(value / trial.goal, 4) if trial.goal else None,
        (f"goal {trial.goal}" if trial.goal else "no goal") + floor,
        interval=told["intervals"].get(trial.score),
        rows={"train": len(prepared.train), "valid": len(prepared.valid), "test": len(scored)},
        base=trial.base,
        set=settings,
        seconds=folder.manifest.notes.get("seconds", round(seconds)),
        cpu_seconds_here=round(cpu),
        schedule=folder.manifest.recipe.get("schedule"),
    )


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--only", nargs="*", default=[])
    out.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    out.add_argument("--rows", type=int, default=0, help="training rows at most, evenly spread; 0: the trial's")
    out.add_argument("--keep", type=Path)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        rows = []
        for trial in TRIALS:
            here = (options.data / trial.train).exists()
            if trial.name not in (options.only or [trial.name]) or (options.quick and not here):
                continue
            rows.append(run(trial, options.keep or options.scratch, options))
            bench.say(json.dumps(rows[-1]))
        bench.tell(options, rows)


if __name__ == "__main__":
    main()
