"""Through training on labels with different error structures (Burns et al. 2023, App. E.2, Fig. 26)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from weakstrong.report.figures.drawing import key, legend, settled
from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.moments import at_place, draw_curve, progress_axis, trajectories
from weakstrong.report.figures.rows import FigureData, Models, by_arm, derived, number, seeds_words, unique
from weakstrong.report.figures.structures import OWN, base_of, structure_of, structures_in
from weakstrong.report.figures.style import DOUBLE, INK, Look, look, styled
from weakstrong.report.table import Row


@FIGURES.register
class Fig26(PaperFigure):
    """Accuracy (left) and agreement with the labels (right) through training, one line for each error structure."""

    title: ClassVar[str] = "Error structures through training"
    paper: ClassVar[str] = (
        "In the paper's Fig. 26 the agreement of students with their labels goes through training in different ways "
        "for different structures, although all labels are equally accurate."
    )
    needs: ClassVar[str] = (
        "the analysis overfitting of cells with derived errors: w2s run recipes/fig25_error_structure.yaml --analysis overfitting"
    )
    analyses: ClassVar[tuple[str, ...]] = ("overfitting",)

    def rows(self, results: FigureData) -> list[Row]:
        rows = at_place(trajectories(results), "accuracy") + at_place(trajectories(results), "agreement")
        return structures_in(rows)

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        kinds = unique(structure_of(row) for row in rows)
        moved = [kind for kind in kinds if kind != OWN]
        looks = {kind: look(i, len(moved)) for i, kind in enumerate(moved)} | {OWN: Look(INK, "D")}
        groups = {
            f"{base} → {student}, {arm}": mine
            for arm, of_arm in by_arm(rows).items()
            for base, student in unique((base_of(row), str(row["student"])) for row in of_arm)
            if (mine := [row for row in of_arm if (base_of(row), row["student"]) == (base, student)])
        }
        with styled():
            size = (DOUBLE, 0.7 + 1.7 * len(groups) + 0.08 * len(kinds))
            figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.06))
            axes = figure.subplots(len(groups), 2, squeeze=False)
            for i, ((title, mine), line) in enumerate(zip(groups.items(), axes, strict=True)):
                for ax, measure, words in zip(
                    line,
                    ("accuracy", "agreement"),
                    ("accuracy on test", "agreement with labels"),
                    strict=True,
                ):
                    found = at_place(mine, measure)
                    for turn, kind in enumerate(kinds):
                        own = [row for row in found if structure_of(row) == kind]
                        draw_curve(ax, own, looks[kind], f"{measure} of {kind}", turn)
                    progress_axis(ax, found, words, i == len(groups) - 1)
                line[0].set_title(title)
            legend(figure, [key(looks[kind], kind) for kind in kinds])
            return settled(figure)

    def seen(self, rows: Sequence[Row]) -> str:
        parts = []
        for kind in unique(structure_of(row) for row in rows):
            own = [
                row
                for row in at_place(rows, "accuracy")
                if structure_of(row) == kind and row["value"] is not None
            ]
            if own:
                end = max(row["progress"] for row in own)
                best = max(row["value"] for row in own)
                last = max(row["value"] for row in own if row["progress"] == end)
                parts.append(f"{kind} {number(best)} at best, {number(last)} at the end")
        derived_rows = [row for row in rows if derived(str(row["supervisor"]))[0]]
        return (
            "Labels of equal accuracy with errors in different places. Test accuracy and agreement with those labels "
            f"through training, at some moments with 95 % intervals. Accuracy: {'; '.join(parts)}. {seeds_words(derived_rows)}"
        )
