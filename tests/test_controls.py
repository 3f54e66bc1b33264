"""Controls: which cells they are, what they should show, and the words for what they do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from weakstrong import stats
from weakstrong.cli.app import app
from weakstrong.controls import CONTROLS, controls
from weakstrong.experiment import Experiment
from weakstrong.graph import Graph
from weakstrong.methods import METHODS
from weakstrong.results import collect
from weakstrong.store import Store

BASE: dict[str, Any] = {
    "task": "movie-snippets",
    "supervisors": ["minilm-l6"],
    "students": ["smollm2-135m:22"],
}


def axes(**changes: Any) -> list[tuple[str, str, str]]:
    cells = Experiment.parse(BASE | {"seeds": 2, "controls": True} | changes).cells()
    found = [(c.supervisor.name, c.student.name, c.method.name) for c in cells if c.seed == 0]
    assert len(cells) == 2 * len(found) == 2 * len(set(found))
    for cell in cells:
        Graph().cell(cell)  # refuses what does not go together
    return found


def test_controls_are_ordinary_cells_behind_those_asked_for() -> None:
    """A control that is forgotten, comes twice, or moves the cells that were asked for."""
    asked = axes(methods=["confidence"], controls=False)
    m, s = "minilm-l6", "smollm2-135m:22"
    assert axes(methods=["confidence"]) == [
        *asked, (m, s, "naive"), (f"shuffled:{m}", s, "naive"), (f"random-errors:{m}", s, "naive"),
        (m, s, "trivial-imitation"), (m, s, "zero-shot"), (s, s, "naive"),
    ]  # fmt: skip
    given = axes(
        methods=["naive", "zero-shot", "trivial-imitation"],
        supervisors=["minilm-l6", "shuffled:minilm-l6", "smollm2-135m:22", "raters:3"],
    )
    assert len(given) == len(set(given))
    assert sum(x[0].startswith("raters") for x in given) == 3
    assert ("random-errors:smollm2-135m:22", s, "naive") in given


def test_what_a_student_cannot_do_is_no_control() -> None:
    """An encoder cannot be asked, comparisons have no classes: a refused cell would stop the whole experiment."""
    assert not any(method == "zero-shot" for _, _, method in axes(students="minilm-l6"))
    pairs = axes(task={"kind": "hh-rlhf"}, students="smollm2-135m:12")
    assert {method for _, _, method in pairs} == {"naive", "confidence"}
    assert any(supervisor.startswith("shuffled:") for supervisor, _, _ in pairs)


def row(supervisor: str, method: str, **numbers: Any) -> dict[str, Any]:
    names = {"task": "t", "student": "b", "regime": "probe", "recipe": "r", "n_seeds": 5}
    empty = dict.fromkeys(f"{x}{end}" for x in ("pgr", "gain") for end in ("", "_low", "_high"))
    scores = {"student_score": 0.8, "student_low": None, "student_high": None}
    return names | empty | scores | {"supervisor": supervisor, "method": method} | numbers


def around(name: str, value: float, half: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


NAIVE = row("a", "naive", **around("pgr", 0.4, 0.1), student_score=0.8, student_low=0.78, student_high=0.82)


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (row("shuffled:a", "naive", **around("pgr", -0.1, 0.2)), "as expected"),
        (row("shuffled:a", "naive", **around("pgr", 0.0, 0.3)), "undecided"),
        (row("shuffled:a", "naive", **around("pgr", 0.2, 0.1)), "not as expected"),
        (row("shuffled:a", "naive"), "undecided"),
        (row("random-errors:a", "naive", **around("pgr", 0.8, 0.1)), "as expected"),
        (row("random-errors:a", "naive", **around("pgr", 0.5, 0.1)), "undecided"),
        (row("random-errors:a", "naive", **around("pgr", 0.1, 0.1)), "not as expected"),
        (row("random-errors:c", "naive", **around("pgr", 0.8, 0.1)), "undecided"),
        (row("a", "trivial-imitation", **around("pgr", 0.01, 0.1)), "as expected"),
        (row("a", "trivial-imitation+confidence", **around("pgr", 0.046, 0.108)), "as expected"),
        (row("a", "trivial-imitation", **around("pgr", 0.0, 0.3)), "undecided"),
        (row("a", "trivial-imitation", **around("pgr", 0.3, 0.1)), "not as expected"),
        (row("a", "trivial-imitation", **around("pgr", -0.3, 0.1)), "not as expected"),
        (row("a", "zero-shot", student_score=0.6, student_low=0.58, student_high=0.62), "as expected"),
        (row("a", "zero-shot", student_score=0.79, student_low=0.77, student_high=0.81), "undecided"),
        (row("a", "zero-shot", student_score=0.9, student_low=0.88, student_high=0.92), "not as expected"),
        (row("b", "naive", **around("gain", 0.0, 0.005)), "as expected"),
        (row("b", "naive", **around("gain", -0.2, 0.01)), "as expected"),
        (row("b", "naive", **around("gain", 0.01, 0.04)), "undecided"),
        (row("b", "naive", **around("gain", 0.05, 0.01)), "not as expected"),
    ],
)  # fmt: skip
def test_verdicts(one: dict[str, Any], verdict: str) -> None:
    """An experiment that fails its control and is told all is well, or a wide interval that passes for a proof."""
    found = [
        x
        for x in controls([one, NAIVE])
        if (x["supervisor"], x["method"]) == (one["supervisor"], one["method"])
    ]
    assert [x["verdict"] for x in found] == [verdict]
    assert found[0]["control"] in CONTROLS


def test_only_controls_are_judged() -> None:
    """Confidence on shuffled labels has no known outcome; nor has a supervisor of another rule."""
    others = [
        row("shuffled:a", "confidence"),
        row("longest-errors:a", "naive"),
        row("a", "confidence"),
        NAIVE,
    ]
    assert controls(others) == []


def test_a_run_with_controls_says_what_they_show(
    tmp_path: Path, tiny_model: Callable[..., Path], rows: Callable[..., Any]
) -> None:
    """Controls that run and that nobody is told of; a control's p-value among those of methods."""
    texts, labels = rows(420)
    pl.DataFrame({"text": texts, "label": labels}).write_csv(tmp_path / "rows.csv")
    model = str(tiny_model("llama", layers=4))
    probe = "{kind: probe, epochs: 4, features: {dtype: float32}}"
    (tmp_path / "e.yaml").write_text(
        f"task: {{kind: file, path: {tmp_path / 'rows.csv'}}}\nsupervisors: ['{model}::1']\nstudents: ['{model}']\n"
        f"supervisor_training: {probe}\nstudent_training: {probe}\n"
    )
    store = str(tmp_path / "store")
    flags = ["--train-rows", "100", "--validation-rows", "30", "--test-rows", "80", "--seeds", "1"]
    done = CliRunner().invoke(
        app, ["run", str(tmp_path / "e.yaml"), *flags, "--controls", "--store", store, "--json"]
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert {c["control"] for c in said["controls"]} == set(CONTROLS)
    found = collect(Store(store))
    assert found.controls == said["controls"]
    by_name = {(r["supervisor"].partition(":")[0], r["method"]): r for r in found.aggregate}
    assert by_name["random-errors", "naive"]["uses_ground_truth"]
    assert not by_name["shuffled", "naive"]["uses_ground_truth"]
    compared = {r["method"] for r in found.aggregate if r["p_vs_naive"] is not None}
    assert compared == {"confidence", "zero-shot"}
    same = next(r for r in found.aggregate if r["supervisor"] == r["student"])
    assert same["gain"] == pytest.approx(same["student_score"] - same["supervisor_score"])
    assert same["gain_low"] <= same["gain"] <= same["gain_high"]
    assert all(r["gain"] is None for r in found.aggregate if r is not same)
    shown = CliRunner().invoke(app, ["results", "--controls", "--store", store])
    assert "PGR at most 0" in " ".join(shown.stdout.split())


def test_a_gain_is_paired_over_rows_and_seeds() -> None:
    """Two unpaired intervals of equal models are far wider than that of their difference."""
    rng = np.random.default_rng(0)
    weak_SN = rng.random((5, 500)) < 0.8
    strong_SN = weak_SN ^ (rng.random((5, 500)) < 0.02)
    found = stats.ratio_interval(strong_SN.astype(float) - weak_SN)
    boot = []
    for _ in range(2000):
        block = np.ix_(rng.integers(0, 5, 5), rng.integers(0, 500, 500))
        boot.append(strong_SN[block].mean() - weak_SN[block].mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(boot, [0.025, 0.975]).tolist(), abs=0.003)


def test_every_method_that_tells_is_left_out_of_comparisons() -> None:
    """A method that sets a hint is a control, whatever its name."""
    telling = [n for n in METHODS.names() if METHODS.get(n)().hint is not None]
    assert telling == ["trivial-imitation"]


RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.mark.parametrize(
    "name", ["controls", "fig24_simulation", "fig25_error_structure", "fig27_trivial_imitation"]
)
def test_recipes_can_be_planned(name: str) -> None:
    """A recipe with a name that nothing has any more, found by whoever wants the figure."""
    cells = Experiment.from_file(RECIPES / f"{name}.yaml").cells()
    graph = Graph()
    assert len({graph.cell(cell).student.key for cell in cells}) > 5
    assert {cell.seed for cell in cells} == set(range(5))
