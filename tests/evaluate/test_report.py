"""The report: one safe file without network, for every kind of answer."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luban.stages.evaluate import plots
from luban.stages.evaluate.base import Mark
from luban.stages.evaluate.evaluation import Unseen
from luban.stages.evaluate.mistakes import marked
from luban.stages.evaluate.report import classes_card, confused, page, top_confusions, write_report
from luban.stages.evaluate.views import view_of
from luban.stages.evaluate.words import WORDS, filled
from tests.evaluate.samples import (
    SENTENCES,
    UNDERSTOOD,
    answer,
    asked,
    classified,
    evaluation_of,
    several,
    tagged,
    understood,
    valued,
)

MANY = tuple(f"class_{i}" for i in range(40))
VOID = {"meta", "br", "rect", "line", "circle", "polyline"}
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&{x}"


class Page(HTMLParser):
    """Collects tags, attributes and text, and fails where tags do not nest."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def samples():
    history = [{"epoch": 1, "step": i, "loss": 1 / (i + 1), "accuracy": i / 10} for i in range(9)]
    return {
        "two": evaluation_of(*classified(), ("bad", "good"), history=tuple(history)),
        "many": evaluation_of(*classified(400, MANY), MANY),
        "several": evaluation_of(*several(), ("late", "rude", "broken"), "micro_f1"),
        "tags": evaluation_of(*tagged(SENTENCES), ("O",), "entity_f1"),
        "intent": evaluation_of(*understood(), UNDERSTOOD, "exact_match"),
        "asked": evaluation_of(*asked(), ("start", "end"), "f1"),
        "value": evaluation_of(*valued(), (), "spearman"),
    }


SAMPLES = samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_of_answer_gets_a_whole_page_with_pictures_and_mistakes(name):
    parsed = Page(page(SAMPLES[name]))
    assert parsed.tags.count("svg") >= 3
    assert "article" in parsed.tags
    assert "nan" not in " ".join(parsed.words).lower().split()
    assert not any("nan" in str(value) for key, value in parsed.attributes if key in {"x", "y", "x1", "points", "r"})


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_asks_nothing_of_the_network(name):
    html = page(SAMPLES[name])
    parsed = Page(html)
    assert not {"link", "iframe", "img", "object", "embed", "base"} & set(parsed.tags)
    assert not [value for key, value in parsed.attributes if key in {"src", "href", "action", "srcset"}]
    assert not re.search(r"https?://|@import|url\(", html)
    assert "default-src 'none'" in html


def evil_evaluations():
    rows = [{"text": EVIL, "text_pair": EVIL, "label": EVIL}, {"text": "x", "label": "fine"}]
    predictions = [answer((EVIL, "fine"), [0.1, 0.9]), answer((EVIL, "fine"), [0.9, 0.1])]
    yield evaluation_of(rows, predictions, (EVIL, "fine"), model=EVIL, machine=EVIL, runtime=EVIL)
    many = (*MANY, EVIL)
    rows = [{"text": "x", "label": EVIL}] * 3 + [{"text": "x", "label": name} for name in MANY]
    yield evaluation_of(rows, [answer(many, [1.0] + [0.0] * 40)] * len(rows), many)
    yield evaluation_of(*tagged([([EVIL.replace(" ", "_")], [f"B-{EVIL}"], ["O"])]), (), "entity_f1")
    yield evaluation_of([{"text": EVIL, "labels": [EVIL]}], [answer_several()], (EVIL,), "micro_f1")


def answer_several():
    return type(answer(("a",), [1.0]))(labels=(), scores={EVIL: 0.1})


@pytest.mark.parametrize("e", list(evil_evaluations()))
def test_texts_and_labels_cannot_put_html_into_the_page(e):
    html = page(e)
    parsed = Page(html)
    assert parsed.tags.count("script") == 1
    assert "img" not in parsed.tags
    assert not [key for key, _ in parsed.attributes if key.startswith("on")]
    assert "alert(1)" in "".join(parsed.words)
    assert "<script>alert" not in html


def test_the_tagger_page_prints_the_naive_score_only_beside_the_strict_one_and_named_for_what_it_is():
    html = page(SAMPLES["tags"])
    assert "entity F1, strict" in html
    assert "token-level weighted F1, O counted (inflated)" in html
    assert "O counted" not in page(SAMPLES["two"])


