"""How hard rows are: against double loops, closed forms and another algorithm.

Legend: R rungs, N rows, P pairs, K ends of a pair.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from weakstrong.builders.difficulty import easier, easy_rows
from weakstrong.difficulty import bradley_terry, draw_pairs, elo, smallest_that_solves
from weakstrong.errors import ConfigError, DataError
from weakstrong.steps_easy import EasySpec


def slow_difficulty(correct_RN: np.ndarray) -> list[int]:
    """Row by row, rung by rung."""
    rungs, rows = correct_RN.shape
    found = []
    for n in range(rows):
        difficulty = rungs + 1
        for r in range(rungs):
            if all(correct_RN[k, n] for k in range(r, rungs)):
                difficulty = r + 1
                break
        found.append(difficulty)
    return found


def test_difficulty_is_the_smallest_rung_that_solves_with_every_larger_one() -> None:
    """The first right rung (a lucky guess) taken instead, rungs in reverse, the hardest class off by one."""
    correct_RN = np.random.default_rng(0).random((5, 300)) < 0.7
    assert smallest_that_solves(correct_RN).tolist() == slow_difficulty(correct_RN)
    assert set(smallest_that_solves(correct_RN).tolist()) == {1, 2, 3, 4, 5, 6}
    assert smallest_that_solves([[1], [0], [1]]).tolist() == [3]
    assert smallest_that_solves([[1], [1], [0]]).tolist() == [4]


@pytest.mark.parametrize("bad", [[1, 0], [[0.5]], np.zeros((0, 3))])
def test_what_is_no_correctness_is_refused(bad: Any) -> None:
    """Probabilities taken for correctness are all true."""
    with pytest.raises(DataError, match=r"\(rungs, rows\)"):
        smallest_that_solves(bad)


def test_pairs_are_spread_evenly_and_connect_all_rows() -> None:
    """Rows compared with themselves, some more often than others, or islands whose Elo cannot be compared."""
    pairs_PK = draw_pairs(101, 4, np.random.default_rng(1))
    assert (np.bincount(pairs_PK.ravel(), minlength=101) == 4).all()
    assert (pairs_PK[:, 0] != pairs_PK[:, 1]).all()
    reached, edges = {0}, pairs_PK.tolist()
    for _ in range(101):
        reached |= {x for a, b in edges for x in (a, b) if {a, b} & reached}
    assert len(reached) == 101
    for rows, comparisons in ((101, 3), (101, 0), (2, 2)):
        with pytest.raises(ConfigError, match="wanted"):
            draw_pairs(rows, comparisons, np.random.default_rng(1))


@pytest.mark.parametrize(("share", "prior"), [(0.75, 0.2), (1.0, 0.5), (0.5, 0.1)])
def test_two_rows_have_a_closed_form(share: float, prior: float) -> None:
    """The prior counted twice, the sign turned, or a row that always wins sent to infinity."""
    strength = bradley_terry([[0, 1]], [share], 2, prior)
    wanted = brentq(lambda gap: expit(gap) - share + prior * gap / 2, -50, 50)
    assert strength[0] - strength[1] == pytest.approx(wanted, abs=1e-6)
    assert strength.sum() == pytest.approx(0, abs=1e-9)


def test_strengths_are_those_of_the_oldest_algorithm() -> None:
    """Against Zermelo's iteration (1929), which maximises the likelihood without any gradient."""
    generator = np.random.default_rng(2)
    pairs_PK = draw_pairs(12, 8, generator)
    share_P = generator.uniform(0.1, 0.9, len(pairs_PK))
    wins_NN = np.zeros((12, 12))
    for (a, b), share in zip(pairs_PK.tolist(), share_P.tolist(), strict=True):
        wins_NN[a, b] += share
        wins_NN[b, a] += 1 - share
    worth_N = np.ones(12)
    for _ in range(5000):
        met_NN = wins_NN + wins_NN.T
        worth_N = wins_NN.sum(1) / (met_NN / (worth_N[:, None] + worth_N)).sum(1)
        worth_N /= np.exp(np.log(worth_N).mean())
    found = bradley_terry(pairs_PK, share_P, 12, prior=1e-9)
    np.testing.assert_allclose(found, np.log(worth_N), atol=1e-4)


