"""Analyses with trainings of their own, on tiny models: trajectories, saliency, easy-to-hard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import toy_rows
from safetensors.numpy import load_file

from weakstrong.analyses.overfitting import trajectories
from weakstrong.api import run_with_report
from weakstrong.builders.data import PROBABILITIES, ids_of
from weakstrong.builders.difficulty import read_difficulty
from weakstrong.builders.trajectory import build_finetune_trajectory
from weakstrong.data import Part, make_rows, positions, read_probabilities
from weakstrong.errors import ConfigError, Stopped
from weakstrong.experiment import Experiment, experiments_in
from weakstrong.graph import Graph, closure
from weakstrong.machine import Machine
from weakstrong.resources import Estimator
from weakstrong.results import Results
from weakstrong.stats import pgr
from weakstrong.store import Step, Store
from weakstrong.tasks.base import Task, TaskRows
from weakstrong.training.spec import Runtime

PROBE = {"kind": "probe", "epochs": 5, "features": {"dtype": "float32"}}
FINETUNE = {
    "kind": "finetune", "epochs": 2, "batch_rows": 8, "learning_rate": 2e-3, "precision": "fp32", "evaluations": 3
}  # fmt: skip
EASY = [
    {"kind": "easy-to-hard", "by": by, "rungs": 2, "comparisons": 2} for by in ("models", "judged", "given")
]
HEAD = {"kind": "saliency", "probe": PROBE}


class HardRows(Task):
    """Toy rows whose difficulty is the length of their text."""

    kind: Literal["hard-rows-of-a-test"] = "hard-rows-of-a-test"

    def load(self) -> TaskRows:
        texts, labels = toy_rows(420)
        table = make_rows(texts, labels)
        lengths = pa.array([float(len(t.split())) for t in texts], pa.float32())
        return TaskRows(table.append_column("difficulty", lengths), ("no", "yes"))


class Bench:
    """Both regimes of one small experiment, run once with all these analyses."""

    def __init__(self, folder: Path, tiny_model: Callable[..., Path]) -> None:
        self.model = str(tiny_model("llama", layers=4))
        self.store = Store(folder / "store")

    @cached_property
    def probed(self) -> Results:
        return self.run([*EASY, "overfitting"])

    @cached_property
    def tuned(self) -> Results:
        sizes = {"train_rows": 48, "validation_rows": 16, "test_rows": 60}
        methods = ["naive", "early-stop:on=last"]
        analyses = ["overfitting", HEAD, EASY[0] | {"cutoffs": [2]}]
        return self.run(analyses, student_training=FINETUNE, split=sizes, methods=methods)

    def experiment(self, analyses: list[Any], **changes: Any) -> Experiment:
        values = {
            "task": HardRows(), "supervisors": f"{self.model}::1", "students": self.model,
            "methods": ["naive", "early-stop:on=last", "zero-shot"], "seeds": 2, "supervisor_training": PROBE,
            "student_training": PROBE, "split": {"train_rows": 100, "validation_rows": 30, "test_rows": 80},
            "analyses": analyses,
        }  # fmt: skip
        return Experiment.parse(values | changes)

    def run(self, analyses: list[Any], **changes: Any) -> Results:
        found, report = run_with_report(self.experiment(analyses, **changes), store=self.store)
        assert not report.failed, report.failed
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]) -> Bench:
    return Bench(tmp_path_factory.mktemp("grown"), tiny_model)


def own_steps(results: Results, name: str) -> list[tuple[Any, Any, dict[str, Step]]]:
    """Each cell that an analysis does not pass over, its steps, and the analysis' own."""
    graph, analysis = Graph(), next(a for a in results.experiments[0].analyses if a.name.startswith(name))
    cells = [c for c in results.experiments[0].cells() if not analysis.refuses(c)]
    made = [(cell, graph.cell(cell)) for cell in cells]
    return [(cell, steps, analysis.steps(cell, steps, graph)) for cell, steps in made]


# --- trajectories


