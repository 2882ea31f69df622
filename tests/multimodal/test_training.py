"""A model of several kinds, from rows to answers, in every form it comes in: trained, exported, served, explained, judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file

from luban import verbs
from luban.bases import find
from luban.config import ExportConfig, PrepareConfig, TrainConfig
from luban.errors import ConfigError, DataError, FolderError
from luban.folder import Folder
from luban.fusion import FusedClassifier
from luban.pictures import made
from luban.predict import Predictor
from luban.runtimes.pytorch import open_model
from luban.stages.explain import explain, to_html
from luban.stages.export import export
from luban.stages.serve import Served
from luban.stages.train import train
from luban.testing import tiny_fused
from luban.verbs import explainer
from tests.multimodal.rows import TASK, records, written
from tests.serve.conftest import serving
from tests.train.rows import base, config, prepared

PREDICT, EXPLAIN, INFER = "/models/shop/predict", "/models/shop/explain", "/v2/models/shop/infer"
ROW = {"text": "good film", "price": 31.5, "brand": "north", "image": made(1)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def source(place: Path) -> str:
    return written(place / "rows", records(80))


@pytest.fixture(scope="module")
def shop(place: Path, source: str) -> Folder:
    tiny_fused(place / "base")
    return verbs.train(source, task=TASK, base=str(place / "base"), out=place / "shop", epochs=3, log=())


@pytest.fixture(scope="module")
def graph(place: Path, source: str, shop: Folder) -> Folder:
    return export(shop, rows_of(source), ExportConfig(quantise="none"), place / "graph")


@pytest.fixture(scope="module")
def client(graph: Folder) -> Iterator[httpx.Client]:
    with serving({"shop": Served.open(graph, name="shop", explain=explainer(graph))}) as client:
        yield client


def rows_of(source: str) -> list[dict[str, Any]]:
    found = verbs.prepare(PrepareConfig(source=source), TASK)
    return [dict(row) for row in [*found.train, *found.valid]][:40]


def test_a_model_learns_from_rows_in_which_something_is_missing(shop: Folder, source: str) -> None:
    assert verbs.evaluate(shop, source).scores["accuracy"] > 0.9
    assert shop.manifest.settings["reads"] == ["text", "image"]
    assert shop.manifest.settings["categories"] == {"brand": ["east", "north", "south"]}
    assert "preprocessor_config.json" in shop.manifest.files


def test_the_folder_tells_which_base_sees_its_pictures(shop: Folder) -> None:
    assert shop.manifest.notes["vision_base"]["name"] == "vision"
    assert shop.manifest.notes["vision_base"]["hash"]
    assert "/" not in str(shop.manifest.notes["vision_base"])


def test_nothing_in_the_folder_says_where_it_was_made(shop: Folder, place: Path) -> None:
    assert str(place) not in (shop.path / "config.json").read_text(encoding="utf8")


@pytest.mark.parametrize(
    "row",
    [
        {"text": "good film"},
        {"image": made(2)},
        {"price": 12},
        {"brand": "a brand of its own"},
        {"text": "good film", "image": made(2), "price": "7", "brand": None},
        "good film",
    ],
)
def test_any_kind_may_be_asked_alone(shop: Folder, row: Any) -> None:
    answer = Predictor.open(shop, check=False).predict([row])[0]
    assert sum((answer.scores or {}).values()) == pytest.approx(1.0)


def test_each_kind_changes_the_answer(shop: Folder) -> None:
    model = Predictor.open(shop, check=False)
    whole = model.predict([ROW])[0].scores or {}
    for name in ROW:
        less = model.predict([{key: value for key, value in ROW.items() if key != name}])[0].scores or {}
        assert less["yes"] != whole["yes"]


def test_rows_of_one_call_do_not_touch_each_other(shop: Folder) -> None:
    model = Predictor.open(shop, check=False)
    model.slack = 1.0
    rows = [ROW, {"text": "a film of another length, and no picture"}, {"price": 3}, {"image": made(3)}]
    for row, together in zip(rows, model.predict(rows), strict=True):
        assert model.predict([row])[0].scores == pytest.approx(together.scores, abs=1e-5)


def test_a_picture_that_cannot_be_read_is_told(shop: Folder) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Predictor.open(shop, check=False).predict([{"image": "data:image/png;base64,AAAA"}])


@pytest.mark.parametrize("kinds", [("price", "brand"), ("title", "price"), ("photo", "title"), ("photo", "price")])
def test_rows_need_not_have_every_kind(place: Path, tmp_path: Path, shop: Folder, kinds: tuple[str, ...]) -> None:
    rows = [{name: row[name] for name in (*kinds, "label")} for row in records(32) if any(row[name] for name in kinds)]
    source = written(tmp_path, rows)
    folder = verbs.train(source, task=TASK, base=str(place / "base"), out=tmp_path / "model", epochs=1, log=())
    assert ("preprocessor_config.json" in folder.manifest.files) == ("photo" in kinds)
    assert ("tokenizer.json" in folder.manifest.files) == ("title" in kinds)
    graph = export(folder, rows_of(source), ExportConfig(quantise="none"), tmp_path / "graph")
    assert graph.manifest.notes["export"]["fp32"]["flips"] == 0
    assert folder.manifest.base.name == ("base" if "title" in kinds else "vision" if "photo" in kinds else "none")


def test_pictures_need_a_base_that_sees_them(place: Path, tmp_path: Path, shop: Folder, source: str) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(place / "base", blind, ignore=shutil.ignore_patterns("vision"))
    with pytest.raises(ConfigError, match="--vision-base"):
        verbs.train(source, task=TASK, base=str(blind), out=tmp_path / "model")


def test_a_base_for_pictures_is_refused_for_other_tasks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="text-classification has one base"):
        train(prepared(), base(tmp_path), config(vision_base="resnet-18"), tmp_path / "model")


@pytest.mark.parametrize("method", ["lora", "prefix", "prompt", "bottleneck", "contrastive"])
def test_methods_inside_of_one_encoder_are_refused_with_those_that_are_possible(method: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trains several parts together.*full, freeze, head"):
        train(prepared(TASK), base(tmp_path, TASK), config(method=method), tmp_path / "model")


@pytest.mark.parametrize(
    "options",
    [{"teacher": "minilm"}, {"private": 3.0}, {"adversarial": "fgm"}],
    ids=["teacher", "private", "adversarial"],
)
def test_options_that_cannot_work_are_refused_before_any_work(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        train(prepared(TASK), base(tmp_path, TASK), config(**options), tmp_path / "model")


@pytest.mark.parametrize(("method", "learning"), [("freeze", {"1"}), ("head", set())])
def test_lower_layers_of_each_encoder_stay_as_they_are(method: str, learning: set[str], tmp_path: Path) -> None:
    start = base(tmp_path, TASK)
    folder = train(prepared(TASK), start, config(method=method, epochs=1), tmp_path / "model")
    after = load_file(folder.path / "model.safetensors")
    for kind, place in (("text", start.path), ("image", start.path / "vision")):
        before = load_file(place / "model.safetensors")
        names = [name for name in before if f"encoders.{kind}.{name}" in after and before[name].is_floating_point()]
        changed = {name for name in names if not torch.equal(before[name], after[f"encoders.{kind}.{name}"])}
        assert all(any(part in learning for part in name.split(".")) for name in changed), kind
        assert bool(changed) == bool(learning)
    assert folder.manifest.notes["parameters"]["trained"] < folder.manifest.notes["parameters"]["all"]


def test_an_interrupted_run_gives_the_same_model(tmp_path: Path) -> None:
    start, stop = base(tmp_path, TASK), KeyboardInterrupt()

    def leave(event: Any) -> None:
        if getattr(event, "epoch", 0) == 1 and hasattr(event, "extra"):
            raise stop

    whole = train(prepared(TASK), start, config(epochs=3), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(prepared(TASK), start, config(epochs=3), tmp_path / "halves", watch=leave)
    halves = train(prepared(TASK), start, config(epochs=3), tmp_path / "halves")
    assert whole.manifest.files["model.safetensors"] == halves.manifest.files["model.safetensors"]


def test_a_model_opens_as_it_was_saved_with_nothing_but_safetensors(shop: Folder) -> None:
    model = open_model(shop.path)
    assert isinstance(model, FusedClassifier)
    assert load_file(shop.path / "model.safetensors").keys() == model.state_dict().keys()
    assert not [name for name in shop.manifest.files if name.endswith((".bin", ".pt", ".pkl"))]


def test_weights_that_do_not_fit_their_description_are_told(shop: Folder, tmp_path: Path) -> None:
    shutil.copytree(shop.path, tmp_path / "odd")
    told = json.loads((tmp_path / "odd" / "config.json").read_text(encoding="utf8"))
    (tmp_path / "odd" / "config.json").write_text(json.dumps(told | {"numbers": 7}), encoding="utf8")
    with pytest.raises(FolderError, match="cannot be opened with PyTorch"):
        open_model(tmp_path / "odd")


def test_golden_rows_have_different_kinds_and_small_pictures(shop: Folder) -> None:
    rows = [golden.row for golden in shop.golden()]
    assert {"price", "brand", "image", "text"} <= {name for row in rows for name in row}
    assert all(len(row.get("image", "")) < 10_000 for row in rows)


def test_made_golden_rows_hold_no_text_and_no_picture_of_the_rows(
    place: Path, shop: Folder, source: str, tmp_path: Path
) -> None:
    options = {"golden": "synthetic", "epochs": 1, "log": ()}
    folder = verbs.train(source, task=TASK, base=str(place / "base"), out=tmp_path / "model", **options)
    texts = {row["title"] for row in records()}
    assert not [golden.row for golden in folder.golden() if golden.row.get("text") in texts]


def test_the_graph_answers_as_the_model(shop: Folder, graph: Folder) -> None:
    rows: list[Any] = [ROW, {"text": "bad film"}, {"image": made(4)}, {"price": 9}, {"brand": "new"}]
    expected = Predictor.open(shop, check=False).predict(rows)
    for one, other in zip(expected, Predictor.open(graph).predict(rows), strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-4)
    assert not [name for name in graph.manifest.files if name.endswith(".safetensors")]


def test_the_graph_is_quantised_inside_of_the_bound(shop: Folder, source: str, tmp_path: Path) -> None:
    small = export(shop, rows_of(source), ExportConfig(quantise="int8", max_flips=1.0), tmp_path / "int8")
    assert small.manifest.notes["export"]["kept"] == "int8"
    assert Predictor.open(small).predict([ROW])[0].label in ("yes", "no")


def test_scores_are_told_by_what_there_is_of_the_rows(shop: Folder, source: str, tmp_path: Path) -> None:
    found = verbs.evaluate(shop, source, report=str(tmp_path / "report.html"))
    assert sum(one.rows for one in found.kinds) == found.rows
    assert {"text + image + fields", "text + fields"} <= {one.name for one in found.kinds}
    assert found.as_json()["kinds"][0]["kinds"] == ("text", "image", "fields")
    assert "text + image + fields" in (tmp_path / "report.html").read_text(encoding="utf8")


def test_another_file_may_lack_fields_and_pictures(shop: Folder, tmp_path: Path) -> None:
    rows = [{"title": row["title"], "label": row["label"]} for row in records(8)]
    assert verbs.evaluate(shop, written(tmp_path, rows)).rows == 8


def test_parts_of_a_row_are_weighed_by_what_the_score_loses_without_them(shop: Folder) -> None:
    evidence = explain(Predictor.open(shop, check=False), ROW, target="yes", method="occlusion")
    weights = {part.name: part.weight for part in evidence.parts}
    assert list(weights) == ["text", "image", "fields", "price", "brand"]
    total = sum(weights[name] for name in ("text", "image", "fields"))
    assert evidence.score - evidence.base_score == pytest.approx(total + evidence.gap, abs=1e-5)
    without = explain(Predictor.open(shop, check=False), {**ROW, "price": None}, target="yes", method="occlusion")
    assert weights["price"] == pytest.approx(evidence.score - without.score, abs=1e-5)


def test_words_are_weighed_beside_the_parts(graph: Folder) -> None:
    evidence = explain(Predictor.open(graph, check=False), ROW)
    assert [word.text for word in evidence.words] == ["good", "film"]
    assert evidence.method == "shapley"
    page = to_html(ROW["text"], evidence)
    assert "price 31.5" in page
    assert "brand north" in page


def test_a_row_without_a_text_is_explained_by_its_parts(shop: Folder) -> None:
    evidence = explain(Predictor.open(shop, check=False), {"price": 31.5})
    assert [part.name for part in evidence.parts] == ["price"]
    assert evidence.words == ()
    assert "parts" in evidence.as_json()


def test_gradients_do_not_explain_several_encoders(shop: Folder) -> None:
    with pytest.raises(ConfigError, match="several"):
        explain(Predictor.open(shop, check=False), ROW, method="integrated-gradients")


def test_rows_are_answered_over_http_with_fields_and_data_urls(client: httpx.Client, graph: Folder) -> None:
    said = client.post(PREDICT, json={"inputs": [ROW, {"price": 3}, {"text": "bad film", "image": None}]}).json()
    expected = Predictor.open(graph, check=False).predict([ROW])[0]
    assert said["predictions"][0]["scores"] == pytest.approx(expected.scores, abs=1e-5)
    assert len(said["predictions"]) == 3
    assert client.get("/models/shop").json()["inputs"] == ["text", "image", "price", "brand"]


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"prise": 3}, "prise"),
        ({"price": "dear"}, "is no number"),
        ({"image": "AAAA"}, "cannot be read"),
        ({"image": "/etc/passwd"}, "picture"),
        ({"text": ""}, "nothing of the row"),
        ({"brand": ["a", "b"]}, "is no category"),
        ({}, "empty"),
    ],
)
def test_a_bad_row_is_refused_over_http(client: httpx.Client, row: dict[str, Any], part: str) -> None:
    answer = client.post(PREDICT, json={"inputs": [row]})
    assert answer.status_code == 422
    assert part in answer.text


def test_an_explanation_over_http_has_the_parts(client: httpx.Client) -> None:
    evidence = client.post(EXPLAIN, json=ROW).json()["evidence"]
    assert [part["name"] for part in evidence["parts"]] == ["text", "image", "fields", "price", "brand"]


def test_kserve_takes_any_of_the_inputs(client: httpx.Client) -> None:
    def tensor(name: str, *data: str) -> dict[str, Any]:
        return {"name": name, "datatype": "BYTES", "shape": [len(data)], "data": list(data)}

    asked = [tensor("price", "31.5", ""), tensor("text", "", "bad film"), tensor("image", made(1), "")]
    said = client.post(INFER, json={"inputs": asked}).json()
    expected = client.post(PREDICT, json={"inputs": [{"price": 31.5, "image": made(1)}, {"text": "bad film"}]}).json()
    labels = next(output["data"] for output in said["outputs"] if output["name"] == "label")
    assert labels == [one["label"] for one in expected["predictions"]]


def test_the_recipe_is_what_was_asked_for(shop: Folder) -> None:
    assert shop.manifest.recipe["modality_dropout"] == TrainConfig().modality_dropout
    assert find(str(shop.path)).size == sum(one.numel() for one in open_model(shop.path).state_dict().values())


def test_the_card_tells_what_is_read_and_what_sees_the_pictures(shop: Folder) -> None:
    card = (shop.path / "README.md").read_text(encoding="utf8")
    assert "`price`: a number" in card
    assert "`brand`: one of 3 values" in card
    assert "Pictures are seen by `vision`" in card
    assert "In plain transformers" not in card
