"""Search: the recipe of training that scores best on the validation rows, through optuna; needs the extra ``search``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from luban.bases import Base
from luban.config import SearchConfig, TrainConfig
from luban.errors import ConfigError, MissingExtra
from luban.folder import check_alone, check_place
from luban.records import Prepared, Watch, unwatched
from luban.stages.train.search.found import KEPT, Ended, Search, Tried, Trying
from luban.stages.train.search.report import write_report

__all__ = ["Ended", "Search", "Tried", "Trying", "check_installed", "check_out", "search", "write_report"]


def check_installed() -> None:
    """Raises `MissingExtra` where optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError as missing:
        raise MissingExtra(f"Searching ({missing.name})", "search") from missing


def check_out(out: Path) -> None:
    """Raises `ConfigError`, before any work, unless ``out`` is free, empty, or holds a search, for one process alone."""
    check_alone()
    check_place(out / KEPT)
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / KEPT).is_file())):
        raise ConfigError(
            f"{out} exists and holds no search.",
            "--out names a new directory, or that of a search to go on with.",
            "Choose another, or remove it yourself.",
        )


def search(
    data: Prepared,
    bases: Mapping[str, Base],
    config: TrainConfig,
    settings: SearchConfig,
    out: Path,
    *,
    watch: Watch = unwatched,
) -> Search:
    """Try recipes on the same rows; the best one's model folder is ``out/model``.

    ``bases``: by the names they are chosen by; the first is that of luban's own settings, which are tried first. A search
    that was stopped goes on. ``watch`` gets `Trying` and `Ended` around what training tells. Raises `MissingExtra`,
    `ConfigError`, `DataError` without validation rows, and `GateError` where no trial was completed.
    """
    check_out(out)
    check_installed()
    from luban.stages.train.search.study import Job

    return Job.begun(data, bases, config, settings, out, watch=watch).run()
