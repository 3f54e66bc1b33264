"""Prompting beside training, against the student's size (Burns et al. 2023, §5.2.1, Fig. 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from weakstrong.report.figures.drawing import (
    compute_axis,
    key,
    legend,
    limits,
    names_height,
    scored,
    series,
    settled,
    shift,
)
from weakstrong.report.figures.entries.base import FIGURES, PaperFigure
from weakstrong.report.figures.panels import scene_of
from weakstrong.report.figures.rows import (
    FigureData,
    Models,
    by_arm,
    kind_of,
    plain,
    seeds_words,
    spread,
    unique,
)
from weakstrong.report.figures.style import DOUBLE, GREY, INK, LINES, Look, styled
from weakstrong.report.table import Row

PROMPTED = ("zero-shot", "few-shot")


@FIGURES.register
class Fig9(PaperFigure):
    """Left, students that are asked: zero-shot, with weakly labelled examples, with true ones. Right, trained ones."""

    title: ClassVar[str] = "Prompting beside training"
    paper: ClassVar[str] = (
        "The paper's Fig. 9 sets zero-shot and five examples, with true and with weak labels, against the student's "
        "size, beside finetuning."
    )
    needs: ClassVar[str] = (
        "finished cells of zero-shot or few-shot, with naive beside them: w2s run recipes/fig09_prompting.yaml"
    )

    def rows(self, results: FigureData) -> list[Row]:
        rows = [row for row in plain(results.aggregate) if "+" not in row["method"]]
        asked = [row for row in rows if kind_of(row) in PROMPTED]
        places = unique((row["task"], row["supervisor"], row["student"], row["regime"]) for row in asked)
        trained = [row for row in rows if row["method"] == "naive"]
        beside = [r for r in trained if (r["task"], r["supervisor"], r["student"], r["regime"]) in places]
        return [*asked, *beside]

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        scene = scene_of(rows, models)
        students = unique(str(row["student"]) for row in rows)
        x_of = {name: scene.x_of[name] for name in students}
        arms = by_arm(rows)
        handles = [key(scene.look(name), f"weak labels of {name}") for name in scene.supervisors]
        styles = iter([Look(INK, "s", LINES[2]), Look(GREY, "P", LINES[3]), Look(GREY, "X", LINES[4])])
        with styled():
            height = 2.9 + 0.06 * len(handles)
            figure = Figure(figsize=(DOUBLE, height), layout=ConstrainedLayoutEngine(h_pad=0.06))
            left, right = figure.subplots(1, 2, sharey=True)
            for arm, mine in arms.items():
                if kind_of(mine[0]) == "zero-shot" or mine[0].get("uses_ground_truth"):
                    # no weak label enters, so that every supervisor has the same
                    alike = {row["student"]: row for row in reversed(mine)}
                    looks = next(styles, Look(GREY, "p", LINES[5]))
                    series(left, [scored(x_of[n], r, "student") for n, r in alike.items()], looks, arm)
                    handles.append(key(looks, arm))
                    continue
                for i, name in enumerate(scene.supervisors):
                    ax = right if mine[0]["method"] == "naive" else left
                    cells = [row for row in mine if row["supervisor"] == name]
                    points = [scored(x_of[row["student"]], row, "student") for row in cells]
                    series(
                        ax, points, scene.look(name), f"{arm} of {name}", shift(ax, i, len(scene.supervisors))
                    )
            tops = {row["student"]: row for row in rows if row["ceiling_score"] is not None}
            series(right, [scored(x_of[n], r, "ceiling") for n, r in tops.items()], Look(), "ceiling")
            for name in scene.supervisors:
                own = [r for r in rows if r["supervisor"] == name and r["supervisor_score"] is not None][:1]
                for row in own:
                    for ax in (left, right):
                        style = {"color": scene.look(name).hue, "linestyle": LINES[2], "linewidth": 0.8}
                        ax.axhline(row["supervisor_score"], label=f"level {name}", zorder=0, **style)
            ends = [
                row[f"{r}_{e}"]
                for row in rows
                for r in ("student", "ceiling", "supervisor")
                for e in ("score", "low", "high")
            ]
            left.set_ylim(limits(ends))
            left.set_title("asked", pad=6 + names_height(x_of))
            right.set_title("trained on weak labels", pad=6 + names_height(x_of))
            left.set_ylabel("accuracy on test")
            compute_axis([left, right], [left, right], x_of, scene.known, "student's ")
            legend(figure, [key(Look(), "strong ceiling (trained)"), *handles])
            return settled(figure)

    def seen(self, rows: Sequence[Row]) -> str:
        parts = []
        for arm, mine in by_arm(rows).items():
            scores = [row["student_score"] for row in mine if row["student_score"] is not None]
            parts += [f"{arm} {spread(scores)}"] if scores else []
        return (
            "Left: the student is asked, without examples or with some in the prompt; right: trained on the same weak "
            f"labels. Dotted levels: supervisors. Accuracy: {'; '.join(parts)}. {seeds_words(rows)}"
        )
