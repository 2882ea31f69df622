"""The rows that flow between the parts: predictions, evidence, rejects, steps; plain frozen data, no behaviour beyond JSON.

Rows themselves are mappings from column to value; a table of them is any sequence (`stored.Stored` or a list).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Row = Mapping[str, Any]
Rows = Sequence[Row]
TEXTS = ("question", "context", "text", "text_pair")
"the columns of canonical rows that hold a text to be read, in the order they are shown in"


def texts(row: Row) -> dict[str, str]:
    """The texts of a row by column; most rows have one. The messages of a conversation are one, a line each."""
    found = {name: str(row[name]) for name in TEXTS if isinstance(row.get(name), str)}
    if row.get("messages"):
        found["messages"] = "\n".join(str(message["content"]) for message in row["messages"])
    return found


def told_labels(row: Row) -> list[str]:
    """The labels of a row that answers several questions (``targets``), each as ``question:label``; a number has none."""
    told = {name: [value] if isinstance(value, str) else value for name, value in row["targets"].items()}
    return [f"{name}:{label}" for name, labels in told.items() if isinstance(labels, list) for label in labels]


def contents(row: Row) -> list[str]:
    """What makes two rows the same input: their texts, the ``hash`` of their pictures' files, and their fields."""
    fields = [f"{name}={value}" for name, value in sorted(row.items()) if ":" in name and value is not None]
    return [*texts(row).values(), *([str(row["hash"])] if row.get("hash") is not None else []), *fields]


@dataclass(frozen=True, slots=True)
class Entity:
    """A span of the original text, ``text[start:end]`` in characters, with its label and probability."""

    text: str
    label: str
    start: int
    end: int
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Recommended:
    """An item of a ranked list; ``score``: the probability that it comes next, among all items that may."""

    item: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answers for one row; only the fields that its task speaks of are set.

    ``label``/``score``/``scores``: the class, its probability, and every class's probability.
    ``labels``: several classes at once (multi-label). ``entities``: tagged spans. ``value``: a number (regression).
    ``tokens``: sub-words read; ``truncated``: some of the text was not read; ``windows``: pieces a long text was read in.
    ``embedding``: the text's vector, of length 1; ``passages``: those of the passages it was asked with (used by metrics, not
    written to JSON). ``relevance``: how well each passage answers the query, in their order, 0 to 1.
    ``answer``: a piece of the context, ``context[start:end]`` in characters; empty where it has none.
    ``tags``: one tag a word for a tagger (used by metrics, not written to JSON).
    ``text``: what was written; ``score`` is then the geometric mean of its sub-words' probabilities. ``cut``: the limit of new
    sub-words ended it. ``likelihood``: log probability of the right answer and its sub-words; ``rejected``: those of a worse
    one; ``margin``: the reward of the right one less that of the worse (`preferences`; all three for metrics, not in JSON).
    ``answers``: of a model that is asked several questions, the answer to each by the question's name.
    ``items``: what is recommended, best first; ``unknown``: items of the history that the model does not know; ``rank``: that
    of the right item, from 1 (for metrics, not in JSON).
    """

    label: str | None = None
    score: float | None = None
    scores: Mapping[str, float] | None = None
    labels: tuple[str, ...] | None = None
    entities: tuple[Entity, ...] | None = None
    value: float | None = None
    text: str | None = None
    answer: str | None = None
    start: int | None = None
    end: int | None = None
    embedding: tuple[float, ...] | None = None
    relevance: tuple[float, ...] | None = None
    tokens: int = 0
    windows: int = 1
    truncated: bool = False
    id: str | None = None
    tags: tuple[str, ...] | None = None
    passages: tuple[tuple[float, ...], ...] | None = None
    cut: bool = False
    likelihood: tuple[float, int] | None = None
    rejected: tuple[float, int] | None = None
    margin: float | None = None
    items: tuple[Recommended, ...] | None = None
    answers: Mapping[str, Prediction] | None = None
    unknown: tuple[str, ...] = ()
    rank: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The object `luban predict --json` writes: no field that is not set, ``truncated`` and ``cut`` only where true."""
        out: dict[str, Any] = {} if self.id is None else {"id": self.id}
        for name in ("label", "text", "answer", "start", "end", "score", "scores", "value"):
            value = getattr(self, name)
            if value is not None:
                out[name] = dict(value) if isinstance(value, Mapping) else value
        for name in ("labels", "embedding", "relevance"):
            if getattr(self, name) is not None:
                out[name] = list(getattr(self, name))
        if self.entities is not None:
            out["entities"] = [asdict(entity) for entity in self.entities]
        if self.items is not None:
            out["items"] = [asdict(item) for item in self.items]
        if self.answers is not None:
            out["answers"] = {name: answer.as_json() for name, answer in self.answers.items()}
        if self.unknown:
            out["unknown"] = list(self.unknown)
        for name in ("truncated", "cut"):
            if getattr(self, name):
                out[name] = True
        return out


