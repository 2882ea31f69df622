"""A student with half of its teacher's layers: what it scores with the teacher's answers and without, and what it costs.

    python benchmarks/distil.py [--source DIR] [--teacher FOLDER] [--layers N] [--hidden X] [--threads N] [--quick]
                                [--data DIR] [--json]

The teacher is trained with the defaults (or given: a folder trained from the same rows); each student starts as a copy of it
with N of its base's layers, evenly spread, and learns with the defaults from the same rows: from the labels alone, from labels
and the teacher's answers, and from its hidden states as well. All are scored on the test rows; the intervals of the differences
are paired. Speed is rows a second on those rows, the models in turns. ``--quick`` takes a few rows: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import bench

from luban.folder import Folder
from luban.predict import Predictor
from luban.records import Prepared, Rows

TASK = "text-classification"
ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        if options.quick:
            options.layers = 1
        data = rows_of(options)
        bench.tell(options, list(measured(trained(data, options), data.test)))


def rows_of(options: argparse.Namespace) -> Prepared:
    """The rows with their own test part."""
    place = options.data / options.source
    own = {"source": f"{options.source}/train.txt", "test": f"{options.source}/test.txt"}
    data = bench.rows(options, TASK, own if (place / "test.txt").is_file() else {"source": options.source})
    return bench.thinned(data, train=48, valid=24, test=24) if options.quick else data


def trained(data: Prepared, options: argparse.Namespace) -> dict[str, Predictor]:
    """Teacher and students, by what they are called in the table."""
    given = Folder.open(options.teacher) if options.teacher else None
    teacher = given or bench.learnt(options, data, options.scratch / "teacher")
    copy = {"teacher": str(teacher.path), "student_layers": options.layers}
    ways: dict[str, dict[str, Any]] = {
        "labels alone": {"distil_weight": 0.0},
        "labels and the teacher's answers": {},
        "labels, answers and hidden states": {"distil_hidden": options.hidden},
    }
    models = {"teacher": Predictor.open(teacher)}
    for number, (name, way) in enumerate(ways.items()):
        folder = bench.learnt(options, data, options.scratch / f"student-{number}", **copy, **way)
        models[f"{options.layers} layers, {name}"] = Predictor.open(folder)
    return models


def measured(models: dict[str, Predictor], rows: Rows) -> Iterator[bench.Line]:
    """A line of accuracy and one of speed for each model, beside the teacher's."""
    asked = [dict(row) for row in rows]
    right = {name: bench.right(model, asked) for name, model in models.items()}
    seconds = {name: float("inf") for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            started = time.process_time()
            model.predict(asked)
            seconds[name] = min(seconds[name], time.process_time() - started)
    for name in models:
        student = name != "teacher"
        yield bench.accuracy(name, right[name], right["teacher"] if student else None, "the teacher")
        faster = round(seconds["teacher"] / seconds[name], 2) if student else None
        yield bench.line(name, round(len(asked) / seconds[name], 1), "rows a CPU second", faster, "the teacher")


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--source", default="topic-en-trec", help="folder of --data with train and test rows")
    out.add_argument("--teacher", default="", help="a folder trained from these rows; trained here where none is named")
    out.add_argument("--layers", type=int, default=3)
    out.add_argument("--hidden", type=float, default=1.0, help="weight of the hidden states in the last line")
    return out


if __name__ == "__main__":
    main()
