"""Words with their tags: CoNLL columns and parallel files; sentences come out as tokens and tags, not converted.

In CoNLL the word stands in the first column and the tag in the last, cut by tabs or spaces; blank lines part sentences,
-DOCSTART- lines are passed over. A last line without a tag, where every sentence has one, is the sentence's label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path

from luban.encoding import is_ideograph
from luban.errors import DataError, counted
from luban.metrics.spans import detect_scheme
from luban.stages.prepare.base import Item, Record, Table
from luban.stages.prepare.text import Encoding, inspect, lines

TAG = re.compile(r"O|[BIESMWUL][-_]\S+")
MAX_SENTENCE = 100_000
Line = tuple[int, list[str]]


def is_conll(sample: Sequence[str]) -> bool:
    """Whether these lines are words with tags: at least nine in ten filled ones end in a tag."""
    filled = [line.rstrip("\r\n") for line in sample if line.strip() and not line.startswith("-DOCSTART-")]
    cut = [_cut(line) for line in filled]
    tagged = [cells for cells in cut if len(cells) >= 2 and TAG.fullmatch(cells[-1])]
    single = sum(len(cells) == 1 for cells in cut)
    words = len(tagged) and sum(cells[-1] == "O" for cells in tagged) + sum(" " not in cells[0] for cells in tagged)
    return bool(words) and len(tagged) + single >= 0.9 * len(filled) and len(tagged) >= 0.6 * len(filled)


def conll(path: Path, encoding: Encoding) -> Table:
    """The table of a file of tagged words, with the labels of ``PATH.intent`` where that file stands beside it."""
    intents = path.with_name(path.name + ".intent")
    labels = intents if intents.is_file() else None
    inner = _has_labels(path, encoding)

    def items() -> Iterator[Item]:
        rows = _sentences(path, encoding, inner)
        return _labelled(rows, labels) if labels else rows

    scheme = detect_scheme(record["tags"] for _, record in items() if not isinstance(record, DataError))
    columns = ("tokens", "tags", *(("text", "label") if labels or inner else ()))
    return Table(path, "CoNLL columns", columns, items, notes={"scheme": scheme})


def parallel(folder: Path) -> Table:
    """The table of a folder with ``seq.in`` and ``seq.out`` (and ``label``): one sentence a line, each file in step."""
    paths = [path for name in ("seq.in", "seq.out", "label") if (path := folder / name).is_file()]
    encodings = [inspect(path) for path in paths]
    columns = ("tokens", "tags", "text", "label")[: 4 if len(paths) == 3 else 3]

    def items() -> Iterator[Item]:
        rows = zip_longest(*(lines(path, encoding) for path, encoding in zip(paths, encodings, strict=True)))
        for number, row in enumerate(rows, start=1):
            cells = [cell[1].strip() if cell else None for cell in row]
            if None in cells:
                short = paths[cells.index(None)].name
                yield (
                    number,
                    DataError(f"{short} ends here.", "The files have a line each.", "Mend the files.", row=number),
                )
            elif any(cells):
                yield number, _parallel_row(number, [cell or "" for cell in cells])

    scheme = detect_scheme(record["tags"] for _, record in items() if not isinstance(record, DataError))
    return Table(folder, "parallel files", columns, items, notes={"scheme": scheme})


def joined(tokens: Sequence[str]) -> str:
    """Tokens as running text: spaces between words, none beside ideographs."""
    text = ""
    for token in tokens:
        tight = not text or not token or is_ideograph(text[-1]) or is_ideograph(token[0])
        text += token if tight else f" {token}"
    return text


def _parallel_row(number: int, cells: list[str]) -> Record | DataError:
    tokens, tags = cells[0].split(), cells[1].split()
    if len(tokens) != len(tags):
        return _uneven(number, len(tokens), len(tags))
    record: Record = {"tokens": tokens, "tags": tags, "text": cells[0]}
    return record | {"label": cells[2]} if len(cells) == 3 else record


def _uneven(number: int, tokens: int, tags: int) -> DataError:
    return DataError(
        f"there are {counted(tokens, 'token')} and {counted(tags, 'tag')}.",
        "Every token has one tag.",
        "Mend the row.",
        row=number,
        column="tags",
    )


def _cut(line: str) -> list[str]:
    return [cell.strip() for cell in line.rstrip("\t ").split("\t")] if "\t" in line.strip() else line.split()


def _blocks(path: Path, encoding: Encoding) -> Iterator[list[Line]]:
    block: list[Line] = []
    for number, line in lines(path, encoding):
        line = line.rstrip("\r\n").lstrip("\ufeff")
        cells = _cut(line)
        blank_word = len(cells) == 1 and line[:1].isspace() and TAG.fullmatch(cells[0])
        if blank_word or (cells and cells[0] == "-DOCSTART-"):
            continue  # a tagged white space holds no text; its neighbours carry the span on
        if cells and any(cells):
            block.append((number, cells))
        elif block:
            yield block
            block = []
        if len(block) > MAX_SENTENCE:
            raise DataError(
                f"the sentence has more than {MAX_SENTENCE} words.",
                "Blank lines part sentences.",
                "Put a blank line after each sentence.",
                file=path,
                row=block[0][0],
            )
    if block:
        yield block


def _has_labels(path: Path, encoding: Encoding) -> bool:
    """Whether every one of the first sentences closes with a line of its own label."""
    sample = list(islice(_blocks(path, encoding), 50))
    return bool(sample) and all(len(block) > 1 and len(block[-1][1]) == 1 for block in sample)


def _sentences(path: Path, encoding: Encoding, inner: bool) -> Iterator[Item]:
    for block in _blocks(path, encoding):
        label = block.pop()[1][0] if inner and len(block) > 1 and len(block[-1][1]) == 1 else None
        bare = next((line for line in block if len(line[1]) < 2 or not line[1][0]), None)
        if bare:
            yield (
                block[0][0],
                DataError(
                    f"the line {' '.join(bare[1])!r:.60} has no tag.",
                    "A word and its tag were expected.",
                    "Write the tag (O for none), or put a blank line between sentences.",
                    row=bare[0],
                    column="tags",
                ),
            )
            continue
        record: Record = {"tokens": [cells[0] for _, cells in block], "tags": [cells[-1] for _, cells in block]}
        if label is not None:
            record |= {"text": joined(record["tokens"]), "label": label}
        yield block[0][0], record


def _labelled(rows: Iterator[Item], path: Path) -> Iterator[Item]:
    labels = (line.strip() for _, line in lines(path, inspect(path)))
    for (number, record), label in zip_longest(rows, labels, fillvalue=(0, None)):
        if not isinstance(label, str):
            yield (
                number,
                DataError(f"{path.name} ends before here.", "One label a sentence.", "Mend the files.", row=number),
            )
        elif number == 0:
            if label:
                yield 0, DataError(f"{path.name} has more labels than sentences.", "One a sentence.", "Mend the files.")
        elif isinstance(record, DataError):
            yield number, record
        else:
            yield number, (record or {}) | {"text": joined((record or {})["tokens"]), "label": label}
