"""`luban explain MODEL TEXT`: which words spoke for the answer and which against it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from luban.cli.answers import answer_line
from luban.cli.frame import MODEL, STAGES, Context, Fields, History, Image, command
from luban.cli.predict import check_kinds, of_kinds
from luban.cli.screen import Screen
from luban.cli.tables import evidence_view
from luban.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=STAGES)(explain)


def explain(
    screen: Screen,
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)],
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="the text to explain", show_default=False)] = "",
    text_pair: Annotated[
        str, typer.Option("--text-pair", metavar="TEXT", help="second text of a pair", show_default=False)
    ] = "",
    context: Context = "",
    history: History = "",
    image: Image = "",
    fields: Fields = "",
    target: Annotated[
        str,
        typer.Option("--target", metavar="LABEL", help="label to explain [dim](the answer)[/dim]", show_default=False),
    ] = "",
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="how it is computed [dim](auto)[/dim]", show_default=False)
    ] = "auto",
    html: Annotated[
        str, typer.Option("--html", metavar="FILE", help="write the explanation as a page", show_default=False)
    ] = "",
) -> dict[str, Any]:
    """Show which words spoke for an answer, and which against it."""
    from luban import verbs

    check(text or image or fields, history)
    row = {"text": text, "text_pair": text_pair} if text_pair else {"text": text}
    if context:
        row = {"question": text, "context": context}
    shown = "\n".join(row.values())
    row = of_kinds([text] if text else [], image, fields) if image or fields else row
    verbs.check_file_out(html)
    folder = verbs.opened(model)
    check_kinds(folder, image, fields)
    predictor = verbs.load(folder)
    row = {"image": text} if predictor.task.sees and not image else {"history": history} if history else row
    answer = predictor.predict([row])[0]
    evidence = verbs.explain(predictor, row, target=target or None, method=method)
    shown = "\n".join(word.text for word in evidence.words) if history else shown
    screen.title(answer_line(answer))
    screen.show(evidence_view(screen, shown, evidence))
    screen.show(
        Text(f"{evidence.method} · {evidence.target} {evidence.score:.3f} · gap {evidence.gap:+.3g}", style="dim")
    )
    if html:
        verbs.write_page(Path(html), shown, evidence)
        screen.done(screen.word("made", path=html))
    return {"prediction": answer.as_json(), "evidence": evidence.as_json()}


def check(text: str, history: str) -> None:
    """Raises `ConfigError` unless one thing is to be explained."""
    if bool(text) == bool(history):
        raise ConfigError(
            "A text and --history are both given." if text else "There is nothing to explain.",
            "Either a text or --history IDS is expected.",
            'For example: luban explain MODEL "a text"',
        )
