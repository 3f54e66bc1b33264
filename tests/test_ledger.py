"""The ledger of scorings, what choosing among them lifts, and the refusal of the best seed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_store import made_up, small_task
from typer.testing import CliRunner

from weakstrong import stats
from weakstrong.cli.app import app
from weakstrong.errors import ConfigError
from weakstrong.experiment import Experiment
from weakstrong.methods import parse_method
from weakstrong.prompting import prompting
from weakstrong.results import Results, collect
from weakstrong.selection import Setting, best, choices, differing, lift, signature
from weakstrong.store import Store

SWEEP = ["naive", "confidence:a_max=0.25", "confidence:a_max=0.5", "confidence", "early-stop:on=oracle"]
MORE = ["naive", "confidence:a_max=0.1", "zero-shot", "few-shot:k=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a sweep of three seeds, and in a second experiment one of its seeds and more methods."""
    place = tmp_path_factory.mktemp("ledger")
    values = {
        "name": "sweep", "task": small_task(place), "supervisors": "smollm2-135m:2", "students": "smollm2-135m:9",
        "methods": SWEEP, "seeds": 3, "split": {"train_rows": 100, "validation_rows": 30, "test_rows": 80},
    }  # fmt: skip
    more = {"name": "more", "methods": MORE, "seeds": [1]}
    for experiment in (values, values | more):
        made_up(Store(place / "store"), Experiment.parse(experiment))
    return place / "store"


@pytest.fixture
def sweep(folder: Path) -> Results:
    return named(folder, "sweep")


def named(folder: Path, name: str) -> Results:
    store = Store(folder)
    return collect(store, [e for e in collect(store).experiments if e.name == name])


# --- what is on record


def test_every_score_in_the_store_is_on_record(sweep: Results, folder: Path) -> None:
    """A supervisor's score counted once for each student, or scores of the other experiment left out."""
    rows = sweep.ledger.scorings
    assert len(rows) == len(list((folder / "score").iterdir()))
    by_arm = {arm: [r for r in rows if r["arm"] == arm] for arm in ("supervisor", "student", "ceiling")}
    # Students: five methods with three seeds; confidence:a_max=0.1, zero-shot and few-shot with one.
    assert {arm: len(found) for arm, found in by_arm.items()} == {
        "supervisor": 3,
        "student": 18,
        "ceiling": 3,
    }
    assert sorted(r["cells"] for r in by_arm["supervisor"]) == [5, 5, 8]
    assert {r["experiments"] for r in by_arm["student"]} == {"sweep", "more", "sweep, more"}
    assert all(r["registered"] and r["part"] == "test" and r["rows"] == 80 for r in rows)
    assert [r["finished"] for r in rows] == sorted(r["finished"] for r in rows)
    scores = {c["seed"]: c["student_score"] for c in sweep.cells if c["method"] == "naive"}
    assert {r["seed"]: r["score"] for r in by_arm["student"] if r["method"] == "naive"} == scores
    (test,) = sweep.ledger.tests
    assert (test["scorings"], test["scored_again"], test["unregistered"]) == (24, 0, 0)
    assert (test["methods"], test["settings"], test["seeds"]) == (8, 8, 3)


def test_a_score_of_no_experiment_and_a_second_one_are_seen(folder: Path, tmp_path: Path) -> None:
    """Scoring until it looks good, then deleting the experiment's note."""
    shutil.copytree(folder, tmp_path / "store")
    for note in (tmp_path / "store" / ".experiments").glob("*"):
        if json.loads(note.read_text())["name"] == "more":
            note.unlink()
    store = Store(tmp_path / "store")
    record = next(store.read_record("score", k) for k in sorted(store.keys("score")))
    again = {k: v for k, v in record.items() if k != "record_sha256"} | {"version": 0}
    built = tmp_path / "built"
    shutil.copytree(store.folder("score", record["key"]), built)
    assert store.adopt(built, "score", "0" * 64, again)
    (test,) = collect(store).ledger.tests
    assert (test["scorings"], test["unregistered"], test["scored_again"]) == (25, 4, 1)
    assert "4 of no experiment" in collect(store).ledger.words()[0]


def test_seeds_that_are_on_record_and_not_shown(sweep: Results, folder: Path) -> None:
    """A second experiment that lists only the seed that looked best."""
    found = named(folder, "more").ledger
    assert [(r["method"], r["seeds"], r["missing"]) for r in found.left_out] == [("naive", [1], [0, 2])]
    assert any("seeds 0, 2 are on record too" in w for w in named(folder, "more").warnings())
    assert sweep.ledger.left_out == []
    assert any("over all seeds on record" in words for words in sweep.ledger.words())


