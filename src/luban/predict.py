"""The one way to ask a folder: rows in, predictions out; evaluate, serve, explain and agents all use it.

It encodes, batches by equal length, runs the runtime and decodes; it neither scores nor prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from luban.encoding import Encoded, Window, batches, collate
from luban.errors import ConfigError, DataError, ParityError
from luban.folder import Folder, Golden
from luban.generation import answer_all, begun, pieces
from luban.records import Prediction, Row, texts
from luban.runtimes import RUNTIMES
from luban.runtimes.base import Decoder, Runtime
from luban.tasks.base import Floats, Task

GOLDEN_TOLERANCE = 2e-3
"largest difference of a probability between a golden row's record and what the loaded model says"


INT8_TOLERANCE = 5e-2
"the same for int8: a value on the edge of a quantisation step falls to the other side on another processor"


INT8_ENTITIES = 0.9
"share of the golden rows' entities (span and label) that an int8 tagger must find again: one may fall to the other side"


FLOATS = 2**25
"numbers that one call of a model that writes may answer with: 128 MiB"


INT8_TEXTS = 0.75
"share of the golden rows' texts that an int8 model must write again: one other sub-word changes all that follows"


DIFFERENT = "The weights, the tokenizer or the runtime differ from those that made the folder: make it again."


class Predictor:
    """A folder that is ready to answer.

    ``max_rows`` and ``max_tokens`` bound one call of the model; windows of equal length go together, which on a CPU is
    the only batching that pays (docs/serving.md).
    """

    def __init__(
        self,
        task: Task,
        encoder: Any,
        runtime: Runtime,
        *,
        max_rows: int = 8,
        max_tokens: int = 4096,
        slack: float = 0.0,
    ) -> None:
        self.task, self.encoder, self.runtime = task, encoder, runtime
        self._max_rows, self.max_tokens, self.slack = max_rows, max_tokens, slack

    @property
    def max_rows(self) -> int:
        """Most rows in one call of the model; 1 for a runtime whose answers would depend on their company."""
        return 1 if self.runtime.one_by_one else self._max_rows

    @max_rows.setter
    def max_rows(self, rows: int) -> None:
        self._max_rows = rows

    @classmethod
    def open(
        cls, model: str | Path | Folder, *, threads: int | None = None, stage: str = "load", check: bool = True
    ) -> Predictor:
        """Open a folder and re-run its golden rows; raises `FolderError`, or `ParityError` naming ``stage``."""
        folder = model if isinstance(model, Folder) else Folder.open(model)
        runtime = RUNTIMES[folder.manifest.runtime].open(folder.path, threads=threads)
        predictor = cls(folder.task(), folder.encoder(), runtime)
        if check:
            check_golden(predictor, folder.golden(), stage=stage)
        return predictor

    def row(self, value: str | Row) -> dict[str, Any]:
        """A canonical row of a text (a picture's file) or of a mapping with the task's input columns; raises `DataError`."""
        only = "image" if self.task.sees else "text"
        return self.task.canonical({only: value} if isinstance(value, str) else value)

    def predict(self, inputs: Iterable[str | Row]) -> list[Prediction]:
        """One prediction an input, in order; an input's ``id`` travels along."""
        encoded, ids = [], []
        for position, value in enumerate(inputs):
            try:
                encoded.append(self.task.encode(self.row(value), self.encoder))
            except DataError as error:
                raise error.at(row=position + 1) from error
            ids.append(str(value["id"]) if isinstance(value, Mapping) and "id" in value else None)
        answers = self.answer(encoded)
        return [replace(a, id=i) if i is not None else a for a, i in zip(answers, ids, strict=True)]

    def stream(self, inputs: Iterable[str | Row], *, size: int = 512) -> Iterator[Prediction]:
        """Predictions of any number of inputs at constant memory, ``size`` rows at a time."""
        waiting, done = iter(inputs), 0
        while held := list(islice(waiting, size)):
            try:
                yield from self.predict(held)
            except DataError as error:
                row = done + (error.row or 0)
                raise DataError(error.fact, error.expected, error.remedy, row=row, column=error.column) from error
            done += len(held)

    def answer(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Predictions of rows that are already encoded."""
        if self.task.generates:
            return self._written(encoded)
        logits = self.logits(encoded)
        return [self.task.decode(row, outputs) for row, outputs in zip(encoded, logits, strict=True)]

    def pieces(self, value: str | Row) -> Iterator[str]:
        """The answer of a model that writes, in pieces as they come; raises `DataError`, and `ConfigError` for other models."""
        if not self.task.generates:
            raise ConfigError(
                f"A model of {self.task.name} has its answer at once.",
                "Only one that writes can be read along.",
                "Ask it without streaming.",
            )
        encoded = self.task.encode(self.row(value), self.encoder)
        prompt, answer = begun(self.encoder.tokenizer, encoded, self.task.ends)
        yield from pieces(self._decoder, prompt, answer)

    def _written(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Answers that are written, and how probable the right ones are, where rows have them."""
        asked = [begun(self.encoder.tokenizer, row, self.task.ends) for row in encoded]
        answer_all(self._decoder, [one for one in asked if not one[1].done], self.max_rows)
        known = self._likely(encoded)
        return [
            replace(one, text=answer.reader.text, score=answer.score, cut=answer.cut) if answer.most else one
            for one, (_, answer) in zip(known, asked, strict=True)
        ]

    def _decoder(self) -> Decoder:
        """What reads a prompt and goes on from it."""
        return self.runtime.decoder(self.task.settings.get("begin", ()))

    def _likely(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """What the model says of the right answers, a few rows at a time: there is a logit for each word of the vocabulary."""
        out: list[Prediction] = []
        held: list[Encoded] = []
        for row in encoded:
            held.append(row)
            if sum(window.length for each in held for window in each.windows) >= self._most_tokens():
                out, held = out + self._judged(held), []
        return out + self._judged(held)

    def _judged(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        known = [i for i, row in enumerate(encoded) if row.windows[0].heads is not None and len(row.windows[0].heads)]
        found = dict(zip(known, self.logits([encoded[i] for i in known]), strict=True))
        return [self.task.decode(row, found.get(i, [])) for i, row in enumerate(encoded)]

    def _most_tokens(self) -> int:
        """Sub-words in one call: fewer where each is answered with a vocabulary."""
        return min(self.max_tokens, max(1, FLOATS // self.task.outputs)) if self.task.generates else self.max_tokens

    def logits(self, encoded: Sequence[Encoded]) -> list[list[Floats]]:
        """The head's outputs for each window of each row: (labels,), or (n, labels) for a tagger."""
        places: dict[bytes, list[tuple[int, int]]] = {}
        windows: list[Window] = []
        for r, row in enumerate(encoded):
            for w, window in enumerate(row.windows):
                # A passage that many queries share is run once.
                same = places.setdefault(window.key, [])
                if not same:
                    windows.append(window)
                same.append((r, w))
        wanted = list(places.values())
        lengths = [window.length for window in windows]
        out: list[list[Floats]] = [[None] * len(row.windows) for row in encoded]  # type: ignore[list-item]
        for batch in batches(lengths, max_rows=self.max_rows, max_tokens=self._most_tokens(), slack=self.slack):
            answer = self.runtime.run(collate([windows[i] for i in batch], self.encoder.pad_id))
            for i, logits in zip(batch, answer, strict=True):
                for r, w in wanted[i]:
                    out[r][w] = logits[: windows[i].answers] if self.task.tags_words else logits
        return out


def make_golden(predictor: Predictor, rows: Iterable[Mapping[Any, Any]]) -> list[Golden]:
    """Rows with the answers of this model, to be kept in its folder."""
    asked = [dict(row) for row in rows]
    return [Golden(row, rounded(a.as_json())) for row, a in zip(asked, predictor.predict(asked), strict=True)]


def check_golden(predictor: Predictor, golden: Sequence[Golden], *, stage: str) -> None:
    """Raises `ParityError` naming ``stage`` when the model no longer gives the recorded answers.

    Each row must be within `GOLDEN_TOLERANCE`, or `INT8_TOLERANCE` where the runtime is one_by_one; entities of such a
    runtime are compared over all rows together, see `INT8_ENTITIES`.
    """
    answers = predictor.predict([g.row for g in golden])
    if predictor.runtime.one_by_one and predictor.task.tags_words:
        _check_entities([g.expect for g in golden], [answer.as_json() for answer in answers], stage)
        golden = [replace(g, expect=_without_spans(g.expect)) for g in golden]
        answers = [replace(answer, **WITHOUT_SPANS[answer.answer is not None]) for answer in answers]
    if predictor.runtime.one_by_one and predictor.task.generates:
        golden, answers = _same_texts(golden, answers, stage)
    tolerance = INT8_TOLERANCE if predictor.runtime.one_by_one else GOLDEN_TOLERANCE
    for g, answer in zip(golden, answers, strict=True):
        worst = difference(
            g.expect, answer.as_json(), unit=predictor.task.calibration.spread, units=predictor.task.units
        )
        if worst > tolerance:
            text = (" ".join(texts(g.row).values()) or str(g.row))[:60]
            raise ParityError(
                stage,
                f"the golden row {text!r} gave {_short(answer.as_json())} instead of {_short(g.expect)} "
                f"(off by {worst:.3g}).",
                DIFFERENT,
            )


def _same_texts(
    golden: Sequence[Golden], answers: Sequence[Prediction], stage: str
) -> tuple[list[Golden], list[Prediction]]:
    """The rows whose text is written again; raises `ParityError` unless these are `INT8_TEXTS` of all."""
    same = [pair for pair in zip(golden, answers, strict=True) if pair[0].expect.get("text") == pair[1].text]
    if len(same) < INT8_TEXTS * len(golden):
        raise ParityError(
            stage, f"of the golden rows' {len(golden)} texts the model wrote {len(same)} again.", DIFFERENT
        )
    return [g for g, _ in same], [answer for _, answer in same]


def _check_entities(expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]], stage: str) -> None:
    """Entities of all rows: F1 between the two sets at least `INT8_ENTITIES`, scores of those in both alike."""
    before, now = _found(expected), _found(got)
    both = before.keys() & now.keys()
    agreement = 2 * len(both) / (len(before) + len(now)) if before or now else 1.0
    worst = max((abs(before[entity] - now[entity]) for entity in both), default=0.0)
    if agreement < INT8_ENTITIES or worst > INT8_TOLERANCE:
        raise ParityError(
            stage,
            f"of the golden rows' {len(before)} entities the model gave {len(both)} again, and "
            f"{len(now) - len(both)} others (scores off by at most {worst:.3g}).",
            DIFFERENT,
        )


WITHOUT_SPANS: tuple[dict[str, Any], dict[str, Any]] = (
    {"entities": None},
    {"answer": None, "start": None, "end": None, "score": None},
)


def _without_spans(answer: Mapping[str, Any]) -> dict[str, Any]:
    spans = WITHOUT_SPANS["answer" in answer]
    return {name: value for name, value in answer.items() if name not in spans}


def _found(answers: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int, int, str], float]:
    """Each entity (row, start, end, label), or the answer to a question, with its score."""
    return {
        (row, span["start"], span["end"], span.get("label", "")): float(span["score"])
        for row, answer in enumerate(answers)
        for span in ([answer] if "answer" in answer else answer.get("entities", ()))
    }


def difference(expected: Any, got: Any, *, unit: float = 1.0, units: Mapping[str, float] | None = None) -> float:
    """Largest difference between two answers: of numbers their distance, of anything else 0 where equal, else infinity.

    Where probabilities of labels are given, they are compared and the label is not: where they agree it is a tie. The
    distance of a ``value`` is counted in ``unit``, the spread of the numbers learnt: prices differ by more than ratings do;
    of several questions in ``units``, by the question.
    """
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        if set(expected) != set(got):
            return float("inf")
        told = {"label", "labels", "score"} if "scores" in expected else set()
        parts = {
            key: difference(expected[key], got[key]) for key in set(expected) - told - {"embedding", "items", "answers"}
        }
        if "items" in expected:
            parts["items"] = reordered(expected["items"], got["items"])
        if "embedding" in expected:
            parts["embedding"] = turned(expected["embedding"], got["embedding"])
        if "answers" in expected:
            parts["answers"] = _each_answer(expected["answers"], got["answers"], units or {})
        return max((part / unit if key == "value" else part for key, part in parts.items()), default=0.0)
    if isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            return float("inf")
        return max((difference(a, b) for a, b in zip(expected, got, strict=True)), default=0.0)
    if isinstance(expected, float | int) and isinstance(got, float | int):
        return abs(float(expected) - float(got))
    return 0.0 if expected == got else float("inf")


def _each_answer(expected: Mapping[str, Any], got: Mapping[str, Any], units: Mapping[str, float]) -> float:
    """Largest difference between the answers to the same questions; infinity where other questions are answered."""
    if set(expected) != set(got):
        return float("inf")
    return max((difference(expected[name], got[name], unit=units.get(name, 1.0)) for name in expected), default=0.0)


def reordered(expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]]) -> float:
    """Largest difference of an item's score between two lists; one that a list lacks has at most its last item's there.

    Infinity where the lists are not of one length: items that are nearly equal may change places, not vanish.
    """
    if len(expected) != len(got):
        return float("inf")
    a, b = ({one["item"]: float(one["score"]) for one in each} for each in (expected, got))
    lowest = [min(each.values(), default=0.0) for each in (a, b)]
    return max((abs(a.get(item, lowest[0]) - b.get(item, lowest[1])) for item in a.keys() | b.keys()), default=0.0)


def turned(expected: Sequence[float], got: Sequence[float]) -> float:
    """How far one vector points away from another: one minus their cosine; infinity where their sizes differ."""
    if len(expected) != len(got):
        return float("inf")
    a, b = np.array(expected, dtype=np.float64), np.array(got, dtype=np.float64)
    return max(0.0, 1.0 - float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)))


def rounded(value: Any, digits: int = 6) -> Any:
    """The same JSON value with its numbers rounded."""
    if isinstance(value, Mapping):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    return round(value, digits) if isinstance(value, float) else value


def _short(answer: Mapping[str, Any]) -> str:
    return str({key: value for key, value in rounded(answer, 3).items() if key != "scores"})
