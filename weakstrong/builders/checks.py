"""Builders of the checks that run before an experiment. They read ground truth, and no other step reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import pyarrow.parquet as pq

from weakstrong.builders.data import read_rows
from weakstrong.leaks import check_split, near_duplicates
from weakstrong.store import Job
from weakstrong.training.spec import Runtime


def build_twins(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Find near-duplicates among all rows, once for all splits."""
    for job in jobs:
        rows, _ = read_rows(job.inputs["load"])
        found = near_duplicates(rows)
        pq.write_table(found, job.out / "twins.parquet", compression="zstd")
        job.summary |= {"rows": len(rows), "pairs": len(found)}


def build_check(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Look for what could make the numbers of a split mislead."""
    for job in jobs:
        rows, classes = read_rows(job.inputs["load"])
        split = pq.read_table(job.inputs["split"] / "split.parquet")
        twins = pq.read_table(job.inputs["twins"] / "twins.parquet")
        found = [asdict(finding) for finding in check_split(rows, split, len(classes), twins)]
        (job.out / "findings.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
        job.summary |= {
            "findings": len(found),
            "warnings": [f["message"] for f in found if f["level"] == "warning"],
        }
