"""Bootstrapping through students of growing size (Burns et al. 2023, §4.3.1)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from weakstrong.errors import ConfigError
from weakstrong.methods.base import METHODS, Choice, Method
from weakstrong.models.base import MODELS, ModelSpec, card, parse_model


@METHODS.register
class Bootstrapping(Method):
    """The supervisor labels for a small student, that one for a larger one, and so on up to the student.

    Name the models in between by repeating ``through``; without, ``rounds`` rungs of the student evenly between the
    supervisor's depth (where both are rungs of one model; else none) and its own. The paper has two.
    """

    source: ClassVar[str] = "Burns et al. 2023, §4.3.1"
    sets: ClassVar[frozenset[Choice]] = frozenset({"through"})
    kind: Literal["bootstrapping"] = "bootstrapping"
    through: tuple[Annotated[ModelSpec, BeforeValidator(parse_model)], ...] = Field(
        (), description="models in between, small first"
    )
    rounds: int = Field(2, ge=0, description="rungs in between where none are named")
    fresh: bool = Field(
        False, description="rows of its own for each model in between, from those that no part uses"
    )

    @field_validator("through", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return value if isinstance(value, (list, tuple)) else (value,)

    @property
    def own_rows(self) -> bool:  # type: ignore[override]
        return self.fresh

    def intermediates(self, supervisor: str, student: ModelSpec) -> tuple[ModelSpec, ...]:
        if self.through or not self.rounds:
            return self.through
        depth = card(student).layers
        base, _, rung = supervisor.rpartition(":")
        low = int(rung) if rung.isdecimal() and base == student.source else 0
        if depth is None or depth - low <= self.rounds:
            raise ConfigError(
                f"bootstrapping: {student.name} leaves no room for {self.rounds} rungs above {supervisor}; "
                "name the models in between: bootstrapping:through=NAME,through=NAME"
            )
        steps = [low + round((depth - low) * (i + 1) / (self.rounds + 1)) for i in range(self.rounds)]
        separator = ":" if student.source in MODELS.names() else "::"
        stem = student.name.rpartition(separator)[0] if student.layers is not None else student.name
        return tuple(parse_model(f"{stem}{separator}{layers}") for layers in steps)
