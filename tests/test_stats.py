"""weakstrong.stats against references written another way, and against known truth by simulation.

Shape suffixes as in weakstrong/stats.py.
"""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import ndtri
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from weakstrong import stats
from weakstrong.errors import ConfigError, DataError, UnknownNameError
from weakstrong.stats import pgr_interval

PUBLISHED = {"means": (0.528, 0.5697, 0.7325), "seed_sd": (0.012, 0.0209, 0.0085)}


def experiment(rng, n_seeds, n_test, means, seed_sd):
    """Correctness (3, S, N) whose expected scores are exactly ``means``.

    A row is right where a normal variable (40 % of its variance shared by all arms, 40 % by the seeds of an
    arm, 20 % fresh) lies below a threshold that every seed shifts.
    """
    normal = rng.standard_normal
    shared = np.sqrt(0.4) * (normal((1, 1, n_test)) + normal((3, 1, n_test)))
    hardness = shared + np.sqrt(0.2) * normal((3, n_seeds, n_test))
    score = np.array(means)[:, None] + np.array(seed_sd)[:, None] * normal((3, n_seeds))
    return hardness < ndtri(score)[..., None]


@pytest.fixture
def arms():
    return experiment(np.random.default_rng(3), 5, 300, (0.6, 0.7, 0.85), (0.02, 0.02, 0.02))


def exactly(right, n):
    """One seed, ``right`` of ``n`` rows right."""
    return (np.arange(n) < right)[None]


# ---- the intervals of PGR ----


def test_bootstrap_equals_a_loop_over_resamples_with_the_same_draws(arms):
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
    outward = {"low": ("lower", 0.025), "high": ("higher", 0.975)}
    for end, (method, share) in outward.items():
        assert getattr(found, end) == pytest.approx(np.quantile(ratios, share, method=method), abs=1e-12)
        assert getattr(found.gap, end) == pytest.approx(np.quantile(gaps, share, method=method), abs=1e-12)


def test_chunk_size_changes_no_number(arms, monkeypatch):
    """Catches a result that depends on how much memory is used at once."""
    whole = pgr_interval(*arms)
    monkeypatch.setattr(stats, "_CHUNK", 1)
    assert pgr_interval(*arms) == whole


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("means", [(0.6, 0.75, 0.8), (0.02, 0.05, 0.5)])
def test_one_seed_agrees_with_scipy_paired_bootstrap(method, means):
    """Catches a wrong quantile or bias correction: scipy's own paired bootstrap of rows is the reference."""
    arms = experiment(np.random.default_rng(0), 1, 300, means, (0, 0, 0))

    def ratio(weak, student, ceiling, axis):
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


def test_acceleration_is_that_of_leaving_one_out():
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
    assert stats._acceleration(arms.astype(np.float32), value_K)[4] == pytest.approx(wanted, rel=0.15)


def test_one_seed_score_has_the_binomial_standard_error():
    """Catches a variance off by a factor."""
    n, right = 1263, 720
    found = pgr_interval(exactly(600, n), exactly(right, n), exactly(925, n), resamples=8000)
    error = math.sqrt(right / n * (1 - right / n) / n)
    assert (found.student.high - found.student.low) / 2 == pytest.approx(1.96 * error, rel=0.03)
    fieller = pgr_interval(exactly(600, n), exactly(right, n), exactly(925, n), method="fieller")
    assert (fieller.student.high - fieller.student.low) / 2 == pytest.approx(1.962 * error, rel=0.002)


@pytest.mark.parametrize("method", ["percentile", "fieller"])
def test_seeds_alone_have_their_closed_form(method):
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


def test_fieller_variance_counts_the_row_by_seed_part_once():
    """Catches noise that is fresh in every cell counted with the rows and again with the seeds (factor 1.41):
    only S N independent answers exist. A variance kept from going below 0 makes it a little too large."""
    rng = np.random.default_rng(5)
    widths = []
    for _ in range(40):
        arms = rng.random((3, 20, 200)) < np.array([0.4, 0.6, 0.8])[:, None, None]
        student = pgr_interval(*arms, method="fieller").student
        widths.append((student.high - student.low) / 2 / 1.97)
    assert 0.95 < np.median(widths) / math.sqrt(0.6 * 0.4 / 4000) < 1.2


