"""Trivial imitation: the student is told the weak label (Burns et al. 2023, E.3)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from weakstrong.methods.base import METHODS, Choice, Method
from weakstrong.training.spec import Hint


@METHODS.register
class TrivialImitation(Method):
    """A control: every text the student reads, test rows too, ends with a line that states its weak hard label.

    Copying the supervisor is then the easiest thing to learn, and PGR should be about 0. The ceiling reads the texts
    without the line.
    """

    source: ClassVar[str] = "Burns et al. 2023, E.3, Fig. 27"
    sets: ClassVar[frozenset[Choice]] = frozenset({"hint"})
    kind: Literal["trivial-imitation"] = "trivial-imitation"
    line: str = Field("I think this is {label}.", description="{label} is the name of the class")
    context_words: int = Field(160, ge=1, description="last words of a text that are kept above the line")

    @field_validator("line")
    @classmethod
    def _says_the_label(cls, value: str) -> str:
        return Hint(line=value).line

    @property
    def hint(self) -> Hint:  # type: ignore[override]
        return Hint(line=self.line, context_words=self.context_words)
