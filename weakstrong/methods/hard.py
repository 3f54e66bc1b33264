"""Hard labels: the supervisor's favourite class, certain (Burns et al. 2023, §3)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from weakstrong.methods.base import METHODS, BoolArray, Choice, FloatArray, Method


@METHODS.register
class Hard(Method):
    """Cross entropy against the class with the largest weak probability."""

    source: ClassVar[str] = "Burns et al. 2023, §3 and A.1"
    sets: ClassVar[frozenset[Choice]] = frozenset({"labels"})
    kind: Literal["hard"] = "hard"

    def relabel(self, weak_NC: FloatArray, generator: np.random.Generator) -> tuple[FloatArray, BoolArray]:
        hard_NC = np.eye(weak_NC.shape[1], dtype=np.float32)[weak_NC.argmax(1)]
        return hard_NC, np.ones(len(weak_NC), bool)