def test_rows_that_could_not_be_read_are_told():
    assert "3 rows of the source could not be read" in page(replace(SAMPLES["two"], rejects=3))
    assert "could not be read" not in page(SAMPLES["two"])


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (120, "No row&#x27;s text stands in the training rows"),
        (0, "Every row&#x27;s text"),
        (50, "50 rows have a text"),
    ],
)
def test_unseen_rows_are_told_apart_only_where_they_differ(rows, told):
    two = SAMPLES["two"]
    html = page(replace(two, unseen=Unseen(rows, two.scores if rows else {}, {})))
    assert told in html
    assert html.count('<table class="scores">') == (2 if rows == 50 else 1)


def test_a_run_without_history_has_no_learning_curve():
    assert "How it learned" in page(SAMPLES["two"])
    assert "How it learned" not in page(SAMPLES["many"])


def test_scores_without_losses_still_make_a_learning_curve():
    scores = tuple({"step": i, "accuracy": 0.5 + i / 10} for i in range(3))
    html = page(replace(SAMPLES["two"], history=scores))
    assert "How it learned" in html
    assert 'class="ring"' in html
    assert 'class="loss"' not in html


def test_odd_history_does_not_break_the_page():
    odd = ({"step": 1, "loss": float("nan")}, {"step": None, "loss": 2}, {"loss": 1, "step": "x"}, {})
    assert "How it learned" not in page(replace(SAMPLES["two"], history=odd))


def test_a_model_without_mistakes_is_congratulated_and_not_broken():
    rows = [{"text": "x", "label": "a"}, {"text": "y", "label": "b"}]
    perfect = evaluation_of(rows, [answer(("a", "b"), [1, 0]), answer(("a", "b"), [0, 1])], ("a", "b"))
    assert "None: every row is right." in page(perfect)


def test_the_report_is_written_where_it_is_asked_for(tmp_path):
    write_report(SAMPLES["two"], tmp_path / "new" / "report.html")
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf8") == page(SAMPLES["two"])


def test_every_phrase_stands_in_both_languages_with_the_same_blanks():
    for english, chinese in WORDS.values():
        assert english
        assert chinese
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", chinese))


def test_values_of_a_phrase_are_escaped():
    assert filled("about_cost", machine="<b>", runtime="&")[0].count("<") == 0


def test_of_many_classes_the_most_confused_are_shown():
    whole = view_of(*classified(400, MANY), MANY).confusion
    part = confused(whole, 10)
    assert len(part.labels) == 10
    gold, wrong, _ = top_confusions(whole, 1)[0]
    assert {gold, wrong} <= set(part.labels)


@given(st.text(max_size=30), st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5), st.booleans()), max_size=5))
def test_marking_spans_never_loses_or_doubles_text(text, spans):
    marks = [Mark(start, start + n, "", right) for start, n, right in spans if start + n <= len(text)]
    assert "".join(Page(marked(text, marks)).words) == text.replace("\r\n", "\n").replace("\r", "\n") or "\r" in text


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(2, 7))
@settings(max_examples=200)
def test_ticks_cover_their_range_with_a_few_round_values(low, span, count):
    found = plots.ticks(low, low + span, count)
    assert 2 <= len(found) <= 2 * count + 2
    step = found[1] - found[0]
    assert found[0] <= low + 1e-6 * step + 1e-9
    assert found[-1] >= low + span - 1e-6 * step - 1e-9


@given(st.text(max_size=40), st.integers(2, 20))
def test_a_shortened_label_fits(label, most):
    assert plots.visual(plots.short(label, most)) <= most


def test_the_page_opens_in_the_language_of_the_run():
    assert '<html lang="zh" data-lang="zh">' in page(SAMPLES["two"], language="zh")
    assert '<html lang="en" data-lang="en">' in page(SAMPLES["two"])


def test_a_class_without_gold_rows_is_never_among_the_weakest_before_one_that_has_them():
    rows, predictions = classified(60, labels=("a", "b", "c"))
    never = [row | {"label": "a"} if row["label"] == "c" else row for row in rows]
    drawn = classes_card(evaluation_of(never, predictions, ("a", "b", "c", "unmet")))
    assert drawn.index("c: F1 0.000") > max(drawn.index(f"{label}: F1") for label in "ab")
    assert "unmet" not in drawn
