"""`luban.json`: its fingerprint, and what is refused on reading it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luban import manifest as manifests
from luban.errors import FolderError
from luban.manifest import BaseInfo, CalibrationInfo, Manifest, canonical, migrate

PLAIN = Manifest(name="tickets", task="text-classification", labels=("a", "b"), base=BaseInfo(name="minilm"))

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def changed(**fields: Any) -> str:
    """The text of `PLAIN` with some fields changed by hand afterwards."""
    return json.dumps({**json.loads(PLAIN.to_json()), **fields})


def test_what_was_written_is_read() -> None:
    assert Manifest.from_json(PLAIN.to_json()) == PLAIN


def test_temperatures_of_a_heads_parts_are_kept_and_not_written_where_there_are_none() -> None:
    assert "temperatures" not in PLAIN.to_json()
    both = CalibrationInfo(temperatures={"slots": 1.2, "intent": 0.8})
    made = PLAIN.model_copy(update={"calibration": both})
    assert Manifest.from_json(made.to_json()).calibration == both


@given(recipe=st.dictionaries(st.text(), values, max_size=4), name=st.text())
def test_any_manifest_survives_writing_and_reading(recipe: dict[str, Any], name: str) -> None:
    made = PLAIN.model_copy(update={"recipe": recipe, "name": name})
    assert Manifest.from_json(made.to_json()).fingerprint == made.fingerprint


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_canonical_json_does_not_depend_on_order(value: dict[str, int]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@pytest.mark.parametrize(
    "fields", [{"name": "other"}, {"labels": ("b", "a")}, {"parent": "f" * 64}, {"max_length": 128}]
)
def test_every_field_counts_for_the_fingerprint(fields: dict[str, Any]) -> None:
    assert PLAIN.model_copy(update=fields).fingerprint != PLAIN.fingerprint


def test_an_edited_manifest_is_refused() -> None:
    with pytest.raises(FolderError, match="does not match its own fingerprint"):
        Manifest.from_json(changed(labels=["b", "a"]))


def test_a_manifest_without_a_fingerprint_is_refused() -> None:
    with pytest.raises(FolderError, match="fingerprint"):
        Manifest.from_json(changed(fingerprint=None))


def test_a_newer_format_is_refused() -> None:
    with pytest.raises(FolderError, match="format 99"):
        Manifest.from_json(changed(format=99))


@pytest.mark.parametrize("number", [None, "1", 0, -1, 1.5])
def test_a_format_that_is_no_format_is_refused(number: object) -> None:
    with pytest.raises(FolderError, match="format"):
        Manifest.from_json(changed(format=number))


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(FolderError, match="'colour'"):
        Manifest.from_json(changed(colour="red"))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00\x01", '"text"'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(FolderError, match=r"luban\.json"):
        Manifest.from_json(text)


def test_an_older_format_is_brought_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "FORMAT", 3)
    monkeypatch.setattr(
        manifests,
        "MIGRATIONS",
        {1: lambda body: {**body, "title": body["name"]}, 2: lambda body: {**body, "title": body["title"].upper()}},
    )
    assert migrate({"format": 1, "name": "tickets"}, "luban.json") == {
        "format": 3,
        "name": "tickets",
        "title": "TICKETS",
    }
