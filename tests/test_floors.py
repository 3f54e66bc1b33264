"""The floors of the house: a file imports only from floors below its own; planning needs no torch."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import weakstrong

PACKAGE = Path(weakstrong.__file__).parent

# From the ground up. Files of one floor may import each other; a name covers everything below it unless a longer one does.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("redact", "errors"),
    ("spec", "parameters"),
    ("registry",),
    ("sources", "downloads", "archives", "pypi_index"),
    (
        "store",
        "store_place",
        "store_records",
        "store_steps",
        "store_notes",
        "store_locks",
        "store_cache",
        "store_remote",
        "store_care",
        "store_garbage",
        "store_bundle",
    ),
    (
        *(
            "stats",
            "intervals",
            "resampling",
            "calibration",
            "across_tasks",
            "over_tasks",
            "prompting",
            "raters",
        ),
        "difficulty",
    ),
    ("data", "leaks", "twins"),
    ("tasks", "models", "training.spec", "methods", "derived"),
    ("supervisors",),
    ("training",),
    ("steps", "steps_easy"),
    ("work", "notes", "stopping"),
    ("build", "team", "worker"),
    ("builders",),
    ("analyses", "controls", "selection", "experiment", "graph"),
    ("machine", "facts", "resources"),
    ("executors",),
    ("schedule",),
    ("report",),
    ("remembered", "results", "results_page", "cautions", "ledger", "explorer", "predict"),
    ("trackers",),
    ("api", "train", "serve", "cli", "__init__"),
)
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


NAMES = {name_of(path) for path in FILES}


def floor(module: str) -> int:
    """The floor of ``module`` (named without the package), by its longest listed prefix."""
    found = [
        (len(name), level)
        for level, names in enumerate(FLOORS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    assert found, (
        f"weakstrong/{module.replace('.', '/')}.py stands on no floor; give it one in tests/test_floors.py"
    )
    return max(found)[1]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import of this package, at the top and inside functions."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "weakstrong":
                    yield node.lineno, alias.name.partition(".")[2] or "__init__"
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                base = (
                    package.split(".")[: len(package.split(".")) - node.level + 1]
                    if package != "__init__"
                    else []
                )
                source = ".".join(["weakstrong", *filter(None, base), *([source] if source else [])])
            if source.partition(".")[0] != "weakstrong":
                continue
            module = source.partition(".")[2]
            for alias in node.names:
                inner = f"{module}.{alias.name}".lstrip(".")
                yield node.lineno, inner if inner in NAMES else module or "__init__"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_imports_only_from_floors_below(path: Path) -> None:
    """An import upwards ties knots: the store that knows experiments cannot be understood, tested or reused alone."""
    own = floor(name_of(path))
    wrong = [f"{path.name}:{line} imports {module}" for line, module in imports(path) if floor(module) > own]
    assert not wrong, wrong


def test_the_reader_of_imports_sees_every_form(tmp_path: Path) -> None:
    """A test of floors that overlooks `from weakstrong import x` or an import in a function proves nothing."""
    found = {module for _, module in imports(PACKAGE / "experiment.py")}
    assert {"steps", "data", "errors", "training.spec"} <= found
    inside = {module for _, module in imports(PACKAGE / "models" / "_weights.py")}
    assert {"sources", "models._load"} <= inside
    assert all(any(floor(n) == level for n in NAMES) for level in range(len(FLOORS)))


def test_methods_cannot_reach_rows() -> None:
    """A method that could open the store, a task or a split could look at ground truth."""
    allowed = {"methods", "registry", "spec", "errors", "parameters", "training.spec", "models.base"}
    for path in (PACKAGE / "methods").glob("*.py"):
        reached = {module for _, module in imports(path)}
        assert all(m in allowed or m.startswith("methods.") for m in reached), (path.name, reached)


def test_students_training_cannot_reach_ground_truth() -> None:
    """Training code gets arrays; it must not know tasks, stores or splits."""
    for path in (PACKAGE / "training").glob("*.py"):
        reached = {module.partition(".")[0] for _, module in imports(path)}
        assert not reached & {"tasks", "store", "data", "steps", "builders"}, (path.name, reached)


HEAVY = {"torch", "transformers", "datasets", "accelerate", "peft", "matplotlib", "polars", "huggingface_hub"}


@pytest.mark.parametrize(
    "module",
    ["weakstrong", "weakstrong.experiment", "weakstrong.stats", "weakstrong.store", "weakstrong.executors.local",
     "weakstrong.tasks", "weakstrong.models", "weakstrong.methods.confidence", "weakstrong.cli"],
)  # fmt: skip
def test_importing_needs_no_torch(module: str) -> None:
    """`w2s plan` and a shell completion must not take seconds."""
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    env = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