@pytest.mark.parametrize("regime", ["probed", "tuned"])
def test_the_kept_moment_of_a_trajectory_is_the_cells_own_prediction(bench: Bench, regime: str) -> None:
    """Other batches, another seed, weights before an average or after another step: a curve of another student."""
    cells = own_steps(getattr(bench, regime), "overfitting")
    assert {cell.method.name for cell, _, _ in cells} == {"naive", "early-stop:on=last"}
    moments = 5 if regime == "probed" else 6
    for cell, made, own in cells:
        folder = bench.store.open(own["trajectory"])
        found = load_file(folder / "trajectory.safetensors")
        test = pq.read_table(folder / "ids.parquet")["id"].to_pylist()
        ids, probs_NC = read_probabilities(bench.store.open(made.student_fit) / PROBABILITIES)
        probs_NC = probs_NC[positions(test, ids, "test rows")]
        kept = int(found["kept"][0])
        assert found["probs_ENC"].shape == (moments, len(test), 2)
        assert np.array_equal(found["guess_EN"][kept], probs_NC.argmax(1))
        # To the bit, but for the half precision that is stored.
        assert np.array_equal(found["probs_ENC"][kept], probs_NC.astype(np.float16))
        assert (kept == moments - 1) or cell.method.stop == "weak"
        assert found["epoch_E"][-1] == (5 if regime == "probed" else 2)
        summary = bench.store.record(made.student_fit)["summary"]
        agreements = summary.get("validation_agreement") or [e[2] for e in summary["evaluations"]]
        assert found["validation_E"].tolist() == pytest.approx(agreements)
        assert len(np.unique(found["probs_ENC"][:, 0, 0])) > 1  # it moves


def test_a_trajectory_is_the_same_when_it_is_killed_and_resumed(bench: Bench) -> None:
    """What was said before the kill is lost, or what is said after it comes from an untrained model."""
    _, _, own = own_steps(bench.tuned, "overfitting")[0]
    step, asked = own["trajectory"], iter(range(100))
    wanted = (bench.store.open(step) / "trajectory.safetensors").read_bytes()
    stopped = Runtime(checkpoint_seconds=1e9, stopping=lambda: next(asked) > 7)
    with bench.store.job(step) as job, pytest.raises(Stopped):
        build_finetune_trajectory([job], stopped)
    assert len(list(job.scratch.glob("moment-*.safetensors"))) == 4
    with bench.store.job(step) as job:
        build_finetune_trajectory([job], Runtime())
        assert job.error is None
        assert job.summary["resumed_at"] == 9
        assert (job.out / "trajectory.safetensors").read_bytes() == wanted
    (job.scratch / "moment-2.safetensors").unlink()
    with bench.store.job(step) as job:
        build_finetune_trajectory([job], Runtime())
        assert "what it said at step 2 is gone" in str(job.error)
    shutil.rmtree(job.scratch)


@pytest.mark.parametrize("regime", ["probed", "tuned"])
def test_overfitting_says_what_the_store_says(bench: Bench, regime: str) -> None:
    """The last moment's accuracy, agreement and PGR must be those of the cell that keeps the last moment."""
    results: Results = getattr(bench, regime)
    rows = [r for r in results.analysis("overfitting") if r["method"] == "early-stop:on=last"]
    aggregate = next(a for a in results.aggregate if a["method"] == "early-stop:on=last")
    last = max(r["moment"] for r in rows if "moment" in r)
    at = {(r["measure"], r["where"]): r["value"] for r in rows if r.get("moment") == last}
    assert at["accuracy", "all"] == pytest.approx(aggregate["student_score"])
    agreement = {
        r["where"]: r["value"] for r in results.analysis("agreement")
        if r["method"] == "early-stop:on=last" and r["measure"] == "agreement" and r["arm"] == "student"
    }  # fmt: skip
    for where, value in agreement.items():
        assert at["agreement", where] == pytest.approx(value)
    stops = {(r["measure"], r["stop"]): r for r in rows if "stop" in r}
    assert {stop for _, stop in stops} == {"best", "weak", "last"}
    scores = [stops["accuracy", stop]["value"] for stop in ("best", "weak", "last")]
    assert scores[0] == max(scores)
    assert scores[2] == pytest.approx(aggregate["student_score"])
    assert all(r["uses_ground_truth"] == (r["stop"] == "best") for r in stops.values())
    wanted = pgr(aggregate["supervisor_score"], scores[2], aggregate["ceiling_score"])
    assert aggregate["pgr_defined"] == (stops["pgr", "last"]["value"] is not None)
    assert stops["pgr", "last"]["value"] == (pytest.approx(wanted) if aggregate["pgr_defined"] else None)
    # Early stopping on weak labels is what naive does.
    naive = next(a for a in results.aggregate if a["method"] == "naive")
    assert scores[1] == pytest.approx(naive["student_score"])


