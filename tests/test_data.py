"""Splits that leak nothing and tables that are joined by id."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weakstrong import steps
from weakstrong.builders.data import build_score, build_split, build_truth
from weakstrong.builders.labels import build_weak_labels
from weakstrong.data import (
    Part,
    Split,
    check_probabilities,
    deal,
    make_rows,
    one_hot,
    positions,
    probability_table,
    read_probabilities,
)
from weakstrong.errors import DataError
from weakstrong.store import Job, Step
from weakstrong.supervisors import FileLabels
from weakstrong.tasks import parse_task
from weakstrong.training.spec import Runtime


def rows_of(labels: list[int], groups: list[str] | None = None) -> pa.Table:
    return make_rows([f"text {i}" for i in range(len(labels))], labels, groups=groups)


def parts_of(split: pa.Table) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {str(part): [] for part in Part}
    for name, part in zip(split["id"].to_pylist(), split["part"].to_pylist(), strict=True):
        found[part].append(name)
    return found


@st.composite
def dealings(draw: st.DrawFn) -> tuple[pa.Table, int, Split]:
    """Rows with groups of 1 to 4 rows, and a split that must fit in them."""
    classes = draw(st.integers(2, 4))
    train, validation = draw(st.integers(2, 30)), draw(st.integers(1, 8))
    test = draw(st.integers(classes, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Four rows of a group may serve one test row, and a group at a part's edge is cut.
    count = 4 * test * classes + 2 * (train + validation) + 40
    group_sizes = rng.integers(1, draw(st.integers(1, 4)) + 1, count)
    groups = [f"g{g}" for g, size in enumerate(group_sizes) for _ in range(size)]
    labels = (rng.permutation(len(groups)) % classes).tolist()
    spec = Split(train_rows=train, validation_rows=validation, test_rows=test, seed=draw(st.integers(0, 5)))
    return rows_of(labels, groups), classes, spec


@settings(max_examples=60, deadline=None)
@given(dealings())
def test_splits_are_exact_disjoint_by_group_and_balanced(dealing: tuple[pa.Table, int, Split]) -> None:
    """A group that straddles parts leaks; a short part changes the experiment; an unbalanced test moves chance."""
    rows, classes, spec = dealing
    parts = parts_of(deal(rows, classes, spec))
    group = dict(zip(rows["id"].to_pylist(), rows["group"].to_pylist(), strict=True))
    label = dict(zip(rows["id"].to_pylist(), rows["label"].to_pylist(), strict=True))
    assert len(parts["weak_train"]) == len(parts["transfer"]) == spec.train_rows
    assert len(parts["weak_train_validation"]) == len(parts["validation"]) == spec.validation_rows
    assert spec.test_rows is not None
    assert Counter(label[i] for i in parts["test"]) == dict.fromkeys(
        range(classes), spec.test_rows // classes
    )
    groups = [{group[i] for i in ids} for ids in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    everything = [i for ids in parts.values() for i in ids]
    assert len(everything) == len(set(everything))


@settings(max_examples=20, deadline=None)
@given(dealings(), st.integers(6, 99))
def test_seeds_share_the_test_rows_and_nothing_else_of_the_order(
    dealing: tuple[pa.Table, int, Split], other: int
) -> None:
    """Intervals pair seeds on the same test rows; seeds with equal halves would be no repeats."""
    rows, classes, spec = dealing
    one = parts_of(deal(rows, classes, spec))
    two = parts_of(deal(rows, classes, spec.model_copy(update={"seed": other})))
    again = parts_of(deal(rows, classes, spec))
    assert one == again
    assert one["test"] == two["test"]
    assert (one["weak_train"], one["transfer"]) != (two["weak_train"], two["transfer"])


def test_another_test_seed_gives_other_test_rows() -> None:
    """A test seed that is ignored would hide the luck of one test set."""
    rows = rows_of([0, 1] * 200)
    tests = [set(parts_of(deal(rows, 2, Split(test_seed=s)))["test"]) for s in range(3)]
    assert len(set(map(frozenset, tests))) == 3


def test_halves_are_drawn_anew_and_not_by_order() -> None:
    """Rows sorted by difficulty or date must not go to one half."""
    rows = rows_of([0, 1] * 1000)
    parts = parts_of(deal(rows, 2, Split()))
    place = {name: i for i, name in enumerate(rows["id"].to_pylist())}
    means = [np.mean([place[i] for i in parts[p]]) for p in ("weak_train", "transfer", "test")]
    spread = 2000 / math.sqrt(12 * 400)
    assert all(abs(m - 1000) < 5 * spread for m in means)


@given(st.integers(60, 300), st.integers(400, 900))
def test_a_large_majority_is_cut_to_the_size_of_the_others(small: int, large: int) -> None:
    """With 90 % of one class, guessing it would be a good student (paper A.1)."""
    rows = rows_of([0] * large + [1] * small)
    label = dict(zip(rows["id"].to_pylist(), rows["label"].to_pylist(), strict=True))
    ids = deal(rows, 2, Split())["id"].to_pylist()
    counts = Counter(label[i] for i in ids)
    assert counts[0] <= small
    assert counts[1] <= small
    kept = parts_of(deal(rows, 2, Split(majority_limit=1.0, test_rows=40)))
    assert Counter(label[i] for ids in kept.values() for i in ids)[0] > small


def test_a_small_majority_is_left_alone() -> None:
    """Cutting at 50 % instead of the limit throws rows away."""
    rows = rows_of([0] * 540 + [1] * 460)
    label = dict(zip(rows["id"].to_pylist(), rows["label"].to_pylist(), strict=True))
    counts = Counter(label[i] for i in deal(rows, 2, Split())["id"].to_pylist())
    assert counts[0] > 500


def test_the_majority_cut_is_the_same_for_every_seed() -> None:
    """Test rows must not depend on the seed through the cut either."""
    rows = rows_of([0] * 900 + [1] * 100)
    tests = {tuple(parts_of(deal(rows, 2, Split(seed=s)))["test"]) for s in range(4)}
    assert len(tests) == 1


@pytest.mark.parametrize(
    ("labels", "spec", "words"),
    [
        ([0, 1] * 50, Split(train_rows=100), r"80 are left after the test part, 210 are wanted"),
        (
            [0, 1] * 50,
            Split(test_rows=120),
            r"120 balanced test rows of 2 classes: rows per class \[50, 50\]",
        ),
        ([0, 1] * 5 + [2], Split(test_rows=6), r"rows per class \[5, 5, 1\]"),
        ([0] * 100, Split(), r"only one class is present \(rows per class: \[100, 0"),
        ([0, 1], Split(), r"too few rows"),
    ],
)
def test_too_few_rows_are_refused_with_counts(labels: list[int], spec: Split, words: str) -> None:
    """Silently smaller parts make cells that cannot be compared."""
    with pytest.raises(DataError, match=words):
        deal(rows_of(labels), max(2, max(labels) + 1), spec)


# --- rows


def test_copies_of_a_text_share_a_group() -> None:
    """A repeated text in both halves is leakage."""
    rows = make_rows(["a", "b", "a", "a"], [0, 1, 0, 1])
    ids, groups = rows["id"].to_pylist(), rows["group"].to_pylist()
    assert len(set(ids)) == 4
    assert groups[0] == groups[2] == groups[3] != groups[1]
    named = make_rows(["a", "b", "a"], [0, 1, 0], ids=["1", "2", "3"])["group"].to_pylist()
    assert named[0] == named[2] != named[1]


@pytest.mark.parametrize("empty", ["", "   ", "\n\t"])
def test_empty_texts_are_refused_by_row(empty: str) -> None:
    """An empty text has no last token to read a feature from."""
    with pytest.raises(DataError, match=r"1 of 3 texts are empty, first in row 2"):
        make_rows(["a", empty, "c"], [0, 1, 0])


def test_repeated_ids_are_refused_by_name() -> None:
    """A join on repeated ids gives a row another row's label."""
    with pytest.raises(DataError, match=r"2 ids appear twice, first 'x'"):
        make_rows(list("abcde"), [0] * 5, ids=["u", "x", "y", "x", "y"])


