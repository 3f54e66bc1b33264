"""What every figure keeps to: it draws the values it is given and no others, says what it needs, fits a column."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import made_results as made
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from weakstrong.errors import DataError, UnknownNameError
from weakstrong.report.figures import (
    DOUBLE,
    FIGURES,
    SINGLE,
    Drawn,
    Given,
    figures_for,
    in_order,
    to_svg,
)
from weakstrong.report.table import Row, has_pgr

NAMES = FIGURES.names()
ACCURACY_ONLY = ("fig9", "fig12")  # of an aggregate row
PGR_ONLY = ("pgr-bars",)
IN_WORDS = ("calibration error",)  # measures that stand as text


@cache
def data() -> Given:
    aggregate, analyses = made.everything()
    return Given(aggregate, made.MODELS, analyses)


@cache
def drawn(name: str) -> Drawn:
    entry = FIGURES.get(name)()
    return entry.drawn(data(), entry.tasks(data())[0])[0]


def numbers(figure: Figure) -> set[float]:
    """Every number that a mark of the figure stands at, rounded."""
    found: list[float] = []
    for ax in figure.axes:
        for line in ax.lines:
            found += np.asarray(line.get_xydata(), float).ravel().tolist()
        for collection in ax.collections:
            for segment in collection.get_segments():  # type: ignore[attr-defined]
                found += np.asarray(segment, float).ravel().tolist()
        found += [patch.get_width() for patch in ax.patches]  # type: ignore[attr-defined]
    return {round(value, 6) for value in found if np.isfinite(value)}


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())  # type: ignore[attr-defined]


def wanted(name: str, row: Row) -> list[float]:
    """The numbers of a row that its figure must show."""
    if "measure" in row:
        ends = [row["value"], row["low"], row["high"]]
        # through training not every moment has its interval
        return [] if row["value"] is None else ends[:1] if row.get("progress") is not None else ends
    found = [] if name in PGR_ONLY else [row["student_score"]]
    if has_pgr(row) and name not in ACCURACY_ONLY:
        found += [row["pgr"], row["pgr_low"], row["pgr_high"]]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_value_given_is_drawn(name: str) -> None:
    """A pair, a method, a moment or an interval that the drawing loses on the way."""
    entry, shown = FIGURES.get(name)(), drawn(name)
    task = entry.tasks(data())[0]
    rows = [row for row in entry.rows(data()) if row["task"] == task]
    there, text = numbers(shown.figure), words(shown.figure)
    assert rows
    for row in rows:
        if row.get("measure") in IN_WORDS:
            assert f"{row['arm']} {row['value']:.3f}" in text
        else:
            missing = [value for value in wanted(name, row) if round(value, 6) not in there]
            assert not missing, (row, missing)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_fits_a_column_and_names_its_axes(name: str) -> None:
    """A figure that a paper has to shrink until its words are too small, or an axis that says nothing."""
    figure = drawn(name).figure
    assert figure.get_figwidth() in (SINGLE, DOUBLE, DOUBLE / 2)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert any(ax.get_xlabel() for ax in shown)
    assert any(ax.get_ylabel() for ax in shown)
    texts = [text for text in figure.findobj(Text) if text.get_text()]  # type: ignore[attr-defined]
    assert min(text.get_fontsize() for text in texts) >= 6  # type: ignore[attr-defined]
    inside = figure.get_tightbbox()
    assert inside.x0 > -0.05, "words are cut at the left"
    assert inside.x1 < figure.get_figwidth() + 0.05, "words are cut at the right"
    assert inside.y0 > -0.05, "words are cut at the foot"
    assert inside.y1 < figure.get_figheight() + 0.05, "words are cut at the top"


@pytest.mark.parametrize("name", NAMES)
def test_an_undefined_value_is_drawn_nowhere(name: str) -> None:
    """A PGR over a gap that may be zero, drawn as if it meant something; or as a zero."""
    entry = FIGURES.get(name)()
    task = entry.tasks(data())[0]
    one = [r for r in data().aggregate if "smollm2-135m:8" not in r["supervisor"]]
    aggregate = [{**row, "pgr": -7.77, "pgr_defined": False} for row in one]
    analyses = {
        kind: [{**r, "value": None, "low": None, "high": None} if i % 2 else r for i, r in enumerate(rows)]
        for kind, rows in data().analyses.items()
    }
    figures = entry.drawn(Given(aggregate, made.MODELS, analyses), task)
    for one in figures:
        assert -7.77 not in numbers(one.figure)
        assert "nan" not in one.caption
        assert "None" not in one.caption


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_draw_is_said_with_what_to_run(name: str) -> None:
    """An empty pair of axes, or a KeyError, instead of words."""
    entry = FIGURES.get(name)()
    for empty in (Given(), Given([], made.MODELS, {kind: [] for kind in entry.analyses})):
        assert entry.tasks(empty) == []
        assert entry.drawn(empty) == []
        with pytest.raises(DataError, match=re.escape(entry.needs)):
            entry(empty)
    with pytest.raises(UnknownNameError, match="movie-snippets"):
        entry(data(), "movie-snippet")


@pytest.mark.parametrize("name", NAMES)
def test_captions_say_what_is_seen_and_what_the_paper_has(name: str) -> None:
    """A figure without words, or with another figure's."""
    one = drawn(name)
    assert one.name == name
    assert one.caption.endswith(FIGURES.get(name).paper)
    assert "5 seeds" in one.caption
    assert one.caption != FIGURES.get(name).paper


def test_results_without_models_cards_are_drawn() -> None:
    """Models of a user's own folder have no FLOPs: every figure on that axis would fail."""
    aggregate, analyses = made.everything()
    one_task = [row for row in aggregate if row["task"] == "movie-snippets"][:40]
    for name in ("fig3", "fig8", "fig9"):
        entry = FIGURES.get(name)()
        figure = entry(Given(one_task, {}, {"agreement": analyses["agreement"][:80]}))
        assert any("not known" in ax.get_xlabel() or "listed" in ax.get_xlabel() for ax in figure.axes)


def test_figures_for_draws_what_there_is_and_nothing_else() -> None:
    """A page with empty figures, or one that leaves out what was computed."""
    assert figures_for(Given()) == []
    naive = made.aggregate(("naive",))
    assert [one.name for one in figures_for(Given(naive, made.MODELS))] == ["fig3", "pgr-bars"]
    both = made.aggregate(("naive", "product"))
    only: Any = {"agreement": made.agreement(both[:2])}
    names = [one.name for one in figures_for(Given(both, made.MODELS, only))]
    assert names == ["fig3", "fig8", "fig16", "curves", "pgr-bars"]


def test_order_is_the_papers() -> None:
    """fig11 before fig3."""
    numbered = [int(name[3:]) for name in in_order() if name.startswith("fig")]
    assert numbered == sorted(numbered)
    assert set(in_order()) == set(NAMES)


@pytest.mark.parametrize("name", ["fig3", "fig7", "fig11", "fig25", "misfit"])
def test_svg_is_the_same_each_time(name: str) -> None:
    """Random ids, or a second layout pass, change a file that version control holds."""
    assert to_svg(drawn(name).figure, "p-") == to_svg(drawn(name).figure, "p-")
