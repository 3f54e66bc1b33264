"""PGR at the best, the weak-stopped and the last step, for each pair (Burns et al. 2023, §5.1.1, Fig. 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from weakstrong.report.figures.drawing import categories, dot, grid, key, legend, levels, pgr_limits, settled
from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.moments import MOMENTS, moment_words, pgr_rows, trajectories
from weakstrong.report.figures.rows import FigureData, Models, by_arm, pair_of, plain, seeds_words, unique
from weakstrong.report.figures.style import DOUBLE, look, styled
from weakstrong.report.table import Row


@FIGURES.register
class Fig13(PaperFigure):
    """PGR at three moments of training: a column for each method, a line of dots for each pair."""

    title: ClassVar[str] = "What early stopping gives"
    paper: ClassVar[str] = (
        "In the paper's Fig. 13 (medians over 22 NLP tasks) the best step is about 0.15 of PGR above the one chosen "
        "on weak labels for naive training, about 0.05 with the confidence loss."
    )
    needs: ClassVar[str] = "the analysis overfitting, which trains: w2s run recipes/fig13_early_stopping.yaml"
    analyses: ClassVar[tuple[str, ...]] = ("overfitting",)

    def rows(self, results: FigureData) -> list[Row]:
        return pgr_rows(plain(trajectories(results)))

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        arms = by_arm(rows)
        pairs = unique(pair_of(row) for row in rows)
        looks = {moment: look(i, len(MOMENTS)) for i, moment in enumerate(MOMENTS)}
        columns = min(3, len(arms))
        lines = -(-len(arms) // columns)
        with styled():
            size = (DOUBLE, 0.5 + (0.45 + 0.42 * len(pairs)) * lines)
            figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.06))
            axes, lowest, leftmost = grid(figure, len(arms), columns)
            for i, (ax, (arm, mine)) in enumerate(zip(axes, arms.items(), strict=True)):
                for row in mine:
                    y = pairs.index(pair_of(row)) + 0.25 * (MOMENTS.index(row["stop"]) - 1)
                    value = (row["value"], row["low"], row["high"])
                    dot(ax, y, value, looks[row["stop"]], f"{row['stop']} of {pair_of(row)}")
                levels(ax, vertical=True)
                ax.set_title(arm)
                ax.set_xlabel("PGR" if lowest[i] else "")
                ax.set_ylabel("supervisor → student" if leftmost[i] else "")
                ax.set_xlim(*pgr_limits([(r["value"], r["low"], r["high"]) for r in rows]))
                categories(ax, pairs)
            axes[0].set_ylim(len(pairs) - 0.5, -0.5)
            words = {
                "best": "best step (oracle)",
                "weak": "stopped on weak labels",
                "last": "last step",
            }
            legend(figure, [key(looks[moment], word) for moment, word in words.items()])
            return settled(figure)

    def seen(self, rows: Sequence[Row]) -> str:
        words = [f"{arm}: {moment_words(mine)}" for arm, mine in by_arm(rows).items()]
        return (
            "PGR of the same trainings at the step that is best on ground truth (an oracle, no method), the step that "
            f"agrees best with held-out weak labels, and the last. {seeds_words(rows)} {' '.join(words)}"
        )
