"""Intervals of shares, means, ratios and other statistics over test rows and seeds together.

Shape suffixes: A arms, S seeds, N test rows, R resamples, K statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weakstrong.errors import DataError
from weakstrong.resampling import (
    Floats,
    as_floats,
    bounds,
    check_options,
    check_same_shape,
    crossed_bootstrap,
)


@dataclass(frozen=True)
class Interval:
    """A number and the two ends of its interval."""

    value: float
    low: float
    high: float


def ratio_interval(
    numerator_SN: npt.ArrayLike,
    denominator_SN: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Sum over sum (or a mean, without a denominator) with the crossed bootstrap's interval over rows and seeds.

    With 0/1 arrays this is a share among chosen rows, such as agreement where the supervisor is wrong. nan where the
    denominator sums to 0; resamples in which it does so are left out of the interval.

    Args:
        numerator_SN: numbers, shape (seeds, test rows); denominator_SN: of the same shape, from 0 up.

    >>> ratio_interval([[1, 1, 0, 1]], [[1, 1, 1, 1]]).value
    0.75

    Raises:
        DataError: for unequal or empty shapes and numbers that are not finite.
        ConfigError: for a level, number of resamples or seed out of range.
    """
    top_SN = as_floats("numerator", numerator_SN)
    bottom_SN = np.ones_like(top_SN) if denominator_SN is None else as_floats("denominator", denominator_SN)
    check_same_shape("numerator", top_SN, "denominator", bottom_SN)
    if top_SN.ndim != 2 or top_SN.size == 0:
        raise DataError(f"numerator: found shape {top_SN.shape}, wanted (seeds, test rows), not empty")
    if not (np.isfinite(top_SN).all() and np.isfinite(bottom_SN).all() and (bottom_SN >= 0).all()):
        raise DataError("a ratio needs finite numbers, and a denominator from 0 up")

    def ratio(total_RA: Floats) -> Floats:
        return total_RA[:, :1] / np.where(total_RA[:, 1:] > 0, total_RA[:, 1:], math.nan)

    stacked_ASN = np.stack([top_SN, bottom_SN])
    return function_intervals(stacked_ASN, ratio, level=level, resamples=resamples, seed=seed)[0]


def function_intervals(
    values_ASN: npt.ArrayLike,
    function: Callable[[Floats], Floats],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """Statistics of sums over seeds and rows, with the crossed bootstrap's intervals; one resample serves all.

    A statistic that is nan (a share of no rows) has no interval; resamples in which it is nan are left out.

    Args:
        values_ASN: finite numbers, shape (arms, seeds, test rows).
        function: of sums (R, A) over seeds and rows to statistics (R, K), row by row.

    Returns:
        One interval for each of the K statistics.

    >>> rows = np.array([[[1.0, 0.0, 1.0, 1.0]], [[1.0, 1.0, 1.0, 1.0]]])
    >>> function_intervals(rows, lambda total_RA: total_RA[:, :1] / total_RA[:, 1:])[0].value
    0.75

    Raises:
        DataError: for an empty array, another number of dimensions, or numbers that are not finite.
        ConfigError: for a level, number of resamples or seed out of range.
    """
    check_options(level, resamples, seed)
    values_ASN = as_floats("values", values_ASN)
    if values_ASN.ndim != 3 or values_ASN.size == 0 or not np.isfinite(values_ASN).all():
        found = f"shape {values_ASN.shape}"
        raise DataError(f"values: found {found}; wanted finite (arms, seeds, test rows), not empty")
    value_K = function(values_ASN.sum((1, 2))[None])[0]
    boot_RK = function(crossed_bootstrap(values_ASN.astype(np.float32), resamples, seed))
    out = []
    for value, boot_R in zip(value_K.tolist(), boot_RK.T, strict=True):
        known_R1 = boot_R[~np.isnan(boot_R), None]
        if math.isnan(value) or not len(known_R1):
            out.append(Interval(value, math.nan, math.nan))
            continue
        low_K, high_K = bounds(known_R1, np.array([value]), None, level)
        out.append(Interval(value, float(low_K[0]), float(high_K[0])))
    return out
