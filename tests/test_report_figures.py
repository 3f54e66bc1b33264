"""Figures and the terminal table: what is in the rows is what is drawn and printed."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from typing import Any

import made_results as made
import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.console import Console

from weakstrong.errors import UnknownNameError
from weakstrong.report.figures import (
    Given,
    curves,
    fig3,
    fig5,
    fig8,
    fig21,
    fig24,
    misfit,
    pgr_bars,
    reliability,
    to_svg,
)
from weakstrong.report.table import format_p, format_pgr, result_table

Rows = list[dict[str, Any]]
REASON = "the gap's interval [-0.004, 0.031] covers zero"


def result(
    supervisor: str, student: str, method: str, scores: tuple[float, float, float], **more: object
) -> dict[str, Any]:
    low, mid, high = scores
    row: dict[str, Any] = {"task": "t", "supervisor": supervisor, "student": student, "method": method}
    row |= {"regime": "probe", "n_seeds": 5, "n_test": 2000}
    for role, score in zip(("supervisor", "student", "ceiling"), (low, mid, high), strict=True):
        row |= {f"{role}_score": score, f"{role}_low": score - 0.01, f"{role}_high": score + 0.01}
    pgr = (mid - low) / (high - low)
    row |= {"pgr": pgr, "pgr_low": pgr - 0.1, "pgr_high": pgr + 0.12, "pgr_defined": True, "pgr_reason": ""}
    return row | {"p_vs_naive": None, "p_vs_naive_holm": None} | more


def undefined(row: dict[str, Any], pgr: float | None = -2.2) -> dict[str, Any]:
    return row | {"pgr": pgr, "pgr_low": None, "pgr_high": None, "pgr_defined": False, "pgr_reason": REASON}


MODELS: dict[str, dict[str, Any]] = {
    name: {"parameters": int(flops / 2), "flops_per_token": flops, "licence": "MIT", "source": "pypi:x==1/m"}
    for name, flops in {"a": 4e7, "b:8": 1.1e8, "c": 2.4e8, "d": 1.3e9}.items()
}
ROWS: Rows = [
    result("a", "c", "naive", (0.70, 0.76, 0.85)),
    result("a", "c", "confidence", (0.70, 0.80, 0.85), p_vs_naive=0.0004, p_vs_naive_holm=0.0008),
    result("a", "d", "naive", (0.70, 0.77, 0.90)),
    result("a", "d", "confidence", (0.70, 0.84, 0.90), p_vs_naive=0.021, p_vs_naive_holm=0.042),
    result("b:8", "c", "naive", (0.75, 0.79, 0.85)),
    undefined(result("b:8", "c", "confidence", (0.75, 0.81, 0.85))),
    result("b:8", "d", "naive", (0.75, 0.80, 0.90)),
    result("b:8", "d", "confidence", (0.75, 0.86, 0.90)),
]


def lines(ax: Axes, label: str) -> list[Line2D]:
    return [line for line in ax.lines if line.get_label() == label]


def points(ax: Axes, label: str) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for line in lines(ax, label):
        found += [(x, y) for x, y in np.asarray(line.get_xydata()).tolist() if not np.isnan(y)]
    return found


def bars(ax: Axes) -> list[tuple[float, float, float]]:
    segments = [s for c in ax.collections for s in c.get_segments()]  # type: ignore[attr-defined]
    return sorted((float(s[0][0]), float(s[0][1]), float(s[1][1])) for s in segments)


def test_fig3_plots_the_rows_and_no_others() -> None:
    """Scores of another method or task, or supervisor and ceiling swapped, would be drawn unnoticed."""
    fig = curves(Given([*ROWS, result("a", "c", "naive", (0.1, 0.2, 0.3), task="other")], MODELS), "t")
    naive, _, confidence, _ = fig.axes
    assert points(naive, "ceiling") == [(2.4e8, 0.85), (1.3e9, 0.90)]
    assert points(naive, "supervisor a") == [(4e7, 0.70)]
    assert points(naive, "supervisor b:8") == [(1.1e8, 0.75)]
    assert points(naive, "student of a") == [(2.4e8, 0.76), (1.3e9, 0.77)]
    assert points(confidence, "student of a") == [(2.4e8, 0.80), (1.3e9, 0.84)]
    assert naive.get_xscale() == "log"


def test_fig3_intervals_are_the_rows_own() -> None:
    """An interval of a neighbour, or of another role, on a point."""
    _, right = curves(Given(ROWS[:1], MODELS), "t").axes
    assert bars(right) == [(2.4e8, ROWS[0]["pgr_low"], ROWS[0]["pgr_high"])]
    left, _ = curves(Given(ROWS[:1], MODELS), "t").axes
    assert [bar[1:] for bar in bars(left)] == [
        (0.70 - 0.01, 0.70 + 0.01),
        (0.76 - 0.01, 0.76 + 0.01),
        (0.85 - 0.01, 0.85 + 0.01),
    ]


def test_undefined_pgr_is_hollow_and_in_no_line() -> None:
    """A PGR of -2.2 over a gap that may be zero, drawn as if it meant something."""
    right = curves(Given(ROWS, MODELS), "t").axes[3]
    assert points(right, "PGR of b:8") == [(1.3e9, ROWS[7]["pgr"])]
    assert all(y != -2.2 for line in right.lines for y in line.get_ydata())  # type: ignore[union-attr]
    (hollow,) = lines(right, "undefined PGR of b:8")
    assert hollow.get_markerfacecolor() == "none"
    assert [text.get_text() for text in right.texts].count("undefined") == 1
    (mark,) = lines(pgr_bars(Given(ROWS), "t").axes[0], "undefined confidence")
    assert mark.get_markerfacecolor() == "none"


def test_pgr_has_its_reference_lines_and_every_point_in_view() -> None:
    """Without 0 and 1 a PGR cannot be read; a negative PGR must not fall out of the panel."""
    rows = [*ROWS, result("a", "b:8", "naive", (0.70, 0.60, 0.80))]
    right = curves(Given(rows, MODELS), "t").axes[1]
    dashed = [np.asarray(line.get_ydata()) for line in right.lines if line.get_linestyle() == "--"]
    levels = {tuple(y.tolist()) for y in dashed}
    assert levels == {(0.0, 0.0), (1.0, 1.0)}
    low, high = right.get_ylim()
    assert low < -1.0
    assert high > 1.0


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 2), (5, 5, 3), (9, 2, 1)])
def test_fig3_has_one_line_for_each_supervisor_and_distinct_hues(shape: tuple[int, int, int]) -> None:
    """Two supervisors in one colour (a palette that wraps), or a shape that breaks the layout."""
    supervisors, students, methods = shape
    models = {f"s{i}": {"flops_per_token": 1e7 * 2**i} for i in range(9)}
    models |= {f"S{i}": {"flops_per_token": 1e10 * 2**i} for i in range(5)}
    rows = [
        result(f"s{i}", f"S{j}", f"m{k}", (0.6 + 0.01 * i, 0.72, 0.8 + 0.01 * j))
        for i in range(supervisors)
        for j in range(students)
        for k in range(methods)
    ]
    fig = curves(Given(rows, models), "t")
    assert len(fig.axes) == 2 * methods
    for ax in fig.axes[::2]:
        drawn = [line for line in ax.lines if str(line.get_label()).startswith("student of")]
        assert len({str(line.get_color()) for line in drawn}) == supervisors
        assert all(len(line.get_xdata()) == students for line in drawn)  # type: ignore[arg-type]


def test_unknown_compute_is_said_not_invented() -> None:
    """A model without FLOPs placed at a made-up x on a log axis."""
    fig = curves(Given(ROWS, {}), "t")
    assert fig.axes[2].get_xscale() == "linear"
    assert "not known" in fig.axes[2].get_xlabel()
    from_file = curves(
        Given(ROWS[:2], {"c": MODELS["c"]}), "t"
    )  # labels from a file: only the student has a cost
    assert from_file.axes[0].get_xscale() == "log"
    assert points(from_file.axes[0], "supervisor a") == [(0.0, 0.70)]
    (mark,) = lines(from_file.axes[0], "supervisor a")
    assert mark.get_transform() == from_file.axes[0].get_yaxis_transform()


def test_pgr_bars_plot_the_rows_and_print_their_numbers() -> None:
    """A point beside another row's number."""
    ax = pgr_bars(Given(ROWS), "t").axes[0]
    texts = {round(text.get_position()[1], 6): text.get_text() for text in ax.texts}
    for method in ("naive", "confidence"):
        mine = [row for row in ROWS if row["method"] == method and row["pgr_defined"]]
        found = points(ax, method)
        assert [x for x, _ in found] == [row["pgr"] for row in mine]
        assert [texts[round(y, 6)] for _, y in found] == [format_pgr(row) for row in mine]


