"""Average of the weights along training (Burns et al. 2023, App. B; Polyak and Juditsky 1992)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Choice, Method
from weakstrong.training.spec import Finetune, Probe


@METHODS.register
class Ema(Method):
    """The student is an exponential moving average of its weights.

    At step t the decay is ``min(decay, (1 + t) / (10 + t))``, so that the start does not linger; decay 0 gives the
    last weights.
    """

    source: ClassVar[str] = "Burns et al. 2023, App. B"
    sets: ClassVar[frozenset[Choice]] = frozenset({"weights"})
    kind: Literal["ema"] = "ema"
    decay: float = Field(0.99, ge=0, lt=1, description="of the average, per step")

    def prepare(self, training: Probe | Finetune) -> Probe | Finetune:
        return training.model_copy(update={"ema": self.decay})
