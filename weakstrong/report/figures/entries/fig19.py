"""Easy to hard, by the task's own difficulty (Burns et al. 2023, App. C.1, Fig. 19)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure

from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.hardness import curves_by, easy_to_hard_panels, easy_words
from weakstrong.report.figures.rows import FigureData, Models, seeds_words
from weakstrong.report.table import Row


@FIGURES.register
class Fig19(PaperFigure):
    """Accuracy of students trained on rows up to a difficulty, on all and on hard test rows."""

    title: ClassVar[str] = "Easy to hard, by the task's own difficulty"
    paper: ClassVar[str] = (
        "The paper's Fig. 19 and 20 train on chess puzzles up to an Elo of 800 to 1300 and test on all and on those "
        "from 2000, with zero-shot beside it."
    )
    needs: ClassVar[str] = (
        "the analysis easy-to-hard, which trains: w2s run recipes/fig21_model_difficulty.yaml --analysis easy-to-hard:by=given"
    )
    analyses: ClassVar[tuple[str, ...]] = ("easy-to-hard",)

    def rows(self, results: FigureData) -> list[Row]:
        return curves_by(results, "given")

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        return easy_to_hard_panels(rows, "difficulty as the task gives it")

    def seen(self, rows: Sequence[Row]) -> str:
        return (
            "Solid: students trained on ground truth of easy rows; right of them, as many random rows and all of them (ceiling). "
            f"{easy_words(rows)} {seeds_words(rows)}"
        )
