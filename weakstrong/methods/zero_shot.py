"""Zero-shot prompting: ask the student, train nothing (Burns et al. 2023, §5.2.1)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Choice, Method
from weakstrong.training.spec import Prompt


@METHODS.register
class ZeroShot(Method):
    """The student's class probabilities after a prompt with the task's instruction. Needs a decoder."""

    source: ClassVar[str] = "Burns et al. 2023, §5.2.1, Fig. 9"
    sets: ClassVar[frozenset[Choice]] = frozenset({"answer"})
    kind: Literal["zero-shot"] = "zero-shot"
    instruction: str = Field("", description="empty: the task's own")

    @property
    def prompt(self) -> Prompt:  # type: ignore[override]
        return Prompt(instruction=self.instruction)
