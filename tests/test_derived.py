"""Derived supervisors and told students, from the experiment to the predictions, and what App. E says of them.

Legend: N rows, C classes, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from weakstrong.builders.data import PROBABILITIES, ids_of
from weakstrong.builders.derived import checked
from weakstrong.data import Part, one_hot, positions, read_probabilities
from weakstrong.derived import Given, Rule, parse_rule
from weakstrong.errors import ConfigError, DataError, UnknownNameError, WeakStrongError
from weakstrong.experiment import Experiment
from weakstrong.facts import Facts
from weakstrong.graph import LABELLED_PARTS, CellSteps, Graph
from weakstrong.methods import parse_method
from weakstrong.resources import Estimator
from weakstrong.results import collect
from weakstrong.schedule import RunReport, run_steps
from weakstrong.store import Step, Store
from weakstrong.supervisors import parse_supervisor
from weakstrong.train import train_student
from weakstrong.training.spec import Probe, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
PROBE = {"kind": "probe", "epochs": 4, "features": {"dtype": "float32"}}
LONG = PROBE | {"epochs": 60, "learning_rate": 1e-2}
FINETUNE = {"kind": "finetune", "epochs": 1, "batch_rows": 8, "learning_rate": 1e-3, "precision": "fp32"}
TOLD = {"kind": "trivial-imitation", "line": " ".join(["{label}"] * 20)}
"""The class's name alone, one word to the tiny models; random weights forget what is said once."""


class Bench:
    """Cells of one small experiment on a store of their own."""

    def __init__(self, folder: Path, tiny_model: Tiny, rows: MakeRows) -> None:
        texts, labels = rows(420)
        pl.DataFrame({"text": texts, "label": labels}).write_ndjson(folder / "rows.jsonl")
        self.task = {"kind": "file", "path": str(folder / "rows.jsonl")}
        self.model = str(tiny_model("llama", layers=4))
        self.weak, self.store = f"{self.model}::1", Store(folder / "store")

    def experiment(self, *supervisors: Any, methods: Any = ("naive",), **changes: Any) -> Experiment:
        values = {
            "task": self.task, "supervisors": list(supervisors), "students": self.model, "methods": list(methods),
            "seeds": 1, "supervisor_training": PROBE, "student_training": PROBE,
            "split": {"train_rows": 100, "validation_rows": 30, "test_rows": 80},
        }  # fmt: skip
        return Experiment.parse(values | changes)

    def run(
        self, *supervisors: Any, methods: Any = ("naive",), **changes: Any
    ) -> tuple[list[CellSteps], RunReport]:
        graph = Graph()
        made = [graph.cell(c) for c in self.experiment(*supervisors, methods=methods, **changes).cells()]
        return made, run_steps([s for m in made for s in m.scores()], self.store, Runtime())

    def probabilities(self, step: Step, part: Part = Part.TEST) -> Any:
        ids, probs_NC = read_probabilities(self.store.open(step) / PROBABILITIES)
        return probs_NC[positions(self.ids(step, part), ids, "predictions")]

    def ids(self, step: Step, part: Part) -> list[str]:
        return sorted(ids_of(self.store.open(step.inputs["split"]), [part]))

    def truth(self, step: Step, part: Part) -> Any:
        table = pl.read_parquet(self.store.open(step.inputs["split"].inputs["load"]) / "rows.parquet")
        label = dict(zip(table["id"].to_list(), table["label"].to_list(), strict=True))
        return np.array([label[i] for i in self.ids(step, part)])

    def accuracy(self, step: Step) -> float:
        return float(self.store.record(step)["summary"]["accuracy"])


@pytest.fixture
def bench(tmp_path: Path, tiny_model: Tiny, rows: MakeRows) -> Bench:
    return Bench(tmp_path, tiny_model, rows)


