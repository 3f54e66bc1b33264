"""Generalised cross entropy, robust to label noise (Zhang and Sabuncu 2018, arXiv 1805.07836)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Method

if TYPE_CHECKING:
    from torch import Tensor


@METHODS.register
class GeneralisedCe(Method):
    """``Σ weak_c · (1 - p_c^q) / q``: cross entropy as q goes to 0, mean absolute error at q = 1.

    Burns et al. 2023, App. B, tried noise-robust losses of this kind.
    """

    source: ClassVar[str] = "Zhang and Sabuncu 2018, eq. 6; Burns et al. 2023, App. B"
    kind: Literal["generalised-ce"] = "generalised-ce"
    q: float = Field(0.7, gt=0, le=1, description="0: cross entropy, 1: mean absolute error")

    def objective(self, logits_BC: Tensor, weak_BC: Tensor, *, progress: float, prior_C: Tensor) -> Tensor:
        logp_BC = logits_BC.log_softmax(-1)
        # expm1 keeps its digits where q·log p is near 0.
        return -(weak_BC * (self.q * logp_BC).expm1()).sum(-1) / self.q
