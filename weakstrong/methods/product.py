"""Product confidence loss: learn what supervisor and student agree on (Burns et al. 2023, App. B)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Method

if TYPE_CHECKING:
    from torch import Tensor


@METHODS.register
class Product(Method):
    """Cross entropy against weak times student probability, renormalised; no gradient through the target.

    Works on logarithms, so a label of exactly zero stays zero and a sure student makes no 0/0.
    """

    source: ClassVar[str] = "Burns et al. 2023, App. B"
    kind: Literal["product"] = "product"
    warmup: float = Field(
        0.0, ge=0, le=1, description="share of training over which the student's exponent rises from 0 to 1"
    )

    def objective(self, logits_BC: Tensor, weak_BC: Tensor, *, progress: float, prior_C: Tensor) -> Tensor:
        logp_BC = logits_BC.log_softmax(-1)
        power = min(1.0, progress / self.warmup) if self.warmup else 1.0
        # The log of a label of zero is minus infinity: its class stays out, however sure the student is of it.
        target_BC = (weak_BC.log() + power * logp_BC.detach()).softmax(-1)
        return -(target_BC * logp_BC).sum(-1)
