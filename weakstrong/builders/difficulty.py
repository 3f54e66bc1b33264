"""Builders of difficulty and of splits of easy rows. Legend: R rungs, N rows, C classes, P pairs, K ends of a pair (2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from weakstrong.builders.data import PROBABILITIES, ids_of, read_rows
from weakstrong.builders.starts import texts_by_id
from weakstrong.data import Part, positions, read_probabilities
from weakstrong.difficulty import bradley_terry, draw_pairs, elo, smallest_that_solves
from weakstrong.errors import DataError, WeakStrongError
from weakstrong.steps_easy import DifficultySpec, EasySpec, JudgeSpec
from weakstrong.store import Job
from weakstrong.training.comparisons import Text
from weakstrong.training.spec import Prompt, Runtime

FILE = "difficulty.parquet"
UNCUT = 1_000_000
"""Tokens of a prompt's text: both rows are cut to their words already, and a cut in tokens would hide the second."""


def build_difficulty(jobs: Sequence[Job], runtime: Runtime) -> None:
    """By models' mistakes, or as the task has it."""
    for job in jobs:
        spec = job.step.spec
        assert isinstance(spec, DifficultySpec)
        try:
            ids, difficulty_N = _by_models(job) if spec.by == "models" else _given(job, spec)
        except WeakStrongError as error:
            job.error = error
            continue
        _write(job, ids, difficulty_N)


def _write(job: Job, ids: list[str], difficulty_N: npt.NDArray[np.float64]) -> None:
    table = pa.table({"id": pa.array(ids, pa.string()), "difficulty": difficulty_N})
    pq.write_table(table, job.out / FILE, compression="zstd")
    levels, counts = np.unique(difficulty_N, return_counts=True)
    job.summary |= {"rows": len(ids), "levels": len(levels)}
    if len(levels) <= 20:
        job.summary["rows_per_level"] = {
            f"{level:g}": int(n) for level, n in zip(levels, counts, strict=True)
        }


def _by_models(job: Job) -> tuple[list[str], npt.NDArray[np.float64]]:
    ids, truth_NC = read_probabilities(job.inputs["truth"] / PROBABILITIES)
    right = []
    for role in sorted(role for role in job.inputs if role.startswith("rung_")):
        have, probs_NC = read_probabilities(job.inputs[role] / PROBABILITIES)
        where_N = positions(ids, have, f"predictions of {job.step.inputs[role].title}")
        right.append(probs_NC[where_N].argmax(1) == truth_NC.argmax(1))
    return ids, smallest_that_solves(np.stack(right)).astype(np.float64)


def _given(job: Job, spec: DifficultySpec) -> tuple[list[str], npt.NDArray[np.float64]]:
    rows, _ = read_rows(job.inputs["load"])
    if "difficulty" not in rows.column_names:
        raise DataError(
            f"{job.step.title}: the task has no column 'difficulty' (it has {', '.join(rows.column_names)}); use "
            "easy-to-hard:by=models or by=judged"
        )
    ids = ids_of(job.inputs["split"], spec.parts)
    where_N = positions(ids, rows["id"].to_pylist(), "difficulty")
    difficulty_N = rows["difficulty"].to_numpy().astype(np.float64)[where_N]
    unknown = int((~np.isfinite(difficulty_N)).sum())
    if unknown:
        raise DataError(
            f"{job.step.title}: {unknown} of {len(ids)} rows have no difficulty; every row needs one"
        )
    return ids, difficulty_N


