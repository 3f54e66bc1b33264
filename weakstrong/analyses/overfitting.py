"""Whether a student overfits to weak labels: its accuracy through training (paper §5.1.1, Fig. 7 and 13).

Legend: S seeds, E evaluations, N test rows, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from weakstrong import steps
from weakstrong.analyses.base import ANALYSES, Analysis, measured
from weakstrong.analyses.runs import Runs
from weakstrong.data import positions
from weakstrong.stats import Interval, pgr_interval, ratio_interval

if TYPE_CHECKING:
    from weakstrong.experiment import Cell
    from weakstrong.graph import CellSteps, Graph
    from weakstrong.store import Step


@dataclass(frozen=True, eq=False)
class Trajectories:
    """What the students of all seeds said of the test rows at every evaluation.

    Attributes:
        guess_SEN: predicted classes, int64.
        probs_SENC: class probabilities in half precision, float16.
        epoch_E: epochs trained, float32.
        validation_SE: agreement with the labels that training is stopped by, in [0, 1].
        kept_S: the evaluation whose weights each fit keeps.
    """

    guess_SEN: npt.NDArray[np.int64]
    probs_SENC: npt.NDArray[np.float16]
    epoch_E: npt.NDArray[np.float32]
    validation_SE: npt.NDArray[np.float32]
    kept_S: npt.NDArray[np.int64]


def trajectories(folders: list[Path], ids: list[str]) -> Trajectories:
    """Read the stored trajectories of some seeds, rows in the order of ``ids``."""
    found = []
    for folder in folders:
        arrays = load_file(folder / "trajectory.safetensors")
        have = pq.read_table(folder / "ids.parquet")["id"].to_pylist()
        where_N = positions(ids, have, "trajectory of the test part")
        arrays["guess_EN"], arrays["probs_ENC"] = (
            arrays["guess_EN"][:, where_N],
            arrays["probs_ENC"][:, where_N],
        )
        found.append(arrays)
    return Trajectories(
        np.stack([a["guess_EN"] for a in found]).astype(np.int64),
        np.stack([a["probs_ENC"] for a in found]),
        found[0]["epoch_E"],
        np.stack([a["validation_E"] for a in found]),
        np.concatenate([a["kept"] for a in found]),
    )


@ANALYSES.register
class Overfitting(Analysis):
    """Accuracy through training, against ground truth and against the weak labels; PGR at three moments.

    Rows with ``epoch`` and without ``stop`` are one evaluation: the student's ``accuracy``, its ``agreement`` with the
    supervisor on all rows, where that is right and where it is wrong, and its ``validation agreement``, which early
    stopping looks at. Rows with ``stop`` compare moments, one per seed: ``weak`` has the best agreement with the weak
    validation labels (the first of equals), ``last`` is the end, and ``best`` has the highest test accuracy: an
    oracle, marked ``uses_ground_truth``, whose interval leaves out that it was chosen on the same rows. Costs one more
    training per cell. Prompted students and oracles are passed over: they have no such moments.
    """

    source: ClassVar[str] = "Burns et al. 2023, §5.1.1, Fig. 7, 13"
    kind: Literal["overfitting"] = "overfitting"

    def refuses(self, cell: Cell) -> str:
        if cell.method.prompt is not None:
            return f"{cell.method.name} trains nothing"
        if cell.method.uses_ground_truth:
            return f"{cell.method.name} is stopped by ground truth"
        return ""

    def steps(self, cell: Cell, made: CellSteps, graph: Graph) -> dict[str, Step]:
        return {"trajectory": steps.trajectory(made.student_fit)}

    def measure(self, runs: Runs) -> list[dict[str, Any]]:
        found = trajectories(runs.opened("trajectory"), runs.ids)
        correct_SEN = found.guess_SEN == runs.truth
        weak_SN, right_SN = runs.guesses("supervisor"), runs.correct("supervisor")
        places = {"all": np.ones_like(right_SN), "supervisor right": right_SN, "supervisor wrong": ~right_SN}
        rows = []
        for e, epoch in enumerate(found.epoch_E.tolist()):
            at = {"arm": "student", "moment": e + 1, "epoch": epoch}
            rows.append(measured("accuracy", ratio_interval(correct_SEN[:, e]), **at, where="all"))
            for where, chosen_SN in places.items():
                equal_SN = (found.guess_SEN[:, e] == weak_SN) & chosen_SN
                rows.append(measured("agreement", ratio_interval(equal_SN, chosen_SN), **at, where=where))
            # Validation rows differ by seed, and only their share is kept: the interval is over seeds alone.
            held = ratio_interval(found.validation_SE[:, e : e + 1])
            rows.append(measured("validation agreement", held, **at, where="validation"))
        return rows + self._stops(runs, found, correct_SEN)

    def _stops(
        self, runs: Runs, found: Trajectories, correct_SEN: npt.NDArray[np.bool_]
    ) -> list[dict[str, Any]]:
        seeds, last = len(correct_SEN), len(found.epoch_E) - 1
        moments = {
            "best": correct_SEN.mean(2).argmax(1),
            "weak": found.validation_SE.argmax(1),
            "last": np.full(seeds, last),
        }
        rows = []
        for stop, moment_S in moments.items():
            student_SN = correct_SEN[np.arange(seeds), moment_S]
            at = {
                "arm": "student",
                "stop": stop,
                "epoch": float(found.epoch_E[moment_S].mean()),
                "uses_ground_truth": stop == "best",
            }
            rows.append(measured("accuracy", ratio_interval(student_SN), **at, where="all"))
            estimate = pgr_interval(runs.correct("supervisor"), student_SN, runs.correct("ceiling"))
            interval = Interval(estimate.pgr, estimate.low, estimate.high)
            rows.append(measured("pgr", interval, **at, where="all", reason=estimate.reason))
        return rows
