"""How far the probabilities of supervisor, student and ceiling can be believed (Guo et al. 2017).

Legend: S seeds, N test rows, C classes, B bins, R resamples.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from weakstrong.analyses.base import ANALYSES, Analysis, measured
from weakstrong.analyses.runs import Runs
from weakstrong.calibration import brier_rows, reliability
from weakstrong.intervals import Interval, function_intervals, ratio_interval
from weakstrong.methods.base import Arm
from weakstrong.resampling import Floats, crossed_bootstrap

ARMS: tuple[Arm, ...] = ("supervisor", "student", "ceiling")
RESAMPLES = 2000


@ANALYSES.register
class Calibration(Analysis):
    """Reliability diagram, expected calibration error and Brier score of all three arms, against ground truth.

    Rows by ``measure``, for each ``arm``:

    - ``reliability``: accuracy of the rows whose confidence (largest probability) lies in (``bin_low``, ``bin_high``],
      with their mean ``confidence`` and how many they are in all seeds (``count``); undefined for an empty bin.
    - ``calibration error``: mean over seeds of `expected_calibration_error`. Binning lifts it above its true value, so
      read it against ``calibration error by chance``: what it would be, and where 95 % of runs would lie, were each row
      right exactly as often as it is confident.
    - ``overconfidence``: mean confidence minus accuracy; above 0 the arm is too sure.
    - ``brier``: mean squared error summed over classes, in [0, 2].
    """

    source: ClassVar[str] = "Guo et al. 2017 (arXiv 1706.04599); Bröcker & Smith 2007 for the error by chance"
    kind: Literal["calibration"] = "calibration"
    bins: int = Field(15, ge=1, le=100, description="equal bins of confidence in (0, 1]")

    def measure(self, runs: Runs) -> list[dict[str, Any]]:
        rows = []
        for arm in ARMS:
            probs_SNC, truth_N = runs.probabilities(arm).astype(np.float64), runs.truth
            rows += [row | {"arm": arm} for row in _reliability_rows(probs_SNC, truth_N, self.bins)]
            conf_SN, right_SN = probs_SNC.max(-1), probs_SNC.argmax(-1) == truth_N
            error, chance = error_intervals(conf_SN, right_SN, self.bins)
            brier_SN = np.stack([brier_rows(probs_NC, truth_N) for probs_NC in probs_SNC])
            rows += [
                measured("calibration error", error, arm=arm, count=conf_SN.size),
                measured("calibration error by chance", chance, arm=arm, count=conf_SN.size),
                measured("overconfidence", ratio_interval(conf_SN - right_SN), arm=arm, count=conf_SN.size),
                measured("brier", ratio_interval(brier_SN), arm=arm, count=conf_SN.size),
            ]
        return rows


def _reliability_rows(probs_SNC: Floats, truth_N: npt.NDArray[np.int64], bins: int) -> list[dict[str, Any]]:
    n_seeds, _, n_classes = probs_SNC.shape
    table = reliability(probs_SNC.reshape(-1, n_classes), np.tile(truth_N, n_seeds), bins)
    inside_BSN = _inside(probs_SNC.max(-1), bins)
    right_BSN = inside_BSN & (probs_SNC.argmax(-1) == truth_N)

    def accuracy(total_RA: Floats) -> Floats:
        right, count = total_RA[:, :bins], total_RA[:, bins:]
        return right / np.where(count > 0, count, np.nan)

    found = function_intervals(np.concatenate([right_BSN, inside_BSN]), accuracy, resamples=RESAMPLES)
    low_edge = np.concatenate([[0.0], table.upper_edge[:-1]])
    return [
        measured(
            "reliability",
            interval,
            bin_low=float(low_edge[b]),
            bin_high=float(table.upper_edge[b]),
            confidence=float(table.confidence[b]),
            count=int(table.count[b]),
        )
        for b, interval in enumerate(found)
    ]


def error_intervals(
    confidence_SN: Floats, right_SN: npt.NDArray[np.bool_], bins: int, resamples: int = RESAMPLES
) -> tuple[Interval, Interval]:
    """The calibration error, and what it would be by chance alone in a calibrated arm.

    Binning lifts the error of a sample above that of the whole population, and that of a resample above the sample's, by
    about as much. The interval is therefore the reflected ("basic") one of the crossed bootstrap, cut to [0, 1] and
    widened to hold the value.

    Args:
        confidence_SN: largest probabilities in (0, 1], shape (seeds, test rows).
        right_SN: whether the most probable class is the true one, of the same shape.
        bins: number of equal bins of (0, 1].
        resamples: of the crossed bootstrap; a tenth as many runs give the error by chance.
    """
    n_seeds, n_test = confidence_SN.shape
    inside_BSN = _inside(confidence_SN, bins)
    # One arm for each bin and seed: an error is a sum of absolute values, so seeds cannot be summed before it.
    miss_ASN = (inside_BSN * (right_SN - confidence_SN)).reshape(bins * n_seeds, 1, n_test).astype(np.float32)
    total_RBS = crossed_bootstrap(miss_ASN, resamples, 0).reshape(resamples, bins, n_seeds)
    error_RS = np.abs(total_RBS).sum(1) / n_test
    draws = np.random.default_rng([0, 1]).integers(0, n_seeds, (resamples, n_seeds))
    boot_R = np.take_along_axis(error_RS, draws, 1).mean(1)
    value = _error(confidence_SN, right_SN, inside_BSN)
    lower, upper = np.quantile(boot_R, [0.025, 0.975])
    low, high = np.clip([2 * value - upper, 2 * value - lower], 0, 1)
    rng = np.random.default_rng([0, 2])
    # Seeds see the same rows, and what makes one student right makes the next: one draw of luck for all seeds of a row.
    luck_RN = rng.random((max(100, resamples // 10), n_test))
    null_R = np.array([_error(confidence_SN, u_N < confidence_SN, inside_BSN) for u_N in luck_RN])
    chance = Interval(float(null_R.mean()), *(float(q) for q in np.quantile(null_R, [0.025, 0.975])))
    return Interval(value, float(min(low, value)), float(max(high, value))), chance


def _inside(confidence_SN: Floats, bins: int) -> npt.NDArray[np.bool_]:
    """Which bin each row falls into, bool [B, S, N]; bins are closed above, as in `reliability`."""
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    return np.asarray(np.digitize(confidence_SN, inner, right=True) == np.arange(bins)[:, None, None])


def _error(
    confidence_SN: Floats, right_SN: npt.NDArray[np.bool_], inside_BSN: npt.NDArray[np.bool_]
) -> float:
    """Mean over seeds of the calibration error."""
    miss_SN = right_SN - confidence_SN
    sums_BS = np.einsum("bsn,sn->bs", inside_BSN.astype(np.float64), miss_SN)
    return float(np.abs(sums_BS).sum(0).mean() / confidence_SN.shape[1])
