"""Typos and swapped words."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luban.perturb import NEIGHBOURS, PERTURBATIONS, WORDS, swapped_words, typos

ENGLISH = "where is the order that I placed on Monday, please?"
CHINESE = "我的订单什么时候到，请给我退款。"
TEXTS = st.text(alphabet=st.sampled_from("abz ,.?'我你订单退款08ÄéZ\n"), max_size=60)


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_every_text_that_can_be_changed_is(name: str, text: str) -> None:
    assert all(PERTURBATIONS[name](text, seed=seed) != text for seed in range(20))


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
@given(text=TEXTS, seed=st.integers(0, 5))
def test_the_same_text_and_seed_give_the_same_result(name: str, text: str, seed: int) -> None:
    assert PERTURBATIONS[name](text, seed=seed) == PERTURBATIONS[name](text, seed=seed)


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
@given(text=TEXTS)
def test_a_share_of_nothing_changes_nothing(name: str, text: str) -> None:
    assert PERTURBATIONS[name](text, share=0.0) == text


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
def test_other_seeds_give_other_results(name: str) -> None:
    assert len({PERTURBATIONS[name](ENGLISH, seed=seed) for seed in range(20)}) > 3


@given(text=TEXTS, seed=st.integers(0, 5))
def test_swapping_keeps_every_word_and_what_stands_between(text: str, seed: int) -> None:
    swapped = swapped_words(text, share=0.5, seed=seed)
    assert Counter(swapped) == Counter(text)
    between = [[char for char in one if char in " ,.?\n"] for one in (text, swapped)]
    assert between[0] == between[1]


def test_two_neighbours_are_swapped_in_place() -> None:
    assert swapped_words("good, bad") == "bad, good"


@given(seed=st.integers(0, 200))
def test_a_mistyped_word_keeps_its_ends(seed: int) -> None:
    mistyped = typos("refund", seed=seed)
    assert mistyped[0] == "r"
    assert mistyped[-1] == "d"
    assert abs(len(mistyped) - len("refund")) <= 1


@given(text=TEXTS, seed=st.integers(0, 5))
def test_as_many_typos_as_the_share_says_at_most(text: str, seed: int) -> None:
    most = max(1, round(0.15 * (len(WORDS.findall(text)) + sum(char > "一" for char in text))))
    assert abs(len(typos(text, seed=seed)) - len(text)) <= most


def test_short_words_are_left_alone() -> None:
    assert typos("is my cat in it") == "is my cat in it"


def test_capital_letters_stay_capital() -> None:
    assert all(typos("REFUND", seed=seed).isupper() for seed in range(50))


def test_keys_are_neighbours_of_each_other() -> None:
    assert all(key in NEIGHBOURS[beside] for key, near in NEIGHBOURS.items() for beside in near)
    assert sorted(NEIGHBOURS["g"]) == sorted("fhtyvb")
