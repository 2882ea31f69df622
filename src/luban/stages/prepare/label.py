"""`luban data label`: a chat model labels texts, so that a small model can learn from it; it trains nothing.

Each answer is kept in the out directory as soon as it comes (``.labelling/answers.jsonl``): a run that was killed asks only
what was not answered yet. An answer that names no label is asked for again, then the row is rejected with the reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from luban.config import LabelConfig, PrepareConfig
from luban.errors import ConfigError
from luban.folder import write_text
from luban.llm import ChatModel, Unanswered
from luban.manifest import canonical
from luban.records import Progress, Reject, Watch, unwatched
from luban.stages.prepare.line import load, write_rejects
from luban.stages.prepare.verbs import write_rows
from luban.tasks.base import Task

WORK = ".labelling"
ATTEMPTS = 3
"times a text is shown before its row is rejected"
OBJECT = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Labelling:
    """What was labelled: rows in = ``labelled`` + ``rejects``; ``asked`` of them now, the others in an earlier run.

    ``tokens`` of all runs together; ``cost`` by the prices given, in their currency.
    """

    source: str
    out: str
    model: str
    rows: int
    labelled: int
    asked: int
    rejects: tuple[Reject, ...]
    counts: Mapping[str, int]
    tokens: Mapping[str, int]
    cost: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def label(
    config: LabelConfig, reading: PrepareConfig, task: type[Task], out: Path, *, watch: Watch = unwatched
) -> Labelling:
    """Label the texts of ``reading.source`` and write ``train.jsonl`` and ``rejects.jsonl``; the figures go to ``.labelling``.

    Raises `ConfigError` for what cannot be asked, `LubanError` where the model stops answering; what it said is kept.
    """
    labels = _labels(config, task)
    chat = ChatModel(config.llm, config.model, key_env=config.key_env, retries=config.retries, timeout=config.timeout)
    loaded = load(reading.source, task, config=reading, labelled=False)
    parts = loaded.parts.values()
    rows = [(row, part.sources[0] if part.sources else reading.source, n) for part in parts
            for row, n in zip(part.rows, part.lines, strict=True)]  # fmt: skip
    told = {"model": config.model, "labels": labels}
    with Answers(out / WORK, told) as kept:
        texts = list(dict.fromkeys(row["text"] for row, _, _ in rows))
        waiting = [text for text in texts if _key(text) not in kept.known]
        try:
            _ask_all(waiting, chat, labels, kept, config.workers, watch)
        finally:
            chat.close()
    good, rejects = [], list(loaded.rejects)
    for row, file, number in rows:
        answer = kept.known[_key(row["text"])]
        if "label" in answer:
            good.append({**row, "label": answer["label"]})
        else:
            rejects.append(Reject(file, number, answer["reason"], "text", row["text"][:200]))
    return _written(out, config, reading, good, rejects, (kept, len(waiting)))


class Answers:
    """The answers so far, by the hash of their text; each is on disk before the next is asked for.

    Raises `ConfigError` where the directory holds answers of another model or to another question.
    """

    def __init__(self, work: Path, told: Mapping[str, Any]) -> None:
        self.work, self.known, self.lock = work, dict[str, dict[str, Any]](), threading.Lock()
        about = work / "about.json"
        if about.is_file() and json.loads(about.read_text(encoding="utf8")) != told:
            raise ConfigError(
                f"{work.parent} holds answers that were asked for with another model or other labels.",
                "A run goes on where the same command was stopped.",
                "Choose another --out, or remove it yourself.",
            )
        work.mkdir(parents=True, exist_ok=True)
        write_text(about, json.dumps(told, ensure_ascii=False))

    def __enter__(self) -> Answers:
        file = self.work / "answers.jsonl"
        if file.is_file():
            whole, _, _ = file.read_text(encoding="utf8", errors="replace").rpartition("\n")  # the rest was cut off
            lines = [json.loads(line) for line in whole.split("\n") if line]
            self.known = {line["key"]: line for line in lines}
            write_text(file, whole + "\n" if whole else "")
        self.file: TextIO = file.open("a", encoding="utf8")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, answer: dict[str, Any]) -> None:
        """Keep an answer."""
        with self.lock:
            self.file.write(json.dumps(answer, ensure_ascii=False) + "\n")
            self.file.flush()
            os.fsync(self.file.fileno())
            self.known[answer["key"]] = answer

    def spent(self) -> dict[str, int]:
        """Tokens of all answers."""
        return {name: sum(one.get(name, 0) for one in self.known.values()) for name in ("prompt", "completion")}


def _ask_all(
    texts: Sequence[str], chat: ChatModel, labels: Mapping[str, str], kept: Answers, workers: int, watch: Watch
) -> None:
    """Ask about every text, ``workers`` at a time; no more than that are ever under way."""
    with ThreadPoolExecutor(workers) as pool:
        for begin in range(0, len(texts), workers):
            for _ in pool.map(lambda text: kept.add(_asked(text, chat, labels)), texts[begin : begin + workers]):
                pass
            watch(Progress("labelling", min(begin + workers, len(texts)), len(texts)))


def _asked(text: str, chat: ChatModel, labels: Mapping[str, str]) -> dict[str, Any]:
    """The answer about one text, or why there is none, with the tokens it took."""
    told: dict[str, Any] = {"key": _key(text), "prompt": 0, "completion": 0}
    said = ""
    for _ in range(ATTEMPTS):
        try:
            reply = chat.ask(prompt(text, labels))
        except Unanswered as error:
            return {**told, "reason": error.happened}
        told["prompt"] += reply.prompt_tokens
        told["completion"] += reply.completion_tokens
        said = reply.text
        if (found := read(said, labels)) is not None:
            return {**told, "label": found}
    return {**told, "reason": f"the chat model answered {said[:80]!r}, which names none of the labels."}


def prompt(text: str, labels: Mapping[str, str]) -> list[dict[str, str]]:
    """What the model is shown: the labels with what they mean, and the text as JSON, so that it cannot pose as an order."""
    listed = "\n".join(f"- {json.dumps(name, ensure_ascii=False)}" + (f": {about}" if about else "")
                       for name, about in labels.items())  # fmt: skip
    rule = 'Answer with one JSON object, {"label": "..."}, whose value is one of the labels as they are written, nothing else.'
    return [
        {"role": "system", "content": f"You put one label on a text. The labels:\n{listed}\n{rule}"},
        {"role": "user", "content": json.dumps({"text": text}, ensure_ascii=False)},
    ]


def read(said: str, labels: Mapping[str, str]) -> str | None:
    """The label that an answer names, capitals aside; nothing where it names none."""
    found = OBJECT.search(said)
    try:
        value = json.loads(found[0]).get("label") if found else None
    except (ValueError, AttributeError):
        return None
    folded = {name.casefold(): name for name in labels}
    return folded.get(str(value).strip().casefold()) if value is not None else None


def _labels(config: LabelConfig, task: type[Task]) -> dict[str, str]:
    """Labels with what they mean; raises `ConfigError` for a task or labels that cannot be asked for."""
    if task.name != "text-classification":
        raise ConfigError(
            f"A chat model cannot label for {task.name}.",
            "Texts can be given one label each.",
            "Use text-classification.",
        )
    names = list(config.labels)
    if len(set(names)) < 2 or len({name.casefold() for name in names}) < len(names):
        raise ConfigError(
            f"The labels are {', '.join(names) or 'none'}.",
            "Two or more different ones are chosen from.",
            "Mend --labels.",
        )
    if strange := sorted(set(config.about) - set(names)):
        raise ConfigError(
            f"There is no label {strange[0]!r} to describe.", f"The labels: {', '.join(names)}.", "Mend --about."
        )
    if not config.llm or not config.model:
        raise ConfigError(
            "No chat model is named.", "Nothing is asked of one unless its address is given.", "Set --llm and --model."
        )
    return {name: config.about.get(name, "") for name in names}


def _key(text: str) -> str:
    return hashlib.sha256(canonical(text).encode()).hexdigest()[:32]


def _written(
    out: Path,
    config: LabelConfig,
    reading: PrepareConfig,
    rows: list[dict[str, Any]],
    rejects: list[Reject],
    done: tuple[Answers, int],
) -> Labelling:
    kept, asked = done
    write_rows(out / "train.jsonl", rows)
    (out / "rejects.jsonl").unlink(missing_ok=True)
    if rejects:
        write_rejects(out / "rejects.jsonl", rejects)
    spent = kept.spent()
    cost = (spent["prompt"] * config.price_in + spent["completion"] * config.price_out) / 1e6
    counts = {name: sum(row["label"] == name for row in rows) for name in config.labels}
    total = len(rows) + len(rejects)
    found = Labelling(
        reading.source, str(out), config.model, total, len(rows), asked, tuple(rejects), counts, spent, round(cost, 6)
    )
    write_text(out / WORK / "labelling.json", json.dumps(found.as_json(), ensure_ascii=False, indent=1) + "\n")
    return found
