"""Text to numbers: sub-words in windows, and windows in batches; numpy and `tokenizers` only, knows no task and no model.

A text longer than the model reads becomes several overlapping windows; nothing is cut unless a limit on windows says so,
and then `Encoded.truncated` says so too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from luban.decoding import Decoding
from luban.errors import FolderError

Ints = NDArray[np.int64]
Batch = dict[str, NDArray[Any]]
Draw = Callable[[], np.random.Generator]
"a generator of random numbers whose seed comes from those that training keeps account of"
SPECIAL = (-1, -1)
IGNORE = -100
REMEMBERED = 64
"characters of the longest word whose sub-words are kept: a server must not fill its memory with what clients make up"

IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"characters written without spaces around them (kana, Han), so that each is a word by itself: inside of a pattern's []"
IDEOGRAPH = re.compile(f"[{IDEOGRAPHS}]")

OFFSET = {
    "roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "data2vec-text", "xmod", "luke",
    "ibert", "esm", "mpnet", "longformer", "lilt", "markuplm",
}  # fmt: skip
"model types that count positions from the padding's id plus one, which is 2"


@dataclass(frozen=True, slots=True)
class Window:
    """One piece of a row as the model reads it.

    ``ids``, ``types``: (n,) sub-word and segment ids, special tokens included. ``offsets``: n character spans in the row's
    text (``SPECIAL`` for special tokens and for the second text of a pair). ``weight``: this window's share of the row
    (the shares of a row sum to 1). ``heads``: positions in ``ids`` of the first sub-word of each word decided here;
    ``first``: the index of the first of those words in the row.
    """

    ids: Ints
    types: Ints
    offsets: tuple[tuple[int, int], ...]
    weight: float = 1.0
    heads: Ints | None = None
    first: int = 0

    @property
    def length(self) -> int:
        """What it costs to read: sub-words."""
        return len(self.ids)

    @property
    def answers(self) -> int:
        """At how many places the model answers, where it does so at several."""
        return len(self.ids)

    @property
    def key(self) -> bytes:
        """Windows of one key are read alike, and answered alike."""
        return self.ids.tobytes() + b"|" + self.types.tobytes()

    def seen(self, draw: Draw) -> Window:
        """The window as a model sees it that learns from it once more: a text does not change."""
        return self

    def varied(self, number: int) -> Window:
        """A window of the same length that differs in one sub-word; for measurements."""
        middle, ids = len(self.ids) // 2, self.ids.copy()
        ids[middle] = (ids[middle] + number) % (int(self.ids.max()) + 1)
        return replace(self, ids=ids)

    @staticmethod
    def batched(windows: Sequence[Any], pad_id: int) -> Batch:
        """Windows padded on the right to the longest: ``input_ids``, ``attention_mask``, ``token_type_ids``, each (b, n)."""
        longest = max(len(window.ids) for window in windows)
        shape = (len(windows), longest)
        ids = np.full(shape, pad_id, dtype=np.int64)
        mask, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for i, window in enumerate(windows):
            n = len(window.ids)
            ids[i, :n], mask[i, :n], types[i, :n] = window.ids, 1, window.types
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as windows; ``words``: character spans of the row's words (taggers only); ``text``: what was read.

    ``apart``: how many windows each of the row's texts has, in order, where they are read apart (a query, its passages).
    ``asked``: how many sub-words of the only window are the prompt of what is to be written, and ``decoding``: how; -1 and None
    for a task that writes nothing. The window's ``heads`` are then the sub-words of right answers. ``room``: most
    sub-words that the answer may have.
    ``wish``: what else the task must know of the row to decode it; its own. ``lost``: what of it is not learnt whole.
    """

    windows: tuple[Window, ...]
    text: str
    tokens: int
    truncated: bool = False
    words: tuple[tuple[int, int], ...] = ()
    apart: tuple[int, ...] = ()
    asked: int = -1
    decoding: Decoding | None = None
    room: int = 0
    wish: Any = None
    lost: tuple[str, ...] = ()

    def of_each(self) -> list[slice]:
        """The windows of each text that is read apart; of all together where none is."""
        ends = np.cumsum(self.apart or (len(self.windows),)).tolist()
        return [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


def side_by_side(texts: Sequence[Encoded]) -> Encoded:
    """One row of several texts (or pairs) that are read apart; a single one stays as it is."""
    if len(texts) == 1:
        return texts[0]
    return Encoded(
        tuple(window for one in texts for window in one.windows),
        texts[0].text,
        sum(one.tokens for one in texts),
        truncated=any(one.truncated for one in texts),
        apart=tuple(len(one.windows) for one in texts),
    )


class TextEncoder:
    """A folder's tokenizer with the model's limits; ``limit`` is the longest window in sub-words, specials included."""

    def __init__(self, tokenizer: Tokenizer, *, limit: int = 512, pad_id: int = 0, max_windows: int = 64) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.limit = limit
        self.pad_id = pad_id
        self.max_windows = max_windows
        self.prefix, self.middle, self.suffix, self.second_type = _frame(tokenizer)
        self.pieces = lru_cache(maxsize=100_000)(self._pieces)

    @classmethod
    def open(cls, folder: str | Path, *, limit: int | None = None, max_windows: int = 64) -> TextEncoder:
        """From ``tokenizer.json`` and ``config.json`` of a folder; raises `FolderError` where one is missing."""
        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf8"))
            if not isinstance(config, dict):
                raise ValueError("config.json holds no object")
            text = (folder / "tokenizer.json").read_text(encoding="utf8")
            # The library raises a bare Exception for JSON that is no tokenizer, so that is seen to before it.
            if not isinstance(json.loads(text)["model"]["vocab"], dict | list):
                raise ValueError("its model has no vocabulary")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FolderError(
                f"{folder} has no readable config.json and tokenizer.json ({error}).",
                "A model folder or base needs both.",
                "Save the base with transformers' fast tokenizer (save_pretrained) and try again.",
            ) from error
        tokenizer = Tokenizer.from_str(text)
        most = position_limit(config)
        return cls(
            tokenizer,
            limit=min(limit or most, most),
            pad_id=int(config.get("pad_token_id") or 0),
            max_windows=max_windows,
        )

    def text(self, text: str) -> Encoded:
        """One text; long ones in windows that overlap by an eighth."""
        coded = self.tokenizer.encode(text, add_special_tokens=False)
        ids, spans = np.array(coded.ids, dtype=np.int64), coded.offsets
        room = self.limit - len(self.prefix) - len(self.suffix)
        pieces = _cuts(len(ids), room, room // 8)
        kept = pieces[: self.max_windows]
        windows = [
            self._framed(ids[start:end], spans[start:end], (end - start) / max(1, _total(kept))) for start, end in kept
        ]
        return Encoded(_whole(windows), text, len(ids), truncated=len(kept) < len(pieces))

    def pair(self, first: str, second: str) -> Encoded:
        """Two texts in one window; the longer is windowed, the shorter kept whole up to half of the room."""
        a = self.tokenizer.encode(first, add_special_tokens=False)
        b = self.tokenizer.encode(second, add_special_tokens=False)
        room = self.limit - len(self.prefix) - len(self.middle) - len(self.suffix)
        long_first = len(a.ids) >= len(b.ids)
        short, long = (b, a) if long_first else (a, b)
        kept_short = min(len(short.ids), room // 2)
        room_long = room - kept_short
        pieces = _cuts(len(long.ids), room_long, room_long // 8)
        kept = pieces[: self.max_windows]
        windows = []
        for start, end in kept:
            share = (end - start) / max(1, _total(kept))
            a_cut, b_cut = ((start, end), (0, kept_short)) if long_first else ((0, kept_short), (start, end))
            windows.append(
                self._framed_pair(a.ids[slice(*a_cut)], a.offsets[slice(*a_cut)], b.ids[slice(*b_cut)], share)
            )
        truncated = kept_short < len(short.ids) or len(kept) < len(pieces)
        return Encoded(_whole(windows), first, len(a.ids) + len(b.ids), truncated=truncated)

    def question(self, question: str, context: str) -> Encoded:
        """A question in front of each window of a text; windows overlap by a quarter. Offsets count in the text.

        A question that would leave less than half of the room to the text is cut.
        """
        asked = self.tokenizer.encode(question, add_special_tokens=False).ids
        read = self.tokenizer.encode(context, add_special_tokens=False)
        room = self.limit - len(self.prefix) - len(self.middle) - len(self.suffix)
        kept = asked[: room // 2]
        pieces = _cuts(len(read.ids), room - len(kept), (room - len(kept)) // 4)
        chosen = pieces[: self.max_windows]
        windows = []
        for start, end in chosen:
            one = self._framed_pair(
                kept, [SPECIAL] * len(kept), read.ids[start:end], (end - start) / max(1, _total(chosen))
            )
            before = len(one.ids) - len(self.suffix) - (end - start)
            offsets = (SPECIAL,) * before + tuple(read.offsets[start:end]) + (SPECIAL,) * len(self.suffix)
            windows.append(Window(one.ids, one.types, offsets, one.weight))
        truncated = len(kept) < len(asked) or len(chosen) < len(pieces)
        return Encoded(_whole(windows), context, len(asked) + len(read.ids), truncated=truncated)

    def words(self, text: str, words: Sequence[tuple[int, int]]) -> Encoded:
        """A text by its words (character spans); each word is decided in exactly one window, at its first sub-word.

        Raises `ValueError` never: a word of which the tokenizer makes nothing gets the unknown token.
        """
        pieces = [
            (self.pieces if e - s <= REMEMBERED else self._pieces)(text[s:e], s > 0 and text[s - 1].isspace())
            for s, e in words
        ]
        room = self.limit - len(self.prefix) - len(self.suffix)
        pieces = [piece[:room] for piece in pieces]
        lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
        plan = _word_windows(lengths, room)
        kept = plan[: self.max_windows]
        windows = [self._word_window(pieces, words, *cut) for cut in kept]
        decided = kept[-1][3] if kept else 0
        return Encoded(
            tuple(windows), text, int(lengths.sum()), truncated=decided < len(words), words=tuple(words[:decided])
        )

    def _pieces(self, word: str, spaced: bool) -> tuple[int, ...]:
        if len(word) == 1 and is_ideograph(word):
            own = self.tokenizer.token_to_id(word)
            if own is not None:
                return (own,)
        ids = self.tokenizer.encode(f" {word}" if spaced else word, add_special_tokens=False).ids
        return tuple(ids) or (self._unknown(),)

    def _unknown(self) -> int:
        for token in ("[UNK]", "<unk>"):
            found = self.tokenizer.token_to_id(token)
            if found is not None:
                return int(found)
        return self.pad_id

    def _framed(self, ids: Ints, spans: Sequence[tuple[int, int]], weight: float) -> Window:
        full = np.concatenate([self.prefix, ids, self.suffix])
        offsets = (SPECIAL,) * len(self.prefix) + tuple(spans) + (SPECIAL,) * len(self.suffix)
        return Window(full, np.zeros(len(full), dtype=np.int64), offsets, weight)

    def _framed_pair(self, first: list[int], spans: list[tuple[int, int]], second: list[int], weight: float) -> Window:
        head = np.concatenate([self.prefix, np.array(first, dtype=np.int64), self.middle])
        tail = np.concatenate([np.array(second, dtype=np.int64), self.suffix])
        types = np.repeat(np.array([0, self.second_type], dtype=np.int64), [len(head), len(tail)])
        offsets = (SPECIAL,) * len(self.prefix) + tuple(spans) + (SPECIAL,) * (len(self.middle) + len(tail))
        return Window(np.concatenate([head, tail]), types, offsets, weight)

    def _word_window(
        self, pieces: list[tuple[int, ...]], words: Sequence[tuple[int, int]], begin: int, end: int, stop: int, to: int
    ) -> Window:
        """Words begin..end stand in the window; of these, stop..to are decided in it."""
        starts = np.cumsum([len(self.prefix)] + [len(pieces[i]) for i in range(begin, end)])
        body = [np.array(pieces[i], dtype=np.int64) for i in range(begin, end)]
        spans = [words[i] for i in range(begin, end) for _ in pieces[i]]
        flat = np.concatenate(body) if body else np.zeros(0, dtype=np.int64)
        framed = self._framed(flat, spans, (to - stop) / max(1, len(words)))
        heads = starts[stop - begin : to - begin].astype(np.int64)
        return Window(framed.ids, framed.types, framed.offsets, framed.weight, heads, stop)


def is_ideograph(char: str) -> bool:
    """Whether a character is one of `IDEOGRAPHS`."""
    return IDEOGRAPH.match(char) is not None


def position_limit(config: Mapping[str, Any]) -> int:
    """The most sub-words a model of this ``config.json`` can read; RoBERTa's kin lose the padding offset.

    Of an encoder and a decoder with a configuration each, the encoder's.
    """
    if isinstance(config.get("encoder"), dict):
        return position_limit(config["encoder"])
    most = config.get("max_position_embeddings") or config.get("n_positions") or 512
    limit = int(most) if isinstance(most, int | float) else 512
    if str(config.get("model_type", "")) in OFFSET:
        limit -= 2
    return max(8, limit)


def collate(windows: Sequence[Window], pad_id: int) -> Batch:
    """Windows of one kind as the arrays that a model reads, by the names of its inputs; see `Window.batched`."""
    return windows[0].batched(windows, pad_id)


def batches(lengths: Sequence[int], *, max_rows: int, max_tokens: int, slack: float = 0.0) -> list[list[int]]:
    """Indices grouped by length, longest first: at most ``max_rows`` rows and ``max_tokens`` padded tokens a batch.

    ``slack``: how much shorter than the longest of its batch a row may be (0: equal lengths only, 1: any).
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    out: list[list[int]] = []
    for i in order:
        head = lengths[out[-1][0]] if out else 0
        if (
            out
            and len(out[-1]) < max_rows
            and (len(out[-1]) + 1) * head <= max_tokens
            and lengths[i] >= head * (1.0 - slack)
        ):
            out[-1].append(i)
        else:
            out.append([i])
    return out


def _frame(tokenizer: Tokenizer) -> tuple[Ints, Ints, Ints, int]:
    """The special ids before, between and after texts, and the segment id of a second text, read off the tokenizer."""
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    one = tokenizer.encode("a").ids
    two = tokenizer.encode("a", "a")
    at = _find(one, bare)
    prefix, suffix = one[:at], one[at + len(bare) :]
    first = _find(two.ids, bare)
    second = _find(two.ids[first + len(bare) :], bare) + first + len(bare)
    middle = two.ids[first + len(bare) : second]
    types = two.type_ids
    return (*(np.array(part, dtype=np.int64) for part in (prefix, middle, suffix)), int(types[second]))  # type: ignore[return-value]


def _find(ids: list[int], part: list[int]) -> int:
    return next((i for i in range(len(ids) - len(part) + 1) if ids[i : i + len(part)] == part), 0)


def _cuts(count: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """Start and end of windows of ``room`` items over ``count`` items; one empty window for an empty text."""
    if count <= room:
        return [(0, count)]
    step = max(1, room - overlap)
    starts = range(0, count - overlap, step)
    return [(min(start, count - room), min(start, count - room) + room) for start in starts]


def _word_windows(lengths: Ints, room: int) -> list[tuple[int, int, int, int]]:
    """(first word, end, first decided, end of decided) a window; neighbours share up to a quarter of the room."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    plan: list[tuple[int, int, int, int]] = []
    begin = decided = 0
    while True:
        end = int(np.searchsorted(ends, ends[begin] + room, side="right")) - 1
        if end >= len(lengths):
            plan.append((begin, len(lengths), decided, len(lengths)))
            return plan
        if end <= decided:  # the next word is too long to stand beside what was to be shared with it
            begin = decided
            continue
        back = int(np.searchsorted(ends, ends[end] - room // 4))
        back = max(back, begin + 1)
        middle = max(decided + 1, min(end, (back + end + 1) // 2))
        plan.append((begin, end, decided, middle))
        begin, decided = min(back, middle), middle


def _total(cuts: Sequence[tuple[int, int]]) -> int:
    return sum(end - start for start, end in cuts)


def _whole(windows: list[Window]) -> tuple[Window, ...]:
    """Windows whose weights sum to 1 (an empty text has one window that counts whole)."""
    if len(windows) == 1:
        only = windows[0]
        return (Window(only.ids, only.types, only.offsets, 1.0, only.heads, only.first),)
    return tuple(windows)
