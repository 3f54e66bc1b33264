"""Linear probe first, then all weights (Kumar et al. 2022, arXiv 2202.10054; Burns et al. 2023, App. B)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.errors import ConfigError
from weakstrong.methods.base import METHODS, Choice, Method
from weakstrong.training.spec import Finetune, Probe, ProbeFirst


@METHODS.register
class LpFt(Method):
    """A probe on the weak labels gives the head that finetuning starts from. Finetune regime, decoders."""

    source: ClassVar[str] = "Kumar et al. 2022; Burns et al. 2023, App. B"
    sets: ClassVar[frozenset[Choice]] = frozenset({"start"})
    kind: Literal["lp-ft"] = "lp-ft"
    epochs: int = Field(30, ge=1, description="of the probe")

    @property
    def start(self) -> ProbeFirst:  # type: ignore[override]
        return ProbeFirst(epochs=self.epochs)

    def prepare(self, training: Probe | Finetune) -> Finetune:
        if isinstance(training, Probe):
            raise ConfigError(
                "lp-ft finetunes after its probe, so it needs --regime finetune; a probe alone is naive"
            )
        return training
