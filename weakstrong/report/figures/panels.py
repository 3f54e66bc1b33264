"""Accuracy and PGR against the student's compute: the panels behind the paper's Fig. 3, 5, 18, 23 and 27."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from weakstrong.report.figures.drawing import (
    Point,
    arm_key,
    arm_look,
    compute_axis,
    key,
    legend,
    levels,
    limits,
    names_height,
    pgr_limits,
    scored,
    series,
    settled,
    shift,
    undefined,
)
from weakstrong.report.figures.rows import Models, in_order, positions
from weakstrong.report.figures.style import DOUBLE, GREY, INK, LINES, MARK, Look, look, styled
from weakstrong.report.table import Row, has_pgr

Arms = Mapping[str, Sequence[Row]]
ROLES = ("supervisor", "student", "ceiling")


@dataclass(frozen=True)
class _Scene:
    """What all panels of a figure share: places and looks."""

    x_of: dict[str, float]
    known: bool
    supervisors: tuple[str, ...]

    def look(self, supervisor: str) -> Look:
        return look(self.supervisors.index(supervisor), len(self.supervisors))


def scene_of(rows: Sequence[Row], models: Models) -> _Scene:
    """Places of all models and looks of all supervisors, by compute."""
    x_of, known = positions(rows, models)
    return _Scene(x_of, known, tuple(in_order((str(row["supervisor"]) for row in rows), x_of)))


def accuracy_and_pgr(panels: Mapping[str, Arms], models: Models) -> Figure:
    """A row of two panels for each entry of ``panels``: accuracy left, PGR right; arms differ by line style.

    Left: the ceiling in ink through the students; for each supervisor one hue and one marker, its own score as a
    diamond and a dotted level, its students joined by a line. Right: PGR, dashed at 0 and 1; an undefined PGR
    breaks its line and leaves an empty marker at the foot. Points that share a student stand a few points apart;
    their data are exact.
    """
    rows = [row for arms in panels.values() for mine in arms.values() for row in mine]
    scene = scene_of(rows, models)
    students = in_order((str(row["student"]) for row in rows), scene.x_of)
    most = max(len(arms) for arms in panels.values())
    with styled():
        height = (
            0.9
            + 0.17 * (len(scene.supervisors) + most) / 3
            + (1.75 if len(panels) < 4 else 1.45) * len(panels)
        )
        figure = Figure(figsize=(DOUBLE, height), layout=ConstrainedLayoutEngine(h_pad=0.06))
        ratios = [1.5, 1] if len(students) == 1 else [1.15, 1]
        axes = figure.subplots(len(panels), 2, sharex="col", sharey="col", squeeze=False, width_ratios=ratios)
        for i, ((title, arms), (left, right)) in enumerate(zip(panels.items(), axes, strict=True)):
            draw_accuracy(left, arms, scene)
            draw_pgr(right, arms, scene)
            # the models' names stand slanted above the first row, so its title goes above them
            room = names_height([*scene.supervisors, *students]) if i == 0 else 0
            left.set_title(title, pad=6 + room)
            left.set_ylabel("accuracy on test")
            right.set_ylabel("PGR")
        compute_axis([axes[-1, 0]], [axes[0, 0]], scene.x_of, scene.known)
        compute_axis(
            [axes[-1, 1]], [axes[0, 1]], {n: scene.x_of[n] for n in students}, scene.known, "student's "
        )
        axes[0, 0].set_ylim(
            limits(row[f"{r}_{end}"] for row in rows for r in ROLES for end in ("score", "low", "high"))
        )
        axes[0, 1].set_ylim(pgr_limits([pgr_of(row) for row in rows]))
        legend(figure, keys(scene, list(next(iter(panels.values()))) if most > 1 else []))
        return settled(figure)


def keys(scene: _Scene, arms: Sequence[str]) -> list[Line2D]:
    """Handles of the legend: ceiling, a supervisor's own score, each supervisor, each arm where there are several."""
    own: dict[str, Any] = {"color": GREY, "marker": "D", "markersize": MARK, "linestyle": LINES[2]}
    return [
        key(Look(INK, "o"), "strong ceiling"),
        Line2D([], [], label="a supervisor's own score", **own),
        *(key(scene.look(name), f"student of {name}") for name in scene.supervisors),
        *(arm_key(i, arm) for i, arm in enumerate(arms)),
    ]


