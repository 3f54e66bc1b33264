"""The ledger of a store: every scoring of test rows on record, and what was chosen among. No torch.

A score is stored once for each recipe, so that a cell can be scored on its test rows once and asking again reads the same
record. The ledger knows one store; what was scored elsewhere, or removed, it cannot know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weakstrong.data import Part
from weakstrong.errors import CorruptResultError
from weakstrong.selection import PLACE, Setting, choices
from weakstrong.spec import digest
from weakstrong.store import Store

if TYPE_CHECKING:
    from weakstrong.results import Results

ARMS = ("supervisor", "student", "ceiling")
FREE = (
    "Validation rows: every training looks at them freely, by agreement with its own labels. No score reads their ground "
    "truth, so none of it is on this record."
)


def rows_name(folder: Path) -> str:
    """12 hexadecimal digits that name the rows of a stored score; equal rows, equal name."""
    import pyarrow.parquet as pq

    ids = pq.ParquetFile(folder / "correct.parquet").read(["id"], use_threads=False)["id"].to_pylist()
    return digest("\n".join(sorted(ids)))[:12]


@dataclass(frozen=True, eq=False)
class Ledger:
    """What was scored, tried and left out.

    Attributes:
        shown: the results that somebody looks at.
        every: results of all experiments of the store, those shown included.
    """

    shown: Results
    every: Results

    @property
    def store(self) -> Store:
        return self.shown.store

    @cached_property
    def scorings(self) -> list[dict[str, Any]]:
        """One mapping for each stored score, oldest first.

        ``finished`` (UTC), ``part`` and ``test`` (which rows), ``rows``, ``score``, ``arm``, the names of its cells
        (``several`` where they differ), ``cells`` (how many), ``experiments``, ``key``, ``predictions``. ``registered``
        is False for a score that is part of no experiment of the store.
        """
        known = self._registered()
        rows = []
        for key in self.store.keys("score"):
            record = self.store.read_record("score", key)
            folder, damage = self.store.files("score", key, record)
            if damage:
                raise CorruptResultError(f"{damage} Remove its folder and run again.", "score", key)
            found = known.get(key)
            rows.append(
                {
                    "finished": str(record.get("provenance", {}).get("finished", "")),
                    "part": str(record.get("spec", {}).get("part", "")),
                    "test": rows_name(folder),
                    "rows": record["summary"]["rows"],
                    "score": record["summary"]["accuracy"],
                }
                | (
                    found
                    or dict.fromkeys(("arm", *PLACE, "method", "seed", "experiments"), "") | {"cells": 0}
                )
                | {
                    "registered": found is not None,
                    "key": key,
                    "predictions": record["inputs"]["predictions"],
                }
            )
        return sorted(rows, key=lambda row: (row["finished"], row["key"]))

    def _registered(self) -> dict[str, dict[str, Any]]:
        """Names of what each score step of the experiments is a score of, by key."""
        of_cell: dict[str, list[str]] = {}
        for experiment in self.every.experiments:
            for cell in experiment.cells():
                names = of_cell.setdefault(cell.key(), [])
                if experiment.name not in names:
                    names.append(experiment.name)
        entries: dict[str, list[dict[str, Any]]] = {}
        for cell, steps in self.every.steps_of_cells():
            whole = cell.identity() | {"experiments": ", ".join(of_cell[cell.key()])}
            for arm, step in zip(ARMS, steps.scores(), strict=True):
                # A supervisor's score says nothing of students, and a ceiling's nothing of weak labels.
                without = {"supervisor": ("student", "method"), "ceiling": ("supervisor", "method")}.get(
                    arm, ()
                )
                entries.setdefault(step.key, []).append({"arm": arm} | whole | dict.fromkeys(without, ""))
        return {
            key: {
                name: found[0][name] if len({e[name] for e in found}) == 1 else "several" for name in found[0]
            }
            | {"cells": len(found)}
            for key, found in entries.items()
        }

    @cached_property
    def tests(self) -> list[dict[str, Any]]:
        """One mapping for each set of test rows: how often, when, by what it was scored.

        ``supervisors``, ``students``, ``ceilings`` count scores, ``unregistered`` those of no experiment;
        ``scored_again`` counts predictions whose test score is on record more than once; ``methods`` and ``settings`` are
        the different methods, and methods with parameters and training, whose students were scored.
        """
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in self.scorings:
            if row["part"] == Part.TEST:
                groups.setdefault(row["test"], []).append(row)
        settings: dict[str, set[tuple[Any, ...]]] = {}
        for one in self.every.settings:
            settings.setdefault(one.test, set()).add(
                (one.method.name, one.names["regime"], one.names["recipe"])
            )
        return [
            {
                "test": test,
                "task": ", ".join(sorted({r["task"] for r in rows if r["task"]})),
                "rows": rows[0]["rows"],
                "scorings": len(rows),
                "supervisors": sum(r["arm"] == "supervisor" for r in rows),
                "students": sum(r["arm"] == "student" for r in rows),
                "ceilings": sum(r["arm"] == "ceiling" for r in rows),
                "unregistered": sum(not r["registered"] for r in rows),
                "scored_again": len(rows) - len({r["predictions"] for r in rows}),
                "methods": len({name for name, *_ in settings.get(test, ())}),
                "settings": len(settings.get(test, ())),
                "seeds": len({r["seed"] for r in rows if r["arm"] == "student" and r["seed"] != "several"}),
                "first": min(r["finished"] for r in rows),
                "last": max(r["finished"] for r in rows),
            }
            for test, rows in groups.items()
        ]

    @cached_property
    def choices(self) -> list[dict[str, Any]]:
        """Where several settings of one method were scored on the same test rows (`weakstrong.selection.choices`)."""
        return choices(self.every.settings)

    @cached_property
    def left_out(self) -> list[dict[str, Any]]:
        """Settings whose means are over some of the seeds that are on record: ``seeds`` shown, ``missing`` ones."""
        every = {_place(s): s for s in self.every.settings}
        rows = []
        for setting in self.shown.settings:
            missing = sorted(every[_place(setting)].correct.keys() - setting.correct.keys())
            if missing:
                names = dict(setting.names)
                rows.append(names | {"seeds": sorted(setting.correct), "missing": missing})
        return rows

    def warnings(self) -> list[str]:
        """What makes the shown numbers look better than they are, in words."""
        shown = {s.place for s in self.shown.settings}
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in self.choices:
            if (*(row[k] for k in PLACE), row["test"]) in shown:
                groups.setdefault((row["task"], row["method"], row["regime"]), []).append(row)
        return [_of_choice(rows) for rows in groups.values()] + [_of_seeds(row) for row in self.left_out]

    def words(self) -> list[str]:
        """The ledger in sentences."""
        out = []
        for row in self.tests:
            again = (
                f"{row['scored_again']} predictions were scored more than once"
                if row["scored_again"]
                else ("no prediction was scored twice")
            )
            stray = (
                f", {row['unregistered']} of no experiment that the store knows"
                if row["unregistered"]
                else ""
            )
            out.append(
                f"{row['task'] or 'unknown task'}, {row['rows']:,} test rows ({row['test']}): {row['scorings']} scores, "
                f"{row['first']} to {row['last']}: {row['supervisors']} of supervisors, {row['students']} of students, "
                f"{row['ceilings']} of ceilings{stray}; {again}; {row['methods']} methods in {row['settings']} settings."
            )
        if self.left_out:
            out.append(f"{len(self.left_out)} of the means shown leave seeds out that are on record.")
        elif self.shown.settings:
            out.append("Every mean shown is over all seeds on record of its setting.")
        return [*out, FREE]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "tests": self.tests,
            "choices": self.choices,
            "left_out": self.left_out,
            "warnings": self.warnings(),
            "scorings": self.scorings,
        }


def _place(setting: Setting) -> tuple[Any, ...]:
    return (*setting.place, setting.names["method"], setting.names["recipe"])


def _of_choice(rows: Sequence[dict[str, Any]]) -> str:
    most = max(rows, key=lambda row: row["n_variants"])
    lifts = [row for row in rows if row["expected_maximum"] is not None]
    lifted = ""
    if lifts:
        worst = max(lifts, key=lambda row: float(row["expected_maximum"]))
        pgr = worst["expected_maximum_pgr"]
        lifted = f"; the best of them lies {worst['expected_maximum']:.3f}" + (
            f" ({pgr:.2f} PGR)" if pgr is not None else ""
        )
        lifted += " above the mean by chance, were all equal"
    pairs = f" for {len(rows)} pairs of models" if len(rows) > 1 else ""
    return (
        f"{most['task']}: {most['n_variants']} variants of {most['method']} ({most['parameters']}) were scored on the same "
        f"{most['n_test']:,} test rows{pairs}. Choosing among {most['n_variants']} variants of {most['method']} on test "
        f"accuracy overstates the best{lifted}. Choose on validation rows, or report all of them."
    )


def _of_seeds(row: dict[str, Any]) -> str:
    missing = ", ".join(map(str, row["missing"]))
    return (
        f"{row['task']}, {row['supervisor']} to {row['student']}, {row['method']}: the mean is over seeds "
        f"{', '.join(map(str, row['seeds']))}, but seeds {missing} are on record too. Report the mean over all of them."
    )
