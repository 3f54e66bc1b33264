"""An experiment, the flat list of cells it means, and the graph of steps behind each cell. No torch.

Expansion is pure: every cell is fully resolved, and its JSON is the whole truth about its numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, NonNegativeInt, SerializeAsAny, field_validator, model_validator

from weakstrong.analyses.base import Analysis, parse_analysis
from weakstrong.controls import control_cells
from weakstrong.data import Split
from weakstrong.errors import ConfigError
from weakstrong.methods.base import Method, parse_method
from weakstrong.models.base import ModelSpec, parse_model
from weakstrong.spec import Spec
from weakstrong.steps import AnyMethod
from weakstrong.supervisors import AnySupervisor, Supervisor, uses_ground_truth
from weakstrong.tasks.base import Task, parse_task
from weakstrong.training.spec import Finetune, Probe, Training

REGIMES: dict[str, type[Probe] | type[Finetune]] = {"probe": Probe, "finetune": Finetune}


def listed(value: object) -> object:
    """A list from a list, a single value, or words separated by commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, (list, tuple)) else [value]


def _methods(value: object) -> object:
    # A comma also separates the parameters of a method, so texts are never cut here.
    return [parse_method(v) for v in (value if isinstance(value, (list, tuple)) else [value])]


AnyAnalysis = Annotated[SerializeAsAny[Analysis], BeforeValidator(parse_analysis)]
AnyTask = Annotated[SerializeAsAny[Task], BeforeValidator(parse_task)]
AnyModel = Annotated[ModelSpec, BeforeValidator(parse_model)]


class Cell(Spec):
    """One (task, supervisor, student, method, seed), fully resolved."""

    kind: Literal["cell"] = "cell"
    task: AnyTask
    supervisor: AnySupervisor
    student: AnyModel
    method: AnyMethod
    seed: int
    split: Split
    supervisor_training: Training
    student_training: Training

    @property
    def uses_ground_truth(self) -> bool:
        """Whether ground truth helps beyond the supervisor's own training: such a cell is marked and never compared."""
        return self.method.uses_ground_truth or uses_ground_truth(self.supervisor)

    def identity(self) -> dict[str, Any]:
        """The columns that name this cell in tables."""
        return {
            "task": self.task.name,
            "supervisor": self.supervisor.name,
            "student": self.student.name,
            "method": self.method.name,
            "regime": self.student_training.kind,
            "seed": self.seed,
        }