def test_the_scored_supervisor_is_the_derived_one_and_equally_accurate(bench: Bench) -> None:
    """PGR against another floor than the labels that were learnt from; parts mixed; labels joined by place."""
    names = [
        "random-errors",
        "mixed-errors:share=0.5",
        "longest-errors",
        "shortest-errors",
        "ceiling-unsure-errors",
        "ceiling-sure-errors",
    ]
    (plain, *derived), report = bench.run(bench.weak, *(f"{name}:{bench.weak}" for name in names))
    assert not report.failed
    for made in derived:
        assert made.student_fit.inputs["labels"] == made.supervisor_fit
        assert made.supervisor_fit.inputs["labels"] == plain.supervisor_fit
        assert made.supervisor.inputs["predictions"] == made.supervisor_fit
        assert made.ceiling == plain.ceiling
        assert bench.accuracy(made.supervisor) == bench.accuracy(plain.supervisor)
        for part in LABELLED_PARTS:
            truth_N = bench.truth(plain.supervisor_fit, part)
            wrong, own = (
                bench.probabilities(m.supervisor_fit, part).argmax(1) != truth_N for m in (made, plain)
            )
            assert wrong.sum() == own.sum() > 0
            assert (wrong != own).any()
    longest = derived[2].supervisor_fit
    texts = pl.read_parquet(bench.store.open(longest.inputs["examples"]) / "examples.parquet")
    length = dict(zip(texts["id"].to_list(), texts["text"].str.len_chars().to_list(), strict=True))
    wrong_N = bench.probabilities(longest, Part.TRANSFER).argmax(1) != bench.truth(longest, Part.TRANSFER)
    length_N = np.array([length[i] for i in bench.ids(longest, Part.TRANSFER)])
    assert length_N[wrong_N].min() >= length_N[~wrong_N].max()


def test_the_ceiling_that_rules_ask_has_not_seen_the_rows(bench: Bench) -> None:
    """A model is sure of the rows it was trained on, right or wrong."""
    (made, same), report = bench.run(f"ceiling-unsure-errors:{bench.weak}", bench.model)
    assert not report.failed
    asked = made.supervisor_fit.inputs["ceiling"]
    assert asked == same.supervisor_fit  # the student's model as a supervisor
    assert asked.spec.train_part == Part.WEAK_TRAIN  # type: ignore[attr-defined]
    wrong_N = bench.probabilities(made.supervisor_fit).argmax(1) != bench.truth(asked, Part.TEST)
    sure_N = bench.probabilities(asked).max(1)
    assert sure_N[wrong_N].max() <= sure_N[~wrong_N].min()


def test_seeds_deal_anew_and_fresh_rows_are_labelled_too(bench: Bench) -> None:
    """One draw for all seeds; a student in between that finds no labels for rows of its own."""
    small = {"train_rows": 60, "validation_rows": 20, "test_rows": 80}
    made, report = bench.run(
        f"random-errors:{bench.weak}",
        f"shuffled:random-errors:{bench.weak}",
        methods=["naive", "bootstrapping:rounds=1,fresh=true"],
        seeds=2,
        split=small,
    )
    assert not report.failed
    first, second = (bench.probabilities(m.supervisor_fit) for m in made[:2])
    assert not np.array_equal(first, second)
    # The part of spare rows is derived beside the others and changes none of them.
    assert np.array_equal(first, bench.probabilities(made[2].supervisor_fit))
    rows = collect(
        bench.store,
        [
            bench.experiment(
                f"random-errors:{bench.weak}", f"shuffled:{bench.weak}", bench.weak, seeds=2, split=small
            )
        ],
    )
    marks = {row["supervisor"].partition(":")[0]: row["uses_ground_truth"] for row in rows.cells}
    assert marks["random-errors"]
    assert not marks["shuffled"]


def test_only_the_first_features_are_seen(bench: Bench) -> None:
    """A supervisor that sees all features under the name of one that sees eight."""
    name = f"first-features:k=8:{bench.model}"
    (made, by_share, on_top), report = bench.run(
        name, f"first-features:share=0.25:{bench.model}", f"random-errors:{name}"
    )
    assert not report.failed
    head_DC = load_file(bench.store.open(made.supervisor_fit) / "head.safetensors")["weight_DC"]
    assert head_DC.shape[0] == 8
    narrow = made.supervisor_fit.inputs["features"]
    all_ND, few_ND = (
        load_file(bench.store.open(s) / "features.safetensors")["features_ND"]
        for s in (narrow.inputs["features"], narrow)
    )
    assert np.array_equal(few_ND, all_ND[:, :8])
    assert np.array_equal(
        bench.probabilities(by_share.supervisor_fit), bench.probabilities(made.supervisor_fit)
    )
    assert on_top.supervisor_fit.inputs["labels"] == made.supervisor_fit
    assert bench.accuracy(on_top.supervisor) == bench.accuracy(made.supervisor)
    _, report = bench.run(f"first-features:k=33:{bench.model}")
    assert any("the model has 32 features, 33 are wanted" in words for words in report.failed.values())
    with pytest.raises(ConfigError, match="is a probe; give it supervisor_training"):
        bench.run(name, supervisor_training=FINETUNE)