def pgr_of(row: Row) -> tuple[float | None, float | None, float | None]:
    """PGR and its interval; None where undefined."""
    return (row["pgr"], row["pgr_low"], row["pgr_high"]) if has_pgr(row) else (None, None, None)


def draw_accuracy(ax: Axes, arms: Arms, scene: _Scene) -> None:
    """Ceiling, supervisors and students of some arms; a ceiling or supervisor that arms share is drawn once."""
    seen: set[object] = set()
    of_arm = " ({})".format if len(arms) > 1 else lambda _: ""
    for i, (arm, rows) in enumerate(arms.items()):
        tops = {row["student"]: row for row in reversed(rows) if row["ceiling_score"] is not None}
        found = sorted((scene.x_of[name], row["ceiling_score"]) for name, row in tops.items())
        if found and tuple(found) not in seen:
            word = "ceiling" if not any(isinstance(s, tuple) for s in seen) else f"ceiling{of_arm(arm)}"
            series(
                ax, [scored(scene.x_of[n], r, "ceiling") for n, r in tops.items()], arm_look(Look(), i), word
            )
            seen.add(tuple(found))
        for j, name in enumerate(scene.supervisors):
            mine = [row for row in rows if row["supervisor"] == name]
            looks = scene.look(name)
            for row in [row for row in mine if row["supervisor_score"] is not None][:1]:
                if (mark := f"{name} {row['supervisor_score']!r}") not in seen:
                    _own_score(ax, name, row, mine, scene, hollow=i > 0)
                    seen.add(mark)
            where = shift(ax, j * len(arms) + i, len(scene.supervisors) * len(arms))
            points = [scored(scene.x_of[row["student"]], row, "student") for row in mine]
            series(ax, points, arm_look(looks, i), f"student of {name}{of_arm(arm)}", where)


def _own_score(ax: Axes, name: str, row: Row, mine: Sequence[Row], scene: _Scene, hollow: bool) -> None:
    score, looks = row["supervisor_score"], scene.look(name)
    placed = name in scene.x_of  # else at the left edge, with a level right across
    at = scene.x_of[name] if placed else 0.0
    far = max(at, *(scene.x_of[r["student"]] for r in mine)) if placed else 1.0
    place = ax.transData if placed else ax.get_yaxis_transform()
    style: dict[str, Any] = {"color": looks.hue, "transform": place, "clip_on": placed}
    ax.plot([at, far], [score, score], linestyle=LINES[2], linewidth=0.9, label=f"level {name}", **style)
    face = "none" if hollow else looks.hue
    label = f"supervisor {name}"
    ax.plot(
        [at],
        [score],
        marker="D",
        markersize=MARK,
        markerfacecolor=face,
        linestyle="none",
        label=label,
        **style,
    )
    if row["supervisor_low"] is not None and row["supervisor_high"] is not None:
        ax.vlines(
            [at],
            row["supervisor_low"],
            row["supervisor_high"],
            linewidth=0.8,
            label=f"interval of {label}",
            **style,
        )


def draw_pgr(ax: Axes, arms: Arms, scene: _Scene) -> None:
    """PGR of some arms with the levels 0 and 1."""
    levels(ax)
    words: set[str] = set()
    of_arm = " ({})".format if len(arms) > 1 else lambda _: ""
    for i, (arm, rows) in enumerate(arms.items()):
        for j, name in enumerate(scene.supervisors):
            mine = [row for row in rows if row["supervisor"] == name]
            looks = arm_look(scene.look(name), i)
            where = shift(ax, j * len(arms) + i, len(scene.supervisors) * len(arms))
            label = f"PGR of {name}{of_arm(arm)}"
            series(
                ax,
                [Point(scene.x_of[row["student"]], *pgr_of(row), row.get("place")) for row in mine],
                looks,
                label,
                where,
            )
            lost = [row["student"] for row in mine if not has_pgr(row)]
            undefined(ax, [scene.x_of[student] for student in lost], looks, label, where)
            for student in lost:
                if student not in words:  # the word once above the empty markers of a student
                    place: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "ha": "center"}
                    ax.text(scene.x_of[student], 0.085, "undefined", fontsize=6.5, color=GREY, **place)
                words.add(student)
