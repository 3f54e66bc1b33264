"""Low-rank adapters in place of all weights (Hu et al. 2021, arXiv 2106.09685; Burns et al. 2023, App. B)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.errors import ConfigError
from weakstrong.methods.base import METHODS, Choice, Method
from weakstrong.training.spec import Finetune, Lora, Probe


@METHODS.register
class LoraWeights(Method):
    """Only adapters on the linear layers are trained, and merged at the end. Finetune regime."""

    source: ClassVar[str] = "Hu et al. 2021; Burns et al. 2023, App. B"
    sets: ClassVar[frozenset[Choice]] = frozenset({"weights"})
    kind: Literal["lora"] = "lora"
    rank: int = Field(16, ge=1, description="of each adapter")
    alpha: float = Field(32.0, gt=0, description="scale; the adapter counts alpha / rank")
    learning_rate: float = Field(
        5e-4, gt=0, description="adapters start at zero and want more than all weights do"
    )

    def prepare(self, training: Probe | Finetune) -> Finetune:
        if isinstance(training, Probe):
            raise ConfigError(
                "lora adapts the layers that a probe leaves frozen, so it needs --regime finetune"
            )
        return training.model_copy(
            update={"lora": Lora(rank=self.rank, alpha=self.alpha), "learning_rate": self.learning_rate}
        )
