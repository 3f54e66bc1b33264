"""The figures, one entry, one file; the name of an entry is the name of its file."""

from weakstrong.report.figures.entries.base import FIGURES, Drawn, Given, PaperFigure

__all__ = ["FIGURES", "Drawn", "Given", "PaperFigure"]
