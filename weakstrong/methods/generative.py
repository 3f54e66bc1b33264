"""Generative finetuning before the task's own training (Burns et al. 2023, §5.2.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Arm, Choice, Method
from weakstrong.training.spec import Generative


@METHODS.register
class GenerativeFirst(Method):
    """Language-model training on the transfer texts without labels, then the task as usual. Needs a decoder.

    PGR is then taken against a ceiling that had it too (Fig. 18); ``supervisor=true`` tunes the supervisor as well,
    on its own texts.
    """

    source: ClassVar[str] = "Burns et al. 2023, §5.2.2, Fig. 18"
    sets: ClassVar[frozenset[Choice]] = frozenset({"start"})
    kind: Literal["generative"] = "generative"
    rows: int | None = Field(None, ge=1, description="texts to train on; empty: all of the part")
    epochs: int = Field(1, ge=1, description="passes over them")
    learning_rate: float = Field(5e-5, gt=0)
    ceiling: bool = Field(True, description="tune the ceiling too")
    supervisor: bool = Field(False, description="tune the supervisor too")

    @property
    def start(self) -> Generative:  # type: ignore[override]
        return Generative(rows=self.rows, epochs=self.epochs, learning_rate=self.learning_rate)

    def starts(self, arm: Arm) -> bool:
        return arm == "student" or (self.ceiling if arm == "ceiling" else self.supervisor)