@pytest.mark.parametrize("method", stats.INTERVAL_METHODS)
def test_coverage_at_the_noise_of_published_runs(method):
    """Catches an interval that is too narrow or too wide for rows and seeds together; truth is known."""
    rng, truth, hits = np.random.default_rng(2), stats.pgr(*PUBLISHED["means"]), []
    for run in range(200):
        found = pgr_interval(*experiment(rng, 5, 400, **PUBLISHED), resamples=400, seed=run, method=method)
        assert found.defined
        hits.append(found.low <= truth <= found.high)
    assert 0.90 <= np.mean(hits) <= 0.99


def test_fieller_covers_where_seeds_rule():
    """Catches the normal quantile in place of Student's for five seeds: coverage then falls below 0.9."""
    rng, means = np.random.default_rng(4), (0.6, 0.7, 0.8)
    hits = []
    for _ in range(200):
        found = pgr_interval(*experiment(rng, 5, 2000, means, (0.02, 0.03, 0.01)), method="fieller")
        hits.append(found.low <= 0.5 <= found.high)
    assert 0.90 <= np.mean(hits) <= 0.99


def test_methods_agree_on_a_large_gap():
    """Catches a wrong root of Fieller's quadratic or a swapped bound."""
    arms = experiment(np.random.default_rng(6), 10, 3000, (0.5, 0.7, 0.95), (0.005, 0.005, 0.005))
    percentile, bca, fieller = (pgr_interval(*arms, method=m, resamples=4000) for m in stats.INTERVAL_METHODS)
    width = percentile.high - percentile.low
    for other in (bca, fieller):
        assert other.low == pytest.approx(percentile.low, abs=0.2 * width)
        assert other.high == pytest.approx(percentile.high, abs=0.2 * width)


@pytest.mark.parametrize("method", stats.INTERVAL_METHODS)
def test_no_gap_is_undefined_and_says_why(method):
    """Catches 0, a clipped or an exploded PGR (-2.2 was seen) where supervisor and ceiling are alike."""
    arms = experiment(np.random.default_rng(7), 5, 500, (0.7, 0.6, 0.705), (0.01, 0.01, 0.01))
    found = pgr_interval(*arms, method=method)
    assert not found.defined
    assert all(map(math.isnan, (found.pgr, found.low, found.high)))
    assert "covers 0" in found.reason
    numbers = [float(x) for x in re.findall(r"-?\d\.\d{4}", found.reason)]
    wanted = (found.ceiling.value, found.supervisor.value, found.gap.value, found.gap.low, found.gap.high)
    assert numbers == pytest.approx(wanted, abs=6e-5)
    assert found.student.low < found.student.value < found.student.high  # the scores are still told


@pytest.mark.parametrize("method", stats.INTERVAL_METHODS)
def test_equal_arms_and_swapped_arms_are_undefined(method):
    """Catches division by a gap of exactly 0, and a plausible PGR from a ceiling below its supervisor."""
    low, high = exactly(120, 200), exactly(180, 200)
    same = pgr_interval(low, high, low, method=method)
    assert (same.defined, same.gap.value, "covers 0" in same.reason) == (False, 0.0, True)
    swapped = pgr_interval(high, exactly(150, 200), low, method=method)
    assert math.isnan(swapped.pgr)
    assert swapped.gap.high < 0
    assert "ceiling is below the supervisor" in swapped.reason


