"""Errors where a strong model is least confident (paper E.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from weakstrong.derived._errors import ErrorRule
from weakstrong.derived.base import DERIVED, Given, IntArray, Reads


@DERIVED.register
class CeilingUnsureErrors(ErrorRule):
    """Ground truth with the errors where the ceiling is least confident: its largest probability is smallest.

    The ceiling here is one trained on the supervisor's half, so that it has not seen the rows it is asked about.
    """

    source: ClassVar[str] = "Burns et al. 2023, E.2, Fig. 25"
    reads: ClassVar[frozenset[Reads]] = frozenset({"truth", "ceiling"})
    kind: Literal["ceiling-unsure-errors"] = "ceiling-unsure-errors"

    def places(self, given: Given, errors: int) -> IntArray:
        assert given.ceiling_NC is not None
        return np.argsort(given.ceiling_NC.max(1), kind="stable")[:errors]
