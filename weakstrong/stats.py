"""Scores, the performance gap recovered (PGR), and how far to trust them.

Nothing here trains, reads files or plots: predictions or correctness come in, numbers go out.

Shape suffixes: A arms (supervisor, student, ceiling), S seeds, N test rows, R resamples, C classes, B bins,
K statistics or comparisons, T tasks. Correctness is bool or 0/1: is this seed's prediction right on this row?
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from weakstrong.errors import ConfigError, DataError
from weakstrong.registry import unknown

Floats = npt.NDArray[np.float64]
INTERVAL_METHODS: Final = ("percentile", "bca", "fieller")
SEEDS_WANTED: Final = 5
_CHUNK: Final = 2**16  # row draws held at once: half a megabyte stays in the processor's cache
_LINEAR_KA: Final = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 1]])  # three arms and the gap


@dataclass(frozen=True)
class Interval:
    """A number and the two ends of its interval."""

    value: float
    low: float
    high: float


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


@dataclass(frozen=True)
class AcrossTasks:
    """What `across_tasks` found: counts of tasks, the median difference and two two-sided p-values."""

    n_better: int
    n_worse: int
    n_equal: int
    median: float
    wilcoxon_p: float
    sign_p: float


@dataclass(frozen=True)
class TaskMedian:
    """A median over the tasks whose PGR is defined, and how many those are."""

    median: float
    n_defined: int
    n_undefined: int


@dataclass(frozen=True, eq=False)
class Reliability:
    """Arrays of shape (B,), one entry per bin of confidence; the two means are nan where a bin is empty."""

    upper_edge: Floats
    confidence: Floats
    accuracy: Floats
    count: npt.NDArray[np.int64]


def accuracy(predicted_N: npt.ArrayLike, truth_N: npt.ArrayLike) -> float:
    """Share of rows predicted right, in [0, 1]. Labels are integers, or strings such as chess moves.

    >>> accuracy([0, 1, 1, 0], [0, 1, 0, 0])
    0.75

    Raises:
        DataError: for no rows, unequal lengths, or labels that are neither integers nor strings.
    """
    return float(np.mean(_equal(predicted=predicted_N, truth=truth_N)))


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
    _check_options(level, resamples, seed)
    if method not in INTERVAL_METHODS:
        raise unknown("interval method", method, INTERVAL_METHODS)
    correct_ASN = _stack({"supervisor": supervisor_SN, "student": student_SN, "ceiling": ceiling_SN})
    n_seeds, n_test = correct_ASN.shape[1:]
    value_K = _score_and_pgr(correct_ASN.sum((1, 2), dtype=np.float64), n_seeds * n_test)
    if method == "fieller":
        low_K, high_K = _fieller(correct_ASN, value_K, level)
    else:
        total_RA = _crossed_bootstrap(correct_ASN, resamples, seed)
        skew_K = _acceleration(correct_ASN, value_K) if method == "bca" else None
        low_K, high_K = _bounds(_score_and_pgr(total_RA, n_seeds * n_test), value_K, skew_K, level)
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
    _check_options(level, resamples, seed)
    _check_options(level, interval_resamples, seed)
    correct_ASN = _stack({"a": a_SN, "b": b_SN})
    n_seeds, n_test = correct_ASN.shape[1:]
    # A row's difference summed over seeds is a whole number in [-S, S]. Flipping m rows of equal size k adds
    # k (2 Binomial(m, 1/2) - m), so no array of R x N is needed and rows without a difference drop out.
    row_N = (correct_ASN[0] - correct_ASN[1]).sum(0, dtype=np.float64).astype(np.int64)
    size_K, count_K = np.unique(np.abs(row_N[row_N != 0]), return_counts=True)
    flip_rng = np.random.default_rng([seed, 1])
    flipped_R = (2 * flip_rng.binomial(count_K, 0.5, (resamples, len(count_K))) - count_K) @ size_K
    extreme = int(np.count_nonzero(np.abs(flipped_R) >= abs(row_N.sum())))
    total_RA = _crossed_bootstrap(correct_ASN, interval_resamples, seed)
    boot_RK = (total_RA[:, :1] - total_RA[:, 1:]) / (n_seeds * n_test)
    value_K = np.array([row_N.sum() / (n_seeds * n_test)])
    low_K, high_K = _bounds(boot_RK, value_K, None, level)
    p = (extreme + 1) / (resamples + 1)
    return PairedTest(float(value_K[0]), float(low_K[0]), float(high_K[0]), p, n_seeds, n_test)


def mcnemar_exact(a_N: npt.ArrayLike, b_N: npt.ArrayLike) -> float:
    """Two-sided exact McNemar p of two models' correctness (bool or 0/1) on the same rows; 1 if none differ.

    >>> mcnemar_exact([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])
    0.0625
    """
    a, b = (_correct(name, values, 1) for name, values in (("a", a_N), ("b", b_N)))
    _same_shape("a", a, "b", b)
    return _sign_p(int((a > b).sum()), int((a < b).sum()))


def across_tasks(difference_T: npt.ArrayLike) -> AcrossTasks:
    """Is one method better over tasks? Exact Wilcoxon signed-rank and sign test, two-sided, zeros left out.

    ``difference_T`` holds one difference (in accuracy or PGR) per task. Differences equal to 12 decimals are
    tied and share their mean rank, and the null distribution is exact given the ties.

    >>> across_tasks([0.1, 0.2, 0.3, 0.4, 0.5]).wilcoxon_p
    0.0625
    """
    difference = np.round(_finite("difference", difference_T), 12)
    size = np.abs(difference[difference != 0])
    _, inverse, count = np.unique(size, return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(count) - count + 1)[inverse]  # twice the mean rank is whole even with ties
    ways = np.ones(1)  # share of the sign patterns with each sum of positive (doubled) ranks
    for rank in doubled:
        ways = (np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))) / 2
    positive = int(doubled[difference[difference != 0] > 0].sum())
    tail = min(ways[: positive + 1].sum(), ways[positive:].sum())
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    equal, median = len(difference) - better - worse, float(np.median(difference))
    return AcrossTasks(better, worse, equal, median, min(1.0, 2 * float(tail)), _sign_p(better, worse))


def holm(p_K: npt.ArrayLike) -> Floats:
    """Holm's adjusted p-values, in the order given. A nan (a test not made) stays nan and is not counted.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]

    Raises:
        DataError: for a p outside [0, 1].
    """
    p = _floats("p", p_K)
    if p.ndim != 1 or not np.all(np.isnan(p) | ((p >= 0) & (p <= 1))):
        raise DataError(f"p: found {p}; wanted a list of numbers in [0, 1], or nan")
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]  # nan sorts last
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def median_over_tasks(pgr_T: npt.ArrayLike) -> TaskMedian:
    """Median PGR over tasks (paper §4.1), never the mean. nan (undefined) is left out and counted.

    >>> median_over_tasks([0.2, float("nan"), 0.8, 0.3])
    TaskMedian(median=0.3, n_defined=3, n_undefined=1)
    """
    values = _floats("PGR over tasks", pgr_T)
    if values.ndim != 1 or np.isinf(values).any():
        raise DataError(f"PGR over tasks: found {values}; wanted finite numbers, or nan where undefined")
    kept = values[~np.isnan(values)]
    return TaskMedian(float(np.median(kept)) if len(kept) else math.nan, len(kept), len(values) - len(kept))


def ratio_of_summed_gaps(
    supervisor_T: npt.ArrayLike, student_T: npt.ArrayLike, ceiling_T: npt.ArrayLike
) -> float:
    """Sum over tasks of (student - supervisor) by sum of (ceiling - supervisor); nan where that is exactly 0.

    A task with a small gap weighs little here; in a mean of ratios it rules.

    >>> round(ratio_of_summed_gaps([0.6, 0.6], [0.7, 0.7], [0.8, 0.61]), 3)
    0.952
    """
    supervisor, student, ceiling = (
        _finite(name, scores)
        for name, scores in (("supervisor", supervisor_T), ("student", student_T), ("ceiling", ceiling_T))
    )
    _same_shape("supervisor", supervisor, "student", student)
    _same_shape("supervisor", supervisor, "ceiling", ceiling)
    gap = math.fsum(ceiling) - math.fsum(supervisor)
    return math.nan if gap == 0 else (math.fsum(student) - math.fsum(supervisor)) / gap


def expected_maximum(n: int, sd: float) -> float:
    """How far the best of ``n`` draws from a normal lies above its mean, expected, in the unit of ``sd``.

    Subtract it from a score picked as the best of n seeds or settings that are equal in truth.

    >>> round(expected_maximum(16, 1.0), 2)
    1.77
    """
    from scipy import special

    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1 or not 0 <= sd < math.inf:
        raise ConfigError(f"expected maximum: found n={n}, sd={sd}; wanted n >= 1 and a finite sd >= 0")
    z = np.linspace(-12, 12, 24_001)
    density = n * np.exp((n - 1) * special.log_ndtr(z) - z**2 / 2) / math.sqrt(2 * math.pi)
    return float(sd * (z * density).sum() * (z[1] - z[0]))


def brier(probs_NC: npt.ArrayLike, truth_N: npt.ArrayLike) -> float:
    """Mean over rows of squared error summed over classes, in [0, 2]; twice the usual one for two classes.

    >>> round(brier([[0.8, 0.2], [0.4, 0.6]], [0, 0]), 2)
    0.4

    Raises:
        DataError: for rows that are not probabilities (sum 1 within 0.001) or labels outside 0 ... C-1.
    """
    probs, truth = _probabilities(probs_NC, truth_N)
    return float(np.mean(((probs - np.eye(probs.shape[1])[truth]) ** 2).sum(1)))


def reliability(probs_NC: npt.ArrayLike, truth_N: npt.ArrayLike, bins: int = 15) -> Reliability:
    """Mean confidence (largest probability) and accuracy in equal bins of (0, 1], closed above (Guo 2017).

    Raises as `brier` does, and ConfigError for fewer than one bin.
    """
    if bins < 1:
        raise ConfigError(f"reliability: found {bins} bins, wanted at least 1")
    probs, truth = _probabilities(probs_NC, truth_N)
    edge = np.linspace(0, 1, bins + 1)
    bin_N = np.digitize(probs.max(1), edge[1:-1], right=True)
    count = np.bincount(bin_N, minlength=bins)
    sums = (np.bincount(bin_N, weights, bins) for weights in (probs.max(1), probs.argmax(1) == truth))
    confidence, right = (np.where(count > 0, total / np.maximum(count, 1), np.nan) for total in sums)
    return Reliability(edge[1:], confidence, right, count)


def expected_calibration_error(probs_NC: npt.ArrayLike, truth_N: npt.ArrayLike, bins: int = 15) -> float:
    """Mean over rows of |accuracy - confidence| of the row's bin (see `reliability`), in [0, 1].

    >>> round(expected_calibration_error([[0.8, 0.2], [0.4, 0.6]], [0, 0]), 2)
    0.4
    """
    table = reliability(probs_NC, truth_N, bins)
    return float(np.nansum(table.count * np.abs(table.accuracy - table.confidence)) / table.count.sum())


def _crossed_bootstrap(correct_ASN: npt.NDArray[np.float32], resamples: int, seed: int) -> Floats:
    """Right answers of each resample and arm, (R, A): whole numbers in [0, S N].

    Seeds and rows have a generator each, and rows are drawn in order, so the chunk size changes no number.
    """
    n_arms, n_seeds, n_test = correct_ASN.shape
    seed_rng, row_rng = np.random.default_rng(seed).spawn(2)
    seed_count_RS = _counts(seed_rng, resamples, n_seeds)
    flat_NK = correct_ASN.reshape(-1, n_test).T
    total_RA = np.empty((resamples, n_arms))
    step = max(1, _CHUNK // n_test)
    for start in range(0, resamples, step):
        seed_count = seed_count_RS[start : start + step]
        row_count_RN = _counts(row_rng, len(seed_count), n_test).astype(np.float32)  # exact: counts < 2**24
        score = (row_count_RN @ flat_NK).reshape(-1, n_arms, n_seeds)
        total_RA[start : start + step] = np.einsum("rs,ras->ra", seed_count, score, dtype=np.float64)
    return total_RA


def _counts(rng: np.random.Generator, resamples: int, n: int) -> npt.NDArray[np.int64]:
    """How often each of ``n`` things comes up in n draws with replacement, (R, n)."""
    draw_Rn = rng.integers(0, n, (resamples, n))
    draw_Rn += n * np.arange(resamples)[:, None]
    return np.bincount(draw_Rn.ravel(), minlength=resamples * n).reshape(resamples, n)


def _score_and_pgr(total_A: Floats, n_answers: int) -> Floats:
    """Totals (..., 3) to supervisor, student, ceiling, gap, PGR (..., 5); PGR infinite for a gap up to 0."""
    score_K: Floats = total_A @ _LINEAR_KA.T / n_answers  # whole before the division: equal arms, gap 0
    gain, gap = (total_A[..., 1] - total_A[..., 0]) / n_answers, score_K[..., 3]
    ratio = np.where(gap > 0, gain / np.where(gap > 0, gap, 1), np.copysign(np.inf, gain))
    joined: Floats = np.concatenate([score_K, ratio[..., None]], -1)
    return joined


def _contrasts(value_K: Floats) -> Floats:
    """The five statistics as linear forms of three scores, (5, 3); PGR by its slope, 0 where it has none."""
    gap, ratio = value_K[3], value_K[4]
    slope = np.array([ratio - 1, 1, -ratio]) / gap if gap > 0 else np.zeros(3)
    forms: Floats = np.vstack([_LINEAR_KA, slope])
    return forms


def _acceleration(correct_ASN: npt.NDArray[np.float32], value_K: Floats) -> Floats:
    """BCa's acceleration of each statistic from the influence of every row and every seed, (5,)."""
    mean_A1 = value_K[:3, None]
    contrast_KA, (_, n_seeds, n_test) = _contrasts(value_K), correct_ASN.shape
    row_KN: Floats = contrast_KA @ (correct_ASN.mean(1, dtype=np.float64) - mean_A1) / n_test
    seed_KS: Floats = contrast_KA @ (correct_ASN.mean(2, dtype=np.float64) - mean_A1) / n_seeds
    square = (row_KN**2).sum(1) + (seed_KS**2).sum(1)
    cube = (row_KN**3).sum(1) + (seed_KS**3).sum(1)
    skew_K: Floats = cube / (6 * np.where(square > 0, square, 1) ** 1.5)
    return skew_K


