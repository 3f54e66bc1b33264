"""Consistency between a text and another view of it (Burns et al. 2023, App. B, data augmentation)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Choice, Method
from weakstrong.training.spec import Perturb

if TYPE_CHECKING:
    from torch import Tensor


@METHODS.register
class Consistency(Method):
    """Adds ``weight`` times the cross entropy of the second view against the prediction of the first.

    The second view is the task's paraphrase column, or the text with words left out and swapped. No gradient flows
    through the first view's prediction here: the second learns from the first.
    """

    source: ClassVar[str] = "Burns et al. 2023, App. B"
    sets: ClassVar[frozenset[Choice]] = frozenset({"view"})
    kind: Literal["consistency"] = "consistency"
    weight: float = Field(0.5, ge=0, description="of the added term, in nats")
    view_of: Literal["auto", "paraphrase", "words"] = Field(
        "auto",
        description="paraphrase: the task's own; words: left out and swapped; auto: the first that is there",
    )
    drop: float = Field(0.1, ge=0, lt=1, description="share of words left out")
    swap: float = Field(0.1, ge=0, lt=1, description="share of words that change places with the next")

    @property
    def view(self) -> Perturb:  # type: ignore[override]
        return Perturb(view=self.view_of, drop=self.drop, swap=self.swap)

    def disagreement(self, logits_BC: Tensor, view_BC: Tensor) -> Tensor:
        target_BC = logits_BC.detach().softmax(-1)
        return -self.weight * (target_BC * view_BC.log_softmax(-1)).sum(-1)