@pytest.mark.parametrize("method", stats.INTERVAL_METHODS)
@pytest.mark.parametrize(("student", "wanted"), [(100, -0.25), (190, 1.25 - 0.125)])
def test_pgr_outside_0_1_is_reported_as_it_is(method, student, wanted):
    """Catches clipping to [0, 1]."""
    found = pgr_interval(exactly(110, 200), exactly(student, 200), exactly(180, 200), method=method)
    assert found.pgr == pytest.approx((student - 110) / 70)
    assert found.low < found.pgr < found.high
    assert (found.low < 0) if wanted < 0 else (found.high > 1)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_defined_means_finite_and_undefined_means_nan(data):
    """Catches infinite or nan bounds of a defined PGR near a vanishing gap, and warnings."""
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(2, 12)))
    arms = data.draw(hnp.arrays(bool, (3, *shape)))
    for method in stats.INTERVAL_METHODS:
        found = pgr_interval(*arms, method=method, resamples=100)
        numbers = (found.pgr, found.low, found.high)
        assert found.defined == (found.reason == "")
        assert all(map(math.isfinite if found.defined else math.isnan, numbers))
        assert found.defined == (found.gap.low > 0) or "unbounded" in found.reason
        if method == "percentile":
            assert "unbounded" not in found.reason  # bounds are rounded outwards to make this so


def test_resamples_without_a_gap_count_as_infinite_pgr():
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


def test_fieller_never_has_fewer_degrees_of_freedom_than_seeds_give():
    """Catches a t quantile that explodes (it overflowed) where seeds vary by their row-by-seed part only."""
    weak, student, ceiling = np.ones((3, 3, 11))
    weak[2, 0] = student[0, 0] = 0
    gap = pgr_interval(weak, student, ceiling, method="fieller").gap
    assert gap.high - gap.value <= scipy.stats.t.ppf(0.975, 2) * math.sqrt(2) / 33 * 1.1


def test_few_seeds_are_noted():
    """Catches an interval over rows alone that passes for one over seeds."""
    arms = experiment(np.random.default_rng(8), 5, 300, (0.6, 0.7, 0.85), (0, 0, 0))
    assert pgr_interval(*arms).note == ""
    assert "only test rows" in pgr_interval(*arms[:, :1]).note
    assert pgr_interval(*arms[:, :3]).note.startswith("3 seeds")


def test_order_of_rows_and_seeds_and_dtype_do_not_matter(arms):
    """Catches an order that matters (Fieller is exact: it must not move when all arms are permuted together)
    and pairing that is ignored (it must widen when one arm is permuted alone)."""
    rng = np.random.default_rng(9)
    rows, seeds = rng.permutation(300), rng.permutation(5)
    kept = pgr_interval(*arms, method="fieller")
    moved = pgr_interval(*arms[:, seeds][:, :, rows].astype(np.float16), method="fieller")
    assert (moved.low, moved.high) == pytest.approx((kept.low, kept.high), abs=1e-9)
    weak, student, ceiling = experiment(rng, 5, 3000, (0.6, 0.7, 0.8), (0, 0, 0))
    paired = pgr_interval(weak, student, ceiling, method="fieller").gap
    apart = pgr_interval(weak, student, ceiling[:, rng.permutation(3000)], method="fieller").gap
    assert apart.high - apart.low > 1.15 * (paired.high - paired.low)


def test_a_hundred_thousand_rows_need_little_memory_and_time():
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


# ---- PGR as a number, aggregates, numbers of published runs ----


@given(st.tuples(*[st.integers(0, 100)] * 3), st.integers(1, 10), st.integers(0, 100))
def test_pgr_does_not_change_with_scale_and_shift(scores, divisor, shift):
    """Catches a term of the ratio taken against the wrong arm."""
    weak, student, ceiling = scores
    found = stats.pgr(*(x / 100 for x in scores))
    moved = stats.pgr(*((x / divisor + shift) / 200 for x in scores))
    if weak == ceiling:
        assert math.isnan(found)
    else:
        assert found == pytest.approx((student - weak) / (ceiling - weak), abs=1e-9)
        assert moved == pytest.approx(found, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 70.2])
@pytest.mark.parametrize("arm", [0, 1, 2])
def test_pgr_refuses_what_is_not_a_share(bad, arm):
    scores = [0.5, 0.6, 0.7]
    scores[arm] = bad
    with pytest.raises(DataError, match=("supervisor", "student", "ceiling")[arm]):
        stats.pgr(*scores)


