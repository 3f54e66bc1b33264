"""PGR of every pair and method as points with intervals and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure

from weakstrong.report.figures.drawing import (
    categories,
    dot,
    key,
    legend,
    levels,
    pgr_limits,
    settled,
    target,
)
from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.panels import pgr_of
from weakstrong.report.figures.rows import (
    FigureData,
    Models,
    arms_of,
    by_arm,
    pair_of,
    pgr_words,
    seeds_words,
    unique,
)
from weakstrong.report.figures.style import DOUBLE, LINES, look, styled
from weakstrong.report.table import Row, format_pgr, has_pgr


@FIGURES.register
class PgrBars(PaperFigure):
    """A point with its interval and its number for each (supervisor, student, method), dashed at 0 and 1.

    Pairs and methods stand in listed order, top to bottom. An undefined PGR is an empty marker at the left edge; an
    oracle, which ground truth has helped, is empty on a dotted line, below the methods.
    """

    title: ClassVar[str] = "PGR of every pair and method"
    paper: ClassVar[str] = (
        "The paper has no such figure; its naive PGR is above 0.2 across NLP, with the confidence loss nearly 0.8 for "
        "the smallest supervisor and the largest student."
    )
    needs: ClassVar[str] = "finished cells: w2s run"

    def rows(self, results: FigureData) -> list[Row]:
        return list(results.aggregate)

    def worth(self, rows: Sequence[Row]) -> bool:
        # beyond, the points are too many for one look
        return len({pair_of(row) for row in rows}) <= 8

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        apart = sorted(rows, key=lambda row: bool(row.get("uses_ground_truth")))
        arms = list(by_arm(apart))
        pairs = unique(pair_of(row) for row in rows)
        step = len(arms) + 0.7  # a gap between pairs
        with styled():
            each = 0.19 if len(pairs) <= 6 else 0.15
            figure = Figure(figsize=(DOUBLE, 0.9 + each * step * len(pairs)), layout="constrained")
            ax = figure.subplots()
            for arm, row in zip(arms_of(apart), apart, strict=True):
                y = pairs.index(pair_of(row)) * step + arms.index(arm)
                looks = look(arms.index(arm), len(arms))
                if row.get("uses_ground_truth"):
                    looks = looks | {"hollow": True, "line": LINES[2]}
                dot(ax, y, pgr_of(row), looks, arm)
                if "place" in row and has_pgr(row):
                    target(ax, row["pgr"], y, f"bar-result-{row['place']}", ax.transData)
                ax.text(1.02, y, format_pgr(row), transform=ax.get_yaxis_transform(), va="center", fontsize=7)
            levels(ax, vertical=True)
            ax.set_xlim(*pgr_limits([pgr_of(row) for row in rows]))
            ax.set_ylim(step * len(pairs) - 0.7 - 0.3, -0.7)
            categories(ax, pairs, [i * step + (len(arms) - 1) / 2 for i in range(len(pairs))])
            ax.set_ylabel("supervisor → student")
            ax.set_xlabel("PGR: 0 = no better than the supervisor, 1 = the ceiling")
            oracles = {
                arm for arm, row in zip(arms_of(apart), apart, strict=True) if row.get("uses_ground_truth")
            }
            looks_of = {arm: look(i, len(arms)) | {"hollow": arm in oracles} for i, arm in enumerate(arms)}
            legend(figure, [key(looks, arm) for arm, looks in looks_of.items()], "outside upper left")
            return settled(figure)

    def seen(self, rows: Sequence[Row]) -> str:
        words = pgr_words(rows) if len(by_arm(rows)) <= 6 else ""
        return f"PGR of each pair and method with its interval. {seeds_words(rows)} {words}".strip()
