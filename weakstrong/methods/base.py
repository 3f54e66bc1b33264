"""What a method is: small choices that compose, as one frozen spec.

Legend: N training rows, B rows of a batch, C classes.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from weakstrong.errors import ConfigError
from weakstrong.parameters import parameters_in
from weakstrong.registry import Registry
from weakstrong.spec import Spec
from weakstrong.training.spec import Finetune, Hint, Perturb, Probe, Prompt, Start

if TYPE_CHECKING:
    from torch import Tensor

    from weakstrong.models.base import ModelSpec

METHODS: Registry[type[Method]] = Registry(
    "method", "weakstrong.methods", __file__, "Your own: --method path/to/file.py (docs/methods.md)."
)

Choice = Literal["labels", "start", "objective", "stop", "through", "weights", "view", "hint", "answer"]
Stop = Literal["weak", "last", "oracle"]
Arm = Literal["supervisor", "student", "ceiling"]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


class Method(Spec):
    """How a student learns from weak labels.

    A subclass holds its parameters as fields and overrides what it chooses; what it leaves alone is naive finetuning:
    all weak labels, the pretrained weights, cross entropy, the moment of best agreement with held-out weak labels.
    ``sets`` names the choices made, so that methods can be combined and two that make the same choice cannot.
    """

    source: ClassVar[str] = ""
    sets: ClassVar[frozenset[Choice]] = frozenset({"objective"})
    rowwise: ClassVar[bool] = True
    """Whether the loss of a row depends on that row only; if not, the whole batch's logits are computed first."""
    located: ClassVar[tuple[str, ...]] = ("file",)
    kind: str
    file: str = ""
    """Where a method from outside the package lies."""
    sha256: str = ""
    """Of that file: its code decides the numbers, so it is part of the key."""

    @cached_property
    def name(self) -> str:
        """Kind plus every parameter that is not the default, e.g. ``confidence:a_max=0.5``."""
        words = []
        for field in self.parameters():
            value = getattr(self, field)
            if value != type(self).model_fields[field].get_default(call_default_factory=True):
                many = isinstance(value, tuple)
                words += [f"{field}={getattr(v, 'name', v)}" for v in (value if many else (value,))]
        return ":".join([self.kind, ",".join(words)]).rstrip(":")

    @classmethod
    def parameters(cls) -> list[str]:
        """Names of the fields that a user sets."""
        return [f for f in cls.model_fields if f not in ("kind", "file", "sha256")]

    # --- labels

    calibrates: ClassVar[bool] = False
    """Whether the supervisor's probabilities are tempered on its own held-out rows first."""

    def relabel(self, weak_NC: FloatArray, generator: np.random.Generator) -> tuple[FloatArray, BoolArray]:
        """Labels to train on, float32 [N, C], and which rows are kept, bool [N]. Sees weak labels only."""
        return weak_NC, np.ones(len(weak_NC), bool)

    # --- start

    start: ClassVar[Start | None] = None
    """Which weights training starts from: None for the pretrained ones. A property where it has parameters."""

    def starts(self, arm: Arm) -> bool:
        """Whether ``arm`` has this start too."""
        return arm == "student"

    # --- objective

    def objective(self, logits_BC: Tensor, weak_BC: Tensor, *, progress: float, prior_C: Tensor) -> Tensor:
        """Loss of each row; here cross entropy against the labels as they are.

        Shapes may have leading dimensions: many heads train at once with logits [H, B, C], so an objective works on
        the last two dimensions only and mixes no rows of different leading index.

        Args:
            logits_BC: float [..., B, C], with gradient.
            weak_BC: float [..., B, C], the weak labels' class probabilities.
            progress: share of training done, in [0, 1].
            prior_C: float [..., C], mean of the weak labels over all training rows.

        Returns:
            float [..., B] in nats; training minimises the mean over the whole batch, never over a micro-batch.
        """
        return -(weak_BC * logits_BC.log_softmax(-1)).sum(-1)

    # --- a second view of every row

    view: ClassVar[Perturb | None] = None
    """How the second view is made, None for no second view. A property where it has parameters."""

    def disagreement(self, logits_BC: Tensor, view_BC: Tensor) -> Tensor:
        """What is added to the loss of each row, float [..., B] in nats, given the logits of its second view."""
        return logits_BC.new_zeros(logits_BC.shape[:-1])

    # --- what the student reads beside the text

    hint: ClassVar[Hint | None] = None
    """The line that tells the student its weak label, None for none. A property where it has parameters. Who learns
    so is a control, never compared with naive finetuning."""

    # --- stop, intermediate students, weights, no training at all

    stop: ClassVar[Stop] = "weak"
    """Which moment is kept: best on weak validation labels, the last, or best on ground truth (an oracle)."""

    def intermediates(self, supervisor: str, student: ModelSpec) -> tuple[ModelSpec, ...]:
        """Models between supervisor and student, each of which labels for the next."""
        return ()

    own_rows: ClassVar[bool] = False
    """Whether every intermediate student gets rows of its own."""

    def prepare(self, training: Probe | Finetune) -> Probe | Finetune:
        """The student's training; a method that concerns the weights changes it here.

        Raises:
            ConfigError: if the method cannot be used in this regime.
        """
        return training

    prompt: ClassVar[Prompt | None] = None
    """The prompt of a student that is not trained. A property where it has parameters."""

    @property
    def uses_ground_truth(self) -> bool:
        """Whether ground truth helps beyond the supervisor's own; such a cell is no method and never compared."""
        return self.stop == "oracle" or (
            self.prompt is not None and self.prompt.shots > 0 and self.prompt.labels == "truth"
        )


def parse_method(value: object) -> Method:
    """A method from ``"confidence:a_max=0.5"``, several joined with ``+``, a mapping with ``kind``, or a `Method`.

    A name that ends in ``.py`` is a file that registers one. A parameter given twice is a list.

    >>> parse_method("confidence:a_max=0.5+early-stop:on=last").name
    'confidence:a_max=0.5+early-stop:on=last'

    Raises:
        UnknownNameError: with close matches.
        ConfigError: for parameters that do not fit, or methods that do not go together.
    """
    from weakstrong.methods._combined import Combined
    from weakstrong.methods._own import own_method

    if isinstance(value, Method):
        return value
    if isinstance(value, str):
        # A plus sign inside a number is not followed by a letter.
        parts = re.split(r"\+(?=[A-Za-z_./~])", value)
        value = _parameters(parts[0]) if len(parts) == 1 else {"kind": "combined", "parts": parts}
    if not isinstance(value, dict) or "kind" not in value:
        raise ConfigError(f"a method is a name or a mapping with 'kind', found {value!r}")
    kind = str(value["kind"])
    if kind == "combined":
        return Combined.parse(value, "method")
    if kind.endswith(".py"):
        value = value | {"kind": Path(kind).stem.replace("_", "-"), "file": kind}
    if value.get("file"):
        return own_method(value)
    return METHODS.get(kind).parse(value, f"method {kind}")


def _parameters(text: str) -> dict[str, object]:
    kind, _, rest = text.partition(":")
    return {"kind": kind} | parameters_in(rest, f"method {text!r}", "confidence:a_max=0.5")
