"""Every recipe means what its header says: it parses, its figure exists, and small ones stay small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from weakstrong.experiment import experiments_in
from weakstrong.report.figures import FIGURES

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))
OF_FIGURES = [path for path in RECIPES if path.name.startswith("fig")]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_parses_and_its_header_names_its_command(path: Path) -> None:
    """A renamed method or field breaks a recipe in silence until someone waits an hour for it."""
    experiments = experiments_in(path)
    assert all(experiment.cells() for experiment in experiments)
    assert len({experiment.name for experiment in experiments}) == len(experiments)
    assert f"w2s run recipes/{path.name}" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", OF_FIGURES, ids=lambda path: path.stem)
def test_a_recipe_of_a_figure_lists_what_the_figure_draws(path: Path) -> None:
    """A recipe of Fig. 8 without agreement: the run ends, the figure has nothing to draw."""
    found = re.match(r"fig0?(\d+)_", path.name)
    assert found
    entry = FIGURES.get(f"fig{found[1]}")
    listed = {analysis.kind for experiment in experiments_in(path) for analysis in experiment.analyses}
    # Fig. 26 has the recipe of Fig. 25 and an analysis more
    assert set(entry.analyses) <= listed


def test_figures_name_recipes_that_exist() -> None:
    """Advice to run a file that is not there."""
    for name in FIGURES.names():
        for recipe in re.findall(r"recipes/\w+\.yaml", FIGURES.get(name).needs):
            number = re.search(r"fig(\d+)", recipe)
            assert number
            ours = {int(path.name[3:5]) for path in OF_FIGURES}
            if int(number[1]) in ours:
                assert Path(recipe).name in {path.name for path in RECIPES}, (name, recipe)
