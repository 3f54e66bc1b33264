"""Few-shot prompting with weak labels or ground truth (Burns et al. 2023, §5.2.1)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Choice, Method
from weakstrong.training.spec import Prompt


@METHODS.register
class FewShot(Method):
    """As zero-shot, with ``k`` transfer rows in the prompt, classes in turn. Needs a decoder.

    With ``labels=truth`` the examples carry ground truth: the cell is marked ``uses_ground_truth`` and never compared.
    """

    source: ClassVar[str] = "Burns et al. 2023, §5.2.1, Fig. 9, Table 2"
    sets: ClassVar[frozenset[Choice]] = frozenset({"answer"})
    kind: Literal["few-shot"] = "few-shot"
    k: int = Field(5, ge=1, description="examples in the prompt")
    labels: Literal["weak", "truth"] = Field("weak", description="whose labels they carry")
    instruction: str = Field("", description="empty: the task's own")

    @property
    def prompt(self) -> Prompt:  # type: ignore[override]
        return Prompt(shots=self.k, labels=self.labels, instruction=self.instruction)
