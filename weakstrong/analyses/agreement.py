"""How often the student says what its supervisor says (paper §5.1.2 and §5.1.3, Fig. 8 and 16).

Legend: S seeds, N test rows, C classes.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from weakstrong.analyses.base import ANALYSES, Analysis, measured
from weakstrong.analyses.runs import Runs
from weakstrong.stats import ratio_interval


@ANALYSES.register
class Agreement(Analysis):
    """Share of test rows with equal prediction: all, where the supervisor is right, where it is wrong.

    A student that agrees less where the supervisor is wrong does not copy its errors. The ceiling stands beside the
    student: what agreement a student has that never saw a weak label. Cross entropy is the mean over rows of
    -sum(weak * log(student)), in nats.
    """

    source: ClassVar[str] = "Burns et al. 2023, §5.1.3, Fig. 8, 16"
    kind: Literal["agreement"] = "agreement"

    def measure(self, runs: Runs) -> list[dict[str, Any]]:
        weak_SN, right_SN = runs.guesses("supervisor"), runs.correct("supervisor")
        weak_SNC = runs.probabilities("supervisor").astype(np.float64)
        rows = []
        for arm in ("student", "ceiling"):
            equal_SN = runs.guesses(arm) == weak_SN
            places = {
                "all": np.ones_like(right_SN),
                "supervisor right": right_SN,
                "supervisor wrong": ~right_SN,
            }
            for where, chosen_SN in places.items():
                rows.append(
                    measured(
                        "agreement",
                        ratio_interval(equal_SN & chosen_SN, chosen_SN),
                        arm=arm,
                        where=where,
                        rows=int(chosen_SN.sum()),
                    )
                )
            log_SNC = np.log(np.maximum(runs.probabilities(arm).astype(np.float64), 1e-12))
            entropy_SN = -(weak_SNC * log_SNC).sum(-1)
            rows.append(
                measured(
                    "cross entropy", ratio_interval(entropy_SN), arm=arm, where="all", rows=entropy_SN.size
                )
            )
        return rows
