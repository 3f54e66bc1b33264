"""The paper's Fig. 3 for one task, and PGR as points with intervals; drawn without pyplot.

The x axis is forward FLOPs per token: the paper has pretraining compute, seldom known for public models.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil, floor, log10
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from matplotlib.transforms import ScaledTranslation, Transform

from weakstrong.registry import unknown
from weakstrong.report.table import Row, format_pgr, has_pgr, method_name, several

Models = Mapping[str, Mapping[str, Any]]
Looks = Mapping[str, tuple[str, str]]  # name -> hue, marker

# Okabe and Ito, without black and yellow
HUES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "v", "P", "X", "p", "h")
GREY = "#6b6b6b"
STYLE: Any = {  # Any: matplotlib's own type is a literal of all its keys
    "svg.fonttype": "none",
    "svg.hashsalt": "weakstrong",
    "text.parse_math": False,  # a "$" in a name is a "$"
    "text.usetex": False,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 9.5,
    "axes.labelcolor": "#222222",
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
    "figure.dpi": 72,
    "savefig.dpi": "figure",
}
"""In force only while a figure is built or written: a user's own settings neither leak in nor change."""


@contextmanager
def _styled() -> Iterator[None]:
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The reader's browser draws the words, with fonts of its own.
        warnings.filterwarnings("ignore", r"Glyph \d+ ", UserWarning)
        yield


def arm(row: Row, with_regime: bool) -> str:
    """The name of what is compared: the method, with its regime where there are several regimes."""
    name = method_name(row)
    return f"{name} ({row['regime']})" if with_regime else name