def test_numbers_of_published_runs():
    """Catches a change of definition. Naive PGR 0.204 on a gap of 0.2045 with 1,263 rows: the student's
    test rows give a standard error of 0.068 PGR, and the best of 16 seeds adds 1.77 s.d. = 0.18."""
    n = 1263
    found = pgr_interval(exactly(667, n), exactly(720, n), exactly(925, n), method="fieller")
    assert found.pgr == pytest.approx(0.204, abs=0.002)
    assert found.gap.value == pytest.approx(0.2045, abs=0.0005)
    error = (found.student.high - found.student.low) / 2 / 1.962 / found.gap.value
    assert error == pytest.approx(0.068, abs=0.0005)
    assert stats.expected_maximum(16, 0.102) == pytest.approx(0.18, abs=0.001)


@pytest.mark.parametrize(
    ("n", "wanted"), [(1, 0), (2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi))]
)
def test_expected_maximum_has_its_closed_forms(n, wanted):
    assert stats.expected_maximum(n, 1) == pytest.approx(wanted, abs=1e-9)
    assert stats.expected_maximum(n, 0.3) == pytest.approx(0.3 * wanted, abs=1e-9)


def test_expected_maximum_of_many():
    """Catches a grid too coarse or too short: order statistics of 16 and 1,000 normals are tabulated."""
    assert stats.expected_maximum(16, 1) == pytest.approx(1.76599, abs=1e-5)
    assert stats.expected_maximum(1000, 1) == pytest.approx(3.24144, abs=1e-5)


def test_aggregates_are_not_ruled_by_one_tiny_gap():
    """Catches the mean of ratios, here 5.25, and an undefined task dropped without a count."""
    weak, student, ceiling = [0.6, 0.6], [0.7, 0.7], [0.8, 0.61]
    assert stats.ratio_of_summed_gaps(weak, student, ceiling) == pytest.approx(0.2 / 0.21)
    assert math.isnan(stats.ratio_of_summed_gaps([0.5, 0.5], [0.6, 0.6], [0.25, 0.75]))
    assert stats.median_over_tasks([math.nan, 0.1, 0.9, 0.3, math.nan]) == stats.TaskMedian(0.3, 3, 2)
    assert math.isnan(stats.median_over_tasks([math.nan]).median)


# ---- tests of a difference ----


def test_permutation_p_is_the_share_of_all_sign_patterns():
    """Catches flips of single answers in place of rows, a one-sided p, and a lost weight of rows that differ
    in several seeds: every one of the 2^12 flips is counted here."""
    rng = np.random.default_rng(12)
    a, b = rng.random((3, 12)) < 0.7, rng.random((3, 12)) < 0.55
    row_N = a.sum(0) - b.sum(0)
    flips = np.array(list(itertools.product([-1, 1], repeat=12))) @ row_N
    exact = np.mean(np.abs(flips) >= abs(row_N.sum()))
    found = stats.paired_permutation(a, b, resamples=40_000)
    assert 0.01 < exact < 0.6
    assert found.p == pytest.approx(exact, abs=4 * math.sqrt(exact / 40_000))
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert stats.paired_permutation(b, a, resamples=40_000).p == found.p


def test_permutation_with_one_seed_is_mcnemar():
    rng = np.random.default_rng(13)
    a, b = rng.random((1, 400)) < 0.66, rng.random((1, 400)) < 0.6
    found = stats.paired_permutation(a, b, resamples=50_000)
    assert found.p == pytest.approx(stats.mcnemar_exact(a[0], b[0]), abs=0.01)


def test_rows_without_a_difference_do_not_matter():
    rng = np.random.default_rng(14)
    a, b = rng.random((2, 60)) < 0.7, rng.random((2, 60)) < 0.5
    more = np.ones((2, 500))
    longer = stats.paired_permutation(np.hstack([a, more]), np.hstack([b, more]))
    assert longer.p == stats.paired_permutation(a, b).p
    assert stats.paired_permutation(a, a) == stats.PairedTest(0.0, 0.0, 0.0, 1.0, 2, 60)


