"""The documentation is true: examples run, tables of options and keys are as the code has them."""

from __future__ import annotations

import re
from pathlib import Path

from luban.cli.reference import command_line, with_keys
from luban.testing import tiny_base
from tests.cli.conftest import write_rows

DOCS = Path(__file__).parents[1] / "docs"
STALE = "run: python -m luban.cli.reference docs"


def test_the_command_line_is_documented_as_it_is():
    assert (DOCS / "cli.md").read_text(encoding="utf8") == command_line(), STALE


def test_every_key_of_the_project_file_is_documented():
    page = (DOCS / "project-file.md").read_text(encoding="utf8")
    assert page == with_keys(page), STALE


def test_the_examples_in_python_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_base(tmp_path / "base")
    write_rows(tmp_path / "rows.csv")
    page = (DOCS / "python.md").read_text(encoding="utf8")
    names: dict[str, object] = {}
    for example in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(example, "docs/python.md", "exec"), names)
    said = capsys.readouterr().out
    assert "('order', 'other', 'refund')" in said
    assert "['prepare', 'train', 'evaluate', 'export']" in said
    assert "train a model first" in said


def test_the_example_project_file_is_valid(tmp_path):
    from luban.project import read

    page = (DOCS / "project-file.md").read_text(encoding="utf8")
    example = re.search(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert example is not None
    (tmp_path / "luban.yaml").write_text(example[1], encoding="utf8")
    assert read(tmp_path).prepare.columns == {"text": "body", "label": "topic"}
