"""Errors on the longest texts (paper E.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from weakstrong.derived._errors import ErrorRule
from weakstrong.derived.base import DERIVED, Given, IntArray, Reads


@DERIVED.register
class LongestErrors(ErrorRule):
    """Ground truth with the errors on the longest texts, in characters; of a comparison both texts count."""

    source: ClassVar[str] = "Burns et al. 2023, E.2, Fig. 25"
    reads: ClassVar[frozenset[Reads]] = frozenset({"truth", "texts"})
    kind: Literal["longest-errors"] = "longest-errors"

    def places(self, given: Given, errors: int) -> IntArray:
        assert given.length_N is not None
        return np.argsort(-given.length_N, kind="stable")[:errors]
