"""Builders of the steps that need models: features, probes, finetuning.

Legend: N rows, D width, C classes, V validation rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from weakstrong.builders.data import PROBABILITIES, ids_of
from weakstrong.builders.starts import texts_by_id
from weakstrong.data import positions, probability_table, read_probabilities
from weakstrong.errors import DataError, TrainingError, WeakStrongError
from weakstrong.steps import ORACLE, FeaturesOf, FinetuneFit, FitSpec, ProbeFit
from weakstrong.store import Job
from weakstrong.training.comparisons import Text
from weakstrong.training.spec import Runtime

if TYPE_CHECKING:
    from weakstrong.training.finetune import Watch
    from weakstrong.training.fit import History
    from weakstrong.training.probe import HeadTask


@dataclass(frozen=True)
class Labelled:
    """Ids of the rows to train on and to stop by, with their class probabilities float32 [N, C] and [V, C]."""

    train: list[str]
    train_NC: npt.NDArray[np.float32]
    validation: list[str]
    validation_VC: npt.NDArray[np.float32]


def labelled(job: Job, spec: FitSpec) -> Labelled:
    """The rows of a fit, after the method's choice and change of labels."""
    ids, probs_NC = read_probabilities(job.inputs["labels"] / PROBABILITIES)
    train = ids_of(job.inputs["split"], [spec.train_part])
    if spec.train_slice is not None:
        train = train[spec.train_slice[0] :: spec.train_slice[1]]
    if len(train) < 2:
        raise DataError(
            f"{job.step.title}: {len(train)} rows of the part {spec.train_part} are left to train on; "
            "lower --train-rows to leave some"
        )
    targets_NC, keep_N = spec.method.relabel(
        probs_NC[positions(train, ids, "labels to train on")], np.random.default_rng([spec.seed, 11])
    )
    kept = [name for name, keep in zip(train, keep_N.tolist(), strict=True) if keep]
    validation = ids_of(job.inputs["split"], [spec.validation_part])
    if ORACLE in job.inputs:
        ids, probs_NC = read_probabilities(job.inputs[ORACLE] / PROBABILITIES)
    where = positions(validation, ids, "labels to stop by")
    return Labelled(kept, np.ascontiguousarray(targets_NC[keep_N], np.float32), validation, probs_NC[where])


def build_features(jobs: Sequence[Job], runtime: Runtime) -> None:
    """One pass for all rungs of one checkpoint."""
    from weakstrong.training.features import extract

    specs = [job.step.spec for job in jobs]
    first = specs[0]
    assert isinstance(first, FeaturesOf)
    rows = pq.read_table(jobs[0].inputs["examples"] / "examples.parquet")
    if first.parts is not None:
        wanted = set(ids_of(jobs[0].inputs["split"], first.parts))
        rows = rows.filter(pc.is_in(rows["id"], pa.array(sorted(wanted), pa.string())))
    rungs = [s.model.layers for s in specs if isinstance(s, FeaturesOf)]
    start = jobs[0].inputs.get("start")
    tuned = None if start is None else start / "model"
    columns = [rows[c].to_pylist() for c in ("text", "other") if c in rows.column_names]
    arrays = extract(
        first.model, rungs, [text for column in columns for text in column], first.features, runtime, tuned
    )
    for job, features_ND in zip(jobs, arrays, strict=True):
        if len(columns) == 2:  # a comparison is seen as what the second text has over the first
            features_ND = features_ND[len(rows) :] - features_ND[: len(rows)]
        save_file({"features_ND": features_ND}, job.out / "features.safetensors")
        pq.write_table(pa.table({"id": rows["id"]}), job.out / "ids.parquet", compression="zstd")
        job.summary |= {"rows": len(rows), "width": features_ND.shape[1]}


Matrices = dict[Path, tuple[list[str], npt.NDArray[np.float32]]]


