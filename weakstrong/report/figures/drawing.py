"""Marks that all figures share: a series with intervals, a row of dots, axes of compute, limits, legends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, isnan, log10, nan
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from matplotlib.transforms import ScaledTranslation, Transform

from weakstrong.report.figures.style import GREY, INK, MARK, THIN, WIDE, Look, line_style
from weakstrong.report.table import Row

LONGEST = 32
"""Characters of a word that are shown."""


@dataclass(frozen=True)
class Point:
    """A value at ``x`` with its interval; None where undefined. ``place`` is its result's on a page, if any."""

    x: float
    value: float | None
    low: float | None = None
    high: float | None = None
    place: int | None = None


def measured(x: float, row: Row) -> Point:
    """A row of an analysis at ``x``."""
    return Point(x, row["value"], row["low"], row["high"])


def scored(x: float, row: Row, role: str) -> Point:
    """The score of ``role`` in an aggregate row at ``x``."""
    return Point(x, row[f"{role}_score"], row[f"{role}_low"], row[f"{role}_high"], row.get("place"))


def target(ax: Axes, x: float, y: float, gid: str, where: Transform) -> None:
    """A wide, unseen marker to click at: the SVG has it as an element of the id ``gid``."""
    unseen: dict[str, Any] = {
        "color": GREY,
        "alpha": 0,
        "linestyle": "none",
        "markeredgewidth": 0,
        "clip_on": False,
    }
    ax.plot([x], [y], marker="o", markersize=MARK + 6, transform=where, gid=gid, zorder=6, **unseen)


def shift(ax: Axes, index: int, count: int) -> Transform:
    """A step sideways on paper, at most 14 points from first to last; the data stay exact."""
    points = min(5.0, 14.0 / max(count - 1, 1)) * (index - (count - 1) / 2)
    return ScaledTranslation(points / 72, 0, ax.figure.dpi_scale_trans)


def series(
    ax: Axes,
    points: Iterable[Point],
    looks: Look,
    label: str,
    where: Transform | None = None,
) -> None:
    """A line with markers through ``points`` by x, broken where a value is undefined, and its intervals."""
    ordered = sorted(points, key=lambda point: point.x)
    place = ax.transData if where is None else ax.transData + where
    xs = [point.x for point in ordered]
    ys = [nan if point.value is None else point.value for point in ordered]
    if not all(isnan(y) for y in ys):
        ax.plot(
            xs,
            ys,
            color=looks.hue,
            marker=looks.marker,
            markersize=MARK,
            markerfacecolor=looks.face,
            linestyle=looks.line,
            linewidth=WIDE,
            transform=place,
            label=label,
            zorder=4,
        )
    for p in ordered:
        if p.place is not None and p.value is not None:
            # one result may stand in several panels
            target(
                ax,
                p.x,
                p.value,
                f"{label.split()[0].lower()}-{ax.figure.axes.index(ax)}-result-{p.place}",
                place,
            )
    ends = [p for p in ordered if p.value is not None and p.low is not None and p.high is not None]
    if ends:
        lows, highs = [float(p.low or 0) for p in ends], [float(p.high or 0) for p in ends]
        style: dict[str, Any] = {"color": looks.hue, "linewidth": THIN, "alpha": 0.85, "transform": place}
        ax.vlines([p.x for p in ends], lows, highs, label=f"interval of {label}", **style)


def undefined(ax: Axes, xs: Sequence[float], looks: Look, label: str, where: Transform) -> None:
    """Empty markers at the foot of a panel where a value is undefined."""
    place = ax.get_xaxis_transform() + where
    style: dict[str, Any] = {"color": looks.hue, "marker": looks.marker, "markersize": MARK, "clip_on": False}
    for x in xs:
        ax.plot(
            [x],
            [0.04],
            linestyle="none",
            markerfacecolor="none",
            transform=place,
            label=f"undefined {label}",
            **style,
        )


