"""How far predicted probabilities can be believed: Brier score, reliability table, calibration error.

Shape suffixes: N test rows, C classes, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weakstrong.errors import ConfigError, DataError
from weakstrong.resampling import Floats, as_array, as_floats


@dataclass(frozen=True, eq=False)
class Reliability:
    """Arrays of shape (B,), one entry per bin of confidence; the two means are nan where a bin is empty."""

    upper_edge: Floats
    confidence: Floats
    accuracy: Floats
    count: npt.NDArray[np.int64]


def brier(probs_NC: npt.ArrayLike, truth_N: npt.ArrayLike) -> float:
    """Mean over rows of squared error summed over classes, in [0, 2]; twice the usual one for two classes.

    >>> round(brier([[0.8, 0.2], [0.4, 0.6]], [0, 0]), 2)
    0.4

    Raises:
        DataError: for rows that are not probabilities (sum 1 within 0.001) or labels outside 0 ... C-1.
    """
    return float(np.mean(brier_rows(probs_NC, truth_N)))


def brier_rows(probs_NC: npt.ArrayLike, truth_N: npt.ArrayLike) -> Floats:
    """Squared error of each row, summed over classes, [N]; raises as `brier`."""
    probs, truth = _probabilities(probs_NC, truth_N)
    error: Floats = ((probs - np.eye(probs.shape[1])[truth]) ** 2).sum(1)
    return error


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


def temper(probs_NC: npt.ArrayLike, temperature: float) -> Floats:
    """Probabilities ``p^(1/T)``, renormalised; above 1 they are less sure, and no row changes its first class.

    >>> temper([[0.8, 0.2]], 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    logit = np.log(np.clip(as_floats("probabilities", probs_NC), 1e-12, None)) / temperature
    power = np.exp(logit - logit.max(-1, keepdims=True))
    tempered: Floats = power / power.sum(-1, keepdims=True)
    return tempered


def fit_temperature(probs_NC: npt.ArrayLike, truth_N: npt.ArrayLike) -> float:
    """The temperature in [0.05, 20] whose probabilities give ``truth_N`` the largest likelihood (Guo 2017, §4.2).

    Raises as `brier` does.
    """
    from scipy.optimize import minimize_scalar

    probs, truth = _probabilities(probs_NC, truth_N)
    rows = np.arange(len(truth))

    def loss(log_t: float) -> float:
        return float(-np.log(np.maximum(temper(probs, np.exp(log_t))[rows, truth], 1e-300)).mean())

    found = minimize_scalar(
        loss, bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(found.x))


def _probabilities(probs_NC: npt.ArrayLike, truth_N: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.int64]]:
    probs, truth = as_floats("probabilities", probs_NC), as_array("truth", truth_N)
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