def test_figures_take_missing_scores() -> None:
    """A row without ceiling and supervisor scores (labels from a file, no ground truth) broke the drawing."""
    bare = undefined(ROWS[0], None) | {
        f"{r}_{e}": None for r in ("supervisor", "ceiling") for e in ("score", "low")
    }
    left, right = curves(Given([bare], MODELS), "t").axes
    assert points(left, "ceiling") == []
    assert points(left, "student of a") == [(2.4e8, 0.76)]
    assert lines(right, "undefined PGR of a")


def test_figures_name_the_known_tasks() -> None:
    """A misspelt task gave an empty figure."""
    with pytest.raises(UnknownNameError, match="sst2"):
        curves(Given([row | {"task": "sst2"} for row in ROWS], MODELS), "sst3")


@pytest.mark.parametrize(
    "make", [lambda: curves(Given(ROWS, MODELS), "t"), lambda: pgr_bars(Given(ROWS), "t")]
)
def test_svg_is_the_same_each_time_and_holds_text(make: Any) -> None:
    """Dates, random ids or a second layout pass change the file; text as outlines cannot be searched."""
    fig: Figure = make()
    first = to_svg(fig, "p-")
    assert first == to_svg(fig, "p-") == to_svg(make(), "p-")
    assert first.startswith("<svg")
    assert first.endswith("</svg>")
    assert ">naive</text>" in first
    assert "<metadata" not in first
    ids = set(re.findall(r'\sid="([^"]+)"', first))
    assert all(name.startswith("p-") for name in ids)
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', first)) <= ids  # no reference lost its target


