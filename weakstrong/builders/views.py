"""Builders of other views: of texts (perturbed), of weak labels (calibrated). Legend: N rows, C classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from weakstrong.builders.data import PROBABILITIES, ids_of
from weakstrong.calibration import fit_temperature, temper
from weakstrong.data import positions, probability_table, read_probabilities
from weakstrong.errors import DataError
from weakstrong.steps import CalibrateSpec
from weakstrong.store import Job
from weakstrong.training.spec import Perturb, Runtime


def build_perturb(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Copy the examples with every text seen another way."""
    for job in jobs:
        spec = job.step.spec
        assert isinstance(spec, Perturb)
        rows = pq.read_table(job.inputs["examples"] / "examples.parquet")
        has_paraphrase = "paraphrase" in rows.column_names
        if spec.view == "paraphrase" and not has_paraphrase:
            raise DataError(
                "consistency:view_of=paraphrase needs a task with paraphrases: name their column with --paraphrase"
            )
        if has_paraphrase and spec.view != "words":
            texts = rows["paraphrase"].to_pylist()
        else:
            texts = _perturbed_column(rows, "text", spec)
        table = _with_column(rows, "text", texts)
        if "other" in rows.column_names:
            table = _with_column(table, "other", _perturbed_column(rows, "other", spec))
        pq.write_table(table, job.out / "examples.parquet", compression="zstd")
        for file in job.inputs["examples"].glob("classes.json"):
            (job.out / file.name).write_bytes(file.read_bytes())


def _perturbed_column(rows: pa.Table, column: str, spec: Perturb) -> list[str]:
    # The second text of a comparison has noise of its own.
    suffix = "" if column == "text" else f" {column}"
    names = zip(rows[column].to_pylist(), rows["id"].to_pylist(), strict=True)
    return [perturbed(text, name + suffix, spec) for text, name in names]


def _with_column(rows: pa.Table, column: str, texts: Sequence[str]) -> pa.Table:
    return rows.set_column(rows.column_names.index(column), column, pa.array(texts, pa.string()))


def perturbed(text: str, name: str, spec: Perturb) -> str:
    """``text`` with words left out and neighbours swapped, the same for the same row's ``name`` everywhere.

    >>> perturbed("one two three", "row", Perturb(drop=0, swap=0))
    'one two three'
    """
    words = text.split()
    generator = np.random.default_rng(list(name.encode()))
    kept = [w for w, u in zip(words, generator.random(len(words)).tolist(), strict=True) if u >= spec.drop]
    kept = kept or words
    i = 0
    for u in generator.random(len(kept)).tolist():
        if i + 1 < len(kept) and u < spec.swap:
            kept[i], kept[i + 1] = kept[i + 1], kept[i]
            i += 1
        i += 1
    return " ".join(kept)


def build_calibrate(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Temper all of a supervisor's probabilities by what fits its own held-out rows."""
    for job in jobs:
        assert isinstance(job.step.spec, CalibrateSpec)
        held = ids_of(job.inputs["split"], [job.step.spec.part])
        ids, weak_NC = read_probabilities(job.inputs["labels"] / PROBABILITIES)
        truth_ids, truth_NC = read_probabilities(job.inputs["truth"] / PROBABILITIES)
        rows = positions(held, ids, "the supervisor's held-out rows")
        answers = truth_NC[positions(held, truth_ids, "ground truth of them")].argmax(1)
        temperature = fit_temperature(weak_NC[rows], answers)
        table = probability_table(ids, temper(weak_NC, temperature))
        pq.write_table(table, job.out / PROBABILITIES, compression="zstd")
        job.summary |= {"temperature": temperature, "rows": len(held)}
