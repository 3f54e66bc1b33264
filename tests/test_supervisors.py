"""Supervisors that are people, stored predictions, or a file: whose labels a student gets.

Legend: N rows, R raters, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from weakstrong.builders.data import PROBABILITIES
from weakstrong.data import read_probabilities
from weakstrong.errors import ConfigError, DataError, UnknownNameError
from weakstrong.experiment import Experiment
from weakstrong.graph import Graph
from weakstrong.models.base import ModelSpec
from weakstrong.schedule import run_steps
from weakstrong.store import Store
from weakstrong.supervisors import FileLabels, RaterLabels, parse_labels, parse_supervisor
from weakstrong.training.spec import Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
RATERS = ("ann", "bob", "eve")


class Bench:
    """Rows with three raters and a store; weak labels of any supervisor."""

    def __init__(self, folder: Path, model: str, rows: MakeRows) -> None:
        texts, labels = rows(200)
        rng = np.random.default_rng(0)
        self.votes_NR = np.where(
            rng.random((200, 3)) < 0.3, 1 - np.array(labels)[:, None], np.array(labels)[:, None]
        )
        self.votes_NR[rng.random((200, 3)) < 0.1] = -1
        self.votes_NR[:, 0] = np.abs(self.votes_NR[:, 0])  # everybody has one vote at least
        names = {-1: None, 0: "no", 1: "yes"}
        self.frame = pl.DataFrame(
            {"key": [f"r{i}" for i in range(200)], "text": texts, "label": [names[y] for y in labels]}
            | {who: [names[v] for v in self.votes_NR[:, r].tolist()] for r, who in enumerate(RATERS)}
        )
        self.frame.write_ndjson(folder / "rows.jsonl")
        self.task = {"kind": "file", "path": str(folder / "rows.jsonl"), "id": "key", "rater": list(RATERS)}
        self.model, self.store, self.folder = model, Store(folder / "store"), folder

    def cells(self, supervisor: Any, seeds: int = 1, task: Any = None) -> list[Any]:
        values = {
            "task": task or self.task, "supervisors": [supervisor], "students": self.model, "methods": ["naive"],
            "seeds": seeds, "split": {"train_rows": 40, "validation_rows": 10, "test_rows": 40},
        }  # fmt: skip
        graph = Graph()
        return [graph.cell(cell) for cell in Experiment.parse(values).cells()]

    def labels(self, supervisor: Any, seeds: int = 1, task: Any = None) -> list[dict[str, list[float]]]:
        """Class probabilities by row id, seed by seed."""
        out = []
        for made in self.cells(supervisor, seeds, task):
            report = run_steps([made.supervisor_fit], self.store, Runtime())
            if report.failed:
                raise DataError(next(iter(report.failed.values())))
            ids, probs_NC = read_probabilities(self.store.open(made.supervisor_fit) / PROBABILITIES)
            out.append(dict(zip(ids, probs_NC.tolist(), strict=True)))
        return out


@pytest.fixture
def bench(tmp_path: Path, tiny_model: Tiny, rows: MakeRows) -> Bench:
    return Bench(tmp_path, str(tiny_model("llama", layers=2)), rows)


def test_names_say_what_they_mean() -> None:
    """A model called raters, k read as a way to join, or a name that parses to another supervisor."""
    for name, wanted in {
        "file": FileLabels(), "file:bert-r1": FileLabels(stored="bert-r1"), "raters": RaterLabels(),
        "raters:3": RaterLabels(k=3), "raters:3:majority": RaterLabels(k=3, aggregate="majority"),
        "raters::dawid-skene": RaterLabels(aggregate="dawid-skene"),
    }.items():  # fmt: skip
        assert parse_labels(name) == wanted
        assert parse_labels(wanted.to_dict()) == wanted
        assert parse_labels(wanted.name) == wanted
    assert isinstance(parse_supervisor("minilm-l6"), ModelSpec)
    for bad in ("raters:0", "raters:-1", "raters:x"):
        with pytest.raises(ConfigError, match="write raters"):
            parse_labels(bad)
    with pytest.raises(UnknownNameError, match="dawid-skene"):
        parse_labels("raters:3:dawid")


def test_all_raters_are_shares_of_votes(bench: Bench) -> None:
    """Votes of another row, an empty cell counted as a class, or another draw for each seed where nothing is drawn."""
    first, second = bench.labels("raters", seeds=2)
    for i, votes in enumerate(bench.votes_NR.tolist()):
        cast = [v for v in votes if v >= 0]
        yes = sum(cast) / len(cast)
        for found in (first, second):
            if f"r{i}" in found:
                assert found[f"r{i}"] == pytest.approx([1 - yes, yes])
    assert len(first.keys() & second.keys()) > 20


def test_each_seed_draws_its_raters_anew(bench: Bench) -> None:
    """The same rater for every seed: seeds that do not vary the supervisor; or a rater who did not vote."""
    first, second = bench.labels("raters:1", seeds=2)
    both = first.keys() & second.keys()
    assert all(sorted(p) == [0.0, 1.0] for p in first.values())
    assert any(first[i] != second[i] for i in both)
    for i, p in first.items():
        assert p.index(1.0) in bench.votes_NR[int(i[1:])]
    assert bench.labels("raters:1")[0] == first


def test_dawid_skene_is_asked_for_by_name(bench: Bench) -> None:
    """A way to join that is parsed and then ignored."""
    from weakstrong.raters import dawid_skene

    (found,) = bench.labels("raters::dawid-skene")
    rows = sorted(found, key=lambda i: int(i[1:]))
    assert found != bench.labels("raters")[0]
    # Confusion matrices are those of the rows that are used, whatever their order.
    wanted_NC = dawid_skene(bench.votes_NR[[int(i[1:]) for i in rows]], 2)
    assert np.allclose([found[i] for i in rows], wanted_NC, atol=1e-3)


def test_a_file_of_labels_for_any_task(bench: Bench) -> None:
    """Labels joined by place; classes in the file's order; a file that changed under an old key."""
    plain = {k: v for k, v in bench.task.items() if k != "rater"}
    yes = np.random.default_rng(1).random(200).round(3)
    other = pl.DataFrame({"row": [f"r{i}" for i in range(200)], "p_yes": yes, "p_no": 1 - yes}).sample(
        fraction=1.0, shuffle=True, seed=1
    )
    other.write_csv(bench.folder / "weak.csv")
    given = {
        "kind": "file-labels",
        "path": str(bench.folder / "weak.csv"),
        "id": "row",
        "weak_label": ["p_yes", "p_no"],
    }
    (found,) = bench.labels(given, task=plain)
    assert all(p[1] == pytest.approx(yes[int(i[1:])], abs=1e-6) for i, p in found.items())
    key = parse_labels(given)
    other.with_columns(pl.col("p_no").alias("p_yes"), pl.col("p_yes").alias("p_no")).write_csv(
        bench.folder / "weak.csv"
    )
    assert parse_labels(given) != key
    votes = {
        "kind": "rater-labels",
        "path": str(bench.folder / "votes.csv"),
        "id": "key",
        "rater": list(RATERS),
    }
    bench.frame.select("key", *RATERS).write_csv(bench.folder / "votes.csv")
    (apart,) = bench.labels(votes, task=plain)
    assert apart == bench.labels("raters")[0]


