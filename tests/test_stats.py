"""weakstrong.stats against references written another way, and against known truth by simulation.

Shape suffixes as in weakstrong/stats.py.
"""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakstrong import stats
from weakstrong.errors import ConfigError, DataError, UnknownNameError
from weakstrong.stats import pgr_interval

PUBLISHED = {"means": (0.528, 0.5697, 0.7325), "seed_sd": (0.012, 0.0209, 0.0085)}


def exactly(right: Any, n: Any) -> Any:
    """One seed, ``right`` of ``n`` rows right."""
    return (np.arange(n) < right)[None]


# ---- the intervals of PGR ----


def test_one_seed_score_has_the_binomial_standard_error() -> None:
    """Catches a variance off by a factor."""
    n, right = 1263, 720
    found = pgr_interval(exactly(600, n), exactly(right, n), exactly(925, n), resamples=8000)
    error = math.sqrt(right / n * (1 - right / n) / n)
    assert (found.student.high - found.student.low) / 2 == pytest.approx(1.96 * error, rel=0.03)
    fieller = pgr_interval(exactly(600, n), exactly(right, n), exactly(925, n), method="fieller")
    assert (fieller.student.high - fieller.student.low) / 2 == pytest.approx(1.962 * error, rel=0.002)


@pytest.mark.parametrize("method", stats.INTERVAL_METHODS)
def test_coverage_at_the_noise_of_published_runs(experiment: Any, method: Any) -> None:
    """Catches an interval that is too narrow or too wide for rows and seeds together; truth is known."""
    rng, truth, hits = np.random.default_rng(2), stats.pgr(*PUBLISHED["means"]), []
    for run in range(200):
        found = pgr_interval(*experiment(rng, 5, 400, **PUBLISHED), resamples=400, seed=run, method=method)
        assert found.defined
        hits.append(found.low <= truth <= found.high)
    assert 0.90 <= np.mean(hits) <= 0.99


def test_fieller_covers_where_seeds_rule(experiment: Any) -> None:
    """Catches the normal quantile in place of Student's for five seeds: coverage then falls below 0.9."""
    rng, means = np.random.default_rng(4), (0.6, 0.7, 0.8)
    hits = []
    for _ in range(200):
        found = pgr_interval(*experiment(rng, 5, 2000, means, (0.02, 0.03, 0.01)), method="fieller")
        hits.append(found.low <= 0.5 <= found.high)
    assert 0.90 <= np.mean(hits) <= 0.99


def test_methods_agree_on_a_large_gap(experiment: Any) -> None:
    """Catches a wrong root of Fieller's quadratic or a swapped bound."""
    arms = experiment(np.random.default_rng(6), 10, 3000, (0.5, 0.7, 0.95), (0.005, 0.005, 0.005))
    percentile, bca, fieller = (pgr_interval(*arms, method=m, resamples=4000) for m in stats.INTERVAL_METHODS)
    width = percentile.high - percentile.low
    for other in (bca, fieller):
        assert other.low == pytest.approx(percentile.low, abs=0.2 * width)
        assert other.high == pytest.approx(percentile.high, abs=0.2 * width)


@pytest.mark.parametrize("method", stats.INTERVAL_METHODS)
def test_no_gap_is_undefined_and_says_why(experiment: Any, method: Any) -> None:
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
def test_equal_arms_and_swapped_arms_are_undefined(method: Any) -> None:
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
def test_pgr_outside_0_1_is_reported_as_it_is(method: Any, student: Any, wanted: Any) -> None:
    """Catches clipping to [0, 1]."""
    found = pgr_interval(exactly(110, 200), exactly(student, 200), exactly(180, 200), method=method)
    assert found.pgr == pytest.approx((student - 110) / 70)
    assert found.low < found.pgr < found.high
    assert (found.low < 0) if wanted < 0 else (found.high > 1)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_defined_means_finite_and_undefined_means_nan(data: Any) -> None:
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


def test_few_seeds_are_noted(experiment: Any) -> None:
    """Catches an interval over rows alone that passes for one over seeds."""
    arms = experiment(np.random.default_rng(8), 5, 300, (0.6, 0.7, 0.85), (0, 0, 0))
    assert pgr_interval(*arms).note == ""
    assert "only test rows" in pgr_interval(*arms[:, :1]).note
    assert pgr_interval(*arms[:, :3]).note.startswith("3 seeds")


def test_order_of_rows_and_seeds_and_dtype_do_not_matter(experiment: Any, arms: Any) -> None:
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


# ---- PGR as a number, numbers of published runs ----


@given(st.tuples(*[st.integers(0, 100)] * 3), st.integers(1, 10), st.integers(0, 100))
def test_pgr_does_not_change_with_scale_and_shift(scores: Any, divisor: Any, shift: Any) -> None:
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
def test_pgr_refuses_what_is_not_a_share(bad: Any, arm: Any) -> None:
    scores = [0.5, 0.6, 0.7]
    scores[arm] = bad
    with pytest.raises(DataError, match=("supervisor", "student", "ceiling")[arm]):
        stats.pgr(*scores)