@dataclass(frozen=True, slots=True)
class WordWeight:
    """How much one word of the text, ``text[start:end]``, spoke for (+) or against (-) the explained output."""

    text: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class PartWeight:
    """What the explained output loses without a part of the row: its text, its picture, its fields, or one field."""

    name: str
    value: str
    weight: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why one output was given: ``words`` in text order; ``method`` names how; ``gap`` is what the weights fail to sum to.

    ``base_score``: the output on the empty baseline; base_score + sum(weights) + gap = score (logit of ``target``).
    Of a picture: ``grid``, the weights of equal parts, row by row, and ``picture``, a data URL of what they are parts of.
    Of a row of several kinds: ``parts``, what each of them and each field counts for, by itself and not in sum.
    """

    target: str
    score: float
    base_score: float
    words: tuple[WordWeight, ...]
    method: str
    gap: float = 0.0
    grid: tuple[tuple[float, ...], ...] = ()
    picture: str = ""
    parts: tuple[PartWeight, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            name: value for name, value in asdict(self).items() if value or name not in ("grid", "picture", "parts")
        }

    def top(self, count: int = 3) -> list[WordWeight]:
        """The ``count`` words with the largest weight for the target, strongest first."""
        return sorted((w for w in self.words if w.weight > 0), key=lambda w: -w.weight)[:count]


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was not taken, and why; ``row`` counts from 1 as an editor counts lines."""

    source: str
    row: int
    reason: str
    column: str | None = None
    content: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What training will take, from a probe step at the longest batch: seconds, bytes, and the micro-batch it chose."""

    seconds: float
    peak_bytes: int
    steps: int
    micro_tokens: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step: ``done`` of ``total``, mean loss of its rows, learning rate of the body, rows and tokens seen."""

    done: int
    total: int
    epoch: int
    loss: float
    rate: float
    rows: int
    tokens: int
    grad_norm: float = 0.0


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """An evaluation point: the caller may score the model, save it, or stop the loop by closing the generator."""

    epoch: int
    done: int
    total: int
    last: bool = False
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A method of training that was chosen by the number of ``rows`` and of their ``labels``, where none was named."""

    method: str
    rows: int
    labels: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long piece of work is: ``done`` of ``total``; ``what`` names the work in one or two words."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Of ``rows`` to learn from, how many are not learnt whole, by what of them is not: ``text`` or ``target`` was cut, or the
    target has ``characters`` that the base cannot write."""

    rows: int
    text: int = 0
    target: int = 0
    characters: int = 0


@dataclass(frozen=True, slots=True)
class ClassKept:
    """The share of ``rows`` of an old class that were answered rightly before and after a model went on learning."""

    label: str
    rows: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a continued model still knows: accuracy on ``rows`` old rows, its ``drop`` with a 95 per cent interval.

    ``most``: the drop allowed; ``unseen``: whether the older model surely did not learn these rows either.
    """

    rows: int
    before: float
    after: float
    drop: float
    interval: tuple[float, float]
    most: float
    unseen: bool
    classes: tuple[ClassKept, ...] = ()


Watch = Callable[[object], None]
"whoever wants to see work go by: called with `Forecast`, `Step`, `EpochEnd` ...; it prints, logs or ignores them"


def unwatched(event: object) -> None:
    """A `Watch` that ignores everything."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows ready to learn from: canonical for their task, split without leaks; rows in = rows out + rejects.

    ``columns``: canonical name to the column it was read from. ``fingerprint``: hash of all parts' canonical rows.
    ``notes``: what the check found, for the manifest. ``test`` is empty where there is no test part.
    ``items``: what can be recommended, rows of ``item`` and ``text``.
    ``unlabelled``: rows without a target; ``texts``: rows of what the base is to read before it learns; ``replay``: the rows
    an older model was trained from, split in the same way.
    """

    task: str
    source: str
    train: Rows
    valid: Rows
    test: Rows
    rejects: Sequence[Reject]
    columns: Mapping[str, str]
    fingerprint: str
    notes: Mapping[str, Any] = field(default_factory=dict)
    unlabelled: Rows = ()
    replay: Prepared | None = None
    items: Rows = ()
    texts: Rows = ()
