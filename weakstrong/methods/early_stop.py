"""Which moment of training is kept (Burns et al. 2023, §5.1.1)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Choice, Method, Stop


@METHODS.register
class EarlyStop(Method):
    """Keep the moment of best agreement with held-out weak labels (the default of every method), the last, or an oracle's.

    The oracle looks at ground truth of the test part, as in the paper: its cells are marked ``uses_ground_truth``,
    drawn apart and never compared.
    """

    source: ClassVar[str] = "Burns et al. 2023, §5.1.1"
    sets: ClassVar[frozenset[Choice]] = frozenset({"stop"})
    kind: Literal["early-stop"] = "early-stop"
    on: Stop = Field(
        "weak", description="weak: best on weak validation labels; last; oracle: best on ground truth"
    )

    @property
    def stop(self) -> Stop:  # type: ignore[override]
        return self.on
