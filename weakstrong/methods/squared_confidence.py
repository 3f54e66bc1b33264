"""Squared confidence loss: reward predictions far from even (Burns et al. 2023, App. B)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Method

if TYPE_CHECKING:
    from torch import Tensor


@METHODS.register
class SquaredConfidence(Method):
    """Cross entropy minus ``weight`` times the squared distance of the prediction from even odds.

    For two classes the paper's ``-(p - 0.5)²``; for more, half of ``Σ (p_c - 1/C)²``, which is the same for two.
    """

    source: ClassVar[str] = "Burns et al. 2023, App. B"
    kind: Literal["squared-confidence"] = "squared-confidence"
    weight: float = Field(2.0, ge=0, description="of the squared distance")

    def objective(self, logits_BC: Tensor, weak_BC: Tensor, *, progress: float, prior_C: Tensor) -> Tensor:
        logp_BC = logits_BC.log_softmax(-1)
        distance_B = (logp_BC.exp() - 1 / logits_BC.shape[-1]).square().sum(-1) / 2
        return -(weak_BC * logp_BC).sum(-1) - self.weight * distance_B