def _bounds(boot_RK: Floats, value_K: Floats, skew_K: Floats | None, level: float) -> tuple[Floats, Floats]:
    """Percentile bounds, or BCa's where accelerations are given; rounded outwards to an order statistic.

    Outwards, because then a gap whose percentile interval is above 0 has a finite PGR interval.
    """
    from scipy import special

    last, tail = len(boot_RK) - 1, (1 - level) / 2
    low, high = np.full_like(value_K, tail), np.full_like(value_K, tail)  # both as shares beyond the bound
    if skew_K is not None:
        below = ((boot_RK < value_K).mean(0) + (boot_RK <= value_K).mean(0)) / 2
        bias = special.ndtri(np.clip(below, 0.5 / (last + 1), 1 - 0.5 / (last + 1)))
        z = special.ndtri(tail)
        low = special.ndtr(bias + (bias + z) / (1 - skew_K * (bias + z)))
        high = special.ndtr(-bias - (bias - z) / (1 - skew_K * (bias - z)))
    ordered, column = np.sort(boot_RK, 0), np.arange(len(value_K))
    from_low, from_high = (np.floor(share * last).astype(int) for share in (low, high))
    return ordered[from_low, column], ordered[last - from_high, column]


def _fieller(correct_ASN: npt.NDArray[np.float32], value_K: Floats, level: float) -> tuple[Floats, Floats]:
    """Bounds of scores and gap by Student's t, of PGR by Fieller's quadratic, infinite where unbounded."""
    from scipy import special

    _, n_seeds, n_test = correct_ASN.shape
    mean = value_K[:3, None]
    row_AN = correct_ASN.mean(1, dtype=np.float64) - mean
    seed_AS = correct_ASN.mean(2, dtype=np.float64) - mean
    rows = row_AN @ row_AN.T / (n_test * (n_test - 1))  # also holds the row-by-seed part, once
    seeds = both = np.zeros((3, 3))
    if n_seeds > 1:
        seeds = seed_AS @ seed_AS.T / (n_seeds * (n_seeds - 1))
        rest = (correct_ASN - mean[..., None] - row_AN[:, None] - seed_AS[..., None]).reshape(3, -1)
        both = rest @ rest.T / (n_seeds * n_test * (n_seeds - 1) * (n_test - 1))
    root, axis = np.linalg.eigh(seeds - both)  # the row-by-seed part is in both: take it out once
    crossed = rows + (axis * np.maximum(root, 0)) @ axis.T
    contrast_KA = _contrasts(value_K)
    variance, row_part, seed_part = (
        np.einsum("ka,ab,kb->k", contrast_KA, part, contrast_KA) for part in (crossed, rows, seeds)
    )
    spread = row_part**2 / (n_test - 1) + seed_part**2 / max(1, n_seeds - 1)
    freedom = np.where(spread > 0, variance**2 / np.where(spread > 0, spread, 1), n_test - 1)
    least = min(n_seeds, n_test) - 1 if n_seeds > 1 else n_test - 1  # taking ``both`` out could go below it
    t_K = special.stdtrit(np.maximum(freedom, least), (1 + level) / 2)
    half = t_K * np.sqrt(np.maximum(variance, 0))
    low, high = value_K - half, value_K + half
    pair = np.array([[-1.0, 1, 0], [-1, 0, 1]])  # gain and gap
    gain, gap = value_K[1] - value_K[0], value_K[3]
    v = pair @ crossed @ pair.T * t_K[4] ** 2
    a, b, c = gap**2 - v[1, 1], gain * gap - v[0, 1], gain**2 - v[0, 0]
    reach = math.sqrt(max(0.0, b**2 - a * c))
    low[4], high[4] = ((b - reach) / a, (b + reach) / a) if gap > 0 and a > 0 else (-np.inf, np.inf)
    return low, high


