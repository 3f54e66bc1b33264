"""Experiments: short forms, round trips, mistakes named by their path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import weakstrong
from weakstrong.errors import ConfigError
from weakstrong.experiment import Cell, Experiment


def model(name: str, layers: int | None = None) -> dict[str, Any]:
    return {"name": name, "source": name, "weights": name * 8, "layers": layers}


WEAK, STRONG = model("weak"), model("strong")
BASE: dict[str, Any] = {"task": "movie-snippets", "supervisors": [WEAK], "students": [STRONG]}


def experiment(**changes: Any) -> Experiment:
    return Experiment.parse({k: v for k, v in (BASE | changes).items() if v is not None})


# --- reading


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    """Experiments over all axes, with floats and names that are awkward in YAML."""
    names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
    models = st.builds(
        model, st.sampled_from(["a", "b", "on", "1e3", "null", "ü: #"]), st.none() | st.integers(1, 40)
    )
    means = st.floats(0, 3.5, allow_subnormal=True)
    methods = st.sampled_from(["naive", "confidence"]) | st.builds(
        lambda a, w, last: {"kind": "combined", "parts": [
            {"kind": "confidence", "a_max": a, "warmup": w}, f"early-stop:on={last}",
        ]},
        st.floats(0, 1), st.floats(0, 1), st.sampled_from(["last", "weak"]),
    )  # fmt: skip
    trainings = st.builds(
        lambda lr, epochs: {"kind": "probe", "learning_rate": lr, "epochs": epochs},
        st.floats(1e-12, 1e12), st.integers(1, 10**6),
    ) | st.builds(
        lambda lr, lora: {"kind": "finetune", "learning_rate": lr, "lora": lora},
        st.floats(1e-12, 1), st.none() | st.builds(lambda r: {"rank": r}, st.integers(1, 64)),
    )  # fmt: skip

    def axis(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.lists(values, min_size=1, max_size=3, unique_by=repr))

    values = {
        "name": draw(names),
        "tasks": [{"kind": "movie-snippets", "min_mean": m} for m in axis(means)],
        "supervisors": axis(models | st.just("file")),
        "students": axis(models),
        "methods": axis(methods),
        "seeds": draw(
            st.integers(1, 5) | st.lists(st.integers(0, 2**31), min_size=1, max_size=4, unique=True)
        ),
        "split": {"train_rows": draw(st.none() | st.integers(2, 9999)), "test_seed": draw(st.integers(0, 9))},
        "supervisor_training": draw(trainings),
        "student_training": draw(trainings),
    }
    try:
        return Experiment.parse(values)
    except ConfigError as error:  # 0.0 twice, "naive" beside an equal mapping
        if "are the same" not in str(error):
            raise
        return experiment()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(experiments())
def test_yaml_python_and_json_round_trip(e: Experiment) -> None:
    """A recipe that is written out and read back must be the same experiment, to the last digit."""
    for again in (
        Experiment.from_yaml(e.to_yaml()),
        Experiment.parse(e.to_dict()),
        Experiment.parse(json.loads(json.dumps(e.to_dict()))),
        Experiment.model_validate(e),
    ):
        assert again == e
        assert again.key() == e.key()
        assert [c.key() for c in again.cells()] == [c.key() for c in e.cells()]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(experiments())
def test_a_cell_is_the_whole_truth(e: Experiment) -> None:
    """A cell built without validation must equal its validated JSON, or its key is a lie."""
    cells = e.cells()
    assert len({c.key() for c in cells}) == len(cells)
    for cell in cells[:6]:
        again = Cell.parse(json.loads(json.dumps(cell.to_dict())))
        assert again == cell
        assert again.key() == cell.key()
        assert cell.split.seed == cell.seed


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"seeds": 3}, {"seeds": [0, 1, 2]}),
        ({"methods": "naive"}, {"methods": ["naive"]}),
        ({"methods": "confidence:a_max=0.5,warmup=0.1"}, {"methods": [{"kind": "confidence", "a_max": 0.5, "warmup": 0.1}]}),
        ({"methods": ["naive", "confidence:a_max=0.5"]}, {"methods": [{"kind": "naive"}, {"kind": "confidence", "a_max": 0.5}]}),
        ({"supervisors": "file"}, {"supervisors": [{"kind": "file-labels"}]}),
        ({"supervisors": WEAK, "students": STRONG}, {"supervisors": [WEAK], "students": [STRONG]}),
        ({"students": "smollm2-135m:8, minilm-l6"}, {"students": ["smollm2-135m:8", "minilm-l6"]}),
        ({"task": {"kind": "movie-snippets", "min_mean": 1}}, {"task": None, "tasks": [{"kind": "movie-snippets", "min_mean": 1.0}]}),
        ({"regime": "finetune"}, {"supervisor_training": {"kind": "finetune"}, "student_training": {"kind": "finetune"}}),
        ({"regime": "finetune", "supervisor_training": {"kind": "probe"}}, {"student_training": {"kind": "finetune"}}),
        ({"train_rows": 10, "test_rows": 4}, {"split": {"train_rows": 10, "test_rows": 4}}),
        ({"split": {"seed": 0, "test_seed": 2}, "validation_rows": 5}, {"split": {"test_seed": 2, "validation_rows": 5}}),
    ],
)  # fmt: skip
def test_short_forms_mean_their_long_forms(short: dict[str, Any], long: dict[str, Any]) -> None:
    """A short form that is ignored or read otherwise runs another experiment."""
    assert experiment(**short) == experiment(**long)
    assert experiment(**short).key() == experiment(**long).key()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"student": "x"}, r"^  student: Extra inputs"),
        ({"student_training": {"kind": "finetune", "lora": {"rnk": 1}}}, r"student_training\.finetune\.lora\.rnk"),
        ({"student_training": {"kind": "prob"}}, r"student_training: .*'probe', 'finetune'"),
        ({"split": {"train_row": 5}}, r"split\.train_row: "),
        ({"split": 5, "train_rows": 5}, r"split is a mapping"),
        ({"task": {"kind": "movie-snippets", "min_meen": 1}}, r"tasks\.0: task movie-snippets is not valid:\n *min_meen"),
        ({"task": "movie-snipets"}, r"tasks\.0: unknown task 'movie-snipets': did you mean movie-snippets or "),
        ({"methods": ["naive", "confidense"]}, r"methods: unknown method 'confidense': did you mean confidence"),
        ({"methods": "confidence:a_max=2"}, r"methods: method confidence is not valid:\n *a_max: .*less than or equal to 1"),
        ({"methods": "confidence:0.5"}, r"'0\.5' is not parameter=value"),
        ({"students": "smollm2-135m:99"}, r"students\.0: .*rung is from 1 to 30"),
        ({"students": [STRONG, 7]}, r"students\.1: a model is a name"),
        ({"seeds": 0}, r"seeds: seeds is a number of seeds from 1"),
        ({"seeds": True}, r"seeds: "),
        ({"seeds": [0, "x"]}, r"seeds\.1: .*valid integer"),
        ({"seeds": [0, -1]}, r"seeds\.1: .*greater than or equal to 0"),
        ({"seeds": []}, r"seeds: "),
        ({"methods": []}, r"methods: "),
        ({"regime": "probing"}, r"regime is probe or finetune, found 'probing'"),
        ({"regime": ["probe"]}, r"regime is probe or finetune, found \['probe'\]"),
        ({"tasks": ["movie-snippets"]}, r"give task or tasks, not both"),
        ({"task": None}, r"tasks: Field required"),
        ({"test_rows": "many"}, r"split\.test_rows: .*valid integer.*'many'"),
    ],
)  # fmt: skip
def test_mistakes_are_named_by_their_path(changes: dict[str, Any], words: str) -> None:
    """A mistake that passes runs for hours; a traceback from inside a validator names no field."""
    values = {k: v for k, v in (BASE | changes).items() if v is not None}
    with pytest.raises(ConfigError, match=f"(?m){words}"):
        Experiment.parse(values)


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": [1, 2, 1]},
        {"methods": ["confidence", "confidence:a_max=0.75"]},
        {"students": [STRONG, STRONG | {"name": "alias", "source": "elsewhere"}]},
        {"students": ["smollm2-135m", "smollm2-135m:30"]},
        {"task": None, "tasks": ["movie-snippets", {"kind": "movie-snippets", "min_mean": 0.5}]},
    ],
)
def test_twins_on_an_axis_are_refused(changes: dict[str, Any]) -> None:
    """One recipe under two names counts twice in every mean."""
    with pytest.raises(ConfigError, match="are the same; name each once"):
        experiment(**changes)


def test_text_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    """A YAML error should name the file."""
    (tmp_path / "e.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match=r"e\.yaml is not YAML"):
        Experiment.from_file(tmp_path / "e.yaml")
    with pytest.raises(ConfigError, match="holds list, a mapping"):
        Experiment.from_yaml("- a")
    with pytest.raises(ConfigError, match=r"missing\.yaml does not exist"):
        Experiment.from_file(tmp_path / "missing.yaml")


def test_ten_thousand_cells_are_planned_without_torch() -> None:
    """Planning is what `w2s plan` and every hit of a finished sweep pay for; seconds, not a torch import."""
    code = f"""
import sys, time
from weakstrong.experiment import Experiment
from weakstrong.graph import Graph
e = Experiment.parse({BASE!r} | {{
    "supervisors": [dict(name=f"w{{i}}", source="w", weights=f"w{{i}}") for i in range(10)],
    "students": [dict(name=f"s{{i}}", source="s", weights=f"s{{i}}") for i in range(10)],
    "methods": [dict(kind="confidence", a_max=i / 10) for i in range(10)],
    "seeds": 10,
}})
start = time.perf_counter()
graph = Graph()
keys = {{score.key for cell in e.cells() for score in graph.cell(cell).scores()}}
assert len(keys) == 10_000 + 100 + 100, len(keys)
assert time.perf_counter() - start < 6, time.perf_counter() - start
print(*sorted({{"torch", "transformers", "datasets", "polars"}} & set(sys.modules)))
"""
    env = os.environ | {"PYTHONPATH": str(Path(weakstrong.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
