"""Keys: equal recipes agree everywhere, and whatever differs is seen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SerializeAsAny

import weakstrong
from weakstrong.analyses import ANALYSES, Analysis
from weakstrong.data import Split
from weakstrong.derived._errors import ErrorRule
from weakstrong.derived.base import DERIVED, Rule
from weakstrong.errors import ConfigError
from weakstrong.experiment import Cell, Experiment
from weakstrong.graph import Graph
from weakstrong.methods import METHODS, Method
from weakstrong.methods.confidence import Confidence
from weakstrong.methods.naive import Naive
from weakstrong.models import ModelSpec
from weakstrong.spec import Spec, canonical
from weakstrong.tasks import TASKS, parse_task
from weakstrong.training.spec import Finetune, Probe

ABSTRACT = (Method, Analysis, Rule, ErrorRule)
PACKAGE = Path(weakstrong.__file__).parent
GOLDEN = Path(__file__).parent / "golden" / "keys.json"

FIXED_CELL = """
from weakstrong.experiment import Cell
cell = Cell.parse({
    "task": {"kind": "movie-snippets", "min_mean": 0.5},
    "supervisor": {"name": "w", "source": "w", "weights": "0" * 64, "layers": 8},
    "student": {"name": "s", "source": "s", "weights": "f" * 64},
    "method": {"kind": "confidence", "a_max": 0.5},
    "seed": 3,
    "split": {"train_rows": 100, "validation_rows": 10, "test_rows": 50, "seed": 3},
    "supervisor_training": {"kind": "probe"},
    "student_training": {"kind": "finetune", "epochs": 1, "lora": {"rank": 4}},
})
"""


def fixed_cell() -> Cell:
    names: dict[str, Any] = {}
    exec(FIXED_CELL, names)
    cell = names["cell"]
    assert isinstance(cell, Cell)
    return cell


def all_specs() -> list[type[Spec]]:
    """Every concrete spec of the package."""
    for registry in (TASKS, METHODS, ANALYSES, DERIVED):
        for name in registry.names():
            registry.get(name)
    for path in PACKAGE.rglob("*.py"):
        if re.search(r"^class \w+\(\w*Spec\):", path.read_text(), re.M) and not path.name.startswith("_"):
            import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))

    def below(base: type[Spec]) -> Iterator[type[Spec]]:
        for child in base.__subclasses__():
            if child.__module__.startswith("weakstrong."):
                yield child
                yield from below(child)

    concrete = (cls for cls in below(Spec) if "kind" in cls.model_fields and cls not in ABSTRACT)
    return sorted(set(concrete), key=lambda cls: f"{cls.__module__}.{cls.__name__}")


SPECS = all_specs()
FIELDS = [pytest.param(cls, name, id=f"{cls.__name__}.{name}") for cls in SPECS for name in cls.model_fields]


@pytest.mark.parametrize(("cls", "name"), FIELDS)
def test_every_field_decides_the_key_unless_it_says_where(cls: type[Spec], name: str) -> None:
    """A field left out of the key (a default, an excluded one) would serve another recipe's result."""
    base = cls.model_construct(**dict.fromkeys(cls.model_fields, "x"))
    other = cls.model_construct(**(dict.fromkeys(cls.model_fields, "x") | {name: "y"}))
    assert (base.key() == other.key()) == (name in cls.located)


def test_kinds_are_unique_literals() -> None:
    """Two specs without other fields and with one kind would share a key."""
    kinds = [cls.model_fields["kind"].default for cls in SPECS]
    assert all(isinstance(kind, str) for kind in kinds)
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("cls", SPECS, ids=lambda cls: cls.__name__)
def test_located_names_are_fields(cls: type[Spec]) -> None:
    """A misspelt located name would let a path into the key unseen."""
    assert set(cls.located) <= set(cls.model_fields)


def test_same_key_in_another_process_with_another_hash_seed() -> None:
    """A key built on set order or `hash` would change with the process."""
    code = FIXED_CELL + "print(cell.key())"
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(PACKAGE.parent)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == fixed_cell().key()


def test_golden_keys() -> None:
    """A change of the canonical text orphans every stored result of every user; it must be meant."""
    cell = fixed_cell()
    made = Graph().cell(cell)
    found = {"cell": cell.key(), "supervisor_fit": made.supervisor_fit.key, "student_fit": made.student_fit.key,
             "ceiling_fit": made.ceiling_fit.key, "student": made.student.key}  # fmt: skip
    assert found == json.loads(GOLDEN.read_text())


def test_subclass_fields_survive_a_base_type() -> None:
    """pydantic drops a subclass's fields where a field has its base's type: all a_max would be one result."""
    cell = fixed_cell()
    values = cell.to_dict()
    values["method"] = values["method"] | {"a_max": 0.25}
    other = Cell.parse(values)
    assert other.key() != cell.key()
    assert '"a_max":0.5' in cell.canonical_json
    assert cell.to_dict()["method"]["a_max"] == 0.5
    assert Cell.parse(cell.to_dict()) == cell


def test_cell_key_ignores_names_and_places_of_models_only() -> None:
    """A moved model folder must not recompute; other weights must."""
    cell = fixed_cell()
    moved = cell.student.model_copy(update={"name": "t", "source": "/elsewhere"})
    retrained = cell.student.model_copy(update={"weights": "e" * 64})
    assert cell.model_copy(update={"student": moved}).key() == cell.key()
    assert cell.model_copy(update={"student": retrained}).key() != cell.key()


