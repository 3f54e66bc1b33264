"""The graph behind each cell, in which no student can reach ground truth."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from weakstrong.data import Part, Split
from weakstrong.derived import DERIVED
from weakstrong.errors import ConfigError
from weakstrong.experiment import Cell, Experiment
from weakstrong.graph import Graph, closure
from weakstrong.methods import METHODS
from weakstrong.models import ModelSpec
from weakstrong.steps import ORACLE, READERS_OF_LOAD, SEALED
from weakstrong.store import Step
from weakstrong.supervisors import FileLabels, uses_ground_truth
from weakstrong.training.spec import Finetune, Probe


def model(name: str, layers: int | None = None) -> dict[str, Any]:
    return {"name": name, "source": name, "weights": name * 8, "layers": layers}


WEAK, STRONG = model("weak"), model("strong")
BASE: dict[str, Any] = {"task": "movie-snippets", "supervisors": [WEAK], "students": [STRONG]}


def experiment(**changes: Any) -> Experiment:
    return Experiment.parse({k: v for k, v in (BASE | changes).items() if v is not None})


LADDER = {"supervisors": "smollm2-135m:8", "students": "smollm2-135m:22"}
FINETUNE_ONLY = {"lora", "lp-ft"}
MIXED = [
    "calibrated+threshold+confidence",
    "generative+bootstrapping:through=smollm2-135m:12+confidence",
    "generative:supervisor=true",
    "bootstrapping:fresh=true+early-stop:on=last",
    "consistency+ema",
]
RULES = [f"{name}:smollm2-135m:8" for name in DERIVED.names()] + [
    "random-errors:first-features:k=8:smollm2-135m:22",
    "shuffled:random-errors:smollm2-135m:8",
    "longest-errors:file",
    "first-features:share=0.1:smollm2-135m:22",
]
ORACLES = ["early-stop:on=oracle", "confidence+early-stop:on=oracle", "few-shot:labels=truth"]


def all_cells() -> Iterator[Cell]:
    """Every registered method and some together in both regimes, with model supervisors and weak labels of a file."""
    for regime in ("probe", "finetune"):
        methods = [n for n in METHODS.names() if regime == "finetune" or n not in FINETUNE_ONLY]
        for supervisors in ("smollm2-135m:8", "file"):
            more = [m for m in MIXED if supervisors != "file" or "supervisor=true" not in m]
            axes: dict[str, Any] = LADDER | {
                "supervisors": supervisors,
                "methods": [*methods, *more, *ORACLES],
            }
            yield from experiment(**axes, regime=regime, seeds=1).cells()
        told = ["naive", "bootstrapping:fresh=true+trivial-imitation+confidence"]
        axes = LADDER | {"supervisors": RULES, "methods": [*told, "early-stop:on=oracle"]}
        yield from experiment(**axes, student_training={"kind": regime}, seeds=1).cells()


CELLS = list(all_cells())


def paths_to(step: Step, name: str) -> Iterator[list[Step]]:
    """Every path of steps from ``step`` down to a step called ``name``."""
    if step.name == name:
        yield [step]
    for child in step.inputs.values():
        for path in paths_to(child, name):
            yield [step, *path]


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: "-".join(map(str, c.identity().values())))
def test_a_student_never_reads_ground_truth(cell: Cell) -> None:
    """The result is worthless if a student, or its early stopping, can see the truth it is scored on.

    What makes weak labels is the supervisor's side: models trained on its own half, `calibrate`, and `derive`, which
    reads the truth of the student's rows to place errors. A cell with it is marked, as an oracle is, and all that comes
    out of it is class probabilities.
    """
    made, own = Graph().cell(cell), {Part.WEAK_TRAIN, Part.WEAK_VALIDATION}
    supervision = {step.key for step in closure([made.supervisor_fit])}
    beyond, placed = False, False
    for path in paths_to(made.student_fit, "truth"):
        unsealed, by = set(path[-1].spec.parts), path[-2]  # type: ignore[attr-defined]
        if by.name == "derive":
            placed = True
            assert by.key in supervision
        elif unsealed <= own:
            assert by.key in supervision or by.name == "calibrate", [s.name for s in path]
        else:
            beyond = True
            assert by == made.student_fit or by.inputs[ORACLE] == path[-1], [s.name for s in path]
    assert beyond == cell.method.uses_ground_truth == (cell.method.name in ORACLES)
    supervisor = cell.supervisor.name
    assert placed == uses_ground_truth(cell.supervisor) == ("-errors:" in supervisor)
    assert cell.uses_ground_truth == (beyond or placed)
    for step in closure([made.student_fit]):
        for role, child in step.inputs.items():
            if child.name == "load":
                assert step.name in READERS_OF_LOAD, (step.name, role)
            if child.name in SEALED and step.key not in supervision and step.name != "calibrate":
                assert step.name in READERS_OF_LOAD or cell.method.uses_ground_truth, (step.name, role)
            if child.name == "derive":
                assert role == "labels", (step.name, role)
        if step.key in supervision and step.name in ("probe", "finetune"):
            # Whatever labels were made from: it has learnt from the supervisor's half alone.
            assert step.spec.train_part == Part.WEAK_TRAIN  # type: ignore[attr-defined]
            assert set(step.inputs["labels"].spec.parts) == own  # type: ignore[attr-defined]
    spec: Any = made.student_fit.spec
    if made.student_fit.name in ("probe", "finetune"):
        assert spec.train_part == Part.TRANSFER
        assert spec.validation_part == (Part.TEST if cell.method.uses_ground_truth else Part.VALIDATION)
        assert (ORACLE in made.student_fit.inputs) == cell.method.uses_ground_truth


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("lora", "needs --regime finetune"), ("lp-ft", "needs --regime finetune"),
        ("zero-shot", "needs a decoder, minilm-l6 is an encoder"), ("generative", "needs a decoder"),
        ("bootstrapping:rounds=30", "leaves no room for 30 rungs"),
    ],
)  # fmt: skip
def test_methods_that_do_not_fit_are_refused_while_planning(method: str, words: str) -> None:
    """Found out by the student's training, an hour of supervisors is spent already."""
    student = "minilm-l6" if "decoder" in words else "smollm2-135m:22"
    cell = experiment(supervisors="smollm2-135m:8", students=student, methods=[method], seeds=1).cells()[0]
    with pytest.raises(ConfigError, match=words):
        Graph().cell(cell)