def test_what_is_missing_is_said(bench: Bench) -> None:
    """A key error in place of what the task has and what to do."""
    plain = {k: v for k, v in bench.task.items() if k != "rater"}
    with pytest.raises(DataError, match="has no raters"):
        bench.labels("raters:2", task=plain)
    with pytest.raises(DataError, match="no such weak labels"):
        bench.labels("file:bert", task=plain)
    frame = pl.DataFrame({"id": ["r0", "r1", "elsewhere"], "guess": ["yes", "no", "no"]})
    frame.write_csv(bench.folder / "few.csv")
    few = {"kind": "file-labels", "path": str(bench.folder / "few.csv"), "weak_label": ["guess"]}
    with pytest.raises(DataError, match="1 rows that do not exist in the task, first id 'elsewhere'"):
        bench.labels(few, task=plain)
    frame.head(2).write_csv(bench.folder / "few.csv")
    with pytest.raises(DataError, match=r"weak labels of file:few.csv: .* rows do not exist"):
        bench.labels(few, task=plain)
    with pytest.raises(ConfigError, match="name these with weak_label"):
        parse_labels({"kind": "file-labels", "path": str(bench.folder / "few.csv")})


def test_dawid_skene_is_refused_where_raters_are_not_persons(bench: Bench) -> None:
    """The third rating of every sentence taken for one person: weights that mean nothing."""
    with pytest.raises(ConfigError, match="dawid-skene weighs persons"):
        bench.cells("raters:3:dawid-skene", task="movie-snippets")
    assert bench.cells("raters:3:majority", task="movie-snippets")