def test_columns_of_unequal_length_are_refused() -> None:
    """zip without strict drops the tail silently."""
    with pytest.raises(DataError, match="2 labels for 3 texts"):
        make_rows(["a", "b", "c"], [0, 1])
    with pytest.raises(DataError, match="4 groups for 3 texts"):
        make_rows(["a", "b", "c"], [0, 1, 0], groups=list("abcd"))


@pytest.mark.parametrize(
    "row", [[0.5, 0.6], [1.2, -0.2], [math.nan, 1.0], [math.inf, 0.0], [0.2, 0.3], [0.0, 0.0]]
)
def test_what_is_no_probability_is_refused_by_row(row: list[float]) -> None:
    """Logits or percentages taken for probabilities train on nonsense."""
    with pytest.raises(DataError, match="weak labels: row 2 is"):
        check_probabilities(np.array([[0.5, 0.5], row]), "weak labels")


def test_rounded_probabilities_pass() -> None:
    """Files hold four digits."""
    check_probabilities(np.array([[0.3333, 0.3333, 0.3333], [1, 0, 0]]), "weak labels")


def test_positions_are_by_id_and_name_what_is_missing() -> None:
    """Joining by place gives rows each other's labels."""
    assert positions(["c", "a"], ["a", "b", "c"], "x").tolist() == [2, 0]
    with pytest.raises(DataError, match=r"labels: 2 of 3 rows do not exist, first 'q'"):
        positions(["a", "q", "r"], ["a", "b"], "labels")


