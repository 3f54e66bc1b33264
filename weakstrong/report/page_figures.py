"""The figures of a page: each with its name, title, caption, task and text as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from matplotlib.figure import Figure

from weakstrong.report.figures import to_svg


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
