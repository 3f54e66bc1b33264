"""The paper's figures from results, fit for a paper and for a page: one function each, one entry, one file.

Every function takes ``results`` (`weakstrong.results.Results`, or anything else that is `FigureData`) and a task, and
gives a `matplotlib.figure.Figure`; no pyplot, no window. `figures_for` draws all that the results can fill, each with
a caption; `save` writes PDF, SVG or PNG.

>>> import weakstrong.report.figures as figures
>>> row = {"task": "t", "supervisor": "a", "student": "b", "method": "naive", "regime": "probe", "n_seeds": 5}
>>> row |= {f"{r}_{e}": s for r, s in (("supervisor", 0.7), ("student", 0.8), ("ceiling", 0.9))
...         for e in ("score", "low", "high")}
>>> row |= {"pgr": 0.5, "pgr_low": 0.4, "pgr_high": 0.6, "pgr_defined": True}
>>> float(figures.fig3(figures.Given([row])).get_figwidth())
6.8
>>> [drawn.name for drawn in figures.figures_for(figures.Given([row]))]
['fig3', 'pgr-bars']
"""

from weakstrong.report.figures.entries import FIGURES, Drawn, Given, PaperFigure
from weakstrong.report.figures.rows import FigureData
from weakstrong.report.figures.saving import FORMATS, save, to_svg
from weakstrong.report.figures.style import DOUBLE, SINGLE

fig3 = FIGURES.get("fig3")()
fig5 = FIGURES.get("fig5")()
fig7 = FIGURES.get("fig7")()
fig8 = FIGURES.get("fig8")()
fig9 = FIGURES.get("fig9")()
fig11 = FIGURES.get("fig11")()
fig12 = FIGURES.get("fig12")()
fig13 = FIGURES.get("fig13")()
fig16 = FIGURES.get("fig16")()
fig18 = FIGURES.get("fig18")()
fig19 = FIGURES.get("fig19")()
fig21 = FIGURES.get("fig21")()
fig22 = FIGURES.get("fig22")()
fig23 = FIGURES.get("fig23")()
fig24 = FIGURES.get("fig24")()
fig25 = FIGURES.get("fig25")()
fig26 = FIGURES.get("fig26")()
fig27 = FIGURES.get("fig27")()
curves = FIGURES.get("curves")()
pgr_bars = FIGURES.get("pgr-bars")()
reliability = FIGURES.get("reliability")()
misfit = FIGURES.get("misfit")()


def in_order() -> list[str]:
    """Names of all figures: the paper's by number, then the others."""
    return sorted(FIGURES.names(), key=lambda name: (int(name[3:]) if name.startswith("fig") else 1000, name))


def figures_for(results: FigureData) -> list[Drawn]:
    """Every figure that the results can fill, with its words, in the paper's order; nothing for empty results.

    `curves` comes only where some method has no panel in `fig3` or `fig5`, `pgr_bars` only for up to 8 pairs.
    """
    return [drawn for name in in_order() for drawn in FIGURES.get(name)().drawn(results, unasked=True)]


__all__ = [
    "DOUBLE",
    "FIGURES",
    "FORMATS",
    "SINGLE",
    "Drawn",
    "FigureData",
    "Given",
    "PaperFigure",
    "curves",
    "fig3",
    "fig5",
    "fig7",
    "fig8",
    "fig9",
    "fig11",
    "fig12",
    "fig13",
    "fig16",
    "fig18",
    "fig19",
    "fig21",
    "fig22",
    "fig23",
    "fig24",
    "fig25",
    "fig26",
    "fig27",
    "figures_for",
    "in_order",
    "misfit",
    "pgr_bars",
    "reliability",
    "save",
    "to_svg",
]
