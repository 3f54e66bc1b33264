"""Confidence thresholding: learn from the labels the supervisor is surest of (Burns et al. 2023, App. B)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from weakstrong.methods.base import METHODS, BoolArray, Choice, FloatArray, Method


@METHODS.register
class Threshold(Method):
    """Of the rows that the supervisor puts in a class, the ``share`` it is surest of is kept, class by class.

    The paper keeps 5 to 20 % per class. Class by class, so that a supervisor that is surer of one class does not
    hide the other; at least one row of each class that has any.
    """

    source: ClassVar[str] = "Burns et al. 2023, App. B"
    sets: ClassVar[frozenset[Choice]] = frozenset({"labels"})
    kind: Literal["threshold"] = "threshold"
    share: float = Field(0.2, gt=0, le=1, description="share of each class's rows that is kept")

    def relabel(self, weak_NC: FloatArray, generator: np.random.Generator) -> tuple[FloatArray, BoolArray]:
        keep_N = np.zeros(len(weak_NC), bool)
        guess_N, sure_N = weak_NC.argmax(1), weak_NC.max(1)
        for c in range(weak_NC.shape[1]):
            rows = np.flatnonzero(guess_N == c)
            order = np.argsort(-sure_N[rows], kind="stable")
            keep_N[rows[order[: int(np.ceil(self.share * len(rows) - 1e-9))]]] = True
        return weak_NC, keep_N