def test_permutation_p_is_uniform_without_a_difference():
    """Catches a test that finds too much: under the null at most about one in ten p-values is below 0.1."""
    rng = np.random.default_rng(15)
    ps = []
    for seed in range(300):
        hard = rng.random(80)
        a, b = rng.random((2, 3, 80)) < hard
        ps.append(stats.paired_permutation(a, b, resamples=400, interval_resamples=100, seed=seed).p)
    assert 0.04 < np.mean(np.array(ps) <= 0.1) < 0.16


def test_paired_interval_has_the_closed_form_error():
    rng = np.random.default_rng(16)
    a, b = rng.random((1, 2000)) < 0.7, rng.random((1, 2000)) < 0.6
    found = stats.paired_permutation(a, b, interval_resamples=8000)
    error = (a[0] * 1.0 - b[0]).std() / math.sqrt(2000)
    assert found.low == pytest.approx(found.difference - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(found.difference + 1.96 * error, abs=0.1 * error)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 5))
def test_mcnemar_is_the_binomial_test_of_rows_that_differ(only_a, only_b, both):
    a = np.repeat([1, 0, 1], [only_a, only_b, both + 1])
    b = np.repeat([0, 1, 1], [only_a, only_b, both + 1])
    n = only_a + only_b
    wanted = scipy.stats.binomtest(only_a, n).pvalue if n else 1.0
    assert stats.mcnemar_exact(a, b) == pytest.approx(wanted, rel=1e-9)


@given(st.lists(st.integers(-8, 8), min_size=1, max_size=10))
def test_wilcoxon_is_exact_with_ties_and_zeros(tenths):
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


def test_wilcoxon_agrees_with_scipy_without_ties():
    difference = np.random.default_rng(17).normal(0.02, 0.05, 40)
    wanted = scipy.stats.wilcoxon(difference, method="exact").pvalue
    assert stats.across_tasks(difference).wilcoxon_p == pytest.approx(wanted)


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=12))
def test_holm_by_its_definition(ps):
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


# ---- calibration and agreement ----


def test_calibration_against_sklearn():
    """Catches bins closed on the wrong side, a mean over bins in place of rows, and a lost factor."""
    rng = np.random.default_rng(18)
    positive = np.round(rng.random(3000), 2)  # two decimals: many fall on an edge of 10 bins
    truth = (rng.random(3000) < positive**2).astype(int)
    probs_NC = np.stack([1 - positive, positive], 1)
    assert stats.brier(probs_NC, truth) == pytest.approx(2 * brier_score_loss(truth, positive))
    confidence, right = probs_NC.max(1), probs_NC.argmax(1) == truth
    table = stats.reliability(probs_NC, truth, bins=10)
    accuracy_B, confidence_B = calibration_curve(right, confidence, n_bins=10)
    full = table.count > 0
    assert table.accuracy[full] == pytest.approx(accuracy_B)
    assert table.confidence[full] == pytest.approx(confidence_B)
    assert np.isnan(table.accuracy[~full]).all()
    assert table.count.sum() == 3000
    wanted = sum(abs(accuracy_B - confidence_B) * table.count[full]) / 3000
    assert stats.expected_calibration_error(probs_NC, truth, bins=10) == pytest.approx(wanted)


def test_perfect_and_worst_probabilities():
    sure = np.eye(3)[[0, 1, 2, 0]]
    assert stats.expected_calibration_error(sure, [0, 1, 2, 0]) == stats.brier(sure, [0, 1, 2, 0]) == 0
    assert stats.expected_calibration_error(sure, [1, 2, 0, 1]) == 1
    assert stats.brier(sure, [1, 2, 0, 1]) == 2


