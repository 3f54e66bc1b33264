"""weakstrong.across_tasks against scipy, closed forms and counts of every case."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from weakstrong import stats
from weakstrong.errors import ConfigError, DataError

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "nan as difference": (lambda: stats.across_tasks([0.1, math.nan]), "finite"),
    "p above 1": (lambda: stats.holm([0.1, 1.2]), "1.2"),
    "infinite PGR": (lambda: stats.median_over_tasks([0.1, math.inf]), "inf"),
    "other tasks": (lambda: stats.ratio_of_summed_gaps([0.5], [0.5, 0.6], [0.7]), "student"),
}


@pytest.mark.parametrize(
    ("n", "wanted"), [(1, 0), (2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi))]
)
def test_expected_maximum_has_its_closed_forms(n: Any, wanted: Any) -> None:
    assert stats.expected_maximum(n, 1) == pytest.approx(wanted, abs=1e-9)
    assert stats.expected_maximum(n, 0.3) == pytest.approx(0.3 * wanted, abs=1e-9)


def test_expected_maximum_of_many() -> None:
    """Catches a grid too coarse or too short: order statistics of 16 and 1,000 normals are tabulated."""
    assert stats.expected_maximum(16, 1) == pytest.approx(1.76599, abs=1e-5)
    assert stats.expected_maximum(1000, 1) == pytest.approx(3.24144, abs=1e-5)


def test_aggregates_are_not_ruled_by_one_tiny_gap() -> None:
    """Catches the mean of ratios, here 5.25, and an undefined task dropped without a count."""
    weak, student, ceiling = [0.6, 0.6], [0.7, 0.7], [0.8, 0.61]
    assert stats.ratio_of_summed_gaps(weak, student, ceiling) == pytest.approx(0.2 / 0.21)
    assert math.isnan(stats.ratio_of_summed_gaps([0.5, 0.5], [0.6, 0.6], [0.25, 0.75]))
    assert stats.median_over_tasks([math.nan, 0.1, 0.9, 0.3, math.nan]) == stats.TaskMedian(0.3, 3, 2)
    assert math.isnan(stats.median_over_tasks([math.nan]).median)


@given(st.lists(st.integers(-8, 8), min_size=1, max_size=10))
def test_wilcoxon_is_exact_with_ties_and_zeros(tenths: Any) -> None:
    """Catches wrong mean ranks: all sign patterns of the nonzero differences are counted. Tenths are not
    exact in binary (0.3 - 0.2 is not 0.1), so ties broken by rounding would show too."""
    difference = [((x + 10) / 10) - 1 for x in tenths]
    ranks = scipy.stats.rankdata([abs(x) for x in tenths if x])
    observed = sum(r for r, x in zip(ranks, [x for x in tenths if x], strict=True) if x > 0)
    sums = np.array([np.dot(ranks, signs) for signs in itertools.product([0, 1], repeat=len(ranks))])
    wanted = min(1, 2 * min(np.mean(sums <= observed), np.mean(sums >= observed)))
    found = stats.across_tasks(difference)
    assert found.wilcoxon_p == pytest.approx(wanted)
    up, down = sum(x > 0 for x in tenths), sum(x < 0 for x in tenths)
    assert (found.n_better, found.n_worse, found.n_equal) == (up, down, len(tenths) - up - down)
    assert found.sign_p == pytest.approx(scipy.stats.binomtest(up, up + down).pvalue if up + down else 1.0)


def test_wilcoxon_agrees_with_scipy_without_ties() -> None:
    difference = np.random.default_rng(17).normal(0.02, 0.05, 40)
    wanted = scipy.stats.wilcoxon(difference, method="exact").pvalue
    assert stats.across_tasks(difference).wilcoxon_p == pytest.approx(wanted)


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=12))
def test_holm_by_its_definition(ps: Any) -> None:
    """Adjusted p_k is the largest (number of p >= p_j) p_j over p_j <= p_k. Catches a lost order or a missing
    running maximum, and nan counted as a test."""
    real = sorted(p for p in ps if not math.isnan(p))
    rank = {p: real.index(p) for p in real}  # ties: the first has the largest factor
    for p, adjusted in zip(ps, stats.holm(ps), strict=True):
        if math.isnan(p):
            assert math.isnan(adjusted)
        else:
            steps = [(len(real) - rank[q]) * q for q in real if q <= p]
            assert adjusted == pytest.approx(min(1, max(steps)))


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arrays_are_refused_by_name(name: Any) -> None:
    call, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        call()


def test_no_draws_are_refused() -> None:
    """Catches a nan or an overflow in place of an error."""
    with pytest.raises(ConfigError, match="n=0"):
        stats.expected_maximum(0, 1.0)
