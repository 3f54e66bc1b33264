"""Whether two models are wrong on the same rows, beyond what their accuracies make likely (Goel et al. 2025).

Legend: S seeds, N test rows, C classes, A arms of the bootstrap, R resamples, K statistics.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from weakstrong.analyses.base import ANALYSES, Analysis, measured
from weakstrong.analyses.runs import Runs
from weakstrong.intervals import Interval, function_intervals
from weakstrong.methods.base import Arm
from weakstrong.resampling import Floats

PAIRS: tuple[tuple[Arm, Arm], ...] = (
    ("supervisor", "student"),
    ("supervisor", "ceiling"),
    ("student", "ceiling"),
)
MEASURES = ("capa", "capa of guesses", "cohen's kappa", "error consistency", "agreement")


@ANALYSES.register
class ErrorSimilarity(Analysis):
    """Similarity of the errors of supervisor, student and ceiling, pair by pair.

    Each but ``agreement`` is (observed - expected) / (1 - expected), 0 by chance and 1 for the same answers, with
    means over the test rows of all seeds:

    - ``capa``: CAPA, kappa_p. Observed: sum over classes of the product of both probabilities. Expected, of independent
      models with the same mean probabilities a and b on the true class: a b + (1 - a)(1 - b) / (C - 1), the rest spread
      evenly over the other classes. Two equal models reach 1 only if they are sure of every row.
    - ``capa of guesses``: the same with probability 1 on each model's first class, so a and b are accuracies.
    - ``cohen's kappa``: observed agreement of guesses; expected from how often each model names each class.
    - ``error consistency``: both right or both wrong; expected from the two accuracies (Geirhos et al. 2020). With two
      classes it is ``capa of guesses``.
    - ``agreement``: share of rows with the same guess, not adjusted for anything.

    Undefined where the expected agreement is 1.
    """

    source: ClassVar[str] = (
        "Goel et al. 2025 (arXiv 2502.04313); Cohen 1960; Geirhos et al. 2020 (2006.16736)"
    )
    kind: Literal["error-similarity"] = "error-similarity"

    def measure(self, runs: Runs) -> list[dict[str, Any]]:
        probs = {
            arm: runs.probabilities(arm).astype(np.float64) for arm in ("supervisor", "student", "ceiling")
        }
        return [
            measured(measure, interval, arm=first, other=second)
            for first, second in PAIRS
            for measure, interval in similarity(probs[first], probs[second], runs.truth).items()
        ]


def similarity(a_SNC: Floats, b_SNC: Floats, truth_N: npt.NDArray[np.int64]) -> dict[str, Interval]:
    """The five measures of two models' class probabilities on the same rows; see `ErrorSimilarity`."""
    n_seeds, n_test, n_classes = a_SNC.shape
    rows, classes = np.arange(n_test), np.arange(n_classes)[:, None, None]
    guess_a_SN, guess_b_SN = a_SNC.argmax(-1), b_SNC.argmax(-1)
    right_a_SN, right_b_SN = guess_a_SN == truth_N, guess_b_SN == truth_N
    means_ASN = np.concatenate(
        [
            [(a_SNC * b_SNC).sum(-1), a_SNC[:, rows, truth_N], b_SNC[:, rows, truth_N]],
            [guess_a_SN == guess_b_SN, right_a_SN, right_b_SN, right_a_SN == right_b_SN],
            guess_a_SN == classes,
            guess_b_SN == classes,
        ]
    )

    def statistics(total_RA: Floats) -> Floats:
        mean_RA = total_RA / (n_seeds * n_test)
        both, a, b, same, right_a, right_b, alike = mean_RA[:, :7].T
        named_a_RC, named_b_RC = np.split(mean_RA[:, 7:], 2, axis=1)
        columns = (
            _adjusted(both, _by_accuracy(a, b, n_classes)),
            _adjusted(same, _by_accuracy(right_a, right_b, n_classes)),
            _adjusted(same, (named_a_RC * named_b_RC).sum(1)),
            _adjusted(alike, _by_accuracy(right_a, right_b, 2)),
            same,
        )
        return np.stack(columns, 1)

    return dict(zip(MEASURES, function_intervals(means_ASN, statistics), strict=True))


def _by_accuracy(a_R: Floats, b_R: Floats, n_classes: int) -> Floats:
    """Agreement of independent models that are right with probability a and b, and wrong evenly."""
    expected: Floats = a_R * b_R + (1 - a_R) * (1 - b_R) / (n_classes - 1)
    return expected


def _adjusted(observed_R: Floats, expected_R: Floats) -> Floats:
    adjusted: Floats = (observed_R - expected_R) / np.where(expected_R < 1, 1 - expected_R, np.nan)
    return adjusted
