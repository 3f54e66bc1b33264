"""Builder of weak labels that no model of ours made: stored, in a file, or of raters. Legend: N rows, R raters, C classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from weakstrong.builders.data import PROBABILITIES, ids_of, read_rows
from weakstrong.data import FloatArray, Part, positions, probability_table
from weakstrong.errors import DataError
from weakstrong.raters import AGGREGATES, draw
from weakstrong.steps import WeakLabelsSpec
from weakstrong.store import Job
from weakstrong.supervisors import PREFIX, FileLabels, RaterLabels
from weakstrong.training.spec import Runtime


def build_weak_labels(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Hand on stored labels, or join the votes of raters."""
    for job in jobs:
        spec = job.step.spec
        assert isinstance(spec, WeakLabelsSpec)
        given = spec.supervisor
        rows, classes = read_rows(job.inputs["load"])
        ids = ids_of(job.inputs["split"], list(Part))
        if given.path is not None:
            rows = _labels_of(rows, given, tuple(classes))
        rows = rows.take(positions(ids, rows["id"].to_pylist(), f"weak labels of {given.name}"))
        if isinstance(given, RaterLabels):
            weak_NC = _joined(rows, len(classes), given, spec.seed)
        else:
            weak_NC = _stored(rows, len(classes), given)
        pq.write_table(probability_table(ids, weak_NC), job.out / PROBABILITIES, compression="zstd")


def _labels_of(rows: pa.Table, given: FileLabels | RaterLabels, classes: tuple[str, ...]) -> pa.Table:
    """The labels in a file of their own, by id."""
    found = given.of_ids(classes).load().table
    strangers = sorted(set(found["id"].to_pylist()) - set(rows["id"].to_pylist()))
    if strangers:
        raise DataError(
            f"{given.path} has weak labels for {len(strangers)} rows that do not exist in the task, first id "
            f"{strangers[0]!r}; w2s tasks show NAME --out FILE.csv writes the task's ids"
        )
    return found


def _stored(rows: pa.Table, n_classes: int, given: FileLabels) -> FloatArray:
    prefix = "weak_" if given.path is not None else given.prefix
    names = [f"{prefix}{c}" for c in range(n_classes)]
    if not set(names) <= set(rows.column_names):
        sets = sorted(
            c.removeprefix(PREFIX).removesuffix(".0")
            for c in rows.column_names
            if c.startswith(PREFIX) and c.endswith(".0")
        )
        raise DataError(
            f"supervisor {given.name!r}: the task has no such weak labels; "
            + (f"it stores file:{', file:'.join(sets)}" if sets else "name their columns with weak_label")
        )
    return np.stack([rows[name].to_numpy() for name in names], axis=1)


def _joined(rows: pa.Table, n_classes: int, given: RaterLabels, seed: int) -> FloatArray:
    if "votes" not in rows.column_names:
        raise DataError(
            f"supervisor {given.name!r}: the task has no raters; movie-snippets has, or name their columns in your "
            "file with rater"
        )
    lists = rows["votes"].to_pylist()
    votes_NR = np.full((len(lists), max(map(len, lists))), -1, dtype=np.int64)
    for i, votes in enumerate(lists):
        votes_NR[i, : len(votes)] = votes
    if given.k is not None:
        votes_NR = draw(votes_NR, given.k, np.random.default_rng([seed, 19]))
    return AGGREGATES[given.aggregate](votes_NR, n_classes).astype(np.float32)
