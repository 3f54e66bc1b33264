"""Plans: how many steps cells mean, what is left to do, and what a plan says it will take."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weakstrong.cli.plan import estimate, missing, pieces_of, share, slots_of
from weakstrong.errors import ConfigError, UnknownNameError
from weakstrong.experiment import Experiment
from weakstrong.graph import Graph, closure
from weakstrong.machine import Machine
from weakstrong.methods.base import parse_method
from weakstrong.resources import Estimator, Need
from weakstrong.schedule import GROUP_LIMIT
from weakstrong.spec import Spec
from weakstrong.store import Step, Store
from weakstrong.training.spec import Runtime

MACHINE = Machine(cpus=4, gpus=0, memory=2**35, flops_per_second=1e11)


def experiment(
    supervisors: int, students: int, methods: int, seeds: int, regime: str = "probe"
) -> Experiment:
    """Axes of these sizes, on rungs of an embedded model that need not be here."""
    return Experiment.parse(
        {
            "task": "movie-snippets",
            "supervisors": [f"smollm2-135m:{i + 1}" for i in range(supervisors)],
            "students": [f"smollm2-135m:{i + 11}" for i in range(students)],
            "methods": ["naive", *(f"confidence:a_max={(i + 1) / 100}" for i in range(methods - 1))],
            "seeds": seeds,
            "regime": regime,
        }
    )


def planned(wanted: Experiment) -> list[Step]:
    """Scores and checks of all cells."""
    graph = Graph()
    cells = [graph.cell(cell) for cell in wanted.cells()]
    return [s for c in cells for s in (*c.scores(), c.check)]


axes = {"supervisors": st.integers(1, 4), "students": st.integers(1, 4), "methods": st.integers(1, 5)}


@given(seeds=st.integers(1, 3), regime=st.sampled_from(["probe", "finetune"]), **axes)
def test_steps_grow_as_they_should(
    supervisors: int, students: int, methods: int, seeds: int, regime: str
) -> None:
    """A ceiling made for every method, or rows dealt for every supervisor, multiplies the hours of a sweep."""
    wanted = experiment(supervisors, students, methods, seeds, regime)
    counts = Counter(step.name for step in closure(planned(wanted)))
    fits = seeds * (supervisors + students + supervisors * students * methods)
    assert len(wanted.cells()) == seeds * supervisors * students * methods
    assert counts.pop("probe" if regime == "probe" else "finetune") == fits
    assert counts.pop("score") == fits
    assert counts.pop("features", 0) == (supervisors + students if regime == "probe" else 0)
    # Of the supervisor, of the ceiling, of the test part.
    assert counts.pop("truth") == 3 * seeds
    assert counts == {"load": 1, "examples": 1, "twins": 1, "split": seeds, "check": seeds}


def test_thousands_of_cells_make_one_step_of_each_key() -> None:
    """The graph keeps steps by the identity of specs; an identity that is used again would mix up cells."""
    made = planned(experiment(5, 5, 20, 4))
    assert len({s.key for s in made}) == 4 * (5 + 5 + 5 * 5 * 20) + 4
    by_title = {(s.name, s.title): s.key for s in made}
    assert all(by_title[s.name, s.title] == s.key for s in made if s.name == "check")


def test_a_changed_copy_of_a_method_has_a_name_and_key_of_its_own() -> None:
    """Names and keys are kept once they are made; a copy that keeps them is another method's twin in the store."""
    method = parse_method("confidence:a_max=0.5")
    before = method.name, method.key()
    changed = method.model_copy(update={"a_max": 0.25})
    assert changed.name == "confidence:a_max=0.25"
    assert changed.key() != before[1]
    assert (method.name, method.key()) == before


# --- what is left, and in which pieces


class Named(Spec):
    """A step of a test."""

    kind: Literal["test-plan"] = "test-plan"
    number: int


def step(number: int, group: str = "", **inputs: Step) -> Step:
    return Step("s", 1, Named(number=number), inputs, "module:function", group)


