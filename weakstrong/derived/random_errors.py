"""Errors at random rows: the easiest kind to look through (paper E.1 and E.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from weakstrong.derived._errors import ErrorRule
from weakstrong.derived.base import DERIVED, Given, IntArray


@DERIVED.register
class RandomErrors(ErrorRule):
    """Ground truth with errors at random rows, as many as the supervisor makes."""

    source: ClassVar[str] = "Burns et al. 2023, E.1 and E.2, Fig. 24 to 26"
    kind: Literal["random-errors"] = "random-errors"

    def places(self, given: Given, errors: int) -> IntArray:
        return given.generator.permutation(len(given.weak_NC))[:errors]
