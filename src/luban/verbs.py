"""Each verb as one call, for Python and for the command line: joins stages for one model; the line is in `pipeline`.

Keywords are the options of `luban VERB --help`, which are the keys of luban.yaml. Nothing here prints.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from luban import project
from luban.config import (
    EvaluateConfig,
    ExportConfig,
    LabelConfig,
    PrepareConfig,
    Section,
    ServeConfig,
    TrainConfig,
    parse,
)
from luban.errors import ConfigError, DataError, FolderError, nearest_hint
from luban.folder import Folder, check_file, check_place, check_target, write_text
from luban.pictures import is_data
from luban.predict import Predictor
from luban.records import Evidence, Prepared, Reject, Row, Rows, Watch, unwatched
from luban.runtimes import RUNTIMES
from luban.tasks import TASKS

if TYPE_CHECKING:
    from luban.stages.evaluate import Comparison, Evaluation
    from luban.stages.prepare import Check, Labelling, Loaded, Written
    from luban.stages.serve import Served

Model = str | Path | Folder


def load(model: Model, *, threads: int | None = None) -> Predictor:
    """A model folder that is ready to answer: ``load("runs/model").predict(["a text"])``.

    Raises `FolderError` where the folder must not be trusted, `ParityError` where its golden rows do not reproduce.
    """
    return Predictor.open(model, threads=threads)


def train(
    source: str | Path, *, task: str, out: str | Path, name: str = "", watch: Watch = unwatched, **options: Any
) -> Folder:
    """Fine-tune a base model on the rows of ``source`` and write the model folder ``out``.

    ``options``: any field of `PrepareConfig` and `TrainConfig`, such as ``base="minilm"``, ``epochs=3``.
    Raises `DataError`, `ConfigError`, `BaseUnavailable`, `GateError`.
    """
    prepare_config, train_config = sections(options, PrepareConfig, TrainConfig)
    check_out(out)
    rows = prepare(prepare_config.model_copy(update={"source": str(source)}), task)
    return fit(rows, train_config.model_copy(update={"task": task}), out, name=name, watch=watch)


def prepare(config: PrepareConfig, task: str) -> Prepared:
    """Read, clean and split the rows of a source for a task; raises `DataError`, `UnknownName`."""
    from luban.stages.prepare import prepare as prepared

    return prepared(config, kind(task))


def fit(rows: Prepared, config: TrainConfig, out: str | Path, *, name: str = "", watch: Watch = unwatched) -> Folder:
    """Fine-tune the base of ``config`` on prepared rows."""
    from luban import bases
    from luban.stages.train import train as trained

    return trained(rows, bases.find(config.start), config, Path(out), name=name, watch=watch)


def loaded(config: PrepareConfig, task: str) -> Loaded:
    """The rows of a source by part, neither split nor checked; raises `DataError`, `UnknownName`."""
    from luban.stages.prepare import load as read

    return read(config.source, kind(task), config=config)


def check(config: PrepareConfig, task: str, *, base: str = "") -> Check:
    """What is wrong with the rows of ``config.source``; with a base, lengths also in its sub-words."""
    from luban import bases
    from luban.encoding import TextEncoder
    from luban.stages.prepare import check as checked

    encoder = TextEncoder.open(bases.find(base).path) if base and not kind(task).sees else None
    return checked(config.source, kind(task), config, encoder=encoder)


def mended(verb: Literal["clean", "anonymise", "split"], config: PrepareConfig, task: str, out: str | Path) -> Written:
    """Write the rows of ``config.source`` cleaned, anonymised or split to a new directory ``out``."""
    from luban.stages.prepare import anonymise, clean, split

    check_free(Path(out))
    return {"clean": clean, "anonymise": anonymise, "split": split}[verb](config.source, kind(task), out, config)


def labelled_by(
    config: LabelConfig, reading: PrepareConfig, task: str, out: str | Path, *, watch: Watch = unwatched
) -> Labelling:
    """Have a chat model label the texts of ``reading.source``; goes on in ``out`` where it was stopped."""
    from luban.stages.prepare import label

    if not (Path(out) / ".labelling").is_dir():
        check_free(Path(out))
    return label(config, reading, kind(task), Path(out), watch=watch)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows a model is judged on; ``part`` says which part of the source they are, "" where nothing says so."""

    source: str
    part: str
    rows: Rows
    rejects: Sequence[Reject]
    columns: Mapping[str, str]
    train: Rows = ()
    "of a recommendation, the histories to learn from that stand in the same source: its baselines know them"


