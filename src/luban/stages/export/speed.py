"""Times two or more runtimes against each other on single rows, interleaved; absolute figures are not its business.

Rounds alternate so that whatever else the machine does falls on all alike. How much faster one is than another is the
median of the rounds' own ratios: medians of each alone come from different rounds, and can contradict it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

from luban.encoding import Batch
from luban.runtimes.base import Runtime


def interleaved(runtimes: Mapping[str, Runtime], batches: Sequence[Batch], *, rounds: int = 5) -> dict[str, float]:
    """Milliseconds a batch for each runtime: the median of ``rounds`` rounds after one to warm up."""
    return {name: statistics.median(held) for name, held in timed(runtimes, batches, rounds).items()}


def faster(one: Runtime, against: Runtime, batches: Sequence[Batch], *, rounds: int = 5) -> tuple[float, float]:
    """How many times as fast ``one`` is as ``against``, and the milliseconds a batch of ``against``."""
    times = timed({"one": one, "against": against}, batches, rounds)
    return paired_ratio(times["one"], times["against"]), statistics.median(times["against"])


def paired_ratio(one: Sequence[float], against: Sequence[float]) -> float:
    """The median over rounds of ``against`` over ``one``, both timed in the same round."""
    return statistics.median(b / a for a, b in zip(one, against, strict=True))


def timed(runtimes: Mapping[str, Runtime], batches: Sequence[Batch], rounds: int) -> dict[str, list[float]]:
    """Milliseconds a batch for each runtime in each of ``rounds`` rounds, after one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    for turn in range(rounds + 1):
        for name, runtime in runtimes.items():
            began = time.perf_counter()
            for batch in batches:
                runtime.run(batch)
            if turn:
                times[name].append((time.perf_counter() - began) / len(batches) * 1e3)
    return times
