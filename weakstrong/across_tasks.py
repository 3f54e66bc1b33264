"""One number or test over many tasks, and corrections for having looked many times.

Shape suffixes: T tasks, K comparisons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weakstrong.errors import ConfigError, DataError
from weakstrong.resampling import Floats, as_floats, check_same_shape


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
    return AcrossTasks(better, worse, equal, median, min(1.0, 2 * float(tail)), sign_test_p(better, worse))


def holm(p_K: npt.ArrayLike) -> Floats:
    """Holm's adjusted p-values, in the order given. A nan (a test not made) stays nan and is not counted.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]

    Raises:
        DataError: for a p outside [0, 1].
    """
    p = as_floats("p", p_K)
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
    values = as_floats("PGR over tasks", pgr_T)
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
    check_same_shape("supervisor", supervisor, "student", student)
    check_same_shape("supervisor", supervisor, "ceiling", ceiling)
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


def sign_test_p(better: int, worse: int) -> float:
    """Two-sided exact binomial p of ``better`` against ``worse`` at one half."""
    from scipy import special

    n = better + worse
    return min(1.0, 2 * float(special.bdtr(min(better, worse), n, 0.5))) if n else 1.0


def _finite(name: str, values: npt.ArrayLike) -> Floats:
    array = as_floats(name, values)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise DataError(f"{name}: found {array}; wanted a list of finite numbers, one per task")
    return array
