"""Labels that look wrong: found, reported, and acted on as asked."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from luban.folder import Folder
from luban.records import Prepared
from luban.stages.train import suspects, train
from luban.stages.train.material import Material, encode
from luban.stages.train.model import build
from luban.stages.train.suspects import FILE, FOLDS, confident, find, folds, heeded
from tests.train.rows import base, config, prepared

ABOUT = {"order": "order card where when late lost".split(), "film": "film movie love great awful hate".split()}
FLIPPED = {5: "film", 12: "order", 21: "film", 40: "order"}
"rows that are given a wrong label, and which"


def rows(count: int = 60) -> list[dict[str, str]]:
    """Texts of two subjects that share no word; every other one of each."""
    rng = random.Random(3)
    made = []
    for i in range(count):
        subject = ("film", "order")[i % 2]
        made.append({"text": " ".join(rng.choices(ABOUT[subject], k=10)), "label": FLIPPED.get(i, subject)})
    return made


def data() -> Prepared:

    return replace(prepared(), train=rows(), valid=rows()[:4], fingerprint="flipped")


def trained(tmp_path: Path, noisy: str) -> Folder:
    return train(data(), base(tmp_path), config(epochs=1, noisy=noisy), tmp_path / noisy)


def told(folder: Folder) -> list[dict[str, object]]:
    lines = (folder.path / "reports" / FILE).read_text(encoding="utf8").splitlines()
    return [json.loads(line) for line in lines]


def material(tmp_path: Path) -> tuple[Material, list[suspects.Suspect]]:
    made = encode(data(), base(tmp_path), config())
    return made, find(build(made.base, made.task, dropout=0.0), made, seed=13)


def test_flipped_labels_are_found_and_no_others(tmp_path: Path) -> None:
    wrong = {i + 1 for i, label in FLIPPED.items() if label != ("film", "order")[i % 2]}
    _, found = material(tmp_path)
    assert {suspect["row"] for suspect in found} == wrong
    assert all(suspect["label"] != suspect["likely"] for suspect in found)
    assert all(suspect["confidence"] > suspect["support"] for suspect in found)


def test_clean_labels_raise_no_suspicion(tmp_path: Path) -> None:
    honest = [{**row, "label": ("film", "order")[i % 2]} for i, row in enumerate(rows())]
    made = encode(replace(data(), train=honest), base(tmp_path), config())
    assert find(build(made.base, made.task, dropout=0.0), made, seed=13) == []


def test_a_row_in_several_windows_is_judged_as_one(tmp_path: Path) -> None:
    long = [{**row, "text": " ".join([row["text"]] * 4)} for row in rows()]
    made = encode(replace(data(), train=long), base(tmp_path), config(max_length=12))
    assert len(made.examples) > len(long)
    found = find(build(made.base, made.task, dropout=0.0), made, seed=13)
    assert {suspect["row"] for suspect in found} == {
        i + 1 for i in FLIPPED if rows()[i]["label"] != ("film", "order")[i % 2]
    }
    assert {e.row for e in heeded(made, found, "drop").examples}.isdisjoint({s["row"] - 1 for s in found})


def test_dropped_rows_stand_in_the_report_and_their_number_in_the_manifest(tmp_path: Path) -> None:
    made, found = material(tmp_path)
    left = heeded(made, found, "drop").examples
    assert len(left) + len(found) == len(made.examples)
    folder = trained(tmp_path, "drop")
    assert sorted(line["row"] for line in told(folder)) == sorted(suspect["row"] for suspect in found)
    assert folder.manifest.notes["suspects"] == {"found": len(found), "rows": len(rows()), "noisy": "drop"}
    assert folder.manifest.data["rows"]["train"] == len(rows())


def test_weighed_rows_count_as_much_as_their_label_is_believed(tmp_path: Path) -> None:
    made, found = material(tmp_path)
    support = {suspect["row"] - 1: suspect["support"] for suspect in found}
    weighed = heeded(made, found, "weigh").examples
    assert [e.weight for e in weighed] == pytest.approx([support.get(e.row, 1.0) for e in made.examples])


def test_a_row_whose_label_is_not_believed_at_all_still_counts_something(tmp_path: Path) -> None:
    """Else a batch that holds such rows only would be divided by nothing."""
    made, found = material(tmp_path)
    doubted = [{**suspect, "support": 0.0} for suspect in found]
    assert all(example.weight > 0 for example in heeded(made, doubted, "weigh").examples)


def test_keeping_reports_and_changes_no_weight_of_the_model(tmp_path: Path) -> None:
    kept, plain = trained(tmp_path, "keep"), trained(tmp_path, "none")
    assert told(kept)
    assert kept.manifest.files["model.safetensors"] == plain.manifest.files["model.safetensors"]
    assert not (plain.path / "reports" / FILE).exists()


def test_the_report_holds_no_personal_data(tmp_path: Path) -> None:
    personal = [{**row, "text": f"{row['text']} ann.smith@corp.org"} for row in rows()]
    _, found = material(tmp_path)
    assert found
    text = suspects.report(found, personal)
    assert "ann.smith" not in text
    assert "user@example.com" in text


def test_the_report_begins_with_the_most_certain() -> None:
    doubted = [
        {"row": 1, "label": "a", "likely": "b", "confidence": 0.6, "support": 0.4},
        {"row": 2, "label": "a", "likely": "b", "confidence": 0.9, "support": 0.1},
    ]
    lines = suspects.report(doubted, [{"text": "x"}, {"text": "y"}]).splitlines()
    assert [json.loads(line)["row"] for line in lines] == [2, 1]


def test_a_row_is_suspect_where_another_class_reaches_what_it_usually_gets() -> None:
    given = np.array([0, 0, 0, 1, 1, 1])
    first = np.array([0.9, 0.8, 0.1, 0.2, 0.1, 0.45])
    assert confident(given, np.stack([first, 1 - first], 1)) == [(2, 1)]


def test_no_more_than_half_of_a_class_is_suspected() -> None:
    given = np.array([0] * 6 + [1] * 6)
    first = np.array([0.9, 0.1, 0.1, 0.1, 0.1, 0.05, *[0.1] * 6])
    assert [i for i, _ in confident(given, np.stack([first, 1 - first], 1))] == [1, 2, 5]


def test_each_class_is_spread_over_the_folds() -> None:
    given = np.array([0] * 11 + [1] * 20)
    for label in (0, 1):
        counts = np.bincount(folds(given, seed=1)[given == label], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1