def test_numbers_of_published_runs() -> None:
    """Catches a change of definition. Naive PGR 0.204 on a gap of 0.2045 with 1,263 rows: the student's
    test rows give a standard error of 0.068 PGR, and the best of 16 seeds adds 1.77 s.d. = 0.18."""
    n = 1263
    found = pgr_interval(exactly(667, n), exactly(720, n), exactly(925, n), method="fieller")
    assert found.pgr == pytest.approx(0.204, abs=0.002)
    assert found.gap.value == pytest.approx(0.2045, abs=0.0005)
    error = (found.student.high - found.student.low) / 2 / 1.962 / found.gap.value
    assert error == pytest.approx(0.068, abs=0.0005)
    assert stats.expected_maximum(16, 0.102) == pytest.approx(0.18, abs=0.001)


# ---- tests of a difference, agreement ----


def test_permutation_p_is_the_share_of_all_sign_patterns() -> None:
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


def test_permutation_with_one_seed_is_mcnemar() -> None:
    rng = np.random.default_rng(13)
    a, b = rng.random((1, 400)) < 0.66, rng.random((1, 400)) < 0.6
    found = stats.paired_permutation(a, b, resamples=50_000)
    assert found.p == pytest.approx(stats.mcnemar_exact(a[0], b[0]), abs=0.01)


def test_rows_without_a_difference_do_not_matter() -> None:
    rng = np.random.default_rng(14)
    a, b = rng.random((2, 60)) < 0.7, rng.random((2, 60)) < 0.5
    more = np.ones((2, 500))
    longer = stats.paired_permutation(np.hstack([a, more]), np.hstack([b, more]))
    assert longer.p == stats.paired_permutation(a, b).p
    assert stats.paired_permutation(a, a) == stats.PairedTest(0.0, 0.0, 0.0, 1.0, 2, 60)


def test_permutation_p_is_uniform_without_a_difference() -> None:
    """Catches a test that finds too much: under the null at most about one in ten p-values is below 0.1."""
    rng = np.random.default_rng(15)
    ps = []
    for seed in range(300):
        hard = rng.random(80)
        a, b = rng.random((2, 3, 80)) < hard
        ps.append(stats.paired_permutation(a, b, resamples=400, interval_resamples=100, seed=seed).p)
    assert 0.04 < np.mean(np.array(ps) <= 0.1) < 0.16


def test_paired_interval_has_the_closed_form_error() -> None:
    rng = np.random.default_rng(16)
    a, b = rng.random((1, 2000)) < 0.7, rng.random((1, 2000)) < 0.6
    found = stats.paired_permutation(a, b, interval_resamples=8000)
    error = (a[0] * 1.0 - b[0]).std() / math.sqrt(2000)
    assert found.low == pytest.approx(found.difference - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(found.difference + 1.96 * error, abs=0.1 * error)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 5))
def test_mcnemar_is_the_binomial_test_of_rows_that_differ(only_a: Any, only_b: Any, both: Any) -> None:
    a = np.repeat([1, 0, 1], [only_a, only_b, both + 1])
    b = np.repeat([0, 1, 1], [only_a, only_b, both + 1])
    n = only_a + only_b
    wanted = scipy.stats.binomtest(only_a, n).pvalue if n else 1.0
    assert stats.mcnemar_exact(a, b) == pytest.approx(wanted, rel=1e-9)


def test_agreement_where_the_supervisor_is_wrong() -> None:
    truth, weak, student = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 1, 0]), np.array([0, 1, 1, 1, 1])
    assert stats.agreement(student, weak) == 0.6
    assert stats.agreement_given(student, weak, weak == truth) == 1
    assert stats.agreement_given(student, weak, weak != truth) == pytest.approx(1 / 3)
    assert math.isnan(stats.agreement_given(student, weak, np.zeros(5, bool)))
    assert stats.accuracy([" Qxc1+", " Nf3"], [" Qxc1+", " Nf6"]) == 0.5


# ---- what is refused ----

SN = np.ones((2, 5))
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
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
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arrays_are_refused_by_name(name: Any) -> None:
    call, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        call()


@pytest.mark.parametrize(
    "options", [{"level": 95}, {"level": 0.0}, {"resamples": 99}, {"seed": -1}, {"level": math.nan}]
)
def test_bad_options_are_refused(options: Any) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        pgr_interval(SN, SN, SN, **options)


def test_unknown_method_suggests_the_right_one() -> None:
    with pytest.raises(UnknownNameError, match="percentile"):
        pgr_interval(SN, SN, SN, method="percentiles")


def test_import_is_light() -> None:
    """Catches a top-level import of torch or scipy.stats, which costs every command of the command line."""
    code = (
        "import sys, weakstrong.stats; print([m for m in ('torch', 'scipy', 'sklearn') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
