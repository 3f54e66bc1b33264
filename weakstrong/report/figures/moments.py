"""Curves through training and PGR at chosen moments, from the analysis ``overfitting``."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator

from weakstrong.report.figures.drawing import Point, levels, limits, measured, pgr_limits, series, shift
from weakstrong.report.figures.rows import FigureData, number, of_analysis
from weakstrong.report.figures.style import INK, LINES, Look
from weakstrong.report.table import Row

MOMENTS = ("best", "weak", "last")
"""Best on ground truth (an oracle), stopped early on weak labels, last step."""


def trajectories(results: FigureData) -> list[Row]:
    """All rows of the analysis; those of one evaluation with ``progress``, the share of training in [0, 1]."""
    rows = of_analysis(results, "overfitting")
    ends: dict[tuple[object, ...], float] = {}
    for row in rows:
        ends[_result(row)] = max(ends.get(_result(row), 0.0), row["epoch"])
    return [
        row if row.get("stop") else {**row, "progress": row["epoch"] / (ends[_result(row)] or 1.0)}
        for row in rows
    ]


def _result(row: Row) -> tuple[object, ...]:
    names = ("analysis", "task", "supervisor", "student", "method", "regime", "recipe")
    return tuple(row.get(name) for name in names)


def at_place(rows: Sequence[Row], measure: str, where: str = "all") -> list[Row]:
    """Rows through training of one measure, on all test rows or those of ``where``."""
    return [r for r in rows if r["measure"] == measure and "progress" in r and r["where"] == where]


def pgr_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows of PGR at one of `MOMENTS`."""
    return [row for row in rows if row["measure"] == "pgr" and row.get("stop") in MOMENTS]


def draw_curve(ax: Axes, rows: Sequence[Row], looks: Look, label: str, turn: int = 0) -> None:
    """One measure through training; moments are many, so only some have a marker and an interval.

    Args:
        ax: where to draw.
        rows: of `at_place`, of one result.
        looks: of the line.
        label: of the line.
        turn: place among the curves of the panel; they mark other moments.
    """
    ordered = sorted(rows, key=lambda row: row["progress"])
    if not ordered:
        return
    xs = [row["progress"] for row in ordered]
    ys = [float("nan") if row["value"] is None else row["value"] for row in ordered]
    every = max(1, len(xs) // 4)
    marked = slice(turn % every, None, every)
    style: dict[str, Any] = {"color": looks.hue, "linestyle": looks.line, "linewidth": 1.2}
    style |= {"marker": looks.marker, "markersize": 3.5, "markerfacecolor": looks.face, "markevery": marked}
    ax.plot(xs, ys, label=label, **style)
    sure = [row for row in ordered[marked] if row["low"] is not None and row["high"] is not None]
    if sure:
        bars: dict[str, Any] = {
            "color": looks.hue,
            "alpha": 0.85,
            "linewidth": 0.8,
            "label": f"interval of {label}",
        }
        ax.vlines([r["progress"] for r in sure], [r["low"] for r in sure], [r["high"] for r in sure], **bars)


def progress_axis(ax: Axes, rows: Sequence[Row], measure: str, named: bool) -> None:
    """The share of training on x, ``measure`` on y."""
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(limits(row[end] for row in rows for end in ("value", "low", "high")))
    ax.set_ylabel(measure)
    ax.tick_params(labelbottom=named)
    ax.set_xlabel("share of training" if named else "")


def draw_moments(ax: Axes, pairs: Sequence[tuple[str, Sequence[Row], Look]], named: bool) -> None:
    """PGR of each pair at the three moments, and the median in ink where several pairs have one."""
    levels(ax)
    for i, (pair, rows, looks) in enumerate(pairs):
        points = [measured(MOMENTS.index(row["stop"]), row) for row in rows]
        series(ax, points, looks | {"line": LINES[2]}, f"PGR of {pair}", shift(ax, i, len(pairs)))
    every = [row for _, rows, _ in pairs for row in rows]
    medians = moment_medians(every)
    if len(pairs) > 1:
        series(
            ax, [Point(MOMENTS.index(m), value) for m, value in medians.items()], Look(INK, "_"), "median PGR"
        )
    ax.set_xlim(-0.4, 2.4)
    ax.xaxis.set_major_locator(FixedLocator([0, 1, 2]))
    names = ["best\n(oracle)", "stopped\non weak", "last\nstep"] if named else ["", "", ""]
    ax.xaxis.set_major_formatter(FixedFormatter(names))
    if named:
        ax.set_xlabel("moment of training")
    ax.set_ylim(*pgr_limits([(row["value"], row["low"], row["high"]) for row in every]))
    ax.set_ylabel("PGR")


def moment_medians(rows: Sequence[Row]) -> dict[str, float]:
    """Median PGR over pairs at each moment where one is defined."""
    found = {
        moment: [row["value"] for row in rows if row["stop"] == moment and row["value"] is not None]
        for moment in MOMENTS
    }
    return {moment: median(values) for moment, values in found.items() if values}


def moment_words(rows: Sequence[Row]) -> str:
    """Median PGR at each moment in words."""
    medians = moment_medians(pgr_rows(rows))
    if not medians:
        return "PGR undefined at every moment."
    words = {"best": "at best", "weak": "stopped on weak labels", "last": "at the last step"}
    return f"median PGR {', '.join(f'{number(value)} {words[moment]}' for moment, value in medians.items())}."
