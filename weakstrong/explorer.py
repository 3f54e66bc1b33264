"""What a reader looks at behind one result: training curves, rows on which student and supervisor differ, steps.

Nothing here is chosen by its outcome: the rows come from the first seed, in the order of a hash of their ids, so that
all results of a task show the same rows where they can. No torch.

Legend: N test rows, C classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from weakstrong.analyses import Runs
from weakstrong.experiment import Cell
from weakstrong.graph import CellSteps, closure
from weakstrong.store import Step, Store

Members = Sequence[tuple[Cell, CellSteps]]

ROWS_EACH = 10
"""Rows of each kind (student right, supervisor right) that one result shows at most."""
TEXT_LENGTH = 400
"""Characters of a text that are shown."""
TEXT_BUDGET = 800_000
"""Characters of all rows of a page together; above it every result shows fewer rows."""
RESULTS_AT_MOST = 400
"""Results that are looked into, first come first; a page of more would be too large to open."""
TEXT_COLUMNS = ("text", "other")
KINDS = {"student_right": ("student", "supervisor"), "supervisor_right": ("supervisor", "student")}
"""Kind of disagreement -> who is right, who is wrong."""


def explored(
    store: Store, groups: Sequence[Members], names: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One mapping per group of seeds, for `weakstrong.report.page.ReportData`.

    Args:
        store: where the steps lie; what is not there (a bundle has scores only) is left out, and ``note`` says so.
        groups: cells and their steps that differ in the seed only, all of them scored.
        names: what tells each group from the others, copied into its mapping.

    Returns:
        ``names`` and: ``keys`` of the cells and their ``seeds``; ``curve`` with ``unit`` (``epoch`` or ``step``) and
        ``lines``, of each seed ``points`` [x, agreement in [0, 1] with the weak labels of the validation part, four
        decimals] and the ``best`` x; ``seed``, the one that the rows are of; ``counts`` of test rows by who is right;
        ``student_right`` and ``supervisor_right``, rows with ``id``, ``text``, ``other`` (of a comparison), ``truth``,
        ``supervisor``, ``student`` (names of classes), ``supervisor_p`` and ``student_p`` (of the class they chose,
        three decimals); ``steps``, keys of all steps behind that seed; ``note``.
    """
    texts = _Texts(store)
    found = [
        dict(name) | _group(store, members, texts)
        for name, members in zip(names, groups[:RESULTS_AT_MOST], strict=False)
    ]
    _within_budget(found)
    return found


def _group(store: Store, members: Members, texts: _Texts) -> dict[str, Any]:
    cell, made = members[0]
    first = Runs(store, (cell,), (made,), ({},))
    entry: dict[str, Any] = {
        "keys": [c.key() for c, _ in members],
        "seeds": [c.seed for c, _ in members],
        "curve": _curve(store, members),
        "seed": cell.seed,
        "steps": [step.key for step in closure(list(made.scores()))],
        "note": "",
    }
    right_N = {arm: first.correct(arm)[0] for arm in ("student", "supervisor")}
    both_N = right_N["student"] & right_N["supervisor"]
    entry["counts"] = {
        "both_right": int(both_N.sum()),
        "student_right": int((right_N["student"] & ~right_N["supervisor"]).sum()),
        "supervisor_right": int((right_N["supervisor"] & ~right_N["student"]).sum()),
        "both_wrong": int((~right_N["student"] & ~right_N["supervisor"]).sum()),
    }
    truth = made.ceiling.inputs["truth"]
    loaded = truth.inputs["load"]
    if not all(store.has(s) for s in (loaded, truth, made.student_fit, made.supervisor_fit)):
        entry["note"] = (
            "This store holds the scores only: the texts and predictions behind them are elsewhere."
        )
        return entry | {kind: [] for kind in KINDS}
    shown = _Shown(first, texts.of(loaded))
    for kind, (good, bad) in KINDS.items():
        entry[kind] = shown.rows(right_N[good] & ~right_N[bad])
    return entry


