"""Gain over the supervisor against the student's misfit with its labels (Charikar et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from weakstrong.report.figures.drawing import diagonal, key, legend, limits, line_key, settled
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
    unique,
)
from weakstrong.report.figures.style import DOUBLE, GREY, INK, MARK, MARKERS, SINGLE, Look, look, styled
from weakstrong.report.table import Row

UNITS = {"squared": "squared error", "cross entropy": "cross entropy (nats)"}


@FIGURES.register
class Misfit(PaperFigure):
    """Gain against misfit, a panel for each loss; hues are methods, markers pairs; on the diagonal they are equal."""

    title: ClassVar[str] = "Gain against misfit"
    paper: ClassVar[str] = (
        "Not in the paper: Charikar et al. (2024) prove that the gain is at least the misfit where the student is the best "
        "of a convex class, which trained networks are not."
    )
    needs: ClassVar[str] = "the analysis misfit: w2s run --analysis misfit"
    analyses: ClassVar[tuple[str, ...]] = ("misfit",)

    def rows(self, results: FigureData) -> list[Row]:
        rows = [r for r in plain(of_analysis(results, "misfit")) if r["measure"] in ("misfit", "gain")]
        sure = [row for row in rows if row["value"] is not None]
        both = {_place(r) for r in sure if r["measure"] == "gain"} & {
            _place(r) for r in sure if r["measure"] == "misfit"
        }
        return [row for row in sure if _place(row) in both]

    def draw(self, rows: Sequence[Row], models: Models) -> Figure:
        arm_of = dict(zip(map(id, rows), arms_of(rows), strict=True))
        arms = unique(arm_of.values())
        pairs = unique(pair_of(row) for row in rows)
        losses = unique(str(row["loss"]) for row in rows)
        gains = {_place(row): row for row in rows if row["measure"] == "gain"}
        with styled():
            size = (DOUBLE if len(losses) > 1 else SINGLE, 2.9 + 0.06 * (len(arms) + len(pairs)))
            figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.06))
            axes = figure.subplots(1, len(losses), squeeze=False)
            for ax, loss in zip(axes[0], losses, strict=True):
                ends: list[float | None] = [0.0]
                for row in [row for row in rows if row["measure"] == "misfit" and row["loss"] == loss]:
                    gain, arm = gains[_place(row)], arm_of[id(row)]
                    hue = look(arms.index(arm), len(arms)).hue
                    marker = MARKERS[pairs.index(pair_of(row)) % len(MARKERS)]
                    label = f"{arm} of {pair_of(row)}"
                    ax.plot(
                        [row["value"]],
                        [gain["value"]],
                        color=hue,
                        marker=marker,
                        markersize=MARK + 0.5,
                        linestyle="none",
                        label=label,
                    )
                    if row["low"] is not None and row["high"] is not None:
                        ax.hlines(gain["value"], row["low"], row["high"], color=hue, linewidth=0.8)
                    if gain["low"] is not None and gain["high"] is not None:
                        ax.vlines(row["value"], gain["low"], gain["high"], color=hue, linewidth=0.8)
                    ends += [found[e] for found in (row, gain) for e in ("value", "low", "high")]
                low, high = limits(ends)
                diagonal(ax, "gain = misfit", low, high)
                ax.axhline(0, color=GREY, linewidth=0.6, zorder=0)
                ax.set_title(UNITS.get(loss, loss))
                ax.set_xlabel("misfit of student and labels")
                ax.set_ylabel("gain over supervisor")
            handles = [key(look(i, len(arms)) | {"marker": ""}, arm) for i, arm in enumerate(arms)]
            handles += [
                key(Look(INK, MARKERS[i % len(MARKERS)]), pair, line=False) for i, pair in enumerate(pairs)
            ]
            legend(figure, [*handles, line_key((0, (4, 3)), "gain = misfit", GREY)])
            return settled(figure)

    def seen(self, rows: Sequence[Row]) -> str:
        parts = []
        gains = {_place(row): row["value"] for row in rows if row["measure"] == "gain"}
        for loss in unique(str(row["loss"]) for row in rows):
            pairs = [
                (r["value"], gains[_place(r)]) for r in rows if r["measure"] == "misfit" and r["loss"] == loss
            ]
            above = sum(gain >= misfit for misfit, gain in pairs)
            least, most = min(g for _, g in pairs), max(g for _, g in pairs)
            parts.append(
                f"{loss}: gain {number(least, 3)} to {number(most, 3)}, at least the misfit in {above} of {len(pairs)}"
            )
        return (
            "How much less the student loses on ground truth than its supervisor, against how far it lies from its weak "
            f"labels. {'. '.join(p[0].upper() + p[1:] for p in parts)}. {seeds_words(rows)}"
        )


def _place(row: Row) -> tuple[object, ...]:
    names = ("analysis", "task", "supervisor", "student", "method", "regime", "recipe", "loss")
    return tuple(row.get(name) for name in names)
