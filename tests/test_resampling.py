"""The intervals behind weakstrong.stats against references written another way.

Shape suffixes as in weakstrong/resampling.py.
"""

from __future__ import annotations

import math
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.stats

from weakstrong import resampling, stats
from weakstrong.stats import pgr_interval


def test_bootstrap_equals_a_loop_over_resamples_with_the_same_draws(arms: Any) -> None:
    """Catches other rows or seeds for another arm, and a chunk that loses or repeats draws."""
    resamples = 400  # more than one chunk
    seed_rng, row_rng = np.random.default_rng(11).spawn(2)
    n_seeds, n_test = arms.shape[1:]
    seeds_RS = seed_rng.integers(0, n_seeds, (resamples, n_seeds))
    ratios, gaps = [], []
    for r in range(resamples):
        rows = row_rng.integers(0, n_test, n_test)
        weak, student, ceiling = (arm[seeds_RS[r]][:, rows].mean() for arm in arms)
        ratios.append((student - weak) / (ceiling - weak))
        gaps.append(ceiling - weak)
    found = pgr_interval(*arms, resamples=resamples, seed=11)
    outward: dict[str, tuple[Any, float]] = {"low": ("lower", 0.025), "high": ("higher", 0.975)}
    for end, (method, share) in outward.items():
        assert getattr(found, end) == pytest.approx(np.quantile(ratios, share, method=method), abs=1e-12)
        assert getattr(found.gap, end) == pytest.approx(np.quantile(gaps, share, method=method), abs=1e-12)


def test_chunk_size_changes_no_number(arms: Any, monkeypatch: Any) -> None:
    """Catches a result that depends on how much memory is used at once."""
    whole = pgr_interval(*arms)
    monkeypatch.setattr(resampling, "CHUNK", 1)
    assert pgr_interval(*arms) == whole


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("means", [(0.6, 0.75, 0.8), (0.02, 0.05, 0.5)])
def test_one_seed_agrees_with_scipy_paired_bootstrap(experiment: Any, method: Any, means: Any) -> None:
    """Catches a wrong quantile or bias correction: scipy's own paired bootstrap of rows is the reference."""
    arms = experiment(np.random.default_rng(0), 1, 300, means, (0, 0, 0))

    def ratio(weak: Any, student: Any, ceiling: Any, axis: Any) -> Any:
        return (student.mean(axis) - weak.mean(axis)) / (ceiling.mean(axis) - weak.mean(axis))

    reference = scipy.stats.bootstrap(
        tuple(arms[:, 0].astype(float)),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=10_000,
        batch=500,
        method=method,
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = pgr_interval(*arms, resamples=10_000, method=method)
    width = reference.high - reference.low
    assert found.low == pytest.approx(reference.low, abs=0.04 * width)
    assert found.high == pytest.approx(reference.high, abs=0.04 * width)


def test_acceleration_is_that_of_leaving_one_out(experiment: Any) -> None:
    """Catches a lost sign, rows without seeds, or a wrong slope of PGR: a true jackknife is the reference."""
    arms = experiment(np.random.default_rng(1), 12, 200, (0.05, 0.15, 0.5), (0.01, 0.03, 0.03))
    arms[1, 0] |= arms[2, 0]  # one seed far better than the others: skew
    cubes = squares = 0.0
    for axis in (1, 2):
        n = arms.shape[axis]
        left = np.array([stats.pgr(*np.delete(arms, i, axis).mean((1, 2))) for i in range(n)])
        influence = (left.mean() - left) * (n - 1) / n
        cubes, squares = cubes + (influence**3).sum(), squares + (influence**2).sum()
    wanted = cubes / 6 / squares**1.5
    means = arms.mean((1, 2))
    value_K = np.array([*means, means[2] - means[0], stats.pgr(*means)])
    assert abs(wanted) > 0.01
    assert resampling.acceleration(arms.astype(np.float32), value_K)[4] == pytest.approx(wanted, rel=0.15)


@pytest.mark.parametrize("method", ["percentile", "fieller"])
def test_seeds_alone_have_their_closed_form(method: Any) -> None:
    """Catches seeds left out: each seed is all right or all wrong on equal rows, so only seeds vary."""
    right_S = np.array([0] * 6 + [1] * 14)
    student = np.repeat(right_S[:, None], 50, 1)
    weak, ceiling = np.zeros_like(student), np.ones_like(student)
    found = pgr_interval(weak, student, ceiling, method=method, resamples=8000)
    spread = right_S.std(ddof=0) / math.sqrt(20) * 1.96  # the bootstrap divides by S, Student by S - 1
    if method == "fieller":
        spread = right_S.std(ddof=1) / math.sqrt(20) * scipy.stats.t.ppf(0.975, 19)
    assert (found.high - found.low) / 2 == pytest.approx(
        spread, abs=0.026 if method == "percentile" else 1e-9
    )
    assert found.pgr == 0.7


def test_fieller_variance_counts_the_row_by_seed_part_once() -> None:
    """Catches noise that is fresh in every cell counted with the rows and again with the seeds (factor 1.41):
    only S N independent answers exist. A variance kept from going below 0 makes it a little too large."""
    rng = np.random.default_rng(5)
    widths = []
    for _ in range(40):
        arms = rng.random((3, 20, 200)) < np.array([0.4, 0.6, 0.8])[:, None, None]
        student = pgr_interval(*arms, method="fieller").student
        widths.append((student.high - student.low) / 2 / 1.97)
    assert 0.95 < np.median(widths) / math.sqrt(0.6 * 0.4 / 4000) < 1.2


def test_resamples_without_a_gap_count_as_infinite_pgr() -> None:
    """Catches resamples with a gap of 0 that are dropped or land at the low end: here 1.5 % have none,
    and PGR of a student above its supervisor then lies beyond every bound."""
    n, resamples = 40, 2000
    weak, ceiling, student = np.arange(n) >= 12, np.arange(n) >= 8, np.ones(n, bool)
    rows = np.random.default_rng(0).spawn(2)[1].integers(0, n, (resamples, n))
    gain, gap = (x[rows].sum(1) - weak[rows].sum(1) for x in (student, ceiling))
    ratio = np.sort(np.where(gap > 0, gain / np.maximum(gap, 1), np.inf))
    assert 10 < np.isinf(ratio).sum() < 49
    found = pgr_interval(weak[None], student[None], ceiling[None])
    assert (found.low, found.high) == pytest.approx((ratio[49], ratio[-50]))


def test_fieller_never_has_fewer_degrees_of_freedom_than_seeds_give() -> None:
    """Catches a t quantile that explodes (it overflowed) where seeds vary by their row-by-seed part only."""
    weak, student, ceiling = np.ones((3, 3, 11))
    weak[2, 0] = student[0, 0] = 0
    gap = pgr_interval(weak, student, ceiling, method="fieller").gap
    assert gap.high - gap.value <= scipy.stats.t.ppf(0.975, 2) * math.sqrt(2) / 33 * 1.1


def test_a_hundred_thousand_rows_need_little_memory_and_time() -> None:
    """Catches a counts matrix of resamples x rows held whole (1.6 GB here)."""
    arms = np.random.default_rng(0).random((3, 2, 100_000)) < np.array([0.6, 0.7, 0.8])[:, None, None]
    start = time.perf_counter()
    assert pgr_interval(*arms, resamples=500).defined
    assert time.perf_counter() - start < 10  # 0.3 s on an idle core
    tracemalloc.start()
    pgr_interval(*arms, resamples=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
