"""luban beside plain Hugging Face Trainer, setfit and sentence-transformers: the same rows, base and passes, in one run.

    python benchmarks/against_peers.py [--on classify few search] [--epochs N] [--rows N] [--a-class N] [--iterations N]
                                       [--threads N] [--quick] [--data DIR] [--json]

One process a competitor. They take turns of a few seconds: all but one stand still, so that the machine is the same for all
of them. Each line of the table is one of: texts read a second of CPU time (and, in the JSON, of wall time) while learning; CPU
seconds until the score that the competitor ended with on dev rows was first reached, by itself and by luban; the process's
peak memory; the score on test rows. Dev rows are scored at a few points of the way, at no cost to the clock; what is kept
are the last weights. See peers.py for what counts.

classify: TREC coarse, thinned. few: Banking77, a few rows a class; setfit's own default, all pairs of all rows, is out of
reach here: --iterations N takes N pairs of each kind a row (its authors took 20). search: an FAQ asked by people, fold 0 of
retrieval.py. Peers that are not installed are left out, which a line says. They need not be installed beside luban:

    pip install --no-deps --target peers setfit sentence-transformers evaluate requests urllib3 charset_normalizer accelerate
    PYTHONPATH=peers python benchmarks/against_peers.py
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bench

CONTESTS = {
    "classify": ("luban full", "Trainer"),
    "few": ("luban contrastive", "luban head", "setfit", "Trainer"),
    "search": ("luban full", "sentence-transformers"),
}
"who takes part; the first is what the others are held against"
ABOUT = {
    "classify": "TREC coarse, {train} rows, {epochs} passes",
    "few": "Banking77, {a_class} a class",
    "search": "FAQ, {train} rows, {epochs} passes",
}


class Competitor:
    """A process that learns in turns. What it did is in the events that it writes."""

    def __init__(self, on: str, who: str, options: argparse.Namespace) -> None:
        self.on, self.who = on, who
        self.turns: list[tuple[float, float]] = []
        self.out = options.scratch / f"{on}-{who}.jsonl"
        self.errors = options.scratch / f"{on}-{who}.err"
        job = {**vars(options), "on": on, "who": who, "out": self.out}
        place = options.scratch / f"{on}-{who}.json"
        place.write_text(json.dumps(job, default=str), encoding="utf8")
        command = [sys.executable, str(Path(__file__).with_name("peers.py")), str(place)]
        with self.errors.open("w", encoding="utf8") as errors:
            self.process = subprocess.Popen(command, stdout=errors, stderr=errors)
        self.process.send_signal(signal.SIGSTOP)

    def turn(self, seconds: float) -> bool:
        """Go on for so long; returns whether there is more to do."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGSTOP)
        self.turns.append((started, time.monotonic()))
        return self.process.returncode is None

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text(encoding="utf8").splitlines()]

    def why(self) -> str:
        """The last line of what it said, where it failed."""
        lines = self.errors.read_text(encoding="utf8").strip().splitlines()
        return lines[-1] if lines else f"it ended with {self.process.returncode}"

    def awake(self, start: float, end: float) -> float:
        """Seconds between two times in which it was its turn."""
        return sum(max(0.0, min(end, b) - max(start, a)) for a, b in self.turns)


def course(competitor: Competitor) -> dict[str, Any]:
    """Its clock and scores: CPU and wall seconds of learning, dev scores with the CPU time they took, and how it ended."""
    cpu, wall, texts = 0.0, 0.0, 0
    on: tuple[float, float] | None = None
    scores: list[tuple[float, float]] = []
    end: dict[str, Any] = {}
    for event in competitor.events():
        if event["event"] == "learn":
            on = (event["cpu"], event["at"])
        elif event["event"] == "rest" and on:
            cpu, wall, on = cpu + event["cpu"] - on[0], wall + competitor.awake(on[1], event["at"]), None
        elif event["event"] == "score":
            scores.append((event["score"], cpu))
            texts = event["texts"]
        else:
            end = {name: event[name] for name in ("test", "peak", "train")}
    return {"cpu": cpu, "wall": wall, "scores": scores, "texts": texts, **end}


