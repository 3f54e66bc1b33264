"""Stronger regularisation of the weights (Burns et al. 2023, App. B)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Choice, Method
from weakstrong.training.spec import Finetune, Probe


@METHODS.register
class Regularised(Method):
    """Weight decay (decoupled, as in AdamW) and dropout for the student."""

    source: ClassVar[str] = "Burns et al. 2023, App. B"
    sets: ClassVar[frozenset[Choice]] = frozenset({"weights"})
    kind: Literal["regularised"] = "regularised"
    weight_decay: float = Field(0.1, ge=0, description="share per unit of learning rate and step")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the model's layers; of features in a probe")

    def prepare(self, training: Probe | Finetune) -> Probe | Finetune:
        return training.model_copy(update={"weight_decay": self.weight_decay, "dropout": self.dropout})