def build_probe(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Train heads of equal shape together."""
    matrices: Matrices = {}
    for job, head in train_together(heads_of(jobs, matrices), runtime):
        assert head.weight_DC is not None
        wanted, probs_NC = said(job, matrices, head.weight_DC)
        pq.write_table(probability_table(wanted, probs_NC), job.out / PROBABILITIES, compression="zstd")
        save_file({"weight_DC": head.weight_DC}, job.out / "head.safetensors")
        job.summary |= {"best_epoch": head.best_epoch, "validation_agreement": head.history}


def heads_of(jobs: Sequence[Job], matrices: Matrices) -> list[tuple[Job, HeadTask]]:
    """The head that each job wants trained; features are read into ``matrices``, each once."""
    from weakstrong.training.probe import HeadTask

    ready: list[tuple[Job, HeadTask]] = []
    for job in jobs:
        spec = job.step.spec
        assert isinstance(spec, ProbeFit)
        folders = [job.inputs[role] for role in ("features", "view") if role in job.inputs]
        for folder in folders:
            if folder not in matrices:
                ids = pq.read_table(folder / "ids.parquet")["id"].to_pylist()
                matrices[folder] = (ids, load_file(folder / "features.safetensors")["features_ND"])
        ids, features_ND = matrices[folders[0]]
        try:
            rows = labelled(job, spec)
        except WeakStrongError as error:  # one job without rows must not stop the others
            job.error = error
            continue
        head = HeadTask(
            features_ND,
            positions(rows.train, ids, "features"),
            positions(rows.validation, ids, "features"),
            rows.train_NC,
            rows.validation_VC,
            spec.seed,
            job.step.title,
            None if len(folders) == 1 else matrices[folders[1]][1],
        )
        ready.append((job, head))
    return ready


def train_together(ready: Sequence[tuple[Job, HeadTask]], runtime: Runtime) -> Iterator[tuple[Job, HeadTask]]:
    """Train the heads of one group of jobs; gives those that have weights, the others' jobs get their error."""
    from weakstrong.training.probe import train_heads

    shapes: dict[tuple[int, ...], list[HeadTask]] = {}
    for _, head in ready:
        shape = (*head.targets_NC.shape, len(head.validation_V), head.features_MD.shape[1])
        shapes.setdefault(shape, []).append(head)
    for alike in shapes.values():
        first = ready[0][0].step.spec
        assert isinstance(first, ProbeFit)
        train_heads(alike, first.training, first.method, runtime)
    for job, head in ready:
        job.error = head.error
        if head.error is None:
            yield job, head


def said(
    job: Job, matrices: Matrices, weight_DC: npt.NDArray[np.float32]
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Ids and class probabilities float32 [N, C] of the rows that a probe's spec wants predicted."""
    from weakstrong.training.probe import predict

    assert isinstance(job.step.spec, ProbeFit)
    ids, features_ND = matrices[job.inputs["features"]]
    wanted = ids_of(job.inputs["split"], job.step.spec.predict)
    return wanted, predict(features_ND[positions(wanted, ids, "features")], weight_DC)


def build_finetune(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Train models one after another; one that fails leaves the others alone."""
    for job in jobs:
        try:
            _finetune_one(job, runtime)
        except WeakStrongError as error:
            job.error = error


def _finetune_one(job: Job, runtime: Runtime) -> None:
    import torch

    from weakstrong.training.features import tokenize_rows
    from weakstrong.training.fit import probabilities

    spec = job.step.spec
    assert isinstance(spec, FinetuneFit)
    texts = texts_by_id(job.inputs["examples"])
    model, tokenizer, history = train_model(job, texts, runtime)
    wanted = ids_of(job.inputs["split"], spec.predict)
    ids_N = tokenize_rows(tokenizer, [texts[i] for i in wanted], spec.training.max_tokens)
    with torch.autocast(
        torch.device(runtime.device).type, torch.bfloat16, enabled=spec.training.precision == "bf16"
    ):
        out_NC = probabilities(model, tokenizer.pad_token_id, ids_N, runtime).numpy()
    pq.write_table(probability_table(wanted, out_NC), job.out / PROBABILITIES, compression="zstd")
    if spec.training.save_weights:
        tokenizer.model_max_length = spec.training.max_tokens
        model.save_pretrained(job.out / "model")
        tokenizer.save_pretrained(job.out / "model")
    job.summary |= vars(history)


def train_model(
    job: Job, texts: dict[str, Text], runtime: Runtime, watch: Watch | None = None
) -> tuple[Any, Any, History]:
    """Model, tokenizer and history of the training that a finetune spec means.

    Raises:
        TrainingError: naming the step.
    """
    from weakstrong.training.finetune import finetune

    spec = job.step.spec
    assert isinstance(spec, FinetuneFit)
    classes = tuple(json.loads((job.inputs["examples"] / "classes.json").read_text()))
    rows = labelled(job, spec)
    view = texts_by_id(job.inputs["view"]) if "view" in job.inputs else None
    head = load_file(job.inputs["head"] / "head.safetensors")["weight_DC"] if "head" in job.inputs else None
    try:
        return finetune(
            spec.model,
            classes,
            ([texts[i] for i in rows.train], rows.train_NC),
            ([texts[i] for i in rows.validation], rows.validation_VC),
            spec.method,
            spec.training,
            spec.seed,
            runtime,
            job.scratch,
            view=None if view is None else [view[i] for i in rows.train],
            folder=job.inputs["start"] / "model" if "start" in job.inputs else None,
            head_DC=head,
            watch=watch,
        )
    except TrainingError as error:
        raise TrainingError(f"{job.step.title}: {error}") from error
