"""The columns that tasks read, and the names by which those that several tasks share are recognised; no row is read here."""

from __future__ import annotations

from dataclasses import dataclass

from luban.decoding import ABOUT


@dataclass(frozen=True, slots=True)
class Column:
    """A column a task reads: ``aliases`` are other names it is recognised by; ``about`` is said in errors and docs.

    ``prose``: a target that is text (or a list of texts) to be read, and so cleaned like what is asked. ``picture``: holds a
    picture, as its file's name or a data URL. ``option``: says how one row is to be answered; not read of rows to learn from.
    """

    name: str
    about: str
    aliases: tuple[str, ...] = ()
    required: bool = True
    target: bool = False
    prose: bool = False
    picture: bool = False
    option: bool = False


TEXT = Column(
    "text",
    "the text",
    ("sentence", "content", "utterance", "query", "review", "comment", "question", "title", "文本", "内容"),
)
LABEL = Column(
    "label", "its class", ("intent", "category", "class", "target", "topic", "sentiment", "polarity", "标签", "类别"),
    target=True,
)  # fmt: skip

QUERY = Column("text", "the query", ("query", "question", "anchor", "text_a", "sentence1", "question1", "问题", "查询"))
PASSAGE = Column(
    "text_pair",
    "the passage that answers it",
    ("positive", "passage", "answer", "document", "text_b", "sentence2", "sentence_b", "question2", "回答", "句子2"),
    target=True,
    prose=True,
)
WRONG = "passages that do not answer it"
NEGATIVES = Column("negatives", WRONG, ("negative", "neg", "负例"), required=False, target=True, prose=True)

WRITING = tuple(Column(name, about, required=False, option=True) for name, about in ABOUT.items())
"how a row's answer is to be written"
