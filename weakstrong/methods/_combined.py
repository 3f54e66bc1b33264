"""Several methods as one: each makes its own choices, and two that make the same one are refused."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from weakstrong.methods.base import Arm, BoolArray, Choice, FloatArray, Method, Stop, parse_method
from weakstrong.training.spec import Finetune, Hint, Perturb, Probe, Prompt, Start

if TYPE_CHECKING:
    from torch import Tensor

    from weakstrong.models.base import ModelSpec

CHAINED: frozenset[Choice] = frozenset({"labels", "weights"})
"""Choices that several parts may make: one after another, in the order given."""


class Combined(Method):
    """Parts in order, e.g. ``generative+bootstrapping+confidence``. Naive finetuning where no part chooses."""

    kind: Literal["combined"] = "combined"
    parts: tuple[Annotated[SerializeAsAny[Method], BeforeValidator(parse_method)], ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _go_together(self) -> Combined:
        for i, part in enumerate(self.parts):
            if isinstance(part, Combined):
                raise ValueError(f"{part.name} is combined already; give one flat list of parts")
            if "answer" in part.sets:
                raise ValueError(f"{part.name} does not train a student, so nothing can be combined with it")
            for other in self.parts[:i]:
                both = sorted((part.sets & other.sets) - CHAINED)
                if both:
                    raise ValueError(
                        f"{other.name} and {part.name} both set the {both[0]}; a student has one, so give one of them"
                    )
                if part.kind == other.kind:
                    raise ValueError(f"{part.kind} is named twice; give it once with its parameters")
        return self

    def _who(self, choice: Choice) -> Method | None:
        return next((part for part in self.parts if choice in part.sets), None)

    @cached_property
    def name(self) -> str:
        """The parts' names joined by plus signs."""
        return "+".join(part.name for part in self.parts)

    @property
    def source(self) -> str:  # type: ignore[override]
        return "; ".join(dict.fromkeys(part.source for part in self.parts))

    @property
    def sets(self) -> frozenset[Choice]:  # type: ignore[override]
        return frozenset().union(*(part.sets for part in self.parts))

    @property
    def rowwise(self) -> bool:  # type: ignore[override]
        return all(part.rowwise for part in self.parts)

    @property
    def calibrates(self) -> bool:  # type: ignore[override]
        return any(part.calibrates for part in self.parts)

    def relabel(self, weak_NC: FloatArray, generator: np.random.Generator) -> tuple[FloatArray, BoolArray]:
        keep_N = np.ones(len(weak_NC), bool)
        for part in self.parts:
            weak_NC, kept_N = part.relabel(weak_NC, generator)
            keep_N &= kept_N
        return weak_NC, keep_N

    @property
    def start(self) -> Start | None:  # type: ignore[override]
        part = self._who("start")
        return None if part is None else part.start

    def starts(self, arm: Arm) -> bool:
        part = self._who("start")
        return part is not None and part.starts(arm)

    def objective(self, logits_BC: Tensor, weak_BC: Tensor, *, progress: float, prior_C: Tensor) -> Tensor:
        part = self._who("objective")
        found = super().objective if part is None else part.objective
        return found(logits_BC, weak_BC, progress=progress, prior_C=prior_C)

    @property
    def view(self) -> Perturb | None:  # type: ignore[override]
        part = self._who("view")
        return None if part is None else part.view

    def disagreement(self, logits_BC: Tensor, view_BC: Tensor) -> Tensor:
        part = self._who("view")
        found = super().disagreement if part is None else part.disagreement
        return found(logits_BC, view_BC)

    @property
    def hint(self) -> Hint | None:  # type: ignore[override]
        part = self._who("hint")
        return None if part is None else part.hint

    @property
    def stop(self) -> Stop:  # type: ignore[override]
        part = self._who("stop")
        return "weak" if part is None else part.stop

    def intermediates(self, supervisor: str, student: ModelSpec) -> tuple[ModelSpec, ...]:
        part = self._who("through")
        return () if part is None else part.intermediates(supervisor, student)

    @property
    def own_rows(self) -> bool:  # type: ignore[override]
        part = self._who("through")
        return part is not None and part.own_rows

    def prepare(self, training: Probe | Finetune) -> Probe | Finetune:
        for part in self.parts:
            training = part.prepare(training)
        return training

    @property
    def prompt(self) -> Prompt | None:  # type: ignore[override]
        return None


def combine(*parts: Any) -> Combined:
    """`Combined` of methods, names or mappings.

    >>> combine("hard", "confidence").name
    'hard+confidence'
    """
    return Combined.parse({"parts": parts}, "combine")
