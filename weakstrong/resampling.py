"""The crossed bootstrap and Fieller's set, and the checks of the arrays that go into them.

Shape suffixes: A arms, S seeds, N test rows, R resamples, K statistics (three scores, the gap, PGR).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from weakstrong.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]
CHUNK: Final = 2**16  # row draws held at once: half a megabyte stays in the processor's cache
LINEAR_KA: Final = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 1]])  # three arms and the gap


def crossed_bootstrap(correct_ASN: npt.NDArray[np.float32], resamples: int, seed: int) -> Floats:
    """Right answers of each resample and arm, (R, A): whole numbers in [0, S N].

    Seeds and rows have a generator each, and rows are drawn in order, so the chunk size changes no number.
    """
    n_arms, n_seeds, n_test = correct_ASN.shape
    seed_rng, row_rng = np.random.default_rng(seed).spawn(2)
    seed_count_RS = _counts(seed_rng, resamples, n_seeds)
    flat_NK = correct_ASN.reshape(-1, n_test).T
    total_RA = np.empty((resamples, n_arms))
    step = max(1, CHUNK // n_test)
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


def score_and_pgr(total_A: Floats, n_answers: int) -> Floats:
    """Totals (..., 3) to supervisor, student, ceiling, gap, PGR (..., 5); PGR infinite for a gap up to 0."""
    score_K: Floats = total_A @ LINEAR_KA.T / n_answers  # whole before the division: equal arms, gap 0
    gain, gap = (total_A[..., 1] - total_A[..., 0]) / n_answers, score_K[..., 3]
    ratio = np.where(gap > 0, gain / np.where(gap > 0, gap, 1), np.copysign(np.inf, gain))
    joined: Floats = np.concatenate([score_K, ratio[..., None]], -1)
    return joined


def _contrasts(value_K: Floats) -> Floats:
    """The five statistics as linear forms of three scores, (5, 3); PGR by its slope, 0 where it has none."""
    gap, ratio = value_K[3], value_K[4]
    slope = np.array([ratio - 1, 1, -ratio]) / gap if gap > 0 else np.zeros(3)
    forms: Floats = np.vstack([LINEAR_KA, slope])
    return forms


def acceleration(correct_ASN: npt.NDArray[np.float32], value_K: Floats) -> Floats:
    """BCa's acceleration of each statistic from the influence of every row and every seed, (5,)."""
    mean_A1 = value_K[:3, None]
    contrast_KA, (_, n_seeds, n_test) = _contrasts(value_K), correct_ASN.shape
    row_KN: Floats = contrast_KA @ (correct_ASN.mean(1, dtype=np.float64) - mean_A1) / n_test
    seed_KS: Floats = contrast_KA @ (correct_ASN.mean(2, dtype=np.float64) - mean_A1) / n_seeds
    square = (row_KN**2).sum(1) + (seed_KS**2).sum(1)
    cube = (row_KN**3).sum(1) + (seed_KS**3).sum(1)
    skew_K: Floats = cube / (6 * np.where(square > 0, square, 1) ** 1.5)
    return skew_K


def bounds(boot_RK: Floats, value_K: Floats, skew_K: Floats | None, level: float) -> tuple[Floats, Floats]:
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


def fieller(correct_ASN: npt.NDArray[np.float32], value_K: Floats, level: float) -> tuple[Floats, Floats]:
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


def stack_correct(arms: Mapping[str, npt.ArrayLike]) -> npt.NDArray[np.float32]:
    """Check correctness arrays of one shape (S, N) and stack them, (A, S, N)."""
    checked = {name: checked_correct(name, values, 2) for name, values in arms.items()}
    first = next(iter(checked))
    for name, values in checked.items():
        check_same_shape(first, checked[first], name, values)
    if checked[first].shape[1] < 2:
        raise DataError(f"{first}: found 1 test row; an interval needs at least 2")
    return np.stack(list(checked.values()))


def checked_correct(name: str, values: npt.ArrayLike, ndim: int) -> npt.NDArray[np.float32]:
    array = as_array(name, values)
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


def check_same_shape(a_name: str, a: npt.NDArray[Any], b_name: str, b: npt.NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise DataError(f"{a_name} has shape {a.shape}, {b_name} {b.shape}; wanted the same rows in both")


def as_array(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:  # lists of unequal lengths
        raise DataError(f"{name}: found {error}; wanted an array with equal rows") from None


def as_floats(name: str, values: npt.ArrayLike) -> Floats:
    array = as_array(name, values)
    if array.size and array.dtype.kind not in "biuf":
        raise DataError(f"{name}: found type {array.dtype}, wanted numbers")
    return array.astype(np.float64)


def check_options(level: float, resamples: int, seed: int) -> None:
    if not 0 < level < 1:
        raise ConfigError(f"level: found {level}, wanted a share in (0, 1) such as 0.95")
    if resamples < 100:
        raise ConfigError(f"resamples: found {resamples}, wanted at least 100")
    if seed < 0:
        raise ConfigError(f"seed: found {seed}, wanted a whole number from 0")
