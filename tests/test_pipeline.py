"""The line: what has changed runs again, nothing else does; a crash resumes; a project is a closed file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from luban import line, pipeline, project, verbs
from luban.config import Project, ServeConfig
from luban.errors import ConfigError, UnknownName
from luban.line import Made, Step
from luban.records import Prepared, Reject
from luban.testing import tiny_base

YAML = """
name: tiny
prepare: {source: rows.csv, test_share: 0.25}
train: {task: text-classification, base: base, epochs: 1, log: []}
"""
TEXTS = {"order": ["where is my order", "track the parcel"], "refund": ["i want my money back", "please refund me"]}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of a tiny model, run once."""
    root = tmp_path_factory.mktemp("line")
    tiny_base(root / "base")
    rows = [f"{text} {i},{label}" for i in range(12) for label, texts in TEXTS.items() for text in texts]
    (root / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf8")
    (root / "luban.yaml").write_text(YAML, encoding="utf8")
    pipeline.run(project.read(root), root)
    return root


def would_run(root: Path, *settings: str) -> dict[str, str]:
    outcomes = pipeline.run(project.read(root, settings), root, dry_run=True)
    return {outcome.name: str(outcome.why) for outcome in outcomes if outcome.ran}


def test_the_line_makes_a_model_a_report_and_an_export(made):
    for file in ("rows/prepared.json", "tiny/luban.json", "reports/evaluation.html", "tiny-onnx/luban.json"):
        assert (made / "runs" / file).is_file()


def test_nothing_runs_twice(made):
    outcomes = pipeline.run(made / "luban.yaml")
    assert [(outcome.name, outcome.ran) for outcome in outcomes] == [
        ("prepare", False),
        ("train", False),
        ("evaluate", False),
        ("export", False),
    ]


def test_what_is_kept_still_shows_its_facts(made):
    judged = pipeline.run(made / "luban.yaml")[2].facts
    assert 0 <= judged["scores"]["accuracy"] <= 1


def test_a_changed_option_runs_its_step_and_what_follows(made):
    assert would_run(made, "train.epochs=2") == {
        "train": "train.epochs: 1.0 → 2.0",
        "evaluate": "train runs before it",
        "export": "train runs before it",
    }


def test_an_option_of_evaluate_leaves_the_export_alone(made):
    assert would_run(made, "evaluate.bootstrap=200") == {"evaluate": "evaluate.bootstrap: 1000 → 200"}


def test_an_option_that_changes_no_result_runs_nothing(made):
    assert would_run(made, "train.threads=1") == {}


def test_a_project_is_served_as_its_section_says_and_options_win(made):
    (made / "served.yaml").write_text(YAML + "serve: {port: 0, max_rows: 7}", encoding="utf8")
    folders, config = verbs.of_projects([made / "served.yaml"], ServeConfig(max_rows=8))
    assert folders == [made / "runs" / "tiny-onnx"]
    assert (config.port, config.max_rows) == (0, 8)


def test_a_project_that_has_exported_nothing_is_not_served(tmp_path):
    (tmp_path / "luban.yaml").write_text(YAML, encoding="utf8")
    with pytest.raises(ConfigError, match=r"tiny-onnx.*luban run"):
        verbs.of_projects([tmp_path], ServeConfig())


def test_another_place_for_the_report_makes_the_report_again(made):
    assert set(would_run(made, "evaluate.report=scores.html")) == {"evaluate"}


def test_the_report_of_a_line_is_written_in_the_language_that_is_asked_for(tmp_path, made):
    shutil.copytree(made, tmp_path / "line")
    (tmp_path / "line" / "runs" / "reports" / "evaluation.html").unlink()
    (tmp_path / "line" / "runs" / "reports" / "evaluation.json").unlink()
    pipeline.run(tmp_path / "line" / "luban.yaml", language="zh")
    report = (tmp_path / "line" / "runs" / "reports" / "evaluation.html").read_text(encoding="utf8")
    assert 'data-lang="zh"' in report


def test_changed_rows_run_everything(made):
    rows = made / "rows.csv"
    before = rows.read_text(encoding="utf8")
    rows.write_text(before + "one more,order\n", encoding="utf8")
    try:
        assert list(would_run(made)) == ["prepare", "train", "evaluate", "export"]
        assert would_run(made)["prepare"] == "rows of prepare.source changed"
    finally:
        rows.write_text(before, encoding="utf8")


def test_a_missing_output_is_made_again(made):
    report = made / "runs" / "reports" / "evaluation.json"
    kept = report.read_bytes()
    report.unlink()
    try:
        assert would_run(made) == {"evaluate": "reports/evaluation.json is missing"}
    finally:
        report.write_bytes(kept)


def test_a_dry_run_writes_nothing(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\na,x\nb,y\n", encoding="utf8")
    (tmp_path / "luban.yaml").write_text(YAML, encoding="utf8")
    assert list(would_run(tmp_path)) == ["prepare", "train", "evaluate", "export"]
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written_is_refused_before_any_step(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf8")
    with pytest.raises(ConfigError, match="file is no directory"):
        pipeline.run(Project(out="file"), tmp_path)


def test_several_processes_do_not_walk_one_line(made, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="the work of one process"):
        pipeline.run(project.read(made), made)


def test_a_line_without_rows_says_what_to_set(tmp_path):
    with pytest.raises(ConfigError, match=r"prepare\.source is empty"):
        pipeline.run(Project(), tmp_path)


def test_rows_are_read_back_as_they_were_written(tmp_path):
    row = {"text": "a\u2028b", "label": "x"}
    rows = Prepared(
        "text-classification", "s", [row], [row], [], (Reject("s", 3, "bad"),), {"text": "body"}, "f", {"n": 1}
    )
    pipeline.write_rows(rows, tmp_path)
    assert pipeline.read_rows(tmp_path) == rows


class Steps:
    """Two steps that count how often they are made; the second can be made to fail."""

    def __init__(self, out: Path) -> None:
        self.out, self.made, self.fail, self.option = out, [], False, 1

    def run(self, **options: bool) -> list[line.Outcome]:
        first = Step("first", lambda given: {}, lambda: self._make("first"))
        second = Step("second", lambda given: {**given, "option": self.option}, lambda: self._make("second"))
        return line.run([first, second], self.out / "line.json", **options)

    def _make(self, name: str) -> Made:
        if self.fail and name == "second":
            raise RuntimeError("the power went")
        self.made.append(name)
        file = self.out / f"{name}.txt"
        file.write_text(name, encoding="utf8")
        return Made("same", file)


def test_a_crash_resumes_at_the_step_where_it_stopped(tmp_path):
    steps = Steps(tmp_path)
    steps.fail = True
    with pytest.raises(RuntimeError):
        steps.run()
    steps.fail = False
    steps.run()
    assert steps.made == ["first", "second"]


def test_a_step_whose_output_came_out_the_same_does_not_run_what_follows(tmp_path):
    steps = Steps(tmp_path)
    steps.run()
    (tmp_path / "first.txt").unlink()
    steps.run()
    assert steps.made == ["first", "second", "first"]


def test_an_altered_output_is_made_again(tmp_path):
    steps = Steps(tmp_path)
    steps.run()
    (tmp_path / "second.txt").write_text("tampered", encoding="utf8")
    assert str(steps.run()[1].why) == "second.txt was altered"


def test_a_broken_state_says_to_remove_it(tmp_path):
    (tmp_path / "line.json").write_text("{", encoding="utf8")
    with pytest.raises(ConfigError, match="Remove it"):
        Steps(tmp_path).run()


def test_the_state_is_never_half_written(tmp_path):
    Steps(tmp_path).run()
    assert json.loads((tmp_path / "line.json").read_text(encoding="utf8"))["format"] == line.FORMAT
    assert [file.name for file in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epoch: 3}", r"no key 'train\.epoch'.*Did you mean 'epochs'"),
        ("trian: {}", "no key 'trian'.*Did you mean 'train'"),
        ("train: {epochs: many}", r"train\.epochs cannot be 'many'"),
        ("train: [", "line 1, column 9"),
        ("- a\n- b", "holds list"),
        ("name: a\nname: b", "line 2, column 1.*'name' stands twice"),
    ],
)
def test_a_wrong_project_file_is_refused_with_its_place(tmp_path, text, message):
    (tmp_path / "luban.yaml").write_text(text, encoding="utf8")
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        project.read(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.epoch=3", r"train\.epoch=3: there is no key 'train\.epoch'.*Did you mean 'epochs'"),
        ("train.epochs", "sets nothing"),
        ("=3", "sets nothing"),
        ("name.x=3", "goes into 'name'"),
        ("train.epochs=[", "not YAML"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path, setting, message):
    (tmp_path / "luban.yaml").write_text("name: a\n", encoding="utf8")
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        project.read(tmp_path, [setting])


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("train.epochs=3", ("train", "epochs"), 3.0),
        ("prepare.clean=false", ("prepare", "clean"), False),
        ("prepare.columns={text: body}", ("prepare", "columns"), {"text": "body"}),
        ("name=other", ("name",), "other"),
        ("prepare.source=", ("prepare", "source"), ""),
    ],
)
def test_a_setting_has_yaml_types(tmp_path, setting, path, value):
    (tmp_path / "luban.yaml").write_text("name: a\n", encoding="utf8")
    found = project.read(tmp_path, [setting])
    for name in path:
        found = getattr(found, name)
    assert found == value


def test_no_project_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="luban new"):
        project.read(tmp_path)


@pytest.mark.parametrize("sample", sorted(project.SAMPLES))
def test_a_new_project_is_whole_and_valid(tmp_path, sample):
    root = project.create("text-classifier", tmp_path / "my desk", sample=sample)
    found = project.read(root)
    assert found.name == "my-desk"
    assert (root / found.prepare.source).is_file()
    assert "{{" not in (root / "README.md").read_text(encoding="utf8") + (root / "luban.yaml").read_text(
        encoding="utf8"
    )


def test_a_new_project_leaves_what_is_there_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf8")
    with pytest.raises(ConfigError, match="not empty"):
        project.create("text-classifier", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unknown_template_names_those_there_are(tmp_path):
    with pytest.raises(UnknownName, match="text-classifier"):
        project.create("text-clasifier", tmp_path / "new")
