"""What every verb shares: options from sections, --json and --lang, errors as sentences, exit codes; it knows no verb.

Exit codes: 0 done, 1 a gate or check failed, 2 wrong use or bad input, 130 interrupted. With --json the result, or
the error, is the only thing on stdout: whatever a library prints on the way goes to stderr.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any

import typer

from luban.cli.options import expanded, gathered
from luban.cli.screen import Screen
from luban.cli.words import language
from luban.errors import ConfigError, GateError, LubanError, nearest_hint
from luban.tasks import TASKS

INTERRUPTED = 130
OSERROR = 2
PANEL = "Output"
START, STAGES, AROUND = "To start", "The line, stage by stage", "Around it"
SOURCE = "file (CSV, TSV, JSONL, Parquet, CoNLL ...), folder of such files, or hf:NAME[:CONFIG]"
MODEL = "a model folder"
TASK = f"kind of problem: {', '.join(TASKS)}"

AsJson = Annotated[
    bool,
    typer.Option(
        "--json", metavar="", help="one machine-readable object on stdout and nothing else", rich_help_panel=PANEL
    ),
]
Lang = Annotated[
    str,
    typer.Option("--lang", metavar="en|zh", help="language of what is shown (LUBAN_LANG, LANG)", rich_help_panel=PANEL),
]
Context = Annotated[
    str, typer.Option("--context", metavar="TEXT", help="the text that answers a question", show_default=False)
]
History = Annotated[
    str,
    typer.Option(
        "--history", metavar="IDS", help="items that a user took, oldest first, with commas", show_default=False
    ),
]
Image = Annotated[
    str, typer.Option("--image", metavar="FILE", help="the picture of a row of several kinds", show_default=False)
]
Fields = Annotated[
    str, typer.Option("--fields", metavar="NAME=VALUE,...", help="fields of a row of several kinds", show_default=False)
]

Verb = Callable[..., dict[str, Any] | None]


def command(
    app: typer.Typer, *, name: str | None = None, panel: str | None = None, skip: Collection[str] = ()
) -> Callable[[Verb], Verb]:
    """Register a verb: a function of a `Screen`, arguments and sections that returns the object for --json."""

    def register(verb: Verb) -> Verb:
        parameters, sections = expanded(verb, skip)
        parameters = [p for p in parameters if p.annotation is not Screen]
        common = [
            inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=AsJson),
            inspect.Parameter("lang", inspect.Parameter.KEYWORD_ONLY, default="", annotation=Lang),
        ]

        def run(*, as_json: bool, lang: str, **given: Any) -> None:
            configs = {key: gathered(section, given) for key, section in sections.items()}
            own = {p.name: given[p.name] for p in parameters if p.name in inspect.signature(verb).parameters}
            screen = Screen(as_json=as_json, language=language(lang))
            with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
                result = verb(screen, **own, **configs)
            if as_json and result is not None:
                screen.object(result)
            if screen.failed:
                raise typer.Exit(GateError.exit_code)

        run.__signature__ = inspect.Signature([*parameters, *common])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*parameters, *common]}
        run.__doc__ = verb.__doc__
        app.command(name=name or verb.__name__.strip("_"), rich_help_panel=panel)(run)
        return verb

    return register


def group(name: str, about: str) -> typer.Typer:
    """A verb with verbs below it."""
    return typer.Typer(name=name, help=about, no_args_is_help=True, rich_markup_mode="rich", context_settings=SETTINGS)


SETTINGS: dict[Any, Any] = {"help_option_names": ["-h", "--help"]}


def answered(app: typer.Typer, args: list[str] | None = None) -> int:
    """Run the command line and return its exit code; every error a person can cause becomes sentences on stderr."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars; luban draws its own
    # Threads that wait by spinning take the cores from whoever works; read when PyTorch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if os.environ.get("RANK", "0") != "0":  # torchrun started several; the first one speaks for all
        with (
            open(os.devnull, "w", encoding="utf8") as no,
            contextlib.redirect_stdout(no),
            contextlib.redirect_stderr(no),
        ):
            return _answered(app, args)
    return _answered(app, args)


def _answered(app: typer.Typer, args: list[str] | None) -> int:
    screen = _of_words(sys.argv[1:] if args is None else args)
    try:
        code = app(args, standalone_mode=False, prog_name="luban")
        sys.stdout.flush()
    except LubanError as error:
        screen.refused(error)
        return error.exit_code
    except typer.TyperException as error:
        return _wrong_use(screen, error)
    except typer.Abort:
        code = INTERRUPTED
    except BrokenPipeError:
        _hush()
        return 0
    except OSError as error:
        return _refused_by_the_system(screen, error)
    if code == INTERRUPTED:
        screen.interrupted()
    return code if isinstance(code, int) else 0


def _of_words(words: Sequence[str]) -> Screen:
    """The screen for an error, which may come before any option is parsed: --json and --lang as they were typed."""
    words = words[: words.index("--")] if "--" in words else words
    typed = [after for word, after in pairwise(words) if word == "--lang"]
    typed += [word.removeprefix("--lang=") for word in words if word.startswith("--lang=")]
    for wanted in (*typed[-1:], ""):
        with contextlib.suppress(ConfigError):  # that no such language exists is what the error will say
            return Screen(as_json="--json" in words, language=language(wanted))
    return Screen(as_json="--json" in words)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Inside, SIGTERM ends the process by an exception, as Ctrl-C does: what was started is stopped and removed."""

    def end(number: int, frame: object) -> None:
        raise typer.Exit(128 + number)

    before = signal.signal(signal.SIGTERM, end) if threading.current_thread() is threading.main_thread() else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _wrong_use(screen: Screen, error: typer.TyperException) -> int:
    """Say what is wrong with the words typed, and which word is nearest."""
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), err=True)
        return 2
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "luban"
    wrong = getattr(error, "option_name", None)
    known = [name for parameter in context.command.params for name in parameter.opts] if wrong and context else []
    message = (error.message if wrong else error.format_message()).rstrip(".")
    said = message if message.endswith("?") else f"{message}."
    screen.refused(ConfigError(said, nearest_hint(wrong, known) if wrong else "", f"{path} --help"))
    return error.exit_code


def _refused_by_the_system(screen: Screen, error: OSError) -> int:
    """Say what the system would not do: no permission, a full disk, a directory where a file was meant."""
    if error.filename is None:  # it may be stdout that is full: what waits in it must not fail once more
        _hush()
    screen.refused(
        LubanError(f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror or error}.")
    )
    return OSERROR


def _hush() -> None:
    """The reader went away: close stdout quietly, so that the interpreter does not complain when it flushes."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(io.UnsupportedOperation):  # a stdout that is no file
        os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
