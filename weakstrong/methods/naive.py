"""Naive finetuning: imitate the weak labels (Burns et al. 2023, §4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from weakstrong.methods.base import METHODS, Method

if TYPE_CHECKING:
    from torch import Tensor


@METHODS.register
class Naive(Method):
    """Cross entropy against the weak labels as they are, soft or hard."""

    source: ClassVar[str] = "Burns et al. 2023, §4.2"
    rowwise: ClassVar[bool] = True
    kind: Literal["naive"] = "naive"

    def objective(self, logits_BC: Tensor, weak_BC: Tensor, *, progress: float, prior_C: Tensor) -> Tensor:
        return -(weak_BC * logits_BC.log_softmax(-1)).sum(-1)