def test_a_perfectly_simulable_supervisor_is_simulated(bench: Bench) -> None:
    """E.1: a probe on all features can say just what one on some of them says, and trained long enough it does."""
    (made, random), report = bench.run(
        *(f"{rule}first-features:k=8:{bench.model}" for rule in ("", "random-errors:")),
        methods=["early-stop:on=last"],
        supervisor_training=LONG,
        student_training=LONG | {"epochs": 400, "batch_rows": 100},
    )
    assert not report.failed
    weak_NC, strong_NC = (bench.probabilities(s) for s in (made.supervisor_fit, made.student_fit))
    assert (weak_NC.argmax(1) == strong_NC.argmax(1)).mean() >= 0.98
    assert np.abs(weak_NC - strong_NC).max() < 0.05
    noisy_NC, strong_NC = (bench.probabilities(s) for s in (random.supervisor_fit, random.student_fit))
    assert (noisy_NC.argmax(1) == strong_NC.argmax(1)).mean() < 0.9


def test_random_errors_are_looked_through_and_structured_ones_are_not() -> None:
    """E.1, E.2: errors that no feature tells are noise, and the student comes out near the ceiling."""
    from weakstrong.methods.naive import Naive
    from weakstrong.training.probe import HeadTask, predict, train_heads

    rng = np.random.default_rng(0)
    features_ND = rng.normal(size=(3000, 8)).astype(np.float32)
    truth_N = (features_ND[:, 0] + features_ND[:, 1] > 0).astype(np.int64)
    seen_N = features_ND[:, 0] + 0.3 * features_ND[:, 1]
    weak_NC = np.stack([1 / (1 + np.exp(3 * seen_N)), 1 / (1 + np.exp(-3 * seen_N))], 1).astype(np.float32)
    train_N, validation_V, test_N = np.split(np.arange(3000), [1500, 2000])

    def score(labels_NC: Any) -> float:
        # Hard, so that what differs is where errors are and not how sure the labels look.
        hard_NC = one_hot(labels_NC.argmax(1), 2)
        head = HeadTask(features_ND, train_N, validation_V, hard_NC[train_N], hard_NC[validation_V], 0)
        train_heads([head], Probe(epochs=60, learning_rate=1e-2), Naive(), Runtime())
        assert head.weight_DC is not None
        return float((predict(features_ND[test_N], head.weight_DC).argmax(1) == truth_N[test_N]).mean())

    parts = [
        Given(weak_NC[part], np.random.default_rng(1), truth_N[part])
        for part in (train_N, validation_V, test_N)
    ]
    random_NC = np.concatenate([parse_rule("random-errors").labels(part) for part in parts])
    weak, ceiling = float((weak_NC.argmax(1) == truth_N)[test_N].mean()), score(one_hot(truth_N, 2))
    assert float((random_NC.argmax(1) == truth_N)[test_N].mean()) == weak < 0.9
    assert (score(random_NC) - weak) / (ceiling - weak) > 0.85
    assert abs(score(weak_NC) - weak) / (ceiling - weak) < 0.25


@pytest.mark.parametrize(
    "other",
    ["naive", "confidence"],
)
def test_a_told_student_says_what_it_is_told(bench: Bench, other: str) -> None:
    """E.3: PGR about 0. Test rows without their line, or lines of other rows, and the student cannot copy."""
    told = TOLD if other == "naive" else {"kind": "combined", "parts": [TOLD, other]}
    (untold, made), report = bench.run(
        bench.weak, methods=[other, told], supervisor_training=LONG, student_training=LONG
    )
    assert not report.failed
    weak_N = bench.probabilities(made.supervisor_fit).argmax(1)
    copied, alone = ((bench.probabilities(m.student_fit).argmax(1) == weak_N).mean() for m in (made, untold))
    assert copied >= 0.97
    assert copied > alone + 0.1
    texts = made.student_fit.inputs["features"].inputs["examples"]
    table = pl.read_parquet(bench.store.open(texts) / "examples.parquet")
    said = dict(zip(table["id"].to_list(), table["text"].str.split("\n").list.last().to_list(), strict=True))
    for part in (Part.TRANSFER, Part.VALIDATION, Part.TEST):
        wanted = bench.probabilities(made.supervisor_fit, part).argmax(1)
        assert [said[i] for i in bench.ids(made.supervisor_fit, part)] == [
            " ".join([str(c)] * 20) for c in wanted
        ]
    assert len(said) == 100 + 30 + 80
    assert made.ceiling_fit == untold.ceiling_fit
    # With all weights trained, it is the same texts that are read.
    cell = bench.experiment(
        bench.weak, methods=[told], supervisor_training=LONG, student_training=FINETUNE
    ).cells()
    assert Graph().cell(cell[0]).student_fit.inputs["examples"] == texts


