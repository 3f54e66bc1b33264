"""Easy to hard, by models' mistakes (Burns et al. 2023, App. C.2, Fig. 21)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure

from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.hardness import curves_by, easy_to_hard_panels, easy_words
from weakstrong.report.figures.rows import FigureData, Models, seeds_words
from weakstrong.report.table import Row


@FIGURES.register
class Fig21(PaperFigure):
    """Accuracy of students trained on rows up to a difficulty, on all and on hard test rows."""

    title: ClassVar[str] = "Easy to hard, by models' mistakes"
    paper: ClassVar[str] = (
        "The paper's Fig. 21 does so on NLP tasks: difficulty is the smallest model that, with every larger one, "
        "solves a held-out row; all trainings have as many rows."
    )
    needs: ClassVar[str] = (
        "the analysis easy-to-hard, which trains: w2s run recipes/fig21_model_difficulty.yaml"
    )
    analyses: ClassVar[tuple[str, ...]] = ("easy-to-hard",)

    def rows(self, results: FigureData) -> list[Row]:
        return curves_by(results, "models")

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        return easy_to_hard_panels(rows, "smallest model that solves a row")

    def seen(self, rows: Sequence[Row]) -> str:
        return (
            "Solid: students trained on ground truth of easy rows; right of them, as many random rows and all of them (ceiling). "
            f"{easy_words(rows)} {seeds_words(rows)}"
        )