def dot(
    ax: Axes, y: float, row: tuple[float | None, float | None, float | None], looks: Look, label: str
) -> None:
    """One value with its interval along x at height ``y``; an undefined one is empty at the left edge."""
    value, low, high = row
    style: dict[str, Any] = {"color": looks.hue, "marker": looks.marker, "markersize": MARK + 0.5}
    if value is None:
        ax.plot(
            [0.015],
            [y],
            linestyle="none",
            markerfacecolor="none",
            transform=ax.get_yaxis_transform(),
            label=f"undefined {label}",
            clip_on=False,
            **style,
        )
        return
    if low is not None and high is not None:
        ax.hlines(y, low, high, color=looks.hue, linewidth=WIDE, linestyle=looks.line)
    ax.plot([value], [y], linestyle="none", markerfacecolor=looks.face, label=label, **style)


def levels(ax: Axes, vertical: bool = False, words: bool = True) -> None:
    """Dashes at PGR 0 and 1."""
    for level, word in ((0.0, "supervisor"), (1.0, "ceiling")):
        style: dict[str, Any] = {"color": GREY, "linestyle": (0, (4, 3)), "linewidth": 0.7, "zorder": 0}
        if vertical:
            ax.axvline(level, **style)
        else:
            ax.axhline(level, **style)
            if words:
                place: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
                ax.text(1.01, level, word, fontsize=6.5, color=GREY, **place)


def diagonal(ax: Axes, label: str, low: float = 0.0, high: float = 1.0) -> None:
    """Dashes where y equals x."""
    ax.plot(
        [low, high],
        [low, high],
        color=GREY,
        linestyle=(0, (4, 3)),
        linewidth=0.7,
        zorder=0,
        label=label,
    )


def limits(values: Iterable[float | None]) -> tuple[float, float]:
    """Ends of an axis with some room around all values."""
    found = [value for value in values if value is not None] or [0.0, 1.0]
    pad = 0.06 * (max(found) - min(found)) or 0.02
    return min(found) - pad, max(found) + pad


def pgr_limits(points: Sequence[tuple[float | None, float | None, float | None]]) -> tuple[float, float]:
    """All points, 0 and 1 are in view; an interval that would flatten everything else runs out of it."""
    sure = [point for point in points if point[0] is not None]
    values = [0.0, 1.0, *(float(point[0] or 0.0) for point in sure)]
    ends = [end for _, *pair in sure for end in pair if end is not None]
    low, high = limits([*values, *(min(max(end, min(values) - 1), max(values) + 1) for end in ends)])
    room = 0.12 * (high - low) if len(sure) < len(points) else 0.0  # for empty markers
    return low - room, high


def compute_axis(
    bottoms: Sequence[Axes], tops: Sequence[Axes], x_of: Mapping[str, float], known: bool, name: str = ""
) -> None:
    """The axis of compute: ticks below ``bottoms``; above ``tops`` names of models that do not overprint another."""
    low, high = min(x_of.values()), max(x_of.values())
    for bottom in bottoms:
        if known:
            bottom.set_xscale("log")
            pad = max((high / low) ** 0.09, 1.15)
            bottom.set_xlim(low / pad, high * pad)
            ticks = _log_ticks(low / pad, high * pad) if high > low else [low]
            bottom.xaxis.set_major_locator(FixedLocator(ticks))
            bottom.xaxis.set_major_formatter(lambda x, _: si(x))
            bottom.xaxis.set_minor_locator(NullLocator())
            bottom.set_xlabel(f"{name}forward FLOPs per token (log)")
        else:
            pad = 0.09 * (high - low) or 1.0
            bottom.set_xlim(low - pad, high + pad)
            bottom.xaxis.set_major_locator(NullLocator())
            bottom.set_xlabel("models in listed order (FLOPs not known)")
    for top in tops:
        previous = -1.0
        for model, x in sorted(x_of.items(), key=lambda item: item[1]):
            share = _share(x, low, high, known)
            if share - previous > 0.055:
                place = top.get_xaxis_transform()
                style: dict[str, Any] = {"rotation": 30, "rotation_mode": "anchor", "fontsize": 6.5}
                top.text(
                    x, 1.03, shortened(model), transform=place, ha="left", va="bottom", color=GREY, **style
                )
                previous = share


