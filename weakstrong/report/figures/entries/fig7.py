"""Overfitting to weak labels through training (Burns et al. 2023, §5.1.1, Fig. 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from weakstrong.report.figures.drawing import key, legend, line_key, settled
from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.moments import (
    at_place,
    draw_curve,
    draw_moments,
    moment_words,
    pgr_rows,
    progress_axis,
    trajectories,
)
from weakstrong.report.figures.rows import FigureData, Models, by_arm, pair_of, plain, seeds_words, unique
from weakstrong.report.figures.style import DOUBLE, INK, LINES, look, styled
from weakstrong.report.table import Row


@FIGURES.register
class Fig7(PaperFigure):
    """Accuracy and agreement through training, and PGR at best, weak-stopped and last, a row for each method."""

    title: ClassVar[str] = "Overfitting to weak labels"
    paper: ClassVar[str] = (
        "In the paper's Fig. 7 (reward modelling) students overfit to the weak labels: the best step in the course "
        "of training recovers more than the last, most so where the gap is large."
    )
    needs: ClassVar[str] = "the analysis overfitting, which trains: w2s run recipes/fig07_overfitting.yaml"
    analyses: ClassVar[tuple[str, ...]] = ("overfitting",)

    def rows(self, results: FigureData) -> list[Row]:
        rows = plain(trajectories(results))
        tasks = unique(row["task"] for row in at_place(rows, "accuracy"))
        return [row for row in rows if row["task"] in tasks]

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        arms = by_arm(rows)
        pairs = unique(pair_of(row) for row in rows)
        looks = {pair: look(i, len(pairs)) for i, pair in enumerate(pairs)}
        with styled():
            height = 0.9 + 1.65 * len(arms) + 0.08 * len(pairs)
            figure = Figure(figsize=(DOUBLE, height), layout=ConstrainedLayoutEngine(h_pad=0.06))
            axes = figure.subplots(len(arms), 3, squeeze=False)
            for i, ((arm, mine), (left, middle, right)) in enumerate(zip(arms.items(), axes, strict=True)):
                last = i == len(arms) - 1
                for turn, pair in enumerate(pairs):
                    here = [row for row in mine if pair_of(row) == pair]
                    draw_curve(left, at_place(here, "accuracy"), looks[pair], f"accuracy of {pair}", turn)
                    draw_curve(middle, at_place(here, "agreement"), looks[pair], f"agreement of {pair}", turn)
                    wrong = at_place(here, "agreement", "supervisor wrong")
                    dashed = looks[pair] | {"line": LINES[1], "hollow": True}
                    draw_curve(middle, wrong, dashed, f"agreement where wrong of {pair}", turn)
                left.set_title(arm, pad=6)
                progress_axis(left, at_place(mine, "accuracy"), "accuracy on test", last)
                both = [*at_place(mine, "agreement"), *at_place(mine, "agreement", "supervisor wrong")]
                progress_axis(middle, both, "agreement", last)
                draw_moments(
                    right,
                    [(p, pgr_rows([r for r in mine if pair_of(r) == p]), looks[p]) for p in pairs],
                    last,
                )
            handles = [key(looks[pair], pair) for pair in pairs]
            if at_place(rows, "agreement", "supervisor wrong"):
                handles.append(line_key(LINES[1], "agreement where the supervisor is wrong", INK))
            legend(figure, handles)
            return settled(figure)

    def seen(self, rows: Sequence[Row]) -> str:
        words = [f"{arm}: {moment_words(mine)}" for arm, mine in by_arm(rows).items()]
        return (
            "Left and middle: test accuracy and agreement with the supervisor through training, at some moments with 95 % intervals. Right: "
            "PGR at the step that is best on ground truth (an oracle, no method), at the one chosen on weak labels, and "
            f"at the last; in ink the median over pairs. {seeds_words(rows)} {' '.join(words)}"
        )