def labelled(model: Folder, config: PrepareConfig) -> Labelled:
    """The rows of ``config.source`` that a model is judged on.

    A file gives all its rows; a folder of parts its test part, else its valid part. Raises `DataError` for none.
    """
    from luban.stages.prepare import part_of

    found = loaded(with_fields(model, config), model.manifest.task)
    part = next(
        (name for name in ("test", "valid", "train") if name in found.parts and len(found.parts[name].rows)), ""
    )
    if not part:
        raise DataError(
            "no labelled row was found.", "A model is judged on labelled rows.", "Check the source.", file=config.source
        )
    shown = part_of(Path(config.source).name) if found.whole else part
    beside = found.parts["train"].rows if found.items and "train" in found.parts else ()
    return Labelled(config.source, shown, found.parts[part].rows, found.parts[part].rejects, found.columns, beside)


def with_fields(model: Folder, config: PrepareConfig) -> PrepareConfig:
    """How rows for a model are read: the fields and questions it knows are looked for, where no others are named."""
    named = config.numbers or config.categories or config.questions
    return config if named else config.model_copy(update=kind(model.manifest.task).reading(model.manifest.settings))


def unlabelled(model: Folder, config: PrepareConfig) -> Iterator[dict[str, Any]]:
    """The rows of ``config.source`` to be answered, labels or not, each with its number (a picture: its file) as ``id``."""
    from luban.stages.prepare import load as read

    found = read(config.source, kind(model.manifest.task), config=with_fields(model, config), labelled=False)
    for part in found.parts.values():
        for number, row in zip(part.lines, part.rows, strict=True):
            picture = row.get("image") if kind(model.manifest.task).sees else None
            yield {**row, "id": picture if picture and not is_data(picture) else str(number)}


def evaluate(model: Model, source: str | Path, *, watch: Watch = unwatched, **options: Any) -> Evaluation:
    """Judge a model on labelled rows; ``options``: fields of `EvaluateConfig` and `PrepareConfig`.

    ``report="scores.html"`` also writes the report.
    """
    config, reading = sections(options, EvaluateConfig, PrepareConfig)
    check_file_out(config.report)
    folder = opened(model)
    return judged(folder, labelled(folder, reading.model_copy(update={"source": str(source)})), config, watch=watch)


def judged(
    folder: Folder, rows: Labelled, config: EvaluateConfig, *, language: str = "en", watch: Watch = unwatched
) -> Evaluation:
    """Score a model on rows that are read, and write the report, in ``language``, where one is wanted.

    Raises `DataError` where the model knows none of the rows' labels.
    """
    from luban.stages.evaluate import check_known, write_report
    from luban.stages.evaluate import evaluate as evaluated

    check_known(rows.rows, folder.manifest.labels, folder.manifest.name)
    evaluation = evaluated(
        folder, rows.rows, config, watch=watch, rejects=len(rows.rejects), train_rows=rows.train or None
    )
    if config.report:
        write_report(evaluation, Path(config.report), language=language)
    return evaluation


def judge(folder: Folder, rows: Prepared, *, threads: int = 0, start: str = "", watch: Watch = unwatched) -> Evaluation:
    """Score a model on the test part of prepared rows, else the valid part; preferences against its ``start``."""
    from luban.stages.evaluate import evaluate as evaluated

    reference = start if folder.task().prefers else ""
    config = EvaluateConfig.model_validate({"threads": threads, "reference": reference})
    unseen = rows.test if len(rows.test) else rows.valid
    return evaluated(folder, unseen, config, watch=watch, rejects=len(rows.rejects), train_rows=rows.train)


