"""`luban predict MODEL [TEXT ...] [--input FILE]`: answers, one line or one JSON object a text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.text import Text

from luban.cli.answers import answer_line
from luban.cli.frame import MODEL, STAGES, Context, Fields, History, Image, command
from luban.cli.screen import ACCENT, Screen
from luban.cli.tables import clipped, reasons
from luban.config import PrepareConfig, WriteConfig
from luban.errors import ConfigError
from luban.records import texts as texts_of

if TYPE_CHECKING:
    from luban.folder import Folder
    from luban.predict import Predictor
    from luban.records import Evidence, Prediction, Row


NO_FIELDS = ("id", "hash", "image", "history", "user", "top", "again")
"columns of a row that are shown otherwise, or not at all"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=STAGES, skip=set(PrepareConfig.model_fields) - {"columns", "clean", "strict", "seed"})(predict)


def predict(
    screen: Screen,
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)],
    text: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT ...]", help="texts, or pictures' files; - reads lines from stdin", show_default=False
        ),
    ] = None,
    input: Annotated[
        str,
        typer.Option(
            "--input", metavar="FILE", help="rows to answer: CSV, JSONL, lines, pictures ...", show_default=False
        ),
    ] = "",
    context: Context = "",
    history: History = "",
    image: Image = "",
    fields: Fields = "",
    output: Annotated[
        str, typer.Option("--output", metavar="FILE", help="write JSON lines here", show_default=False)
    ] = "",
    stream: Annotated[bool, typer.Option("--stream", metavar="", help="show a written answer as it comes")] = False,
    explain: Annotated[bool, typer.Option("--explain", metavar="", help="add the words that mattered")] = False,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", metavar="N", min=0, help="processor threads [dim](all cores)[/dim]", show_default=False
        ),
    ] = 0,
    *,
    prepare: PrepareConfig,
    writing: WriteConfig,
) -> None:
    """Answer texts or a file of rows; --json writes one object a line."""
    from luban import verbs

    typed_kinds = of_kinds(text or [], image, fields) if image or fields else None
    check("TEXT" if text else "--image" if image else "--fields" if fields else "", history, input)
    check_options(stream=stream, output=output, explain=explain, context="" if text and not typed_kinds else context)
    verbs.check_file_out(output)
    folder = verbs.opened(model)
    check_kinds(folder, image, fields)
    rows = (
        verbs.unlabelled(folder, prepare.model_copy(update={"source": input}))
        if input
        else [{"history": history, "id": "1"}]
        if history
        else [{**typed_kinds, "id": "1"}]
        if typed_kinds
        else asked_of(folder, typed(text or [], context))
    )
    predictor = verbs.load(folder, threads=threads or None)
    rows = as_wanted(rows, writing, predictor)
    if stream:
        read_along(screen, predictor, rows)
        return
    with written(output) as file:
        for row, answer in answered(predictor, rows):
            why = mattered(predictor, row, answer) if explain else {}
            said: dict[str, Any] = answer.as_json()
            for question, evidence in why.items():
                (said["answers"][question] if question else said).update(because(evidence))
            if file is not None:
                file.write(json.dumps(said, ensure_ascii=False) + "\n")
            elif screen.as_json:
                screen.object(said)
            else:
                line = Text.assemble(
                    (f"{answer_line(answer)}", f"bold {ACCENT}"),
                    ("  " + clipped(asked(row), 70), "dim"),
                )
                screen.show(line)
                for question, evidence in why.items():
                    screen.show(Text("   " + (f"{question}: " if question else "") + reasons(evidence)))
    if file is not None:
        screen.note(screen.word("made", path=output))


def as_wanted(rows: Iterable[Row], writing: WriteConfig, predictor: Predictor) -> Iterator[Row]:
    """The rows with the options that were typed; raises `ConfigError` where the model writes nothing."""
    options = writing.model_dump(exclude_unset=True)
    if options and not predictor.task.generates:
        raise ConfigError(
            f"{', '.join(options)} was given, and {predictor.task.name} writes nothing.",
            "These options say how an answer is written.",
            "Leave them out.",
        )
    return ({**row, **options} for row in rows)


def read_along(screen: Screen, predictor: Predictor, rows: Iterable[Row]) -> None:
    """Show each answer as it is written; as JSON one object a piece."""
    for row in rows:
        for piece in predictor.pieces(row):
            if screen.as_json:
                screen.object({"id": row["id"], "piece": piece})
            else:
                print(piece, end="", flush=True)
        if not screen.as_json:
            print()


def check(typed: str, history: str, source: str) -> None:
    """Raises `ConfigError` where nothing is asked, or two kinds of things are; ``typed``: what names a row that is typed."""
    asked = {typed: typed, "--history": history, "--input": source}
    given = [name for name, value in asked.items() if value]
    if len(given) != 1:
        raise ConfigError(
            f"{', '.join(given)} are given together." if given else "There is nothing to answer.",
            "Either texts, --history IDS or --input FILE is expected.",
            'For example: luban predict MODEL "a text"',
        )


def check_options(*, stream: bool, output: str, explain: bool, context: str) -> None:
    """Raises `ConfigError` for options that would be passed over; ``context``: one that no typed question has."""
    beside = [name for name, on in (("--output", output), ("--explain", explain)) if on]
    if stream and beside:
        raise ConfigError(
            f"{', '.join(['--stream', *beside])} are given together.",
            "An answer that is shown as it comes is neither kept nor explained.",
            "Leave out --stream.",
        )
    if context:
        raise ConfigError(
            "--context is given, and no question is typed.",
            "It is the text that answers what is typed; rows of a file have their own.",
            "Leave it out, or type the question.",
        )


def typed(texts: list[str], context: str = "") -> Iterator[Row]:
    """The texts of the command line, or the lines of stdin for ``-``, numbered; with a context they are questions."""
    lines: Iterable[str] = (line.rstrip("\n") for line in sys.stdin) if texts == ["-"] else texts
    for number, text in enumerate(lines, start=1):
        if text.strip() or texts != ["-"]:
            asked = {"question": text, "context": context} if context else {"text": text}
            yield {**asked, "id": str(number)}


def of_kinds(texts: list[str], image: str, fields: str) -> dict[str, Any]:
    """A row of several kinds as it was typed; raises `ConfigError` where it is more than one, or a field has no value."""
    if len(texts) > 1:
        raise ConfigError(
            f"{len(texts)} texts are given for one picture or one set of fields.",
            "One row is asked about at a time.",
            "Write several rows to a file: --input FILE.",
        )
    row = dict(zip(("text",), texts, strict=False)) | ({"image": image} if image else {})
    for pair in filter(None, fields.split(",")):
        name, sign, value = pair.partition("=")
        if not sign:
            raise ConfigError(
                f"{pair!r} gives no field a value.",
                "Fields are written like price=12.5,brand=acme.",
                "Write --fields NAME=VALUE,NAME=VALUE.",
            )
        row[name.strip()] = value.strip()
    return row


def check_kinds(folder: Folder, image: str, fields: str) -> None:
    """Raises `ConfigError` for a picture or fields that the folder's model does not read."""
    from luban.tasks import TASKS

    task = TASKS[folder.manifest.task]
    if (fields and not task.fuses) or (image and not (task.fuses or task.sees)):
        raise ConfigError(
            f"{'--fields' if fields else '--image'} was given, and {task.name} reads none.",
            "Rows of multimodal-classification have a picture and fields.",
            "Leave it out.",
        )


