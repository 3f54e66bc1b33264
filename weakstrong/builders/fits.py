"""Builders of the steps that need models: features, probes, finetuning.

Legend: N rows, D width, C classes, V validation rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from weakstrong.builders.data import PROBABILITIES, ids_of
from weakstrong.data import positions, probability_table, read_probabilities
from weakstrong.errors import TrainingError, WeakStrongError
from weakstrong.steps import FeaturesOf, FinetuneFit, ProbeFit
from weakstrong.store import Job
from weakstrong.training.spec import Runtime


def build_features(jobs: Sequence[Job], runtime: Runtime) -> None:
    """One pass for all rungs of one checkpoint."""
    import pyarrow as pa

    from weakstrong.training.features import extract

    specs = [job.step.spec for job in jobs]
    first = specs[0]
    assert isinstance(first, FeaturesOf)
    rows = pq.read_table(jobs[0].inputs["examples"] / "examples.parquet")
    rungs = [s.model.layers for s in specs if isinstance(s, FeaturesOf)]
    arrays = extract(first.model, rungs, rows["text"].to_pylist(), first.features, runtime)
    for job, features_ND in zip(jobs, arrays, strict=True):
        save_file({"features_ND": features_ND}, job.out / "features.safetensors")
        pq.write_table(pa.table({"id": rows["id"]}), job.out / "ids.parquet", compression="zstd")
        job.summary |= {"rows": len(rows), "width": features_ND.shape[1]}


def build_probe(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Train heads of equal shape together."""
    from weakstrong.training.probe import HeadTask, predict, train_heads

    matrices: dict[Path, tuple[list[str], np.ndarray]] = {}
    heads: list[HeadTask] = []
    for job in jobs:
        spec = job.step.spec
        assert isinstance(spec, ProbeFit)
        folder = job.inputs["features"]
        if folder not in matrices:
            ids = pq.read_table(folder / "ids.parquet")["id"].to_pylist()
            matrices[folder] = (ids, load_file(folder / "features.safetensors")["features_ND"])
        ids, features_ND = matrices[folder]
        label_ids, probs_NC = read_probabilities(job.inputs["labels"] / PROBABILITIES)
        train = ids_of(job.inputs["split"], [spec.train_part])
        validation = ids_of(job.inputs["split"], [spec.validation_part])
        heads.append(
            HeadTask(
                features_ND,
                positions(train, ids, "features"),
                positions(validation, ids, "features"),
                probs_NC[positions(train, label_ids, "labels to train on")],
                probs_NC[positions(validation, label_ids, "labels to stop by")],
                spec.seed,
                job.step.title,
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
    for job, head in zip(jobs, heads, strict=True):
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

    from weakstrong.training.features import tokenize
    from weakstrong.training.finetune import finetune
    from weakstrong.training.fit import probabilities

    spec = job.step.spec
    assert isinstance(spec, FinetuneFit)
    rows = pq.read_table(job.inputs["examples"] / "examples.parquet")
    classes = tuple(json.loads((job.inputs["examples"] / "classes.json").read_text()))
    texts = dict(zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True))
    label_ids, probs_NC = read_probabilities(job.inputs["labels"] / PROBABILITIES)
    parts = []
    for part in (spec.train_part, spec.validation_part):
        ids = ids_of(job.inputs["split"], [part])
        parts.append(([texts[i] for i in ids], probs_NC[positions(ids, label_ids, "labels")]))
    try:
        model, tokenizer, history = finetune(
            spec.model,
            classes,
            parts[0],
            parts[1],
            spec.method,
            spec.training,
            spec.seed,
            runtime,
            job.scratch,
        )
    except TrainingError as error:
        raise TrainingError(f"{job.step.title}: {error}") from error
    wanted = ids_of(job.inputs["split"], spec.predict)
    ids_N = tokenize(tokenizer, [texts[i] for i in wanted], spec.training.max_tokens)
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