def test_the_best_moment_is_each_seeds_own(bench: Bench) -> None:
    """One moment for all seeds is no oracle; a moment by the wrong axis is noise."""
    cells = [c for c in own_steps(bench.tuned, "overfitting") if c[0].method.name == "naive"]
    folders = [bench.store.open(own["trajectory"]) for _, _, own in cells]
    ids = sorted(pq.read_table(folders[0] / "ids.parquet")["id"].to_pylist())
    found = trajectories(folders, ids)
    names, truth_NC = read_probabilities(
        bench.store.open(cells[0][1].ceiling.inputs["truth"]) / PROBABILITIES
    )
    truth_N = truth_NC[positions(ids, names, "truth")].argmax(1)
    best = [max((guess_N == truth_N).mean() for guess_N in guess_EN) for guess_EN in found.guess_SEN]
    rows = [r for r in bench.tuned.analysis("overfitting") if r["method"] == "naive"]
    shown = next(r for r in rows if r["measure"] == "accuracy" and r.get("stop") == "best")
    assert shown["value"] == pytest.approx(np.mean(best))


# --- saliency


def test_the_probe_reads_the_finetuned_student(bench: Bench) -> None:
    """Features of the pretrained model under the finetuned one's name, or those of its mean token."""
    for _, made, own in own_steps(bench.tuned, "saliency")[:1]:
        fits = {name: step.inputs["predictions"] for name, step in own.items()}
        tuned, base = (fits[name].inputs["features"] for name in ("ft(weak)+lp(gt)", "lp(gt)"))
        kept = tuned.inputs["start"]
        probs = [
            read_probabilities(bench.store.open(step) / PROBABILITIES)[1] for step in (kept, made.student_fit)
        ]
        assert np.array_equal(*probs)  # keeping the weights changes nothing
        matrices = {}
        for name, step in (("tuned", tuned), ("base", base)):
            folder = bench.store.open(step)
            ids = pq.read_table(folder / "ids.parquet")["id"].to_pylist()
            matrices[name] = (ids, load_file(folder / "features.safetensors")["features_ND"])
        # The student's own head on these features gives the student's own predictions.
        head_CD = load_file(bench.store.open(kept) / "model" / "model.safetensors")["score.weight"]
        wanted = ids_of(bench.store.open(made.student_fit.inputs["split"]), [Part.VALIDATION, Part.TEST])
        ids, features_ND = matrices["tuned"]
        logits_NC = features_ND[positions(wanted, ids, "features")] @ head_CD.T
        odds_N = np.log(probs[1][:, 1] / probs[1][:, 0])
        np.testing.assert_allclose(logits_NC[:, 1] - logits_NC[:, 0], odds_N, atol=1e-3)
        assert not np.allclose(
            matrices["tuned"][1][0], matrices["base"][1][matrices["base"][0].index(ids[0])]
        )


