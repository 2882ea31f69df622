"""The model folder: written whole or not at all, and what is refused on opening it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from luban.errors import FolderError
from luban.folder import Folder, Golden, write, write_golden, write_text
from luban.manifest import BaseInfo, FileInfo, Manifest

MANIFEST = Manifest(name="tickets", task="text-classification", labels=("a", "b"), base=BaseInfo(name="minilm"))


def fill(work: Path, *, value: float = 1.0) -> None:
    """The smallest set of files that a folder may hold."""
    save_file({"weight": np.full(4, value, dtype=np.float32)}, work / "model.safetensors")
    (work / "config.json").write_text('{"model_type": "bert"}', encoding="utf8")
    (work / "reports").mkdir()
    (work / "reports" / "evaluation.json").write_text("{}", encoding="utf8")
    write_golden(work, [Golden({"text": "你好"}, {"label": "a", "score": 0.75})])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return write(tmp_path / "tickets", MANIFEST, fill)


def rewrite_manifest(folder: Folder, **fields: object) -> None:
    """Change the manifest as somebody who knows how the fingerprint is made would."""
    (folder.path / "luban.json").write_text(folder.manifest.model_copy(update=fields).to_json(), encoding="utf8")


def test_what_was_written_opens(folder: Folder) -> None:
    opened = Folder.open(folder.path)
    assert opened.manifest == folder.manifest
    assert set(opened.manifest.files) == {"model.safetensors", "config.json", "golden.jsonl", "reports/evaluation.json"}
    assert opened.bytes == sum((folder.path / name).stat().st_size for name in opened.manifest.files)


def test_golden_rows_come_back(folder: Folder) -> None:
    assert folder.golden() == [Golden({"text": "你好"}, {"label": "a", "score": 0.75})]


def test_the_card_is_written_with_it(folder: Folder) -> None:
    assert "# tickets" in (folder.path / "README.md").read_text(encoding="utf8")


def test_the_card_may_be_edited(folder: Folder) -> None:
    (folder.path / "README.md").write_text("My own words.", encoding="utf8")
    assert Folder.open(folder.path).manifest == folder.manifest


def test_others_may_read_it(folder: Folder) -> None:
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o755


def test_who_made_it_is_recorded(folder: Folder) -> None:
    assert {"python", "luban", "tokenizers"} <= set(folder.manifest.made_by)


def test_a_crash_while_filling_leaves_nothing(tmp_path: Path) -> None:
    def crash(work: Path) -> None:
        fill(work)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "tickets", MANIFEST, crash)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_replacing_leaves_the_old_folder(folder: Folder) -> None:
    def crash(work: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write(folder.path, MANIFEST, crash)
    assert Folder.open(folder.path).manifest == folder.manifest
    assert os.listdir(folder.path.parent) == ["tickets"]


def test_a_model_folder_is_replaced_whole(folder: Folder) -> None:
    again = write(folder.path, MANIFEST.model_copy(update={"name": "second"}), lambda work: fill(work, value=2.0))
    assert again.manifest.name == "second"
    assert again.manifest.files["model.safetensors"] != folder.manifest.files["model.safetensors"]
    assert os.listdir(folder.path.parent) == ["tickets"]


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "tickets").mkdir()
    assert write(tmp_path / "tickets", MANIFEST, fill).manifest.name == "tickets"


@pytest.mark.parametrize(
    "make", [lambda path: path.write_text("mine"), lambda path: (path / "mine").mkdir(parents=True)]
)
def test_what_is_no_model_folder_is_not_replaced(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "tickets")
    with pytest.raises(FolderError, match="exists and is not a model folder"):
        write(tmp_path / "tickets", MANIFEST, fill)


def test_a_directory_without_a_manifest_is_no_model_folder(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"has no luban\.json"):
        Folder.open(tmp_path)


def test_a_manifest_that_is_no_text_is_refused(folder: Folder) -> None:
    (folder.path / "luban.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FolderError, match="not JSON"):
        Folder.open(folder.path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pkl", "weights.PT", "head.joblib", "reports/more.pickle"])
def test_a_pickle_is_refused(folder: Folder, name: str) -> None:
    (folder.path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(FolderError, match="no pickle"):
        Folder.open(folder.path)


@pytest.mark.parametrize("name", ["modeling_own.py", "run.sh", "fast.so"])
def test_code_is_refused(folder: Folder, name: str) -> None:
    (folder.path / name).write_text("import os", encoding="utf8")
    with pytest.raises(FolderError, match="no code"):
        Folder.open(folder.path)


def test_a_pickle_is_refused_even_where_the_manifest_lists_it(folder: Folder) -> None:
    (folder.path / "model.bin").write_bytes(b"\x80\x04.")
    rewrite_manifest(folder, files={"model.bin": FileInfo(sha256="0" * 64, bytes=3)})
    with pytest.raises(FolderError, match="no pickle"):
        Folder.open(folder.path)


@pytest.mark.parametrize(
    "name",
    ["other.safetensors", "model.onnx", "adapter_config.json", "vocab.txt", "model.onnx.data", "reports/more.json"],
)
def test_a_part_of_a_model_that_is_not_listed_is_refused(folder: Folder, name: str) -> None:
    (folder.path / name).write_bytes(b"{}")
    with pytest.raises(FolderError, match=r"which luban\.json does not list"):
        Folder.open(folder.path)


@pytest.mark.parametrize("name", ["LICENSE.txt", "NOTICE", ".gitattributes", ".git/config", "reports/README.md"])
def test_what_is_no_part_of_a_model_may_be_beside_it(folder: Folder, name: str) -> None:
    (folder.path / name).parent.mkdir(exist_ok=True)
    (folder.path / name).write_text("words", encoding="utf8")
    assert Folder.open(folder.path).manifest == folder.manifest


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoConfig": "evil.Config"}},
        {"attn_implementation": "org/kernel"},
        {"text_config": {"_attn_implementation": "org/kernel"}},
    ],
)
def test_a_config_that_names_code_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    def with_code(work: Path) -> None:
        fill(work)
        (work / "config.json").write_text(json.dumps(config), encoding="utf8")

    with pytest.raises(FolderError, match="names code to run"):
        write(tmp_path / "tickets", MANIFEST, with_code)


def test_a_config_that_names_attention_of_the_library_opens(tmp_path: Path) -> None:
    def plain(work: Path) -> None:
        fill(work)
        (work / "config.json").write_text('{"attn_implementation": "sdpa"}', encoding="utf8")

    assert write(tmp_path / "tickets", MANIFEST, plain).manifest.name == "tickets"


def test_a_missing_file_is_named(folder: Folder) -> None:
    (folder.path / "config.json").unlink()
    with pytest.raises(FolderError, match=r"lacks config\.json"):
        Folder.open(folder.path)


def test_a_file_of_another_size_is_refused_even_unhashed(folder: Folder) -> None:
    (folder.path / "config.json").write_text("{}", encoding="utf8")
    with pytest.raises(FolderError, match="not the file that was written"):
        Folder.open(folder.path, verify=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7), name=st.sampled_from(["model.safetensors", "golden.jsonl"]))
def test_a_changed_bit_is_refused(folder: Folder, at: int, bit: int, name: str) -> None:
    file = folder.path / name
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[at % len(whole)] ^= 1 << bit
    file.write_bytes(bytes(damaged))
    try:
        with pytest.raises(FolderError, match="not the file that was written"):
            Folder.open(folder.path)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname", "reports/../../outside.json"])
def test_a_listed_path_that_leaves_the_folder_is_refused(folder: Folder, name: str) -> None:
    (folder.path.parent / "outside.json").write_text("{}", encoding="utf8")
    rewrite_manifest(folder, files={**folder.manifest.files, name: FileInfo(sha256="0" * 64, bytes=2)})
    with pytest.raises(FolderError, match="Files stay inside"):
        Folder.open(folder.path)


@pytest.mark.parametrize("inside", ["model.safetensors", "notes.txt", "reports/link"])
def test_a_link_that_leaves_the_folder_is_refused(folder: Folder, inside: str) -> None:
    outside = folder.path.parent / "outside"
    outside.write_bytes((folder.path / "model.safetensors").read_bytes())
    (folder.path / inside).unlink(missing_ok=True)
    (folder.path / inside).symlink_to(outside)
    with pytest.raises(FolderError, match="points outside"):
        Folder.open(folder.path)


def test_a_linked_directory_that_leaves_the_folder_is_refused(folder: Folder) -> None:
    (folder.path.parent / "elsewhere").mkdir()
    (folder.path / "more").symlink_to(folder.path.parent / "elsewhere")
    with pytest.raises(FolderError, match="points outside"):
        Folder.open(folder.path)


def test_text_is_replaced_in_one_step(tmp_path: Path) -> None:
    write_text(tmp_path / "note", "one")
    write_text(tmp_path / "note", "two")
    assert (tmp_path / "note").read_text(encoding="utf8") == "two"
    assert os.listdir(tmp_path) == ["note"]


def test_the_task_has_the_labels_and_thresholds_of_the_model(tmp_path: Path) -> None:
    made = MANIFEST.model_copy(update={"task": "multi-label-classification", "thresholds": {"a": 0.3}})
    task = write(tmp_path / "m", made, fill).task()
    assert task.labels == ("a", "b")
    assert json.loads(json.dumps(dict(task.calibration.thresholds))) == {"a": 0.3}


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\x1c", "\r"])
def test_a_golden_row_may_hold_any_line_mark(tmp_path: Path, mark: str) -> None:
    golden = [Golden({"text": f"one{mark}two"}, {"label": "a"})]
    write_golden(tmp_path, golden)
    assert Folder(tmp_path, MANIFEST).golden() == golden


def test_golden_rows_that_are_none_are_refused(folder: Folder) -> None:
    (folder.path / "golden.jsonl").write_text('{"row": {}}\n', encoding="utf8")
    with pytest.raises(FolderError, match="cannot be read"):
        folder.golden()


def test_a_link_in_a_circle_is_refused(folder: Folder) -> None:
    (folder.path / "round").symlink_to("round")
    with pytest.raises(FolderError, match="points outside"):
        Folder.open(folder.path)


@pytest.mark.parametrize("out", [".", "../here", ".."])
def test_the_current_directory_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(FolderError, match="current directory"):
        write(out, MANIFEST, fill)
