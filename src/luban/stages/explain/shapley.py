"""Shapley values of words, sampled: how much each word adds on average over orders in which words become known.

Strumbelj and Kononenko 2014, "Explaining prediction models and individual predictions with feature contributions"
(https://doi.org/10.1007/s10115-013-0679-x), with antithetic orders (each order and its reverse). A word that is not yet
known has its sub-words replaced by the mask token. It needs no gradients and no torch: any runtime will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from math import comb

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Encoded, TextEncoder, Window
from luban.predict import Predictor
from luban.records import Evidence, WordWeight
from luban.stages.explain.base import Question, Word

EXACT = 6
"words up to which all coalitions are tried"
EVALUATIONS = 64
LEAST_EVALUATIONS = 32
SUBWORDS = 8192
"sub-words read for one explanation, about; long windows are evaluated less often, their words in larger groups"
MASKS = ("[MASK]", "<mask>", "[UNK]", "<unk>")
SEED = 13

Coalition = frozenset[int]


def shapley(predictor: Predictor, question: Question) -> Evidence:
    """Weights that sum exactly to score - base_score; neighbours share a weight where a text has too many words.

    ``base_score`` is the number with every word masked. Seeded: the same question gets the same answer.
    """
    longest = max((len(window.ids) for window in question.encoded.windows), default=1)
    budget = max(LEAST_EVALUATIONS, min(EVALUATIONS, SUBWORDS // longest))
    players = grouped(question.words, max(EXACT, budget // 3))
    game = Game(predictor, question, players)
    everyone: Coalition = frozenset(range(len(players)))
    weights = exact(game, len(players)) if len(players) <= EXACT else sampled(game, len(players), budget)
    words = [
        WordWeight(question.text[word.start : word.end], word.start, word.end, float(weight))
        for word, weight in zip(players, weights, strict=True)
    ]
    score, base = game.values([everyone, frozenset()])
    gap = score - base - float(np.sum(weights))
    return Evidence(question.target, score, base, tuple(words), "shapley", gap)


class Game:
    """The number as a function of the words that are known; what was asked once is remembered."""

    def __init__(self, predictor: Predictor, question: Question, players: Sequence[Word]) -> None:
        self.predictor, self.question, self.players = predictor, question, players
        self.mask = mask_id(predictor.encoder)
        self.known: dict[tuple[int, bytes], float] = {}

    def values(self, coalitions: Sequence[Coalition]) -> list[float]:
        """The number for each coalition; windows that differ from no earlier one are not run again."""
        read = [[(w, self._masked(w, coalition)) for w in self.question.windows] for coalition in coalitions]
        fresh = {(w, window.ids.tobytes()): window for row in read for w, window in row}
        fresh = {key: window for key, window in fresh.items() if key not in self.known}
        rows = [Encoded((window,), "", 0) for window in fresh.values()]
        for key, outputs in zip(fresh, self.predictor.logits(rows), strict=True):
            self.known[key] = self.question.of_window(key[0], outputs[0])
        of = self.question
        return [of.offset + of.scale * sum(self.known[w, window.ids.tobytes()] for w, window in row) for row in read]

    def _masked(self, at: int, coalition: Coalition) -> Window:
        window = self.question.encoded.windows[at]
        ids = window.ids.copy()
        hidden = [
            position
            for i, word in enumerate(self.players)
            if i not in coalition
            for w, position in word.places
            if w == at
        ]
        ids[hidden] = self.mask
        return replace(window, ids=ids)


def exact(game: Game, count: int) -> NDArray[np.float64]:
    """Shapley values over all coalitions of ``count`` players."""
    coalitions = [frozenset(c) for size in range(count + 1) for c in combinations(range(count), size)]
    value = dict(zip(coalitions, game.values(coalitions), strict=True))
    weights = np.zeros(count)
    for player in range(count):
        for coalition in coalitions:
            if player not in coalition:
                chance = 1.0 / (count * comb(count - 1, len(coalition)))
                weights[player] += chance * (value[coalition | {player}] - value[coalition])
    return weights


def sampled(game: Game, count: int, budget: int) -> NDArray[np.float64]:
    """Shapley values from as many random orders and their reverses as ``budget`` allows (one pair at least)."""
    rng = np.random.default_rng(SEED)
    orders: list[list[int]] = []
    while not orders or (len(orders) + 2) * (count - 1) <= budget:
        order = [int(i) for i in rng.permutation(count)]
        orders += [order, order[::-1]]
    chains = [[frozenset(order[:size]) for size in range(count + 1)] for order in orders]
    distinct = list(dict.fromkeys(coalition for chain in chains for coalition in chain))
    value = dict(zip(distinct, game.values(distinct), strict=True))
    weights = np.zeros(count)
    for order, chain in zip(orders, chains, strict=True):
        for player, before, after in zip(order, chain[:-1], chain[1:], strict=True):
            weights[player] += (value[after] - value[before]) / len(orders)
    return weights


def grouped(words: Sequence[Word], most: int) -> list[Word]:
    """At most ``most`` runs of neighbouring words, of nearly equal numbers of words."""
    if len(words) <= most:
        return list(words)
    cuts = np.linspace(0, len(words), most + 1).round().astype(int)
    runs = [words[a:b] for a, b in pairwise(cuts)]
    return [Word(run[0].start, run[-1].end, tuple(place for word in run for place in word.places)) for run in runs]


def mask_id(encoder: TextEncoder) -> int:
    """What stands for a word that is not known: the mask token, else the unknown token, else padding."""
    ids = (encoder.tokenizer.token_to_id(token) for token in MASKS)
    return next((int(found) for found in ids if found is not None), encoder.pad_id)
