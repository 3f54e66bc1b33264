"""Builders of controls: labels derived from others, features cut short, texts that state a label.

Legend: N rows, C classes, D width, k columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from weakstrong.builders.data import PROBABILITIES, ids_of
from weakstrong.builders.starts import texts_by_id
from weakstrong.data import FloatArray, IntArray, Part, positions, probability_table, read_probabilities
from weakstrong.derived.base import Given, Rule
from weakstrong.errors import DataError
from weakstrong.steps import DeriveSpec, HintSpec, NarrowSpec
from weakstrong.store import Job
from weakstrong.training.spec import Runtime

TEXTS = ("text", "paraphrase")


def build_derive(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Apply a rule to the labels of each part by itself, rows in the order of their ids."""
    for job in jobs:
        spec = job.step.spec
        assert isinstance(spec, DeriveSpec)
        tables = {
            role: read_probabilities(job.inputs[role] / PROBABILITIES)
            for role in ("labels", "truth", "ceiling")
            if role in job.inputs
        }
        lengths = _lengths(job.inputs["examples"]) if "examples" in job.inputs else None
        wanted: list[str] = []
        made: list[FloatArray] = []
        for part in spec.parts:
            ids = sorted(ids_of(job.inputs["split"], [part]))
            found = {
                role: probs_NC[positions(ids, have, f"{role} of the part {part}")]
                for role, (have, probs_NC) in tables.items()
            }
            given = Given(
                found["labels"],
                np.random.default_rng([spec.seed, 23, list(Part).index(part)]),
                found["truth"].argmax(1) if "truth" in found else None,
                np.array([lengths[i] for i in ids], np.int64) if lengths is not None else None,
                found.get("ceiling"),
            )
            made.append(checked(spec.rule, given))
            wanted += ids
        pq.write_table(
            probability_table(wanted, np.concatenate(made)), job.out / PROBABILITIES, compression="zstd"
        )


def checked(rule: Rule, given: Given) -> FloatArray:
    """The rule's labels; a rule of one's own may return anything.

    Raises:
        DataError: for another shape or type than the labels had.
    """
    made_NC = rule.labels(given)
    if made_NC.shape != given.weak_NC.shape or made_NC.dtype != np.float32:
        raise DataError(
            f"{rule.name} gave {made_NC.dtype} of shape {made_NC.shape}, wanted float32 of {given.weak_NC.shape}"
        )
    return made_NC


def _lengths(folder: Path) -> dict[str, int]:
    """Characters of each row; of a comparison those of both texts."""
    return {
        name: len(text) if isinstance(text, str) else sum(map(len, text))
        for name, text in texts_by_id(folder).items()
    }


def build_narrow(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Keep the first columns."""
    for job in jobs:
        spec, folder = job.step.spec, job.inputs["features"]
        assert isinstance(spec, NarrowSpec)
        features_ND = load_file(folder / "features.safetensors")["features_ND"]
        width = features_ND.shape[1]
        k = spec.k if spec.k is not None else max(1, round((spec.share or 0) * width))
        if k > width:
            job.error = DataError(f"{job.step.title}: the model has {width} features, {k} are wanted")
            continue
        save_file({"features_ND": np.ascontiguousarray(features_ND[:, :k])}, job.out / "features.safetensors")
        (job.out / "ids.parquet").write_bytes((folder / "ids.parquet").read_bytes())
        job.summary |= {"rows": len(features_ND), "width": k}


def build_hint(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Write each row's likeliest class below its text, by id."""
    for job in jobs:
        spec = job.step.spec
        assert isinstance(spec, HintSpec)
        folder = job.inputs["examples"]
        classes: list[str] = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
        rows = pq.read_table(folder / "examples.parquet")
        ids = ids_of(job.inputs["split"], spec.parts)
        rows = rows.take(positions(ids, rows["id"].to_pylist(), "texts"))
        have, probs_NC = read_probabilities(job.inputs["labels"] / PROBABILITIES)
        guess_N: IntArray = probs_NC[positions(ids, have, "weak labels to tell the student")].argmax(1)
        for column in (c for c in TEXTS if c in rows.column_names):
            texts: list[Any] = [
                None if text is None else hinted(text, spec.hint.line, classes[c], spec.hint.context_words)
                for text, c in zip(rows[column].to_pylist(), guess_N.tolist(), strict=True)
            ]
            rows = rows.set_column(rows.column_names.index(column), column, pa.array(texts, pa.string()))
        pq.write_table(rows, job.out / "examples.parquet", compression="zstd")
        (job.out / "classes.json").write_bytes((folder / "classes.json").read_bytes())


def hinted(text: str, line: str, label: str, context_words: int) -> str:
    r"""``text``, or its last words, and a line that states ``label``.

    >>> hinted("a long dull film", "I think this is {label}.", "negative", 2)
    'dull film\nI think this is negative.'
    """
    words = text.split()
    kept = text if len(words) <= context_words else " ".join(words[-context_words:])
    return f"{kept}\n{line.replace('{label}', label)}"
