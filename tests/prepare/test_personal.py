"""Personal data: what is found, what only looks like it, and what replaces it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luban.personal import STAND_INS, find, iban, identity_number, luhn, mask


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("write to ann.b+c@mail.corp.co.uk.", "email", "ann.b+c@mail.corp.co.uk"),
        ("邮箱zhang@qq.com，谢谢", "email", "zhang@qq.com"),
        ("手机13912345678。", "phone", "13912345678"),
        ("+86 139-1234-5678", "phone", "+86 139-1234-5678"),
        ("电话 010-62345678", "phone", "010-62345678"),
        ("ring +44 20 7946 0958", "phone", "+44 20 7946 0958"),
        ("ring (415) 555-2671 now", "phone", "(415) 555-2671"),
        ("身份证44052418800101001X", "", ""),
        ("身份证440524188001010014号", "id_number", "440524188001010014"),
        ("card 4012 8888 8888 1881", "bank_card", "4012 8888 8888 1881"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "iban", "DE89 3704 0044 0532 0130 00"),
        ("from 10.12.0.7:8080", "ip_address", "10.12.0.7"),
        ("from fe80::1ff:fe23:4567:890a", "ip_address", "fe80::1ff:fe23:4567:890a"),
    ],
)
def test_what_is_personal_is_found_with_its_kind(text: str, kind: str, found: str) -> None:
    assert [(entity.label, entity.text) for entity in find(text)] == ([(kind, found)] if kind else [])


@pytest.mark.parametrize(
    "text",
    [
        "order 113542617735902", "card 4012 8888 8888 1882", "version 1.2.3.4", "v10.0.0.1", "300.1.1.1", "at 12:30:45",
        "user@localhost", "@ann hello", "in 2024-05-06", "12345678901234", "a::b", "C++ 11", "1.5-2.5",
        "订单号 20230405123456789012", "tel: 12345",
    ],
)  # fmt: skip
def test_what_only_looks_personal_is_left(text: str) -> None:
    assert find(text) == []


def test_offsets_are_those_of_the_text() -> None:
    text = "邮箱 a@b.cn 或 13912345678"
    assert [text[entity.start : entity.end] for entity in find(text)] == ["a@b.cn", "13912345678"]


def test_stand_ins_are_valid_and_of_their_kind() -> None:
    assert luhn(STAND_INS["bank_card"].replace(" ", ""))
    assert identity_number(STAND_INS["id_number"])
    assert iban(STAND_INS["iban"])


def test_masking_keeps_the_rest() -> None:
    text = "Ann: a@b.cn, (415) 555-2671, +44 20 7946 0958, 10.0.0.9"
    assert mask(text) == "Ann: user@example.com, 202-555-0100, +1 202 555 0100, 192.0.2.1"


PIECES = st.sampled_from(
    [
        "a@b.cn",
        "13912345678",
        "010-62345678",
        "10.0.0.9",
        "fe80::1",
        "4012888888881881",
        "440524188001010014",
        " ",
        ",",
        "-",
        "1",
        "x",
        "+",
        "中",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=10).map("".join))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    assert mask(mask(text)) == mask(text)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_any_text_can_be_searched(text: str) -> None:
    assert all(text[entity.start : entity.end] == entity.text for entity in find(text))
