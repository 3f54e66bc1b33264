"""What a task is: a spec that loads a checked table of rows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from weakstrong.errors import ConfigError
from weakstrong.registry import Registry
from weakstrong.spec import Spec

if TYPE_CHECKING:
    import pyarrow as pa

TASKS: Registry[type[Task]] = Registry(
    "task", "weakstrong.tasks", __file__, "Your own data: --task file:PATH --text COLUMN --label COLUMN."
)


@dataclass(frozen=True)
class TaskRows:
    """Loaded rows: the table of `weakstrong.data.make_rows`, class names in label order, notes on what was dropped."""

    table: pa.Table
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Task(Spec):
    """A classification task. Subclasses set the card and implement `load`; their fields decide the rows."""

    licence: ClassVar[str] = "unknown"
    source: ClassVar[str] = ""
    size: ClassVar[int | None] = None
    class_names: ClassVar[tuple[str, ...]] = ()
    instruction: ClassVar[str] = "Say which class the text belongs to."
    """What a prompt asks of a model (paper §5.2.1); the classes are listed after it."""

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
    if not isinstance(value, dict) or "kind" not in value:
        raise ConfigError(f"a task is a name or a mapping with 'kind', found {value!r}")
    return TASKS.get(str(value["kind"])).parse(value, f"task {value['kind']}")
