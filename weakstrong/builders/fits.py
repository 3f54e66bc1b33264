"""Builders of the steps that need models: features, probes, finetuning.

Legend: N rows, D width, C classes, V validation rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
from weakstrong.training.spec import Runtime


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


def build_probe(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Train heads of equal shape together."""
    from weakstrong.training.probe import HeadTask, predict, train_heads

    matrices: dict[Path, tuple[list[str], np.ndarray]] = {}
    heads: list[HeadTask] = []
    ready: list[Job] = []
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
        ready.append(job)
        heads.append(
            HeadTask(
                features_ND,
                positions(rows.train, ids, "features"),
                positions(rows.validation, ids, "features"),
                rows.train_NC,
                rows.validation_VC,
                spec.seed,
                job.step.title,
                None if len(folders) == 1 else matrices[folders[1]][1],
            )
        )
    first = jobs[0].step.spec
    assert isinstance(first, ProbeFit)
    shapes: dict[tuple[int, ...], list[HeadTask]] = {}
    for head in heads:
        shape = (*head.targets_NC.shape, len(head.validation_V), head.features_MD.shape[1])
        shapes.setdefault(shape, []).append(head)
    for alike in shapes.values():
        train_heads(alike, first.training, first.method, runtime)
    for job, head in zip(ready, heads, strict=True):
        if head.error is not None:
            job.error = head.error
            continue
        assert isinstance(job.step.spec, ProbeFit)
        assert head.weight_DC is not None
        ids, features_ND = matrices[job.inputs["features"]]
        wanted = ids_of(job.inputs["split"], job.step.spec.predict)
        probs_NC = predict(features_ND[positions(wanted, ids, "features")], head.weight_DC)
        pq.write_table(probability_table(wanted, probs_NC), job.out / PROBABILITIES, compression="zstd")
        save_file({"weight_DC": head.weight_DC}, job.out / "head.safetensors")
        job.summary |= {"best_epoch": head.best_epoch, "validation_agreement": head.history}


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
    from weakstrong.training.finetune import finetune
    from weakstrong.training.fit import probabilities

    spec = job.step.spec
    assert isinstance(spec, FinetuneFit)
    classes = tuple(json.loads((job.inputs["examples"] / "classes.json").read_text()))
    texts = texts_by_id(job.inputs["examples"])
    rows = labelled(job, spec)
    view = texts_by_id(job.inputs["view"]) if "view" in job.inputs else None
    head = load_file(job.inputs["head"] / "head.safetensors")["weight_DC"] if "head" in job.inputs else None
    try:
        model, tokenizer, history = finetune(
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
        )
    except TrainingError as error:
        raise TrainingError(f"{job.step.title}: {error}") from error
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