def test_saliency_has_five_strategies_on_the_labels_they_name(bench: Bench) -> None:
    """lp(weak) on ground truth, or ft(gt) that is the student: a figure of something else."""
    rows = [r for r in bench.tuned.analysis(HEAD) if r["method"] == "naive"]
    found = {r["strategy"]: r for r in rows if r["measure"] == "accuracy"}
    assert list(found) == ["lp(weak)", "lp(gt)", "ft(weak)", "ft(weak)+lp(gt)", "ft(gt)"]
    assert {s for s, r in found.items() if r["uses_ground_truth"]} == {"lp(gt)", "ft(weak)+lp(gt)", "ft(gt)"}
    naive = next(a for a in bench.tuned.aggregate if a["method"] == "naive")
    assert found["ft(weak)"]["value"] == pytest.approx(naive["student_score"])
    assert found["ft(gt)"]["value"] == pytest.approx(naive["ceiling_score"])
    gains = {r["strategy"]: r["value"] for r in rows if r["measure"] == "gain"}
    for strategy, gain in gains.items():
        assert gain == pytest.approx(found[strategy]["value"] - found["lp(gt)"]["value"])
    for _, made, own in own_steps(bench.tuned, "saliency"):
        labels = {name: step.inputs["predictions"].inputs["labels"] for name, step in own.items()}
        truth = made.ceiling_fit.inputs["labels"]
        assert labels == {"lp(weak)": made.supervisor_fit, "lp(gt)": truth, "ft(weak)+lp(gt)": truth}
    assert not bench.probed.analysis(HEAD)  # nothing is finetuned there


def test_weights_that_a_cell_keeps_are_not_trained_again(bench: Bench) -> None:
    """An hour of finetuning, twice."""
    kept = bench.experiment([HEAD], student_training=FINETUNE | {"save_weights": True})
    cell, graph = kept.cells()[0], Graph()
    made = graph.cell(cell)
    own = kept.analyses[0].steps(cell, made, graph)
    fits = {s for s in closure(list(own.values())) if s.name == "finetune"}
    assert fits == {made.student_fit}


# --- easy to hard


@pytest.mark.parametrize("by", ["models", "judged", "given"])
def test_students_of_easy_rows_get_equally_many_and_no_hard_ones(bench: Bench, by: str) -> None:
    """A split that is not handed to the training trains every cut-off on all rows."""
    for cell, made, own in own_steps(bench.probed, f"easy-to-hard{'' if by == 'models' else f':by={by}'}"):
        ids, difficulty_N = read_difficulty(bench.store.open(own["difficulty"]))
        hard = dict(zip(ids, difficulty_N.tolist(), strict=True))
        base = bench.store.open(made.ceiling_fit.inputs["split"])
        transfer = ids_of(base, [Part.TRANSFER])
        sizes = set()
        for name, score in own.items():
            if name == "difficulty":
                continue
            fit = score.inputs["predictions"]
            assert fit.inputs["labels"] == made.ceiling_fit.inputs["labels"]
            assert fit.spec.method.stop == "last"  # type: ignore[attr-defined]
            folder = bench.store.open(fit.inputs["split"])
            learnt = ids_of(folder, [Part.TRANSFER])
            assert set(learnt) <= set(transfer)
            assert ids_of(folder, [Part.VALIDATION, Part.TEST]) == ids_of(base, [Part.VALIDATION, Part.TEST])
            sizes.add(len(learnt))
            if name.startswith("up to"):
                limit = float(name.removeprefix("up to "))
                if by != "models":
                    limit = np.quantile([hard[i] for i in transfer], limit)
                assert max(hard[i] for i in learnt) <= limit
        assert len(sizes) == 1
        assert sizes.pop() < len(transfer), cell.seed