@dataclass(frozen=True)
class _Shown:
    """Turns places of test rows into what a reader sees of them."""

    runs: Runs
    texts: Mapping[str, Mapping[str, str]]

    @cached_property
    def _predictions(self) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """Class [N] and its probability [N] by arm."""
        found = {}
        for arm in ("supervisor", "student"):
            probs_NC, guess_N = self.runs.probabilities(arm)[0], self.runs.guesses(arm)[0]
            found[arm] = guess_N, np.take_along_axis(probs_NC, guess_N[:, None], 1)[:, 0]
        return found

    def rows(self, where_N: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
        ids, classes = self.runs.ids, self.runs.classes
        chosen = sorted(np.flatnonzero(where_N).tolist(), key=lambda i: (_place(ids[i]), ids[i]))
        found = []
        for i in chosen[:ROWS_EACH]:
            row: dict[str, Any] = {"id": ids[i]} | dict(self.texts[ids[i]])
            row["truth"] = classes[self.runs.truth[i]]
            for arm, (guess_N, p_N) in self._predictions.items():
                row |= {arm: classes[guess_N[i]], f"{arm}_p": round(float(p_N[i]), 3)}
            found.append(row)
        return found


class _Texts:
    """Texts of the rows of each task, cut; read once for all results of the task."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[str, Mapping[str, Mapping[str, str]]] = {}

    def of(self, loaded: Step) -> Mapping[str, Mapping[str, str]]:
        if loaded.key not in self._found:
            file = self._store.open(loaded) / "rows.parquet"
            columns = [c for c in TEXT_COLUMNS if c in pq.read_schema(file).names]
            table = pq.read_table(file, columns=["id", *columns])
            self._found[loaded.key] = _Cut(table["id"].to_pylist(), {c: table[c] for c in columns})
        return self._found[loaded.key]


class _Cut(Mapping[str, Mapping[str, str]]):
    """Texts by id; only those that are asked for leave the table."""

    def __init__(self, ids: list[str], columns: Mapping[str, Any]) -> None:
        self._places = dict(zip(ids, range(len(ids)), strict=True))
        self._columns = columns

    def __getitem__(self, key: str) -> Mapping[str, str]:
        place = self._places[key]
        return {name: _cut(column[place].as_py()) for name, column in self._columns.items()}

    def __iter__(self) -> Any:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _cut(text: str) -> str:
    """At most `TEXT_LENGTH` characters, with a mark where something was left out.

    >>> len(_cut("a" * 1000)), _cut("short")
    (401, 'short')
    """
    return text if len(text) <= TEXT_LENGTH else text[:TEXT_LENGTH].rstrip() + "…"


def _place(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _curve(store: Store, members: Members) -> dict[str, Any]:
    """Agreement with the weak validation labels while the students were trained, from the records of their fits."""
    unit, lines = "epoch", []
    for cell, made in members:
        if not store.has(made.student_fit):
            continue
        summary = store.record(made.student_fit)["summary"]
        if "validation_agreement" in summary:
            points = [[i + 1, round(a, 4)] for i, a in enumerate(summary["validation_agreement"])]
            best = summary.get("best_epoch")
        elif "evaluations" in summary:
            unit = "step"
            points = [[int(step), round(a, 4)] for step, _, a in summary["evaluations"]]
            best = summary.get("best_step")
        else:
            continue  # a prompted student has no training
        lines.append({"seed": cell.seed, "points": points, "best": best})
    return {"unit": unit, "lines": lines}


def _within_budget(found: list[dict[str, Any]]) -> None:
    """Leave every result fewer rows, the same number, until all distinct texts fit a page."""
    for each in range(ROWS_EACH, -1, -1):
        for entry in found:
            for kind in KINDS:
                del entry[kind][each:]
        rows = [row for entry in found for kind in KINDS for row in entry[kind]]
        distinct = {row[c] for row in rows for c in TEXT_COLUMNS if c in row}
        if sum(map(len, distinct)) + 120 * len(rows) <= TEXT_BUDGET:
            return
