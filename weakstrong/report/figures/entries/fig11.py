"""Whether the student's features make the task more salient (Burns et al. 2023, §5.2.3, Fig. 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator

from weakstrong.report.figures.drawing import categories, grid, legend, settled
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
from weakstrong.report.figures.style import DOUBLE, HUES, INK, styled
from weakstrong.report.table import Row

STRATEGIES = ("lp(weak)", "lp(gt)", "ft(weak)", "ft(weak)+lp(gt)", "ft(gt)")


@FIGURES.register
class Fig11(PaperFigure):
    """Accuracy of five ways to train as bars from 0 with numbers; empty bars are heads on frozen features."""

    title: ClassVar[str] = "Saliency of the task"
    paper: ClassVar[str] = (
        "In the paper's Fig. 11: lp(gt) 0.72, ft(weak)+lp(gt) 0.78, ft(gt) 0.82: finetuning on weak labels makes the "
        "task more linear in the student's features."
    )
    needs: ClassVar[str] = "the analysis saliency, which trains: w2s run recipes/fig11_saliency.yaml"
    analyses: ClassVar[tuple[str, ...]] = ("saliency",)

    def rows(self, results: FigureData) -> list[Row]:
        rows = [row for row in plain(of_analysis(results, "saliency")) if row["measure"] == "accuracy"]
        return [row for row in rows if row["strategy"] in STRATEGIES]

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        names = [f"{pair_of(row)}\n{arm}" for row, arm in zip(rows, arms_of(rows), strict=True)]
        groups = unique(names)
        shown = [s for s in STRATEGIES if s in {row["strategy"] for row in rows}]
        columns = min(2, len(groups))
        lines = -(-len(groups) // columns)
        with styled():
            size = (DOUBLE, 0.5 + (0.6 + 0.2 * len(shown)) * lines)
            figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.06))
            axes, lowest, leftmost = grid(figure, len(groups), columns)
            for i, ax in enumerate(axes):
                for row, name in zip(rows, names, strict=True):
                    if name == groups[i] and row["value"] is not None:
                        self._bar(ax, shown.index(row["strategy"]), row)
                ax.set_title(groups[i])
                ax.set_xlabel("accuracy on test" if lowest[i] else "")
                ax.set_ylabel("trained" if leftmost[i] else "")
                ax.set_xlim(0, 1.12)  # room for the numbers
                ax.xaxis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
                categories(ax, shown)
            axes[0].set_ylim(len(shown) - 0.4, -0.6)
            handles = [
                Patch(facecolor=HUES[0], edgecolor=HUES[0], label="from weak labels"),
                Patch(facecolor=HUES[1], edgecolor=HUES[1], label="weak labels, then ground truth"),
                Patch(facecolor=INK, edgecolor=INK, label="from ground truth"),
                Patch(facecolor="none", edgecolor=INK, label="empty: head on frozen features"),
            ]
            legend(figure, handles)
            return settled(figure)

    def _bar(self, ax: Any, y: int, row: Row) -> None:
        strategy = row["strategy"]
        weak, truth = "weak" in strategy, "gt" in strategy
        hue = HUES[1] if weak and truth else HUES[0] if weak else INK
        # a head on features that were finetuned before is full, as they were
        style = {"facecolor": "none" if strategy.startswith("lp") else hue, "edgecolor": hue}
        ax.barh(y, row["value"], height=0.6, linewidth=1.1, label=strategy, **style)
        if row["low"] is not None and row["high"] is not None:
            light = "white" if not strategy.startswith("lp") else hue
            ax.hlines(y, row["low"], row["high"], color=hue, linewidth=1.2, label=f"interval of {strategy}")
            inside = min(row["high"], row["value"])
            ax.hlines(y, row["low"], inside, color=light, linewidth=1.2, label=f"inside of {strategy}")
        end = max(row["value"], row["high"] or 0.0)
        ax.text(end + 0.015, y, number(row["value"], 3), va="center", fontsize=7)

    def seen(self, rows: Sequence[Row]) -> str:
        parts = []
        for strategy in STRATEGIES:
            found = [r["value"] for r in rows if r["strategy"] == strategy and r["value"] is not None]
            parts += [f"{strategy} {spread(found)}"] if found else []
        return (
            "lp: a linear head on frozen features; ft: all weights; weak: weak labels; gt: ground truth. Accuracy: "
            f"{'; '.join(parts)}. {seeds_words(rows)}"
        )