def test_what_is_behind_a_stored_result_is_not_to_do() -> None:
    """Features that were removed to save space must not count as hours if no head needs them."""
    features = step(0)
    stored, wanted = step(1, features=features), step(2, features=features)
    assert missing([stored], {stored.key}) == {}
    assert set(missing([stored, wanted], {stored.key})) == {wanted.key, features.key}


@given(st.lists(st.sampled_from(["", "a", "b"]), max_size=700), st.integers(1, 8))
def test_pieces_are_the_needed_steps_each_once(groups: list[str], slots: int) -> None:
    """A step in two pieces is counted twice, a piece of two groups cannot be built, a huge one keeps others idle."""
    made = {s.key: s for s in (step(i, group) for i, group in enumerate(groups))}
    pieces = pieces_of(made, slots)
    assert sorted(s.key for piece in pieces for s in piece) == sorted(made)
    for piece in pieces:
        assert len({s.group for s in piece}) == 1
        assert len(piece) <= (GROUP_LIMIT if piece[0].group else 1)


@pytest.mark.parametrize(
    ("executor", "given", "slots", "packed"),
    [
        ("local", None, 1, False),
        ("process", None, 4, True),
        ("process:workers=2", None, 2, True),
        ("ray", None, 4, True),
        ("ray:address=auto", 50, 50, False),
        ("slurm:partition=gpu,jobs=30", None, 30, False),
        ("slurm", None, 200, False),
    ],
)
def test_slots_of_an_executor(executor: str, given: int | None, slots: int, packed: bool) -> None:
    """Wall time divided by the slots of another executor is a wrong promise."""
    assert slots_of(executor, MACHINE, given) == (slots, packed)


def test_unknown_executors_and_numbers_are_refused() -> None:
    """A typo must not be planned as something else."""
    with pytest.raises(UnknownNameError, match="process"):
        slots_of("proces", MACHINE, None)
    with pytest.raises(ConfigError, match="many"):
        slots_of("process:workers=many", MACHINE, None)


def test_a_step_on_all_cores_leaves_no_room_on_one_machine() -> None:
    """Four trainings that take four cores each do not run at once on four cores; on a cluster they do."""
    training = Need(cpus=4, gpus=0, memory=1, flops=1.0, seconds=1.0)
    table = Need(cpus=1, gpus=0, memory=2**34, flops=0.0, seconds=1.0)
    assert share(training, MACHINE, 4, packed=True) == 1
    assert share(training, MACHINE, 4, packed=False) == 0.25
    assert share(table, MACHINE, 4, packed=True) == 0.5  # half of the memory


# --- the whole estimate


@pytest.mark.parametrize("regime", ["probe", "finetune"])
def test_times_of_executors_agree(regime: str) -> None:
    """No executor is quicker than the critical path, and one slot takes as long as the work."""
    targets = planned(experiment(2, 2, 3, 2, regime))
    needed = missing(targets, set())

    def by(executor: str, slots: int | None = None) -> dict[str, Any]:
        return estimate(targets, needed, Estimator(None, Runtime(), MACHINE), executor, slots)

    local, pool, cluster = by("local"), by("process"), by("slurm", 1000)
    assert local["hours_wall"] == pytest.approx(local["hours"])
    assert pool["hours_critical"] <= pool["hours_wall"] <= pool["hours"] * (1 + 1e-9)
    assert cluster["hours_wall"] == cluster["hours_critical"] < local["hours"]
    path = local["critical_path"]
    assert path[0]["step"] == "load"
    assert path[-1]["step"] == "score"
    assert sum(s["hours"] for s in path) == pytest.approx(local["hours_critical"])
    kinds = local["kinds"]
    assert sum(row["hours"] for row in kinds.values()) == pytest.approx(local["hours"])
    model = kinds["features" if regime == "probe" else "finetune"]
    assert model["cpus"] == MACHINE.cpus
    assert model["memory"] > kinds["split"]["memory"]


