"""A training step in several processes, through the executors: the same predictions, and a death costs a retry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from weakstrong.data import read_probabilities
from weakstrong.executors.base import Session
from weakstrong.experiment import Experiment
from weakstrong.graph import Graph
from weakstrong.schedule import run_steps
from weakstrong.store import Step, Store
from weakstrong.training.spec import Finetune, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
TOLERANCE = 1e-5
"""Of probabilities, in float32; sums are taken in another order."""


@pytest.fixture
def fit(tiny_model: Tiny, rows: MakeRows, tmp_path: Path) -> Step:
    """A ceiling's training of a tiny decoder."""
    texts, labels = rows(120)
    pl.DataFrame({"text": texts, "label": labels}).write_ndjson(tmp_path / "rows.jsonl")
    training = Finetune(epochs=2, batch_rows=8, learning_rate=1e-3, precision="fp32").to_dict()
    model = tiny_model("llama", layers=2)
    experiment = Experiment.parse(
        {
            "task": {"kind": "file", "path": str(tmp_path / "rows.jsonl")}, "supervisors": f"{model}::1",
            "students": str(model), "methods": ["naive"], "seeds": [0], "supervisor_training": training,
            "student_training": training, "train_rows": 40, "validation_rows": 8, "test_rows": 24,
        }
    )  # fmt: skip
    return Graph().cell(experiment.cells()[0]).ceiling_fit


def predictions(step: Step, store: Store) -> np.ndarray:
    return read_probabilities(store.open(step) / "probabilities.parquet")[1]


@pytest.mark.parametrize("executor", ["local", "ray:retries=0"])
def test_two_processes_give_the_predictions_of_one(fit: Step, tmp_path: Path, executor: str) -> None:
    """A gradient that is averaged over the wrong rows, or a result that another process than the first one commits."""
    alone, shared = Store(tmp_path / "alone"), Store(tmp_path / "shared")
    assert not run_steps([fit], alone).failed
    with Session(executor) as session:
        report = run_steps([fit], shared, Runtime(processes=2), session=session)
    assert (report.failed, report.lost) == ({}, 0)
    assert np.abs(predictions(fit, alone) - predictions(fit, shared)).max() < TOLERANCE
    assert shared.record(fit)["summary"]["best_step"] == alone.record(fit)["summary"]["best_step"]
    assert list((shared.work / ".building").iterdir()) == []
