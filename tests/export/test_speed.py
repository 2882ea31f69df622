"""Times of an export: what is told agrees with itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from luban.config import ExportConfig
from luban.stages.export import export
from luban.stages.export.speed import paired_ratio
from tests.export.tiny import rows_for, tiny_folder


def test_a_ratio_is_the_median_of_the_rounds_own_not_of_medians_that_contradict_it() -> None:
    one, against = [1.0, 4.0, 10.0], [2.0, 3.0, 20.0]
    assert paired_ratio(one, against) == 2.0


def test_the_times_told_are_what_the_ratios_make_of_them(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    asked = ExportConfig(quantise="int8", max_flips=1.0, threads=1)
    notes = export(folder, rows_for("text-classification"), asked, tmp_path / "out").manifest.notes["export"]
    fp32, int8 = notes["fp32"], notes["int8"]
    assert fp32["ms"] * fp32["speedup"] == pytest.approx(notes["pytorch"]["ms"], abs=0.001)
    assert int8["ms"] * int8["speedup"] == pytest.approx(fp32["ms"], abs=0.002)
