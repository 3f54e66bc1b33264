"""Random noise on the weak labels (Burns et al. 2023, App. B)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from weakstrong.methods.base import METHODS, BoolArray, Choice, FloatArray, Method


@METHODS.register
class Noise(Method):
    """A ``share`` of rows get a class drawn at random, all classes alike, in place of their weak label."""

    source: ClassVar[str] = "Burns et al. 2023, App. B"
    sets: ClassVar[frozenset[Choice]] = frozenset({"labels"})
    kind: Literal["noise"] = "noise"
    share: float = Field(0.1, ge=0, le=1, description="share of rows, chosen at random")

    def relabel(self, weak_NC: FloatArray, generator: np.random.Generator) -> tuple[FloatArray, BoolArray]:
        rows, classes = weak_NC.shape
        hit = generator.permutation(rows)[: round(self.share * rows)]
        noisy_NC = weak_NC.copy()
        noisy_NC[hit] = np.eye(classes, dtype=np.float32)[generator.integers(classes, size=len(hit))]
        return noisy_NC, np.ones(rows, bool)
