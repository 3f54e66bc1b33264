"""Scores, the performance gap recovered (PGR), and how far to trust them.

Nothing here trains, reads files or plots: predictions or correctness come in, numbers go out.

Shape suffixes: A arms (supervisor, student, ceiling), S seeds, N test rows, R resamples, K statistics.
Correctness is bool or 0/1: is this seed's prediction right on this row?
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from weakstrong.across_tasks import (
    AcrossTasks,
    TaskMedian,
    across_tasks,
    expected_maximum,
    holm,
    median_over_tasks,
    ratio_of_summed_gaps,
    sign_test_p,
)
from weakstrong.calibration import Reliability, brier, expected_calibration_error, reliability
from weakstrong.errors import DataError
from weakstrong.intervals import Interval, function_intervals, ratio_interval
from weakstrong.registry import unknown
from weakstrong.resampling import (
    Floats,
    acceleration,
    as_array,
    bounds,
    check_options,
    check_same_shape,
    checked_correct,
    crossed_bootstrap,
    fieller,
    score_and_pgr,
    stack_correct,
)

__all__ = [
    "INTERVAL_METHODS",
    "SEEDS_WANTED",
    "AcrossTasks",
    "Floats",
    "Interval",
    "PGREstimate",
    "PairedTest",
    "Reliability",
    "TaskMedian",
    "accuracy",
    "across_tasks",
    "agreement",
    "agreement_given",
    "brier",
    "expected_calibration_error",
    "expected_maximum",
    "function_intervals",
    "holm",
    "mcnemar_exact",
    "median_over_tasks",
    "paired_permutation",
    "pgr",
    "pgr_interval",
    "ratio_interval",
    "ratio_of_summed_gaps",
    "reliability",
    "wilson",
]

INTERVAL_METHODS: Final = ("percentile", "bca", "fieller")
SEEDS_WANTED: Final = 5


@dataclass(frozen=True)
class PGREstimate:
    """What `pgr_interval` found. ``pgr``, ``low`` and ``high`` are nan where ``defined`` is False."""

    pgr: float
    low: float
    high: float
    defined: bool
    reason: str  # why PGR is not defined, with the numbers; "" when it is
    note: str  # what weakens a defined interval (few seeds); "" when nothing does
    supervisor: Interval
    student: Interval
    ceiling: Interval
    gap: Interval  # ceiling minus supervisor
    n_seeds: int
    n_test: int
    level: float
    method: str


@dataclass(frozen=True)
class PairedTest:
    """What `paired_permutation` found; ``difference`` is mean(a) - mean(b), in accuracy."""

    difference: float
    low: float
    high: float
    p: float
    n_seeds: int
    n_test: int


def accuracy(predicted_N: npt.ArrayLike, truth_N: npt.ArrayLike) -> float:
    """Share of rows predicted right, in [0, 1]. Labels are integers, or strings such as chess moves.

    >>> accuracy([0, 1, 1, 0], [0, 1, 0, 0])
    0.75

    Raises:
        DataError: for no rows, unequal lengths, or labels that are neither integers nor strings.
    """
    return float(np.mean(_equal(predicted=predicted_N, truth=truth_N)))


def wilson(right: int, rows: int) -> Interval:
    """An accuracy with its 95 % interval after Wilson (1927), which stays within [0, 1] and needs no seeds.

    >>> found = wilson(9, 10)
    >>> round(found.low, 3), found.value, round(found.high, 3)
    (0.596, 0.9, 0.982)
    """
    from scipy.stats import binomtest

    interval = binomtest(right, rows).proportion_ci(method="wilson")
    return Interval(right / rows, float(interval.low), float(interval.high))


def agreement(a_N: npt.ArrayLike, b_N: npt.ArrayLike) -> float:
    """Share of rows on which two predictors say the same (paper §5.1.3), in [0, 1]; raises as `accuracy`."""
    return float(np.mean(_equal(a=a_N, b=b_N)))


def agreement_given(a_N: npt.ArrayLike, b_N: npt.ArrayLike, where_N: npt.ArrayLike) -> float:
    """`agreement` on the rows where ``where_N`` (bool) holds, e.g. the supervisor is wrong; nan for no rows.

    >>> agreement_given([0, 1, 1], [0, 1, 0], [True, False, True])
    0.5
    """
    equal_N, chosen_N = _equal(a=a_N, b=b_N), np.asarray(where_N)
    if chosen_N.dtype != np.bool_ or chosen_N.shape != equal_N.shape:
        found = f"{chosen_N.dtype} of shape {chosen_N.shape}"
        raise DataError(f"where: found {found}, wanted bool of shape {equal_N.shape}")
    return float(equal_N[chosen_N].mean()) if chosen_N.any() else math.nan


def pgr(supervisor: float, student: float, ceiling: float) -> float:
    """Performance gap recovered: (student - supervisor) / (ceiling - supervisor) (paper §3).

    Scores are shares in [0, 1]. The result is not clipped; it is nan where the gap is exactly 0. Use
    `pgr_interval` for anything that is reported: a small gap makes this ratio meaningless.

    >>> round(pgr(0.5280, 0.5697, 0.7325), 3)
    0.204

    Raises:
        DataError: for a score that is not finite or outside [0, 1].
    """
    for arm, score in (("supervisor", supervisor), ("student", student), ("ceiling", ceiling)):
        if not 0 <= score <= 1:  # nan fails too
            raise DataError(f"PGR: the {arm}'s score is {score}; wanted a share in [0, 1], not per cent")
    gap = ceiling - supervisor
    return math.nan if gap == 0 else (student - supervisor) / gap


def pgr_interval(
    supervisor_SN: npt.ArrayLike,
    student_SN: npt.ArrayLike,
    ceiling_SN: npt.ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    method: str = "percentile",
) -> PGREstimate:
    """PGR of mean accuracies with an interval over test rows and seeds together.

    The three arms hold the same test rows in the same order, and entry ``s`` of each belongs to one run of
    the whole experiment. One resample of rows serves all arms, crossed with one of seeds (Owen 2007, "The
    pigeonhole bootstrap"). With one seed only rows are resampled, and ``note`` says so: the noise of training
    is then left out.

    ``method`` is ``"percentile"``; ``"bca"``, corrected for bias and skew by the influence of each row and
    seed (infinitesimal jackknife); or ``"fieller"``, which resamples nothing: crossed variance, Fieller's set
    for the ratio, Student's t with Satterthwaite's degrees of freedom. Their coverage, measured at level 0.95
    with five seeds: 0.96, 0.96, 0.95 at the noise of published runs (1,263 rows, s.d. of seeds 0.01 to 0.02);
    0.88, 0.87, 0.93 where seeds rule (5,000 rows, s.d. up to 0.03): use Fieller, or more seeds, there.

    PGR is undefined (never 0, never clipped) where the gap's own interval reaches 0 or lies below it. A
    resample whose gap is not positive counts as infinite PGR with the sign of (student - supervisor).

    Args:
        supervisor_SN: correctness, bool or 0/1, shape (seeds, test rows), at least two rows.
        student_SN: the same for the student; ceiling_SN: the same for the ceiling.
        level: coverage aimed at, in (0, 1).
        resamples: bootstrap resamples, at least 100; unused by ``"fieller"``.
        seed: of the resampling; equal seeds give equal intervals.

    >>> rows = np.arange(1000)[None]
    >>> found = pgr_interval(rows % 10 < 6, rows % 10 < 7, rows % 10 < 8)
    >>> found.defined, round(found.pgr, 3), found.low < 0.5 < found.high
    (True, 0.5, True)

    Raises:
        DataError: for unequal or empty shapes and values other than 0 and 1.
        ConfigError: for a level, number of resamples, seed or method out of range.
    """
    check_options(level, resamples, seed)
    if method not in INTERVAL_METHODS:
        raise unknown("interval method", method, INTERVAL_METHODS)
    correct_ASN = stack_correct({"supervisor": supervisor_SN, "student": student_SN, "ceiling": ceiling_SN})
    n_seeds, n_test = correct_ASN.shape[1:]
    value_K = score_and_pgr(correct_ASN.sum((1, 2), dtype=np.float64), n_seeds * n_test)
    if method == "fieller":
        low_K, high_K = fieller(correct_ASN, value_K, level)
    else:
        total_RA = crossed_bootstrap(correct_ASN, resamples, seed)
        skew_K = acceleration(correct_ASN, value_K) if method == "bca" else None
        low_K, high_K = bounds(score_and_pgr(total_RA, n_seeds * n_test), value_K, skew_K, level)
    supervisor, student, ceiling, gap, ratio = (
        Interval(float(v), float(low), float(high))
        for v, low, high in zip(value_K, low_K, high_K, strict=True)
    )
    numbers = (
        f"ceiling {ceiling.value:.4f}, supervisor {supervisor.value:.4f}, gap {gap.value:.4f} with "
        f"{100 * level:g}% interval [{gap.low:.4f}, {gap.high:.4f}]"
    )
    reason = note = ""
    if gap.high < 0:
        reason = f"the ceiling is below the supervisor: {numbers}; did it train, are the arms swapped?"
    elif not gap.low > 0:
        advice = "take a weaker supervisor, a stronger student, or more test rows and seeds"
        reason = f"the gap's interval covers 0, so there is no gap to recover: {numbers}; {advice}"
    elif not all(map(math.isfinite, (ratio.value, ratio.low, ratio.high))):
        reason = f"the interval of PGR is unbounded: {numbers}, too near 0; take more test rows and seeds"
    if n_seeds == 1:
        note = "one seed: only test rows are resampled, the spread between seeds is left out"
    elif n_seeds < SEEDS_WANTED:
        note = f"{n_seeds} seeds: their spread is poorly known, a result wants {SEEDS_WANTED}"
    shown = (math.nan, math.nan, math.nan) if reason else (ratio.value, ratio.low, ratio.high)
    arms = (supervisor, student, ceiling, gap)
    return PGREstimate(*shown, not reason, reason, note, *arms, n_seeds, n_test, level, method)


def paired_permutation(
    a_SN: npt.ArrayLike,
    b_SN: npt.ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    interval_resamples: int = 2000,
    seed: int = 0,
) -> PairedTest:
    """Two-sided sign-flip test of a against b on the same rows, with the crossed bootstrap's interval.

    All seeds of a row flip together; p = (flips as extreme + 1) / (resamples + 1). Only rows flip, so p
    speaks of these trained models on new rows. The interval speaks of new seeds too, so it may cover 0 where
    p is small.

    Args:
        a_SN: correctness, bool or 0/1, shape (seeds, test rows); b_SN: the same, rows in the same order.

    >>> test = paired_permutation(np.ones((3, 40)), np.zeros((3, 40)), resamples=999)
    >>> test.difference, test.p
    (1.0, 0.001)

    Raises: as `pgr_interval` does.
    """
    check_options(level, resamples, seed)
    check_options(level, interval_resamples, seed)
    correct_ASN = stack_correct({"a": a_SN, "b": b_SN})
    n_seeds, n_test = correct_ASN.shape[1:]
    # A row's difference summed over seeds is a whole number in [-S, S]. Flipping m rows of equal size k adds
    # k (2 Binomial(m, 1/2) - m), so no array of R x N is needed and rows without a difference drop out.
    row_N = (correct_ASN[0] - correct_ASN[1]).sum(0, dtype=np.float64).astype(np.int64)
    size_K, count_K = np.unique(np.abs(row_N[row_N != 0]), return_counts=True)
    flip_rng = np.random.default_rng([seed, 1])
    flipped_R = (2 * flip_rng.binomial(count_K, 0.5, (resamples, len(count_K))) - count_K) @ size_K
    extreme = int(np.count_nonzero(np.abs(flipped_R) >= abs(row_N.sum())))
    total_RA = crossed_bootstrap(correct_ASN, interval_resamples, seed)
    boot_RK = (total_RA[:, :1] - total_RA[:, 1:]) / (n_seeds * n_test)
    value_K = np.array([row_N.sum() / (n_seeds * n_test)])
    low_K, high_K = bounds(boot_RK, value_K, None, level)
    p = (extreme + 1) / (resamples + 1)
    return PairedTest(float(value_K[0]), float(low_K[0]), float(high_K[0]), p, n_seeds, n_test)


def mcnemar_exact(a_N: npt.ArrayLike, b_N: npt.ArrayLike) -> float:
    """Two-sided exact McNemar p of two models' correctness (bool or 0/1) on the same rows; 1 if none differ.

    >>> mcnemar_exact([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])
    0.0625
    """
    a, b = (checked_correct(name, values, 1) for name, values in (("a", a_N), ("b", b_N)))
    check_same_shape("a", a, "b", b)
    return sign_test_p(int((a > b).sum()), int((a < b).sum()))


def _equal(**pair: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Row by row, are two lists of labels equal? Text and numbers are never compared with each other."""
    arrays: dict[str, npt.NDArray[Any]] = {name: as_array(name, values) for name, values in pair.items()}
    for name, array in arrays.items():
        if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "biuU":
            found = f"{array.dtype} of shape {array.shape}"
            raise DataError(
                f"{name}: found {found}; wanted integer or text labels, (rows,), not probabilities"
            )
    (a_name, a), (b_name, b) = arrays.items()
    check_same_shape(a_name, a, b_name, b)
    if (a.dtype.kind == "U") != (b.dtype.kind == "U"):
        raise DataError(f"{a_name} is {a.dtype} and {b_name} is {b.dtype}; wanted labels of one type")
    return np.asarray(a == b)