def _sign_p(better: int, worse: int) -> float:
    """Two-sided exact binomial p of ``better`` against ``worse`` at one half."""
    from scipy import special

    n = better + worse
    return min(1.0, 2 * float(special.bdtr(min(better, worse), n, 0.5))) if n else 1.0


def _stack(arms: Mapping[str, npt.ArrayLike]) -> npt.NDArray[np.float32]:
    """Check correctness arrays of one shape (S, N) and stack them, (A, S, N)."""
    checked = {name: _correct(name, values, 2) for name, values in arms.items()}
    first = next(iter(checked))
    for name, values in checked.items():
        _same_shape(first, checked[first], name, values)
    if checked[first].shape[1] < 2:
        raise DataError(f"{first}: found 1 test row; an interval needs at least 2")
    return np.stack(list(checked.values()))


def _correct(name: str, values: npt.ArrayLike, ndim: int) -> npt.NDArray[np.float32]:
    array = _array(name, values)
    if array.ndim != ndim or array.size == 0:
        wanted = "(seeds, test rows); one seed is array[None, :]" if ndim == 2 else "(test rows,)"
        raise DataError(f"{name}: found correctness of shape {array.shape}, wanted {wanted}, not empty")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name}: found correctness of type {array.dtype}, wanted bool or 0/1")
    wrong = ~((array == 0) | (array == 1))
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(f"{name}: found {array[where]} at {where}; wanted correctness, 0 or 1, not labels")
    return array.astype(np.float32)


