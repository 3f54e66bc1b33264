"""The supervisor's labels on other rows: a control in which there is nothing to learn."""

from __future__ import annotations

from typing import ClassVar, Literal

from weakstrong.derived.base import DERIVED, FloatArray, Given, Reads, Rule


@DERIVED.register
class Shuffled(Rule):
    """The supervisor's labels dealt to the rows of the part at random: class shares and confidences stay."""

    source: ClassVar[str] = "ours, a control"
    reads: ClassVar[frozenset[Reads]] = frozenset()
    kind: Literal["shuffled"] = "shuffled"

    def labels(self, given: Given) -> FloatArray:
        return given.weak_NC[given.generator.permutation(len(given.weak_NC))]
