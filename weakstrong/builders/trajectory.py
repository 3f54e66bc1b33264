"""Builders of trajectories: a student's fit once more, looked at through training.

Legend: E evaluations, N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from weakstrong.builders.data import ids_of
from weakstrong.builders.fits import Matrices, heads_of, labelled, said, train_model, train_together
from weakstrong.builders.starts import texts_by_id
from weakstrong.data import Part, positions
from weakstrong.errors import TrainingError, WeakStrongError
from weakstrong.steps import FinetuneFit, ProbeFit
from weakstrong.store import Job
from weakstrong.training.spec import Runtime

FloatArray = npt.NDArray[np.float32]
Moment = tuple[npt.NDArray[np.float16], npt.NDArray[np.int16]]
FILE = "trajectory.safetensors"


def build_probe_trajectory(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Train heads as `build_probe` does, and keep what they say after every epoch."""
    matrices: Matrices = {}
    ready = heads_of(jobs, matrices)
    moments: dict[str, list[Moment]] = {}
    for job, head in ready:
        found = moments[job.step.key] = []
        test = ids_of(job.inputs["split"], [Part.TEST])

        def seen(
            epoch: int,
            weight_DC: FloatArray,
            job: Job = job,
            found: list[Moment] = found,
            test: list[str] = test,
        ) -> None:
            # All rows of the fit, as its own predictions: a product's bits depend on its rows.
            found.append(_small(*said(job, matrices, weight_DC), test))

        head.seen = seen
    for job, head in train_together(ready, runtime):
        assert isinstance(job.step.spec, ProbeFit)
        epochs = np.arange(1, len(head.history) + 1)
        _write(job, moments[job.step.key], epochs, head.history, head.best_epoch - 1)


def build_finetune_trajectory(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Train models one after another, and keep what they say at every evaluation."""
    for job in jobs:
        try:
            _finetune(job, runtime)
        except WeakStrongError as error:
            job.error = error


def _finetune(job: Job, runtime: Runtime) -> None:
    from weakstrong.training.batching import steps_per_epoch
    from weakstrong.training.distributed import is_main
    from weakstrong.training.finetune import Watch

    spec = job.step.spec
    assert isinstance(spec, FinetuneFit)
    texts = texts_by_id(job.inputs["examples"])
    wanted, test = (ids_of(job.inputs["split"], parts) for parts in (spec.predict, [Part.TEST]))

    def seen(step: int, probs_NC: FloatArray) -> None:
        # In the folder of the checkpoints: a training that is resumed does not come by here again.
        if is_main():
            probs, guess = _small(wanted, probs_NC, test)
            building = job.scratch / "moment.building"
            save_file({"probs_NC": probs, "guess_N": guess}, building)
            building.replace(_moment(job.scratch, step))

    _, _, history = train_model(job, texts, runtime, Watch([texts[i] for i in wanted], seen))
    if not is_main():
        return
    steps = [step for step, _, _ in history.evaluations]
    lost = [step for step in steps if not _moment(job.scratch, step).exists()]
    if lost:
        raise TrainingError(
            f"{job.step.title}: what it said at step {lost[0]} is gone from {job.scratch}; remove that folder and run "
            "again"
        )
    moments = [load_file(_moment(job.scratch, step)) for step in steps]
    rows = len(labelled(job, spec).train)
    epochs = np.array(steps) / steps_per_epoch(rows, spec.training.batch_rows)
    agreements = [agreement for _, _, agreement in history.evaluations]
    _write(
        job,
        [(m["probs_NC"], m["guess_N"]) for m in moments],
        epochs,
        agreements,
        steps.index(history.best_step),
    )
    job.summary |= vars(history)


def _moment(folder: Path, step: int) -> Path:
    return folder / f"moment-{step}.safetensors"


def _small(ids: list[str], probs_NC: FloatArray, test: list[str]) -> Moment:
    """Probabilities of the test rows in half precision, and the guesses, which half precision could tie."""
    probs_NC = probs_NC[positions(test, ids, "predictions of the test part")]
    return probs_NC.astype(np.float16), probs_NC.argmax(1).astype(np.int16)


def _write(
    job: Job,
    moments: Sequence[Moment],
    epochs: npt.NDArray[Any],
    validation: Sequence[float],
    kept: int,
) -> None:
    arrays = {
        "probs_ENC": np.stack([probs for probs, _ in moments]),
        "guess_EN": np.stack([guess for _, guess in moments]),
        "epoch_E": np.asarray(epochs, np.float32),
        "validation_E": np.asarray(validation, np.float32),
        "kept": np.array([kept], np.int64),
    }
    save_file(arrays, job.out / FILE)
    test = ids_of(job.inputs["split"], [Part.TEST])
    pq.write_table(pa.table({"id": pa.array(test, pa.string())}), job.out / "ids.parquet", compression="zstd")
    job.summary |= {"moments": len(moments), "kept": kept}
