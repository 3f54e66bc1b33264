"""Builders of the steps on tables: rows, splits, ground truth, scores. Legend: N rows, C classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from weakstrong.data import (
    Part,
    Split,
    deal,
    one_hot,
    positions,
    probability_table,
    read_probabilities,
)
from weakstrong.errors import DataError
from weakstrong.steps import TrainSplit, TruthSpec
from weakstrong.store import Job
from weakstrong.tasks.base import Task
from weakstrong.training.spec import Runtime

PROBABILITIES = "probabilities.parquet"


def build_load(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Fetch and parse the task's rows."""
    for job in jobs:
        task = job.step.spec
        assert isinstance(task, Task)
        rows = task.load()
        pq.write_table(rows.table, job.out / "rows.parquet", compression="zstd")
        (job.out / "classes.json").write_text(json.dumps(rows.classes, ensure_ascii=False))
        known_N = rows.table["label"].to_numpy()
        counts_C = np.bincount(known_N[known_N >= 0], minlength=len(rows.classes))
        job.summary |= {"rows": len(known_N), "rows_per_class": counts_C.tolist(), "notes": list(rows.notes)}


def read_rows(folder: Path) -> tuple[pa.Table, list[str]]:
    """The ``rows`` table and the class names of a load step."""
    return pq.read_table(folder / "rows.parquet"), json.loads((folder / "classes.json").read_text())


def build_examples(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Copy what is not ground truth."""
    for job in jobs:
        rows, classes = read_rows(job.inputs["load"])
        columns = [c for c in ("id", "group", "text", "other", "paraphrase") if c in rows.column_names]
        pq.write_table(rows.select(columns), job.out / "examples.parquet", compression="zstd")
        (job.out / "classes.json").write_text(json.dumps(classes, ensure_ascii=False))


def build_split(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Deal rows to parts."""
    for job in jobs:
        rows, classes = read_rows(job.inputs["load"])
        spec = job.step.spec
        if isinstance(spec, Split):
            if (rows["label"].to_numpy() < 0).any():
                raise DataError(
                    "rows without ground truth cannot be split for an experiment; use w2s train for them"
                )
            table = deal(rows, len(classes), spec)
        else:
            assert isinstance(spec, TrainSplit)
            table = deal_training(rows, spec)
        pq.write_table(table, job.out / "split.parquet", compression="zstd")
        job.summary["rows_per_part"] = {str(p): table["part"].to_pylist().count(str(p)) for p in Part}


def deal_training(rows: pa.Table, spec: TrainSplit) -> pa.Table:
    """Rows with ground truth, and all rows of their groups, are held out; the others learn or validate."""
    label_N, groups, ids = rows["label"].to_numpy(), rows["group"].to_pylist(), rows["id"].to_pylist()
    tested = {g for g, y in zip(groups, label_N.tolist(), strict=True) if y >= 0}
    free = sorted(set(groups) - tested)
    if len(free) < 10:
        raise DataError(
            f"only {len(free)} groups of rows have weak labels and no ground truth; at least 10 must learn"
        )
    order = np.random.default_rng(spec.seed).permutation(len(free))
    held = {free[i] for i in order[: max(1, round(spec.validation_share * len(free)))]}
    part = [
        (Part.TEST if y >= 0 else None) if g in tested else Part.VALIDATION if g in held else Part.TRANSFER
        for g, y in zip(groups, label_N.tolist(), strict=True)
    ]
    kept = [i for i, p in enumerate(part) if p is not None]
    return pa.table({"id": [ids[i] for i in kept], "part": [str(part[i]) for i in kept]})


def ids_of(folder: Path, parts: Sequence[Part]) -> list[str]:
    """Ids of the rows in some parts of a stored split, part by part."""
    table = pq.read_table(folder / "split.parquet")
    ids, part = table["id"].to_pylist(), table["part"].to_pylist()
    return [i for wanted in parts for i, p in zip(ids, part, strict=True) if p == wanted]


def build_truth(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Unseal the labels of some parts."""
    for job in jobs:
        rows, classes = read_rows(job.inputs["load"])
        assert isinstance(job.step.spec, TruthSpec)
        ids = ids_of(job.inputs["split"], job.step.spec.parts)
        where_N = positions(ids, rows["id"].to_pylist(), "ground truth")
        table = probability_table(ids, one_hot(rows["label"].to_numpy()[where_N], len(classes)))
        pq.write_table(table, job.out / PROBABILITIES, compression="zstd")


def build_score(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Compare predictions with the ground truth of the test part."""
    truths: dict[Path, tuple[list[str], np.ndarray]] = {}
    for job in jobs:
        folder = job.inputs["truth"]
        if folder not in truths:
            truths[folder] = read_probabilities(folder / PROBABILITIES)
        ids, truth_NC = truths[folder]
        have, probs_NC = read_probabilities(job.inputs["predictions"] / PROBABILITIES)
        guess_N = probs_NC[positions(ids, have, "predictions of the test part")].argmax(1)
        correct_N = guess_N == truth_NC.argmax(1)
        table = pa.table({"id": ids, "guess": pa.array(guess_N, pa.int16()), "correct": correct_N})
        pq.write_table(table, job.out / "correct.parquet", compression="zstd")
        job.summary |= {"accuracy": float(correct_N.mean()), "rows": len(ids)}
