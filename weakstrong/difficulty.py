"""How hard a row is: by the smallest model that solves it, or by comparisons of two rows (paper C.2 and C.3).

Legend: R rungs, N rows, P pairs of rows, K ends of a pair (2).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from weakstrong.errors import ConfigError, DataError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ELO: Final = 400 / math.log(10)
"""Elo points of one unit of strength: 400 points are odds of ten to one."""


def smallest_that_solves(correct_RN: npt.ArrayLike) -> Ints:
    """Difficulty from 1 to R + 1 of each row: the smallest rung that is right on it together with every larger one.

    Rows that the largest rung gets wrong have R + 1 (paper C.2, Fig. 21).

    Args:
        correct_RN: bool or 0/1, whether each rung is right on each row; rungs from small to large.

    >>> smallest_that_solves([[1, 1, 0, 0], [1, 0, 0, 1], [1, 1, 1, 0]]).tolist()
    [1, 3, 3, 4]

    Raises:
        DataError: for an array of another shape or with other values.
    """
    found_RN = np.asarray(correct_RN)
    if found_RN.ndim != 2 or not found_RN.shape[0] or not np.isin(found_RN, (0, 1)).all():
        raise DataError(f"difficulty: found shape {found_RN.shape}, wanted (rungs, rows) of bool or 0/1")
    solved_RN = np.logical_and.accumulate(found_RN.astype(bool)[::-1])
    difficulty_N: Ints = len(found_RN) + 1 - solved_RN.sum(0)
    return difficulty_N


def draw_pairs(rows: int, comparisons: int, generator: np.random.Generator) -> Ints:
    """Pairs int64 [P, 2] of different rows, each row in ``comparisons`` of them, all rows connected.

    Each two comparisons of a row come from one random ring through all rows.

    >>> np.bincount(draw_pairs(5, 4, np.random.default_rng(0)).ravel()).tolist()
    [4, 4, 4, 4, 4]

    Raises:
        ConfigError: for an odd or too small number of comparisons, or fewer than three rows.
    """
    if comparisons < 2 or comparisons % 2:
        raise ConfigError(f"comparisons: found {comparisons}, wanted an even number from 2")
    if rows < 3:
        raise ConfigError(f"{rows} rows cannot be compared in a ring; at least 3 are wanted")
    rings = [generator.permutation(rows) for _ in range(comparisons // 2)]
    return np.concatenate([np.stack([ring, np.roll(ring, -1)], 1) for ring in rings]).astype(np.int64)


def bradley_terry(pairs_PK: npt.ArrayLike, share_P: npt.ArrayLike, rows: int, prior: float = 0.01) -> Floats:
    """Strength of each row, float64 [N] with mean 0, where P(a over b) = sigmoid(s_a - s_b) (Bradley & Terry 1952).

    The maximum of the posterior: cross entropy of the outcomes plus ``prior`` / 2 times the sum of squared strengths,
    which keeps a row that won all its comparisons finite.

    Args:
        pairs_PK: row numbers (a, b) of each comparison, [P, 2].
        share_P: how far a won over b, in [0, 1]; 0.5 for a draw.
        rows: N.
        prior: precision of a normal prior around 0, above 0.

    >>> s = bradley_terry([[0, 1]], [0.75], 2, prior=1e-9)
    >>> round(float(s[0] - s[1]), 4), round(math.log(3), 4)
    (1.0986, 1.0986)

    Raises:
        DataError: for shapes, row numbers or shares that do not fit.
        ConfigError: for a prior that is not above 0.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    pairs, share = np.asarray(pairs_PK), np.asarray(share_P, np.float64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or share.shape != pairs.shape[:1] or not len(pairs):
        raise DataError(
            f"comparisons: found pairs {pairs.shape} and shares {share.shape}, wanted (P, 2) and (P,)"
        )
    if not np.isfinite(share).all() or (share < 0).any() or (share > 1).any():
        raise DataError("comparisons: a share outside [0, 1]")
    if (pairs < 0).any() or (pairs >= rows).any():
        raise DataError(f"comparisons: a row number outside 0 to {rows - 1}")
    if not prior > 0:
        raise ConfigError(f"prior: found {prior}, wanted a number above 0")
    a_P, b_P = pairs.T

    def loss(strength_N: Floats) -> tuple[float, Floats]:
        gap_P = strength_N[a_P] - strength_N[b_P]
        value = (np.logaddexp(0, gap_P) - share * gap_P).sum() + prior / 2 * (strength_N**2).sum()
        slope_P = expit(gap_P) - share
        slope_N = np.bincount(a_P, slope_P, rows) - np.bincount(b_P, slope_P, rows) + prior * strength_N
        return float(value), slope_N

    options = {"maxiter": 10_000, "maxfun": 100_000, "ftol": 0.0, "gtol": 1e-9}
    found: Any = minimize(loss, np.zeros(rows), jac=True, method="L-BFGS-B", options=options)
    strength_N: Floats = found.x - found.x.mean()
    return strength_N


def elo(strength_N: Floats) -> Floats:
    """Elo points of Bradley-Terry strengths: 400 points are odds of ten to one.

    >>> elo(np.array([0.0, math.log(10)])).round().tolist()
    [0.0, 400.0]
    """
    return strength_N * ELO
