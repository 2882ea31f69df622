"""Slices by length, unseen rows and comparisons, over hand-made answers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luban.stages.evaluate.compare import compared
from luban.stages.evaluate.evaluation import bounds, slices, within_unseen
from luban.stages.evaluate.plots import length_bars
from luban.stages.evaluate.unseen import text_key, unseen, unseen_places
from luban.stages.evaluate.views import view_of
from luban.tasks import TASKS
from tests.evaluate.samples import CONFIG, SENTENCES, answer, classified, evaluation_of, tagged, valued

LABELS = ("bad", "good")


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60))
def test_slices_hold_every_row_once_and_do_not_overlap(lengths):
    rows, predictions = classified(len(lengths))
    found = slices(view_of(rows, predictions, LABELS), lengths)
    assert sum(s.rows for s in found) == len(lengths)
    assert all(a.high < b.low for a, b in pairwise(found))
    assert (found[0].low, found[-1].high) == (min(lengths), max(lengths))


def test_a_slice_has_the_score_of_its_own_rows():
    rows, predictions = classified()
    lengths = [p.tokens for p in predictions]
    for s in slices(view_of(rows, predictions, LABELS), lengths):
        inside = [i for i, n in enumerate(lengths) if s.low <= n <= s.high]
        right = np.mean([rows[i]["label"] == predictions[i].label for i in inside])
        assert s.score == pytest.approx(right)
        assert s.interval[0] <= s.score <= s.interval[1]


def test_unseen_rows_are_those_whose_text_does_not_stand_in_training():
    rows = [{"text": "Ｈello  World"}, {"text": "hello"}, {"text": "other"}]
    assert unseen(rows, [{"text": "hello world"}, {"text": "other "}]) == [{"text": "hello"}]


def test_a_pair_is_seen_only_when_both_texts_are():
    train = [{"text": "a", "text_pair": "b"}]
    rows = [{"text": "a", "text_pair": "b"}, {"text": "a", "text_pair": "c"}, {"text": "a b"}]
    assert unseen_places(rows, train) == [1, 2]


@given(st.text(), st.text())
def test_a_pair_is_never_taken_for_another_pair(a, b):
    assert (text_key({"text": a, "text_pair": b}) == text_key({"text": b, "text_pair": a})) == (
        text_key({"text": a}) == text_key({"text": b})
    )


@pytest.mark.parametrize(
    ("task", "sample", "labels"),
    [
        ("text-classification", classified(), LABELS),
        ("text-regression", valued(), ()),
        ("token-classification", tagged(SENTENCES), ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")),
    ],
)
def test_unseen_scores_are_the_tasks_scores_of_those_rows(task, sample, labels):
    rows, predictions = sample
    places = list(range(0, len(rows), 2))
    found = within_unseen(view_of(rows, predictions, labels), places, CONFIG)
    theirs = TASKS[task](labels).score([rows[i] for i in places], [predictions[i] for i in places])
    assert found.rows == len(places)
    assert {name: found.scores[name] for name in theirs} == pytest.approx(theirs)


def test_where_every_row_was_seen_there_are_no_unseen_scores():
    assert within_unseen(view_of(*classified(), LABELS), [], CONFIG).scores == {}


def test_the_json_object_has_the_designs_keys_and_plain_values():
    import json

    e = evaluation_of(*classified(), LABELS, rejects=2)
    assert list(e.as_json()) == [
        *("task", "model", "fingerprint", "rows", "rejects", "scores", "intervals", "seconds", "rows_per_second"),
        *("latency_ms", "bytes", "unknown_labels"),
    ]
    assert json.loads(json.dumps(e.as_json())) == e.as_json()
    assert e.as_json()["rejects"] == 2
    assert set(e.as_json()["scores"]) == {"accuracy", "macro_f1", "micro_f1", "weighted_f1", "roc_auc"}


def test_the_detail_is_json_and_holds_the_table_and_the_mistakes():
    import json

    detail = evaluation_of(*classified(), LABELS).detail()
    assert json.loads(json.dumps(detail, allow_nan=False)) == detail
    assert [row["label"] for row in detail["table"]] == list(LABELS)
    assert detail["wrong"] >= len(detail["mistakes"]) > 0


def two_models(better, n=200):
    """Views of a model that is right on 60 per cent of rows, and of one that is right on ``better`` of them."""
    rng = np.random.default_rng(3)
    rows = [{"text": str(i), "label": LABELS[i % 2]} for i in range(n)]

    def view(share):
        right = rng.random(n) < share
        chances = [[0.8, 0.2] if (i % 2 == 0) == r else [0.2, 0.8] for i, r in enumerate(right)]
        return view_of(rows, [answer(LABELS, p) for p in chances], LABELS)

    return view(0.6), view(better)


def comparison(first, second, score="accuracy"):
    return compared(first, second, names=("old", "new"), score=score, config=CONFIG)


def test_a_clearly_better_model_wins_whichever_side_it_stands_on():
    worse, better = two_models(0.9)
    forwards, backwards = comparison(worse, better), comparison(better, worse)
    assert (forwards.verdict, backwards.verdict) == ("b", "a")
    assert forwards.mcnemar < 0.01
    gap = forwards.differences["accuracy"]
    assert gap.value == pytest.approx(forwards.scores_b["accuracy"] - forwards.scores_a["accuracy"])
    assert gap.value == pytest.approx(-backwards.differences["accuracy"].value)


def test_a_model_against_itself_is_unsure():
    one, _ = two_models(0.6)
    assert comparison(one, one).verdict == "unsure"
    assert comparison(one, one).mcnemar == 1.0


def test_of_errors_the_smaller_wins():
    rows, close = valued(seed=0)
    far = [type(p)(value=p.value + 3.0) for p in close]
    found = comparison(view_of(rows, close, ()), view_of(rows, far, ()), score="mae")
    assert found.verdict == "a"
    assert found.mcnemar is None


def test_a_perfect_slice_of_a_tagger_has_no_interval_and_is_drawn_without_one():
    sentences = [(words, gold, gold) for words, gold, _ in SENTENCES[:3]]
    rows, predictions = tagged(sentences)
    found = slices(view_of(rows, predictions, ()), [p.tokens for p in predictions])
    assert all(s.interval is None for s in found)
    assert "<svg" in length_bars(found, "entity_f1")


def test_the_p_of_an_accuracy_is_mcnemars():
    rows, _ = classified(6, labels=LABELS)
    right = [answer(LABELS, (0.9, 0.1) if row["label"] == "bad" else (0.1, 0.9)) for row in rows]
    wrong = [answer(LABELS, (0.1, 0.9) if row["label"] == "bad" else (0.9, 0.1)) for row in rows[:5]] + right[5:]
    views = [view_of(rows, answers, LABELS) for answers in (right, wrong)]
    found = compared(*views, names=("a", "b"), score="accuracy", config=CONFIG)
    assert found.differences["accuracy"].p == found.mcnemar == 0.0625
    assert found.verdict == "unsure"


def test_accuracy_and_micro_f1_of_single_labels_have_one_interval():
    view = view_of(*classified(12, labels=("a", "b", "c")), ("a", "b", "c"))
    found = bounds(view, CONFIG)
    assert found["accuracy"] == found["micro_f1"]
