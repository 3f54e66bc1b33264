"""What a figure is: rows that it can draw, the drawing, and words that say what is seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from matplotlib.figure import Figure

from weakstrong.errors import ConfigError, DataError
from weakstrong.registry import Registry, unknown
from weakstrong.report.figures.rows import FigureData, Models, unique
from weakstrong.report.table import Row

FIGURES: Registry[type[PaperFigure]] = Registry(
    "figure", "weakstrong.report.figures.entries", __file__, "All: w2s figures --list."
)


@dataclass(frozen=True)
class Given:
    """Rows as `FigureData`, where there is no store at hand."""

    aggregate: Sequence[Row] = ()
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    analyses: Mapping[str, Sequence[Row]] = field(default_factory=dict)

    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """Facts of each model, by name."""
        return self.facts


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure with its words.

    Attributes:
        name: of the entry in `FIGURES`.
        title: a few words.
        caption: what is seen, and how it compares with the paper's figure.
        task: the task drawn; empty for a figure of all tasks.
        figure: of matplotlib, made without pyplot.
    """

    name: str
    title: str
    caption: str
    task: str
    figure: Figure


class PaperFigure(ABC):
    """One figure of the paper, or one that it should have had. Calling it draws."""

    title: ClassVar[str]
    paper: ClassVar[str]
    """What the paper's figure shows, with its numbers."""
    needs: ClassVar[str]
    """What has to be there, in words that say how to get it."""
    analyses: ClassVar[tuple[str, ...]] = ()
    """Analyses whose rows it draws."""
    spans_tasks: ClassVar[bool] = False
    """Whether one figure shows all tasks."""

    @abstractmethod
    def rows(self, results: FigureData) -> list[Row]:
        """All rows that it draws, of every task that has enough; none where nothing can be drawn."""

    @abstractmethod
    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        """The figure of ``rows``, of one task unless it spans tasks."""

    @abstractmethod
    def seen(self, rows: Sequence[Row]) -> str:
        """What the figure of ``rows`` shows, in sentences."""

    @classmethod
    def name(cls) -> str:
        """The entry's name."""
        return cls.__module__.rsplit(".", 1)[-1].replace("_", "-")

    def tasks(self, results: FigureData) -> list[str]:
        """Tasks that it can draw, in listed order."""
        return unique(str(row["task"]) for row in self.rows(results))

    def __call__(self, results: FigureData, task: str | None = None) -> Figure:
        """Draw.

        Args:
            results: `weakstrong.results.Results`, or anything else that is `FigureData`.
            task: which task; may be left out where only one can be drawn. A figure that spans tasks draws all without
                it, and one with it.

        Raises:
            DataError: the results do not hold what the figure needs.
            UnknownNameError: they hold it for other tasks only.
            ConfigError: several tasks can be drawn and none is named.
        """
        return self.draw(self._of(results, task), results.models())

    def caption(self, results: FigureData, task: str | None = None) -> str:
        """What is seen, and how it compares with the paper's figure; raises as a call does."""
        return f"{self.seen(self._of(results, task))} {self.paper}"

    def worth(self, rows: Sequence[Row]) -> bool:
        """Whether `figures_for` draws ``rows`` unasked: not where another figure says as much, or all is too much."""
        return True

    def drawn(self, results: FigureData, task: str | None = None, unasked: bool = False) -> list[Drawn]:
        """One figure for each task that can be drawn (only ``task`` if given), or one for all; with ``unasked`` only
        those of `worth`."""
        models = results.models()
        groups: dict[str, list[Row]] = {}
        for row in self.rows(results):
            if task in (None, row["task"]):
                groups.setdefault("" if self.spans_tasks else str(row["task"]), []).append(row)
        return [
            Drawn(self.name(), self.title, f"{self.seen(mine)} {self.paper}", of, self.draw(mine, models))
            for of, mine in groups.items()
            if not unasked or self.worth(mine)
        ]

    def _of(self, results: FigureData, task: str | None) -> list[Row]:
        rows = self.rows(results)
        if not rows:
            raise DataError(f"{self.name()} has nothing to draw; it needs {self.needs}")
        tasks = unique(str(row["task"]) for row in rows)
        if task is None:
            if len(tasks) > 1 and not self.spans_tasks:
                raise ConfigError(f"{self.name()} draws one task; name one of {', '.join(tasks)}")
            return rows
        if task not in tasks:
            raise unknown("task", task, tasks, f"of {self.name()} in these results")
        return [row for row in rows if row["task"] == task]
