"""What a rule is: how a supervisor's labels of one part become other weak labels, as one frozen spec. No torch.

Legend: N rows of one part, sorted by id; C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from weakstrong.errors import ConfigError
from weakstrong.parameters import parameters_in
from weakstrong.registry import Registry
from weakstrong.spec import Spec

DERIVED: Registry[type[Rule]] = Registry(
    "rule for weak labels", "weakstrong.derived", __file__, "Written RULE:SUPERVISOR (docs/controls.md)."
)

Reads = Literal["truth", "texts", "ceiling"]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Given:
    """What a rule may look at, of one part of a split.

    Attributes:
        weak_NC: the supervisor's class probabilities, float32, rows sum to one.
        generator: draws; the same for the same seed and part.
        truth_N: classes, int64; only for a rule that ``reads`` "truth".
        length_N: characters of each text (of a comparison: of both), int64; for one that reads "texts".
        ceiling_NC: class probabilities of a model like the ceiling, float32; for one that reads "ceiling".
    """

    weak_NC: FloatArray
    generator: np.random.Generator
    truth_N: IntArray | None = None
    length_N: IntArray | None = None
    ceiling_NC: FloatArray | None = None


class Rule(Spec):
    """How labels are derived. A subclass holds its parameters as fields and gives labels; it reads what it names."""

    source: ClassVar[str] = ""
    """Section and figure of the paper."""
    reads: ClassVar[frozenset[Reads]] = frozenset({"truth"})
    kind: str

    @cached_property
    def name(self) -> str:
        """Kind plus every parameter, e.g. ``mixed-errors:share=0.5``."""
        words = [f"{field}={getattr(self, field)}" for field in self.parameters()]
        return ":".join([self.kind, ",".join(words)]).rstrip(":")

    @classmethod
    def parameters(cls) -> list[str]:
        """Names of the fields that a user sets."""
        return [f for f in cls.model_fields if f != "kind"]

    def labels(self, given: Given) -> FloatArray:
        """The derived class probabilities, float32 [N, C]; ``given`` is left as it is."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: a rule says what labels it gives")


def parse_rule(value: object) -> Rule:
    """A rule from ``"mixed-errors:share=0.5"``, a mapping with ``kind``, or a `Rule`.

    >>> parse_rule("mixed-errors:share=0.5").name
    'mixed-errors:share=0.5'

    Raises:
        UnknownNameError: with close matches.
        ConfigError: for parameters that do not fit.
    """
    if isinstance(value, Rule):
        return value
    if isinstance(value, str):
        kind, _, rest = value.partition(":")
        value = {"kind": kind} | parameters_in(rest, f"rule {value!r}", "share=0.5")
    if not isinstance(value, dict) or "kind" not in value:
        raise ConfigError(f"a rule is a name or a mapping with 'kind', found {value!r}")
    return DERIVED.get(str(value["kind"])).parse(value, f"rule {value['kind']}")
