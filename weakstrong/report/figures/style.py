"""How every figure looks: sizes, fonts, colours, markers and line styles. One place, so that figures stand side by side.

Single column 3.3 in, double column 6.8 in, words of 8 points. A series is told apart by hue and by marker or line.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import matplotlib
from matplotlib.colors import to_hex

SINGLE, DOUBLE = 3.3, 6.8
"""Widths in inches of a figure in one column and across two."""

HUES = ("#5a2dff", "#e16900", "#00693c", "#00a5ff", "#a50f96", "#c387a5")
"""Six hues that stay apart for every kind of colour vision, on white and on a dark page.

In CIELAB any two differ by at least 33 as they are and as seen with deuteranopia, protanopia and tritanopia
(Machado et al. 2009, severity 1), and each has a contrast of at least 2.6 against #ffffff and #17181a.
"""
MARKERS = ("o", "s", "^", "v", "P", "X", "p", "h")
LINES: tuple[Any, ...] = (
    "solid",
    (0, (4, 2)),
    (0, (1, 1.4)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (2.5, 1)),
    (0, (8, 3)),
)
INK = "#1f1f1e"
"""Words, axes and the ceiling; `to_svg` writes it as ``currentColor``, so that a dark page gets light ink."""
GREY = "#777777"
"""Lines of reference; readable on white and on a dark page."""
MARK, THIN, WIDE = 4.5, 0.8, 1.2

STYLE: Any = {  # Any: matplotlib's own type is a literal of all its keys
    "svg.fonttype": "none",
    "svg.hashsalt": "weakstrong",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "text.parse_math": False,  # a "$" in a name is a "$"
    "text.usetex": False,
    "text.color": INK,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.facecolor": "none",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.4,
    "figure.facecolor": "white",
    "savefig.bbox": None,
    "figure.dpi": 72,
    "savefig.dpi": "figure",
}
"""In force only while a figure is built or written: a user's own settings neither leak in nor change."""


@contextmanager
def styled() -> Iterator[None]:
    """Run a block with `STYLE`."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The reader's browser draws the words, with fonts of its own.
        warnings.filterwarnings("ignore", r"Glyph \d+ ", UserWarning)
        yield


@dataclass(frozen=True)
class Look:
    """How one series looks.

    Attributes:
        hue: colour of line, marker and interval.
        marker: shape.
        line: line style.
        hollow: whether the marker is empty.
    """

    hue: str = INK
    marker: str = "o"
    line: Any = "solid"
    hollow: bool = False

    def __or__(self, changed: dict[str, Any]) -> Look:
        return replace(self, **changed)

    @property
    def face(self) -> str:
        """Fill of the marker."""
        return "none" if self.hollow else self.hue


def look(index: int, count: int) -> Look:
    """Hue and marker of series ``index`` of ``count``; more than the palette take hues from viridis, dark to light."""
    marker = MARKERS[index % len(MARKERS)]
    if count <= len(HUES):
        return Look(HUES[index], marker)
    # neither end: they vanish on a dark page or on white
    return Look(to_hex(matplotlib.colormaps["viridis"](0.2 + 0.55 * index / (count - 1))), marker)


def line_style(index: int) -> Any:
    """Line style of arm ``index``."""
    return LINES[index % len(LINES)]