def test_choosing_a_value_on_the_test_rows_draws_a_warning(sweep: Results, folder: Path) -> None:
    """A sweep of a parameter scored on the test rows, its best value reported as if it were the only one."""
    (choice,) = sweep.ledger.choices
    assert (choice["method"], choice["parameters"], choice["n_variants"]) == ("confidence", "a_max", 4)
    assert choice["expected_maximum"] is None  # one of the four has one seed only
    for results in (sweep, named(folder, "more")):
        (warning,) = [w for w in results.warnings() if "Choosing among" in w]
        assert "Choosing among 4 variants of confidence on test accuracy" in warning
    alone = Results(sweep.store, sweep.experiments).ledger_of(lambda _: False)
    (choice,) = alone.choices
    assert (choice["n_variants"], choice["expected_maximum"] > 0) == (3, True)


# --- what choosing lifts


def settings(correct_KSN: Any, names: list[str], recipe: str = "r") -> list[Setting]:
    """Settings with these students, a supervisor that is right on 60 % of rows and a ceiling on 90 %."""
    place = {"task": "t", "supervisor": "a", "student": "b", "regime": "probe", "recipe": recipe}
    n = correct_KSN.shape[-1]
    fixed = {arm: np.arange(n) < share * n for arm, share in (("supervisor", 0.6), ("ceiling", 0.9))}
    return [
        Setting(
            place | {"method": name}, parse_method(name), "rows",
            {"student": dict(enumerate(c_SN))} | {a: dict.fromkeys(range(len(c_SN)), c) for a, c in fixed.items()},
        )
        for name, c_SN in zip(names, correct_KSN, strict=True)
    ]  # fmt: skip


VALUES = [f"confidence:a_max=0.{i}" for i in range(1, 7)]


def test_the_lift_of_equal_settings_is_what_the_best_of_them_gains() -> None:
    """The spread of scores on other test rows, which all settings share, taken for luck that one of them has."""
    rng = np.random.default_rng(0)
    gains, lifts = [], []
    for _ in range(60):
        easy_N = rng.normal(0.7, 0.3, 300)  # the same rows are easy for all: noise that no choice can use
        shift_KS1 = rng.normal(0, 0.05, (6, 5, 1))  # training: each setting and seed its own
        found = settings(easy_N + shift_KS1 + rng.normal(0, 0.2, (6, 5, 300)) > 0.5, VALUES)
        scores = [s.score() for s in found]
        gains.append(max(scores) - np.mean(scores))
        lifted = lift(found)
        assert lifted is not None
        lifts.append(lifted)
    # Five seeds resampled have 4/5 of their variance, as in every bootstrap; so the lift may be a tenth too small.
    assert np.mean(lifts) == pytest.approx(np.mean(gains), rel=0.2)


def test_no_lift_where_there_is_no_choice() -> None:
    """A correction of a single setting, or a number where no seeds are common."""
    rng = np.random.default_rng(1)
    correct = rng.random((2, 4, 50)) < 0.7
    found = settings(correct, VALUES[:2])
    assert lift(found[:1]) == 0
    same = settings(np.stack([correct[0]] * 2), VALUES[:2])
    assert lift(same) == pytest.approx(0, abs=1e-9)
    apart = replace(found[1], arms={"student": {9: correct[1, 0]}})
    assert lift([found[0], apart]) is None


def test_variants_are_of_one_method_one_pair_and_the_same_rows() -> None:
    """Two methods called variants of one; settings on other rows, or oracles, counted."""
    correct = np.random.default_rng(2).random((3, 3, 40)) < 0.7
    names = ["confidence:a_max=0.5", "confidence", "naive"]
    (row,) = choices(settings(correct, names))
    assert (row["n_variants"], row["variants"]) == (2, "confidence:a_max=0.5; confidence")
    assert row["expected_maximum_pgr"] == pytest.approx(row["expected_maximum"] / 0.3)
    found = settings(correct, names)
    elsewhere = replace(found[0], test="other rows")
    assert choices([elsewhere, *found[1:]]) == []
    oracles = ["few-shot:labels=truth", "few-shot:labels=truth,k=3"]
    assert choices(settings(correct[:2], oracles)) == []
    joined = ["bootstrapping+confidence", "bootstrapping:rounds=1+confidence:a_max=0.5"]
    assert {signature(parse_method(n)) for n in joined} == {"bootstrapping+confidence"}
    assert differing(settings(correct[:2], joined)) == ["rounds", "a_max"]
    tuned = settings(correct[:1], ["naive"]) + settings(correct[1:2], ["naive"], recipe="other")
    assert choices(tuned)[0]["parameters"] == "training"


