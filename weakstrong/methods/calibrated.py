"""Temperature calibration of the supervisor (Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

from typing import ClassVar, Literal

from weakstrong.methods.base import METHODS, Choice, Method


@METHODS.register
class Calibrated(Method):
    """Weak labels at the temperature that fits the supervisor's own held-out rows best.

    The temperature minimises the negative log-likelihood of ground truth on the supervisor's validation part, which
    the supervisor may see; the student still sees probabilities only.
    """

    source: ClassVar[str] = "Guo et al. 2017, §4"
    sets: ClassVar[frozenset[Choice]] = frozenset({"labels"})
    kind: Literal["calibrated"] = "calibrated"
    calibrates: ClassVar[bool] = True
