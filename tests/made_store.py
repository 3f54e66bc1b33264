"""A store with the results of an experiment whose trainings are replaced by made-up predictions: seconds, no torch."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from weakstrong.data import probability_table
from weakstrong.experiment import Experiment
from weakstrong.graph import Graph
from weakstrong.remembered import remember
from weakstrong.schedule import run_steps
from weakstrong.store import Step, Store
from weakstrong.store_records import describe_files
from weakstrong.training.spec import Runtime

SKILL = {"supervisor": 0.4, "student": 0.7, "ceiling": 1.2}
"""How far an arm's logit moves towards the true class."""


def made_up(store: Store, experiment: Experiment) -> Experiment:
    """Score every cell of ``experiment`` (of ``file`` tasks), with the predictions of all fits drawn at random.

    A fit's predictions depend on its key only; rows are easy or hard for all fits alike.
    """
    graph = Graph()
    made = [graph.cell(cell) for cell in experiment.cells()]
    assert not run_steps([s.inputs["truth"] for m in made for s in m.scores()], store, Runtime()).failed
    for steps in made:
        for arm, skill in SKILL.items():
            _adopt(store, getattr(steps, f"{arm}_fit"), steps.ceiling.inputs["truth"].inputs["load"], skill)
    report = run_steps([s for m in made for s in m.scores()], store, Runtime())
    assert not report.failed
    remember(store, experiment)
    return experiment


def _adopt(store: Store, fit: Step, load: Step, skill: float) -> None:
    if store.has(fit):
        return
    table = pq.read_table(store.open(load) / "rows.parquet")
    truth_N = table["label"].to_numpy()
    hard_NC = np.random.default_rng(0).standard_normal((len(truth_N), 2))
    noise_NC = np.random.default_rng(int(fit.key[:8], 16)).standard_normal((len(truth_N), 2))
    power_NC = np.exp(skill * np.eye(2)[truth_N] + 0.6 * hard_NC + 0.4 * noise_NC)
    with TemporaryDirectory(dir=store.work / ".building") as folder:
        built = Path(folder) / "built"
        built.mkdir()
        probs = probability_table(table["id"].to_pylist(), power_NC / power_NC.sum(1, keepdims=True))
        pq.write_table(probs, built / "probabilities.parquet")
        files = {name: entry._asdict() for name, entry in describe_files(built).items()}
        record = fit.recipe() | {
            "key": fit.key,
            "files": files,
            "summary": {},
            "provenance": {"seconds": 0.0},
        }
        assert store.adopt(built, fit.name, fit.key, record)


def small_task(folder: Path, count: int = 420) -> dict[str, str]:
    """A ``file`` task of ``count`` different texts in two classes of equal size."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(count) % 2)
    texts = [f"row {i} {' '.join(rng.choice(list('abcdefgh'), 12))}" for i in range(count)]
    pl.DataFrame({"text": texts, "label": labels}).write_ndjson(folder / "rows.jsonl")
    return {"kind": "file", "path": str(folder / "rows.jsonl")}
