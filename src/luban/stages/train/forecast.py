"""What a run will take, measured on its own longest batch before it starts; chooses the micro-batch that fits.

Memory is counted, not guessed: the bytes autograd saves for the backward pass of the longest row, scaled to a micro-batch,
plus weights and, for those that learn, gradients and AdamW's two moments. Time is that of two real batches, times the
padded sub-words to come.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from luban import processes
from luban.errors import ConfigError
from luban.records import Forecast
from luban.training import Learner

SHARE = 0.7
"of the free memory that training may plan with: the rest is for what allocators and the page cache need"
ASSUMED = 4 * 2**30
"bytes taken to be free where the system does not tell (Windows); memory=GIB says it better"

OWN_GROUPS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
VERSION_2 = ("memory.max", "memory.current", "inactive_file")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"a control group's limit, what it holds, and the part of memory.stat that is given back on demand"


def forecast(learner: Learner, memory: float) -> Forecast:
    """Probe the learner, set its micro-batch, say what the run will take.

    ``memory``: GiB allowed, 0 for what is free; raises `ConfigError` where not even one row fits.
    """
    longest = max(range(len(learner.lengths)), key=lambda i: learner.lengths[i])
    weights = sum(p.numel() * p.element_size() for p in learner.model.parameters())
    # What learns has a gradient and AdamW's two moments beside it; they are still to come, the weights are held already.
    growing = 3 * sum(p.numel() * p.element_size() for p in learner.model.parameters() if p.requires_grad)
    fixed = weights + growing
    saved = saved_bytes(learner, [longest])
    allowed = memory * 2**30 if memory else SHARE * free_memory() + resident()
    fits = int((allowed - fixed) / max(1, saved) * learner.lengths[longest])
    if fits < learner.lengths[longest]:
        raise ConfigError(
            f"Training needs {(fixed + saved) / 2**30:.2f} GiB for one row of {learner.lengths[longest]} sub-words, "
            f"{allowed / 2**30:.2f} GiB are allowed.",
            "One row must fit.", "Set max_length lower, take a smaller base, or free memory (memory=GIB).",
        )  # fmt: skip
    wanted = learner.schedule.micro_tokens
    micro = processes.least(min(wanted, fits))
    learner.allow(micro)
    order = learner.order(0)
    sizes = {at: len(b) * max(learner.lengths[i] for i in b) for at, b in enumerate(order) if b}
    if not sizes:  # batches that are drawn by chance may be empty
        order, sizes = [[longest]], {0: learner.lengths[longest]}
    seconds = _seconds(learner, order, sizes)
    padded = min(micro, max(sizes.values()))
    peak = int(resident() + growing + saved * padded / learner.lengths[longest])
    what = "batch (each row's loss needs all of it)" if learner.objective.whole_batch else "micro-batch"
    note = f"{what} lowered from {wanted} to {micro} sub-words to fit the memory" if micro < wanted else ""
    return Forecast(seconds, peak, learner.total, micro, note)


def saved_bytes(learner: Learner, batch: Sequence[int]) -> int:
    """Most bytes that autograd keeps at a time for the backward pass of a batch; parameters are not counted twice.

    An objective may run several passes after each other: each one's bytes are given back before the next.
    """
    parameters = {p.untyped_storage().data_ptr() for p in learner.model.parameters()}
    seen, total, most, given_back = set(parameters), 0, 0, False

    def pack(tensor: Tensor) -> Tensor:
        nonlocal seen, total, most, given_back
        if given_back:
            seen, total, given_back = set(parameters), 0, False
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
            most = max(most, total)
        return tensor

    def unpack(tensor: Tensor) -> Tensor:
        nonlocal given_back
        given_back = True
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        learner.probe(batch)
    return most


def free_memory() -> int:
    """Bytes that can be had now without swapping: of the GPU, else of the machine and within the container's limit."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return min([_free_in_machine(), *free_in_groups()])


def free_in_groups(own: Path = OWN_GROUPS, root: Path = GROUPS) -> Iterator[int]:
    """Bytes left in each limited control group (version 2, then 1) that this process is in, the root's among them.

    What files hold in the page cache and nobody uses counts as free. A container sees its own group as the root.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf8").splitlines()]
    except OSError:
        return
    for _, controllers, name in lines:
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        most, held, cache = VERSION_1 if controllers else VERSION_2
        group = top / name.lstrip("/")
        for place in (group, *(parent for parent in group.parents if parent.is_relative_to(top))):
            try:
                limit, used = (int((place / file).read_text(encoding="ascii")) for file in (most, held))
                kept = dict(line.split() for line in (place / "memory.stat").read_text(encoding="ascii").splitlines())
            except (OSError, ValueError):  # no such group here, or its limit is "max"
                continue
            yield max(0, limit - used + int(kept.get(cache, 0)))


def _free_in_machine() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        if not hasattr(os, "sysconf"):
            return ASSUMED
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def resident() -> int:
    """Bytes this process holds already (on the GPU where it trains there): not free, yet the forecast counts them."""
    if torch.cuda.is_available():
        return int(torch.cuda.memory_reserved())
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _seconds(learner: Learner, order: Sequence[Sequence[int]], sizes: Mapping[int, int]) -> float:
    """Seconds for all steps: a middle batch gives the cost of a padded sub-word and the optimiser's cost is in each step.

    ``sizes``: padded sub-words of each batch, by its place in ``order``; of those that are not empty.
    """
    by_size = sorted(sizes, key=sizes.__getitem__)
    middle, biggest = by_size[len(by_size) // 2], by_size[-1]
    learner.probe(order[middle])  # the first call of a shape is slower than the rest
    small, large = _timed(learner, order[middle]), _timed(learner, order[biggest])
    token = (small + large) / (sizes[middle] + sizes[biggest])
    mean_tokens = sum(sizes.values()) / len(sizes)
    parameters = sum(p.numel() for p in learner.model.parameters() if p.requires_grad)
    return learner.total * (token * mean_tokens + parameters * 1.5e-9)


def _timed(learner: Learner, batch: Sequence[int]) -> float:
    start = time.perf_counter()
    learner.probe(batch)
    return time.perf_counter() - start
