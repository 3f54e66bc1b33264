"""Naive finetuning on weak labels, against the student's compute (Burns et al. 2023, §4.2, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure

from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.panels import accuracy_and_pgr
from weakstrong.report.figures.rows import FigureData, Models, by_arm, pgr_words, plain, seeds_words
from weakstrong.report.table import Row


@FIGURES.register
class Fig3(PaperFigure):
    """Accuracy and PGR of naive students against compute, one hue for each supervisor."""

    title: ClassVar[str] = "Naive training on weak labels"
    paper: ClassVar[str] = (
        "The paper's Fig. 3 has pretraining compute on the x axis and medians over 22 NLP tasks: naive PGR above 0.2 "
        "across them, above 0.5 for the largest students."
    )
    needs: ClassVar[str] = "finished cells of the method naive: w2s run recipes/fig03_naive.yaml"

    def rows(self, results: FigureData) -> list[Row]:
        return [row for row in plain(results.aggregate) if row["method"] == "naive"]

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        return accuracy_and_pgr({arm: {arm: mine} for arm, mine in by_arm(rows).items()}, models)

    def seen(self, rows: Sequence[Row]) -> str:
        return (
            "Left: test accuracy of supervisors (diamonds), their students and the ceiling. Right: PGR, 0 = no better "
            f"than the supervisor, 1 = the ceiling. {seeds_words(rows)} {pgr_words(rows)}"
        )
