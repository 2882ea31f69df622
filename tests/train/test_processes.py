"""Several processes under torchrun, on the processor with gloo: the same model as one process trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from luban import processes
from luban.folder import Folder
from luban.testing import SAMPLES, tiny_base
from tests.recommend.shop import write


def test_alone_a_process_takes_all_rows_and_sums_nothing() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.full((2,), 3.0)
    assert processes.share([5, 1, 4]) == [5, 1, 4]
    assert processes.summed([parameter], 0.5) == 0.5
    assert parameter.grad.tolist() == [3.0, 3.0]
    assert (processes.count(), processes.rank(), processes.least(7)) == (1, 0, 7)


def test_two_processes_train_the_model_that_one_trains(tmp_path: Path) -> None:
    tiny_base(tmp_path / "base")
    rows = [f"{row['text']} {i},{row['label']}" for i, row in enumerate(SAMPLES["text-classification"] * 6)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf8")
    said = [trained(tmp_path, count) for count in (1, 2)]
    alone, together = (load_file(tmp_path / f"model-{count}" / "model.safetensors") for count in (1, 2))
    for name, tensor in alone.items():
        # Other sums in another order, and AdamW divides by small numbers: a hundredth of what one step moves a weight.
        torch.testing.assert_close(together[name], tensor, atol=2e-4, rtol=1e-3)
    assert said[1].count("model-2") == said[0].count("model-1")  # the first process alone speaks
    assert not list(tmp_path.glob("model-2.run/work*"))


def test_a_recommender_is_written_by_the_first_of_two_processes(tmp_path: Path) -> None:
    tiny_base(tmp_path / "base")
    write(tmp_path / "shop")
    launch(tmp_path, 2, "-m", "luban", *"train shop --task recommendation --base base --out model --epochs 1".split())
    assert Folder.open(tmp_path / "model").task().recommends
    assert not list(tmp_path.glob(".model*"))  # nobody's half of a folder


def test_all_begin_with_the_weights_of_the_first(tmp_path: Path) -> None:
    script = """
import torch
from luban import processes
processes.join()
model = torch.nn.BatchNorm1d(2)
for tensor in model.state_dict().values():
    tensor.fill_(processes.rank() + 1)
processes.alike(model)
assert all(float(tensor.float().mean()) == 1 for tensor in model.state_dict().values())
assert processes.least(processes.rank() == 1) == 0  # all of them, or none
"""
    (tmp_path / "script.py").write_text(script, encoding="utf8")
    launch(tmp_path, 2, "script.py")


def trained(place: Path, count: int) -> str:
    """What `torchrun ... -m luban train` says."""
    words = f"train rows.csv --task text-classification --base base --out model-{count}"
    return launch(place, count, "-m", "luban", *words.split(), "--dropout", "0", "--epochs", "2", "--rate", "1e-3")


def launch(place: Path, count: int, *words: str) -> str:
    """What several processes say."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), *words],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", "LUBAN_LANG": "en", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
