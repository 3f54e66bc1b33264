"""Generative finetuning before training on weak labels (Burns et al. 2023, §5.2.2, Fig. 18)."""

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
    pgr_words,
    plain,
    seeds_words,
    unique,
)
from weakstrong.report.table import Row


@FIGURES.register
class Fig18(PaperFigure):
    """Accuracy and PGR with generative finetuning first (solid) and without (dashed), each with its own ceiling."""

    title: ClassVar[str] = "Generative finetuning first"
    paper: ClassVar[str] = (
        "In the paper (reward modelling; Fig. 10 tunes the student only, Fig. 18 the supervisor too) generative "
        "finetuning adds 0.1 to 0.2 of PGR although the ceiling had it too."
    )
    needs: ClassVar[str] = (
        "finished cells of the methods naive and generative: w2s run recipes/fig18_generative.yaml"
    )

    def rows(self, results: FigureData) -> list[Row]:
        rows = [row for row in plain(results.aggregate) if "+" not in row["method"]]
        rows = [row for row in rows if row["method"] == "naive" or kind_of(row) == "generative"]
        found = []
        for task, regime in unique((row["task"], row["regime"]) for row in rows):
            here = [row for row in rows if (row["task"], row["regime"]) == (task, regime)]
            tuned = [row for row in here if row["method"] != "naive"]
            # naive cells of other pairs belong to other figures
            pairs = {(row["supervisor"], row["student"]) for row in tuned}
            naive = [r for r in here if r["method"] == "naive" and (r["supervisor"], r["student"]) in pairs]
            if tuned and naive:
                found += [*tuned, *naive]
        return found

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        return accuracy_and_pgr({"with and without generative finetuning": by_arm(rows)}, models)

    def seen(self, rows: Sequence[Row]) -> str:
        return (
            "Solid: language-model training on the task's texts without labels comes first, for the ceiling too; dashed "
            f"or dotted, empty markers: the other methods. Left accuracy, right PGR. {seeds_words(rows)} {pgr_words(rows)}"
        )