@pytest.mark.parametrize("make", [fig3, fig5, curves, pgr_bars])
def test_models_in_deep_folders_leave_room_for_the_drawing(make: Any) -> None:
    """Models in folders are named by their paths: a panel shrank to nothing, with a warning (an error here)."""
    deep = "/home/somebody/" + "projects/of/this/year/" * 4
    rows = [row | {arm: deep + row[arm] for arm in ("supervisor", "student")} for row in ROWS]
    figure = make(Given(rows, {deep + name: facts for name, facts in MODELS.items()}), "t")
    assert all(ax.get_position().width > 0.2 and ax.get_position().height > 0.08 for ax in figure.axes)


def test_names_with_markup_stay_text_in_the_figure() -> None:
    """``$`` started mathematics (an error for a lone brace), ``<`` an element."""
    rows = [row | {"method": "a$_{$b", "supervisor": "<g onload=x>"} for row in ROWS[:1]]
    for svg in (to_svg(curves(Given(rows, MODELS), "t")), to_svg(pgr_bars(Given(rows), "t"))):
        assert "a$_{$b" in svg
        assert "<g onload" not in svg


def test_the_users_matplotlib_settings_neither_leak_in_nor_change() -> None:
    """Figures that depend on a matplotlibrc, or that change later plots of the user."""
    plain = to_svg(curves(Given(ROWS, MODELS), "t"))
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "svg.fonttype": "path"}):
        assert to_svg(curves(Given(ROWS, MODELS), "t")) == plain
        assert matplotlib.rcParams["font.size"] == 20


def test_fig3_is_naive_alone_and_fig5_sets_confidence_beside_it() -> None:
    """Fig. 3 with every method in it; a dashed line that is the confidence loss."""
    data = Given(ROWS, MODELS)
    left, right = fig3(data).axes
    assert points(left, "student of a") == [(2.4e8, 0.76), (1.3e9, 0.77)]
    assert not [line for line in left.lines if "confidence" in str(line.get_label())]
    left, right = fig5(data).axes
    (solid,) = lines(left, "student of a (confidence loss)")
    (dashed,) = lines(left, "student of a (naive)")
    assert points(left, "student of a (confidence loss)") == [(2.4e8, 0.80), (1.3e9, 0.84)]
    assert points(left, "student of a (naive)") == [(2.4e8, 0.76), (1.3e9, 0.77)]
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert points(right, "PGR of b:8 (naive)") == [(2.4e8, ROWS[4]["pgr"]), (1.3e9, ROWS[6]["pgr"])]


def test_an_undefined_pgr_breaks_its_line() -> None:
    """A line straight across a student whose PGR is undefined claims a value there."""
    rows = [result("a", s, "naive", (0.7, 0.75, 0.8)) for s in ("b:8", "c", "d")]
    right = fig3(Given([rows[0], undefined(rows[1]), rows[2]], MODELS)).axes[1]
    (line,) = lines(right, "PGR of a")
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]


def test_results_that_differ_in_their_recipe_are_two_lines() -> None:
    """Two training sizes in one store, joined to one zigzag."""
    rows = [
        row | {"recipe": recipe}
        for recipe in ("aaaaaaaa", "bbbbbbbb")
        for row in ROWS
        if row["method"] == "naive"
    ]
    axes = fig3(Given(rows, MODELS)).axes
    assert [ax.get_title(loc="left") for ax in axes[::2]] == [
        "naive [recipe aaaaaa]",
        "naive [recipe bbbbbb]",
    ]
    assert all(len(points(ax, "student of a")) == 2 for ax in axes[::2])


