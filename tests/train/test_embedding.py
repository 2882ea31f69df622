"""Models that embed: the losses, whole batches, hard negatives, what the folder holds, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from luban.config import ExportConfig, TrainConfig
from luban.contrastive import cosent, first_of, info_nce, known_pairs, nested
from luban.encoding import IGNORE
from luban.errors import ConfigError, DataError
from luban.folder import Folder
from luban.outputs import sentence_vectors
from luban.predict import Predictor
from luban.stages.evaluate import evaluate
from luban.stages.export import export
from luban.stages.train import train
from luban.stages.train.forecast import forecast
from luban.stages.train.material import encode
from luban.stages.train.mining import harder
from luban.stages.train.model import build
from luban.tasks import TASKS
from luban.testing import SAMPLES
from luban.training import Learner, Schedule, TaskLoss, collated
from tests.train.rows import base, config, prepared


def units(rows: int, width: int = 6, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, width, generator=generator), dim=-1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    place = tmp_path_factory.mktemp("embedding")
    return train(prepared("embedding"), base(place), config(epochs=1, dimensions=(16, 8)), place / "model")


def test_info_nce_is_the_cross_entropy_over_right_and_rivals() -> None:
    queries, passages = units(2), units(3, seed=2)
    rivals = torch.tensor([[False, True, False], [True, False, True]])
    losses = info_nce(queries, passages, torch.tensor([0, 1]), temperature=0.5, rivals=rivals)
    scores = queries @ passages.T / 0.5
    expected = torch.stack(
        [torch.logsumexp(scores[0, :2], 0) - scores[0, 0], torch.logsumexp(scores[1], 0) - scores[1, 1]]
    )
    torch.testing.assert_close(losses, expected)


def test_what_another_row_says_is_right_is_no_rival() -> None:
    known = known_pairs(torch.tensor([7, 7, 8]), torch.tensor([1, 2, 1]), torch.tensor([1, 2, 1, 3]))
    assert known.tolist() == [[True, True, True, False], [True, True, True, False], [True, False, True, False]]


def test_cosent_is_small_where_the_order_is_right() -> None:
    left, right = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    well = cosent(left, right, torch.tensor([5.0, 0.0]), temperature=0.05)
    assert well < 1e-6 < cosent(left, right, torch.tensor([0.0, 5.0]), temperature=0.05)


def test_a_list_is_learnt_by_its_right_candidate_and_padding_says_nothing() -> None:
    scores = torch.tensor([[2.0, 1.0, 99.0]])
    loss = first_of(scores, torch.tensor([[1, 0, IGNORE]]))
    torch.testing.assert_close(loss, torch.log(1 + torch.exp(torch.tensor([-1.0]))))


def test_prefixes_are_brought_to_length_one_and_averaged() -> None:
    vectors = units(3, 8)
    lengths = nested([vectors], [4, 99], lambda v: v[0].norm(dim=-1))
    torch.testing.assert_close(lengths, torch.ones(3))


def test_the_mean_reads_no_padding() -> None:
    states = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    torch.testing.assert_close(sentence_vectors(states, torch.tensor([[1, 1, 0]]), "mean"), torch.tensor([[0.6, 0.8]]))
    torch.testing.assert_close(sentence_vectors(states, torch.tensor([[1, 1, 0]]), "first"), torch.tensor([[1.0, 0.0]]))


def test_a_loss_that_needs_the_whole_batch_gets_smaller_batches_instead_of_micro_batches(tmp_path: Path) -> None:
    material = encode(prepared("embedding"), base(tmp_path), config())
    model = build(material.base, material.task, dropout=0.0)
    feed = collated(model, material.examples, 0)
    plan = Schedule(1, 1e-3, 1e-3, batch_rows=8, batch_tokens=10_000, micro_tokens=10_000)
    learner = Learner(model, plan, material.examples, objective=TaskLoss(material.task), feed=feed)
    learner.allow(2 * max(learner.lengths))
    assert max(len(batch) * max(learner.lengths[i] for i in batch) for batch in learner.order(0)) <= 2 * max(
        learner.lengths
    )
    assert learner.schedule.batch_tokens == learner.schedule.micro_tokens
    assert forecast(learner, 0.0).micro_tokens == learner.schedule.batch_tokens


def test_mined_negatives_are_never_what_some_row_says_is_right(tmp_path: Path) -> None:
    material = encode(prepared("embedding", times=1), base(tmp_path), config())
    model = build(material.base, material.task, dropout=0.0)
    chosen = TrainConfig(negatives=2, negatives_margin=0.0)
    found = harder(model, material.examples, 0, chosen)
    for before, after in zip(material.examples, found, strict=True):
        added = after.target[len(before.target) :]
        assert len(added) == len(after.beside) - len(before.beside)
        assert not set(added.tolist()) & set(before.target.tolist())
    assert any(len(after.beside) > len(before.beside) for before, after in zip(material.examples, found, strict=True))


def test_the_vector_is_what_plain_transformers_and_the_mean_give(folder: Folder) -> None:
    model = AutoModel.from_pretrained(folder.path)
    encoded = folder.encoder().text("where is my order")
    ids = torch.from_numpy(encoded.windows[0].ids)[None]
    with torch.no_grad():
        mean = model(input_ids=ids).last_hidden_state.mean(1)[0]
    answer = Predictor.open(folder).predict(["where is my order"])[0]
    np.testing.assert_allclose(answer.embedding, mean / mean.norm(), atol=1e-5)


def test_the_folder_says_to_other_libraries_how_it_is_read(folder: Folder) -> None:
    modules = json.loads((folder.path / "modules.json").read_text(encoding="utf8"))
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    pooling = json.loads((folder.path / "1_Pooling" / "config.json").read_text(encoding="utf8"))
    assert (pooling["pooling_mode_mean_tokens"], pooling["word_embedding_dimension"]) == (True, 32)


def test_a_query_and_a_passage_get_the_prefixes_their_base_was_taught(tmp_path: Path) -> None:
    start = replace(base(tmp_path), name="multilingual-e5-small")
    rows = prepared("embedding", times=1)
    task = TASKS["embedding"].fit(rows.train).for_run(TrainConfig(), start)
    assert task.settings["prefixes"] == {"query": "query: ", "passage": "passage: "}
    assert (
        task.encode({"text": "late", "kind": "passage"}, encode(rows, start, config()).encoder).text == "passage: late"
    )
    plain = TASKS["embedding"].fit(rows.train).for_run(TrainConfig(query_prefix=""), start)
    assert plain.settings["prefixes"]["query"] == ""


def test_the_exported_graph_gives_the_vector(folder: Folder, tmp_path: Path) -> None:
    rows = [TASKS["embedding"].parse(row) for row in SAMPLES["embedding"]]
    onnx = export(folder, rows, ExportConfig(quantise="none"), tmp_path / "onnx")
    left, right = (Predictor.open(one).predict(["hello"])[0].embedding for one in (folder, onnx))
    np.testing.assert_allclose(left, right, atol=1e-5)


def test_rows_with_scores_are_learnt_and_judged_by_their_order(tmp_path: Path) -> None:
    rows = [
        TASKS["embedding"].parse({"text": row["text"], "text_pair": row["text_pair"], "score": score})
        for row, score in zip(SAMPLES["text-pair"], (5, 0, 4, 1), strict=True)
    ] * 4
    made = train(replace(prepared("embedding"), train=rows, valid=rows[:4]), base(tmp_path), config(), tmp_path / "m")
    assert set(made.manifest.scores["valid"]) == {"spearman", "pearson"}


def test_sizes_larger_than_the_vector_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="have 32 numbers"):
        train(prepared("embedding"), base(tmp_path), config(dimensions=(64,)), tmp_path / "m")


@pytest.mark.parametrize(("method", "values"), [("head", {}), ("freeze", {"layers": 2})])
def test_a_model_without_a_head_must_have_layers_that_learn(
    method: str, values: dict[str, int], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="head"):
        train(prepared("embedding"), base(tmp_path), config(method=method, **values), tmp_path / "m")


def test_passages_that_are_all_the_same_cannot_be_told_apart() -> None:
    with pytest.raises(DataError, match="same passage"):
        TASKS["embedding"].fit([{"text": "a", "text_pair": "x"}, {"text": "b", "text_pair": "x"}])


def test_a_kind_of_text_there_is_not_is_refused() -> None:
    with pytest.raises(DataError, match="query, passage"):
        TASKS["embedding"].parse({"text": "a", "kind": "document"}, labelled=False)


def test_rerank_answers_passages_in_their_order(tmp_path: Path) -> None:
    made = train(prepared("rerank"), base(tmp_path), config(epochs=1), tmp_path / "m")
    predictor = Predictor.open(made)
    one, two = (predictor.predict([{"text": "hello", "text_pair": text}])[0].score for text in ("late", "bob"))
    together = predictor.predict([{"text": "hello", "passages": ["late", "bob"]}])[0]
    assert together.relevance == pytest.approx((one, two), abs=1e-5)


def test_rerank_finds_negatives_by_shared_words_or_says_that_it_needs_some(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "text_pair": row["text_pair"]} for row in SAMPLES["rerank"]]
    data = replace(prepared("rerank"), train=rows * 4, valid=rows)
    with pytest.raises(ConfigError, match="no wrong passages"):
        train(data, base(tmp_path), config(), tmp_path / "m")
    material = encode(data, base(tmp_path), config(negatives=2))
    assert {len(example.beside) for example in material.examples} == {2}


def test_a_reranker_that_found_its_negatives_is_judged_on_rows_without_any(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "text_pair": row["text_pair"]} for row in SAMPLES["rerank"]]
    data = replace(prepared("rerank"), train=rows * 4, valid=rows)
    made = train(data, base(tmp_path), config(epochs=1, negatives=2), tmp_path / "m")
    assert evaluate(made, rows, train_rows=data.train).scores["mrr"] > 0


@pytest.mark.parametrize("label", [2, 0.5])
def test_a_passage_answers_or_does_not(label: float) -> None:
    with pytest.raises(DataError, match="1"):
        TASKS["rerank"].parse({"text": "a", "text_pair": "b", "label": label})