def grid(
    figure: Figure, count: int, columns: int, sharex: bool = True
) -> tuple[list[Axes], list[bool], list[bool]]:
    """``count`` panels in lines of ``columns``, and of each whether it is the lowest and the leftmost one."""
    axes = figure.subplots(-(-count // columns), columns, squeeze=False, sharex=sharex, sharey=sharex)
    lowest = [i + columns >= count for i in range(count)]
    for i, ax in enumerate(axes.flat):
        if i >= count:
            ax.set_visible(False)
        elif lowest[i]:
            ax.tick_params(labelbottom=True)
    return list(axes.flat)[:count], lowest, [i % columns == 0 for i in range(count)]


def shortened(words: str) -> str:
    """``words``, of each that is too long for a figure only the end: models in folders are named by their paths.

    >>> shortened("student of /home/somebody/projects/models/llama-small")
    'student of …ody/projects/models/llama-small'
    """
    return re.sub(rf"\S{{{LONGEST + 1},}}", lambda word: "…" + word[0][1 - LONGEST :], words)


def names_height(names: Iterable[str]) -> float:
    """Points that the slanted names of models take above a panel."""
    return 6 + 0.5 * 3.9 * max(len(shortened(name)) for name in names)


def _share(x: float, low: float, high: float, log: bool) -> float:
    if high == low:
        return 0.5
    return log10(x / low) / log10(high / low) if log else (x - low) / (high - low)


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within [low, high] on a log axis, as many as leave room between their words."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    found: list[float] = []
    for factors in (
        (1,),
        (1, 3),
        (1, 2, 5),
        (1, 1.5, 2, 3, 5, 7),
        (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
    ):
        ticks = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        steps = [log10(b / a) / log10(high / low) for a, b in pairwise(ticks)]
        if not found or min(steps, default=1.0) >= 0.16:
            found = ticks
    return found


def si(value: float) -> str:
    """A large number with the letters of the SI.

    >>> si(5e7), si(950)
    ('50M', '950')
    """
    for power, letter in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10.0**power:
            return f"{value / 10.0**power:.3g}{letter}"
    return f"{value:.3g}"


def categories(ax: Axes, names: Sequence[str], places: Sequence[float] | None = None) -> None:
    """Names along the y axis, top to bottom."""
    found = list(range(len(names))) if places is None else list(places)
    ax.yaxis.set_major_locator(FixedLocator(found))
    ax.yaxis.set_major_formatter(FixedFormatter([shortened(name) for name in names]))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def key(looks: Look, label: str, line: bool = True) -> Line2D:
    """A handle of a legend."""
    style: dict[str, Any] = {"marker": looks.marker, "markersize": MARK, "markerfacecolor": looks.face}
    return Line2D(
        [],
        [],
        color=looks.hue,
        linestyle=looks.line if line else "none",
        linewidth=WIDE,
        label=shortened(label),
        **style,
    )


def arm_key(index: int, label: str) -> Line2D:
    """A handle of a legend for arm ``index`` of `arm_look`, whatever its hue and marker."""
    return key(arm_look(Look(GREY, "o"), index), label)


def arm_look(looks: Look, index: int) -> Look:
    """How arm ``index`` of a series looks: the first solid and full, the others by line style, and empty."""
    return looks | {"line": line_style(index), "hollow": index > 0}


def line_key(line: Any, label: str, hue: str = INK) -> Line2D:
    """A handle of a legend for a line style alone."""
    return Line2D([], [], color=hue, linestyle=line, linewidth=WIDE, label=label)


def legend(figure: Figure, handles: Sequence[Artist], place: Any = "outside lower center") -> None:
    """One legend for the whole figure, in as many columns as its words leave room for."""
    if not handles:
        return
    longest = max(len(str(handle.get_label())) for handle in handles)
    width = 0.42 + 0.058 * longest  # inches of a handle and its words at 7.5 points
    columns = max(1, min(len(handles), int(figure.get_figwidth() / width)))
    figure.legend(handles=handles, loc=place, ncols=columns)


def settled(figure: Figure) -> Figure:
    """Lay out once and stop, so that writing a figure twice gives the same text."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine("none")
    return figure
