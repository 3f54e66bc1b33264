"""Easy to hard, by a model's judgement (Burns et al. 2023, App. C.3, Fig. 22)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure

from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.hardness import curves_by, easy_to_hard_panels, easy_words
from weakstrong.report.figures.rows import FigureData, Models, seeds_words
from weakstrong.report.table import Row


@FIGURES.register
class Fig22(PaperFigure):
    """Accuracy of students trained on rows up to a difficulty, on all and on hard test rows."""

    title: ClassVar[str] = "Easy to hard, by a model's judgement"
    paper: ClassVar[str] = (
        "The paper's Fig. 22 does so for reward modelling, with Elo scores from a model's pairwise judgements of "
        "which row is easier."
    )
    needs: ClassVar[str] = (
        "the analysis easy-to-hard, which trains: w2s run recipes/fig22_judged_difficulty.yaml"
    )
    analyses: ClassVar[tuple[str, ...]] = ("easy-to-hard",)

    def rows(self, results: FigureData) -> list[Row]:
        return curves_by(results, "judged")

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        return easy_to_hard_panels(rows, "difficulty as judged")

    def seen(self, rows: Sequence[Row]) -> str:
        return (
            "Solid: students trained on ground truth of easy rows; right of them, as many random rows and all of them (ceiling). "
            f"{easy_words(rows)} {seeds_words(rows)}"
        )
