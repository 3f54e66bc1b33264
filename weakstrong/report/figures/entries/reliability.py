"""How far predicted probabilities can be believed: reliability diagrams (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from weakstrong.report.figures.drawing import diagonal, grid, key, legend, line_key, measured, series, settled
from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.rows import (
    FigureData,
    Models,
    arms_of,
    number,
    of_analysis,
    pair_of,
    plain,
    seeds_words,
    spread,
    unique,
)
from weakstrong.report.figures.style import DOUBLE, GREY, HUES, INK, MARKERS, Look, styled
from weakstrong.report.table import Row

LOOKS = {
    "supervisor": Look(HUES[0], MARKERS[1], (0, (4, 2)), hollow=True),
    "student": Look(HUES[1], MARKERS[0]),
    "ceiling": Look(INK, MARKERS[2], (0, (1, 1.4)), hollow=True),
}
ERROR = ("calibration error", "ece")


@FIGURES.register
class Reliability(PaperFigure):
    """Accuracy against confidence, a panel for each pair and method; on the diagonal an arm is calibrated."""

    title: ClassVar[str] = "Reliability of probabilities"
    paper: ClassVar[str] = (
        "The paper has no such figure; students of soft weak labels inherit their supervisor's confidence, and the "
        "confidence loss makes them surer."
    )
    needs: ClassVar[str] = "the analysis calibration: w2s run --analysis calibration"
    analyses: ClassVar[tuple[str, ...]] = ("calibration",)

    def rows(self, results: FigureData) -> list[Row]:
        rows = [row for row in plain(of_analysis(results, "calibration")) if row.get("arm") in LOOKS]
        tasks = {row["task"] for row in rows if _in_bin(row)}
        return [row for row in rows if row["task"] in tasks and (_in_bin(row) or row["measure"] in ERROR)]

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        panels: dict[str, list[Row]] = {}
        for row, arm in zip(rows, arms_of(rows), strict=True):
            panels.setdefault(f"{pair_of(row)}\n{arm}", []).append(row)
        low = min(float(row["confidence"]) for row in rows if _in_bin(row))
        start = 0.5 if low >= 0.5 else 0.0
        columns = min(3, len(panels))
        lines = -(-len(panels) // columns)
        with styled():
            size = (DOUBLE if columns > 1 else DOUBLE / 2, 0.6 + 2.1 * lines)
            figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.06))
            axes, lowest, leftmost = grid(figure, len(panels), columns)
            for i, (ax, (title, mine)) in enumerate(zip(axes, panels.items(), strict=True)):
                diagonal(ax, "calibrated", start)
                for arm, looks in LOOKS.items():
                    bins = [row for row in mine if row["arm"] == arm and _in_bin(row)]
                    series(ax, [measured(float(row["confidence"]), row) for row in bins], looks, arm)
                errors = [
                    f"{r['arm']} {number(r['value'], 3)}"
                    for r in mine
                    if r["measure"] in ERROR and r["value"] is not None
                ]
                if errors:
                    words = "calibration error\n" + "\n".join(errors)
                    ax.text(0.98, 0.03, words, transform=ax.transAxes, ha="right", va="bottom", fontsize=6.5)
                ax.set_title(title, fontsize=7)
                ax.set_xlabel("confidence" if lowest[i] else "")
                ax.set_ylabel("accuracy" if leftmost[i] else "")
            axes[0].set_xlim(start - 0.02, 1.02)
            ends = [
                row[e] for row in rows if _in_bin(row) for e in ("value", "low", "high") if row[e] is not None
            ]
            axes[0].set_ylim(min([start, *ends]) - 0.02, 1.02)
            legend(
                figure,
                [
                    *(key(looks, arm) for arm, looks in LOOKS.items()),
                    line_key((0, (4, 3)), "calibrated", GREY),
                ],
            )
            return settled(figure)

    def seen(self, rows: Sequence[Row]) -> str:
        parts = []
        for arm in LOOKS:
            found = [
                r["value"]
                for r in rows
                if r["arm"] == arm and r["measure"] in ERROR and r["value"] is not None
            ]
            parts += [f"{arm} {spread(unique(found), 3)}"] if found else []
        errors = f" Calibration error: {'; '.join(parts)}." if parts else ""
        return (
            "Share of right predictions against their mean confidence, by bins; below the diagonal an arm is too sure. "
            f"{seeds_words(rows)}{errors}"
        )


def _in_bin(row: Row) -> bool:
    return row["measure"] == "reliability" and row["value"] is not None and row["confidence"] is not None
