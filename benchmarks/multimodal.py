"""What a text, a picture and fields are worth together, each alone, and when one of them is missing.

    python benchmarks/multimodal.py --data DIR [--epochs N] [--side PIXELS] [--quick] [--json]

Real: the photographs of img-flowers12, 720 to learn from and 240 to judge on, and which flower each shows. MADE by this
script, because no such data set with all three is at hand: the photographs are cut down to ``--side`` pixels, so that they
do not tell everything; a text of two sentences out of phrases that three or four of the twelve flowers share, one in five of
them another flower's; a height drawn around the flower's own, which overlaps its neighbours'; the month it was seen in, right
for seven in ten. The made parts carry a part of the answer each, by construction: that together they carry more is no
finding, how much of it a fused model gets, and what is left when one is missing, is. ``--quick`` takes a few made pictures.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import bench
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from luban.folder import Folder
from luban.pictures import content
from luban.pictures import made as picture
from luban.predict import Predictor
from luban.records import Prepared, Rows

TASK, DATA = "multimodal-classification", "img-flowers12"
COLOURS = ("yellow all over", "blue to violet", "white with a bright middle", "spotted or striped")
PLACES = ("It grows in open meadows", "It likes the shade of trees", "It comes up in gardens and beds")
MONTHS = ("march", "april", "may", "june", "july", "august")
WRONG_PHRASE, WRONG_MONTH = 0.2, 0.3
KINDS = ("text", "image", "fields")
SEED = 13


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        source = options.scratch / "rows"
        flowers(options, source)
        sources = {"source": f"{source}/train.jsonl", "test": f"{source}/test.jsonl"}
        data = bench.rows(options, TASK, sources, numbers=("height",), categories=("month",))
        bench.tell(options, table(data, options))


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--epochs", type=float, default=4)
    out.add_argument("--side", type=int, default=12, help="pixels that the photographs are cut down to")
    return out


def table(data: Prepared, options: argparse.Namespace) -> list[bench.Line]:
    """Each kind alone, all together, and what is left of those without one, with and without modality dropout."""
    alone = {kind: right(learnt(options, only(data, {kind}), f"{kind}-alone"), data.test, {kind}) for kind in KINDS}
    lines = [bench.accuracy(f"{kind} alone", answers) for kind, answers in alone.items()]
    best = max(alone, key=lambda kind: alone[kind].mean())
    for name, settings in (("together", {}), ("together, nothing hidden", {"modality_dropout": 0})):
        folder = learnt(options, data, name.replace(", ", "-").replace(" ", "-"), **settings)
        whole = right(folder, data.test, KINDS)
        lines.append(bench.accuracy(name, whole, alone[best], f"{best} alone"))
        for kind in KINDS:
            answers = right(folder, data.test, set(KINDS) - {kind})
            lines.append(bench.accuracy(f"{name}: asked without {kind}", answers, whole, name))
        for kind in KINDS:
            answers = right(folder, data.test, {kind})
            lines.append(bench.accuracy(f"{name}: asked with {kind} only", answers, alone[kind], f"{kind} alone"))
    return lines


def learnt(options: argparse.Namespace, data: Prepared, name: str, **settings: Any) -> Folder:
    """A model of these rows."""
    eye = {} if options.quick else {"vision_base": str(options.models / "mobilenet_v1_0.25_224")}
    settings = {"epochs": options.epochs, **eye, **settings}
    return bench.learnt(options, data, options.scratch / name, **settings)


def kept(row: Any, kinds: Collection[str]) -> dict[str, Any]:
    """The row with these of its kinds; the others are missing."""
    kind_of = {"text": "text", "image": "image", "hash": "image", "number:height": "fields", "category:month": "fields"}
    return {name: value if kind_of.get(name, "label") in {*kinds, "label"} else None for name, value in row.items()}


def only(data: Prepared, kinds: Collection[str]) -> Prepared:
    """Prepared rows of which nothing but these kinds is there."""
    from dataclasses import replace

    parts = {part: [kept(row, kinds) for row in getattr(data, part)] for part in ("train", "valid", "test")}
    return replace(data, **parts, fingerprint=f"{data.fingerprint}:{'-'.join(sorted(kinds))}")


def right(folder: Folder, rows: Rows, kinds: Collection[str]) -> NDArray[np.bool_]:
    """Which of the rows are answered rightly where only these kinds are told."""
    model = Predictor.open(folder, check=False)
    answers = model.predict([model.task.question(kept(row, kinds)) for row in rows])
    return np.array([answer.label == row["label"] for answer, row in zip(answers, rows, strict=True)])


def flowers(options: argparse.Namespace, out: Path) -> None:
    """Write train.jsonl and test.jsonl and their pictures: real photographs cut down, and what is made beside them."""
    rng = random.Random(SEED)
    out.mkdir(parents=True)
    for part in ("train", "test"):
        found = made_pictures(out, part) if options.quick else sorted((options.data / DATA / part).glob("*/*.jpg"))
        labels = sorted({file.parent.name for file in found})
        with (out / f"{part}.jsonl").open("w", encoding="utf8") as file:
            for number, photograph in enumerate(found):
                small = out / f"{part}-{number}.png"
                Image.open(photograph).convert("RGB").resize((options.side, options.side)).save(small)
                label = labels.index(photograph.parent.name)
                row = beside(label, rng) | {"image": small.name, "label": photograph.parent.name}
                file.write(json.dumps(row) + "\n")


def beside(label: int, rng: random.Random) -> dict[str, Any]:
    """The made parts of a row of this class: a text, a height and a month."""
    told = rng.randrange(12) if rng.random() < WRONG_PHRASE else label
    said = rng.randrange(12) if rng.random() < WRONG_PHRASE else label
    text = f"{PLACES[told // 4 % 3]}. The flower is {COLOURS[said % 4]}."
    month = rng.choice(MONTHS) if rng.random() < WRONG_MONTH else MONTHS[label % 6]
    return {"text": text, "height": round(rng.gauss(10 + 6 * (label * 5 % 12), 8), 1), "month": month}


def made_pictures(out: Path, part: str) -> list[Path]:
    """Pictures of two classes, drawn."""
    files = []
    for number in range(24):
        file = out / "drawn" / part / f"class-{number % 2}" / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(picture(number)))
        files.append(file)
    return files


if __name__ == "__main__":
    main()
