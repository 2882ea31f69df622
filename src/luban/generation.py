"""Text, sub-word by sub-word: greedy, drawn by chance or by beams, over any runtime; numpy and `tokenizers` only.

A runtime's `Decoder` reads sub-words and remembers what it read; everything that is chosen is chosen here, so that an answer
does not depend on what runs the weights. Prompts of one length are answered together: nothing is padded, so company changes
nothing. It opens no folder, scores nothing and prints nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer, decoders

from luban.decoding import Decoding, chosen, log_softmax
from luban.encoding import IDEOGRAPHS, Encoded, Ints
from luban.runtimes.base import Decoder

BROKEN = "\ufffd"
"stands for the bytes of a character that is not whole yet"
WIDE = f"{IDEOGRAPHS}\u3000-\u303f\uff01-\uff60"
"ideographs, and the signs that stand among them"
BETWEEN_WIDE = re.compile(f"(?<=[{WIDE}]) (?=[{WIDE}])")
"the space that WordPiece puts between two of its pieces, where no text has one"

Start = Callable[[], Decoder]
"a decoder that has read nothing yet"


class Reader:
    """Text of sub-words as they come: a piece is given once its characters are whole.

    ``text``: what was given so far, up to a stop text. What may be the beginning of one is held back.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self.tokenizer, self.stop = tokenizer, stop
        self.spaced = isinstance(tokenizer.decoder, decoders.WordPiece)
        self.ids: list[int] = []
        self.prefix = self.read = self.given = 0
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> None:
        """Read one more sub-word."""
        self.ids.append(token)
        before, now = self._window()
        # Only what follows `prefix` is decoded again: whole texts would make a long answer quadratic.
        if len(now) > len(before) and not now.endswith(BROKEN):
            self._add(now[len(before) :])
            self.prefix, self.read = self.read, len(self.ids)

    def finish(self) -> None:
        """Take what is left as it is: a character that the model never finished."""
        before, now = self._window()
        if not self.stopped and len(now) > len(before):
            self._add(now[len(before) :])
        self.read = self.prefix = len(self.ids)

    def piece(self, *, last: bool = False) -> str:
        """What is new since it was last asked for; all of it where it is the ``last``."""
        end = len(self.text) if last or self.stopped else len(self.text) - self._held()
        new, self.given = self.text[self.given : end], max(self.given, end)
        return new

    def _window(self) -> tuple[str, str]:
        known, all_ = self.ids[self.prefix : self.read], self.ids[self.prefix :]
        return self._decoded(known), self._decoded(all_)

    def _decoded(self, ids: list[int]) -> str:
        text = self.tokenizer.decode(ids, skip_special_tokens=True) if ids else ""
        return BETWEEN_WIDE.sub("", text) if self.spaced else text

    def _add(self, new: str) -> None:
        self.text += new
        found = [at for stop in self.stop if (at := self.text.find(stop)) >= 0]
        if found:
            self.text, self.stopped = self.text[: min(found)], True

    def _held(self) -> int:
        """How many of the last characters may be the beginning of a stop text."""
        most = max((len(stop) - 1 for stop in self.stop), default=0)
        for count in range(min(most, len(self.text)), 0, -1):
            if any(stop.startswith(self.text[-count:]) for stop in self.stop):
                return count
        return 0


@dataclass(slots=True, eq=False)
class Answer:
    """One answer in the making: ``chance`` of its own, so that company draws nothing away from it.

    ``log_probability``: that of all sub-words taken, the last one's included where it ended the answer; ``taken``: how many.
    ``cut``: the limit ended it.
    """

    reader: Reader
    decoding: Decoding
    ends: frozenset[int]
    most: int
    chance: np.random.Generator = field(init=False)
    log_probability: float = 0.0
    taken: int = 0
    done: bool = False
    cut: bool = False

    def __post_init__(self) -> None:
        self.chance = np.random.default_rng(self.decoding.seed)
        self.done = self.cut = self.most <= 0

    @property
    def last(self) -> int:
        """The id that was taken last."""
        return self.reader.ids[-1]

    @property
    def score(self) -> float:
        """The geometric mean of the probabilities of its sub-words."""
        return float(np.exp(self.log_probability / self.taken)) if self.taken else 1.0

    def take(self, token: int, log_probability: float) -> None:
        """One more sub-word."""
        self.taken += 1
        self.log_probability += log_probability
        if token in self.ends:
            self.done = True
        else:
            self.reader.push(token)
            self.done = self.reader.stopped or self.taken >= self.most
            self.cut = self.done and not self.reader.stopped
        if self.done:
            self.reader.finish()


