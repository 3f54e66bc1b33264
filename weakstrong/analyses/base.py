"""What an analysis is: something measured about cells beyond their scores, as one frozen spec. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from weakstrong.errors import ConfigError
from weakstrong.parameters import parameters_in
from weakstrong.registry import Registry
from weakstrong.spec import Spec

if TYPE_CHECKING:
    from weakstrong.analyses.runs import Runs
    from weakstrong.experiment import Cell
    from weakstrong.graph import CellSteps, Graph
    from weakstrong.stats import Interval
    from weakstrong.store import Step

ANALYSES: Registry[type[Analysis]] = Registry(
    "analysis", "weakstrong.analyses", __file__, "All: w2s analyse.", bases=("base", "runs")
)


class Analysis(Spec):
    """Measures of cells. A subclass holds its parameters as fields and gives rows of plain values.

    Most read the predictions that a run stores anyway. One that needs more trainings names them in ``steps``; a run of
    an experiment that lists the analysis computes them. An analysis may read ground truth of the test part; nothing
    that trains a student may depend on it.
    """

    source: ClassVar[str] = ""
    """Section and figure of the paper, or the article."""
    kind: str

    @property
    def name(self) -> str:
        """Kind plus every parameter that is not the default."""
        fields = type(self).model_fields
        words = [
            f"{field}={_shown(value)}"
            for field in self.parameters()
            if (value := getattr(self, field)) != fields[field].get_default(call_default_factory=True)
        ]
        return ":".join([self.kind, ",".join(words)]).rstrip(":")

    @classmethod
    def parameters(cls) -> list[str]:
        """Names of the fields that a user sets."""
        return [f for f in cls.model_fields if f != "kind"]

    def refuses(self, cell: Cell) -> str:
        """Why the analysis has nothing to say of ``cell``; empty where it has. Such cells are passed over."""
        return ""

    def steps(self, cell: Cell, made: CellSteps, graph: Graph) -> dict[str, Step]:
        """Steps that the analysis needs beyond those of the cell, by a name of its own.

        Raises:
            ConfigError: if the parameters do not fit the cell.
        """
        return {}

    def measure(self, runs: Runs) -> list[dict[str, Any]]:
        """Rows about all seeds of one (task, supervisor, student, method, regime), each made by `measured`."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: an analysis says what it measures")


def _shown(value: Any) -> str:
    """A parameter in words: models by name, lists joined by slashes."""
    if isinstance(value, tuple):
        return "/".join(map(_shown, value))
    return str(getattr(value, "name", value))


def measured(measure: str, interval: Interval, **more: Any) -> dict[str, Any]:
    """One row of an analysis: ``measure``, ``value``, ``low``, ``high``, and what else tells rows apart.

    >>> from weakstrong.stats import Interval
    >>> measured("agreement", Interval(0.9, 0.8, 1.0), where="all")
    {'measure': 'agreement', 'value': 0.9, 'low': 0.8, 'high': 1.0, 'where': 'all'}
    """
    return {"measure": measure, "value": interval.value, "low": interval.low, "high": interval.high} | more


def parse_analysis(value: object) -> Analysis:
    """An analysis from ``"calibration:bins=10"``, a mapping with ``kind``, or an `Analysis`.

    >>> parse_analysis("agreement").kind
    'agreement'

    Raises:
        UnknownNameError: with close matches.
        ConfigError: for parameters that do not fit.
    """
    if isinstance(value, Analysis):
        return value
    if isinstance(value, str):
        kind, _, rest = value.partition(":")
        value = {"kind": kind} | parameters_in(rest, f"analysis {value!r}", "calibration:bins=10")
    if not isinstance(value, dict) or "kind" not in value:
        raise ConfigError(f"an analysis is a name or a mapping with 'kind', found {value!r}")
    return ANALYSES.get(str(value["kind"])).parse(value, f"analysis {value['kind']}")