def asked_of(folder: Folder, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows as the folder's task wants them: what is typed names a file where pictures are read, and is its id."""
    for row in rows:
        yield {"image": row["text"], "id": row["text"]} if folder.task().sees and "text" in row else row


def asked(row: Row) -> str:
    """What a row asks, in few words."""
    from luban.gathered import field_name
    from luban.pictures import named

    if row.get("image") is not None and not texts_of(row):
        return named(str(row["image"]))
    fields = ", ".join(f"{field_name(name) or name}={row[name]}" for name in row if name not in NO_FIELDS)
    taken = row.get("history") or row.get("user") or fields
    return next(iter(texts_of(row).values()), taken if isinstance(taken, str) else ", ".join(taken))


def mattered(predictor: Predictor, row: Row, answer: Prediction) -> dict[str, Evidence]:
    """The explanation of an answer; of answers to several questions, that of each by its name."""
    from luban import verbs

    questions = answer.answers or {}
    if not questions:
        return {"": verbs.explain(predictor, row)}
    return {question: verbs.explain(predictor, row, target=question) for question in questions}


def because(evidence: Evidence) -> dict[str, Any]:
    """What is said of an explanation beside its answer: the strongest words, or the weights of a picture's parts."""
    if evidence.parts:
        words = {"words": [{"text": one.text, "weight": round(one.weight, 4)} for one in evidence.top(5)]}
        return words | {"parts": [{"name": one.name, "weight": round(one.weight, 4)} for one in evidence.parts]}
    if evidence.grid:
        return {"grid": [[round(weight, 4) for weight in line] for line in evidence.grid]}
    return {"words": [{"text": one.text, "weight": round(one.weight, 4)} for one in evidence.top(5)]}


def answered(predictor: Predictor, rows: Iterable[Row]) -> Iterator[tuple[Row, Prediction]]:
    """Each row with its answer, at constant memory."""
    held: list[Row] = []
    for row in rows:
        held.append(row)
        if len(held) == 256:
            yield from zip(held, predictor.predict(held), strict=True)
            held = []
    yield from zip(held, predictor.predict(held), strict=True)


@contextmanager
def written(path: str) -> Iterator[TextIO | None]:
    """The output file, appearing whole at the end; None where none is wanted."""
    if not path:
        yield None
        return
    whole = Path(path)
    half = whole.with_name(f".{whole.name}.tmp")
    try:
        with half.open("w", encoding="utf8", newline="\n") as file:
            yield file
        half.replace(whole)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} cannot be written.", "Its directory must exist.", f"Make {whole.parent} first."
        ) from error
    finally:
        half.unlink(missing_ok=True)
