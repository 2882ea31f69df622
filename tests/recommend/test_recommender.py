"""A recommender from files to a served answer: learnt, judged beside its baselines, explained exactly, exported and refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luban import verbs
from luban.config import PrepareConfig, TrainConfig
from luban.errors import ConfigError, DataError, FolderError, ParityError
from luban.folder import GOLDEN, Folder
from luban.predict import Predictor, reordered
from luban.stages.prepare import prepare
from luban.stages.train.recommender import scores_of
from luban.tasks.recommendation import Recommendation
from luban.testing import tiny_base
from tests.recommend.shop import FILM, ITEMS, write
from tests.serve.conftest import serving

TEXTS = {item: text for item, text, _ in ITEMS}
FOOD_IDS = [item for item, _, kind in ITEMS if kind == "food"]


def trained(place: Path, **options: Any) -> Folder:
    source = write(place / "shop") if not (place / "shop").exists() else place / "shop"
    base = tiny_base(place / "base") if not (place / "base").exists() else place / "base"
    chosen = {"base": str(base), "log": (), "batch_rows": 16, "epochs": 6, "recent": 4, **options}
    return verbs.train(source, task="recommendation", out=place / f"model{len(list(place.iterdir()))}", **chosen)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recommender")


@pytest.fixture(scope="module")
def folder(place: Path) -> Folder:
    return trained(place, keep_users=True)


@pytest.fixture(scope="module")
def model(folder: Folder) -> Predictor:
    return verbs.load(folder)


@pytest.fixture(scope="module")
def exported(place: Path, folder: Folder) -> Folder:
    return verbs.export(folder, out=place / "onnx", quantise="none")


def names(model: Predictor, **row: Any) -> list[str]:
    return [one.item for one in model.predict([row])[0].items or ()]


def test_what_is_recommended_is_of_the_kind_that_the_history_is_of(model: Predictor) -> None:
    assert {TEXTS[item] for item in names(model, history=["fi0", "fi1"], top=4)} <= set(FILM)
    assert set(names(model, history=["fo0", "fo3"], top=4)) <= set(FOOD_IDS)


def test_popularity_is_better_than_chance_and_the_model_than_popularity(place: Path, folder: Folder) -> None:
    scores = verbs.evaluate(folder, place / "shop").scores
    chance = sum(1 / rank for rank in range(1, len(ITEMS) + 1)) / len(ITEMS)
    assert scores["floor_popular_mrr"] > 0.5 * chance
    assert scores["mrr"] > scores["floor_popular_mrr"]
    assert scores["ndcg@10"] > scores["floor_popular_ndcg@10"]
    assert {"hit_rate@10", "coverage@10", "popularity@10", "floor_knn_ndcg@10"} <= set(scores)


def test_many_rows_at_a_time_get_the_scores_that_answers_get(place: Path, folder: Folder, model: Predictor) -> None:
    rows = prepare(PrepareConfig(source=str(place / "shop")), Recommendation)
    task = folder.task()
    assert isinstance(task, Recommendation)
    fast = scores_of(task.shop.towers, task.shop.catalogue, rows.test)
    slow = task.score(rows.test, model.predict(rows.test))
    assert fast == pytest.approx({name: slow[name] for name in fast})
    assert folder.manifest.scores["valid"] == pytest.approx(
        scores_of(task.shop.towers, task.shop.catalogue, rows.valid)
    )


def test_nothing_of_the_history_is_recommended_unless_it_is_wished(model: Predictor) -> None:
    history = ["fo0", "fo1", "fo2"]
    assert not set(history) & set(names(model, history=history, top=100))
    assert len(names(model, history=history, top=100)) == len(ITEMS) - 3
    assert set(history) <= set(names(model, history=history, top=100, again=True))


def test_probabilities_of_all_that_may_come_next_sum_to_one(model: Predictor) -> None:
    (answer,) = model.predict([{"history": ["fo0"], "top": 100}])
    assert sum(one.score for one in answer.items or ()) == pytest.approx(1.0)


def test_the_order_of_a_history_counts(model: Predictor) -> None:
    first, second = model.predict([{"history": ["fo0", "fi1"]}, {"history": ["fi1", "fo0"]}])
    assert first.as_json() != second.as_json()


def test_a_text_is_enough_to_start_from(model: Predictor) -> None:
    (answer,) = model.predict([{"text": "great film"}])
    assert answer.tokens > 0
    assert len(answer.items or ()) == 10


def test_items_that_are_not_known_are_said_and_left_out(model: Predictor) -> None:
    answer = model.predict([{"history": ["nowhere", "fo0"]}])[0].as_json()
    assert answer["unknown"] == ["nowhere"]
    assert [one["item"] for one in answer["items"]] == names(model, history=["fo0"])


def test_somebody_of_whom_nothing_is_known_gets_what_is_popular(model: Predictor) -> None:
    task = model.task
    assert isinstance(task, Recommendation)
    best = int(np.argmax(task.shop.towers.bias))
    assert names(model, history=[])[0] == task.shop.catalogue.ids[best]


def test_a_history_longer_than_what_is_read_says_so(model: Predictor) -> None:
    assert model.predict([{"history": FOOD_IDS[:5]}])[0].truncated
    assert not model.predict([{"history": FOOD_IDS[:4]}])[0].truncated


def test_a_user_whose_history_is_kept_can_be_asked_for(model: Predictor, place: Path) -> None:
    rows = prepare(PrepareConfig(source=str(place / "shop")), Recommendation)
    row = rows.test[0]
    assert names(model, user=row["user"]) == names(model, history=[*row["history"], row["item"]])


def test_a_model_that_keeps_no_users_says_how_to_ask_it(place: Path) -> None:
    with pytest.raises(DataError, match="keeps no histories"):
        verbs.load(trained(place, epochs=1)).predict([{"user": "u1"}])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "nobody is asked about"),
        ({"text": "food", "history": ["fo0"]}, "a text and a history are both given"),
        ({"history": ["fo0"], "top": 0}, "top is 0"),
        ({"history": ["fo0"], "top": True}, "top is True"),
        ({"history": ["fo0"], "again": "yes"}, "again is 'yes'"),
        ({"history": {"fo0": 1}}, "is no history"),
        ({"user": "nobody"}, "the user 'nobody' is not known"),
    ],
)
def test_a_request_that_cannot_be_answered_is_told_why(model: Predictor, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        model.predict([row])


def test_what_the_history_adds_to_a_score_is_exact(model: Predictor) -> None:
    evidence = verbs.explain(model, {"history": ["fo0", "fi1", "fo3"]}, target="fo5")
    assert [word.text for word in evidence.words] == ["good food. food", "love this movie. film", "great food. food"]
    assert evidence.base_score + sum(word.weight for word in evidence.words) == pytest.approx(evidence.score, abs=1e-4)
    assert evidence.words[0].weight > evidence.words[1].weight
    assert abs(evidence.gap) < 1e-4


def test_without_an_item_the_first_of_the_list_is_explained(model: Predictor) -> None:
    assert verbs.explain(model, {"history": ["fo0"]}).target == names(model, history=["fo0"])[0]


def test_the_words_of_a_text_are_explained(model: Predictor) -> None:
    evidence = verbs.explain(model, {"text": "good film"}, target="fi1", method="shapley")
    assert [word.text for word in evidence.words] == ["good", "film"]
    assert evidence.base_score + sum(word.weight for word in evidence.words) + evidence.gap == pytest.approx(
        evidence.score, abs=1e-3
    )


def test_an_item_that_there_is_not_cannot_be_explained(model: Predictor) -> None:
    with pytest.raises(ConfigError, match="There is no item 'fo99'"):
        verbs.explain(model, {"history": ["fo0"]}, target="fo99")


def test_the_exported_folder_recommends_the_same(exported: Folder, folder: Folder) -> None:
    rows: list[dict[str, Any]] = [{"history": ["fo0", "fo3"]}, {"text": "great film"}]
    first, second = (verbs.load(one).predict(rows) for one in (folder, exported))
    for before, after in zip(first, second, strict=True):
        assert reordered(before.as_json()["items"], after.as_json()["items"]) < 1e-4


def test_the_exported_folder_answers_without_torch(exported: Folder) -> None:
    code = (
        "import sys; from luban.predict import Predictor; "
        f"p = Predictor.open({str(exported.path)!r}); assert p.predict([{{'text': 'good food'}}, {{'history': ['fo0']}}]); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_server_recommends_and_explains(exported: Folder) -> None:
    with serving(verbs.served([exported])) as client:
        path = f"/models/{exported.manifest.name}"
        said = client.post(f"{path}/predict", json={"inputs": [{"history": ["fo0"], "top": 2}, "great film"]}).json()
        first, second = said["predictions"]
        assert [one["item"] for one in first["items"]] == names(verbs.load(exported), history=["fo0"], top=2)
        assert (len(second["items"]), second["tokens"]) == (10, 2)
        why = client.post(f"{path}/explain", json={"history": ["fo0", "fo1"], "target": "fo2"}).json()["evidence"]
        assert (why["target"], why["method"], len(why["words"])) == ("fo2", "exact", 2)
        refused = client.post(f"{path}/predict", json={"history": ["fo0"], "top": 0})
        assert (refused.status_code, "top is 0" in refused.json()["error"]["happened"]) == (422, True)
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["great film"]}
        outputs = client.post(f"/v2{path}/infer", json={"inputs": [tensor]}).json()["outputs"]
        assert outputs[0]["name"] == "items"


def test_golden_rows_are_histories_and_texts_and_hold_ranked_items(folder: Folder) -> None:
    lines = [json.loads(line) for line in (folder.path / GOLDEN).read_text(encoding="utf8").splitlines()]
    assert {next(iter(line["row"])) for line in lines} == {"history", "text"}
    assert all(line["expect"]["items"] for line in lines)


def test_vectors_that_are_not_the_models_are_caught_by_the_golden_rows(folder: Folder) -> None:
    from dataclasses import replace

    from luban.predict import check_golden
    from luban.towers import Shop

    model = verbs.load(folder)
    task = folder.task()
    assert isinstance(task, Recommendation)
    other = replace(task.shop.towers, candidates=task.shop.towers.candidates[::-1].copy())
    model.task = task.stocked(Shop(task.shop.catalogue, other))
    with pytest.raises(ParityError):
        check_golden(model, folder.golden(), stage="test")


def test_a_folder_whose_items_do_not_fit_their_vectors_is_refused(tmp_path: Path, folder: Folder) -> None:
    from luban.towers import Shop

    for name in ("items.jsonl", "towers.safetensors"):
        (tmp_path / name).write_bytes((folder.path / name).read_bytes())
    kept = (tmp_path / "items.jsonl").read_text(encoding="utf8").splitlines(keepends=True)
    (tmp_path / "items.jsonl").write_text("".join(kept[:-1]), encoding="utf8")
    with pytest.raises(FolderError, match=r"no readable items\.jsonl and towers\.safetensors"):
        Shop.open(tmp_path)


@pytest.mark.parametrize("by", ["text", "id"])
def test_items_may_be_known_by_their_text_or_their_id_alone(place: Path, by: str) -> None:
    model = verbs.load(trained(place, items_by=by, epochs=8))
    assert set(names(model, history=["fo0", "fo3"], top=3)) <= set(FOOD_IDS)
    if by == "id":
        with pytest.raises(DataError, match="knows items by their ids alone"):
            model.predict([{"text": "good food"}])


def test_items_that_nobody_took_are_what_their_texts_say(place: Path, folder: Folder) -> None:
    """Equal texts, equal vectors: the vectors of their own start at nothing and only learning moves them."""
    import torch

    from luban.stages.train.two_towers import TwoTowers

    torch.manual_seed(1)
    texts = torch.randn(3, 8)
    texts[2] = texts[1]
    model = TwoTowers(texts, torch.tensor([4.0, 2.0, 0.0]), own=True, size=4, recent=5, dropout=0.0)
    both = model.as_candidate(torch.tensor([1, 2]))
    assert torch.equal(both[0], both[1])
    assert model.bias[2] < model.bias[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "lora"}, "A recommender is not trained by lora"),
        ({"teacher": "x"}, "teacher is set for a recommendation"),
        ({"focal": 1.0}, "focal is set for a recommendation"),
    ],
)
def test_options_that_a_recommender_does_not_have_are_refused_before_any_work(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    from luban.bases import Base
    from luban.stages.train import train

    rows = prepare(PrepareConfig(source=str(write(tmp_path / "shop"))), Recommendation)
    nowhere = Base("none", tmp_path / "none", "", "", "", (), 0)
    with pytest.raises(ConfigError, match=said):
        train(rows, nowhere, TrainConfig.model_validate({"task": "recommendation", **options}), tmp_path / "model")


def test_the_same_seed_gives_the_same_folder(place: Path) -> None:
    first, second = (trained(place, epochs=1) for _ in range(2))
    assert (first.path / "towers.safetensors").read_bytes() == (second.path / "towers.safetensors").read_bytes()


def test_popular_items_among_the_wrong_answers_are_corrected_for() -> None:
    """With all vectors at nothing, what is learnt of an item is how often it comes next, not how often it was drawn."""
    import torch

    from luban.stages.train.two_towers import PAST, Sampled, TwoTowers
    from luban.training import Part

    often = torch.tensor([0.7, 0.2, 0.1])
    model = TwoTowers(None, 10 * often, own=True, size=2, recent=2, dropout=0.0).eval()
    with torch.no_grad():
        model.own_history.zero_()
    right = torch.tensor([0, 1, 2])
    part = Part({"history": torch.tensor([[0, PAST]] * 3)}, right, torch.ones(3), (0, 1, 2))
    logits = Sampled(Recommendation(), often).logits(model, part)
    assert torch.allclose(logits, torch.zeros(3, 3), atol=1e-6)