def test_known_strengths_are_found_again() -> None:
    """Strengths that do not follow the rows they belong to after the pairs were shuffled."""
    generator = np.random.default_rng(3)
    true_N = generator.normal(size=40)
    pairs_PK = draw_pairs(40, 20, generator)
    share_P = expit(true_N[pairs_PK[:, 0]] - true_N[pairs_PK[:, 1]])
    found_N = bradley_terry(pairs_PK, share_P, 40, prior=1e-8)
    np.testing.assert_allclose(found_N, true_N - true_N.mean(), atol=1e-3)
    assert elo(np.array([math.log(10), 0.0])).tolist() == pytest.approx([400, 0])


def test_comparisons_that_do_not_fit_are_refused() -> None:
    """A share of 100 for per cent, or a row that does not exist, gives strengths of something."""
    for pairs, share, words in (
        ([[0, 1]], [75.0], "outside"), ([[0, 2]], [0.5], "row number"), ([[0, 1]], [0.5, 0.5], "wanted"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=words):
            bradley_terry(pairs, share, 2)
    with pytest.raises(ConfigError, match="prior"):
        bradley_terry([[0, 1]], [0.5], 2, prior=0)


def test_a_judge_that_favours_a_place_favours_no_row() -> None:
    """Position bias left in: every row that was drawn first would be the easier one."""
    truth_P = np.array([0.9, 0.2, 0.5])
    bias = 0.1
    there, back = truth_P + bias, 1 - truth_P + bias
    answers_NC = np.stack([np.concatenate([there, back]), 1 - np.concatenate([there, back])], 1)
    np.testing.assert_allclose(easier(answers_NC.astype(np.float32)), truth_P, atol=1e-6)
    always_first = np.tile(np.array([[0.99, 0.01]], np.float32), (6, 1))
    np.testing.assert_allclose(easier(always_first), 0.5, atol=1e-6)


@pytest.mark.parametrize("scale", ["value", "quantile"])
def test_every_cut_off_has_equally_many_rows_none_above_it(scale: Any) -> None:
    """More rows for a higher cut-off: hard rows would look as if they taught more."""
    generator = np.random.default_rng(4)
    difficulty_N = generator.integers(1, 6, 500).astype(float) if scale == "value" else generator.random(500)
    cutoffs = [1, 2, 4, None] if scale == "value" else [0.2, 0.5, 0.9, None]
    kept = {
        c: easy_rows(difficulty_N, EasySpec(cutoff=c, smallest=cutoffs[0], scale=scale, seed=0), "split")
        for c in cutoffs
    }
    least = (difficulty_N <= 1).sum() if scale == "value" else 100
    assert {len(rows) for rows in kept.values()} == {least}
    for cutoff, rows in kept.items():
        assert len(set(rows.tolist())) == len(rows)
        if cutoff is not None:
            limit = cutoff if scale == "value" else np.quantile(difficulty_N, cutoff)
            assert difficulty_N[rows].max() <= limit
    assert difficulty_N[kept[None]].max() == difficulty_N.max() or scale == "quantile"
    # The control is no sample of the easy ones.
    assert difficulty_N[kept[None]].mean() == pytest.approx(difficulty_N.mean(), rel=0.15)
    other = easy_rows(difficulty_N, EasySpec(cutoff=None, smallest=cutoffs[0], scale=scale, seed=1), "split")
    assert other.tolist() != kept[None].tolist()


def test_no_easy_rows_is_a_clear_error() -> None:
    """A training on nothing must not end in a division by zero."""
    with pytest.raises(DataError, match="up to 1, at least 2 are wanted"):
        easy_rows(np.array([2.0, 3.0, 3.0]), EasySpec(cutoff=2, smallest=1, scale="value", seed=0), "split")
