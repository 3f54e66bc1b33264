"""Panels of student-supervisor agreement: everywhere, where the supervisor is right, where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from weakstrong.report.figures.drawing import (
    arm_key,
    arm_look,
    compute_axis,
    key,
    legend,
    limits,
    measured,
    names_height,
    series,
    settled,
    shift,
)
from weakstrong.report.figures.rows import (
    FigureData,
    Models,
    arms_of,
    in_order,
    number,
    of_analysis,
    plain,
    positions,
    spread,
    unique,
)
from weakstrong.report.figures.style import DOUBLE, INK, LINES, Look, look, styled
from weakstrong.report.table import Row

WHERE = {
    "all": "all test rows",
    "supervisor right": "supervisor right",
    "supervisor wrong": "supervisor wrong",
}


def agreements(results: FigureData) -> list[Row]:
    """Rows of the measure ``agreement`` for supervisors that are no derived labels."""
    rows = plain(of_analysis(results, "agreement"))
    return [row for row in rows if row["measure"] == "agreement" and row["where"] in WHERE]


def agreement_panels(groups: Mapping[str, Sequence[Row]], models: Models, hue_by_method: bool) -> Figure:
    """For each group a row of three panels: agreement against the student's compute.

    Args:
        groups: title -> rows of `agreements`.
        models: facts, for the x axis.
        hue_by_method: methods have hues and supervisors line styles; otherwise the other way round.
    """
    rows = [row for mine in groups.values() for row in mine]
    x_of, known = positions(rows, models)
    x_of = {name: x_of[name] for name in unique(str(row["student"]) for row in rows)}
    arm_of = dict(zip(map(id, rows), arms_of(rows), strict=True))
    supervisors = in_order((str(row["supervisor"]) for row in rows), positions(rows, models)[0])
    arms = unique(arm_of.values())
    hued, lined = (arms, supervisors) if hue_by_method else (supervisors, arms)
    with styled():
        height = 1.15 + (2.0 if len(groups) == 1 else 1.5) * len(groups) + 0.06 * (len(hued) + len(lined))
        figure = Figure(figsize=(DOUBLE, height), layout=ConstrainedLayoutEngine(h_pad=0.06))
        axes = figure.subplots(len(groups), 3, sharex=True, squeeze=False)
        for i, ((title, mine), line) in enumerate(zip(groups.items(), axes, strict=True)):
            for ax, (where, words) in zip(line, WHERE.items(), strict=True):
                here = [row for row in mine if row["where"] == where]
                for arm in arms:
                    for name in supervisors:
                        first, second = (arm, name) if hue_by_method else (name, arm)
                        index = hued.index(first) * len(lined) + lined.index(second)
                        looks = arm_look(look(hued.index(first), len(hued)), lined.index(second))
                        cells = [r for r in here if arm_of[id(r)] == arm and r["supervisor"] == name]
                        points = [measured(x_of[r["student"]], r) for r in cells if r["arm"] == "student"]
                        place = shift(ax, index, len(hued) * len(lined))
                        series(ax, points, looks, f"{arm} of {name}", place)
                for name in supervisors:
                    tops = {
                        r["student"]: r for r in here if r["arm"] == "ceiling" and r["supervisor"] == name
                    }
                    own = look(supervisors.index(name), len(supervisors)).marker
                    marker = "D" if hue_by_method else own
                    points = [measured(x_of[r["student"]], r) for r in tops.values()]
                    ceiling = Look(INK, marker, LINES[2], hollow=True)
                    series(ax, points, ceiling, f"ceiling and {name}")
                ax.set_ylim(limits(row[end] for row in here for end in ("value", "low", "high")))
                if i == 0:
                    ax.set_title(words, pad=6 + names_height(x_of))
            line[0].set_ylabel(f"{title}\nagreement" if title else "agreement with supervisor")
        compute_axis(list(axes[-1]), list(axes[0]), x_of, known)
        for ax in axes[-1]:
            ax.set_xlabel("student's FLOPs per token" if known else "students, listed order")
        looks_of = [key(look(i, len(hued)), name) for i, name in enumerate(hued)]
        ceiling_key = key(
            Look(INK, "D" if hue_by_method else "o", LINES[2], hollow=True),
            "ceiling, which saw no weak label",
        )
        styles = [arm_key(i, name) for i, name in enumerate(lined)] if len(lined) > 1 else []
        legend(figure, [*looks_of, *styles, ceiling_key])
        return settled(figure)


def agreement_words(rows: Sequence[Row]) -> str:
    """What students and ceilings agree on, in sentences."""
    words = []
    for arm in ("student", "ceiling"):
        parts = []
        for where in ("supervisor right", "supervisor wrong"):
            found = [
                r["value"] for r in rows if (r["arm"], r["where"]) == (arm, where) and r["value"] is not None
            ]
            if found:
                parts.append(f"{spread(found)} where the {where.replace(' ', ' is ')}")
        if parts:
            words.append(f"The {arm} agrees with the supervisor on a share of {'; '.join(parts)}.")
    gap = _gap(rows)
    return " ".join(words + ([gap] if gap else []))


def _gap(rows: Sequence[Row]) -> str:
    """How much more of the errors students copy than ceilings have."""
    wrong = [row for row in rows if row["where"] == "supervisor wrong" and row["value"] is not None]
    tops = {_place(row): row["value"] for row in wrong if row["arm"] == "ceiling"}
    students = [row for row in wrong if row["arm"] == "student"]
    extra = [row["value"] - tops[_place(row)] for row in students if _place(row) in tops]
    if not extra:
        return ""
    return (
        f"Errors shared beyond the ceiling's: {number(min(extra))} to {number(max(extra))}."
        if len(extra) > 1
        else f"Errors shared beyond the ceiling's: {number(extra[0])}."
    )


def _place(row: Row) -> tuple[object, ...]:
    return tuple(row.get(n) for n in ("task", "supervisor", "student", "method", "regime", "recipe"))
