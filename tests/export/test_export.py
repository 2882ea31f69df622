"""Exporting tiny real folders: what is kept, what is compared, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from luban.config import ExportConfig
from luban.encoding import collate
from luban.errors import DataError, FolderError, GateError, ParityError
from luban.folder import Folder, Golden, write, write_golden
from luban.predict import Predictor
from luban.runtimes.onnx import OnnxRuntime
from luban.stages.export import export
from luban.stages.export.graph import fuse, trace
from luban.stages.export.quantise import features, quantise
from luban.tasks import TASKS
from luban.testing import SAMPLES
from tests.export.tiny import LABELS, MANY, TEXTS, rows_for, tiny_folder

PLAIN = ExportConfig(quantise="none", threads=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny_folder(tmp_path_factory.mktemp("trained") / "tiny")


@pytest.fixture(scope="module")
def exported(trained: Folder, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return export(trained, rows_for("text-classification"), PLAIN, tmp_path_factory.mktemp("exported") / "tiny")


def test_the_exported_folder_opens_and_runs_without_pytorch_weights(exported: Folder) -> None:
    assert exported.manifest.runtime == "onnx"
    assert not list(exported.path.glob("*.safetensors"))
    assert isinstance(Predictor.open(exported, threads=1).runtime, OnnxRuntime)


def test_the_exported_folder_names_its_parent_and_keeps_scores_and_reports(trained: Folder, exported: Folder) -> None:
    assert exported.manifest.parent == trained.manifest.fingerprint
    assert exported.manifest.scores == trained.manifest.scores
    assert {"drift.json", "reports/evaluation.json", "reports/export.json", "golden.jsonl"} <= set(
        exported.manifest.files
    )


@pytest.mark.parametrize("task", sorted(LABELS))
def test_every_task_answers_as_it_did_in_pytorch(task: str, tmp_path: Path) -> None:
    source = tiny_folder(tmp_path / "source", task)
    made = export(source, rows_for(task), PLAIN, tmp_path / "made")
    notes = made.manifest.notes["export"]
    assert notes["fp32"]["difference"] < 1e-4
    assert notes["fp32"]["flips"] == 0
    assert notes["kept"] == "fp32"


def test_the_graph_takes_batches_of_any_size_and_length(exported: Folder) -> None:
    predictor = Predictor.open(exported, threads=1)
    windows = [predictor.encoder.text(text).windows[0] for text in TEXTS]
    together = predictor.runtime.run(collate(windows, predictor.encoder.pad_id))
    alone = [predictor.runtime.run(collate([w], predictor.encoder.pad_id))[0] for w in windows]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-4)


def test_attention_and_normalisation_of_bert_are_fused(exported: Folder) -> None:
    fused = exported.manifest.notes["export"]["fused"]
    assert fused["Attention"] == 2
    assert fused["SkipLayerNormalization"] >= 4


def test_a_graph_that_no_fusion_knows_stays_as_it_was(trained: Folder, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    entry, result = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b"))
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "one", [entry], [result])
    source = tmp_path / "one.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(source))
    assert fuse(source, tmp_path / "out.onnx", trained.path / "config.json") == {}
    assert (tmp_path / "out.onnx").read_bytes() == source.read_bytes()


def test_int8_makes_the_graph_smaller(trained: Folder, tmp_path: Path) -> None:
    trace(trained, tmp_path / "traced.onnx")
    quantise(tmp_path / "traced.onnx", tmp_path / "int8.onnx")
    import onnx

    kinds = {t.data_type for t in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer if len(t.dims) == 2}
    assert onnx.TensorProto.INT8 in kinds


def test_int8_is_kept_when_it_is_asked_for_and_inside_the_bound(trained: Folder, tmp_path: Path) -> None:
    config = ExportConfig(quantise="int8", max_flips=1.0, threads=1)
    made = export(trained, rows_for("text-classification"), config, tmp_path / "made")
    assert made.manifest.notes["export"]["kept"] == "int8"
    Predictor.open(made, threads=1)


def test_int8_outside_the_bound_is_refused_with_how_near_it_came(tmp_path: Path) -> None:
    source = tiny_folder(tmp_path / "source", "token-classification", spread=1.0)
    config = ExportConfig(quantise="int8", max_flips=0.0, threads=1)
    with pytest.raises(GateError, match=r"int8 changes \d") as refused:
        export(source, rows_for("token-classification", MANY), config, tmp_path / "made")
    assert refused.value.exit_code == 1
    assert not (tmp_path / "made").exists()


def test_auto_keeps_fp32_where_int8_changes_too_much_and_says_why(tmp_path: Path) -> None:
    source = tiny_folder(tmp_path / "source", "token-classification", spread=1.0)
    config = ExportConfig(max_flips=0.0, threads=1)
    notes = export(source, rows_for("token-classification", MANY), config, tmp_path / "made").manifest.notes["export"]
    assert notes["kept"] == "fp32"
    assert "times the speed" in notes["reason"]
    assert notes["int8"]["flips"] > 0
    assert notes["int8"]["which"]


def test_a_difference_over_the_bound_is_a_parity_error_of_export(trained: Folder, tmp_path: Path) -> None:
    config = ExportConfig(quantise="none", max_difference=1e-12, threads=1)
    with pytest.raises(ParityError) as refused:
        export(trained, rows_for("text-classification"), config, tmp_path / "made")
    assert refused.value.stage == "export"


def test_golden_rows_that_do_not_reproduce_stop_the_export(trained: Folder, tmp_path: Path) -> None:
    def fill(work: Path) -> None:
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            (work / name).write_bytes((trained.path / name).read_bytes())
        first = trained.golden()[0]
        scores = {name: 1.0 - value for name, value in first.expect["scores"].items()}
        write_golden(work, [Golden(first.row, {**first.expect, "scores": scores})])

    wrong = write(tmp_path / "wrong", trained.manifest, fill)
    with pytest.raises(ParityError, match="golden row"):
        export(wrong, rows_for("text-classification"), PLAIN, tmp_path / "made")


def test_an_exported_folder_is_not_exported_again(exported: Folder, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="already runs on 'onnx'"):
        export(exported, rows_for("text-classification"), PLAIN, tmp_path / "again")


def test_rows_are_needed_to_compare(trained: Folder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row"):
        export(trained, [], PLAIN, tmp_path / "made")


def test_the_report_shows_the_texts_and_the_manifest_only_their_positions(tmp_path: Path) -> None:
    source = tiny_folder(tmp_path / "source", "token-classification", spread=1.0)
    made = export(
        source, rows_for("token-classification", MANY), ExportConfig(max_flips=0.0, threads=1), tmp_path / "made"
    )
    report = json.loads((made.path / "reports" / "export.json").read_text(encoding="utf8"))
    shown = report["int8"]["which"][0]
    assert shown["text"] == MANY[shown["row"]][:80]
    assert made.manifest.notes["export"]["int8"]["which"][0] == shown["row"]


def test_scores_are_given_where_rows_are_labelled(trained: Folder, tmp_path: Path) -> None:
    rows = [{**row, "label": "good"} for row in rows_for("text-classification")]
    notes = export(trained, rows, PLAIN, tmp_path / "made").manifest.notes["export"]
    assert notes["pytorch"]["scores"]["accuracy"] == notes["fp32"]["scores"]["accuracy"]


def test_scores_are_given_where_a_taggers_rows_carry_tags(tmp_path: Path) -> None:
    rows = [TASKS["token-classification"].parse(row) for row in SAMPLES["token-classification"]]
    made = export(tiny_folder(tmp_path / "source", "token-classification"), rows, PLAIN, tmp_path / "made")
    assert "entity_f1" in made.manifest.notes["export"]["pytorch"]["scores"]


@pytest.mark.parametrize("task", ["intent-and-slots", "extractive-qa"])
def test_spans_and_answers_survive_the_export(task: str, tmp_path: Path) -> None:
    from luban.testing import tiny_folder as folder_of

    rows = [TASKS[task].parse(row) for row in SAMPLES[task]]
    source = folder_of(tmp_path / "source", task)
    made = export(source, rows, PLAIN, tmp_path / "made")
    notes = made.manifest.notes["export"]["fp32"]
    assert notes["flips"] == 0.0
    assert 0.0 <= notes["difference"] < 1e-3
    assert TASKS[task].main_score in notes["scores"]
    small = export(source, rows, ExportConfig(quantise="int8", max_flips=1.0), tmp_path / "small")
    assert Predictor.open(small, threads=1).predict([small.golden()[0].row])


def test_processor_features_are_read_as_linux_names_them(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("flags\t: fpu avx2 avx512_vnni sse2\n", encoding="utf8")
    assert features(file) == ["avx512_vnni"]
    assert features(tmp_path / "absent") == []