# --- the best


def test_the_best_seed_is_refused_and_the_error_teaches() -> None:
    """The luckiest of five equal runs reported as the result."""
    found = settings(np.random.default_rng(3).random((1, 5, 100)) < 0.8, ["naive"])
    with pytest.raises(ConfigError, match=r"luck.*1\.77 standard deviations.*--aggregate.*--corrected"):
        best(found, "seed")
    with pytest.raises(ConfigError, match="method or seed"):
        best(found, "epoch", corrected=True)
    (row,) = best(found, "seed", corrected=True)
    scores = [correct_N.mean() for correct_N in found[0].correct.values()]
    assert (row["seed"], row["score"]) == (int(np.argmax(scores)), max(scores))
    expected = stats.expected_maximum(5, float(np.std(scores, ddof=1)))
    assert row["corrected"] == pytest.approx(max(scores) - expected)
    assert row["pgr_corrected"] == pytest.approx((row["corrected"] - 0.6) / 0.3)
    assert row["mean"] == pytest.approx(np.mean(scores))


def test_the_corrected_best_of_equal_seeds_is_their_mean() -> None:
    """A correction that leaves a part of the luck in the number."""
    rng = np.random.default_rng(4)
    rest = []
    for _ in range(300):
        (row,) = best(settings(rng.random((1, 5, 400)) < 0.8, ["naive"]), "seed", corrected=True)
        rest.append(row["corrected"] - 0.8)
    assert abs(np.mean(rest)) < 4 * np.std(rest) / np.sqrt(300)


def test_the_best_method_comes_with_its_correction(sweep: Results) -> None:
    """An oracle named as the best method; the number of settings tried left out."""
    (row,) = sweep.best("method")
    assert row["n_choices"] == 4
    assert row["method"] != "early-stop:on=oracle"
    wanted = max(r["student_score"] for r in sweep.aggregate if not r["uses_ground_truth"])
    assert row["score"] == pytest.approx(wanted)
    assert row["corrected"] == pytest.approx(wanted - row["expected_maximum"])
    assert row["expected_maximum"] > 0
    assert "among 4 settings" in row["warning"]


def test_prompting_stands_beside_training(folder: Path) -> None:
    """A ceiling of another group, ground truth that is not marked, groups without any prompt."""
    results = named(folder, "more")
    rows = results.prompting
    assert [r["way"] for r in rows] == ["zero-shot", "few-shot, weak labels", "naive", "ceiling"]
    whole = {r["method"]: r for r in results.aggregate}
    assert [r["score"] for r in rows] == [
        *(whole[m]["student_score"] for m in ("zero-shot", "few-shot:k=2", "naive")),
        whole["naive"]["ceiling_score"],
    ]
    assert [r["uses_ground_truth"] for r in rows] == [False, False, False, True]
    assert rows[0]["gain_vs_naive"] == pytest.approx(rows[0]["score"] - rows[2]["score"])
    assert rows[2]["gain_vs_naive"] is None
    assert named(folder, "sweep").prompting == []
    truth = whole["few-shot:k=2"] | {"method": "few-shot:k=2,labels=truth", "uses_ground_truth": True}
    assert [r["way"] for r in prompting([truth])] == ["few-shot, ground truth", "ceiling"]


def test_the_command_line(folder: Path) -> None:
    """Options that print another thing than they say, or an error without exit code."""
    run = CliRunner().invoke
    table = run(app, ["results", "--ledger", "--store", str(folder)])
    assert table.exit_code == 0, table.output
    assert "24 scores" in table.output
    assert "Choosing among 4 variants of confidence" in table.output
    whole = json.loads(run(app, ["results", "--ledger", "--json", "--store", str(folder)]).stdout)
    assert set(whole) == {"tests", "choices", "left_out", "warnings", "scorings"}
    listed = run(app, ["results", "--ledger", "--format", "csv", "--store", str(folder)]).stdout
    assert len(listed.splitlines()) == 25
    refused = run(app, ["results", "--best", "seed", "--store", str(folder)])
    assert isinstance(refused.exception, ConfigError)
    seeds = json.loads(
        run(app, ["results", "--best", "seed", "--corrected", "--json", "--store", str(folder)]).stdout
    )
    assert all(r["corrected"] <= r["score"] for r in seeds)
    methods = run(app, ["results", "--best", "method", "--store", str(folder)])
    assert methods.exit_code == 0
    assert "among" in methods.stderr
    prompted = run(app, ["results", "--prompting", "--json", "--store", str(folder)]).stdout
    assert json.loads(prompted)[0]["way"] == "zero-shot"