def test_fig8_places_agreement_by_student_and_place() -> None:
    """Agreement where the supervisor is right in the panel where it is wrong; the ceiling's as the student's."""
    rows = made.aggregate(("naive", "confidence"))
    data = Given(rows, made.MODELS, {"agreement": made.agreement(rows)})
    for ax, where in zip(fig8(data).axes, ("all", "supervisor right", "supervisor wrong"), strict=True):
        for arm, label in (("student", "confidence of minilm-l6"), ("ceiling", "ceiling and minilm-l6")):
            mine = [
                (made.MODELS[row["student"]]["flops_per_token"], row["value"])
                for row in data.analyses["agreement"]
                if (row["supervisor"], row["method"]) == ("minilm-l6", "confidence")
                and (row["measure"], row["arm"], row.get("where")) == ("agreement", arm, where)
            ]
            assert points(ax, label) == sorted(mine)


def test_fig21_keeps_easy_rows_and_random_rows_apart() -> None:
    """Training on random rows drawn as training on easy ones; judged difficulty as that by models."""
    rows = made.aggregate(("naive",))[1:2]
    kinds = ("easy-to-hard", "easy-to-hard:by=judged")
    data = Given(rows, made.MODELS, {kind: made.easy_to_hard(rows, kind) for kind in kinds})
    data = Given(
        rows, made.MODELS, data.analyses | {kinds[1]: [r | {"value": 0.1} for r in data.analyses[kinds[1]]]}
    )
    for ax, base in zip(fig21(data).axes, (0.7, 0.55), strict=True):
        student = "smollm2-135m:22 (probe)"
        found = points(ax, f"easy of {student}")
        assert found == [(c, pytest.approx(base + 0.02 * c - 0.04)) for c in (1, 2, 3)]
        assert [y for _, y in points(ax, f"random of {student}")] == [pytest.approx(base + 0.05)]
        assert [y for _, y in points(ax, f"ceiling of {student}")] == [pytest.approx(base + 0.08)]


def test_fig24_sets_a_student_against_the_accuracy_of_its_labels() -> None:
    """Axes swapped: the diagonal would say the opposite."""
    rows = made.derived_aggregate(("naive",))
    ax = fig24(Given(rows, made.MODELS)).axes[0]
    found = points(ax, "first-features smollm2-135m:22, naive")
    mine = [row for row in rows if row["supervisor"].startswith("first-features")]
    assert found == [(row["supervisor_score"], row["student_score"]) for row in mine]
    assert [x for x, _ in points(ax, "random-errors first features of smollm2-135m:22, naive")] == [
        0.62,
        0.7,
        0.78,
    ]


def test_misfit_and_gain_of_one_result_are_one_point() -> None:
    """The misfit of one method over the gain of another, or of another loss."""
    rows = made.aggregate(("naive", "confidence"))[:4]
    analysis = made.misfit(rows)
    for ax, loss in zip(
        misfit(Given(rows, {}, {"misfit": analysis})).axes, ("squared", "cross entropy"), strict=True
    ):
        for row in rows:
            own = [r for r in analysis if all(r[n] == row[n] for n in ("supervisor", "student", "method"))]
            value = {r["measure"]: r["value"] for r in own if r["loss"] == loss}
            label = f"{row['method']} of {row['supervisor']} → {row['student']}"
            assert points(ax, label) == [(value["misfit"], value["gain"])]


def test_reliability_is_accuracy_over_confidence() -> None:
    """Axes swapped: too sure would read as too unsure."""
    rows = made.aggregate(("naive",))[:1]
    ax = reliability(Given(rows, {}, {"calibration": made.calibration(rows)})).axes[0]
    found = points(ax, "student")
    assert len(found) == 9  # of ten bins one is empty
    assert all(y == pytest.approx(0.5 + 0.7 * (x - 0.5)) for x, y in found)


@pytest.mark.parametrize(("p", "text"), [(0.0, "<0.001"), (0.001, "0.001"), (1.0, ">0.999"), (None, "–")])
def test_p_values_are_never_a_bare_zero(p: float | None, text: str) -> None:
    """p = 0.000 claims what no test can show."""
    assert format_p(p) == text


def test_terminal_table_prints_each_row_whole() -> None:
    """Names eaten as markup ("[red]"), a PGR cut by an ellipsis at 100 columns."""
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(result_table([ROWS[0] | {"method": "[red]m"}, *ROWS[1:]]))
    text = console.export_text()
    assert "[red]m" in text
    for row in ROWS:
        assert format_pgr(row) in text
    assert text.count("undefined") == 2  # the row and the reason below
    assert REASON in text
    assert "…" not in text
    assert "<0.001" in text


def test_terminal_table_does_not_load_the_plotting_library() -> None:
    """`w2s results` took a second longer for a library that it does not use; torch must never come."""
    heavy = "[m for m in ('matplotlib', 'jinja2', 'torch') if m in sys.modules]"
    code = f"import sys, weakstrong.report.table; print({heavy})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    heavy = "[m for m in ('matplotlib.pyplot', 'torch') if m in sys.modules]"
    code = f"import sys, weakstrong.report.page; print({heavy})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
