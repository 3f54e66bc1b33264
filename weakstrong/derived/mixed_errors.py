"""Some errors where the supervisor makes them, the rest at random: between simulable and not (paper E.1)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from weakstrong.derived._errors import ErrorRule, own_errors
from weakstrong.derived.base import DERIVED, Given, IntArray


@DERIVED.register
class MixedErrors(ErrorRule):
    """Ground truth with ``share`` of the errors at the supervisor's own places, the others at random.

    The others may fall on any row that has none yet, so ``share=0`` is ``random-errors`` with other draws, and
    ``share=1`` errs exactly where the supervisor does.
    """

    source: ClassVar[str] = "Burns et al. 2023, E.1, Fig. 24"
    kind: Literal["mixed-errors"] = "mixed-errors"
    share: float = Field(0.5, ge=0, le=1, description="of the errors, at the supervisor's own places")

    def places(self, given: Given, errors: int) -> IntArray:
        kept = given.generator.permutation(own_errors(given))[: round(self.share * errors)]
        free = np.setdiff1d(np.arange(len(given.weak_NC)), kept)
        return np.concatenate([kept, given.generator.permutation(free)[: errors - len(kept)]])
