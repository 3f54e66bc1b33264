"""What a method is: small choices that compose, as one frozen spec."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from weakstrong.errors import ConfigError
from weakstrong.registry import Registry
from weakstrong.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

METHODS: Registry[type[Method]] = Registry("method", "weakstrong.methods", __file__)


class Method(Spec):
    """How a student learns from weak labels.

    A subclass holds its parameters as fields and gives `objective`. Shapes may have leading dimensions: many heads
    train at once with logits [H, B, C], so an objective works on the last two dimensions only and mixes no rows of
    different leading index.
    """

    source: ClassVar[str] = ""
    rowwise: ClassVar[bool] = False
    """Whether the loss of a row depends on that row only; if not, the whole batch's logits are computed first."""

    early_stop: bool = Field(
        True, description="keep the epoch that agrees best with the weak validation labels"
    )

    @property
    def name(self) -> str:
        """Kind plus every parameter that is not the default, e.g. ``confidence:a_max=0.5``."""
        changed = [
            f"{field}={getattr(self, field)}"
            for field, info in type(self).model_fields.items()
            if field != "kind" and getattr(self, field) != info.default
        ]
        return ":".join([str(getattr(self, "kind")), ",".join(changed)]).rstrip(":")  # noqa: B009 - set by subclasses

    @abstractmethod
    def objective(self, logits_BC: Tensor, weak_BC: Tensor, *, progress: float, prior_C: Tensor) -> Tensor:
        """Loss of each row.

        Args:
            logits_BC: float [..., B, C], with gradient.
            weak_BC: float [..., B, C], the weak labels' class probabilities.
            progress: share of training done, in [0, 1].
            prior_C: float [..., C], mean of the weak labels over all training rows.

        Returns:
            float [..., B] in nats; training minimises the mean over the whole batch, never over a micro-batch.
        """


def parse_method(value: object) -> Method:
    """A method from ``"confidence:a_max=0.5"``, a mapping with ``kind``, or a `Method`.

    >>> parse_method("confidence:a_max=0.5").name
    'confidence:a_max=0.5'

    Raises:
        UnknownNameError: with close matches.
        ConfigError: for parameters that do not fit.
    """
    if isinstance(value, Method):
        return value
    if isinstance(value, str):
        kind, _, rest = value.partition(":")
        values: dict[str, object] = {"kind": kind}
        for part in filter(None, rest.split(",")):
            name, equals, text = part.partition("=")
            if not equals:
                raise ConfigError(
                    f"method {value!r}: {part!r} is not parameter=value, e.g. confidence:a_max=0.5"
                )
            values[name.strip()] = text.strip()
        value = values
    if not isinstance(value, dict) or "kind" not in value:
        raise ConfigError(f"a method is a name or a mapping with 'kind', found {value!r}")
    return METHODS.get(str(value["kind"])).parse(value, f"method {value['kind']}")
