"""AdaLoRA's part in each step: its directions are held orthogonal, its ranks taken from where they matter least.

Zhang et al. 2023, https://arxiv.org/abs/2303.10512. The arithmetic is peft's `RankAllocator`; what that remembers is kept
in buffers of the model here, so that a run goes on from a checkpoint as if it had not stopped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from luban.training import Objective, Part

ORTHOGONAL = 0.5
"weight of the penalty, as in peft"
WARMING, FINAL = 0.15, 0.3
"shares of the steps before ranks are taken, and after the last was"
CHANGES = 200
"times at most that ranks are taken"


class Ranks:
    """The ranks of a peft model with AdaLoRA; ``whole`` is the model inside."""

    def __init__(self, tuned: Any, whole: nn.Module) -> None:
        self.tuned, self.whole = tuned, whole
        self.names = [name for name, _ in whole.named_parameters() if ".lora_" in name]
        parameters = dict(whole.named_parameters())
        self.memory = nn.Module()
        for i, name in enumerate(self.names):
            for kind in ("importance", "uncertainty"):
                self.memory.register_buffer(f"{kind}_{i}", torch.zeros_like(parameters[name]))
            if ".lora_E." in name:
                self.memory.register_buffer(f"kept_{i}", torch.ones(len(parameters[name]), dtype=torch.bool))
        whole.rank_memory = self.memory

    def around(self, objective: Objective) -> Objective:
        """The objective with the penalty, and the change of ranks after each step."""
        return Orthogonal(objective, self)

    def directions(self) -> list[Tensor]:
        """The matrices whose rows are to be orthogonal, (rank, width) each."""
        found = dict(self.whole.named_parameters())
        down = [found[name] for name in self.names if ".lora_A." in name]
        return down + [found[name].T for name in self.names if ".lora_B." in name]

    def change(self, done: int, total: int) -> None:
        """Count what the step's gradients say about each direction, and take the ranks that are due."""
        model = self.tuned.base_model
        allocator, settings = model.rankallocator, self.tuned.peft_config["default"]
        settings.total_step, settings.tinit, settings.tfinal = total, int(total * WARMING), int(total * FINAL)
        settings.deltaT = max(1, total // CHANGES)
        kept = dict(self.memory.named_buffers())
        allocator.exp_avg_ipt = {name: kept[f"importance_{i}"] for i, name in enumerate(self.names)}
        allocator.exp_avg_unc = {name: kept[f"uncertainty_{i}"] for i, name in enumerate(self.names)}
        allocator.ipt = dict(allocator.exp_avg_ipt)
        scaling = [(i, name) for i, name in enumerate(self.names) if ".lora_E." in name]
        settings.rank_pattern = {name: kept[f"kept_{i}"].tolist() for i, name in scaling}
        importance, uncertainty = allocator.exp_avg_ipt, allocator.exp_avg_unc
        model.update_and_allocate(done)
        for i, name in enumerate(self.names):
            kept[f"importance_{i}"].copy_(importance[name])
            kept[f"uncertainty_{i}"].copy_(uncertainty[name])
        for i, name in scaling:
            kept[f"kept_{i}"].copy_(torch.tensor(settings.rank_pattern[name]))

    def settle(self) -> None:
        """Tell peft which directions the weights use, which may be an earlier epoch's, and forget the rest."""
        found = dict(self.whole.named_parameters())
        scales = [name for name in self.names if ".lora_E." in name]
        used = {name: (found[name] != 0).view(-1).tolist() for name in scales}
        for which in used.values():
            which[0] = which[0] or not any(which)  # peft cannot load a matrix of no rows; this one counts for nothing
        self.tuned.peft_config["default"].rank_pattern = used
        del self.whole.rank_memory


class Orthogonal(Objective):
    """An objective and, a row, the distance of AdaLoRA's directions from orthogonal ones."""

    def __init__(self, inner: Objective, ranks: Ranks) -> None:
        self.inner, self.ranks = inner, ranks
        self.whole_batch = inner.whole_batch

    def logits(self, model: nn.Module, part: Part) -> Tensor:
        return self.inner.logits(model, part)

    def of(self, logits: Tensor, part: Part) -> Tensor:
        return self.inner.of(logits, part)

    def backward(self, model: nn.Module, part: Part, whole: float) -> float:
        loss = self.inner.backward(model, part, whole)
        penalty = self.penalty() * (float(part.weights.sum()) / whole)
        penalty.backward()
        return loss + float(penalty.detach())

    def stepped(self, done: int, total: int) -> None:
        self.inner.stepped(done, total)
        self.ranks.change(done, total)

    def penalty(self) -> Tensor:
        """The mean distance (Frobenius) of the directions' products from the identity, weighted."""
        far = [
            torch.linalg.norm(each @ each.T - torch.eye(len(each), device=each.device))
            for each in self.ranks.directions()
        ]
        return ORTHOGONAL * torch.stack(far).mean()
