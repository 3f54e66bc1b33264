"""Every method against the student's compute: the paper's Fig. 3 with a row of panels for each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure

from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.panels import accuracy_and_pgr
from weakstrong.report.figures.rows import (
    FigureData,
    Models,
    by_arm,
    naive_and_confidence,
    pgr_words,
    plain,
    seeds_words,
)
from weakstrong.report.table import Row


@FIGURES.register
class Curves(PaperFigure):
    """Accuracy and PGR against compute, a row of panels for each method and regime."""

    title: ClassVar[str] = "Every method against compute"
    paper: ClassVar[str] = (
        "The paper's Fig. 3 (naive) and 5 (confidence) have such panels for two of the methods."
    )
    needs: ClassVar[str] = "finished cells: w2s run"

    def rows(self, results: FigureData) -> list[Row]:
        return plain(results.aggregate)

    def worth(self, rows: Sequence[Row]) -> bool:
        # naive and confidence have their panels in fig3 and fig5
        return len(naive_and_confidence(rows)) < len(rows)

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        return accuracy_and_pgr({arm: {arm: mine} for arm, mine in by_arm(rows).items()}, models)

    def seen(self, rows: Sequence[Row]) -> str:
        return (
            "Left: test accuracy of supervisors (diamonds), their students and the ceiling. Right: PGR, 0 = no better "
            f"than the supervisor, 1 = the ceiling. {seeds_words(rows)} {pgr_words(rows)}"
        )
