"""Panels of easy-to-hard generalisation: accuracy against the cut-off of difficulty (paper App. C)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedFormatter, FixedLocator

from weakstrong.report.figures.drawing import key, legend, limits, measured, series, settled, shift
from weakstrong.report.figures.rows import FigureData, number, of_analysis, unique
from weakstrong.report.figures.style import DOUBLE, INK, Look, look, styled
from weakstrong.report.table import Row

TESTED = {"all": "tested on all rows", "hard": "tested on hard rows"}
ARMS = {
    "easy": "trained on rows up to the cut-off",
    "random": "on as many random rows",
    "ceiling": "on all rows",
}
"""What ground truth is trained on; only ``easy`` has cut-offs."""


def curves_by(results: FigureData, by: str) -> list[Row]:
    """Accuracy rows of ``easy-to-hard`` whose difficulty comes from ``by``: models (the default), judged or given.

    What is trained on ground truth does not hang on a supervisor or a method: rows that differ in these alone are one.
    """

    def accepts(parameters: str) -> bool:
        given = dict(part.partition("=")[::2] for part in parameters.split(",") if part)
        return given.get("by", "models") == by

    found: dict[tuple[object, ...], Row] = {}
    for row in of_analysis(results, "easy-to-hard", accepts):
        if row["measure"] == "accuracy" and row["where"] in TESTED and row["arm"] in ARMS:
            names = ("analysis", "task", "student", "regime", "recipe", "cutoff", "arm", "where")
            found.setdefault((*(row.get(n) for n in names), row["value"]), row)
    rows = list(found.values())
    tasks = {row["task"] for row in rows if row["arm"] == "easy"}
    return [row for row in rows if row["task"] in tasks]


def easy_to_hard_panels(rows: Sequence[Row], difficulty: str) -> Figure:
    """Accuracy after training on rows up to each cut-off; at the right, of random rows and of all.

    Args:
        rows: of `curves_by`, of one task.
        difficulty: name of the x axis.
    """
    groups = unique(_group(row) for row in rows)
    cutoffs = sorted({float(row["cutoff"]) for row in rows if row["arm"] == "easy"})
    step = (cutoffs[-1] - cutoffs[0]) / (len(cutoffs) - 1) if len(cutoffs) > 1 else 1.0
    at = {"random": cutoffs[-1] + step, "ceiling": cutoffs[-1] + 1.7 * step}
    with styled():
        size = (DOUBLE, 2.6 + 0.06 * len(groups))
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.06))
        axes = figure.subplots(1, len(TESTED), sharey=True, sharex=True)
        for ax, (where, words) in zip(axes, TESTED.items(), strict=True):
            for i, group in enumerate(groups):
                here = [row for row in rows if _group(row) == group and row["where"] == where]
                place = shift(ax, i, len(groups))
                easy = [measured(float(row["cutoff"]), row) for row in here if row["arm"] == "easy"]
                series(ax, easy, look(i, len(groups)), f"easy of {group}", place)
                for arm, x in at.items():
                    beside = [measured(x, row) for row in here if row["arm"] == arm]
                    looks = look(i, len(groups)) | {"hollow": True, "line": "none"}
                    series(ax, beside, looks, f"{arm} of {group}", place)
            ax.set_title(words)
            ax.set_xlim(cutoffs[0] - 0.4 * step, at["ceiling"] + 0.4 * step)
            shown = cutoffs if len(cutoffs) <= 6 else [cutoffs[0], cutoffs[len(cutoffs) // 2], cutoffs[-1]]
            ax.xaxis.set_major_locator(FixedLocator([*shown, *at.values()]))
            ax.xaxis.set_major_formatter(FixedFormatter([*(f"{c:g}" for c in shown), "random", "all"]))
            quantile = any(row.get("scale") == "quantile" for row in rows)
            ax.set_xlabel(f"{difficulty}, at most" + (" (quantile)" if quantile else ""))
        axes[0].set_ylabel("accuracy")
        axes[0].set_ylim(limits(row[end] for row in rows for end in ("value", "low", "high")))
        empty = Look(INK, "o", "none", hollow=True)
        beside_key = key(empty, "empty: as many random rows; all rows (ceiling)")
        legend(figure, [*(key(look(i, len(groups)), group) for i, group in enumerate(groups)), beside_key])
        return settled(figure)


def easy_words(rows: Sequence[Row]) -> str:
    """Mean accuracy over students at the lowest and the highest cut-off, beside random rows and all."""
    sentences = []
    for where, words in TESTED.items():
        here = [row for row in rows if row["where"] == where and row["value"] is not None]
        parts = []
        easy = [row for row in here if row["arm"] == "easy"]
        if easy:
            ends = [pick(float(row["cutoff"]) for row in easy) for pick in (min, max)]
            first, last = (_mean([r["value"] for r in easy if float(r["cutoff"]) == end]) for end in ends)
            parts.append(f"{first} at the lowest and {last} at the highest cut-off")
        for arm, name in (("random", "random rows"), ("ceiling", "all rows")):
            values = [row["value"] for row in here if row["arm"] == arm]
            parts += [f"{_mean(values)} from {name}"] if values else []
        sentences += [f"{words}: {', '.join(parts)}"] if parts else []
    return f"Accuracy, {'; '.join(sentences)}." if sentences else "Accuracy is undefined throughout."


def _mean(values: Sequence[float]) -> str:
    return number(sum(values) / len(values), 3)


def _group(row: Row) -> str:
    """What one curve is of: the student, with the regime and the analysis' parameters."""
    parameters = str(row.get("analysis", "")).partition(":")[2]
    return f"{row['student']} ({row['regime']})" + (f" [{parameters}]" if parameters else "")
