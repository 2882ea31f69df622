"""Where learning curves go: TensorBoard in the run's folder, Weights & Biases, MLflow; each opened only when named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from luban.errors import MissingExtra
from luban.registry import Registry


class Sink(Protocol):
    """Takes named numbers at a step."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in ``folder``, for `tensorboard --logdir`."""

    def __init__(self, folder: Path, name: str, recipe: Mapping[str, Any]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as missing:
            raise MissingExtra("Logging to TensorBoard", "train") from missing
        self.writer = SummaryWriter(str(folder))
        self.writer.add_text("recipe", "\n\n".join(f"{key}: {value}" for key, value in recipe.items()))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases; WANDB_MODE=offline is honoured."""

    def __init__(self, folder: Path, name: str, recipe: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError as missing:
            raise MissingExtra("Logging to Weights & Biases", "track") from missing
        folder.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(project="luban", name=name, dir=str(folder), config=dict(recipe))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """A run of MLflow; MLFLOW_TRACKING_URI is honoured, otherwise an SQLite file in ``folder``."""

    def __init__(self, folder: Path, name: str, recipe: Mapping[str, Any]) -> None:
        try:
            import mlflow
        except ImportError as missing:
            raise MissingExtra("Logging to MLflow", "track") from missing
        import os

        folder.mkdir(parents=True, exist_ok=True)
        if "MLFLOW_TRACKING_URI" not in os.environ:
            mlflow.set_tracking_uri(f"sqlite:///{folder.resolve()}/mlflow.db")
        self.mlflow = mlflow
        mlflow.start_run(run_name=name)
        mlflow.log_params({key: str(value)[:250] for key, value in recipe.items()})

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        self.mlflow.end_run()


SINKS = Registry(
    "training log",
    {
        "tensorboard": "luban.stages.train.sinks:TensorBoard",
        "wandb": "luban.stages.train.sinks:WeightsAndBiases",
        "mlflow": "luban.stages.train.sinks:MLflow",
    },
    extra="track",
)


class Curves:
    """All sinks of a run as one; closes them whatever happens."""

    def __init__(self, names: tuple[str, ...], folder: Path, name: str, recipe: Mapping[str, Any]) -> None:
        self.sinks: list[Sink] = [SINKS[sink](folder, name, recipe) for sink in names]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sink in self.sinks:
            sink.close()

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Named numbers at an optimiser step."""
        for sink in self.sinks:
            sink.log(values, step)