def test_difficulty_by_models_against_a_loop_over_predictions(bench: Bench) -> None:
    """Rungs trained on the rows they judge, or joined by position."""
    for _, made, own in own_steps(bench.probed, "easy-to-hard")[:1]:
        step = own["difficulty"]
        rungs = [step.inputs[f"rung_{i:03d}"] for i in range(2)]
        assert [r.inputs["features"].spec.model.layers for r in rungs] == [2, None]  # type: ignore[attr-defined]
        split = bench.store.open(made.ceiling_fit.inputs["split"])
        names, truth_NC = read_probabilities(bench.store.open(step.inputs["truth"]) / PROBABILITIES)
        truth = dict(zip(names, truth_NC.argmax(1).tolist(), strict=True))
        said = [
            dict(zip(i, p.argmax(1).tolist(), strict=True))
            for i, p in (read_probabilities(bench.store.open(r) / PROBABILITIES) for r in rungs)
        ]
        ids, difficulty_N = read_difficulty(bench.store.open(step))
        assert sorted(ids) == sorted(ids_of(split, [Part.TRANSFER, Part.TEST]))
        assert not set(ids) & set(ids_of(split, [Part.WEAK_TRAIN, Part.WEAK_VALIDATION]))
        for name, difficulty in zip(ids, difficulty_N.tolist(), strict=True):
            small, large = (s[name] == truth[name] for s in said)
            assert difficulty == (3 if not large else 1 if small else 2)


def test_given_difficulty_is_the_tasks_column(bench: Bench) -> None:
    """Rows of another order give every text the difficulty of a stranger."""
    _, _, own = own_steps(bench.probed, "easy-to-hard:by=given")[0]
    ids, difficulty_N = read_difficulty(bench.store.open(own["difficulty"]))
    table = HardRows().load().table
    lengths = dict(
        zip(table["id"].to_pylist(), (len(t.split()) for t in table["text"].to_pylist()), strict=True)
    )
    assert difficulty_N.tolist() == [lengths[i] for i in ids]


def test_easy_to_hard_measures_all_and_hard_rows(bench: Bench) -> None:
    """Accuracy of a place over the rows of another; a ceiling that is not the cell's."""
    rows = [r for r in bench.probed.analysis(EASY[0]) if r["method"] == "naive"]
    naive = next(a for a in bench.probed.aggregate if a["method"] == "naive")
    accuracy = {(r["arm"], r["cutoff"], r["where"]): r for r in rows if r["measure"] == "accuracy"}
    for arm in ("supervisor", "student", "ceiling"):
        assert accuracy[arm, None, "all"]["value"] == pytest.approx(naive[f"{arm}_score"])
    for arm, cutoff in (("easy", 1.0), ("easy", 2.0), ("random", None), ("ceiling", None)):
        levels = [
            r for (a, c, w), r in accuracy.items() if (a, c) == (arm, cutoff) and w.startswith("difficulty")
        ]
        total = accuracy[arm, cutoff, "all"]
        assert sum(r["rows"] for r in levels) == total["rows"] == 160
        assert sum(r["value"] * r["rows"] for r in levels) / 160 == pytest.approx(total["value"])
        assert 0 < accuracy[arm, cutoff, "hard"]["rows"] < 160
    assert accuracy["easy", 1.0, "all"]["train_rows"] == accuracy["random", None, "all"]["train_rows"]
    gain = next(
        r for r in rows if r["measure"] == "gain over random" and r["cutoff"] == 1 and r["where"] == "all"
    )
    wanted = accuracy["easy", 1.0, "all"]["value"] - accuracy["random", None, "all"]["value"]
    assert gain["value"] == pytest.approx(wanted)


def test_quarters_hold_every_row_once(bench: Bench) -> None:
    """Rows on an edge counted twice or left out."""
    for value in EASY[1:]:
        rows = [r for r in bench.probed.analysis(value) if r["arm"] == "ceiling" and r["method"] == "naive"]
        rows = [r for r in rows if r["measure"] == "accuracy"]
        quarters = [r["rows"] for r in rows if "quarter" in r["where"]]
        assert len(quarters) == 4
        assert sum(quarters) == 160


def test_what_does_not_fit_is_refused_in_words(bench: Bench, tiny_model: Callable[..., Path]) -> None:
    """An encoder asked a question, or rungs of a model without any, found out after the supervisors are trained."""
    encoder = str(tiny_model("bert"))
    wrong = bench.experiment([EASY[1]], students=encoder, methods="naive")
    with pytest.raises(ConfigError, match="asks a decoder"):
        Results(bench.store, (wrong,)).steps()
    single = str(tiny_model("llama", layers=1))
    with pytest.raises(ConfigError, match="no rungs"):
        Results(bench.store, (bench.experiment([EASY[0]], students=single, methods="naive"),)).steps()


