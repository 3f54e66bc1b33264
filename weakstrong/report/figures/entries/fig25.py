"""What the place of errors does (Burns et al. 2023, App. E.2, Fig. 25)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from weakstrong.report.figures.drawing import (
    categories,
    dot,
    key,
    legend,
    levels,
    limits,
    pgr_limits,
    settled,
)
from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.panels import pgr_of
from weakstrong.report.figures.rows import FigureData, Models, arms_of, number, seeds_words, unique
from weakstrong.report.figures.structures import base_of, structure_of, structures_in
from weakstrong.report.figures.style import DOUBLE, GREY, LINES, look, styled
from weakstrong.report.table import Row, has_pgr


@FIGURES.register
class Fig25(PaperFigure):
    """Accuracy (left) and PGR (right) for each error structure, one mark for each method."""

    title: ClassVar[str] = "What the place of errors does"
    paper: ClassVar[str] = (
        "In the paper's Fig. 25 generalisation, and what methods add to it, depends critically on where the errors "
        "lie; random errors are the easy case."
    )
    needs: ClassVar[str] = (
        "finished cells with supervisors such as random-errors:minilm-l6: w2s run recipes/fig25_error_structure.yaml"
    )

    def rows(self, results: FigureData) -> list[Row]:
        return structures_in(results.aggregate)

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        kinds = unique(structure_of(row) for row in rows)
        arm_of = dict(zip(map(id, rows), arms_of(rows), strict=True))
        arms = unique(arm_of.values())
        looks = {arm: look(i, len(arms)) for i, arm in enumerate(arms)}
        groups = unique((base_of(row), str(row["student"])) for row in rows)
        step = 0.3 if len(arms) <= 2 else 0.8 / len(arms)
        with styled():
            size = (DOUBLE, 0.75 + (0.35 + (0.13 + 0.11 * len(arms)) * len(kinds)) * len(groups))
            figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.06))
            axes = figure.subplots(len(groups), 2, squeeze=False, sharex="col", sharey=True)
            for (base, student), (left, right) in zip(groups, axes, strict=True):
                here = [r for r in rows if (base_of(r), r["student"]) == (base, student)]
                for row in here:
                    place = kinds.index(structure_of(row)) + step * (
                        arms.index(arm_of[id(row)]) - (len(arms) - 1) / 2
                    )
                    label = f"{arm_of[id(row)]} of {structure_of(row)}"
                    score = tuple(row[f"student_{end}"] for end in ("score", "low", "high"))
                    dot(left, place, score, looks[arm_of[id(row)]], label)
                    dot(right, place, pgr_of(row), looks[arm_of[id(row)]], label)
                for role in ("supervisor", "ceiling"):
                    own = [row[f"{role}_score"] for row in here if row[f"{role}_score"] is not None]
                    for score in own[:1]:
                        line = LINES[2] if role == "supervisor" else LINES[1]
                        left.axvline(score, color=GREY, linestyle=line, linewidth=0.8, label=role, zorder=0)
                        spot = left.get_xaxis_transform()
                        left.text(score, 1.01, role, transform=spot, ha="center", fontsize=6.5, color=GREY)
                levels(right, vertical=True)
                left.set_title(f"{base} → {student}", pad=12)
                left.set_ylabel("where the errors lie")
                categories(left, kinds)
                right.spines["left"].set_visible(False)
                right.tick_params(axis="y", length=0)
            ends = [
                row[f"{r}_{e}"]
                for row in rows
                for r, e in (
                    ("student", "score"),
                    ("student", "low"),
                    ("student", "high"),
                    ("supervisor", "score"),
                    ("ceiling", "score"),
                )
            ]
            axes[0, 0].set_xlim(limits(ends))
            axes[0, 0].set_ylim(len(kinds) - 0.5, -0.5)
            axes[0, 1].set_xlim(*pgr_limits([pgr_of(row) for row in rows]))
            axes[-1, 0].set_xlabel("accuracy of the student on test")
            axes[-1, 1].set_xlabel("PGR: 0 = supervisor, 1 = ceiling")
            legend(figure, [key(looks[arm], arm) for arm in arms])
            return settled(figure)

    def seen(self, rows: Sequence[Row]) -> str:
        parts = []
        for kind in unique(structure_of(row) for row in rows):
            found = [row["pgr"] for row in rows if structure_of(row) == kind and has_pgr(row)]
            ends = unique([number(min(found)), number(max(found))]) if found else ["undefined"]
            parts.append(f"{kind} {' to '.join(ends)}")
        return (
            "All labels have the accuracy of the weak model's; only the place of the errors differs. "
            f"PGR: {'; '.join(parts)}. {seeds_words(rows)}"
        )