def test_a_long_text_keeps_its_line() -> None:
    """A line behind a text that `max_tokens` cuts off tells nothing."""
    from weakstrong.builders.derived import hinted

    text = " ".join(f"w{i}" for i in range(1000))
    assert hinted(text, "It is {label}.", "yes", 3) == "w997 w998 w999\nIt is yes."
    assert hinted("a  b", "It is {label}.", "yes", 3) == "a  b\nIt is yes."
    for bad in ({"line": "yes"}, {"context_words": 0}):
        with pytest.raises(ConfigError):
            parse_method({"kind": "trivial-imitation"} | bad)


def test_what_cannot_be_told_is_refused(tmp_path: Path, bench: Bench) -> None:
    """Found out after an hour; or a model exported that wants the supervisor's answer to answer."""
    pl.DataFrame({"a": ["x"], "b": ["y"], "p": ["a"]}).write_csv(tmp_path / "pairs.csv")
    pairs = {"kind": "file", "path": str(tmp_path / "pairs.csv"), "first": "a", "second": "b", "label": "p"}
    with pytest.raises(ConfigError, match="holds comparisons"):
        bench.run(bench.weak, methods=["trivial-imitation"], task=pairs)
    with pytest.raises(ConfigError, match="is a control"):
        train_student(
            tmp_path / "rows.jsonl",
            out=tmp_path / "out",
            student=bench.model,
            text="text",
            weak_label="label",
            method="trivial-imitation",
        )


def test_a_rule_that_gives_other_labels_is_stopped() -> None:
    """Rows lost by a rule would end in a message about something else."""

    class Half(Rule):
        kind: str = "half"

        def labels(self, given: Given) -> Any:
            return given.weak_NC[::2]

    with pytest.raises(DataError, match=r"half gave float32 of shape \(2, 2\), wanted float32 of \(4, 2\)"):
        checked(Half(), Given(np.full((4, 2), 0.5, np.float32), np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("random-eror:minilm-l6", UnknownNameError, "did you mean random-errors"),
        ("shuffled", ConfigError, "of which supervisor"),
        ("random-errors:minilm-l7", ConfigError, "did you mean minilm-l6"),
        ("mixed-errors:share=2:minilm-l6", ConfigError, "less than or equal to 1"),
        ("mixed-errors:shares=0.5:minilm-l6", ConfigError, "Extra inputs"),
        ("first-features:minilm-l6", ConfigError, "wants k or share"),
        ("first-features:k=8,share=0.5:minilm-l6", ConfigError, "wants k or share"),
        ("first-features:k=0:minilm-l6", ConfigError, "greater than or equal to 1"),
        ("smollm2-135m:x", WeakStrongError, "not a number of layers"),
    ],
)
def test_names_that_go_wrong_are_named(text: str, error: type[Exception], words: str) -> None:
    """A rule taken for a model, or a model for a rule, and a message about the wrong one of both."""
    with pytest.raises(error, match=words):
        parse_supervisor(text)


@pytest.mark.parametrize(
    "text",
    [
        "shuffled:minilm-l6", "mixed-errors:share=0.25:smollm2-135m:8", "random-errors:raters:3:majority",
        "random-errors:first-features:k=8:smollm2-135m:22", "first-features:share=0.1:smollm2-135m:22",
        "longest-errors:file:bert-r1", "mixed-errors:share=0.5:./models/a=b",
    ],
)  # fmt: skip
def test_names_of_derived_supervisors_rebuild_them(text: str, tmp_path: Path, bench: Bench) -> None:
    """A name in a table that does not parse back cannot be repeated; a mapping that loses the rule's parameters."""
    text = text.replace("./models/a=b", bench.model)
    given = parse_supervisor(text)
    assert given.name == text
    again = parse_supervisor(given.to_dict())
    assert again == given
    assert again.key() == given.key()
    assert Experiment.from_yaml(bench.experiment(text).to_yaml()).supervisors == (given,)


def test_their_needs_are_guessed(bench: Bench) -> None:
    """A step that plans do not know stops `w2s plan`; a told student reads some parts only."""
    (cell,) = bench.experiment(f"first-features:share=0.5:{bench.model}", methods=[TOLD]).cells()
    made, machine = Graph().cell(cell), Estimator(None, Runtime())
    narrow = made.supervisor_fit.inputs["features"]
    assert Facts(None).width(narrow) == pytest.approx(Facts(None).width(narrow.inputs["features"]) / 2)
    told = made.student_fit.inputs["features"]
    plain = replace(told, inputs={"examples": told.inputs["examples"].inputs["examples"]})
    needs = [machine.need([step]) for step in (narrow, told.inputs["examples"], told, plain)]
    assert needs[2].flops < 0.1 * needs[3].flops  # of 10,000 rows assumed, 210
    assert needs[0].memory > 0
    assert needs[1].seconds > 0
