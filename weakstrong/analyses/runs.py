"""What an analysis sees: the stored predictions of one group of cells that differ in their seed only.

Legend: S seeds, N test rows (sorted by id, the same for all seeds), C classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from weakstrong.data import positions, read_probabilities
from weakstrong.methods.base import Arm
from weakstrong.store import Step, Store

if TYPE_CHECKING:
    from weakstrong.experiment import Cell
    from weakstrong.graph import CellSteps

PROBABILITIES = "probabilities.parquet"


@dataclass(frozen=True, eq=False)
class Runs:
    """All seeds of one (task, supervisor, student, method, regime) whose steps are stored.

    Attributes:
        store: where the steps lie.
        cells: one per seed.
        made: the steps of each cell.
        own: the analysis' own steps of each cell, by name.
    """

    store: Store
    cells: tuple[Cell, ...]
    made: tuple[CellSteps, ...]
    own: tuple[Mapping[str, Step], ...]

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the test rows, sorted."""
        return sorted(pq.read_table(self._score(0, "ceiling"), columns=["id"])["id"].to_pylist())

    @cached_property
    def truth(self) -> npt.NDArray[np.int64]:
        """Class of each test row, int64 [N]."""
        truth_NC = self._aligned(self.made[0].ceiling.inputs["truth"])
        return np.asarray(truth_NC.argmax(1))

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Each test row as the task has it: ``id``, ``group``, ``text``, ``label``, and the task's other columns."""
        loaded = self.made[0].ceiling.inputs["truth"].inputs["load"]
        table = pq.read_table(self.store.open(loaded) / "rows.parquet")
        found: list[dict[str, Any]] = table.take(
            positions(self.ids, table["id"].to_pylist(), "rows of the test part")
        ).to_pylist()
        return found

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes."""
        loaded = self.made[0].ceiling.inputs["truth"].inputs["load"]
        names: list[str] = json.loads((self.store.open(loaded) / "classes.json").read_text(encoding="utf-8"))
        return names

    def probabilities(self, arm: Arm) -> npt.NDArray[np.float32]:
        """Class probabilities of the test rows, float32 [S, N, C]."""
        return np.stack([self._aligned(getattr(steps, f"{arm}_fit")) for steps in self.made])

    def guesses(self, arm: Arm) -> npt.NDArray[np.int64]:
        """Predicted class of each test row, int64 [S, N]."""
        return np.stack([self._column(i, arm, "guess").astype(np.int64) for i in range(len(self.made))])

    def correct(self, arm: Arm) -> npt.NDArray[np.bool_]:
        """Whether each prediction is right, bool [S, N]."""
        return np.stack([self._column(i, arm, "correct").astype(bool) for i in range(len(self.made))])

    def opened(self, name: str) -> list[Path]:
        """Folders of the analysis' own step ``name``, one per seed."""
        return [self.store.open(own[name]) for own in self.own]

    def scored(self, name: str) -> npt.NDArray[np.bool_]:
        """Correctness of the analysis' own `score` step ``name``, bool [S, N]."""
        tables = [pq.read_table(folder / "correct.parquet").sort_by("id") for folder in self.opened(name)]
        return np.stack([table["correct"].to_numpy().astype(bool) for table in tables])

    def _aligned(self, step: Step) -> npt.NDArray[np.float32]:
        ids, probs_NC = read_probabilities(self.store.open(step) / PROBABILITIES)
        return probs_NC[positions(self.ids, ids, f"predictions of {step.title}")]

    def _score(self, seed: int, arm: Arm) -> Path:
        step: Step = getattr(self.made[seed], arm)
        return self.store.open(step) / "correct.parquet"

    def _column(self, seed: int, arm: Arm, name: str) -> npt.NDArray[Any]:
        table = pq.read_table(self._score(seed, arm), columns=["id", name]).sort_by("id")
        return np.asarray(table[name].to_numpy())
