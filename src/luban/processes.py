"""Several processes that train one model together, as `torchrun` starts them; alone, everything here does nothing.

Each process holds the whole model and takes its share of a batch's rows; the gradients are summed, so that all of them take
the step that one process would take. What is written is written by the first. It starts no process and divides no model.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import nn


def join() -> None:
    """Meet the others, where `torchrun` says in the environment that there are some; a second call changes nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    atexit.register(leave)


def leave() -> None:
    """Part from the others."""
    if dist.is_initialized():
        dist.destroy_process_group()


def count() -> int:
    """How many train together; 1 alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(rows: Sequence[int]) -> list[int]:
    """This process's rows of a batch: of rows sorted by length all get about as much to do."""
    return list(rows)[rank() :: count()]


def wait() -> None:
    """Go on when all have come here."""
    if count() > 1:
        dist.barrier()


def least(number: int) -> int:
    """The smallest of what the processes ask with."""
    if count() == 1:
        return number
    held = torch.tensor(number, dtype=torch.int64, device=_device())
    dist.all_reduce(held, op=dist.ReduceOp.MIN)
    return int(held)


def alike(model: nn.Module) -> None:
    """Give every process the first one's weights: what was fitted before the first step may differ in the last digits."""
    if count() > 1:
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, src=0)


def summed(parameters: Iterable[nn.Parameter], number: float) -> float:
    """Sum the gradients of all processes into each one's, and ``number``; a parameter without any gradient keeps none."""
    if count() == 1:
        return number
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    told = torch.tensor([number, *(float(p.grad is not None) for p in learning)], dtype=torch.float64, device=_device())
    dist.all_reduce(told)
    waiting = []
    for parameter, givers in zip(learning, told[1:].tolist(), strict=True):
        if givers:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            waiting.append(dist.all_reduce(parameter.grad, async_op=True))
    for one in waiting:
        if one is not None:
            one.wait()
    return float(told[0])


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
