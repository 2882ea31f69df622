"""A question and a text that may hold its answer: the answer is a piece of the text, or there is none.

The head gives each sub-word a start and an end logit. The question stands in every window; the text is read in windows that
overlap by a quarter. A span's score is the sum of its two logits; that of "no answer" is the sum of the first token's, in
the window where it is least (Devlin et al. 2019 on SQuAD 2.0, Rajpurkar et al. 2018). The best span is the answer where it
beats "no answer" by the threshold that gave the best F1 on validation rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Encoded, TextEncoder, Window
from luban.errors import DataError, counted
from luban.metrics.answers import exact_match, f1
from luban.records import Prediction, Row, Rows
from luban.tasks.base import Calibration, Column, Floats, HeadPart, Task, required_text

if TYPE_CHECKING:
    import torch

LONGEST = 160
"sub-words of the longest answer"
NONE = "no answer"
"the threshold's name; the sum of logits by which a span has to beat having none"
NOT_FOUND = "ANSWERNOTFOUND"
"how SubjQA writes that there is no answer; it stands at the end of each of its texts, too"
PLACE = re.compile(r"\(?\s*(-?\d+)")
NEVER = -1e9
"logit of a place where no answer can begin or end"


class ExtractiveQA(Task):
    """Rows of ``question``, ``context`` and ``answers``: SQuAD's, a list of {text, start}, one text, or nothing."""

    name = "extractive-qa"
    columns = (
        Column("question", "what is asked", ("query", "问题")),
        Column(
            "context",
            "the text that may hold the answer",
            ("passage", "paragraph", "document", "review", "text", "文本"),
        ),
        Column(
            "answers",
            "pieces of the context, none where it has none",
            ("answer", "human_ans_spans", "答案"),
            target=True,
        ),
        Column(
            "answer_start",
            "where the answer begins, in characters",
            ("start", "human_ans_indices"),
            required=False,
            target=True,
        ),
    )
    model_class = "AutoModelForQuestionAnswering"
    main_score = "f1"
    tags_words = True
    keeps_text = True

    @property
    def parts(self) -> tuple[HeadPart, ...]:
        return ()  # start and end are chosen among the sub-words of a window, not among classes

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        context = required_text(record, "context")
        row: dict[str, Any] = {"question": required_text(record, "question")}
        row["context"] = required_text({"context": context.removesuffix(NOT_FOUND)}, "context")
        if not labelled:
            return row
        answers = _placed(list(_answers(record)), row["context"])
        return row | {"answers": [{"text": text, "start": start} for text, start in answers]}

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        if not any(row["answers"] for row in rows):
            raise DataError(
                "no row has an answer.",
                "There must be answers to learn from.",
                "Check that the answers are the right column (--columns answers=NAME).",
                column="answers",
            )
        return cls(("start", "end"))

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        return encoder.question(row["question"], row["context"])

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        """(start, end, first and last sub-word of the context) a window; the first token for both where it holds no answer.

        They are int32, by which they are told from a tagger's, which are padded.
        """
        return [
            np.array([*_within(window, row["answers"]), *_room(window)], dtype=np.int32) for window in encoded.windows
        ]

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        found = best_span(encoded, outputs)
        threshold = self.calibration.thresholds.get(NONE, 0.0)
        answered = found.margin > threshold
        start, end = found.characters if answered else (0, 0)
        return Prediction(
            answer=encoded.text[start:end],
            start=start,
            end=end,
            score=found.share if answered else found.share_of_none,
            tokens=encoded.tokens,
            windows=len(encoded.windows),
            truncated=encoded.truncated,
        )

    def own_calibration(
        self, rows: Rows, encoded: Sequence[Encoded], logits: Sequence[Sequence[Floats]]
    ) -> Calibration | None:
        """The threshold of "no answer" that gives the best F1; 0 where every row has an answer or none has."""
        gold = [[answer["text"] for answer in row["answers"]] for row in rows]
        if all(gold) or not any(gold):
            return self.calibration
        spans = [best_span(one, outputs) for one, outputs in zip(encoded, logits, strict=True)]
        margins = np.array([span.margin for span in spans])
        given = [one.text[slice(*span.characters)] for one, span in zip(encoded, spans, strict=True)]
        gain = np.array([f1(golds, text) - f1(golds, "") for golds, text in zip(gold, given, strict=True)])
        order = np.argsort(-margins, kind="stable")
        best = int(np.concatenate([[0.0], np.cumsum(gain[order])]).argmax())
        sorted_margins = margins[order]
        edges = np.concatenate([[sorted_margins[0] + 2.0], sorted_margins, [sorted_margins[-1] - 2.0]])
        return Calibration(thresholds={NONE: round(float(edges[best : best + 2].mean()), 4)})

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        return {
            name: float(part.sum() / max(1.0, whole.sum())) for name, (part, whole) in marks(rows, predictions).items()
        }

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        import torch
        from torch.nn.functional import cross_entropy

        places = torch.arange(logits.shape[1], device=logits.device)
        start, end, first, last = (column.long() for column in targets.unbind(1))
        # The question and the padding can be no answer: without them a row's loss is the same in any company.
        able = (places == 0) | ((places >= first[:, None]) & (places < last[:, None]))
        masked = logits.masked_fill(~able[..., None], NEVER)
        sides = (
            cross_entropy(masked[..., i], side, reduction="none", label_smoothing=0.0)
            for i, side in enumerate((start, end))
        )
        return (sum(sides) / 2 * weights).sum()


