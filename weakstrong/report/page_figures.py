"""The figures of a page: each with its name, title, caption, task and text as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from matplotlib.figure import Figure

from weakstrong.report.figures import fig3, pgr_bars, to_svg
from weakstrong.report.table import Row

BARS_UP_TO = 8  # pairs; beyond, the points are too many for one look and Fig. 3 comes alone


class Drawing(Protocol):
    """What a figure has besides itself; ``task`` is empty where it is about several."""

    @property
    def name(self) -> str:
        """Short, for files: fig3."""

    @property
    def title(self) -> str:
        """A line for people."""

    @property
    def caption(self) -> str:
        """What is to be seen, and how to read it."""

    @property
    def task(self) -> str:
        """Which task."""

    @property
    def figure(self) -> Figure:
        """The drawing. An artist whose gid is ``result-3`` opens the fourth row of the aggregate on the page."""


@dataclass(frozen=True)
class Drawn:
    """A `Drawing`."""

    name: str
    title: str
    caption: str
    task: str
    figure: Figure


@dataclass(frozen=True)
class FigureEntry:
    """A figure as the page has it."""

    name: str
    title: str
    caption: str
    task: str
    svg: str


def figure_entries(drawings: Iterable[Drawing]) -> list[FigureEntry]:
    """The figures as SVG, each with ids of its own, so that one page can hold them all."""
    return [
        FigureEntry(d.name, d.title, d.caption, d.task, to_svg(d.figure, f"f{i}-"))
        for i, d in enumerate(drawings)
    ]


def default_drawings(aggregate: Sequence[Row], models: Mapping[str, Any]) -> list[Drawn]:
    """PGR of every pair (unless they are too many) and Fig. 3, task by task."""
    found = []
    for task in dict.fromkeys(row["task"] for row in aggregate):
        pairs = {(row["supervisor"], row["student"]) for row in aggregate if row["task"] == task}
        if len(pairs) <= BARS_UP_TO:
            found.append(Drawn("pgr", f"PGR on {task}", BARS_CAPTION, task, pgr_bars(aggregate, task)))
        curves = fig3(aggregate, models, task)
        found.append(Drawn("fig3", f"Accuracy and PGR against compute on {task}", FIG3_CAPTION, task, curves))
    return found


BARS_CAPTION = "Performance gap recovered, with its interval. Hollow: undefined."
FIG3_CAPTION = (
    "Left: accuracy on the test set against the model’s forward cost. Black is the strong ceiling; a diamond is a "
    "supervisor’s own score and its dotted line that score carried across; each hue is the students of one supervisor. "
    "Right: PGR against the student’s cost. Bars are intervals; points that would overlap stand a little apart; hollow "
    "means undefined."
)
