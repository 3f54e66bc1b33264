"""Accuracy on each task (Burns et al. 2023, App. A, Fig. 12)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from weakstrong.report.figures.drawing import compute_axis, grid, legend, limits, settled
from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.panels import ROLES, draw_accuracy, keys, scene_of
from weakstrong.report.figures.rows import (
    FigureData,
    Models,
    by_arm,
    naive_and_confidence,
    pgr_words,
    plain,
    seeds_words,
    unique,
)
from weakstrong.report.figures.style import DOUBLE, styled
from weakstrong.report.table import Row, has_pgr


@FIGURES.register
class Fig12(PaperFigure):
    """A small panel for each task: supervisors, naive students (solid), confidence (dashed), ceiling."""

    title: ClassVar[str] = "Accuracy on each task"
    paper: ClassVar[str] = (
        "In the paper's Fig. 12, of 22 NLP tasks, students lie above their supervisors on most and below the ceiling "
        "on nearly all; how much is recovered differs widely between tasks."
    )
    needs: ClassVar[str] = (
        "finished cells of naive or confidence on two or more tasks: w2s run recipes/fig12_tasks.yaml"
    )
    spans_tasks: ClassVar[bool] = True

    def rows(self, results: FigureData) -> list[Row]:
        rows = naive_and_confidence(plain(results.aggregate))
        tasks_of = {
            regime: {r["task"] for r in rows if r["regime"] == regime}
            for regime in unique(r["regime"] for r in rows)
        }
        # small panels have no room for two regimes: the one with most tasks
        regime = max(tasks_of, key=lambda name: len(tasks_of[name]), default="")
        return [row for row in rows if row["regime"] == regime] if len(tasks_of.get(regime, ())) > 1 else []

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        tasks = unique(str(row["task"]) for row in rows)
        arms = by_arm(rows)
        scene = scene_of(rows, models)
        columns = min(len(tasks), 4 if len(tasks) % 3 == 1 or len(tasks) > 9 else 3)
        lines = -(-len(tasks) // columns)
        with styled():
            size = (DOUBLE, 0.9 + 1.45 * lines + 0.06 * len(scene.supervisors))
            figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.05))
            axes, lowest, leftmost = grid(figure, len(tasks), columns, sharex=False)
            compute_axis(axes, [], scene.x_of, scene.known)
            for i, (ax, task) in enumerate(zip(axes, tasks, strict=True)):
                here = [row for row in rows if row["task"] == task]
                mine = {arm: [row for row in of if row["task"] == task] for arm, of in arms.items()}
                draw_accuracy(ax, mine, scene)
                ends = [
                    row[f"{role}_{e}"] for row in here for role in ROLES for e in ("score", "low", "high")
                ]
                ax.set_ylim(limits(ends))
                ax.set_title(task, pad=4)
                ax.set_xlabel(("FLOPs per token" if scene.known else "listed order") if lowest[i] else "")
                ax.set_ylabel("accuracy on test" if leftmost[i] else "")
            legend(figure, keys(scene, list(arms) if len(arms) > 1 else []))
            return settled(figure)

    def seen(self, rows: Sequence[Row]) -> str:
        tasks = unique(row["task"] for row in rows)
        open_ = [task for task in tasks if any(has_pgr(row) for row in rows if row["task"] == task)]
        return (
            f"Test accuracy on {len(tasks)} tasks; each panel has its own scale. {len(open_)} of them have a gap for some "
            f"pair. {seeds_words(rows)} {pgr_words(rows)}"
        )