def compare(a: Model, b: Model, source: str | Path, *, watch: Watch = unwatched, **options: Any) -> Comparison:
    """Which of two models is better on the same rows, and is it sure; ``options`` as for `evaluate`."""
    config, reading = sections(options, EvaluateConfig, PrepareConfig)
    first, second = opened(a), opened(b)
    rows = labelled(first, reading.model_copy(update={"source": str(source)}))
    return contest(first, second, rows, config, watch=watch)


def contest(a: Folder, b: Folder, rows: Labelled, config: EvaluateConfig, *, watch: Watch = unwatched) -> Comparison:
    """Compare two models on rows that are read; raises `DataError` where one knows none of their labels."""
    from luban.stages.evaluate import check_known
    from luban.stages.evaluate import compare as compared

    for folder in (a, b) if a.manifest.task == b.manifest.task else ():
        check_known(rows.rows, folder.manifest.labels, folder.manifest.name)
    return compared(a, b, rows.rows, config, watch=watch)


def explain(model: Model | Predictor, value: str | Row, *, target: str | None = None, method: str = "auto") -> Evidence:
    """Why a model answers as it does: the weight of each word for the answer, or for ``target``."""
    from luban.stages.explain import explain as explained

    predictor = model if isinstance(model, Predictor) else load(model)
    return explained(predictor, value, target=target, method=method)


def export(
    model: Model, *, out: str | Path, source: str | Path = "", watch: Watch = unwatched, **options: Any
) -> Folder:
    """A folder in another form that gives the same answers, compared on the rows of ``source``.

    Without a source the rows the model was trained from are read and split again as the manifest says, and those it has
    not seen are taken; where they are gone or not the same any more, the golden rows are. ``options``: fields of
    `ExportConfig`. Raises `ParityError` over the stated bound.
    """
    from luban.stages.export import export as exported

    (config,) = sections(options, ExportConfig)
    check_out(out)
    folder = opened(model)
    return exported(folder, held_out(folder, source), config, Path(out), watch=watch)


def held_out(folder: Folder, source: str | Path = "") -> Rows:
    """Rows to compare an exported model on: see `export`."""
    if source:
        return labelled(folder, PrepareConfig.model_validate({"source": str(source)})).rows
    data = folder.manifest.data
    made_from = data.get("prepare", {})
    if made_from.get("source") and Path(made_from["source"]).exists():
        with contextlib.suppress(DataError, ConfigError):  # gone, or written by a version with other options
            rows = prepare(parse(PrepareConfig, made_from), folder.manifest.task)
            unseen = rows.test if len(rows.test) else rows.valid
            # Another fingerprint: the rows have changed, and a row of this split may have been learnt from.
            if len(unseen) and rows.fingerprint == data.get("fingerprint"):
                return unseen
    return [golden.row for golden in folder.golden()]


def served(models: Iterable[Model], *, explaining: bool = True, threads: int = 0) -> dict[str, Served]:
    """Folders opened for serving, by name; two of one name are told apart by their directory's name.

    Raises `ConfigError` where that does not tell them apart either.
    """
    from luban.stages.serve import Served

    out: dict[str, Served] = {}
    for model in models:
        folder = opened(model)
        name = folder.manifest.name if folder.manifest.name not in out else folder.path.resolve().name
        if name in out:
            raise ConfigError(
                f"Two models are named {name!r}.", "Each is asked by its name.", "Rename one of the directories."
            )
        answers = explaining and (folder.task().recommends or not folder.task().embeds)  # no word speaks for a vector
        out[name] = Served.open(folder, name=name, threads=threads or 1, explain=explainer(folder) if answers else None)
    return out


