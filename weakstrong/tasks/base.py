"""What a task is: a spec that loads a checked table of rows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from weakstrong.errors import ConfigError
from weakstrong.registry import Registry
from weakstrong.spec import Spec

if TYPE_CHECKING:
    import pyarrow as pa

TASKS: Registry[type[Task]] = Registry(
    "task", "weakstrong.tasks", __file__, "Your own data: --task file:PATH --text COLUMN --label COLUMN."
)


FILE_TASKS = ("file", "preference-file")
"""The user's own rows: texts with classes, and comparisons."""


class TaskKind(StrEnum):
    """What a row asks: the class of a text, or which of two completions is preferred (paper, A.3)."""

    CLASSIFICATION = "classification"
    PREFERENCE = "preference"


@dataclass(frozen=True)
class TaskRows:
    """Loaded rows: the table of `weakstrong.data.make_rows`, class names in label order, notes on what was dropped."""

    table: pa.Table
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Task(Spec):
    """A task. Subclasses set the card and implement `load`; their fields decide the rows."""

    task_kind: ClassVar[TaskKind] = TaskKind.CLASSIFICATION
    licence: ClassVar[str] = "unknown"
    source: ClassVar[str] = ""
    size: ClassVar[int | None] = None
    """Rows, where they are always the same."""
    published: ClassVar[int | None] = None
    """Labelled records that the authors published in the parts used; a question with several answers is one."""
    class_names: ClassVar[tuple[str, ...]] = ()
    instruction: ClassVar[str] = "Say which class the text belongs to."
    """What a prompt asks of a model (paper §5.2.1); the classes are listed after it."""

    raters_known: ClassVar[bool] = True
    """Whether the same place in ``votes`` is the same person in every row."""

    @property
    def name(self) -> str:
        """How tables and figures call this task."""
        return str(getattr(self, "kind"))  # noqa: B009 - the literal is declared by each subclass

    @abstractmethod
    def load(self) -> TaskRows:
        """Fetch and return all rows, the same on every machine."""

    def cached(self) -> bool:
        """Whether `load` needs no network."""
        return True


def parse_task(value: object) -> Task:
    """A task from a name (``"movie-snippets"``), a mapping with ``kind``, or a `Task`.

    Raises:
        UnknownNameError: with close matches.
        ConfigError: for fields that do not fit.
    """
    if isinstance(value, Task):
        return value
    if isinstance(value, str):
        value = (
            {"kind": "file", "path": value.removeprefix("file:")}
            if value.startswith("file:")
            else {"kind": value}
        )
    if isinstance(value, dict) and value.get("kind") == "file" and {"chosen", "first"} & set(value):
        value = value | {"kind": FILE_TASKS[1]}
    if not isinstance(value, dict) or "kind" not in value:
        raise ConfigError(f"a task is a name or a mapping with 'kind', found {value!r}")
    return TASKS.get(str(value["kind"])).parse(value, f"task {value['kind']}")
