"""Label smoothing (Szegedy et al. 2016, arXiv 1512.00567)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Method

if TYPE_CHECKING:
    from torch import Tensor


@METHODS.register
class LabelSmoothing(Method):
    """Cross entropy against ``(1 - share) · weak + share / C``: never asks for certainty."""

    source: ClassVar[str] = "Szegedy et al. 2016, §7"
    kind: Literal["label-smoothing"] = "label-smoothing"
    share: float = Field(0.1, ge=0, le=1, description="weight of even odds in the target")

    def objective(self, logits_BC: Tensor, weak_BC: Tensor, *, progress: float, prior_C: Tensor) -> Tensor:
        target_BC = (1 - self.share) * weak_BC + self.share / logits_BC.shape[-1]
        return -(target_BC * logits_BC.log_softmax(-1)).sum(-1)
