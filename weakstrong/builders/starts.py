"""Builders of generative finetuning and of prompting. Legend: N rows, C classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from weakstrong.builders.data import PROBABILITIES, ids_of
from weakstrong.data import positions, probability_table, read_probabilities
from weakstrong.errors import DataError, TrainingError, WeakStrongError
from weakstrong.steps import PromptSpec, TuneSpec
from weakstrong.store import Job
from weakstrong.training.comparisons import Text, flat
from weakstrong.training.spec import Runtime


def texts_by_id(folder: Path) -> dict[str, Text]:
    """Texts of an examples step; pairs of them, where its rows are comparisons."""
    rows = pq.read_table(folder / "examples.parquet")
    texts: list[Text] = rows["text"].to_pylist()
    if "other" in rows.column_names:
        texts = list(zip(rows["text"].to_pylist(), rows["other"].to_pylist(), strict=True))
    return dict(zip(rows["id"].to_pylist(), texts, strict=True))


def build_tune(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Train language models on texts, one after another; one that fails leaves the others alone."""
    from weakstrong.training.generative import tune

    for job in jobs:
        spec = job.step.spec
        assert isinstance(spec, TuneSpec)
        texts = texts_by_id(job.inputs["examples"])
        # Of comparisons every prefix with each of its completions (paper §5.2.2).
        chosen = flat([texts[i] for i in ids_of(job.inputs["split"], spec.parts)])
        try:
            job.summary |= tune(
                spec.model, chosen, spec.start, spec.seed, runtime, job.scratch, job.out / "model"
            )
        except TrainingError as error:
            job.error = TrainingError(f"{job.step.title}: {error}")
        except WeakStrongError as error:
            job.error = error


def build_prompt(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Ask models for answers, one job after another."""
    from weakstrong.training.prompt import prompt_probabilities

    for job in jobs:
        spec = job.step.spec
        assert isinstance(spec, PromptSpec)
        texts = texts_by_id(job.inputs["examples"])
        classes = tuple(json.loads((job.inputs["examples"] / "classes.json").read_text()))
        wanted = ids_of(job.inputs["split"], spec.predict)
        try:
            shots = _shots(job, spec, texts, len(classes)) if spec.prompt.shots else []
            out_NC = prompt_probabilities(
                spec.model,
                classes,
                spec.prompt.instruction,
                shots,
                flat([texts[i] for i in wanted]),
                spec.prompt,
                runtime,
            )
        except WeakStrongError as error:
            job.error = error
            continue
        pq.write_table(probability_table(wanted, out_NC), job.out / PROBABILITIES, compression="zstd")


def _shots(job: Job, spec: PromptSpec, texts: dict[str, Text], classes: int) -> list[tuple[str, int]]:
    """Examples drawn by the seed from each class in turn, in a random order."""
    pool = ids_of(job.inputs["split"], [spec.shot_part])
    ids, probs_NC = read_probabilities(job.inputs["labels"] / PROBABILITIES)
    label_N = probs_NC[positions(pool, ids, "labels of the examples")].argmax(1)
    generator = np.random.default_rng([spec.seed, 13])
    order = generator.permutation(len(pool)).tolist()
    queues = [[i for i in order if label_N[i] == c] for c in range(classes)]
    picked: list[int] = []
    turn = 0
    while len(picked) < spec.prompt.shots:
        if not any(queues):
            raise DataError(
                f"{spec.prompt.shots} examples are wanted for the prompt, only {len(picked)} rows are there"
            )
        if queues[turn % classes]:
            picked.append(queues[turn % classes].pop())
        turn += 1
    order = generator.permutation(picked).tolist()
    return list(zip(flat([texts[pool[i]] for i in order]), label_N[order].tolist(), strict=True))
