"""Panels of easy-to-hard generalisation: accuracy against the cut-off of difficulty (paper App. C)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator

from weakstrong.report.figures.drawing import key, legend, limits, line_key, measured, series, settled, shift
from weakstrong.report.figures.rows import FigureData, number, of_analysis, unique
from weakstrong.report.figures.style import DOUBLE, line_style, look, styled
from weakstrong.report.table import Row

TESTED = {"all": "tested on all rows", "hard": "tested on hard rows"}


def curves_by(results: FigureData, by: tuple[str, ...]) -> list[Row]:
    """Accuracy rows of ``easy-to-hard`` whose difficulty comes from one of ``by``; "" is the analysis' default.

    What a student learns from ground truth does not hang on a supervisor: rows that differ in it alone are one.
    """

    def accepts(parameters: str) -> bool:
        given = dict(part.partition("=")[::2] for part in parameters.split(",") if part)
        return given.get("by", "") in by

    found: dict[tuple[object, ...], Row] = {}
    for row in of_analysis(results, "easy-to-hard", accepts):
        if row["measure"] == "accuracy" and row["tested_on"] in TESTED:
            names = ("analysis", "task", "student", "regime", "recipe", "cutoff", "trained_on", "tested_on")
            place = (*(row.get(n) for n in names), row["value"])
            found.setdefault(place, row)
    return list(found.values())


def easy_to_hard_panels(rows: Sequence[Row], difficulty: str) -> Figure:
    """Accuracy of students trained on rows up to each cut-off, beside as many random rows.

    Args:
        rows: of `curves_by`.
        difficulty: name of the x axis.
    """
    groups = unique(_group(row) for row in rows)
    trained = unique(str(row["trained_on"]) for row in rows)
    tested = [where for where in TESTED if where in {row["tested_on"] for row in rows}]
    with styled():
        size = (DOUBLE, 2.5 + 0.06 * len(groups))
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.06))
        axes = figure.subplots(1, len(tested), squeeze=False, sharey=True, sharex=True)
        for ax, where in zip(axes[0], tested, strict=True):
            for i, group in enumerate(groups):
                for j, on in enumerate(trained):
                    here = [r for r in rows if _group(r) == group and r["trained_on"] == on]
                    points = [
                        measured(float(r["cutoff"]), r)
                        for r in here
                        if r["tested_on"] == where and r["cutoff"] is not None
                    ]
                    looks = look(i, len(groups)) | {"line": line_style(j), "hollow": j > 0}
                    place = shift(ax, i * len(trained) + j, len(groups) * len(trained))
                    series(ax, points, looks, f"{on} of {group}", place)
            cutoffs = sorted({float(r["cutoff"]) for r in rows if r["cutoff"] is not None})
            ax.set_xlim(*limits(cutoffs))
            if len(cutoffs) <= 8:
                ax.xaxis.set_major_locator(FixedLocator(cutoffs))
                ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
            ax.set_title(TESTED[where])
            ax.set_xlabel(difficulty)
        axes[0, 0].set_ylabel("accuracy")
        axes[0, 0].set_ylim(limits(row[end] for row in rows for end in ("value", "low", "high")))
        handles = [key(look(i, len(groups)), group) for i, group in enumerate(groups)]
        words = {"easy": "trained on rows up to the cut-off", "random": "trained on as many random rows"}
        legend(
            figure, [*handles, *(line_key(line_style(j), words.get(on, on)) for j, on in enumerate(trained))]
        )
        return settled(figure)


def easy_words(rows: Sequence[Row]) -> str:
    """Accuracy at the lowest and the highest cut-off, easy beside random."""
    sentences = []
    for where in TESTED:
        for on in unique(str(row["trained_on"]) for row in rows):
            found = [
                r for r in rows if (r["tested_on"], r["trained_on"]) == (where, on) and r["value"] is not None
            ]
            found = [r for r in found if r["cutoff"] is not None]
            if found:
                ends = [pick(float(r["cutoff"]) for r in found) for pick in (min, max)]
                means = [[r["value"] for r in found if float(r["cutoff"]) == end] for end in ends]
                first, last = (number(sum(m) / len(m)) for m in means)
                sentences.append(f"{TESTED[where]}, trained on {on} rows: {first} to {last}")
    return f"Accuracy from the lowest to the highest cut-off: {'; '.join(sentences)}." if sentences else ""


def _group(row: Row) -> str:
    """What one curve is of: the student, with the regime's and analysis' parameters."""
    parameters = str(row.get("analysis", "")).partition(":")[2]
    return f"{row['student']} ({row['regime']})" + (f" [{parameters}]" if parameters else "")
