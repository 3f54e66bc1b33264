"""Weak labels that are trivial to imitate (Burns et al. 2023, App. E.3, Fig. 27)."""

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
class Fig27(PaperFigure):
    """Accuracy and PGR where the weak label stands in the prompt, beside the same methods without it."""

    title: ClassVar[str] = "Trivial imitation"
    paper: ClassVar[str] = (
        "In the paper's Fig. 27 such students recover nothing: PGR 0.002 ± 0.003 (naive), 0.046 ± 0.108 (confidence)."
    )
    needs: ClassVar[str] = (
        "finished cells of the method trivial-imitation: w2s run recipes/fig27_trivial_imitation.yaml"
    )

    def rows(self, results: FigureData) -> list[Row]:
        rows = plain(results.aggregate)
        told = [row for row in rows if kind_of(row) == "trivial-imitation"]
        groups = unique(_group(row) for row in told)
        return [*told, *(row for row in naive_and_confidence(rows) if _group(row) in groups)]

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        return accuracy_and_pgr({"the weak label in the prompt": by_arm(rows)}, models)

    def seen(self, rows: Sequence[Row]) -> str:
        return (
            "Methods named trivial-imitation see the weak label written into the text; the others do not. "
            f"Left accuracy, right PGR. {seeds_words(rows)} {pgr_words(rows)}"
        )


def _group(row: Row) -> tuple[object, ...]:
    return tuple(row[n] for n in ("task", "supervisor", "student", "regime"))
