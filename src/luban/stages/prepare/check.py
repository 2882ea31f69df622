"""What is wrong with rows before anyone learns from them: a report of findings; it changes and drops nothing."""

from __future__ import annotations

import codecs
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from luban.config import PrepareConfig
from luban.encoding import TextEncoder
from luban.errors import counted
from luban.personal import find
from luban.preferences import swapped, with_answers
from luban.records import Reject, Row, Rows, texts, told_labels
from luban.stages.prepare import duplicates
from luban.stages.prepare.clean import clean_text
from luban.stages.prepare.interactions import Histories
from luban.stages.prepare.interactions import read as histories
from luban.stages.prepare.line import Loaded, load
from luban.stages.prepare.rows import Part
from luban.stages.prepare.split import text_key
from luban.tasks.base import Task

Severity = Literal["error", "warning", "note"]
RARE = 5
"rows under which a class counts as rare"
IMBALANCE = 20.0
"times that the commonest class may outnumber the rarest before it is said"
SHOWN = 10
DAMAGE = re.compile(r"\ufffd|锟斤拷|烫烫烫|屯屯屯|(?:[ÃÂ][\x80-\xbf\u0152-\u203a€™]|â€[\x80-\xbf\u0152-\u2122œ™˜]|ï»¿)")
BEYOND_ASCII = re.compile(r"[^\x00-\x7f]{4,}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: ``count`` rows (or classes) of ``part``; ``rows``: the lines of the first in their files."""

    kind: str
    severity: Severity
    message: str
    count: int
    part: str = ""
    rows: tuple[int, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of the texts of a part in ``unit``; ``over`` of ``measured`` exceed ``limit`` (0: none known)."""

    part: str
    unit: Literal["characters", "sub-words"]
    median: int
    p95: int
    longest: int
    measured: int
    limit: int = 0
    over: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """A data check; ``failed`` when some row cannot be used at all; ``whole``: the source names no part."""

    source: str
    task: str
    rows: Mapping[str, int]
    labels: Mapping[str, int]
    findings: tuple[Finding, ...]
    lengths: tuple[Lengths, ...]
    rejects: Sequence[Reject]
    columns: Mapping[str, str]
    sample: tuple[Row, ...]
    whole: bool = False

    @property
    def failed(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def of(self, kind: str, part: str | None = None) -> list[Finding]:
        """The findings of one kind (in one part)."""
        return [f for f in self.findings if f.kind == kind and part in (None, f.part)]


def check(
    source: str, task: type[Task], config: PrepareConfig | None = None, *, encoder: TextEncoder | None = None
) -> Check:
    """Check a source as it stands: uncleaned, every bad row counted; with an ``encoder`` lengths also in sub-words.

    ``config`` gives columns and the separate valid and test sources. Raises `DataError` only where nothing can be read.
    """
    given = config or PrepareConfig()
    config = given.model_copy(update={"source": source, "clean": False, "strict": False, "group": ""})
    if task.recommends:
        return of_interactions(histories(source, task, config), source, task.name, encoder)
    loaded = load(source, task, config=config)
    parts = dict(loaded.parts)
    for name, other in (("valid", config.valid), ("test", config.test)):
        if other:
            found = load(other, task, config=config).parts
            parts[name] = found.get(name) or next(iter(found.values()))
    whole = loaded.whole and len(parts) == 1
    return examine(Loaded(loaded.task, source, parts, loaded.columns, loaded.notes, whole), encoder=encoder)


def of_interactions(found: Histories, source: str, task: str, encoder: TextEncoder | None) -> Check:
    """The check of who took what: what cannot be read, what says nothing, and what nothing is said of."""
    rows = {name: part.rows for name, part in found.parts.items()}
    whole = list(rows.get("train", ()))
    findings = [*_unusable("train", Part([], rejects=found.rejects)), *_silent(found, whole)]
    return Check(
        source, task, {name: len(part) for name, part in rows.items()}, {}, tuple(findings),
        tuple(_lengths("items", [dict(row) for row in found.items], encoder)), found.rejects, found.columns,
        tuple(whole[:3]), False,
    )  # fmt: skip


def _silent(found: Histories, train: Rows) -> Iterator[Finding]:
    """Users, items and interactions that say nothing of what comes next."""
    met = {item for part in found.parts.values() for row in part.rows for item in (*row["history"], row.get("item"))}
    alone = sum(len(row["history"]) < 2 for row in train)
    cold = sum(row["item"] not in met for row in found.items)
    again = int(found.notes.get("taken", {}).get("again", 0))
    if alone:
        users = counted(alone, "user")
        message = f"{users} with a single item to learn from, which says nothing of what comes next."
        yield Finding("alone", "note", message, alone, "train")
    if cold:
        message = f"{counted(cold, 'item')} that nobody took: known by their texts alone."
        yield Finding("cold", "note", message, cold)
    if again:
        message = f"{counted(again, 'interaction')} with an item that the user had taken before, left out."
        yield Finding("again", "note", message, again, "train")


def examine(loaded: Loaded, *, encoder: TextEncoder | None = None) -> Check:
    """The check of rows that are loaded already."""
    parts = loaded.parts
    keys = {name: [text_key(row) for row in part.rows] for name, part in parts.items()}
    findings: list[Finding] = []
    for name, part in parts.items():
        findings += _unusable(name, part)
        findings += _copies(name, part, with_answers(keys[name], part.rows))
        findings += _swapped(name, part, keys[name])
        findings += _texts(name, part)
    first = next(iter(parts))
    main = "train" if "train" in parts else first
    findings += _classes(main, parts[main])
    findings += _leaks(parts, keys)
    findings += _unseen(parts)
    lengths = tuple(found for name, part in parts.items() for found in _lengths(name, part.rows, encoder))
    findings += [
        Finding(
            "long",
            "note",
            f"{length.over} of {length.measured} texts are longer than the {length.limit} {length.unit} read at once.",
            length.over,
            length.part,
        )
        for length in lengths
        if length.over
    ]
    rows = parts[main].rows
    return Check(
        loaded.source,
        loaded.task,
        {name: len(part.rows) for name, part in parts.items()},
        dict(_counts(rows)),
        tuple(findings),
        lengths,
        loaded.rejects,
        loaded.columns,
        tuple(dict(rows[i]) for i in range(min(3, len(rows)))),
        loaded.whole,
    )


def _unusable(name: str, part: Part) -> Iterator[Finding]:
    """Rows that were rejected: with nothing in a cell, with an empty one, or broken otherwise."""
    kinds: dict[str, list[Reject]] = defaultdict(list)
    for reject in part.rejects:
        kinds[_reason(reject.reason)].append(reject)
    words = {
        "missing": "without a value",
        "empty": "with an empty cell",
        "unlabelled": "without labels",
        "broken": "that cannot be read",
    }
    for kind, rejects in kinds.items():
        yield Finding(
            kind,
            "note" if kind == "unlabelled" else "error",
            f"{counted(len(rejects), 'row')} {words[kind]}: {rejects[0].reason}",
            len(rejects),
            name,
            tuple(reject.row for reject in rejects[:SHOWN]),
        )
    if part.inner:
        yield Finding(
            "nested", "note", f"{counted(part.inner, 'entity')} inside another one, left out.", part.inner, name
        )


def _reason(reason: str) -> str:
    if "published without" in reason or "has no labels" in reason:
        return "unlabelled"
    if " is empty" in reason:
        return "empty"
    return "missing" if reason.startswith(("None is no", "nan is no")) else "broken"


def _copies(name: str, part: Part, keys: Sequence[str]) -> Iterator[Finding]:
    """Equal texts, nearly equal texts, and equal texts whose targets differ."""
    copies = duplicates.exact(keys)
    if copies:
        message = f"{counted(len(copies), 'row')} with the text of an earlier row (case, width and white space aside)."
        yield Finding("duplicate", "warning", message, len(copies), name, _lines(part, copies))
    first: dict[tuple[str, str], str] = {}
    clashes: dict[str, list[int]] = defaultdict(list)
    for i, (key, row) in enumerate(zip(keys, part.rows, strict=True)):
        if any(first.setdefault((key, name), target) != target for name, target in _shown(row).items()):
            clashes[key].append(i)
    if clashes:
        rows = [i for found in clashes.values() for i in found]
        message = f"{counted(len(clashes), 'text')} with different labels; nothing can learn both."
        yield Finding("contradiction", "warning", message, len(clashes), name, _lines(part, rows))
    pairs = duplicates.near(keys)
    if pairs:
        later = sorted({b for _, b, _ in pairs})
        near = counted(len(later), "row")
        message = f"{near} nearly the same as an earlier row (85 per cent of their four-character pieces)."
        details = (
            {"pairs": [[part.lines[a], part.lines[b], round(s, 3)] for a, b, s in pairs[:SHOWN]]} if part.lines else {}
        )
        yield Finding("near-duplicate", "note", message, len(later), name, _lines(part, later), details)


def _swapped(name: str, part: Part, keys: Sequence[str]) -> Iterator[Finding]:
    """Pairs of answers of which now one is preferred and now the other."""
    found = swapped(keys, part.rows)
    if found:
        message = (
            f"{counted(len(found), 'row')} in which the answer is preferred that another row rejects for the same one."
        )
        yield Finding("contradiction", "warning", message, len(found), name, _lines(part, found))


def _texts(name: str, part: Part) -> Iterator[Finding]:
    """Texts that are damaged, hold personal data, or that cleaning would change."""
    damaged: list[int] = []
    dirty: list[int] = []
    personal: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(part.rows):
        read = texts(row).values()
        damaged += [i] * any(is_damaged(text) for text in read)
        dirty += [i] * any(clean_text(text) != text for text in read)
        for kind in {entity.label for text in read for entity in find(text)}:
            personal[kind].append(i)
    if damaged:
        some = counted(len(damaged), "text")
        message = f"{some} damaged, it seems, by a wrong encoding (U+FFFD, or bytes read as other letters)."
        yield Finding("encoding", "warning", message, len(damaged), name, _lines(part, damaged))
    if dirty:
        some = counted(len(dirty), "text")
        message = f"{some} with odd white space, invisible characters or HTML that cleaning takes out."
        yield Finding("unclean", "note", message, len(dirty), name, _lines(part, dirty))
    for kind, rows in sorted(personal.items()):
        words = kind.replace("_", " ")
        some = counted(len(rows), "text")
        message = f"{some} with what looks like personal data ({words}); see `luban data anonymise`."
        yield Finding("personal", "warning", message, len(rows), name, _lines(part, rows), {"kind": kind})


def is_damaged(text: str) -> bool:
    """Whether a text shows U+FFFD, or UTF-8 that was read as Windows-1252 or as GBK."""
    if text.isascii():
        return False
    if DAMAGE.search(text):
        return True
    return any(_was_utf8(run[0], coding) for run in BEYOND_ASCII.finditer(text) for coding in ("cp1252", "gb18030"))


def _was_utf8(run: str, coding: str) -> bool:
    """Whether a run of characters makes sense as UTF-8 once it is written back in another coding."""
    try:
        again = codecs.getincrementaldecoder("utf-8")().decode(run.encode(coding))  # the last letter may be cut
    except UnicodeError:
        return False
    return len(again) < len(run) and "\ufffd" not in again


def _classes(name: str, part: Part) -> Iterator[Finding]:
    counts = _counts(part.rows)
    if not counts:
        return
    if len(counts) == 1 and "label" in part.rows[0] and "tags" not in part.rows[0]:
        yield Finding("one-class", "error", f"every row has the label {next(iter(counts))!r}.", 1, name)
    rare = {label: count for label, count in counts.items() if count < RARE}
    if rare:
        shown = ", ".join(f"{label} ({count})" for label, count in list(rare.items())[:SHOWN])
        message = f"{counted(len(rare), 'class')} with fewer than {RARE} rows: {shown}."
        yield Finding("rare-class", "warning", message, len(rare), name)
    most, least = max(counts.values()), min(counts.values())
    if most > IMBALANCE * least:
        message = f"the commonest class has {most / least:.0f} times the rows of the rarest ({most} and {least})."
        yield Finding("imbalance", "note", message, 1, name, details={"ratio": most / least})


def _leaks(parts: Mapping[str, Part], keys: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    known = set(keys.get("train", ()))
    for name in ("valid", "test"):
        rows = [i for i, key in enumerate(keys.get(name, ())) if key in known]
        if rows:
            total = len(keys[name])
            message = (
                f"{len(rows)} of {counted(total, 'text')} also in train; judge by the others too ({total - len(rows)})."
            )
            yield Finding("leak", "warning", message, len(rows), name, _lines(parts[name], rows))


def _unseen(parts: Mapping[str, Part]) -> Iterator[Finding]:
    known = set(_counts(parts["train"].rows)) if "train" in parts else set()
    for name in ("valid", "test"):
        counts = _counts(parts[name].rows) if name in parts and known else Counter()
        unseen = {label: count for label, count in counts.items() if label not in known}
        if unseen:
            shown = ", ".join(f"{label} ({count})" for label, count in list(unseen.items())[:SHOWN])
            message = f"{counted(len(unseen), 'label')} not in train: {shown}."
            yield Finding("unseen-label", "warning", message, len(unseen), name)


def _lengths(name: str, rows: Rows, encoder: TextEncoder | None) -> Iterator[Lengths]:
    read = ["".join(texts(row).values()) for row in rows]
    if not any(read):
        return
    yield _length(name, "characters", [len(text) for text in read], 0)
    if encoder is not None:
        measured = read[:: max(1, len(read) // 20_000)]
        specials = len(encoder.prefix) + len(encoder.suffix)
        counts = [
            len(coded.ids) + specials for coded in encoder.tokenizer.encode_batch(measured, add_special_tokens=False)
        ]
        yield _length(name, "sub-words", counts, encoder.limit)


def _length(name: str, unit: Literal["characters", "sub-words"], counts: Sequence[int], limit: int) -> Lengths:
    values = np.array(counts)
    median, p95 = np.percentile(values, [50, 95], method="higher")
    over = int((values > limit).sum()) if limit else 0
    return Lengths(name, unit, int(median), int(p95), int(values.max()), len(values), limit, over)


def _counts(rows: Rows) -> Counter[str]:
    """Rows by class (entity types for taggers), commonest first; nothing for numbers."""
    counts: Counter[str] = Counter()
    for row in rows:
        if "targets" in row:
            counts.update(told_labels(row))
        if "tags" in row:
            counts.update(tag[2:] for tag in row["tags"] if tag.startswith("B-"))
        if "labels" in row:
            counts.update(row["labels"])
        elif isinstance(row.get("label"), str):
            counts[row["label"]] += 1
    return Counter(dict(counts.most_common())) if not _all_numbers(counts) else Counter()


def _all_numbers(counts: Counter[str]) -> bool:
    """Whether the labels are degrees (3.8) and not classes."""
    return any(re.fullmatch(r"-?\d+\.\d+", label) for label in counts) and all(
        re.fullmatch(r"-?\d+(\.\d+)?", label) for label in counts
    )


def _shown(row: Row) -> dict[str, str]:
    """What a row says, of several questions to each that it answers."""
    if "targets" in row:
        return {name: repr(value) for name, value in row["targets"].items() if value is not None}
    return {"": repr([row[name] for name in ("label", "labels", "tags", "answers") if name in row])}


def _lines(part: Part, rows: Mapping[int, Any] | Sequence[int]) -> tuple[int, ...]:
    return tuple(part.lines[i] if i < len(part.lines) else i + 1 for i in list(rows)[:SHOWN])