def test_bootstrapping_goes_through_rungs_in_between() -> None:
    """A chain that starts below the supervisor, or labels with the wrong link, is another method."""
    cell = experiment(**LADDER, methods=["bootstrapping"], seeds=1).cells()[0]
    made = Graph().cell(cell)
    chain, step = [], made.student_fit
    while step != made.supervisor_fit:
        chain.append(step.inputs["features"].spec.model.layers)  # type: ignore[attr-defined]
        step = step.inputs["labels"]
    assert chain == [22, 17, 13]


def test_zero_shot_is_asked_once_for_all_seeds() -> None:
    """Nothing of it depends on the seed but the name of the split: five seeds asked the same five times."""
    cells = experiment(**LADDER, methods=["zero-shot", "few-shot"], seeds=3).cells()
    made = [Graph().cell(cell) for cell in cells]
    assert len({m.student_fit.key for m in made[:3]}) == 1
    assert len({m.student_fit.key for m in made[3:]}) == 3
    assert len({m.student.inputs["truth"].key for m in made}) == 3


def test_generative_tunes_student_and_ceiling_alike() -> None:
    """Against a ceiling that was not tuned, PGR rises with no better generalisation (paper, Fig. 18)."""
    for method, tuned in [("generative", [False, True, True]), ("generative:ceiling=false", [False, True, False]),
                          ("generative:supervisor=true", [True, True, True])]:  # fmt: skip
        cell = experiment(**LADDER, methods=[method], seeds=1).cells()[0]
        made = Graph().cell(cell)
        fits = (made.supervisor_fit, made.student_fit, made.ceiling_fit)
        assert ["start" in fit.inputs["features"].inputs for fit in fits] == tuned


