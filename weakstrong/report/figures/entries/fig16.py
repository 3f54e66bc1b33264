"""Student-supervisor agreement by task and method (Burns et al. 2023, App. B, Fig. 16)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure

from weakstrong.report.figures.agreeing import agreement_panels, agreement_words, agreements
from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.rows import FigureData, Models, seeds_words, unique
from weakstrong.report.table import Row


@FIGURES.register
class Fig16(PaperFigure):
    """Agreement of every method, a row of panels for each task."""

    title: ClassVar[str] = "Agreement by task and method"
    paper: ClassVar[str] = (
        "The paper's Fig. 16 repeats its Fig. 8 on reward modelling and finds the same: stronger students agree less "
        "with their supervisor's errors."
    )
    needs: ClassVar[str] = (
        "the analysis agreement of two methods or two tasks: w2s run recipes/fig16_agreement.yaml"
    )
    analyses: ClassVar[tuple[str, ...]] = ("agreement",)
    spans_tasks: ClassVar[bool] = True

    def rows(self, results: FigureData) -> list[Row]:
        rows = agreements(results)
        compared = {(row["task"], row["method"]) for row in rows}
        return rows if len(compared) > 1 else []

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        tasks = unique(str(row["task"]) for row in rows)
        groups = {task: [row for row in rows if row["task"] == task] for task in tasks}
        return agreement_panels(groups, models, hue_by_method=True)

    def seen(self, rows: Sequence[Row]) -> str:
        return (
            "As Fig. 8, one row of panels for each task; hues are methods, line styles supervisors; dotted: the ceiling. "
            f"{seeds_words(rows)} {agreement_words(rows)}"
        )