def fig3(aggregate: Sequence[Row], models: Models, task: str) -> Figure:
    """Fig. 3 of the paper for one task: a row of panels for each method, accuracy left and PGR right.

    Left: the ceiling in black through the students; for each supervisor one hue and one marker shape, its own
    score as a diamond and a dotted level, its students joined by a line. Right: PGR against the student's
    compute, dashed at 0 and 1; an undefined PGR is a hollow marker at the panel's foot, in no line. Bars are
    intervals. Points that share a student are drawn a few points apart; their data are exact.

    Args:
        aggregate: rows with the keys of `weakstrong.report.page.ReportData`; other tasks' rows are left out.
        models: name -> facts; ``flops_per_token`` (> 0) is x, log scale. Where a student's is not known,
            models stand in listed order at equal distances and the axis says so; where only a supervisor's is
            not known (labels from a file), its diamond stands at the left edge.
        task: which task.

    Raises:
        UnknownNameError: no row has this task.
    """
    rows = _rows_of(aggregate, task)
    with_regime = several(rows, "regime")
    arms = _unique(arm(row, with_regime) for row in rows)
    x_of, known = _positions(rows, models)
    supervisors = sorted(_unique(row["supervisor"] for row in rows), key=lambda name: x_of.get(name, 0.0))
    students = sorted(_unique(row["student"] for row in rows), key=lambda name: x_of[name])
    look = {n: _look(i, len(supervisors)) for i, n in enumerate(supervisors)}
    with _styled():
        fig = Figure(figsize=(9.6, 1.4 + 2.7 * len(arms)), layout=ConstrainedLayoutEngine(h_pad=0.1))
        ratios = [2, 1] if len(students) == 1 else [1.15, 1]
        axes = fig.subplots(len(arms), 2, sharex="col", sharey="col", squeeze=False, width_ratios=ratios)
        for name, (left, right) in zip(arms, axes, strict=True):
            part = [row for row in rows if arm(row, with_regime) == name]
            _draw_accuracy(left, part, x_of, look)
            _draw_pgr(right, part, x_of, look)
            # the models' names stand slanted above the first row, so its title goes above them
            height = 6 + 0.47 * 4.6 * max(len(n) for n in supervisors + students) if name == arms[0] else 0
            left.set_title(name, loc="left", fontweight="bold", pad=8 + height)
            left.set_ylabel("accuracy on test")
            right.set_ylabel("PGR")
        _scale_x(axes[-1, 0], axes[0, 0], x_of, known)
        _scale_x(axes[-1, 1], axes[0, 1], {n: x_of[n] for n in students}, known)
        scores = [
            row[f"{role}_{end}"]
            for row in rows
            for role in ("supervisor", "student", "ceiling")
            for end in ("score", "low", "high")
        ]
        axes[0, 0].set_ylim(_limits([s for s in scores if s is not None] or [0.0, 1.0]))
        axes[0, 1].set_ylim(_pgr_limits(rows))
        handles = [
            Line2D([], [], color="black", marker="o", markersize=4, label="strong ceiling"),
            Line2D(
                [], [], color=GREY, marker="D", markersize=5, linestyle=":", label="a supervisor's own score"
            ),
            *(
                Line2D([], [], color=hue, marker=shape, markersize=5.5, label=f"student of {n}")
                for n, (hue, shape) in look.items()
            ),
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
        return _settled(fig)


def pgr_bars(aggregate: Sequence[Row], task: str) -> Figure:
    """PGR of one task: a point with its interval and its number for each (supervisor, student, method).

    Pairs and methods stand in listed order, top to bottom; hue and shape show the method; dashed at 0 and 1.
    An undefined PGR is a hollow marker at the left edge; an oracle, which ground truth has helped, is hollow on a
    dotted line, below the methods.

    Raises:
        UnknownNameError: no row has this task.
    """
    rows = _rows_of(aggregate, task)
    with_regime = several(rows, "regime")
    apart = sorted(rows, key=lambda row: bool(row.get("uses_ground_truth")))
    arms = _unique(arm(row, with_regime) for row in apart)
    pairs = _unique((row["supervisor"], row["student"]) for row in rows)
    look = {name: _look(i, len(arms)) for i, name in enumerate(arms)}
    step = len(arms) + 0.7  # a gap between pairs
    with _styled():
        height = (0.27 if len(pairs) <= 6 else 0.21) * step * len(pairs)
        fig = Figure(figsize=(9.6, 1.1 + height), layout="constrained")
        ax = fig.subplots()
        for row in rows:
            name = arm(row, with_regime)
            hue, shape = look[name]
            y = pairs.index((row["supervisor"], row["student"])) * step + arms.index(name)
            if has_pgr(row):
                oracle = bool(row.get("uses_ground_truth"))
                if row["pgr_low"] is not None and row["pgr_high"] is not None:
                    dashes = "dotted" if oracle else "solid"
                    ax.hlines(y, row["pgr_low"], row["pgr_high"], color=hue, linewidth=1.8, linestyle=dashes)
                ax.plot(
                    [row["pgr"]],
                    [y],
                    color=hue,
                    marker=shape,
                    markersize=7,
                    linestyle="none",
                    label=name,
                    markerfacecolor="white" if oracle else hue,
                )
            else:
                _hollow(ax, 0.015, y, hue, shape, ax.get_yaxis_transform())
            ax.text(1.02, y, format_pgr(row), transform=ax.get_yaxis_transform(), va="center", fontsize=9)
        for level in (0.0, 1.0):
            ax.axvline(level, color=GREY, linestyle=(0, (4, 3)), linewidth=0.9, zorder=0)
        low, high = _pgr_limits(rows)
        ax.set_xlim(low, high)
        ax.set_ylim(step * len(pairs) - 0.7 - 0.3, -0.7)
        centres = [i * step + (len(arms) - 1) / 2 for i in range(len(pairs))]
        ax.yaxis.set_major_locator(FixedLocator(centres))
        ax.yaxis.set_major_formatter(FixedFormatter([f"{a} → {b}" for a, b in pairs]))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("PGR: 0 = no better than the supervisor, 1 = the ceiling")
        handles = [
            Line2D([], [], color=hue, marker=shape, markersize=6.5, linewidth=1.8, label=name)
            for name, (hue, shape) in look.items()
        ]
        fig.legend(handles=handles, loc="outside upper left", ncols=min(4, len(handles)))
        return _settled(fig)


def to_svg(fig: Figure, prefix: str = "") -> str:
    """The figure as one ``<svg>`` element for a page: text as text, no dates, no metadata, no XML prologue.

    The same figure gives the same text. ``prefix`` starts every id, so that several figures can share a page.
    """
    buffer = io.StringIO()
    with _styled():
        fig.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r">\s*\n\s*<", "><", text)
    # only inside tags: the words of a label are never rewritten
    return re.sub(r"<[^>]+>", lambda tag: _prefixed(tag[0], prefix), text) if prefix else text


def _prefixed(tag: str, prefix: str) -> str:
    tag = re.sub(r'(\sid=")', rf"\g<1>{prefix}", tag)
    tag = re.sub(r"(url\(#)", rf"\g<1>{prefix}", tag)
    return re.sub(r'(href="#)', rf"\g<1>{prefix}", tag)


