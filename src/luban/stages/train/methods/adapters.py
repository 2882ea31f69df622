"""Adapters through peft: lora, dora, adalora and ia3; what they learnt is merged, so that the folder is a plain model.

The base's weights stay as they are. What learns is a little beside its linear layers, and the head with the pooler before
it. The model folder's `adapter/` holds the same as peft writes it, the head included, to be put on the base by
`PeftModel.from_pretrained`; it is loaded so, and the golden rows are re-run, before training is done.

LoRA: Hu et al. 2021, https://arxiv.org/abs/2106.09685. DoRA: Liu et al. 2024, https://arxiv.org/abs/2402.09353. AdaLoRA:
Zhang et al. 2023, https://arxiv.org/abs/2303.10512. IA3: Liu et al. 2022, https://arxiv.org/abs/2205.05638.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luban.config import TrainConfig
from luban.errors import ConfigError, MissingExtra, ParityError
from luban.folder import Folder
from luban.predict import Predictor, check_golden
from luban.runtimes.pytorch import PyTorchRuntime, device, quiet
from luban.stages.train.material import Material
from luban.stages.train.methods.base import BESIDE, Method, Trained, unchanged
from luban.stages.train.methods.ranks import Ranks
from luban.stages.train.model import skeleton
from luban.stages.train.pooling import encoder_of, inside
from luban.training import collated

ADAPTER = "adapter"
"folder of the model folder that peft reads"
READ_ON = "adapted.json"
"stands in the folder of a base that has read on (`adapt`)"
RANK = 8
KEYS_AND_VALUES = (".k_proj", ".v_proj", "Attention.k", "Attention.v")
"what layers of keys and values are called outside of BERT's kin"
SPARE = 1.5
"times the rank that adalora begins with, to be taken from where it is needed least"


class Adapter(Method):
    """The method of peft that ``config.method`` names."""

    name = "adapter"
    writes = True

    @classmethod
    def check_base(cls, config: TrainConfig, base: Path) -> None:
        if find_spec("peft") is None:
            raise MissingExtra(f"The method {config.method!r} (peft)", "peft")
        model = skeleton(base)
        if model is None:  # `build` tells why
            return
        if not linear_layers(model):
            raise ConfigError(
                f"{base.name} has no linear layers beside which an adapter could stand.",
                "An adapter learns beside the linear layers of the base.",
                "Take another base, or --method full.",
            )
        if not aimed(model, config):
            raise ConfigError(
                f"{config.targets or config.method!r} names no linear layer of {base.name}.",
                f"Its linear layers: {', '.join(endings(model))}.",
                "Name some of them with --targets, joined by commas.",
            )

    def begin(self, model: nn.Module, material: Material, config: TrainConfig, work: Path) -> Trained:
        from peft import get_peft_model

        averaging = added_layers(model, material.base)
        within = tuple(f"{layer}." for layer in averaging)
        names = [name for name in aimed(model, config) if not name.startswith(within)]
        settings = SETTINGS[config.method](names, config)
        settings.modules_to_save = leaves(model, [*([] if material.task.generates else fresh(model)), *averaging])
        self.place = work / BESIDE / ADAPTER if sits_on_base(config, material.base) else None
        torch.manual_seed(config.seed)
        with calm():
            self.tuned = get_peft_model(model, settings)
        whole = self.tuned.get_base_model()
        for name, parameter in whole.named_parameters():
            if name.startswith(within):
                parameter.requires_grad_(False)
            if "ia3_" in name:
                parameter.undecayed = True  # it starts at one, not at nothing
        self.ranks = Ranks(self.tuned, whole) if config.method == "adalora" else None
        feed = collated(whole, material.examples, material.encoder.pad_id)
        return Trained(whole, whole, feed, self.ranks.around if self.ranks else unchanged)

    def finish(self, trained: Trained) -> nn.Module:
        if self.ranks:
            self.ranks.settle()
        if self.place:
            self.tuned.peft_config["default"].base_model_name_or_path = ""  # else a path of this machine
            with calm():
                self.tuned.save_pretrained(str(self.place), safe_serialization=True, save_embedding_layers=False)
            (self.place / "README.md").unlink(missing_ok=True)
        plain: nn.Module = self.tuned.merge_and_unload()
        return plain

    @classmethod
    def check(cls, folder: Folder, base: Path) -> None:
        """Put the folder's adapter on the base and re-run the golden rows; raises `ParityError` naming the adapter."""
        if (folder.path / ADAPTER).is_dir():
            try:
                runtime = PyTorchRuntime(seated(folder, base).to(device()).eval())
            except KeyError as error:
                raise ParityError(
                    ADAPTER, f"it lacks {error.args[0]}.", "Train again; what learns must be saved whole."
                ) from error
            check_golden(Predictor(folder.task(), folder.encoder(), runtime), folder.golden(), stage=ADAPTER)


