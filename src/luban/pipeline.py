"""The whole line on one page: prepare -> train -> evaluate -> export, of which only what has changed runs again.

A step depends on its section of the project, on what the steps before it gave and on the version of luban; `line`
decides what runs and keeps account in ``OUT/line.json``. Under OUT stand ``rows/``, the model folder NAME, ``reports/``
and NAME-onnx. Training that was interrupted goes on inside its step. This page joins the stages; it prints nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from luban import line
from luban.config import OWN_TEXTS, EvaluateConfig, PrepareConfig, Project, Section, TrainConfig
from luban.errors import ConfigError
from luban.folder import Folder, check_alone, check_place, made_by, write_pieces, write_text
from luban.line import Made, Outcome, Step
from luban.project import MODELS, SOURCES, exported, located, read
from luban.records import Prepared, Reject, Row, Rows, Watch, unwatched
from luban.stored import SettingAside, stored, written_to
from luban.tasks import TASKS

INERT = {"threads", "memory", "log"}
"options that change how fast a step runs or what it says, not what it makes"
KEPT = ("train", "valid", "test", "unlabelled", "texts")
OPTIONAL = KEPT[3:]
"parts of the rows, each kept in a file of its own"


def run(
    project: Project | str | Path,
    root: str | Path = "",
    *,
    dry_run: bool = False,
    language: str = "en",
    watch: Watch = unwatched,
) -> list[Outcome]:
    """Run the line of a project, or of the `luban.yaml` at a path; raises what its stages raise.

    The project's paths are relative to ``root``: the directory of its file, or the current one. ``watch`` sees
    `line.Begun` and `line.Outcome` around each step and everything the stages tell between them; the report is written in
    ``language`` (``en`` or ``zh``).
    """
    if not isinstance(project, Project):
        root = root or located(project).parent
        project = read(project)
    job = Job(project, Path(root), watch, language)
    steps = (
        Step("prepare", job.rows_depend_on, job.prepare),
        Step("train", job.model_depends_on, job.train),
        Step("evaluate", lambda given: job.depends_on("evaluate", given), job.evaluate),
        Step("export", lambda given: job.depends_on("export", given), job.export),
    )
    if not dry_run:
        check_alone()
        check_place(job.out / "line.json")
    return line.run(steps, job.out / "line.json", dry_run=dry_run, watch=watch)


@dataclass(slots=True)
class Job:
    """One run of the line: the project, where its paths start, and what earlier steps of this run left in memory."""

    project: Project
    root: Path
    watch: Watch = unwatched
    language: str = "en"
    rows: Prepared | None = field(default=None, init=False)

    @property
    def out(self) -> Path:
        """Directory of everything the line makes."""
        return self.root / self.project.out

    @property
    def model(self) -> Path:
        """The trained model folder."""
        return self.out / self.project.name

    def rows_depend_on(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The section, the task, and the content of each source."""
        config = self.sources()
        if not config.source:
            raise ConfigError(
                "prepare.source is empty.", "The line starts from rows.", "Set prepare.source to a file or folder."
            )
        contents = {
            f"rows of prepare.{name}": content(getattr(config, name)) for name in SOURCES if getattr(config, name)
        }
        return {"train.task": self.project.train.task, **self.depends_on("prepare", given), **contents}

    def model_depends_on(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The section, the rows, and the content of a base that is a local folder."""
        learning = self.learning()
        models = {
            f"weights of train.{name}": content(getattr(learning, name)) for name in MODELS if getattr(learning, name)
        }
        return {**self.depends_on("train", given), **models}

    def depends_on(self, section: str, given: Mapping[str, str]) -> dict[str, Any]:
        """A section's options as flat keys, the rows and model that earlier steps gave, and the version of luban."""
        made = {name: given[name] for name in ("prepare", "train") if name in given}
        return {**made, **flat(section, getattr(self.project, section)), "luban": made_by().get("luban", "")}

    def prepare(self) -> Made:
        """Read, clean and split the rows; keep them, and the rejects, as JSON lines."""
        from luban.stages.prepare import prepare

        self.rows = prepare(self.sources(), TASKS[self.project.train.task])
        write_rows(self.rows, self.out / "rows")
        return Made(self.rows.fingerprint, self.out / "rows" / "prepared.json", understood(self.rows))

    def train(self) -> Made:
        """Fine-tune the base on the rows; resumes by itself where an earlier run was interrupted."""
        from luban import bases
        from luban.stages.train import train

        learning = self.learning()
        base = bases.find(learning.start)
        folder = train(self.prepared(), base, learning, self.model, name=self.project.name, watch=self.watch)
        return Made(
            folder.manifest.fingerprint,
            folder.path / "luban.json",
            {"path": self.named(folder.path), "bytes": folder.bytes},
        )

    def evaluate(self) -> Made:
        """Judge the model on the rows it has not seen; the report and the scores go to ``reports/``."""
        from luban.stages.evaluate import evaluate, write_report

        rows, reports = self.prepared(), self.out / "reports"
        reports.mkdir(parents=True, exist_ok=True)
        folder = Folder.open(self.model)
        found = evaluate(
            folder,
            self.unseen(),
            self.judging(folder),
            watch=self.watch,
            rejects=len(rows.rejects),
            train_rows=rows.train,
        )
        report = Path(at(self.root, self.project.evaluate.report) or reports / "evaluation.html")
        write_report(found, report, language=self.language)
        write_text(reports / "evaluation.json", json.dumps(found.detail(), ensure_ascii=False, indent=1) + "\n")
        table = [asdict(one) for one in found.table]
        facts = {
            **found.as_json(),
            "main_score": found.main_score,
            "table": table,
            "part": self.unseen_part(),
            "report": self.named(report),
        }
        return Made(line.hashed(reports / "evaluation.json"), reports / "evaluation.json", facts)

    def export(self) -> Made:
        """An ONNX folder that gives the same answers, on unseen rows."""
        from luban.stages.export import export

        out = exported(self.project, self.root)
        folder = export(Folder.open(self.model), self.unseen(), self.project.export, out, watch=self.watch)
        facts = {"path": self.named(folder.path), "bytes": folder.bytes, "notes": dict(folder.manifest.notes)}
        return Made(folder.manifest.fingerprint, folder.path / "luban.json", facts)

    def sources(self) -> PrepareConfig:
        """The prepare section with its paths made relative to where luban runs."""
        config = self.project.prepare
        named = [name for name in SOURCES if (name, getattr(config, name)) != ("adapt", OWN_TEXTS)]
        return config.model_copy(update={name: at(self.root, getattr(config, name)) for name in named})

    def learning(self) -> TrainConfig:
        """The train section; a folder next to the project file comes before a name of the catalogue."""
        config = self.project.train
        near = {name: getattr(config, name) for name in MODELS if (self.root / getattr(config, name)).is_dir()}
        return config.model_copy(update={name: at(self.root, model) for name, model in near.items() if model})

    def judging(self, folder: Folder) -> EvaluateConfig:
        """The evaluate section; preferences are judged against what the model was trained from."""
        config = self.project.evaluate
        if not folder.task().prefers:
            return config
        near = str(self.root / config.reference)
        reference = near if config.reference and Path(near).is_dir() else config.reference
        return config.model_copy(update={"reference": reference or self.learning().start})

    def named(self, path: Path) -> str:
        """A path as the project file would write it, so that the project can be moved."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def prepared(self) -> Prepared:
        """The rows of this run, or those kept by an earlier one."""
        if self.rows is None:
            self.rows = read_rows(self.out / "rows")
        return self.rows

    def unseen(self) -> Rows:
        """The test part, or the validation part where there is no test part."""
        rows: Rows = getattr(self.prepared(), self.unseen_part())
        return rows

    def unseen_part(self) -> str:
        """The part that judges the model."""
        return "test" if len(self.prepared().test) else "valid"


def at(root: Path, source: str) -> str:
    """A source of the project file as a path from here; names such as ``hf:...`` stay as they are."""
    return source if not source or ":" in source.split("/")[0] or Path(source).is_absolute() else str(root / source)


def content(source: str) -> str:
    """Fingerprint of a file or of all files of a folder; of anything else, its name."""
    path = Path(source)
    if source and path.is_file():
        return line.hashed(path)
    if source and path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return line.fingerprint({file.relative_to(path).as_posix(): line.hashed(file) for file in files})
    return source


def flat(name: str, section: Section) -> dict[str, Any]:
    """``train.epochs`` and so on, without what changes no result."""
    return {f"{name}.{key}": value for key, value in section.model_dump(mode="json").items() if key not in INERT}


def understood(rows: Prepared) -> dict[str, Any]:
    """What was understood of the rows, as plain values: columns, counts, rejects, fingerprint, three rows."""
    return {
        "source": rows.source,
        "task": rows.task,
        "columns": dict(rows.columns),
        "rows": counts(rows),
        "rejects": len(rows.rejects),
        "labels": labels_of(rows),
        "sample": [dict(rows.train[i]) for i in range(min(3, len(rows.train)))],
        "fingerprint": rows.fingerprint,
    }


def counts(rows: Prepared) -> dict[str, int]:
    """Rows by part; those without labels and those of an older model where there are any."""
    parts = {part: len(getattr(rows, part)) for part in ("train", "valid", "test")}
    more = {"unlabelled": len(rows.unlabelled), "replay": len(rows.replay.train) if rows.replay is not None else 0}
    return parts | {part: count for part, count in more.items() if count}


def labels_of(rows: Prepared) -> list[str]:
    """The labels that the task finds in the training rows; none where it predicts a number."""
    return list(TASKS[rows.task].fit(rows.train).labels)


def write_rows(rows: Prepared, out: Path) -> None:
    """Each part as JSON lines, the rejects beside them, and `prepared.json` last: without it they are not whole."""
    (out / "prepared.json").unlink(missing_ok=True)
    write_parts({part: getattr(rows, part) for part in KEPT}, rows.rejects, out)
    for part in OPTIONAL:
        if not len(getattr(rows, part)):
            (out / f"{part}.jsonl").unlink()  # the directory is a source of rows again, and this would be none
    if len(rows.items):
        _write_lines(out / "items.jsonl", (dict(row) for row in rows.items))
    if rows.replay is not None:
        write_rows(rows.replay, out / "replay")
    about = {key: getattr(rows, key) for key in ("task", "source", "fingerprint")}
    write_text(
        out / "prepared.json",
        json.dumps(
            {**about, "replay": rows.replay is not None, "columns": dict(rows.columns), "notes": dict(rows.notes)},
            ensure_ascii=False,
            indent=1,
            default=str,
        ),
    )


def write_parts(parts: Mapping[str, Rows], rejects: Sequence[Reject], out: Path) -> None:
    """``train.jsonl`` and so on, and ``rejects.jsonl``: a directory that is a source of rows again."""
    out.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        _write_lines(out / f"{part}.jsonl", (dict(row) for row in rows))
    _write_lines(out / "rejects.jsonl", (reject.as_json() for reject in rejects))


def read_rows(out: Path) -> Prepared:
    """What `write_rows` wrote; raises `ConfigError` where it is incomplete."""
    try:
        about = json.loads((out / "prepared.json").read_text(encoding="utf8"))
        kept = _keeper(about)
        parts: dict[str, Any] = {part: kept(_read_lines(out / f"{part}.jsonl")) for part in KEPT[:3]}
        for part in OPTIONAL:
            if (out / f"{part}.jsonl").is_file():
                parts[part] = kept(_read_lines(out / f"{part}.jsonl"))
        if (out / "items.jsonl").is_file():
            parts["items"] = kept(_read_lines(out / "items.jsonl"))
        rejects = SettingAside()
        for reject in _read_lines(out / "rejects.jsonl"):
            rejects.add(Reject(**reject))
        replay = read_rows(out / "replay") if about.pop("replay", False) else None
        return Prepared(rejects=rejects.rejects(), replay=replay, **parts, **about)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{out} cannot be read ({error}).", "It is written by the line.", f"Remove {out} and run again."
        ) from error


def _keeper(about: Mapping[str, Any]) -> Callable[[Iterable[Row]], Rows]:
    """How rows of these notes are kept: in Arrow; histories of users, which are read again and again, as they are."""
    from luban.stages.prepare.rows import canonical_types

    task = TASKS[about["task"]]
    if task.recommends:
        return list
    questions = about["notes"].get("section", {}).get("questions", {})
    types = canonical_types((task.asking(questions) if questions else task).named)
    return lambda rows: stored(rows, types)


def _write_lines(file: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    with written_to(file.parent):
        write_pieces(file, (json.dumps(item, ensure_ascii=False) + "\n" for item in objects))


def _read_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf8", newline="\n") as lines:
        for line in lines:
            if line.rstrip("\n"):
                yield json.loads(line)