def _rows_of(aggregate: Sequence[Row], task: str) -> list[Row]:
    rows = [row for row in aggregate if row["task"] == task]
    if not rows:
        raise unknown("task", task, {str(row["task"]) for row in aggregate}, "in these results")
    return rows


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _look(index: int, count: int) -> tuple[str, str]:
    """Hue and marker shape; a ladder longer than the palette takes its hues from viridis, dark to light."""
    if count <= len(HUES):
        return HUES[index], MARKERS[index]
    return to_hex(matplotlib.colormaps["viridis"](0.9 * index / (count - 1))), MARKERS[index % len(MARKERS)]


def _positions(rows: Sequence[Row], models: Models) -> tuple[dict[str, float], bool]:
    """x of each model, and whether it is FLOPs (else its place in the list); a supervisor may lack one."""
    names = _unique(name for row in rows for name in (row["supervisor"], row["student"]))
    flops = {name: models.get(name, {}).get("flops_per_token") or 0.0 for name in names}
    if all(flops[row["student"]] > 0 for row in rows):
        return {name: float(value) for name, value in flops.items() if value > 0}, True
    return {name: float(place) for place, name in enumerate(names)}, False


def _shift(ax: Axes, index: int, count: int) -> Transform:
    """A step sideways on paper, at most 18 points from first to last; the data stay exact."""
    points = min(7.0, 18.0 / max(count - 1, 1)) * (index - (count - 1) / 2)
    return ScaledTranslation(points / 72, 0, ax.figure.dpi_scale_trans)


def _bars(ax: Axes, xs: Sequence[float], rows: Sequence[Row], role: str, hue: str, where: Transform) -> None:
    ends = [(x, row[f"{role}_low"], row[f"{role}_high"]) for x, row in zip(xs, rows, strict=True)]
    ends = [end for end in ends if end[1] is not None and end[2] is not None]
    if ends:
        x, low, high = zip(*ends, strict=True)
        ax.vlines(
            x, low, high, color=hue, linewidth=1.3, alpha=0.8, transform=where, label=f"{role} interval"
        )


def _draw_accuracy(ax: Axes, rows: Sequence[Row], x_of: Mapping[str, float], look: Looks) -> None:
    ceilings = {row["student"]: row for row in reversed(rows) if row["ceiling_score"] is not None}
    top = sorted(ceilings.values(), key=lambda row: x_of[row["student"]])
    xs = [x_of[row["student"]] for row in top]
    ys = [row["ceiling_score"] for row in top]
    ax.plot(xs, ys, color="black", marker="o", markersize=4, linewidth=1.6, label="ceiling", zorder=3)
    _bars(ax, xs, top, "ceiling", "black", ax.transData)
    for i, (name, (hue, shape)) in enumerate(look.items()):
        mine = sorted((r for r in rows if r["supervisor"] == name), key=lambda row: x_of[row["student"]])
        own = [row for row in mine if row["supervisor_score"] is not None][:1]
        for row in own:
            score = row["supervisor_score"]
            placed = name in x_of  # else at the left edge, with a level right across
            at = x_of[name] if placed else 0.0
            far = max(at, *(x_of[r["student"]] for r in mine)) if placed else 1.0
            there = ax.transData if placed else ax.get_yaxis_transform()
            level: dict[str, Any] = {"color": hue, "transform": there, "clip_on": placed}
            ax.plot([at, far], [score, score], linestyle=":", linewidth=1.1, label=f"level {name}", **level)
            ax.plot(
                [at], [score], marker="D", markersize=6, linestyle="none", label=f"supervisor {name}", **level
            )
            _bars(ax, [at], [row], "supervisor", hue, there)
        scored = [row for row in mine if row["student_score"] is not None]
        where = ax.transData + _shift(ax, i, len(look))
        xs, ys = [x_of[row["student"]] for row in scored], [row["student_score"] for row in scored]
        style: dict[str, Any] = {"color": hue, "marker": shape, "markersize": 5.5, "linewidth": 1.4}
        ax.plot(xs, ys, transform=where, label=f"student of {name}", zorder=4, **style)
        _bars(ax, xs, scored, "student", hue, where)


