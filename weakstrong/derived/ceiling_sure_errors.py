"""Errors where a strong model is sure and right (paper E.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from weakstrong.derived._errors import ErrorRule, truth_of
from weakstrong.derived.base import DERIVED, Given, IntArray, Reads


@DERIVED.register
class CeilingSureErrors(ErrorRule):
    """Ground truth with the errors where the ceiling is most confidently correct: gives the truth most probability.

    The ceiling here is one trained on the supervisor's half, so that it has not seen the rows it is asked about.
    """

    source: ClassVar[str] = "Burns et al. 2023, E.2, Fig. 25"
    reads: ClassVar[frozenset[Reads]] = frozenset({"truth", "ceiling"})
    kind: Literal["ceiling-sure-errors"] = "ceiling-sure-errors"

    def places(self, given: Given, errors: int) -> IntArray:
        assert given.ceiling_NC is not None
        truth_N = truth_of(given)
        true_N = given.ceiling_NC[np.arange(len(truth_N)), truth_N]
        return np.argsort(-true_N, kind="stable")[:errors]