def lines(on: str, all_of: dict[str, dict[str, Any]], options: argparse.Namespace) -> Iterator[bench.Line]:
    """The table of one contest."""
    first = next(iter(all_of))
    ours = all_of[first]
    about = ABOUT[on].format(**{**vars(options), **ours})
    for who, its in all_of.items():
        what = f"{about}: {who}"
        pace, mine = its["texts"] / its["cpu"], ours["texts"] / ours["cpu"]
        same = who == first
        unit = "mrr" if on == "search" else "accuracy"
        dev = [[round(score, 4), round(cpu, 1)] for score, cpu in its["scores"]]
        wall = round(its["texts"] / its["wall"], 2)
        yield bench.line(
            f"{what}, pace", round(pace, 2), "texts a CPU second", None if same else round(mine / pace, 2),
            f"this, for {first}",
            texts=its["texts"], cpu=round(its["cpu"], 1), wall=round(its["wall"], 1), texts_a_wall_second=wall,
        )  # fmt: skip
        target = its["scores"][-1][0]
        own, other = reached(its, target), reached(ours, target)
        yield bench.line(
            f"{what}, to its last dev score, {target:.3f}", round(own, 1), "CPU seconds",
            None if same or other is None else round(own / max(other, 1e-9), 2), f"that of {first}", ours=other,
        )  # fmt: skip
        peak, least = its["peak"] / 2**20, ours["peak"] / 2**20
        yield bench.line(
            f"{what}, peak memory", round(peak), "MiB", None if same else round(peak / least, 2), f"that of {first}"
        )
        ratio = None if same else round(its["test"] / max(ours["test"], 1e-9), 3)
        yield bench.line(f"{what}, test rows", round(its["test"], 4), unit, ratio, f"that of {first}", dev=dev)


def reached(its: dict[str, Any], target: float) -> float | None:
    """CPU seconds until a dev score was first reached."""
    return next((cpu for score, cpu in its["scores"] if score >= target), None)


def contest(on: str, options: argparse.Namespace) -> Iterator[bench.Line]:
    """Turns of all until each is done, and their table."""
    competitors = [Competitor(on, who, options) for who in options.only or CONTESTS[on]]
    try:
        learning = list(competitors)
        while learning:
            learning = [each for each in learning if each.turn(options.seconds)]
    finally:
        for each in competitors:
            each.process.kill()
            each.process.wait()
    done = {}
    for each in competitors:
        if each.process.returncode:
            yield bench.line(f"{on}: {each.who}", None, "left out", why=each.why())
            bench.say(f"  {on}: {each.who} is left out: {each.why()}")
        else:
            done[each.who] = course(each)
            bench.say(f"  {on}: {each.who}: {json.dumps(done[each.who])}")
    if done:
        yield from lines(on, done, options)


def parser() -> argparse.ArgumentParser:
    out = bench.parser(__doc__)
    out.add_argument("--on", nargs="+", choices=list(CONTESTS), default=list(CONTESTS))
    out.add_argument("--only", nargs="+", metavar="WHO", help="these competitors alone, such as 'luban full' Trainer")
    out.add_argument("--epochs", type=float, default=3, help="passes; 3 is the default of the peers")
    out.add_argument("--rows", type=int, default=1500, help="training rows of classify, evenly spread")
    out.add_argument("--a-class", type=int, default=8, help="training rows a class of few")
    out.add_argument("--iterations", type=int, default=4, help="pairs of each kind that setfit makes of a row")
    out.add_argument("--dev", type=int, default=300, help="dev rows of classify and few")
    out.add_argument("--judged", type=int, default=500, help="test rows of classify and few")
    out.add_argument("--points", type=int, default=6, help="times that dev rows are scored on the way")
    out.add_argument("--seconds", type=float, default=4, help="seconds of a turn")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    with bench.begun(parser(), arguments) as options:
        if options.quick:
            options.epochs, options.rows, options.a_class, options.points = 1, 48, 4, 2
            options.dev = options.judged = 24
            bench.base(options)
        os.environ["HF_HUB_OFFLINE"] = "1"
        bench.tell(options, [line for on in options.on for line in contest(on, options)])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no competitor is left standing still
    main()
