"""Rows with pictures: folders, lists and Parquet; what is broken is named, what lies outside is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from luban.config import PrepareConfig
from luban.errors import DataError
from luban.stages.prepare import check, load, prepare, split
from luban.stages.prepare.binary import _rows_of
from luban.tasks.image_classification import ImageClassification


def picture(number: int) -> bytes:
    out = io.BytesIO()
    values = np.random.default_rng(number).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()


def tree(root: Path, parts: tuple[str, ...] = ("",), count: int = 4) -> Path:
    """Two directories of pictures, in each part."""
    number = 0
    for part in parts:
        for label in ("cat", "dog"):
            (root / part / label).mkdir(parents=True)
            for i in range(count):
                number += 1
                (root / part / label / f"{i}.png").write_bytes(picture(number))
    return root


def config(source: Path, **values: object) -> PrepareConfig:
    return PrepareConfig.model_validate({"source": str(source), **values})


def test_each_directory_is_a_class(tmp_path: Path) -> None:
    rows = prepare(config(tree(tmp_path / "pets"), valid_share=0.25), ImageClassification)
    assert {row["label"] for row in rows.train} == {"cat", "dog"}
    assert len(rows.train) + len(rows.valid) == 8
    assert all(Path(row["image"]).is_file() for row in rows.train)
    assert len({row["hash"] for row in (*rows.train, *rows.valid)}) == 8


def test_parts_are_taken_as_they_are_named(tmp_path: Path) -> None:
    rows = prepare(config(tree(tmp_path / "pets", ("train", "val", "test"), 2)), ImageClassification)
    assert [len(part) for part in (rows.train, rows.valid, rows.test)] == [4, 4, 4]


@pytest.mark.parametrize("held", [b"no picture", b"", picture(1)[:60]])
def test_a_broken_file_is_named_with_the_reason(held: bytes, tmp_path: Path) -> None:
    root = tree(tmp_path / "pets")
    (root / "dog" / "bad.jpg").write_bytes(held)
    with pytest.raises(DataError, match="the picture") as error:
        prepare(config(root), ImageClassification)
    assert str(error.value.file).endswith("dog/bad.jpg")
    rows = prepare(config(root, strict=False), ImageClassification)
    assert len(rows.train) + len(rows.valid) == 8
    assert rows.rejects[0].source.endswith("dog/bad.jpg")


def test_files_that_are_no_pictures_by_name_are_counted_not_lost(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets")
    (root / "cat" / "Thumbs.db").write_bytes(b"x")
    loaded = load(str(root), ImageClassification)
    assert loaded.notes["files"]["train"][0]["files_passed_over"] == 1


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_list_names_pictures_beside_it(ending: str, tmp_path: Path) -> None:
    root = tree(tmp_path / "pets")
    rows = [(f"{label}/{i}.png", label) for label in ("cat", "dog") for i in range(4)]
    lines = {
        "csv": ["file_name,label", *(",".join(row) for row in rows)],
        "jsonl": [json.dumps({"image": name, "label": label}) for name, label in rows],
    }[ending]
    (root / f"list.{ending}").write_text("\n".join(lines) + "\n", encoding="utf8")
    for source in (root, root / f"list.{ending}"):
        found = load(str(source), ImageClassification).parts["train"].rows
        assert [row["label"] for row in found] == ["cat"] * 4 + ["dog"] * 4


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "pets/../../secret.png"])
def test_a_picture_outside_of_the_folder_of_its_list_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "secret.png").write_bytes(picture(1))
    (tmp_path / "rows" / "list.csv").write_text(f"image,label\n{name},a\n", encoding="utf8")
    with pytest.raises(DataError, match="outside of"):
        load(str(tmp_path / "rows" / "list.csv"), ImageClassification)


def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets")
    (tmp_path / "secret.png").write_bytes(picture(99))
    (root / "cat" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="outside of"):
        load(str(root), ImageClassification)


def test_parquet_holds_the_bytes_themselves(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": picture(i), "path": None}, "label": "ab"[i % 2]} for i in range(6)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "train.parquet")
    found = load(str(tmp_path / "train.parquet"), ImageClassification).parts["train"].rows
    assert len(found) == 6
    assert found[0]["image"].startswith("data:image/*;base64,")


def test_a_hub_data_set_gives_the_bytes_of_its_pictures() -> None:
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    rows = datasets.Dataset.from_dict({"image": [{"bytes": picture(1), "path": None}], "label": [1]}, features=features)
    (_, record), *_ = _rows_of("hf:pets", rows).items()
    assert ImageClassification.parse(record)["label"] == "b"


def test_equal_pictures_stay_together_and_are_found_by_the_check(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", ("train", "test"), 3)
    (root / "test" / "cat" / "copy.png").write_bytes((root / "train" / "cat" / "0.png").read_bytes())
    (root / "train" / "dog" / "copy.png").write_bytes((root / "train" / "cat" / "0.png").read_bytes())
    found = check(str(root), ImageClassification)
    assert {finding.kind for finding in found.findings} >= {"leak", "duplicate", "contradiction"}


def test_the_fingerprint_is_of_the_pictures_not_of_where_they_lie(tmp_path: Path) -> None:
    one, other = (prepare(config(tree(tmp_path / name)), ImageClassification) for name in ("a", "b"))
    assert one.fingerprint == other.fingerprint


def test_rows_that_are_split_go_with_their_pictures(tmp_path: Path) -> None:
    source = tree(tmp_path / "pets")
    split(str(source), ImageClassification, tmp_path / "out", config(source, valid_share=0.25))
    again = prepare(config(tmp_path / "out"), ImageClassification)
    assert len(again.train) + len(again.valid) == 8
    assert len(list((tmp_path / "out" / "images").iterdir())) == 8


def test_a_folder_of_pictures_without_classes_can_be_answered_and_not_learnt(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.png").write_bytes(picture(1))
    rows = load(str(tmp_path / "new"), ImageClassification, labelled=False).parts["train"].rows
    assert [Path(row["image"]).name for row in rows] == ["a.png"]
    with pytest.raises(DataError, match="no column for 'label'"):
        load(str(tmp_path / "new"), ImageClassification)


@pytest.mark.parametrize("value", [None, "", "  ", 7, {"bytes": None, "path": None}, ["a"]])
def test_a_cell_that_names_no_picture_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="is no picture"):
        ImageClassification.parse({"image": value}, labelled=False)
