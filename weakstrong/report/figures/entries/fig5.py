"""The auxiliary confidence loss beside naive training (Burns et al. 2023, §4.3.2, Fig. 5)."""

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
    kind_of,
    naive_and_confidence,
    pgr_words,
    plain,
    seeds_words,
    unique,
)
from weakstrong.report.table import Row


@FIGURES.register
class Fig5(PaperFigure):
    """Accuracy and PGR of students with the confidence loss (solid) beside naive ones (dashed)."""

    title: ClassVar[str] = "The confidence loss beside naive training"
    paper: ClassVar[str] = (
        "In the paper's Fig. 5 the loss lifts the median PGR over NLP tasks from about 0.25 to nearly 0.8 for the "
        "smallest supervisor and the largest student."
    )
    needs: ClassVar[str] = (
        "finished cells of the methods naive and confidence: w2s run recipes/fig05_confidence.yaml"
    )

    def rows(self, results: FigureData) -> list[Row]:
        rows = naive_and_confidence(plain(results.aggregate))
        both = [
            task
            for task in unique(row["task"] for row in rows)
            if {kind_of(row) for row in rows if row["task"] == task} == {"naive", "confidence"}
        ]
        return [row for row in rows if row["task"] in both]

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        panels = {}
        for arm, mine in by_arm(rows).items():
            if mine[0]["method"] != "naive":
                naive = [row for row in rows if row["method"] == "naive"]
                beside = [row for row in naive if row["regime"] == mine[0]["regime"]]
                panels[arm] = {"confidence loss": mine} | by_arm(beside)
        return accuracy_and_pgr(panels, models)

    def seen(self, rows: Sequence[Row]) -> str:
        return (
            "Solid: students trained with the confidence loss; dashed, empty markers: naive training on the same weak "
            f"labels. Left accuracy, right PGR. {seeds_words(rows)} {pgr_words(rows)}"
        )
