"""weakstrong.calibration against scikit-learn and limit cases. Shape suffixes as there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from weakstrong import stats
from weakstrong.errors import ConfigError, DataError

PROBS = np.full((3, 2), 0.5)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "logits": (lambda: stats.brier([[2.0, -1.0]], [0]), "row 0.*logits"),
    "nan as probability": (lambda: stats.brier([[math.nan, 1.0]], [0]), "row 0"),
    "label past the classes": (lambda: stats.expected_calibration_error(PROBS, [0, 1, 2]), "wanted 0 to 1"),
    "label below 0": (lambda: stats.brier(PROBS, [0, 1, -1]), "from -1"),
}


def test_calibration_against_sklearn() -> None:
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


def test_perfect_and_worst_probabilities() -> None:
    sure = np.eye(3)[[0, 1, 2, 0]]
    assert stats.expected_calibration_error(sure, [0, 1, 2, 0]) == stats.brier(sure, [0, 1, 2, 0]) == 0
    assert stats.expected_calibration_error(sure, [1, 2, 0, 1]) == 1
    assert stats.brier(sure, [1, 2, 0, 1]) == 2


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arrays_are_refused_by_name(name: Any) -> None:
    call, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        call()


def test_no_bins_are_refused() -> None:
    """Catches an empty table in place of an error."""
    with pytest.raises(ConfigError, match="bins"):
        stats.reliability(PROBS, [0, 1, 0], bins=0)