def test_agreement_where_the_supervisor_is_wrong():
    truth, weak, student = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 1, 0]), np.array([0, 1, 1, 1, 1])
    assert stats.agreement(student, weak) == 0.6
    assert stats.agreement_given(student, weak, weak == truth) == 1
    assert stats.agreement_given(student, weak, weak != truth) == pytest.approx(1 / 3)
    assert math.isnan(stats.agreement_given(student, weak, np.zeros(5, bool)))
    assert stats.accuracy([" Qxc1+", " Nf3"], [" Qxc1+", " Nf6"]) == 0.5


# ---- what is refused ----

SN, PROBS = np.ones((2, 5)), np.full((3, 2), 0.5)
REFUSED = {
    "other rows": (lambda: pgr_interval(SN, SN, SN[:, :4]), r"ceiling \(2, 4\)"),
    "other seeds": (lambda: stats.paired_permutation(SN, SN[:1]), r"\(2, 5\), b \(1, 5\)"),
    "no seed axis": (lambda: pgr_interval(SN[0], SN, SN), r"supervisor.*array\[None"),
    "one row": (lambda: pgr_interval(SN[:, :1], SN[:, :1], SN[:, :1]), "at least 2"),
    "empty": (lambda: pgr_interval(SN[:, :0], SN[:, :0], SN[:, :0]), "not empty"),
    "probabilities as correctness": (
        lambda: pgr_interval(SN, SN * 0.7, SN),
        r"student: found 0.7 at \(0, 0\)",
    ),
    "nan as correctness": (lambda: stats.mcnemar_exact([1, math.nan], [1, 0]), r"a: found nan at \(1,\)"),
    "text as correctness": (lambda: stats.mcnemar_exact(["1"], [1]), "bool or 0/1"),
    "ragged": (lambda: pgr_interval([[1], [1, 0]], SN, SN), "equal rows"),
    "probabilities as labels": (lambda: stats.accuracy([0.2, 0.9], [0, 1]), "predicted.*not probabilities"),
    "text against numbers": (lambda: stats.accuracy(["1", "0"], [1, 0]), "one type"),
    "other length": (lambda: stats.agreement([1, 0], [1]), r"\(2,\), b \(1,\)"),
    "where as numbers": (lambda: stats.agreement_given([1, 0], [1, 1], [0, 1]), "wanted bool"),
    "logits": (lambda: stats.brier([[2.0, -1.0]], [0]), "row 0.*logits"),
    "nan as probability": (lambda: stats.brier([[math.nan, 1.0]], [0]), "row 0"),
    "label past the classes": (lambda: stats.expected_calibration_error(PROBS, [0, 1, 2]), "wanted 0 to 1"),
    "label below 0": (lambda: stats.brier(PROBS, [0, 1, -1]), "from -1"),
    "nan as difference": (lambda: stats.across_tasks([0.1, math.nan]), "finite"),
    "p above 1": (lambda: stats.holm([0.1, 1.2]), "1.2"),
    "infinite PGR": (lambda: stats.median_over_tasks([0.1, math.inf]), "inf"),
    "other tasks": (lambda: stats.ratio_of_summed_gaps([0.5], [0.5, 0.6], [0.7]), "student"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arrays_are_refused_by_name(name):
    call, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        call()


@pytest.mark.parametrize(
    "options", [{"level": 95}, {"level": 0.0}, {"resamples": 99}, {"seed": -1}, {"level": math.nan}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        pgr_interval(SN, SN, SN, **options)


def test_unknown_method_suggests_the_right_one():
    with pytest.raises(UnknownNameError, match="percentile"):
        pgr_interval(SN, SN, SN, method="percentiles")
    with pytest.raises(ConfigError, match="n=0"):
        stats.expected_maximum(0, 1.0)
    with pytest.raises(ConfigError, match="bins"):
        stats.reliability(PROBS, [0, 1, 0], bins=0)


def test_import_is_light():
    """Catches a top-level import of torch or scipy.stats, which costs every command of the command line."""
    code = (
        "import sys, weakstrong.stats; print([m for m in ('torch', 'scipy', 'sklearn') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
