"""How much a student's disagreement with its weak labels says of its gain (Charikar et al. 2024).

Legend: S seeds, N test rows, C classes.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from weakstrong.analyses.base import ANALYSES, Analysis, measured
from weakstrong.analyses.runs import Runs
from weakstrong.intervals import Interval, ratio_interval
from weakstrong.resampling import Floats

Loss = Literal["squared", "cross entropy"]
LOSSES: tuple[Loss, ...] = ("squared", "cross entropy")
INFINITE = "a probability of 0, as in hard weak labels, makes it infinite"


@ANALYSES.register
class Misfit(Analysis):
    """The misfit of student and weak labels, an estimate of the gain without labels, beside the gain.

    ``misfit`` needs no ground truth (``uses_ground_truth`` is False); ``gain`` and ``gain minus misfit`` do. Each comes
    for two losses, as means over held-out (test) rows, student p, weak labels w, true class y as a one-hot vector:

    - ``squared``: misfit sum((p - w)^2), gain sum((w - y)^2) - sum((p - y)^2): Brier score of the supervisor minus
      Brier score of the student;
    - ``cross entropy``: misfit KL(p || w) = sum(p log(p / w)), the *reverse* divergence (student first), gain
      log p_y - log w_y, in nats. Undefined (with ``reason``) where a zero makes it infinite, as hard weak labels do.

    Theorem (squared: Charikar et al. 2024; any Bregman divergence, so cross entropy: Mulgund & Pabbaraju 2025): gain is
    at least misfit, in expectation over inputs, if (1) the functions that the student can become are a convex set (of
    probabilities, not of logits), (2) the truth is one of them (realisable), and (3) the student is that of them with
    the smallest misfit, as named above, to the weak labels. Noise in y cancels from the gain. A softmax over a linear
    layer is no convex set, students train on the forward divergence -sum(w log p), and other methods than naive are
    made not to fit the weak labels: so nothing here is promised, and ``gain minus misfit`` shows how far it holds; it
    is negative where misfit promises too much. Misfit is never negative: alone it can not tell gain from harm.
    """

    source: ClassVar[str] = (
        "Charikar et al. 2024 (arXiv 2405.15116); Mulgund & Pabbaraju 2025 (arXiv 2501.19105)"
    )
    kind: Literal["misfit"] = "misfit"

    def measure(self, runs: Runs) -> list[dict[str, Any]]:
        weak_SNC, student_SNC = _probabilities(runs)
        rows = self.without_truth(runs)
        for loss in LOSSES:
            misfit_SN = misfit_rows(student_SNC, weak_SNC, loss)
            gain_SN = gain_rows(student_SNC, weak_SNC, runs.truth, loss)
            with np.errstate(
                invalid="ignore"
            ):  # infinity minus infinity; such a row says why it is undefined
                rest_SN = gain_SN - misfit_SN
            rows += [
                _row("gain", gain_SN, loss, uses_ground_truth=True),
                _row("gain minus misfit", rest_SN, loss, uses_ground_truth=True),
            ]
        return rows

    def without_truth(self, runs: Runs) -> list[dict[str, Any]]:
        """The rows that a user without ground truth could have: they read predictions only."""
        weak_SNC, student_SNC = _probabilities(runs)
        return [
            _row("misfit", misfit_rows(student_SNC, weak_SNC, loss), loss, uses_ground_truth=False)
            for loss in LOSSES
        ]


def misfit_rows(student_SNC: Floats, weak_SNC: Floats, loss: Loss) -> Floats:
    """Misfit of each row, [S, N]: squared distance in [0, 2], or KL(student || weak) in nats, maybe infinite."""
    if loss == "squared":
        squared: Floats = ((student_SNC - weak_SNC) ** 2).sum(-1)
        return squared
    from scipy.special import rel_entr  # p log(p / q): 0 for p = 0, infinite for q = 0

    # Float32 probabilities sum to 1 within 1e-7 only, so that a distance of nearly 0 can come out just below it.
    reverse: Floats = np.maximum(rel_entr(student_SNC, weak_SNC).sum(-1), 0.0)
    return reverse


def gain_rows(student_SNC: Floats, weak_SNC: Floats, truth_N: npt.NDArray[np.int64], loss: Loss) -> Floats:
    """Loss of the weak labels minus that of the student on the true class, [S, N]; infinite or nan after a log of 0."""
    if loss == "squared":
        y_NC = np.eye(weak_SNC.shape[-1])[truth_N]
        squared: Floats = ((weak_SNC - y_NC) ** 2).sum(-1) - ((student_SNC - y_NC) ** 2).sum(-1)
        return squared
    rows = np.arange(len(truth_N))
    with np.errstate(divide="ignore", invalid="ignore"):
        gained: Floats = np.log(student_SNC[:, rows, truth_N]) - np.log(weak_SNC[:, rows, truth_N])
    return gained


def _probabilities(runs: Runs) -> tuple[Floats, Floats]:
    weak_SNC, student_SNC = runs.probabilities("supervisor"), runs.probabilities("student")
    return weak_SNC.astype(np.float64), student_SNC.astype(np.float64)


def _row(measure: str, values_SN: Floats, loss: Loss, *, uses_ground_truth: bool) -> dict[str, Any]:
    finite = bool(np.isfinite(values_SN).all())
    interval = ratio_interval(values_SN) if finite else Interval(math.nan, math.nan, math.nan)
    return measured(
        measure, interval, loss=loss, uses_ground_truth=uses_ground_truth, reason="" if finite else INFINITE
    )