def write(decoder: Decoder, prompts: Ints, answers: Sequence[Answer]) -> Iterator[None]:
    """Write the ``answers`` to (b, n) prompts together; pauses after each sub-word. Greedy, or drawn where they are warm."""
    open_ = list(answers)
    logits = decoder.feed(prompts) if any(not answer.done for answer in answers) else None
    while logits is not None:
        sure = log_softmax(logits)
        for i, answer in enumerate(open_):
            if not answer.done:
                token = chosen(logits[i], answer.decoding, answer.chance)
                answer.take(token, float(sure[i, token]))
        yield
        left = [i for i, answer in enumerate(open_) if not answer.done]
        if not left:
            return
        if len(left) < len(open_):
            decoder.keep(left)
            open_ = [open_[i] for i in left]
        logits = decoder.feed(np.array([[answer.last] for answer in open_], dtype=np.int64))


@dataclass(frozen=True, slots=True)
class _Beam:
    ids: tuple[int, ...]
    total: float

    def mean(self) -> float:
        """Log probability a sub-word: sums would favour short answers."""
        return self.total / max(1, len(self.ids))


def search(decoder: Decoder, prompt: Ints, answer: Answer) -> None:
    """Write the most probable answer that ``answer.decoding.beams`` beams find, by log probability a sub-word; prompt (n,).

    It ends when no open beam can become better than the worst of as many finished ones.
    """
    width, most = answer.decoding.beams, answer.most
    if answer.done:
        return
    beams, finished = [_Beam((), 0.0)], list[_Beam]()
    logits = decoder.feed(prompt[None])
    for length in range(1, most + 1):
        totals = log_softmax(logits) + np.array([[beam.total] for beam in beams], dtype=np.float32)
        best = np.argsort(-totals, axis=None, kind="stable")[: 2 * width]
        parents, open_ = list[int](), list[_Beam]()
        for rank, place in enumerate(best.tolist()):
            parent, token = divmod(place, totals.shape[1])
            grown = _Beam((*beams[parent].ids, token), float(totals[parent, token]))
            if token in answer.ends:
                finished += [grown] if rank < width else []
            elif len(open_) < width:
                parents.append(parent)
                open_.append(grown)
        beams = open_
        finished = sorted(finished, key=lambda beam: -beam.mean())[:width]
        if not beams or (len(finished) == width and beams[0].total / length <= finished[-1].mean()):
            break
        if length < most:
            decoder.keep(parents)
            logits = decoder.feed(np.array([[beam.ids[-1]] for beam in beams], dtype=np.int64))
    _adopt(answer, max([*finished, *beams[:width]] if len(finished) < width else finished, key=_Beam.mean))


def _adopt(answer: Answer, beam: _Beam) -> None:
    """Make a beam the answer."""
    for token in beam.ids:
        if not answer.done:
            answer.take(token, 0.0)
    answer.log_probability = beam.total


def begun(tokenizer: Tokenizer, encoded: Encoded, ends: frozenset[int]) -> tuple[Ints, Answer]:
    """The prompt (n,) of an encoded row, and its answer before the first sub-word."""
    prompt = encoded.windows[0].ids[: encoded.asked]
    decoding = encoded.decoding or Decoding()
    room = max(0, encoded.room) if len(prompt) else 0
    return prompt, Answer(Reader(tokenizer, decoding.stop), decoding, ends, min(decoding.max_new_tokens, room))


def answer_all(start: Start, asked: Sequence[tuple[Ints, Answer]], max_rows: int) -> None:
    """Write every answer: beams row by row, the others together where their prompts are of one length."""
    alike: dict[int, list[tuple[Ints, Answer]]] = {}
    for prompt, answer in asked:
        if answer.decoding.beams > 1:
            search(start(), prompt, answer)
        else:
            alike.setdefault(len(prompt), []).append((prompt, answer))
    for same in alike.values():
        for at in range(0, len(same), max_rows):
            together = same[at : at + max_rows]
            for _ in write(start(), np.stack([prompt for prompt, _ in together]), [answer for _, answer in together]):
                pass


def pieces(start: Start, prompt: Ints, answer: Answer) -> Iterator[str]:
    """One answer as it is written, in pieces of whole characters; with beams nothing is known before the end."""
    if answer.decoding.beams > 1:
        search(start(), prompt, answer)
    else:
        for _ in write(start(), prompt[None], [answer]):
            if not answer.done and (piece := answer.reader.piece()):
                yield piece
    if last := answer.reader.piece(last=True):
        yield last
