"""Errors that the student can simulate, and errors that it cannot (Burns et al. 2023, App. E.1, Fig. 24)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from weakstrong.report.figures.drawing import (
    Point,
    arm_key,
    arm_look,
    diagonal,
    key,
    legend,
    levels,
    limits,
    line_key,
    pgr_limits,
    scored,
    series,
    settled,
)
from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.panels import pgr_of
from weakstrong.report.figures.rows import FigureData, Models, arms_of, derived, number, seeds_words, unique
from weakstrong.report.figures.structures import rule_of
from weakstrong.report.figures.style import DOUBLE, GREY, LINES, look, styled
from weakstrong.report.table import Row, has_pgr

WORDS = {
    "first-features": "first k features (simulable)",
    "mixed-errors": "mixture",
    "random-errors": "random errors",
}


@FIGURES.register
class Fig24(PaperFigure):
    """Student's accuracy (left) and PGR (right) against the accuracy of the labels, one hue for each kind of error."""

    title: ClassVar[str] = "Errors that can be simulated"
    paper: ClassVar[str] = (
        "The paper's Fig. 24 compares a supervisor that the student can simulate perfectly, random flips of as many "
        "labels, and the mixture of both."
    )
    needs: ClassVar[str] = (
        "finished cells with supervisors first-features or mixed-errors: w2s run recipes/fig24_simulation.yaml"
    )

    def rows(self, results: FigureData) -> list[Row]:
        rows = [row for row in results.aggregate if rule_of(row) in WORDS]
        places = {_place(row) for row in rows if rule_of(row) != "random-errors"}
        return [row for row in rows if _place(row) in places]

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        kinds = [kind for kind in WORDS if kind in {rule_of(row) for row in rows}]
        arm_of = dict(zip(map(id, rows), arms_of(rows), strict=True))
        arms = unique(arm_of.values())
        students = unique(str(row["student"]) for row in rows)
        with styled():
            size = (DOUBLE, 0.8 + 2.1 * len(students))
            figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.06))
            axes = figure.subplots(len(students), 2, squeeze=False, sharex=True)
            for student, (left, right) in zip(students, axes, strict=True):
                here = [row for row in rows if row["student"] == student]
                for line in unique(_line(row) for row in here):
                    for j, arm in enumerate(arms):
                        cells = [r for r in here if _line(r) == line and arm_of[id(r)] == arm]
                        cells = [r for r in cells if r["supervisor_score"] is not None]
                        looks = arm_look(look(kinds.index(line[0]), len(kinds)), j)
                        label = f"{' '.join(filter(None, line))}, {arm}"
                        points = [scored(r["supervisor_score"], r, "student") for r in cells]
                        series(left, points, looks, label)
                        series(right, [Point(r["supervisor_score"], *pgr_of(r)) for r in cells], looks, label)
                        for row in cells if j == 0 else ():
                            _tag(left, row)
                for row in [row for row in here if row["ceiling_score"] is not None][:1]:
                    style = {"color": GREY, "linestyle": LINES[1], "linewidth": 0.8}
                    left.axhline(row["ceiling_score"], label="ceiling", zorder=0, **style)
                ends = [
                    r[f"{role}_{e}"]
                    for r in here
                    for role in ("student", "ceiling", "supervisor")
                    for e in ("score", "low", "high")
                ]
                left.set_ylim(limits(ends))
                levels(right)
                right.set_ylim(*pgr_limits([pgr_of(row) for row in here]))
                left.set_title(student)
                left.set_ylabel("accuracy of the student")
                right.set_ylabel("PGR")
            low, high = limits(row["supervisor_score"] for row in rows)
            high += 0.1 * (high - low)  # room for the words beside the last point
            axes[0, 0].set_xlim(low, high)
            for left, _ in axes:
                diagonal(left, "no better than the labels", low, high)
            for ax in axes[-1]:
                ax.set_xlabel("accuracy of the weak labels on test")
            handles = [key(look(i, len(kinds)), WORDS[kind]) for i, kind in enumerate(kinds)]
            handles += [arm_key(j, arm) for j, arm in enumerate(arms)] if len(arms) > 1 else []
            legend(
                figure, [*handles, line_key(LINES[1], "ceiling; diagonal: no better than the labels", GREY)]
            )
            return settled(figure)

    def seen(self, rows: Sequence[Row]) -> str:
        parts = []
        for kind in [kind for kind in WORDS if kind in {rule_of(row) for row in rows}]:
            found = [row["pgr"] for row in rows if rule_of(row) == kind and has_pgr(row)]
            ends = unique([number(min(found)), number(max(found))]) if found else ["undefined"]
            parts.append(f"{WORDS[kind]} {' to '.join(ends)}")
        return (
            "Students of labels of some accuracy, by the kind of their errors; on the diagonal a student is no better "
            f"than its labels. PGR: {'; '.join(parts)}. {seeds_words(rows)}"
        )


def _place(row: Row) -> tuple[object, ...]:
    return tuple(row[n] for n in ("task", "student", "method", "regime"))


def _line(row: Row) -> tuple[str, str, str]:
    """What one line joins: the kind of error, its share, and the model below, whatever k is.

    >>> _line({"supervisor": "mixed-errors:share=0.5:first-features:k=8:a"})
    ('mixed-errors', 'share=0.5', 'first features of a')
    """
    rule, base = derived(str(row["supervisor"]))
    kind, _, parameter = rule.partition(":")
    if kind == "first-features":
        return kind, "", base
    inner, root = derived(base)
    return kind, parameter, f"first features of {root}" if inner else base


def _tag(ax: object, row: Row) -> None:
    """The parameter beside the point: k, or the share."""
    rule = derived(str(row["supervisor"]))[0]
    parameter = rule.partition(":")[2]
    if parameter and row["student_score"] is not None:
        at = (row["supervisor_score"], row["student_score"])
        ax.annotate(parameter, at, (4, -9), textcoords="offset points", fontsize=6, color=GREY)  # type: ignore[attr-defined]