def of_projects(models: Iterable[Model], given: ServeConfig) -> tuple[list[Model], ServeConfig]:
    """The models with each `luban.yaml` (or its directory) replaced by its exported folder, and how to serve them.

    The serve sections of projects hold, a later one over an earlier one, except for what is set in ``given``.
    Raises `ConfigError` for a project that has exported nothing yet.
    """
    folders: list[Model] = []
    chosen: dict[str, Any] = {}
    for model in models:
        if isinstance(model, Folder) or not project.is_project(model):
            folders.append(model)
            continue
        read = project.read(model)
        folder = project.exported(read, project.located(model).parent)
        if not folder.is_dir():
            raise ConfigError(f"There is no {folder}.", "The line makes it.", f"Run the line first: luban run {model}")
        folders.append(folder)
        chosen |= read.serve.model_dump(exclude_unset=True)
    return folders, parse(ServeConfig, chosen | given.model_dump(exclude_unset=True))


def explainer(folder: Folder) -> Any:
    """A function that explains answers of a folder, opening what it needs at the first question.

    It raises `FolderError` where another model has been put into the folder's place since.
    """
    kept: list[Predictor] = []

    def answer(value: str | Row, target: str | None = None) -> Evidence:
        if not kept:
            now = Folder.open(folder.path)
            if now.manifest.fingerprint != folder.manifest.fingerprint:
                raise FolderError(
                    f"{folder.path} holds another model than the one that is served.",
                    "An explanation comes from the model that answers.",
                    "Start the server again.",
                )
            # PyTorch's threads are the process': one asked for here would slow the answers, too.
            alone = RUNTIMES[now.manifest.runtime].side_by_side
            kept.append(Predictor.open(now, threads=1 if alone else None, check=False))
        return explain(kept[0], value, target=target)

    return answer


def serve(*models: Model, watch: Watch = unwatched, **options: Any) -> None:
    """Serve folders, or projects, over HTTP until SIGTERM or SIGINT; ``options``: fields of `ServeConfig`."""
    (given,) = sections(options, ServeConfig)
    folders, config = of_projects(models, given)
    answer(served(folders, threads=config.threads), config, watch=watch)


def answer(
    models: Mapping[str, Served],
    config: ServeConfig,
    *,
    ready: Callable[[str], None] = lambda url: None,
    watch: Watch = unwatched,
) -> None:
    """Serve opened folders; ``ready`` is told the URL once it answers."""
    from luban.stages.serve import serve as serving

    serving(models, config, ready=ready, watch=watch)


def check_out(out: str | Path) -> None:
    """Raises `FolderError` or `ConfigError`, before any work, unless ``out`` may be written."""
    check_target(Path(out))


def check_file_out(path: str | Path) -> None:
    """Raises `ConfigError`, before any work, unless the file ``path`` may be written; none is wanted where it is empty."""
    if path:
        check_file(Path(path))


def check_free(out: Path) -> None:
    """Raises `ConfigError`, before any work, unless ``out`` is free or an empty directory."""
    check_place(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(
            f"{out} exists and is not empty.", "--out names a new directory.", "Choose another, or remove it yourself."
        )


def write_page(file: Path, text: str, evidence: Evidence) -> None:
    """An explanation as a page."""
    from luban.stages.explain import to_html

    write_text(file, to_html(text, evidence))


def opened(model: Model) -> Folder:
    """A verified folder."""
    return model if isinstance(model, Folder) else Folder.open(model)


def kind(task: str) -> Any:
    """The class of a task by its name; raises `ConfigError` for none and `UnknownName` for one that is not known."""
    if not task:
        raise ConfigError(
            "No task is given.", f"Known: {', '.join(sorted(TASKS))}.", "For example: --task text-classification"
        )
    return TASKS[task]


def sections(options: Mapping[str, Any], *kinds: type[Section]) -> tuple[Any, ...]:
    """The options sorted into config sections; one that belongs to several goes to each.

    Raises `ConfigError` for an option that none of them has, naming the nearest.
    """
    known = {name for section in kinds for name in section.model_fields}
    for name in options:
        if name not in known:
            raise ConfigError(
                f"There is no option {name!r}.", f"Known here: {', '.join(sorted(known))}.", nearest_hint(name, known)
            )
    return tuple(parse(section, {n: v for n, v in options.items() if n in section.model_fields}) for section in kinds)