@pytest.mark.parametrize("cell", CELLS[::4], ids=lambda c: "-".join(map(str, c.identity().values())))
def test_supervisor_and_ceiling_see_their_own_half(cell: Cell) -> None:
    """A supervisor trained on transfer rows labels what it has seen; a ceiling on other rows is no ceiling."""
    made = Graph().cell(cell)
    ceiling = made.ceiling_fit
    assert set(ceiling.inputs["labels"].spec.parts) == {Part.TRANSFER, Part.VALIDATION}  # type: ignore[attr-defined]
    assert ceiling.spec.train_part == Part.TRANSFER  # type: ignore[attr-defined]
    assert ceiling.spec.method.name == "naive"  # type: ignore[attr-defined]
    if made.student_fit.name != "prompt" and cell.method.hint is None:
        roles = {"split", "features", "examples", "start"} & set(ceiling.inputs)
        assert {k: ceiling.inputs[k].key for k in roles} == {k: made.student_fit.inputs[k].key for k in roles}
    assert not any(step.name == "hint" for step in closure([ceiling, made.supervisor_fit]))
    if made.supervisor_fit.name not in ("weak_labels", "derive"):
        spec: Any = made.supervisor_fit.spec
        assert (spec.train_part, spec.validation_part) == (Part.WEAK_TRAIN, Part.WEAK_VALIDATION)
        assert spec.method.name == "naive"
        assert set(made.supervisor_fit.inputs["labels"].spec.parts) == {Part.WEAK_TRAIN, Part.WEAK_VALIDATION}  # type: ignore[attr-defined]
    for score in made.scores():
        assert score.inputs["truth"].spec.parts == (Part.TEST,)  # type: ignore[attr-defined]
    assert len({s.inputs["truth"].key for s in made.scores()}) == 1


def test_supervisors_and_ceilings_are_shared_between_cells() -> None:
    """Training the same ceiling once per method costs the whole budget."""
    e = experiment(supervisors=[model("a"), model("b")], students=[model("c"), model("d")], seeds=2)
    graph = Graph()
    made = [graph.cell(cell) for cell in e.cells()]
    assert len(made) == 16
    assert len({m.supervisor_fit.key for m in made}) == 2 * 2
    assert len({m.ceiling_fit.key for m in made}) == 2 * 2
    assert len({m.student_fit.key for m in made}) == 16
    count: dict[str, int] = {}
    for step in closure([s for m in made for s in m.scores()]):
        count[step.name] = count.get(step.name, 0) + 1
    assert count == {
        "load": 1,
        "examples": 1,
        "split": 2,
        "truth": 6,
        "features": 4,
        "probe": 24,
        "score": 24,
    }


def test_methods_change_the_student_only() -> None:
    """A method that moved the supervisor or ceiling would compare two things at once."""
    one, two = (Graph().cell(c) for c in experiment(seeds=1).cells())
    assert one.supervisor.key == two.supervisor.key
    assert one.ceiling.key == two.ceiling.key
    assert one.student.key != two.student.key


def test_each_side_has_its_own_training() -> None:
    """A student's training guessed from the supervisor's (or the reverse) is another experiment."""
    made = Graph().cell(
        experiment(student_training=Finetune(epochs=1), supervisor_training=Probe(epochs=3)).cells()[0]
    )
    assert made.supervisor_fit.name == "probe"
    assert made.supervisor_fit.spec.training == Probe(epochs=3)  # type: ignore[attr-defined]
    assert made.student_fit.name == made.ceiling_fit.name == "finetune"
    assert made.student_fit.spec.training == made.ceiling_fit.spec.training == Finetune(epochs=1)  # type: ignore[attr-defined]


def test_steps_are_not_shared_through_a_dead_objects_address() -> None:
    """Steps memoised by `id` are mixed up once a cell is freed and another object takes its address."""
    cell = experiment(seeds=1).cells()[0]
    graph = Graph()
    for _ in range(20):
        graph.cell(cell.model_copy(update={"supervisor": FileLabels()}))
        gc.collect(0)
        models = [ModelSpec.parse(WEAK) for _ in range(50)]
        for spec in models:
            made = graph.cell(cell.model_copy(update={"supervisor": spec}))
            assert made.supervisor_fit.name == "probe"


def test_fits_have_valid_specs() -> None:
    """Specs made without validation must equal their validated form, or the record does not parse back."""
    for cell in CELLS[::3]:
        for step in closure(list(Graph().cell(cell).scores())):
            again = type(step.spec).parse(json.loads(json.dumps(step.spec.to_dict())))
            assert again == step.spec
            assert again.key() == step.spec.key()


def test_seeds_share_test_rows() -> None:
    """Pairs over seeds need the same test rows in every cell of an experiment."""
    splits = [c.split for c in experiment(seeds=3, split=Split(test_seed=4)).cells()]
    assert {s.test_seed for s in splits} == {4}
    assert {s.seed for s in splits} == {0, 1, 2}


def test_a_model_spec_can_be_given_in_python() -> None:
    """Python users pass objects, not names."""
    spec = ModelSpec.parse(STRONG)
    assert experiment(students=[spec]) == experiment(students=spec) == experiment()