class Experiment(Spec):
    """Axes whose product is a list of cells.

    Short forms are accepted on input, in Python and in YAML: ``task`` for one task; names for tasks, models and
    methods; a number of seeds; ``regime`` for both trainings; ``train_rows``, ``validation_rows`` and ``test_rows``
    beside the axes.

    >>> e = Experiment.parse({"task": "movie-snippets", "supervisors": "minilm-l6", "students": "smollm2-135m:22"})
    >>> [c.identity()["method"] for c in e.cells()][::5]
    ['naive', 'confidence']
    >>> Experiment.from_yaml(e.to_yaml()) == e
    True
    """

    kind: Literal["experiment"] = "experiment"
    name: str = Field("experiment", min_length=1)
    tasks: tuple[AnyTask, ...] = Field(min_length=1)
    supervisors: tuple[AnySupervisor, ...] = Field(min_length=1)
    students: tuple[AnyModel, ...] = Field(min_length=1)
    methods: tuple[AnyMethod, ...] = Field(("naive", "confidence"), min_length=1, validate_default=True)
    seeds: tuple[NonNegativeInt, ...] = Field((0, 1, 2, 3, 4), min_length=1)
    split: Split = Split()
    supervisor_training: Training = Probe()
    student_training: Training = Probe()
    analyses: tuple[AnyAnalysis, ...] = ()
    """What is measured beyond scores; no part of a cell, so that it changes no number of it."""
    controls: bool = False
    """Whether cells are added whose outcome is known beforehand (`weakstrong.controls`)."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if "task" in values:
            if "tasks" in values:
                raise ValueError("give task or tasks, not both")
            values["tasks"] = [values.pop("task")]
        if "regime" in values:
            regime = values.pop("regime")
            if not isinstance(regime, str) or regime not in REGIMES:
                raise ValueError(f"regime is probe or finetune, found {regime!r}")
            for name in ("supervisor_training", "student_training"):
                values.setdefault(name, {"kind": regime})
        rows = {n: values.pop(n) for n in ("train_rows", "validation_rows", "test_rows") if n in values}
        if rows:
            split = values.get("split", {})
            if not isinstance(split, (dict, Split)):
                raise ValueError(f"split is a mapping such as {{test_rows: 2000}}, found {split!r}")
            values["split"] = (split.to_dict() if isinstance(split, Split) else dict(split)) | rows
        return values

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_of_seeds(cls, value: Any) -> Any:
        if isinstance(value, bool) or (isinstance(value, int) and value < 1):
            raise ValueError(f"seeds is a number of seeds from 1, or a list of them, found {value!r}")
        return list(range(value)) if isinstance(value, int) else value

    _task_list = field_validator("tasks", mode="before")(lambda v: v if isinstance(v, (list, tuple)) else [v])
    _lists = field_validator("supervisors", "students", mode="before")(listed)
    _method_list = field_validator("methods", mode="before")(_methods)
    _analysis_list = field_validator("analyses", mode="before")(
        lambda v: v if isinstance(v, (list, tuple)) else [v]
    )

    @model_validator(mode="after")
    def _no_twins(self) -> Experiment:
        for axis in ("tasks", "supervisors", "students", "methods", "seeds", "analyses"):
            values = getattr(self, axis)
            keys = [v.key() if isinstance(v, Spec) else str(v) for v in values]
            twins = [
                str(getattr(v, "name", v)) for v, k in zip(values, keys, strict=True) if keys.count(k) > 1
            ]
            if twins:
                raise ValueError(f"{axis}: {' and '.join(twins)} are the same; name each once")
        return self

    @classmethod
    def from_yaml(cls, text: str, where: str = "experiment") -> Experiment:
        """Parse YAML; a bad field is named by its path.

        Raises:
            ConfigError: for text that is not YAML, unknown fields or wrong types.
        """
        return cls.parse(_mapping(text, where), where)

    @classmethod
    def from_file(cls, path: str | Path) -> Experiment:
        """Parse a YAML file of one experiment.

        Raises:
            ConfigError: also for a file of several; `experiments_in` reads those.
        """
        found = experiments_in(path)
        if len(found) != 1:
            raise ConfigError(f"{path} holds {len(found)} experiments, one is wanted")
        return found[0]

    def to_yaml(self) -> str:
        """YAML that parses to an equal experiment, every default written out."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    def cells(self) -> list[Cell]:
        """The product of the axes, in order, each cell fully resolved; then the controls that are not among them."""
        return list(self._cells())

    def _cells(self) -> Iterator[Cell]:
        splits = [(seed, self.split.model_copy(update={"seed": seed})) for seed in self.seeds]
        for task, supervisor, student, method in self._axes():
            for seed, split in splits:
                # Every part is validated already; validating 10,000 products again costs a second.
                yield Cell.model_construct(
                    kind="cell",
                    task=task,
                    supervisor=supervisor,
                    student=student,
                    method=method,
                    seed=seed,
                    split=split,
                    supervisor_training=self.supervisor_training,
                    student_training=self.student_training,
                )

    def _axes(self) -> Iterator[tuple[Task, Supervisor, ModelSpec, Method]]:
        yield from product(self.tasks, self.supervisors, self.students, self.methods)
        if not self.controls:
            return
        seen = {_keys(axes) for axes in product(self.supervisors, self.students, self.methods)}
        for task in self.tasks:
            here = set(seen)
            for axes in control_cells(task, self.supervisors, self.students):
                if (keys := _keys(axes)) not in here:
                    here.add(keys)
                    yield task, *axes


def _keys(axes: tuple[Spec, ...]) -> tuple[str, ...]:
    return tuple(spec.key() for spec in axes)


def experiments_in(path: str | Path) -> list[Experiment]:
    """All experiments of a YAML file: one, or several documents separated by ``---``.

    Raises:
        ConfigError: naming the file, the document and the field.
    """
    return [Experiment.from_yaml(text, where) for text, where in _documents(path)]


def values_in(path: str | Path) -> list[dict[str, Any]]:
    """The mappings of all experiments of a YAML file, not yet validated: flags may still complete them.

    Raises:
        ConfigError: naming the file, for text that holds no mapping.
    """
    return [_mapping(text, where) for text, where in _documents(path)]


def _documents(path: str | Path) -> list[tuple[str, str]]:
    """Text and name of each document of a file."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConfigError(f"the experiment file {path} does not exist")
    parts = [t for t in re.split(r"(?m)^---\s*$", path.read_text(encoding="utf-8")) if _has_values(t)]
    if len(parts) <= 1:
        return [(parts[0] if parts else "", str(path))]
    return [(text, f"{path}, document {i + 1}") for i, text in enumerate(parts)]


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"{where} holds {type(values).__name__}, a mapping with tasks, supervisors, … is wanted"
        )
    return values


def _has_values(text: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines())
