"""Entropy loss: reward predictions that are sure, whatever they say (Burns et al. 2023, App. B)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Method

if TYPE_CHECKING:
    from torch import Tensor


@METHODS.register
class Entropy(Method):
    """Cross entropy plus ``weight`` times the entropy of the student's own prediction.

    Both terms have a gradient through the prediction: with the prediction detached, the second would be no entropy
    term at all, only another cross entropy.
    """

    source: ClassVar[str] = "Burns et al. 2023, App. B; Grandvalet and Bengio 2004"
    kind: Literal["entropy"] = "entropy"
    weight: float = Field(0.5, ge=0, description="of the entropy, in nats")

    def objective(self, logits_BC: Tensor, weak_BC: Tensor, *, progress: float, prior_C: Tensor) -> Tensor:
        logp_BC = logits_BC.log_softmax(-1)
        entropy_B = -(logp_BC.exp() * logp_BC).sum(-1)
        return -(weak_BC * logp_BC).sum(-1) + self.weight * entropy_B
