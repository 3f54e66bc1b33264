"""An experiment, the flat list of cells it means, and the graph of steps behind each cell. No torch.

Expansion is pure: every cell is fully resolved, and its JSON is the whole truth about its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, NonNegativeInt, SerializeAsAny, field_validator, model_validator

from weakstrong import steps
from weakstrong.data import Part, Split
from weakstrong.errors import ConfigError
from weakstrong.methods.base import parse_method
from weakstrong.models.base import ModelSpec, parse_model
from weakstrong.spec import Spec
from weakstrong.steps import AnyMethod, FinetuneFit, ProbeFit
from weakstrong.store import Step
from weakstrong.tasks.base import Task, parse_task
from weakstrong.training.spec import Finetune, Probe, Training

REGIMES: dict[str, type[Probe] | type[Finetune]] = {"probe": Probe, "finetune": Finetune}
CEILING_PARTS = (Part.TRANSFER, Part.VALIDATION)
SUPERVISOR_PARTS = (Part.WEAK_TRAIN, Part.WEAK_VALIDATION)


class FileLabels(Spec):
    """A supervisor that is not a model: the weak labels in the task's own columns."""

    kind: Literal["file-labels"] = "file-labels"

    @property
    def name(self) -> str:
        """How tables call it."""
        return "file"


def parse_supervisor(value: object) -> ModelSpec | FileLabels:
    """A model, or ``file`` for weak labels that come with the rows."""
    if (
        isinstance(value, FileLabels)
        or value == "file"
        or (isinstance(value, dict) and value.get("kind") == "file-labels")
    ):
        return FileLabels()
    return parse_model(value)


def listed(value: object) -> object:
    """A list from a list, a single value, or words separated by commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, (list, tuple)) else [value]


def _methods(value: object) -> object:
    # A comma also separates the parameters of a method, so texts are never cut here.
    return [parse_method(v) for v in (value if isinstance(value, (list, tuple)) else [value])]


AnyTask = Annotated[SerializeAsAny[Task], BeforeValidator(parse_task)]
AnySupervisor = Annotated[ModelSpec | FileLabels, BeforeValidator(parse_supervisor)]
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

    @model_validator(mode="after")
    def _no_twins(self) -> Experiment:
        for axis in ("tasks", "supervisors", "students", "methods", "seeds"):
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
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{where} is not YAML: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError(
                f"{where} holds {type(values).__name__}, a mapping with tasks, supervisors, … is wanted"
            )
        return cls.parse(values, where)

    @classmethod
    def from_file(cls, path: str | Path) -> Experiment:
        """Parse a YAML file."""
        path = Path(path).expanduser()
        if not path.is_file():
            raise ConfigError(f"the experiment file {path} does not exist")
        return cls.from_yaml(path.read_text(encoding="utf-8"), str(path))

    def to_yaml(self) -> str:
        """YAML that parses to an equal experiment, every default written out."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    def cells(self) -> list[Cell]:
        """The product of the axes, in order, each cell fully resolved."""
        return list(self._cells())

    def _cells(self) -> Iterator[Cell]:
        splits = [(seed, self.split.model_copy(update={"seed": seed})) for seed in self.seeds]
        for task in self.tasks:
            for supervisor in self.supervisors:
                for student in self.students:
                    for method in self.methods:
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


@dataclass(frozen=True)
class CellSteps:
    """The steps that give a cell its three numbers."""

    supervisor_fit: Step
    student_fit: Step
    ceiling_fit: Step
    supervisor: Step
    student: Step
    ceiling: Step

    def scores(self) -> tuple[Step, Step, Step]:
        """Supervisor, student, ceiling."""
        return self.supervisor, self.student, self.ceiling


class Graph:
    """Turns cells into steps; steps that several cells share are made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], Any] = {}
        self._cells: list[Cell] = []  # keeps alive what the ids in the keys of _made stand for

    def _once(self, make: Any, *key: object) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def cell(self, cell: Cell) -> CellSteps:
        """The steps of one cell."""
        c, naive = cell, parse_method("naive")
        self._cells.append(cell)
        loaded = self._once(lambda: steps.load(c.task), "load", id(c.task))
        split = self._once(lambda: steps.split(loaded, c.split), "split", loaded.key, id(c.split))
        test = self._once(lambda: steps.truth(loaded, split, (Part.TEST,)), "test", split.key)

        def fit(model: ModelSpec, training: Any, labels: Step, method: Any, role: str) -> Step:
            own = role == "supervisor"
            title = f"{role} {model.name}, {method.name}, seed {c.seed}"
            fields: dict[str, Any] = {
                "method": method,
                "seed": c.seed,
                "training": training,
                "train_part": Part.WEAK_TRAIN if own else Part.TRANSFER,
                "validation_part": Part.WEAK_VALIDATION if own else Part.VALIDATION,
                "predict": (Part.TRANSFER, Part.VALIDATION, Part.TEST) if own else (Part.TEST,),
            }
            examples = self._once(lambda: steps.examples(loaded), "examples", loaded.key)
            if isinstance(training, Probe):
                features = self._once(
                    lambda: steps.features(examples, model, training.features),
                    "features",
                    loaded.key,
                    id(model),
                    id(training),
                )
                return steps.probe(
                    features, split, labels, ProbeFit.model_construct(**_spec("probe-fit", fields)), title
                )
            spec = FinetuneFit.model_construct(**_spec("finetune-fit", fields | {"model": model}))
            return steps.finetune(examples, split, labels, spec, title)

        def supervisor() -> Step:
            if isinstance(c.supervisor, FileLabels):
                return steps.weak_labels(loaded, split)
            truth = steps.truth(loaded, split, SUPERVISOR_PARTS)
            return fit(c.supervisor, c.supervisor_training, truth, naive, "supervisor")

        def ceiling() -> Step:
            return fit(
                c.student, c.student_training, steps.truth(loaded, split, CEILING_PARTS), naive, "ceiling"
            )

        def scored(predictions: Step) -> Step:
            return steps.score(predictions, test, f"score of {predictions.title}")

        base = (split.key, c.seed)
        weak: Step = self._once(supervisor, "supervisor", id(c.supervisor), id(c.supervisor_training), *base)
        top: Step = self._once(ceiling, "ceiling", id(c.student), id(c.student_training), *base)
        student = fit(c.student, c.student_training, weak, c.method, "student")
        return CellSteps(
            weak,
            student,
            top,
            self._once(lambda: scored(weak), "score", weak.key),
            scored(student),
            self._once(lambda: scored(top), "score", top.key),
        )


def _spec(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind} | fields


def closure(targets: list[Step]) -> list[Step]:
    """All steps that ``targets`` need, each once, dependencies first."""
    seen: dict[str, Step] = {}
    stack = [(step, False) for step in reversed(targets)]
    while stack:
        step, ready = stack.pop()
        if step.key in seen:
            continue
        if ready:
            seen[step.key] = step
        else:
            stack.append((step, True))
            stack.extend((d, False) for d in step.inputs.values() if d.key not in seen)
    return list(seen.values())
