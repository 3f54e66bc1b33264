"""Methods from the experiment to the predictions, on tiny models: bootstrapping, views, starts, prompts, oracles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from weakstrong.api import run_with_report
from weakstrong.builders.data import PROBABILITIES, ids_of
from weakstrong.builders.views import perturbed
from weakstrong.data import Part, positions, read_probabilities
from weakstrong.experiment import Experiment
from weakstrong.graph import CellSteps, Graph
from weakstrong.methods import METHODS
from weakstrong.results import collect
from weakstrong.schedule import RunReport, run_steps
from weakstrong.store import Step, Store
from weakstrong.training.spec import Perturb, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
PROBE = {"kind": "probe", "epochs": 4, "features": {"dtype": "float32"}}
FINETUNE = {"kind": "finetune", "epochs": 1, "batch_rows": 8, "learning_rate": 1e-3, "precision": "fp32"}


class Bench:
    """Cells of one small experiment on a store of their own."""

    def __init__(self, folder: Path, tiny_model: Tiny, rows: MakeRows) -> None:
        texts, labels = rows(420)
        frame = pl.DataFrame({"text": texts, "label": labels})
        frame = frame.with_columns(again=pl.col("text").str.split(" ").list.reverse().list.join(" "))
        frame.write_ndjson(folder / "rows.jsonl")
        self.task = {"kind": "file", "path": str(folder / "rows.jsonl")}
        self.model = str(tiny_model("llama", layers=4))
        self.store = Store(folder / "store")

    def experiment(self, *methods: Any, **changes: Any) -> Experiment:
        values = {
            "task": self.task, "supervisors": f"{self.model}::1", "students": self.model, "methods": list(methods),
            "seeds": 1, "supervisor_training": PROBE, "student_training": PROBE,
            "split": {"train_rows": 100, "validation_rows": 30, "test_rows": 80},
        }  # fmt: skip
        return Experiment.parse(values | changes)

    def run(self, *methods: Any, **changes: Any) -> tuple[list[CellSteps], RunReport]:
        graph = Graph()
        made = [graph.cell(cell) for cell in self.experiment(*methods, **changes).cells()]
        return made, run_steps([s for m in made for s in m.scores()], self.store, Runtime())

    def probabilities(self, step: Step, part: Part = Part.TEST) -> Any:
        ids, probs_NC = read_probabilities(self.store.open(step) / PROBABILITIES)
        return probs_NC[positions(self.ids(step, part), ids, "predictions")]

    def ids(self, step: Step, part: Part) -> list[str]:
        return ids_of(self.store.open(step.inputs["split"]), [part])


@pytest.fixture
def bench(tmp_path: Path, tiny_model: Tiny, rows: MakeRows) -> Bench:
    return Bench(tmp_path, tiny_model, rows)


def test_every_method_runs_in_the_probe_regime(bench: Bench) -> None:
    """A method that works alone and not in an experiment; two methods that share a result by mistake."""
    names = [n for n in METHODS.names() if n not in ("lora", "lp-ft")]
    _, report = bench.run(*names, "generative+bootstrapping+confidence", "early-stop:on=oracle")
    assert not report.failed
    rows = collect(bench.store, [bench.experiment(*names, "early-stop:on=oracle")]).aggregate
    assert {r["method"] for r in rows if r["uses_ground_truth"]} == {"early-stop:on=oracle"}
    apart = {
        "naive",
        "early-stop:on=oracle",
        "trivial-imitation",
    }  # an oracle and a control are no rivals of naive
    assert {r["method"] for r in rows if r["p_vs_naive"] is None} == apart


def test_every_method_runs_in_the_finetune_regime(bench: Bench) -> None:
    """The same, with all weights."""
    names = ["naive", "lora", "lp-ft", "ema", "regularised", "threshold", "early-stop:on=oracle"]
    more = ["generative+bootstrapping:rounds=1+confidence", "consistency+product"]
    _, report = bench.run(*names, *more, student_training=FINETUNE)
    assert not report.failed


@pytest.mark.parametrize("training", [PROBE, FINETUNE], ids=["probe", "finetune"])
@pytest.mark.parametrize(
    "method",
    ["bootstrapping:rounds=0", "consistency:weight=0", "noise:share=0", "threshold:share=1", "early-stop"],
)
def test_limits_that_are_naive_to_the_bit(bench: Bench, method: str, training: dict[str, Any]) -> None:
    """A leftover of a method at its zero, or another order of rows, moves every comparison with naive."""
    (naive, other), report = bench.run("naive", method, student_training=training)
    assert not report.failed
    assert naive.student_fit.key != other.student_fit.key
    assert np.array_equal(bench.probabilities(naive.student_fit), bench.probabilities(other.student_fit))


def test_bootstrapping_is_two_experiments_in_a_row(bench: Bench) -> None:
    """The last student must learn from the one in between, not from the supervisor."""
    through = f"{bench.model}::2"
    (chain,), report = bench.run({"kind": "bootstrapping", "through": [through]})
    assert not report.failed
    (first,), _ = bench.run("naive", students=through)
    between = chain.student_fit.inputs["labels"]
    assert np.array_equal(bench.probabilities(between, Part.VALIDATION),
                          bench.probabilities(first.student_fit, Part.VALIDATION))  # fmt: skip
    (direct,), _ = bench.run("naive")
    assert not np.array_equal(bench.probabilities(chain.student_fit), bench.probabilities(direct.student_fit))
    assert between.inputs["labels"] == chain.supervisor_fit


def test_fresh_rows_are_disjoint_and_unused_elsewhere(bench: Bench) -> None:
    """Rows that an earlier link has trained on are labelled too well by it (paper: fresh puzzles per round)."""
    (made,), report = bench.run("bootstrapping:rounds=2,fresh=true", split={"train_rows": 60, "validation_rows": 20,
                                                                            "test_rows": 80})  # fmt: skip
    assert not report.failed
    spec: Any = made.student_fit.inputs["labels"].spec
    assert (spec.train_part, spec.train_slice) == (Part.SPARE, (1, 2))
    split = made.student_fit
    parts = [set(bench.ids(split, part)) for part in Part]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 420
    assert len(bench.ids(split, Part.SPARE)) == 420 - 2 * 60 - 2 * 20 - 80


def test_no_spare_rows_is_a_clear_error(bench: Bench) -> None:
    """An empty training part must not end in a division by zero."""
    _, report = bench.run("bootstrapping:fresh=true", split={"test_rows": 80})
    assert any("rows of the part spare are left to train on" in words for words in report.failed.values())


def test_the_temperature_comes_from_the_supervisors_own_rows(bench: Bench) -> None:
    """Fitted on transfer rows, the temperature would hand ground truth to the student."""
    (made,), report = bench.run("calibrated")
    assert not report.failed
    step = made.student_fit.inputs["labels"]
    summary = bench.store.record(step)["summary"]
    assert summary["rows"] == 30
    raw, soft = (bench.probabilities(s, Part.TRANSFER) for s in (made.supervisor_fit, step))
    assert np.array_equal(raw.argmax(1), soft.argmax(1))
    odds = np.log(raw[:, 1] / raw[:, 0]) / summary["temperature"]
    assert np.allclose(np.log(soft[:, 1] / soft[:, 0]), odds, atol=1e-3)


def test_generative_starts_from_tuned_weights(bench: Bench) -> None:
    """A tuned folder that nobody reads gives naive under another name."""
    (naive, tuned), report = bench.run("naive", {"kind": "generative", "learning_rate": 1e-2})
    assert not report.failed
    assert not np.array_equal(bench.probabilities(naive.student_fit), bench.probabilities(tuned.student_fit))
    assert not np.array_equal(bench.probabilities(naive.ceiling_fit), bench.probabilities(tuned.ceiling_fit))
    assert naive.supervisor_fit == tuned.supervisor_fit
    features = tuned.student_fit.inputs["features"]
    rows = bench.store.record(features)["summary"]["rows"]
    assert rows == 100 + 30 + 80  # only what is read


def test_paraphrases_are_the_second_view(bench: Bench) -> None:
    """With a column of its own named, invented noise must not take its place."""
    bench.task["paraphrase"] = "again"
    (made,), report = bench.run("consistency")
    assert not report.failed
    view = made.student_fit.inputs["view"].inputs["examples"]
    table = pl.read_parquet(bench.store.open(view) / "examples.parquet")
    original = pl.read_parquet(bench.store.open(view.inputs["examples"]) / "examples.parquet")
    assert table["text"].to_list() == original["paraphrase"].to_list()
    del bench.task["paraphrase"]
    _, report = bench.run({"kind": "consistency", "view_of": "paraphrase"})
    assert any("needs a task with paraphrases" in words for words in report.failed.values())


def test_the_oracle_keeps_the_best_epoch_by_ground_truth(bench: Bench) -> None:
    """An oracle that is no better than the valid choice has looked at the wrong labels."""
    (weak, oracle, last), report = bench.run("naive", "early-stop:on=oracle", "early-stop:on=last",
                                             student_training=PROBE | {"epochs": 12})  # fmt: skip
    assert not report.failed
    scores = [bench.store.record(m.student)["summary"]["accuracy"] for m in (weak, oracle, last)]
    assert scores[1] == max(scores)
    history = bench.store.record(oracle.student_fit)["summary"]["validation_agreement"]
    assert max(history) == pytest.approx(scores[1])


def test_perturbed_texts() -> None:
    """Words invented or all lost; another text on another machine."""
    words = [f"w{i}" for i in range(2000)]
    text = " ".join(words)
    out = perturbed(text, "row-1", Perturb(drop=0.2, swap=0.0)).split()
    assert 0.76 < len(out) / 2000 < 0.84
    assert out == [w for w in words if w in set(out)]
    moved = perturbed(text, "row-1", Perturb(drop=0.0, swap=0.3)).split()
    assert sorted(moved) == sorted(words)
    assert 0.4 < np.mean([a != b for a, b in zip(words, moved, strict=True)]) < 0.6
    assert perturbed(text, "row-1", Perturb()) == perturbed(text, "row-1", Perturb())
    assert perturbed(text, "row-1", Perturb()) != perturbed(text, "row-2", Perturb())
    assert perturbed("one", "row", Perturb(drop=0.99)) == "one"


def test_the_order_of_cells_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    """A generator or a batch that cells share makes a sweep's numbers depend on what ran before."""
    names = ["naive", "confidence", "noise", "regularised", "ema", "consistency"]
    forth, report = bench.run(*names, seeds=[0, 1])
    assert not report.failed
    first = [bench.probabilities(made.student_fit) for made in forth]
    bench.store = Store(tmp_path / "other")
    back, report = bench.run(*reversed(names), seeds=[1, 0])
    assert not report.failed
    assert {made.student_fit.key for made in back} == {made.student_fit.key for made in forth}
    again = {made.student_fit.key: bench.probabilities(made.student_fit) for made in back}
    for made, probs_NC in zip(forth, first, strict=True):
        assert np.array_equal(again[made.student_fit.key], probs_NC)


def test_rows_loaded_first_count_as_computed(bench: Bench) -> None:
    """A first run that says some steps were taken from the store makes one doubt what was there."""
    planned = bench.experiment("naive")
    _, first = run_with_report(planned, store=bench.store)
    _, second = run_with_report(planned, store=bench.store)
    assert (first.cached, second.computed) == (0, 0)
    assert first.computed > second.cached > 0