def test_a_plan_says_what_it_rests_on_and_what_does_not_fit() -> None:
    """An hour that rests on a guess must not look like one that was measured."""
    targets = planned(experiment(1, 1, 1, 1, "finetune"))
    small = Machine(cpus=4, gpus=0, memory=2**30, flops_per_second=1e11)
    found = estimate(targets, missing(targets, set()), Estimator(None, Runtime(), small), "local")
    said = " ".join(found["rests_on"])
    assert "100 GFLOP/s" in said
    assert "128 tokens" in said
    assert "finetune may need more memory than the 1.0 GiB" in said
    on_gpu = Estimator(None, Runtime(device="cuda"), small)
    assert "a guess" in " ".join(estimate(targets, missing(targets, set()), on_gpu, "slurm")["rests_on"])


# --- the command


@pytest.fixture
def flags(tmp_path: Path, tiny_model: Callable[..., Path], rows: Callable[..., Any]) -> list[str]:
    """A small experiment on rows of a file."""
    import polars as pl

    texts, labels = rows(200, seed=1)
    frame = pl.DataFrame({"body": [f"{t} w{i % 50}" for i, t in enumerate(texts)], "stars": labels})
    frame.write_csv(tmp_path / "rows.csv")
    student = str(tiny_model("llama", layers=4))
    words = f"--task file:{tmp_path / 'rows.csv'} --text body --label stars --supervisor {student}::1 --student {student}"
    return [*words.split(), "--seeds", "2", "--method", "naive", "--store", str(tmp_path / "store")]


def say(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `w2s plan` prints."""
    from typer.main import get_command

    from weakstrong.cli.app import app

    get_command(app).main(["plan", *arguments], standalone_mode=False)
    return capsys.readouterr().out


def test_the_command_counts_what_is_left(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Planning twice, before and after some steps ran; the second plan must know them and what they say."""
    from weakstrong.schedule import run_steps

    before = json.loads(say(capsys, *flags, "--json", "--executor", "process"))
    assert all(row["to_do"] == row["total"] == row["to_do"] + row["stored"] for row in before["steps"])
    assert before["n_cells"] == len(before["cells"]) == 2
    plain = json.loads(say(capsys, *flags, "--json"))
    assert "executor" not in plain
    assert [set(row) for row in plain["steps"]] == [{"step", "total", "stored", "to_do"}] * len(
        plain["steps"]
    )

    (tmp_path / "store").mkdir()
    wanted = Experiment.parse(
        {
            "task": {"kind": "file", "path": str(tmp_path / "rows.csv"), "text": "body", "label": "stars"},
            "supervisors": [flags[flags.index("--supervisor") + 1]],
            "students": [flags[flags.index("--student") + 1]],
            "methods": ["naive"],
            "seeds": 2,
        }
    )
    graph = Graph()
    cells = [graph.cell(cell) for cell in wanted.cells()]
    supervisors = [cell.supervisor for cell in cells]
    quick = {s.name for s in closure(supervisors)} - {"probe", "score", "features"}
    ran = [s for s in closure(supervisors) if s.name in quick]
    assert not run_steps(ran, Store(tmp_path / "store")).failed
    after = {r["step"]: r for r in json.loads(say(capsys, *flags, "--json", "--executor", "local"))["steps"]}
    assert after["load"] == {"step": "load", "total": 1, "stored": 1, "to_do": 0}
    assert after["split"]["stored"] == 2
    assert after["score"]["to_do"] == after["score"]["total"] == 6
    assert after["features"]["flops"] < next(r for r in before["steps"] if r["step"] == "features")["flops"]


def test_the_command_speaks_plainly(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A reader must see that these are estimates, and the path that no cluster shortens."""
    said = say(capsys, *flags, "--executor", "slurm", "--slots", "7")
    assert "estimates, not promises" in said
    assert "with slurm, 7 at once" in said
    assert "critical path" in said
    assert "features: features of" in said


def test_threads_are_what_a_step_asks_for(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A number of threads that is read and then forgotten: finetuning would give other bits on every machine."""
    asked = {}
    for threads in ("1", "2"):
        said = json.loads(
            say(capsys, *flags, "--json", "--executor", "slurm", "--slots", "2", "--threads", threads)
        )
        asked[threads] = next(row["cpus"] for row in said["steps"] if row["step"] == "features")
    assert asked["1"] == 1
    assert asked["2"] == min(2, Machine.here().cpus)