class Span:
    """The best span of a row: its ``window`` and sub-words, its characters, how far it beats having no answer, its share."""

    __slots__ = ("characters", "first", "last", "margin", "none", "share", "share_of_none", "window")

    def __init__(self, window: int, places: tuple[int, int], characters: tuple[int, int]) -> None:
        self.window, (self.first, self.last), self.characters = window, places, characters
        self.margin, self.share, self.share_of_none, self.none = NEVER, 0.0, 1.0, 0


def best_span(encoded: Encoded, outputs: Sequence[Floats]) -> Span:
    """The likeliest span of at most `LONGEST` sub-words, with its probability among all spans and having no answer."""
    scored = [
        _scored(window, np.asarray(logits, dtype=np.float64))
        for window, logits in zip(encoded.windows, outputs, strict=True)
    ]
    none = int(np.argmin([null for _, null in scored]))
    tops = [float(spans.max()) if spans.size else NEVER for spans, _ in scored]
    window = int(np.argmax(tops))
    least, highest = scored[none][1], max(max(tops), scored[none][1])
    whole = np.exp(least - highest) + sum(float(np.exp(spans - highest).sum()) for spans, _ in scored)
    found = Span(window, (0, 0), (0, 0))
    found.none, found.share_of_none = none, float(np.exp(least - highest) / whole)
    if tops[window] <= NEVER:
        return found
    spans = scored[window][0]
    row, column = np.unravel_index(int(spans.argmax()), spans.shape)
    begin = _room(encoded.windows[window])[0]
    found.first, found.last = begin + int(row), begin + int(column)
    offsets = encoded.windows[window].offsets
    start, end = offsets[found.first][0], offsets[found.last][1]
    text = encoded.text[start:end]
    found.characters = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
    found.margin, found.share = tops[window] - least, float(np.exp(tops[window] - highest) / whole)
    return found


def marks(rows: Rows, predictions: Sequence[Prediction]) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """What each row adds to a score and to what it is divided by: exact match and F1, of all, answerable, and other rows."""
    golds = [[answer["text"] for answer in row["answers"]] for row in rows]
    pairs = [(gold, str(p.answer or "")) for gold, p in zip(golds, predictions, strict=True)]
    exact = np.array([exact_match(gold, answer) for gold, answer in pairs], dtype=np.float64)
    overlap = np.array([f1(gold, answer) for gold, answer in pairs], dtype=np.float64)
    has = np.array([bool(gold) for gold in golds], dtype=np.float64)
    every = np.ones(len(rows))
    found = {"f1": (overlap, every), "exact_match": (exact, every)}
    if 0 < has.sum() < len(rows):
        found |= {"answerable_f1": (overlap * has, has), "answerable_exact_match": (exact * has, has)}
        found |= {"unanswerable_accuracy": (exact * (1 - has), 1 - has)}
    return found