def _draw_pgr(ax: Axes, rows: Sequence[Row], x_of: Mapping[str, float], look: Looks) -> None:
    for level, word in ((0.0, "supervisor"), (1.0, "ceiling")):
        ax.axhline(level, color=GREY, linestyle=(0, (4, 3)), linewidth=0.9, zorder=0)
        ax.text(1.01, level, word, transform=ax.get_yaxis_transform(), va="center", fontsize=8, color=GREY)
    marked: set[str] = set()
    for i, (name, (hue, shape)) in enumerate(look.items()):
        where = ax.transData + _shift(ax, i, len(look))
        mine = sorted((r for r in rows if r["supervisor"] == name), key=lambda row: x_of[row["student"]])
        sure = [row for row in mine if has_pgr(row)]
        xs, ys = [x_of[row["student"]] for row in sure], [row["pgr"] for row in sure]
        style: dict[str, Any] = {"color": hue, "marker": shape, "markersize": 5.5, "linewidth": 1.4}
        ax.plot(xs, ys, transform=where, label=f"PGR of {name}", zorder=4, **style)
        _bars(ax, xs, sure, "pgr", hue, where)
        foot = ax.get_xaxis_transform() + _shift(ax, i, len(look))
        for row in mine:
            if not has_pgr(row):
                x = x_of[row["student"]]
                _hollow(ax, x, 0.04, hue, shape, foot)
                if row["student"] not in marked:  # the word once above the hollow markers of a student
                    place: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "ha": "center"}
                    ax.text(x, 0.085, "undefined", fontsize=8, color=GREY, **place)
                marked.add(row["student"])


def _hollow(ax: Axes, x: float, y: float, hue: str, shape: str, where: Transform) -> None:
    style: dict[str, Any] = {"color": hue, "marker": shape, "markersize": 5.5, "markerfacecolor": "none"}
    ax.plot([x], [y], linestyle="none", transform=where, label="undefined", clip_on=False, **style)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.02
    return low - pad, high + pad


def _pgr_limits(rows: Sequence[Row]) -> tuple[float, float]:
    """All points, 0 and 1 are in view; an interval that would flatten everything else runs out of it."""
    sure = [row for row in rows if has_pgr(row)]
    points = [0.0, 1.0, *(row["pgr"] for row in sure)]
    ends = [row[end] for row in sure for end in ("pgr_low", "pgr_high") if row[end] is not None]
    low, high = _limits([*points, *(min(max(end, min(points) - 1), max(points) + 1) for end in ends)])
    room = 0.12 * (high - low) if len(sure) < len(rows) else 0.0  # for hollow markers
    return low - room, high


def _scale_x(bottom: Axes, top: Axes, x_of: dict[str, float], known: bool) -> None:
    """Ticks below; above the top panel the models' names, those left out that would overprint another."""
    low, high = min(x_of.values()), max(x_of.values())
    if known:
        bottom.set_xscale("log")
        pad = max((high / low) ** 0.09, 1.15)
        bottom.set_xlim(low / pad, high * pad)
        bottom.xaxis.set_major_locator(
            FixedLocator(_log_ticks(low / pad, high * pad) if high > low else [low])
        )
        bottom.xaxis.set_major_formatter(lambda x, _: _si(x))
        bottom.xaxis.set_minor_locator(NullLocator())
        bottom.set_xlabel("forward FLOPs per token (log scale)")
    else:
        pad = 0.09 * (high - low) or 1.0
        bottom.set_xlim(low - pad, high + pad)
        bottom.xaxis.set_major_locator(NullLocator())
        bottom.set_xlabel("models in listed order (FLOPs per token not known)")
    previous = -1.0
    for name, x in sorted(x_of.items(), key=lambda item: item[1]):
        share = _share(x, low, high, known)
        if share - previous > 0.045:
            place = top.get_xaxis_transform()
            style: dict[str, Any] = {"rotation": 28, "rotation_mode": "anchor", "fontsize": 8, "color": GREY}
            top.text(x, 1.03, name, transform=place, ha="left", va="bottom", **style)
            previous = share


def _share(x: float, low: float, high: float, log: bool) -> float:
    if high == low:
        return 0.5
    return log10(x / low) / log10(high / low) if log else (x - low) / (high - low)


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten within [low, high]; powers alone where the range is over two decades."""
    fine = (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    factors = (1,) if high / low > 150 else (1, 2, 5) if high / low > 4.5 else fine
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    return [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]


def _si(value: float) -> str:
    """A large number in words of the SI: 5e7 is 50M."""
    for power, letter in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10.0**power:
            return f"{value / 10.0**power:.3g}{letter}"
    return f"{value:.3g}"


def _settled(fig: Figure) -> Figure:
    """Lay out once and stop, so that writing a figure twice gives the same text."""
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    return fig
