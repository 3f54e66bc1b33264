"""Linear probing beside finetuning (Burns et al. 2023, App. D.2, Fig. 23)."""

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
    unique,
)
from weakstrong.report.table import Row


@FIGURES.register
class Fig23(PaperFigure):
    """PGR of probes on frozen features beside PGR of finetuning, for the same pairs and methods."""

    title: ClassVar[str] = "Probes on frozen features beside finetuning"
    paper: ClassVar[str] = (
        "In the paper (App. D.2, Fig. 23) linear probes show the same trends as finetuning, at a small part of its "
        "cost."
    )
    needs: ClassVar[str] = (
        "finished cells of one method in both regimes, probe and finetune: w2s run recipes/fig23_probing.yaml"
    )

    def rows(self, results: FigureData) -> list[Row]:
        rows = naive_and_confidence(plain(results.aggregate))
        found = []
        for task, method in unique((row["task"], row["method"]) for row in rows):
            here = [row for row in rows if (row["task"], row["method"]) == (task, method)]
            of = {
                r: {(x["supervisor"], x["student"]) for x in here if x["regime"] == r}
                for r in ("probe", "finetune")
            }
            both = of["probe"] & of["finetune"]
            found += [row for row in here if (row["supervisor"], row["student"]) in both]
        return found

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        panels: dict[str, dict[str, list[Row]]] = {}
        for method in unique(str(row["method"]) for row in rows):
            arms = by_arm([row for row in rows if row["method"] == method])
            panels[method] = {_regime(arm, mine): mine for arm, mine in arms.items()}
        return accuracy_and_pgr(panels, models)

    def seen(self, rows: Sequence[Row]) -> str:
        return (
            "Line styles: heads on frozen features (probe) and training of all weights (finetune), for the same tasks "
            f"and models, each with its own supervisor and ceiling. {seeds_words(rows)} {pgr_words(rows)}"
        )


def _regime(arm: str, rows: Sequence[Row]) -> str:
    """The regime, with what tells two recipes of one regime apart."""
    recipe = arm.partition("[recipe")[2]
    return str(rows[0]["regime"]) + (f" [recipe{recipe}" if recipe else "")
