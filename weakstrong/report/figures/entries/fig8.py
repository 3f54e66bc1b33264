"""Student-supervisor agreement against the student's size (Burns et al. 2023, §5.1.3, Fig. 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure

from weakstrong.report.figures.agreeing import agreement_panels, agreement_words, agreements
from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.rows import FigureData, Models, naive_and_confidence, seeds_words
from weakstrong.report.table import Row


@FIGURES.register
class Fig8(PaperFigure):
    """Share of test rows with the supervisor's prediction: all, where it is right, where it is wrong."""

    title: ClassVar[str] = "Agreement with the supervisor"
    paper: ClassVar[str] = (
        "In the paper's Fig. 8 (NLP) larger students agree less with the errors of their supervisor (inverse "
        "scaling), and the confidence loss lowers that agreement further."
    )
    needs: ClassVar[str] = (
        "the analysis agreement of naive or confidence cells: w2s run recipes/fig08_agreement.yaml"
    )
    analyses: ClassVar[tuple[str, ...]] = ("agreement",)

    def rows(self, results: FigureData) -> list[Row]:
        return naive_and_confidence(agreements(results))

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        return agreement_panels({"": rows}, models, hue_by_method=False)

    def seen(self, rows: Sequence[Row]) -> str:
        return (
            "Share of test rows where student and supervisor predict the same, by the student's compute; dotted: the "
            f"ceiling. {seeds_words(rows)} {agreement_words(rows)}"
        )