def test_a_copy_with_changes_has_its_own_key() -> None:
    """model_copy copies cached values too: every seed would silently have seed 0's split."""
    split = Split(seed=0)
    before = split.key()
    assert split.model_copy(update={"seed": 1}).key() == Split(seed=1).key() != before
    assert split.model_copy(update={"seed": 1}, deep=True).key() == Split(seed=1).key()


def test_asking_for_the_experiments_key_does_not_change_its_cells() -> None:
    """The same trap one level up: expansion after `key()` gave all seeds one split."""
    model = {"name": "m", "source": "m", "weights": "0" * 64}
    values = {"task": "movie-snippets", "supervisors": [model], "students": [model], "seeds": 3}
    fresh = Experiment.parse(values)
    fresh.key()
    Split().key()
    splits = {cell.split.key() for cell in fresh.cells()}
    assert splits == {Split(seed=s).key() for s in range(3)}


class Empty(Spec):
    kind: Literal["empty-a"] = "empty-a"


class AlsoEmpty(Spec):
    kind: Literal["empty-b"] = "empty-b"


class Holder(Spec):
    kind: Literal["holder"] = "holder"
    inner: SerializeAsAny[Spec]
    number: float = 1.0
    located: ClassVar[tuple[str, ...]] = ()


def test_specs_without_fields_differ_by_kind() -> None:
    """Two steps without parameters would be one."""
    assert Empty().key() != AlsoEmpty().key()
    assert Holder(inner=Empty()).key() != Holder(inner=AlsoEmpty()).key()
    assert "empty-a" in Holder(inner=Empty()).canonical_json


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_equal_floats_have_equal_keys(x: float) -> None:
    """0.0 and -0.0 are equal and print differently; 1 and 1.0 too."""
    assert Holder(inner=Empty(), number=x).key() == Holder(inner=Empty(), number=float(repr(x))).key()
    assert canonical(0.0 * x) == "0.0"
    if x.is_integer() and abs(x) < 2**53:
        assert (
            Holder.parse({"inner": Empty(), "number": int(x)}).key() == Holder(inner=Empty(), number=x).key()
        )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(JSON, JSON)
def test_canonical_is_json_and_tells_values_apart(a: Any, b: Any) -> None:
    """A canonical text that loses a type or a value makes two recipes one."""
    assert json.loads(canonical(a)) == a
    strict_a, strict_b = json.dumps(a, sort_keys=True), json.dumps(b, sort_keys=True)
    if "-0.0" not in strict_a + strict_b:
        assert (canonical(a) == canonical(b)) == (strict_a == strict_b)


@given(st.dictionaries(st.text("abc", max_size=3), st.integers(), min_size=2))
def test_order_of_a_mapping_does_not_matter(values: dict[str, int]) -> None:
    """A key that depends on the order of YAML lines recomputes for nothing."""
    assert canonical(values) == canonical(dict(reversed(values.items())))


@pytest.mark.parametrize(
    "value",
    [{1, 2}, frozenset(), object(), np.float64(0.5), np.float32(0.5), np.int64(1), np.bool_(True), np.zeros(2), b"x", 1j,
     {1: 2}, float("nan"), float("inf"), Path("x")],
    ids=lambda v: f"{type(v).__name__}-{v!r}"[:24] if type(v) is not object else "object",
)  # fmt: skip
def test_what_has_no_canonical_form_is_refused_with_its_path(value: object) -> None:
    """`str(object)` or a numpy scalar in a key differs between versions and processes."""
    with pytest.raises(ConfigError, match=re.escape("$.a[1]")):
        canonical({"a": [0, value]})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), "nan"])
def test_numbers_that_are_not_finite_are_refused(number: object) -> None:
    """NaN is not equal to itself, so its result would never be found again."""
    with pytest.raises(ConfigError, match="learning_rate"):
        Finetune.parse({"learning_rate": number})


def test_an_unknown_field_is_named_by_its_path() -> None:
    """A misspelt option that is ignored runs the wrong experiment."""
    values = fixed_cell().to_dict()
    values["student_training"]["lora"]["rnak"] = 8
    with pytest.raises(ConfigError) as caught:
        Cell.parse(values, "cell.json")
    assert re.search(
        r"cell\.json is not valid:\n  student_training\.finetune\.lora\.rnak: .*\(found '8'\)",
        str(caught.value),
    )


def test_every_bad_field_is_reported_at_once() -> None:
    """Mending a file one error per run is tedious."""
    with pytest.raises(ConfigError) as caught:
        Probe.parse({"epochs": 0, "batch_rows": "many", "learning_rte": 1})
    lines = str(caught.value).splitlines()[1:]
    assert {line.split(":")[0].strip() for line in lines} == {"epochs", "batch_rows", "learning_rte"}


def test_specs_are_frozen() -> None:
    """A field changed after its key was taken would be stored under the wrong key."""
    with pytest.raises(ValueError, match="frozen"):
        Naive().early_stop = False  # type: ignore[misc]


def test_an_explicit_default_is_the_default() -> None:
    """Writing a default out must not recompute; a default that is not hashed may change unseen."""
    assert Confidence(a_max=0.75).key() == Confidence().key()
    assert '"a_max":0.75' in Confidence().canonical_json


def test_json_round_trip_keeps_keys() -> None:
    """A cell's JSON is the whole truth about its numbers."""
    for spec in (fixed_cell(), Finetune(learning_rate=1e-5), parse_task("movie-snippets"),
                 ModelSpec(name="n", source="s", weights="w", layers=2)):  # fmt: skip
        assert type(spec).parse(json.loads(json.dumps(spec.to_dict()))).key() == spec.key()