# --- builders join by id


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """``made(step, builder, **input folders)``: the folder that a builder fills."""

    def make(step: Step, builder: Any, **inputs: Path) -> tuple[Path, dict[str, Any]]:
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        job = Job(step, out, inputs, tmp_path / "scratch")
        builder([job], Runtime())
        return out, job.summary

    return make


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    """A load step's folder of 400 rows of three classes with weak labels, classes in no order."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    weak_NC = rng.dirichlet(np.ones(3), 400)
    folder = tmp_path / "loaded"
    folder.mkdir()
    pq.write_table(
        make_rows([f"t{i}" for i in range(400)], labels.tolist(), weak_NC=weak_NC), folder / "rows.parquet"
    )
    (folder / "classes.json").write_text('["a", "b", "c"]')
    return folder


def shuffled(folder: Path, name: str, target: Path) -> Path:
    target.mkdir()
    table = pq.read_table(folder / name)
    pq.write_table(table.take(np.random.default_rng(5).permutation(len(table))), target / name)
    return target


def test_scores_do_not_depend_on_the_order_of_any_file(made: Any, loaded: Path, tmp_path: Path) -> None:
    """Predictions joined by place score as chance, or worse, slightly wrong."""
    load = steps.load(parse_task("movie-snippets"))
    dealt = steps.split(load, Split())
    split, _ = made(dealt, build_split, load=loaded)
    sealed = steps.truth(load, dealt, (Part.TEST,))
    truth, _ = made(sealed, build_truth, load=loaded, split=split)
    ids, truth_NC = read_probabilities(truth / "probabilities.parquet")
    rng = np.random.default_rng(1)
    guesses = np.where(rng.random(len(ids)) < 0.3, rng.integers(0, 3, len(ids)), truth_NC.argmax(1))
    (tmp_path / "predicted").mkdir()
    table = probability_table(ids, one_hot(guesses, 3) * 0.8 + 0.2 / 3)
    pq.write_table(table, tmp_path / "predicted" / "probabilities.parquet")
    score = steps.score(load, sealed)
    straight, summary = made(score, build_score, predictions=tmp_path / "predicted", truth=truth)
    assert summary["accuracy"] == pytest.approx(np.mean(guesses == truth_NC.argmax(1)))
    assert 0.5 < summary["accuracy"] < 0.95

    mixed, mixed_summary = made(
        score, build_score,
        predictions=shuffled(tmp_path / "predicted", "probabilities.parquet", tmp_path / "p2"), truth=truth,
    )  # fmt: skip
    assert mixed_summary == summary
    assert pq.read_table(mixed / "correct.parquet") == pq.read_table(straight / "correct.parquet")

    rows = pq.read_table(loaded / "rows.parquet")
    label = dict(zip(rows["id"].to_pylist(), rows["label"].to_pylist(), strict=True))
    other = shuffled(loaded, "rows.parquet", tmp_path / "l2")
    (other / "classes.json").write_text((loaded / "classes.json").read_text())
    again, _ = made(sealed, build_truth, load=other, split=split)
    assert pq.read_table(again / "probabilities.parquet") == pq.read_table(truth / "probabilities.parquet")
    assert [label[i] for i in ids] == truth_NC.argmax(1).tolist()


def test_truth_unseals_the_parts_asked_for_only(made: Any, loaded: Path) -> None:
    """The supervisor's truth file must hold no transfer or test row."""
    load = steps.load(parse_task("movie-snippets"))
    dealt = steps.split(load, Split())
    split, _ = made(dealt, build_split, load=loaded)
    parts = parts_of(pq.read_table(split / "split.parquet"))
    wanted = (Part.WEAK_TRAIN, Part.WEAK_VALIDATION)
    truth, _ = made(steps.truth(load, dealt, wanted), build_truth, load=loaded, split=split)
    ids, _ = read_probabilities(truth / "probabilities.parquet")
    assert ids == parts["weak_train"] + parts["weak_train_validation"]


