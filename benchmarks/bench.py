"""What the benchmarks share: the options that each takes, bases, rows thinned evenly, the machine told, the table printed.

    parser = bench.parser(__doc__)                     --data, --models, --threads, --quick, --json
    with bench.begun(parser, arguments) as options:    ``options.scratch`` is a folder that goes when this ends
            bench.tell(options, rows)                      rows: what, value, unit, ratio, against, and what else there is

``--quick`` takes made rows (made.py) and a tiny base unless ``--data`` and ``--base`` name others: nothing is needed but
luban itself, and the figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

# Before torch is imported: threads that wait by spinning take the other processes' time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
from made import made
from numpy.typing import NDArray

from luban import bases
from luban.bases import Base
from luban.config import PrepareConfig, TrainConfig, parse
from luban.folder import Folder
from luban.metrics.intervals import mean_of, paired
from luban.predict import Predictor
from luban.records import EpochEnd, Prepared, Rows
from luban.stages.prepare import prepare
from luban.stages.train import train
from luban.tasks import TASKS
from luban.testing import base_for
from luban.training import multiplies_bf16

SHARED = Path(__file__).resolve().parents[2] / "shared"
"where data and weights are looked for: beside the repository"
TREC = {"source": "topic-en-trec/train.txt", "test": "topic-en-trec/test.txt"}
BANKING = {"source": "intent-en-banking77/train.csv", "test": "intent-en-banking77/test.csv"}
Line = dict[str, Any]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark takes."""
    out = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--data", type=Path, help=f"folder with the public data; {SHARED.name}/data beside the repository")
    out.add_argument("--models", type=Path, default=SHARED / "models", help="folder with base models")
    out.add_argument("--threads", type=int, default=1, help="processor threads")
    out.add_argument("--quick", action="store_true", help="seconds, and figures that mean nothing")
    out.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return out


@contextmanager
def begun(made_parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> Iterator[argparse.Namespace]:
    """The options, with data and threads settled, and the machine's load as it was at the start."""
    options = made_parser.parse_args(arguments)
    options.load = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory(prefix="luban-benchmark-") as scratch:
        options.scratch = Path(scratch)
        if options.data is None:
            options.data = made(options.scratch / "data") if options.quick else SHARED / "data"
        torch.set_num_threads(options.threads)
        yield options


def base(options: argparse.Namespace, name: str = "minilm", task: str = "text-classification") -> Base:
    """The base of this name (or of ``--base``), from ``--models`` or the catalogue; a tiny one where it is to be quick."""
    name = getattr(options, "base", None) or name
    if options.quick and not Path(name).is_dir():
        tiny = options.scratch / f"tiny-{task}"
        return bases.find(str(tiny if tiny.is_dir() else base_for(task, tiny)))
    local = options.models / name
    return bases.find(str(local) if local.is_dir() else name)


def rows(options: argparse.Namespace, task: str, sources: Mapping[str, str], **more: Any) -> Prepared:
    """Prepared rows; sources are relative to ``--data``."""
    places = {part: str(options.data / name) for part, name in sources.items()}
    return prepare(PrepareConfig.model_validate({**places, "strict": False, **more}), TASKS[task])


def few(found: Rows, count: int) -> list[dict[str, Any]]:
    """Up to ``count`` rows, evenly spread over all; 0: all."""
    count = min(count or len(found), len(found))
    return [dict(found[int(i)]) for i in np.linspace(0, len(found) - 1, count)]


def thinned(found: Prepared, *, train: int = 0, valid: int = 0, test: int = 0) -> Prepared:
    """Prepared rows with up to so many of each part; 0: all."""
    counts = {"train": train, "valid": valid, "test": test}
    parts = {part: few(getattr(found, part), count) for part, count in counts.items()}
    return replace(found, **parts, fingerprint=f"{found.fingerprint}:{train}:{valid}:{test}")


def line(what: str, value: float | None, unit: str, ratio: float | None = None, against: str = "", **more: Any) -> Line:
    """One figure."""
    return {"what": what, "value": value, "unit": unit, "ratio": ratio, "against": against, **more}


def learnt(options: argparse.Namespace, data: Prepared, out: Path, **settings: Any) -> Folder:
    """A model folder, trained with the defaults but for these options of training; one pass where it is to be quick."""
    quick = {"epochs": 1} if options.quick else {}
    config = parse(TrainConfig, {"task": data.task, "log": (), **settings, **quick})
    begin = base(options, config.base, data.task) if config.start == config.base else bases.find(config.start)
    started = time.process_time()
    folder = train(data, begin, config, out, watch=watch)
    say(f"{out.name}: {time.process_time() - started:.0f} CPU seconds, dev {folder.manifest.scores.get('valid')}")
    return folder


def right(model: Predictor, judged: Rows) -> NDArray[np.bool_]:
    """Which of the rows a classifier answers rightly."""
    answers = model.predict([{name: row[name] for name in ("text", "text_pair") if name in row} for row in judged])
    return np.array([answer.label == row["label"] for answer, row in zip(answers, judged, strict=True)])


def accuracy(what: str, now: NDArray[np.bool_], before: NDArray[np.bool_] | None = None, against: str = "") -> Line:
    """The accuracy of answers that are right or not; ``more``: than others to the same rows, and its paired interval."""
    value = float(now.mean())
    if before is None:
        return line(what, round(value, 4), "accuracy")
    gap = paired(mean_of(a=before), mean_of(a=now), len(now))["a"]
    more = [round(each, 4) for each in (gap.value, gap.low, gap.high)]
    return line(
        what, round(value, 4), "accuracy", round(value / max(1e-9, float(before.mean())), 4), against, more=more
    )


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """What a figure depends on besides the code."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "bf16": multiplies_bf16(),
        "load": [options.load, round(os.getloadavg()[0], 2)],
        "torch": torch.__version__,
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def tell(options: argparse.Namespace, found: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows: as one JSON object, or as a table."""
    if options.json:
        print(json.dumps({"machine": machine(options), "rows": list(found)}))
        return
    print(", ".join(f"{name} {value}" for name, value in machine(options).items()))
    width = max((len(row["what"]) for row in found), default=0)
    for row in found:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:9.3f} x {row['against']}"
        value = "-" if row["value"] is None else f"{row['value']:.4f}"
        more = "  {:+.4f} ({:+.4f} to {:+.4f})".format(*row["more"]) if "more" in row else ""
        print(f"{row['what']:<{width}} {value:>10} {row['unit']:<24}{ratio}{more}".rstrip())


def say(text: str) -> None:
    """A line on stderr, while the work goes on."""
    print(text, file=sys.stderr, flush=True)


def watch(event: object) -> None:
    """Dev scores to stderr, as `luban.stages.train.train` tells them."""
    if isinstance(event, EpochEnd):
        say(f"  epoch {event.epoch}: {dict(event.extra)}")