def _scored(window: Window, logits: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The sums of start and end logits of a window's spans, (n, n) over the context's sub-words, and that of no answer."""
    begin, end = _room(window)
    sums = logits[begin:end, 0][:, None] + logits[begin:end, 1][None, :]
    places = np.arange(end - begin)
    length = places[None, :] - places[:, None]
    return np.where((length >= 0) & (length < LONGEST), sums, NEVER), float(logits[0].sum())


def _room(window: Window) -> tuple[int, int]:
    """The first of the context's sub-words in a window, and one after the last."""
    read = [i for i, (start, _) in enumerate(window.offsets) if start >= 0]
    return (read[0], read[-1] + 1) if read else (0, 0)


def _within(window: Window, answers: Sequence[Row]) -> tuple[int, int]:
    """First and last sub-word of the first answer that stands whole in a window; (0, 0) for none."""
    there = [(one["start"], one["start"] + len(one["text"])) for one in answers if one["start"] >= 0]
    spans = (_covering(window, start, end) for start, end in there)
    return next((span for span in spans if span is not None), (0, 0))


def _covering(window: Window, start: int, end: int) -> tuple[int, int] | None:
    """First and last sub-word of the characters start..end of the context; None where they are not whole in a window."""
    covering = [i for i, (left, right) in enumerate(window.offsets) if left >= 0 and right > start and left < end]
    if not covering or window.offsets[covering[0]][0] > start or window.offsets[covering[-1]][1] < end:
        return None
    return covering[0], covering[-1]


def places_of(encoded: Encoded, start: int, end: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """(window, sub-word) of the first and the last sub-word of some characters of the context; None: in no window."""
    for w, window in enumerate(encoded.windows):
        if (found := _covering(window, start, end)) is not None:
            return (w, found[0]), (w, found[1])
    return None


def _answers(record: Row) -> Iterator[tuple[str, int | None]]:
    """Texts of the answers with where they begin, where that is said; raises `DataError` for anything else."""
    value = record.get("answers")
    if value is None or value == "" or value == NOT_FOUND:
        return
    if isinstance(value, str):
        told = PLACE.match(str(record.get("answer_start")))
        yield value, int(told[1]) if told else None
        return
    if isinstance(value, dict) and {"text", "answer_start"} <= value.keys():
        value = [
            {"text": text, "start": start} for text, start in zip(value["text"], value["answer_start"], strict=False)
        ]
    if not isinstance(value, list | tuple):
        raise _odd(value)
    for one in value:
        text = one if isinstance(one, str) else one.get("text") if isinstance(one, dict) else None
        start = one.get("start", one.get("answer_start")) if isinstance(one, dict) else None
        if not isinstance(text, str) or not (start is None or isinstance(start, int)):
            raise _odd(one)
        if text.strip():
            yield text, start


def _placed(answers: Sequence[tuple[str, int | None]], context: str) -> list[tuple[str, int]]:
    """Answers as they stand in the context, and where; one that does not stand there is kept beside others, at -1.

    White space may differ. Raises `DataError` where none of them stands there.
    """
    placed = [_at(text, start, context) for text, start in answers]
    if answers and all(found is None for found in placed):
        raise DataError(
            f"the answer {answers[0][0]!r:.60} does not stand in the context of {counted(len(context), 'character')}.",
            "An answer is a piece of the context, word for word.",
            "Mend the answer, or leave it empty where the context has none.",
            column="answers",
        )
    pairs = zip(answers, placed, strict=True)
    return list(dict.fromkeys(found or (text.strip(), -1) for (text, _), found in pairs))


def _at(text: str, start: int | None, context: str) -> tuple[str, int] | None:
    """The piece of the context with these letters that is nearest to ``start`` (the first for None)."""
    letters = r"\s*".join(re.escape(char) for char in text if not char.isspace())
    found = [(match[1], match.start()) for match in re.finditer(f"(?=({letters}))", context)]
    return min(found, key=lambda one: abs(one[1] - (start or 0)), default=None)


def _odd(value: object) -> DataError:
    return DataError(
        f"{value!r:.80} is no answer.",
        "Answers are [{text, start}], SQuAD's {text: [...], answer_start: [...]}, one text, or nothing.",
        "Mend the row, or name the column (--columns answers=NAME).",
        column="answers",
    )
