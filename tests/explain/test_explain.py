"""What words weigh: sums that hold, planted words that are found, targets and methods that are refused kindly."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from luban.encoding import Batch, TextEncoder
from luban.errors import ConfigError, UnknownName
from luban.predict import Predictor
from luban.records import Evidence
from luban.runtimes.base import Runtime
from luban.stages.explain import METHODS, explain
from luban.stages.explain.base import word_spans
from luban.tasks import TASKS
from tests.export.tiny import LABELS, SIGNS, WORDS, tiny_folder, tokenizer

METHOD_NAMES = ("integrated-gradients", "shapley")
"those that explain texts; occlusion explains pictures"


class Linear(Runtime):
    """A runtime whose logits are sums of one number a sub-word: what an explanation must find is known."""

    name = "onnx"

    def __init__(self, numbers: NDArray[np.float32], *, tags: bool = False) -> None:
        self.numbers, self.tags, self.rows = numbers, tags, 0

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> Runtime:
        raise AssertionError("it is made of numbers, never of a folder")

    def run(self, batch: Batch) -> NDArray[np.float32]:
        self.rows += len(batch["input_ids"])
        each = self.numbers[batch["input_ids"]] * batch["attention_mask"][..., None]
        return each.cumsum(axis=1, dtype=np.float32) if self.tags else each.sum(axis=1, dtype=np.float32)


def linear(task: str, planted: dict[str, list[float]], *, limit: int = 64) -> Predictor:
    made = TASKS[task](LABELS[task])
    encoder = TextEncoder(tokenizer(), limit=limit)
    numbers = np.zeros((encoder.tokenizer.get_vocab_size(), made.outputs), dtype=np.float32)
    for word, row in planted.items():
        numbers[encoder.tokenizer.token_to_id(word)] = row
    return Predictor(made, encoder, Linear(numbers, tags=made.tags_words))


def weights(evidence: Evidence) -> dict[str, float]:
    return {word.text: round(word.weight, 4) for word in evidence.words}


def adds_up(evidence: Evidence) -> float:
    return abs(evidence.base_score + sum(w.weight for w in evidence.words) + evidence.gap - evidence.score)


@pytest.fixture(scope="module")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    home = tmp_path_factory.mktemp("tiny")
    return {task: Predictor.open(tiny_folder(home / task, task, golden=False), threads=1) for task in LABELS}


texts = st.lists(st.sampled_from([*WORDS, *SIGNS, "unseen"]), min_size=1, max_size=12).map(" ".join)


@pytest.mark.parametrize("method", METHOD_NAMES)
@given(text=texts)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_base_weights_and_gap_add_up_to_the_score(predictors: dict[str, Predictor], method: str, text: str) -> None:
    evidence = explain(predictors["text-classification"], text, method=method)
    assert adds_up(evidence) < 1e-5
    assert abs(evidence.gap) < 0.25 * (1 + abs(evidence.score - evidence.base_score))


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("task", sorted(LABELS))
def test_every_task_can_be_explained(predictors: dict[str, Predictor], task: str, method: str) -> None:
    row = (
        {"text": "anna lives in paris", "text_pair": "we like the room"}
        if task == "text-pair"
        else {"text": "we like it"}
    )
    evidence = explain(predictors[task], row, method=method)
    assert adds_up(evidence) < 1e-5
    assert evidence.method == method
    assert evidence.words


def test_shapley_of_a_linear_model_is_what_each_word_adds() -> None:
    predictor = linear("text-classification", {"good": [0, 3, 0], "bad": [2, -1, 0], "room": [0, 0.5, 0]})
    found = explain(predictor, "the room was good, not bad", target="good")
    assert weights(found) == {"the": 0, "room": 0.5, "was": 0, "good": 3, ",": 0, "not": 0, "bad": -1}
    assert found.gap == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["good room", "we like the very good room in paris, not the bad service", "房间很 good 喜欢"]
)
def test_a_planted_word_ranks_first(text: str) -> None:
    evidence = explain(linear("text-classification", {"good": [0, 3, 0]}), text)
    assert evidence.target == "good"
    assert evidence.top(1)[0].text == "good"


def test_a_word_of_several_pieces_is_weighed_as_one() -> None:
    predictor = linear("text-classification", {"un": [0, 1, 0], "##s": [0, 1, 0], "##e": [0, 1, 0]})
    assert weights(explain(predictor, "unseen", target="good")) == {"unseen": 4}


def test_characters_that_one_piece_covers_are_one_word() -> None:
    from tokenizers import Tokenizer, models

    pieces = Tokenizer(
        models.Unigram([("<unk>", 0.0), ("▁", -3.0), ("服务", -1.0), ("好", -1.0), ("，", -1.0)], unk_id=0)
    )
    made = TASKS["text-classification"](LABELS["text-classification"])
    numbers = np.array([[0, 0, 0]] * 2 + [[0, 2, 0], [0, 1, 0], [0, 0, 0]], dtype=np.float32)
    predictor = Predictor(made, TextEncoder(pieces), Linear(numbers))
    assert weights(explain(predictor, "服务好，好", target="good")) == {"服务": 2, "好": 1, "，": 0}


def test_integrated_gradients_and_shapley_explain_the_same_score(predictors: dict[str, Predictor]) -> None:
    one, other = (explain(predictors["text-classification"], "the room was good", method=m) for m in METHOD_NAMES)
    assert one.score == pytest.approx(other.score, abs=1e-4)


def test_a_long_text_is_explained_whole_in_groups_and_within_bounds() -> None:
    predictor = linear("text-classification", {"good": [0, 3, 0]}, limit=32)
    text = "the room was very bad " * 60 + "good"
    evidence = explain(predictor, text)
    assert len(evidence.words) <= 24
    assert evidence.top(1)[0].text.endswith("good")
    assert evidence.words[-1].end == len(text)
    assert predictor.runtime.rows < 1200  # type: ignore[attr-defined]


def test_the_same_question_gets_the_same_answer(predictors: dict[str, Predictor]) -> None:
    text = "we like the very good room in paris but not the service"
    first, second = (explain(predictors["text-classification"], text, method="shapley") for _ in range(2))
    assert first == second


def test_both_texts_of_a_pair_are_weighed_at_their_places() -> None:
    predictor = linear("text-pair", {"good": [0, 3], "paris": [1, -1]})
    row = {"text": "a good room", "text_pair": "in paris"}
    evidence = explain(predictor, row, target="yes")
    shown = "a good room\nin paris"
    assert all(shown[w.start : w.end] == w.text for w in evidence.words)
    assert weights(evidence) == {"a": 0, "good": 3, "room": 0, "in": 0, "paris": -1}


@pytest.mark.parametrize("target", [None, "LOC", "LOC@14-19", "paris"])
def test_a_tagger_is_explained_at_an_entity(target: str | None) -> None:
    predictor = linear("token-classification", {"paris": [0, 5, 0, 0, 0], "in": [0, 1, 0, 0, 0]})
    evidence = explain(predictor, {"text": "anna lives in paris"}, target=target)
    assert evidence.target == "LOC@14-19"
    assert weights(evidence) == {"anna": 0, "lives": 0, "in": 1, "paris": 5}


def test_a_tagger_that_finds_nothing_explains_the_nearest_word() -> None:
    predictor = linear("token-classification", {"anna": [9, 0, 0, 2, 0]})
    assert explain(predictor, {"text": "anna lives"}).target.startswith("PER@")


def test_an_intent_is_explained_by_the_mean_over_the_words_and_a_slot_by_its_name() -> None:
    planted = {"paris": [0, 5, 0, 0, 0, 0, 0], "not": [0, 0, 0, 0, 0, 3, 0]}
    predictor = linear("intent-and-slots", planted)
    evidence = explain(predictor, {"text": "not in paris"}, target="ask", method="shapley")
    # What a word adds to the logits of all words from it on, divided by the three of them.
    assert weights(evidence) == {"not": 3.0, "in": 0.0, "paris": 0.0}
    assert explain(predictor, {"text": "not in paris"}).target == "ask"
    assert explain(predictor, {"text": "not in paris"}, target="LOC").target == "LOC@7-12"
    with pytest.raises(ConfigError, match=r"intent or slot 'askk'.*'ask'"):
        explain(predictor, {"text": "not in paris"}, target="askk")


def test_an_answer_is_explained_by_words_of_the_question_and_the_context(tmp_path: Path) -> None:
    from luban.testing import tiny_folder as folder_of

    predictor = Predictor.open(folder_of(tmp_path / "model", "extractive-qa"), threads=1)
    row = {"question": "where is alice?", "context": "alice was in paris, bob in london"}
    shown = f"{row['question']}\n{row['context']}"
    for method in METHOD_NAMES:
        evidence = explain(predictor, row, target="in paris", method=method)
        assert evidence.target == "in paris@10-18"
        assert [shown[w.start : w.end] for w in evidence.words] == [w.text for w in evidence.words]
        assert {w.start for w in evidence.words} >= {0, 16}
        assert adds_up(evidence) < 1e-4
    assert explain(predictor, row).target
    with pytest.raises(ConfigError, match="context does not hold 'rome'"):
        explain(predictor, row, target="rome")


def test_multi_label_without_a_chosen_label_explains_the_likeliest() -> None:
    predictor = linear("multi-label-classification", {"room": [-4, -9, -6]})
    assert explain(predictor, {"text": "the room"}).target == "noisy"


def test_an_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="shapley"):
        explain(linear("text-classification", {}), "good", method="shaply")


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'good'"):
        explain(linear("text-classification", {}), "good", target="god")


@pytest.mark.parametrize("target", ["ORG", "ORG@0-4", "LOC@0-400"])
def test_an_unknown_entity_or_place_is_refused(target: str) -> None:
    with pytest.raises(ConfigError):
        explain(linear("token-classification", {}), {"text": "anna lives"}, target=target)


def test_a_number_has_no_label_to_explain() -> None:
    with pytest.raises(ConfigError, match="one number"):
        explain(linear("text-regression", {}), "good", target="good")


def test_gradients_of_an_exported_model_are_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="method=shapley"):
        explain(linear("text-classification", {}), "good", method="integrated-gradients")


def test_the_table_of_methods_is_what_the_documentation_says() -> None:
    assert tuple(METHODS) == (*METHOD_NAMES, "occlusion")
    assert all(callable(METHODS[name]) for name in METHODS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I can't re-open it, 3.5 times!", ["I", "can't", "re-open", "it", ",", "3.5", "times", "!"]),
        ("房间很nice。", ["房", "间", "很", "nice", "。"]),
        ("  ", []),
    ],
)
def test_words_are_whole_in_latin_and_characters_in_chinese(text: str, words: list[str]) -> None:
    assert [text[a:b] for a, b in word_spans(text)] == words


@given(st.text(max_size=60))
def test_words_are_in_order_apart_and_leave_out_only_spaces(text: str) -> None:
    spans = word_spans(text)
    assert all(a < b for a, b in spans)
    assert all(one[1] <= two[0] for one, two in pairwise(spans))
    assert "".join(text[a:b] for a, b in spans).split() == ["".join(text.split())] * bool(text.split())