def test_weak_labels_of_a_file_go_to_their_own_rows(made: Any, loaded: Path, tmp_path: Path) -> None:
    """A shifted column of weak labels looks like a bad supervisor."""
    load = steps.load(parse_task("movie-snippets"))
    dealt = steps.split(load, Split())
    split, _ = made(dealt, build_split, load=loaded)
    step = steps.weak_labels(load, dealt, steps.WeakLabelsSpec(supervisor=FileLabels()))
    weak, _ = made(step, build_weak_labels, load=loaded, split=split)
    ids, weak_NC = read_probabilities(weak / "probabilities.parquet")
    rows = pq.read_table(loaded / "rows.parquet").to_pylist()
    wanted = {r["id"]: [r["weak_0"], r["weak_1"], r["weak_2"]] for r in rows}
    assert np.array_equal(weak_NC, np.array([wanted[i] for i in ids], np.float32))


def test_predictions_without_a_test_row_are_refused(made: Any, loaded: Path, tmp_path: Path) -> None:
    """Scoring the rows that happen to be there is another test set."""
    load = steps.load(parse_task("movie-snippets"))
    dealt = steps.split(load, Split())
    split, _ = made(dealt, build_split, load=loaded)
    sealed = steps.truth(load, dealt, (Part.TEST,))
    truth, _ = made(sealed, build_truth, load=loaded, split=split)
    ids, truth_NC = read_probabilities(truth / "probabilities.parquet")
    (tmp_path / "short").mkdir()
    pq.write_table(probability_table(ids[1:], truth_NC[1:]), tmp_path / "short" / "probabilities.parquet")
    with pytest.raises(DataError, match=f"predictions of the test part: 1 of {len(ids)} rows do not exist"):
        made(steps.score(load, sealed), build_score, predictions=tmp_path / "short", truth=truth)


def fixed_rows(train: int, test: int, per_group: int = 1, shared: int = 0) -> pa.Table:
    """Rows of which the authors set some aside; the first ``shared`` groups of the test rows also train."""
    names = [f"g{i // per_group}" for i in range(train)] + [
        f"g{i // per_group}" if i // per_group < shared else f"h{i // per_group}" for i in range(test)
    ]
    table = make_rows(
        [f"text {i}" for i in range(train + test)], [i % 2 for i in range(train + test)], groups=names
    )
    return table.append_column("origin", pa.array(["train"] * train + ["test"] * test))


def test_a_fixed_test_part_is_the_only_source_of_test_rows() -> None:
    """Rows that the authors set aside learn, or their training rows are scored: numbers nobody can compare."""
    rows = fixed_rows(400, 100)
    origin = dict(zip(rows["id"].to_pylist(), rows["origin"].to_pylist(), strict=True))
    parts = parts_of(deal(rows, 2, Split()))
    assert {origin[i] for i in parts["test"]} == {"test"}
    assert all(origin[i] == "train" for part, ids in parts.items() if part != "test" for i in ids)
    # A fifth of all rows would be 100; balanced as ever.
    assert len(parts["test"]) == 100
    with pytest.raises(DataError, match=r"too few rows for 120 balanced test rows.*\[50, 50\]"):
        deal(rows, 2, Split(test_rows=120))
    only = rows.filter(pa.compute.equal(rows["origin"], "test"))
    assert set(parts_of(deal(only, 2, Split()))) >= {"test", "transfer", "weak_train"}


def test_groups_of_fixed_test_rows_do_not_learn() -> None:
    """A passage with questions in the authors' train and test parts (ETHICS, SST-2) leaks its answers."""
    rows = fixed_rows(400, 100, per_group=4, shared=10)
    group = dict(zip(rows["id"].to_pylist(), rows["group"].to_pylist(), strict=True))
    parts = parts_of(deal(rows, 2, Split()))
    tested = {group[i] for i in parts["test"]}
    assert any(g.startswith("g") for g in tested)
    assert not tested & {group[i] for part, ids in parts.items() if part != "test" for i in ids}


def test_a_few_large_groups_are_dealt_uneven_rather_than_refused() -> None:
    """MultiRC's paragraphs have some forty rows each: parts that miss a tenth stopped the whole experiment."""
    groups = [f"g{i // 40}" for i in range(1200)]
    rows = make_rows([f"text {i}" for i in range(1200)], [i % 2 for i in range(1200)], groups=groups)
    for seed in range(5):
        parts = parts_of(deal(rows, 2, Split(seed=seed)))
        assert 0.5 < len(parts["transfer"]) / len(parts["weak_train"]) < 2
