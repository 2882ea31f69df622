"""Bottleneck adapters: a few neurons of their own beside each feed-forward block learn; the base's weights do not.

Houlsby et al. 2019, https://arxiv.org/abs/1902.00751, put a narrow block after each feed-forward block; it stands beside
it here, as in He et al. 2022 (https://arxiv.org/abs/2110.04366), who found that better: what the block reads goes down to
a few neurons, through the block's own activation and up again, and is added to what the block says. So the adapters are
neurons like the base's, and the folder is a plain transformers model whose feed-forward blocks are that much wider.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from luban.config import TrainConfig
from luban.errors import ConfigError
from luban.stages.train.material import Material
from luban.stages.train.methods.base import Method, Trained, as_it_is
from luban.stages.train.model import skeleton
from luban.stages.train.pooling import encoder_of, inside

SIZE = 64
SPREAD = 0.02
"of the first weights down, as BERT's own; those up are zero, so that the model begins as the base"


class Bottleneck(Method):
    """``adapter_size`` more neurons in each layer, and the head."""

    name = "bottleneck"

    @classmethod
    def check_base(cls, config: TrainConfig, base: Path) -> None:
        check_layers(config, base)

    def begin(self, model: nn.Module, material: Material, config: TrainConfig, work: Path) -> Trained:
        self.size = config.adapter_size or SIZE
        rest(model)
        generator = torch.Generator().manual_seed(config.seed)
        for layer in encoder_of(model).encoder.layer:
            layer.intermediate.dense = Wider(layer.intermediate.dense, self.size, generator)
            layer.output.dense = Deeper(layer.output.dense, self.size)
        return as_it_is(model, material)

    def finish(self, trained: Trained) -> nn.Module:
        encoder: Any = encoder_of(trained.whole)
        for layer in encoder.encoder.layer:
            layer.intermediate.dense = layer.intermediate.dense.folded()
            layer.output.dense = layer.output.dense.folded()
        config: Any = trained.whole.config
        for kept in {id(each): each for each in (config, encoder.config)}.values():
            kept.intermediate_size += self.size
        return trained.whole


class Wider(nn.Module):
    """A linear layer that gives ``size`` more features, which learn."""

    def __init__(self, dense: nn.Linear, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.dense = dense
        first = torch.randn(size, dense.in_features, generator=generator) * SPREAD
        self.down = nn.Linear(dense.in_features, size, device=dense.weight.device)
        with torch.no_grad():
            self.down.weight.copy_(first)
            self.down.bias.zero_()

    def forward(self, states: Tensor) -> Tensor:
        return torch.cat([self.dense(states), self.down(states)], dim=-1)

    def folded(self) -> nn.Linear:
        """Both as one plain layer."""
        return _linear(torch.cat([self.dense.weight, self.down.weight]), torch.cat([self.dense.bias, self.down.bias]))


class Deeper(nn.Module):
    """A linear layer that reads ``size`` more features, by weights that learn and begin as nothing."""

    def __init__(self, dense: nn.Linear, size: int) -> None:
        super().__init__()
        self.dense = dense
        self.up = nn.Linear(size, dense.out_features, bias=False, device=dense.weight.device)
        nn.init.zeros_(self.up.weight)

    def forward(self, states: Tensor) -> Tensor:
        own = self.dense.in_features
        out: Tensor = self.dense(states[..., :own]) + self.up(states[..., own:])
        return out

    def folded(self) -> nn.Linear:
        """Both as one plain layer."""
        return _linear(torch.cat([self.dense.weight, self.up.weight], dim=1), self.dense.bias)


def rest(model: nn.Module) -> None:
    """Let nothing of the base learn but its pooler, which stands before the head."""
    prefix = inside(model)
    for name, parameter in model.named_parameters():
        if not prefix or (name.startswith(prefix) and ".pooler." not in name):
            parameter.requires_grad_(False)


def check_layers(config: TrainConfig, base: Path) -> None:
    """Raises `ConfigError` for a base of other layers than BERT's."""
    model = skeleton(base)
    if model is not None and encoder_of(model) is None:
        raise ConfigError(
            f"{base.name} is not built of BERT's layers.",
            f"The method {config.method!r} knows its place in those only.",
            "Take --method lora or full, or a base such as minilm.",
        )


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
    return made