def test_a_task_without_difficulty_says_so(bench: Bench, tmp_path: Path) -> None:
    """A missing column must not become a difficulty of nothing."""
    texts, labels = toy_rows(420)
    lines = [json.dumps({"text": t, "label": y}) for t, y in zip(texts, labels, strict=True)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    task = {"kind": "file", "path": str(tmp_path / "rows.jsonl")}
    planned = bench.experiment([EASY[2]], task=task, methods="naive", seeds=1)
    _, report = run_with_report(planned, store=bench.store)
    assert any("no column 'difficulty'" in words for words in report.failed.values())


# --- ground truth

FITS = {"probe", "finetune", "probe_trajectory", "finetune_trajectory"}


@pytest.mark.parametrize("regime", ["probed", "tuned"])
def test_no_students_fit_depends_on_what_an_analysis_knows(bench: Bench, regime: str) -> None:
    """Easy rows are chosen by ground truth: a student that got such a split would have seen it."""
    results: Results = getattr(bench, regime)
    grown = {"difficulty", "judge", "easy", "probe_trajectory", "finetune_trajectory"}
    for name in ("overfitting", "easy-to-hard", "saliency"):
        if not any(a.kind == name for a in results.experiments[0].analyses):
            continue
        for cell, made, own in own_steps(results, name):
            before = Graph().cell(cell)
            assert [s.key for s in before.scores()] == [s.key for s in made.scores()]
            assert not grown & {s.name for s in closure([made.student_fit, made.supervisor_fit])}
            allowed = {s.key for s in closure([made.student_fit])}
            for step in closure(list(own.values())):
                if {
                    step.name,
                    made.student_fit.name,
                } - FITS or step.spec.training != made.student_fit.spec.training:  # type: ignore[attr-defined]
                    continue
                if step.inputs["labels"] == made.student_fit.inputs["labels"]:
                    # Whatever else learns as the student does reads nothing that the student does not.
                    assert {i.key for i in step.inputs.values()} <= allowed, step.title


# --- estimates


@pytest.mark.parametrize("kind", ["probe_trajectory", "finetune_trajectory", "judge"])
def test_needs_are_known_before_they_run(bench: Bench, kind: str) -> None:
    """A step that a plan takes for a table costs hours that nobody was told of."""
    from torch.utils.flop_counter import FlopCounterMode

    results = bench.tuned if kind == "finetune_trajectory" else bench.probed
    name = "easy-to-hard:by=judged" if kind == "judge" else "overfitting"
    step = next(s for s in own_steps(results, name)[0][2].values() if s.name == kind)
    machine = Machine(cpus=8, gpus=0, memory=2**36, flops_per_second=1e11)
    need = Estimator(bench.store, Runtime(), machine).need([step])
    with bench.store.job(step) as job, FlopCounterMode(display=False) as counted:
        step.build_function()([job], Runtime())
    assert job.error is None
    measured = counted.get_total_flops()
    if (
        kind == "probe_trajectory"
    ):  # columns of a single head are filled up to 16, and numpy predicts uncounted
        assert need.flops > measured * 2 / 16
    else:
        assert measured / 2 < need.flops < measured * 2


@pytest.mark.parametrize("name", ["fig07", "fig11", "fig13", "fig21", "fig22"])
def test_recipes_are_planned(tmp_path: Path, name: str) -> None:
    """A field that was renamed makes a recipe fail for the first user who runs it."""
    (path,) = (Path(__file__).parents[1] / "recipes").glob(f"{name}_*.yaml")
    planned = Results(Store(tmp_path), tuple(experiments_in(path)))
    kinds = {step.name for step in closure(planned.steps())}
    grown = {
        "fig07": "finetune_trajectory",
        "fig11": "finetune",
        "fig13": "probe_trajectory",
        "fig21": "easy",
    }
    assert grown.get(name, "judge") in kinds
    assert "w2s run recipes/" + path.name in path.read_text()