def _equal(**pair: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Row by row, are two lists of labels equal? Text and numbers are never compared with each other."""
    arrays: dict[str, npt.NDArray[Any]] = {name: _array(name, values) for name, values in pair.items()}
    for name, array in arrays.items():
        if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "biuU":
            found = f"{array.dtype} of shape {array.shape}"
            raise DataError(
                f"{name}: found {found}; wanted integer or text labels, (rows,), not probabilities"
            )
    (a_name, a), (b_name, b) = arrays.items()
    _same_shape(a_name, a, b_name, b)
    if (a.dtype.kind == "U") != (b.dtype.kind == "U"):
        raise DataError(f"{a_name} is {a.dtype} and {b_name} is {b.dtype}; wanted labels of one type")
    return np.asarray(a == b)


def _probabilities(probs_NC: npt.ArrayLike, truth_N: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.int64]]:
    probs, truth = _floats("probabilities", probs_NC), _array("truth", truth_N)
    if probs.ndim != 2 or probs.shape[0] == 0 or probs.shape[1] < 2:
        raise DataError(f"probabilities: found shape {probs.shape}, wanted (rows, at least two classes)")
    off = ~((probs >= 0).all(1) & (np.abs(probs.sum(1) - 1) <= 1e-3))  # nan is off too
    if off.any():
        row = int(off.argmax())
        raise DataError(f"probabilities: row {row} is {probs[row]}; wanted shares that sum to 1, not logits")
    if truth.shape != probs.shape[:1] or truth.dtype.kind not in "biu":
        found = f"{truth.dtype} of shape {truth.shape}"
        raise DataError(f"truth: found {found}, wanted integers of shape {probs.shape[:1]}")
    low, high, last = int(truth.min()), int(truth.max()), probs.shape[1] - 1
    if low < 0 or high > last:
        raise DataError(f"truth: found labels from {low} to {high}, wanted 0 to {last}, one per column")
    return probs, truth.astype(np.int64)


def _finite(name: str, values: npt.ArrayLike) -> Floats:
    array = _floats(name, values)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise DataError(f"{name}: found {array}; wanted a list of finite numbers, one per task")
    return array


def _same_shape(a_name: str, a: npt.NDArray[Any], b_name: str, b: npt.NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise DataError(f"{a_name} has shape {a.shape}, {b_name} {b.shape}; wanted the same rows in both")


def _array(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:  # lists of unequal lengths
        raise DataError(f"{name}: found {error}; wanted an array with equal rows") from None


def _floats(name: str, values: npt.ArrayLike) -> Floats:
    array = _array(name, values)
    if array.size and array.dtype.kind not in "biuf":
        raise DataError(f"{name}: found type {array.dtype}, wanted numbers")
    return array.astype(np.float64)


def _check_options(level: float, resamples: int, seed: int) -> None:
    if not 0 < level < 1:
        raise ConfigError(f"level: found {level}, wanted a share in (0, 1) such as 0.95")
    if resamples < 100:
        raise ConfigError(f"resamples: found {resamples}, wanted at least 100")
    if seed < 0:
        raise ConfigError(f"seed: found {seed}, wanted a whole number from 0")
