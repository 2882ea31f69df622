"""What each view says of hand-made rows and answers, against the tasks' own scores and the field's libraries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.scheme import IOB2
from sklearn import metrics as sk

from luban.errors import DataError
from luban.metrics.intervals import observed
from luban.metrics.spans import to_iob2
from luban.records import Prediction
from luban.stages.evaluate.views import VIEWS, view_of
from luban.tasks import TASKS
from tests.evaluate.samples import SENTENCES, UNDERSTOOD, answer, asked, classified, several, tagged, understood, valued

tags = st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"])
sentences = st.lists(st.lists(st.tuples(tags, tags), min_size=1, max_size=8), min_size=1, max_size=6)


def own(view):
    return observed(view.statistic, view.rows)


def test_every_view_can_be_imported_and_is_keyed_by_a_field_of_a_prediction():
    assert all(callable(VIEWS[name]) for name in VIEWS)
    assert set(VIEWS) - {"intent"} <= set(Prediction.__dataclass_fields__)


@pytest.mark.parametrize(
    ("task", "sample", "labels"),
    [
        ("text-classification", classified(), ("bad", "good")),
        ("text-classification", classified(labels=("a", "b", "c", "d")), ("a", "b", "c", "d")),
        ("multi-label-classification", several(), ("late", "rude", "broken")),
        ("text-regression", valued(), ()),
        ("token-classification", tagged(SENTENCES), ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")),
        ("intent-and-slots", understood(), UNDERSTOOD),
        ("extractive-qa", asked(), ("start", "end")),
    ],
)
def test_a_view_scores_as_its_task_does(task, sample, labels):
    scores = own(view_of(*sample, labels))
    theirs = TASKS[task](labels).score(*sample)
    assert {name: scores[name] for name in theirs} == pytest.approx(theirs)


def test_the_confusion_of_labels_is_scikit_learns():
    rows, predictions = classified(labels=("a", "b", "c"))
    view = view_of(rows, predictions, ("a", "b", "c"))
    theirs = sk.confusion_matrix([r["label"] for r in rows], [p.label for p in predictions], labels=["a", "b", "c"])
    assert (np.array(view.confusion.counts) == theirs).all()


def test_roc_auc_of_two_classes_has_an_interval_and_of_many_none():
    assert "roc_auc" in own(view_of(*classified(), ("bad", "good")))
    many = view_of(*classified(labels=("a", "b", "c")), ("a", "b", "c"))
    assert "roc_auc" not in own(many)
    rows, predictions = classified(labels=("a", "b", "c"))
    chances = [[p.scores[name] for name in "abc"] for p in predictions]
    theirs = sk.roc_auc_score([r["label"] for r in rows], chances, multi_class="ovr", labels=["a", "b", "c"])
    assert many.extra["roc_auc"] == pytest.approx(theirs)


def test_rows_of_one_class_only_have_no_roc_auc():
    rows, predictions = classified()
    same = [(row, p) for row, p in zip(rows, predictions, strict=True) if row["label"] == "good"]
    view = view_of(*map(list, zip(*same, strict=True)), ("bad", "good"))
    assert "roc_auc" not in own(view) | view.extra


def test_a_gold_label_that_the_model_does_not_know_is_a_class_that_is_always_missed():
    rows = [{"text": "x", "label": "new"}, {"text": "y", "label": "a"}]
    view = view_of(rows, [answer(("a", "b"), [0.9, 0.1])] * 2, ("a", "b"))
    assert view.confusion.labels == ("a", "b", "new")
    assert {score.label: score.recall for score in view.table}["new"] == 0.0
    assert own(view)["accuracy"] == 0.5


def test_the_surest_wrong_label_is_the_worst_mistake():
    rows = [{"text": name, "label": "a"} for name in ("right", "unsure", "sure")]
    chances = [[0.9, 0.1], [0.4, 0.6], [0.01, 0.99]]
    view = view_of(rows, [answer(("a", "b"), p) for p in chances], ("a", "b"))
    assert [m.text for m in view.mistakes] == ["sure", "unsure"]
    assert (view.mistakes[0].row, view.mistakes[0].gold_probability) == (3, 0.01)


@given(sentences)
def test_the_strict_entity_score_is_seqevals(pairs):
    gold = [to_iob2([g for g, _ in sentence]) for sentence in pairs]
    given_tags = [to_iob2([a for _, a in sentence]) for sentence in pairs]
    words = [[f"w{i}" for i in range(len(sentence))] for sentence in pairs]
    view = view_of(*tagged(zip(words, gold, given_tags, strict=True)), ())
    theirs = seqeval_f1(gold, given_tags, mode="strict", scheme=IOB2, zero_division=0)
    assert own(view)["entity_f1"] == pytest.approx(theirs)
    if any(tag != "O" for row in gold for tag in row):
        report = classification_report(gold, given_tags, mode="strict", scheme=IOB2, zero_division=0, output_dict=True)
        for score in view.table:
            assert score.f1 == pytest.approx(report[score.label]["f1-score"])


def test_a_tagger_that_finds_nothing_scores_high_on_the_naive_score_only():
    words = [f"w{i}" for i in range(40)]
    rows, predictions = tagged([(words, ["B-PER"] + ["O"] * 39, ["O"] * 40)] * 5)
    view = view_of(rows, predictions, ("O", "B-PER"))
    assert view.naive > 0.95
    assert own(view)["entity_f1"] == 0.0
    assert "naive" not in own(view)


def test_words_of_a_truncated_text_count_as_no_entity():
    rows, _ = tagged(SENTENCES[:1])
    view = view_of(rows, [Prediction(entities=(), tags=("O",), truncated=True)], ())
    assert own(view)["token_accuracy"] == pytest.approx(2 / 5)
    assert view.reliability is None


def test_the_marks_of_a_mistake_say_what_was_found_and_what_was_missed():
    view = view_of(*tagged(SENTENCES), ())
    first = next(m for m in view.mistakes if m.text.startswith("Anna"))
    assert [(first.text[m.start : m.end], m.right) for m in first.gold_marks] == [
        ("Anna Smith", False),
        ("Berlin", True),
    ]
    assert [(first.text[m.start : m.end], m.right) for m in first.answer_marks] == [("Anna", False), ("Berlin", True)]


def test_the_value_furthest_off_is_the_worst_mistake():
    rows = [{"text": "near", "label": 1.0}, {"text": "far", "label": 1.0}, {"text": "right", "label": 1.0}]
    view = view_of(rows, [Prediction(value=v) for v in (1.5, 9.0, 1.0)], ())
    assert [m.text for m in view.mistakes] == ["far", "near"]


def test_a_label_missed_with_low_probability_is_worse_than_one_narrowly_given():
    rows = [{"text": "narrow", "labels": []}, {"text": "blind", "labels": ["a"]}]
    predictions = [
        Prediction(labels=("a",), scores={"a": 0.51}),
        Prediction(labels=(), scores={"a": 0.02}),
    ]
    view = view_of(rows, predictions, ("a",))
    assert [m.text for m in view.mistakes] == ["blind", "narrow"]


def test_no_rows_are_refused_with_a_sentence():
    with pytest.raises(DataError, match="no rows to score"):
        view_of([], [], ())


def searching():
    """Three passages, of which the second query finds the wrong one first."""
    places = {"a": (1.0, 0.0, 0.0), "b": (0.0, 1.0, 0.0), "c": (0.0, 0.0, 1.0)}
    rows = [{"text": f"query of {name}", "text_pair": name} for name in places]
    said = [(1.0, 0.0, 0.0), (0.8, 0.6, 0.0), (0.0, 0.0, 1.0)]
    answers = [
        Prediction(embedding=vector, passages=(places[row["text_pair"]],), score=1.0, tokens=4)
        for row, vector in zip(rows, said, strict=True)
    ]
    return rows, answers


def test_a_search_is_judged_among_all_passages_and_shows_the_nearest_wrong_one():
    rows, answers = searching()
    view = view_of(rows, answers, ())
    assert own(view) == pytest.approx(TASKS["embedding"]().score(rows, answers))
    assert own(view)["mrr"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert [(m.row, m.gold, m.answer) for m in view.mistakes] == [(2, "b", "a")]


def test_a_search_stands_beside_what_plain_words_find():
    rows, answers = searching()
    assert set(view_of(rows, answers, ()).extra) == {f"floor_{name}" for name in own(view_of(rows, answers, ()))}


def test_pairs_with_scores_are_judged_by_correlation():
    rows = [{"text": "a b", "text_pair": f"b {i}", "score": float(i)} for i in range(4)]
    answers = [Prediction(embedding=(1.0,), passages=((1.0,),), score=i / 4) for i in range(4)]
    assert own(view_of(rows, answers, ())) == pytest.approx({"spearman": 1.0, "pearson": 1.0})


def test_lists_of_candidates_and_labelled_passages_of_one_query_are_both_put_in_order():
    lists = [{"text": "q", "text_pair": "right", "negatives": ["wrong", "worse"]}]
    view = view_of(lists, [Prediction(relevance=(0.4, 0.6, 0.1))], ())
    assert own(view)["mrr"] == 0.5
    labelled = [{"text": "q", "text_pair": text, "label": label} for text, label in (("wrong", 0.0), ("right", 1.0))]
    pairs = view_of(labelled, [Prediction(score=0.2), Prediction(score=0.9)], ())
    assert own(pairs) == {
        "recall@1": 1.0,
        "recall@5": 1.0,
        "recall@10": 1.0,
        "mrr": 1.0,
        "ndcg@10": 1.0,
        "roc_auc": 1.0,
    }


def test_rows_that_tell_no_right_passage_from_a_wrong_one_cannot_be_judged():
    with pytest.raises(DataError, match="right passage"):
        view_of([{"text": "q", "text_pair": "a", "label": 1.0}], [Prediction(score=0.5)], ())
