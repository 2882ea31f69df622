"""A learner's state on disk, as safetensors and JSON, written atomically; what a run after kill -9 goes on from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from luban import processes
from luban.folder import write_text

Progress = dict[str, Any]
GENERATORS = ("rng", "cuda_rng")
"states of the processor's generator of random numbers, and of the GPU's where there is one"


class Checkpoint:
    """The run folder of one training: ``key`` ties it to its config and data, so that another run never picks it up."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self.path.mkdir(parents=True, exist_ok=True)

    def save(self, state: dict[str, Any], progress: Progress) -> None:
        """``state`` of a `Learner`, and whatever JSON the caller must remember (history, best score).

        Of several processes the first saves.
        """
        if processes.rank():
            return
        tensors: dict[str, Tensor] = {f"model.{k}": v.contiguous() for k, v in state["model"].items()}
        moments = state["optimiser"]["state"]
        for index, entry in moments.items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in entry.items()}
        tensors |= {name: state[name] for name in GENERATORS if name in state}
        number = state["done"]
        name = self._weights(number).name
        _write(tensors, self.path / name)
        kept = {
            "key": self.key, "done": number, "losses": state["losses"], "progress": progress, "tensors": sorted(tensors),
            "best": self._best.is_file(),
        }  # fmt: skip
        write_text(self.path / "state.json", json.dumps(kept))
        for old in self.path.glob("state-*.safetensors"):
            if old.name != name:
                old.unlink()

    def progress(self) -> Progress | None:
        """What the caller of `save` wanted remembered, of an interrupted run with the same key; else None.

        A checkpoint whose files are damaged or lack a tensor is none: the run starts afresh.
        """
        try:
            kept = json.loads((self.path / "state.json").read_text(encoding="utf8"))
            whole = kept["key"] == self.key and _names(self._weights(kept["done"])) == kept["tensors"]
            if whole and kept["best"]:
                _names(self._best)
            return dict(kept["progress"]) if whole else None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return None

    def load(self, learner_state: dict[str, Any]) -> dict[str, Any]:
        """The saved state, shaped like ``learner_state``; only after `progress` has found one."""
        kept = json.loads((self.path / "state.json").read_text(encoding="utf8"))
        tensors = load_file(self._weights(kept["done"]))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, part = name.split(".", 2)
                moments.setdefault(int(index), {})[part] = value
        groups = learner_state["optimiser"]["param_groups"]
        return {
            "model": {name: tensors[f"model.{name}"] for name in learner_state["model"]},
            "optimiser": {"state": moments, "param_groups": groups},
            "done": kept["done"],
            "losses": kept["losses"],
            **{name: tensors[name] for name in GENERATORS if name in tensors},
        }

    def save_best(self, weights: dict[str, Tensor]) -> None:
        """The best weights so far; of several processes the first saves."""
        if processes.rank():
            return
        _write(weights, self._best)

    def best(self) -> dict[str, Tensor]:
        """The best weights."""
        return load_file(self._best)

    @property
    def _best(self) -> Path:
        return self.path / "best.safetensors"

    def _weights(self, done: int) -> Path:
        return self.path / f"state-{done}.safetensors"


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    """Write to a temporary name, flush to disk and rename: a power cut leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}")
    save_file(_unshared(tensors), temporary)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _names(path: Path) -> list[str]:
    """Sorted names of a file's tensors, by its header, which also tells whether the file is as long as it should be."""
    with safe_open(path, framework="pt") as file:
        return sorted(file.keys())


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share memory (tied weights) are copied: safetensors stores each by itself."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        pointer = tensor.data_ptr()
        out[name] = tensor.detach().clone() if pointer in seen and pointer else tensor.detach().contiguous()
        seen.add(pointer)
    return out
