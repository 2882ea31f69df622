"""Evidence to look at."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from luban.records import Evidence, WordWeight
from luban.stages.explain import to_html, to_text


def evidence(text: str, *marks: tuple[str, float], target: str = "good") -> Evidence:
    words = tuple(WordWeight(word, text.index(word), text.index(word) + len(word), weight) for word, weight in marks)
    return Evidence(target, 1.0, 0.0, words, "shapley")


def test_the_segments_are_the_text_in_order() -> None:
    text = "a good, plain room"
    found = to_text(text, evidence(text, ("room", -1.0), ("good", 2.0)))
    assert found == [("a ", 0.0), ("good", 2.0), (", plain ", 0.0), ("room", -1.0)]


def test_words_for_and_against_are_told_apart_without_colour() -> None:
    text = "good bad plain"
    page = to_html(text, evidence(text, ("good", 2.0), ("bad", -1.5), ("plain", 0.3)))
    assert 'class="for strong"' in page
    assert 'class="against strong"' in page
    assert 'class="for" ' in page


def test_everything_is_escaped() -> None:
    text = "<script>alert('x')</script> & <b>"
    page = to_html(text, evidence(text, ("<script>", 1.0), target="<i>&"))
    assert "<script" not in page
    assert "<b>&lt;i&gt;&amp;</b>" in page


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.paragraphs: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "p":
            self.paragraphs.append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "p"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.paragraphs[-1] += data


@given(
    st.text(alphabet=st.characters(blacklist_characters="\r\0", blacklist_categories=["Cs"]), max_size=40), st.data()
)
def test_the_page_shows_the_whole_text_unchanged(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    word = WordWeight(text[:cut], 0, cut, 1.0)
    reader = Reader()
    reader.feed(to_html(text, Evidence("t", 1.0, 0.0, (word,) if cut else (), "shapley")))
    assert reader.paragraphs[1] == text


def test_no_words_make_a_page_without_marks_in_the_text() -> None:
    assert "No word speaks for it" in to_html("plain", evidence("plain"))