def build_judge(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Ask models which of two rows is easier, one job after another."""
    for job in jobs:
        try:
            _judge(job, runtime)
        except WeakStrongError as error:
            job.error = error


def _judge(job: Job, runtime: Runtime) -> None:
    from weakstrong.training.prompt import prompt_probabilities

    spec = job.step.spec
    assert isinstance(spec, JudgeSpec)
    texts = texts_by_id(job.inputs["examples"])
    classes = json.loads((job.inputs["examples"] / "classes.json").read_text())
    ids = ids_of(job.inputs["split"], spec.parts)
    pairs_PK = draw_pairs(len(ids), spec.comparisons, np.random.default_rng([spec.seed, 23]))
    shown = [_first_words(texts[i], spec.words) for i in ids]
    asked = [
        f"First: {shown[a]} Second: {shown[b]}" for ends in (pairs_PK, pairs_PK[:, ::-1]) for a, b in ends
    ]
    instruction = (
        f"Here are two texts of one task. The task: {spec.instruction} Its answers: {', '.join(classes)}. "
        "For which of the two texts is the right answer easier to tell?"
    )
    answers_NC = prompt_probabilities(
        spec.model,
        ("the first text", "the second text"),
        instruction,
        [],
        asked,
        Prompt(max_tokens=UNCUT, precision=spec.precision),
        runtime,
    )
    easier_P = easier(answers_NC)
    difficulty_N = -elo(bradley_terry(pairs_PK, easier_P, len(ids), spec.prior))
    _write(job, ids, difficulty_N)
    half = len(pairs_PK)
    same = (answers_NC[:half, 0] > 0.5) == (answers_NC[half:, 1] > 0.5)
    job.summary |= {
        "pairs": half,
        "first_share": float(answers_NC[:, 0].mean()),
        "orders_agree": float(same.mean()),
    }


def easier(answers_NC: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Share [P] by which the first row of each pair is the easier one, from answers [2 P, 2] to both orders.

    A judge that favours a place says so in both orders, so the mean of both is free of it.

    >>> easier(np.array([[0.75, 0.25], [0.75, 0.25]], np.float32)).tolist()
    [0.5]
    """
    there_PC, back_PC = np.split(answers_NC.astype(np.float64), 2)
    share_P: npt.NDArray[np.float64] = (there_PC[:, 0] + back_PC[:, 1]) / 2
    return share_P


def _first_words(text: Text, words: int) -> str:
    if isinstance(text, str):
        return " ".join(text.split()[:words])
    return " / or / ".join(_first_words(side, max(1, words // 2)) for side in text)


def build_easy(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Leave out transfer rows."""
    for job in jobs:
        spec = job.step.spec
        assert isinstance(spec, EasySpec)
        table = pq.read_table(job.inputs["split"] / "split.parquet")
        names, difficulty_N = read_difficulty(job.inputs["difficulty"])
        transfer = ids_of(job.inputs["split"], [Part.TRANSFER])
        difficulty_N = difficulty_N[positions(transfer, names, "difficulty of the transfer part")]
        try:
            kept = easy_rows(difficulty_N, spec, job.step.title)
        except WeakStrongError as error:
            job.error = error
            continue
        left_out = set(transfer) - {transfer[i] for i in kept.tolist()}
        table = table.filter(pa.array([i not in left_out for i in table["id"].to_pylist()], pa.bool_()))
        pq.write_table(table, job.out / "split.parquet", compression="zstd")
        job.summary["rows_per_part"] = {str(p): table["part"].to_pylist().count(str(p)) for p in Part}


def read_difficulty(folder: Path) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Ids and difficulties [N] of a stored ``difficulty`` table."""
    table = pq.read_table(folder / FILE)
    return table["id"].to_pylist(), table["difficulty"].to_numpy()


def easy_rows(difficulty_N: npt.NDArray[np.float64], spec: EasySpec, what: str) -> npt.NDArray[np.int64]:
    """Numbers of the rows that stay, int64: for every cut-off the same count, taken from one random order of all rows.

    Raises:
        DataError: if fewer than two rows lie below the smallest cut-off.
    """
    smallest = np.quantile(difficulty_N, spec.smallest) if spec.scale == "quantile" else spec.smallest
    count = int((difficulty_N <= smallest).sum())
    if count < 2:
        raise DataError(
            f"{what}: {count} of {len(difficulty_N)} transfer rows have a difficulty up to {smallest:g}, at least 2 are "
            "wanted; raise the smallest cut-off or take more rows"
        )
    cutoff = np.inf if spec.cutoff is None else spec.cutoff
    if spec.cutoff is not None and spec.scale == "quantile":
        cutoff = np.quantile(difficulty_N, spec.cutoff)
    order = np.random.default_rng([spec.seed, 29]).permutation(len(difficulty_N))
    return np.sort(order[difficulty_N[order] <= cutoff][:count])