@contextmanager
def calm() -> Iterator[None]:
    """Without transformers' notes, its word to peft that an attribute will be renamed, and peft's on its own rank pattern."""
    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The following rank_pattern keys did not match", RuntimeWarning)
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def seated(folder: Folder, base: Path) -> nn.Module:
    """The folder's adapter on the base's weights, nothing merged."""
    import transformers
    from peft import PeftModel

    kind = getattr(transformers, folder.task().model_class)
    with calm():
        config = transformers.AutoConfig.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
        model = kind.from_pretrained(
            base, config=config, dtype=torch.float32, local_files_only=True, use_safetensors=True,
            ignore_mismatched_sizes=True, trust_remote_code=False,
        )  # fmt: skip
        tuned = PeftModel.from_pretrained(model, str(folder.path / ADAPTER))
    whole: nn.Module = tuned.get_base_model()
    return whole


def sits_on_base(config: TrainConfig, base: Path) -> bool:
    """Whether the weights beneath the adapter are the base's: a student's, a continued model's and those of a base that
    has read on are in its folder only."""
    return not (config.student_layers or config.continue_from or (base / READ_ON).is_file())


def linear_layers(model: nn.Module) -> list[str]:
    """Names of the linear layers inside the base model, its pooler left out."""
    prefix, words = inside(model), getattr(model, "get_output_embeddings", lambda: None)()
    return [
        name
        for name, module in model.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D") and name.startswith(prefix) and "pooler." not in name
        and module is not words
    ]  # fmt: skip


def endings(model: nn.Module) -> list[str]:
    """What the linear layers of a layer are called: the ends of their names after the number of the layer."""
    ends = [name.rpartition(".")[0].rpartition(".")[2] + "." + name.rpartition(".")[2] for name in linear_layers(model)]
    return list(dict.fromkeys(ends))


def aimed(model: nn.Module, config: TrainConfig) -> list[str]:
    """The linear layers that ``config`` means: those that ``targets`` names, else those of the method's paper."""
    names = linear_layers(model)
    wanted = [part.strip() for part in config.targets.split(",") if part.strip()]
    if wanted:
        return [name for name in names if any(f".{name}".endswith(f".{part}") for part in wanted)]
    if config.method != "ia3":
        return names
    known = (".attention.self.key", ".attention.self.value") if encoder_of(model) else KEYS_AND_VALUES
    found = [name for name in names if name.endswith(known)]
    return [name for name in names if name in found or feeds_forward(name)] if found else []


def feeds_forward(name: str) -> bool:
    """Whether a layer is the second of a feed-forward block built like BERT's, Llama's, BART's or T5's."""
    if name.endswith((".mlp.down_proj", ".fc2", ".DenseReluDense.wo")):
        return True
    return name.endswith(".output.dense") and not name.endswith(".attention.output.dense")


def fresh(model: nn.Module) -> list[str]:
    """The parts that the base does not have, or has not trained for this: the head's, and the pooler before it."""
    prefix = inside(model).removesuffix(".")
    if not prefix:
        return []
    heads = [name for name, part in model.named_children() if name != prefix and any(True for _ in part.parameters())]
    has_pooler = getattr(getattr(model, prefix, None), "pooler", None) is not None
    return [*heads, f"{prefix}.pooler"] if has_pooler else heads


def leaves(model: nn.Module, parts: list[str]) -> list[str]:
    """The innermost modules with parameters in these parts: peft cannot give back a wrapped module that holds others."""
    return [
        name
        for name, module in model.named_modules()
        if any(f"{name}.".startswith(f"{part}.") for part in parts)
        and any(True for _ in module.parameters(recurse=False))
    ]


def added_layers(model: nn.Module, base: Path) -> list[str]:
    """The layers that the encoder has more than its base: the one that averages (`pooling`). It is kept, and does not learn."""
    encoder = encoder_of(model)
    if encoder is None:
        return []
    before = int(json.loads((base / "config.json").read_text(encoding="utf8")).get("num_hidden_layers", 0))
    return [f"{inside(model)}encoder.layer.{i}" for i in range(before, len(encoder.encoder.layer))]


def _lora(names: list[str], config: TrainConfig) -> Any:
    from peft import LoraConfig

    rank = config.rank or RANK
    return LoraConfig(
        r=rank, lora_alpha=config.alpha or 2 * rank, target_modules=names, use_dora=config.method == "dora"
    )


def _adalora(names: list[str], config: TrainConfig) -> Any:
    from peft import AdaLoraConfig

    rank = config.rank or RANK
    return AdaLoraConfig(
        target_r=rank, init_r=max(rank + 1, round(SPARE * rank)), lora_alpha=config.alpha or 2 * rank,
        target_modules=names, total_step=1,
    )  # fmt: skip


def _ia3(names: list[str], config: TrainConfig) -> Any:
    from peft import IA3Config

    return IA3Config(target_modules=names, feedforward_modules=[name for name in names if feeds_forward(name)])


SETTINGS: dict[str, Callable[[list[str], TrainConfig], Any]] = {
    "lora": _lora,
    "dora": _lora,
    "adalora": _adalora,
    "ia3": _ia3,
}
