"""Scores of cells, read from a store, and what they add up to. No torch.

Legend: S seeds, N test rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from weakstrong import stats
from weakstrong.analyses import Analysis, Runs, parse_analysis
from weakstrong.cautions import cautions
from weakstrong.controls import controls
from weakstrong.errors import ConfigError, StoreError
from weakstrong.experiment import Cell, Experiment
from weakstrong.graph import CellSteps, Graph, closure
from weakstrong.ledger import Ledger, rows_name
from weakstrong.methods.base import Arm
from weakstrong.models.base import ModelSpec, card
from weakstrong.notes import failures
from weakstrong.over_tasks import adjust, over_tasks
from weakstrong.prompting import prompting
from weakstrong.remembered import remembered
from weakstrong.selection import Setting, best
from weakstrong.spec import digest
from weakstrong.store import Step, Store

if TYPE_CHECKING:
    import pandas
    import polars

ROLES: tuple[Arm, ...] = ("supervisor", "student", "ceiling")
GROUP = ("task", "supervisor", "student", "method", "regime")


@dataclass(frozen=True, eq=False)
class Results:
    """Cells of some experiments with the scores that a store holds.

    Scores are accuracies in [0, 1] on the test part; PGR is `weakstrong.stats.pgr` of a cell's three scores, and
    None where it is undefined for the cell (supervisor and ceiling equal) or the cell is not done.
    """

    store: Store
    experiments: tuple[Experiment, ...]

    @cached_property
    def _graph(self) -> Graph:
        return Graph()

    @cached_property
    def _cells(self) -> list[tuple[Cell, CellSteps]]:
        seen = dict[str, tuple[Cell, CellSteps]]()
        for experiment in self.experiments:
            for cell in experiment.cells():
                seen.setdefault(cell.key(), (cell, self._graph.cell(cell)))
        return list(seen.values())

    @cached_property
    def _stored(self) -> set[str]:
        return self.store.keys("score")

    @cached_property
    def _correct(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Correctness [N] by key of a score step; rows sorted by id, so that all scores of a task line up."""
        import pyarrow.parquet as pq

        steps = {s.key: s for _, c in self._cells for s in c.scores() if s.key in self._stored}
        out = {}
        for key, step in steps.items():
            # As read_table, in a third of the time: a store may hold 100,000 of these small files.
            file = pq.ParquetFile(self.store.open(step) / "correct.parquet")
            table = file.read(["id", "correct"], use_threads=False).sort_by("id")
            out[key] = table["correct"].to_numpy()
        return out

    @cached_property
    def cells(self) -> list[dict[str, Any]]:
        """One mapping per cell: its names, ``seed``, three scores, ``pgr``, ``status``, ``key``, ``error``."""
        rows = []
        means = {key: float(correct_N.mean()) for key, correct_N in self._correct.items()}
        for cell, steps in self._cells:
            scores = [means.get(s.key) for s in steps.scores()]
            done = None not in scores
            value = stats.pgr(*scores) if done else float("nan")  # type: ignore[arg-type]
            error = None if done else self._why(steps)
            rows.append(
                cell.identity()
                | {"uses_ground_truth": cell.uses_ground_truth}
                | {f"{role}_score": score for role, score in zip(ROLES, scores, strict=True)}
                | {"pgr": value if np.isfinite(value) else None}
                | {
                    "status": "done" if done else "failed" if error else "missing",
                    "key": cell.key(),
                    "error": error,
                }
            )
        return rows

    def statuses(self) -> list[str]:
        """``done``, ``missing`` or ``failed`` for each cell, from listings alone: no result is opened."""
        return [
            "done" if all(s.key in self._stored for s in steps.scores())
            else "failed" if self._why(steps) else "missing"
            for _, steps in self._cells
        ]  # fmt: skip

    def _why(self, steps: CellSteps) -> str | None:
        # Of 100,000 cells that wait, most have no failure behind them, and looking takes as long as planning.
        for step in closure(list(steps.scores())) if self._failures else ():
            if step.key in self._failures:
                return f"{step.title}: {self._failures[step.key]['error']}"
        return None

    @cached_property
    def _failures(self) -> dict[str, dict[str, Any]]:
        return failures(self.store)

    @cached_property
    def aggregate(self) -> list[dict[str, Any]]:
        """One mapping per (task, supervisor, student, method, regime), over the seeds that are done.

        ``recipe`` names what else is the same in all its cells: split and trainings.

        Scores are means over seeds; intervals are 95 %, from resamples of test rows crossed with seeds, the same rows
        for supervisor, student and ceiling. ``pgr`` is None with ``pgr_defined`` False where the interval of the gap
        covers zero. ``p_vs_naive`` is a paired sign-flip test against naive on the same rows and seeds, and
        ``p_vs_naive_holm`` adjusts it for all comparisons of the task and regime. ``gain`` is the accuracy of the
        student minus that of the supervisor where both are the same model, so that no PGR exists; None elsewhere.
        """
        groups = self._groups
        rows = [self._aggregate_row(key, members) for key, members in groups.items()]
        by_key = dict(zip(groups, rows, strict=True))
        for key, row in by_key.items():
            self._compare(key, row, groups)
        families: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in rows:
            families.setdefault((row["task"], row["regime"]), []).append(row)
        for family in families.values():
            adjust(family, "p_vs_naive")
        return rows

    @cached_property
    def _groups(self) -> dict[tuple[Any, ...], list[tuple[Cell, CellSteps]]]:
        """Cells that are done, by names and recipe: the seeds of one result."""
        groups: dict[tuple[Any, ...], list[tuple[Cell, CellSteps]]] = {}
        for cell, steps in self._cells:
            if all(s.key in self._stored for s in steps.scores()):
                identity = cell.identity()
                recipe = (
                    cell.split.model_copy(update={"seed": 0}).key(),
                    cell.supervisor_training.key(),
                    cell.student_training.key(),
                )
                groups.setdefault((*(identity[k] for k in GROUP), *recipe), []).append((cell, steps))
        return groups

    def _matrix(self, members: list[tuple[Cell, CellSteps]], role: str) -> npt.NDArray[np.bool_]:
        """Correctness [S, N] of one arm."""
        return np.stack([self._correct[getattr(steps, role).key] for _, steps in members])

    def _aggregate_row(self, key: tuple[Any, ...], members: list[tuple[Cell, CellSteps]]) -> dict[str, Any]:
        arms = [self._matrix(members, role) for role in ROLES]
        estimate = stats.pgr_interval(*arms)
        row: dict[str, Any] = dict(zip(GROUP, key, strict=False))
        row["recipe"] = _recipe(key)
        row |= {"n_seeds": estimate.n_seeds, "n_test": estimate.n_test}
        for role in ROLES:
            interval = getattr(estimate, role)
            row |= {
                f"{role}_score": interval.value,
                f"{role}_low": interval.low,
                f"{role}_high": interval.high,
            }
        row |= {"pgr": estimate.pgr, "pgr_low": estimate.low, "pgr_high": estimate.high}
        for method in ("bca", "fieller"):
            other = stats.pgr_interval(*arms, method=method)
            row |= {f"pgr_{method}_low": other.low, f"pgr_{method}_high": other.high}
        row |= {"pgr_defined": estimate.defined, "pgr_reason": estimate.reason, "note": estimate.note}
        row |= {"uses_ground_truth": members[0][0].uses_ground_truth}
        row |= {"gain": None, "gain_low": None, "gain_high": None}
        if row["supervisor"] == row["student"]:
            gain = stats.ratio_interval(arms[1].astype(float) - arms[0])
            row |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
        row |= {"p_vs_naive": None, "p_vs_naive_holm": None, "gain_vs_naive": None}
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}

    def _compare(
        self,
        key: tuple[Any, ...],
        row: dict[str, Any],
        groups: dict[tuple[Any, ...], list[tuple[Cell, CellSteps]]],
    ) -> None:
        place = GROUP.index("method")
        naive = groups.get((*key[:place], "naive", *key[place + 1 :]))
        if naive is None or key[place] == "naive" or row["uses_ground_truth"]:
            return
        if groups[key][0][0].method.hint is not None:  # a control
            return
        mine, other = ({c.seed: (c, s) for c, s in g} for g in (groups[key], naive))
        seeds = sorted(mine.keys() & other.keys())
        if not seeds:
            return
        test = stats.paired_permutation(
            self._matrix([mine[s] for s in seeds], "student"),
            self._matrix([other[s] for s in seeds], "student"),
        )
        row |= {"p_vs_naive": test.p, "gain_vs_naive": test.difference}

    @cached_property
    def controls(self) -> list[dict[str, Any]]:
        """What the controls among the cells should show and what they do (`weakstrong.controls`)."""
        return controls(self.aggregate)

    @cached_property
    def across(self) -> list[dict[str, Any]]:
        """One mapping per (supervisor, student, method, regime) over all tasks (`weakstrong.over_tasks`)."""
        return over_tasks(self.aggregate)

    @cached_property
    def prompting(self) -> list[dict[str, Any]]:
        """Prompting beside naive and the ceiling, student by student (`weakstrong.prompting`)."""
        return prompting(self.aggregate)

    @cached_property
    def settings(self) -> list[Setting]:
        """What `aggregate` has rows of, with the correctness of every seed."""
        rows_of = cache(lambda step: rows_name(self.store.open(step)))
        out = []
        for key, members in self._groups.items():
            names = dict(zip(GROUP, key, strict=False)) | {"recipe": _recipe(key)}
            right = {a: {c.seed: self._correct[getattr(s, a).key] for c, s in members} for a in ROLES}
            out.append(Setting(names, members[0][0].method, rows_of(members[0][1].ceiling), right))
        return out

    def steps_of_cells(self) -> list[tuple[Cell, CellSteps]]:
        """Every cell with its steps, stored or not."""
        return self._cells

    def best(self, over: str, corrected: bool = False) -> list[dict[str, Any]]:
        """The best method of each pair of models, less what choosing on test rows lifts it (`weakstrong.selection`).

        Raises:
            ConfigError: for the best seed, unless ``corrected``: the best of equal runs is luck.
        """
        return best(self.settings, over, corrected)

    @property
    def ledger(self) -> Ledger:
        """Every scoring of test rows that the store has on record, and what was chosen among."""
        return self.ledger_of(lambda _: True)

    def ledger_of(self, also: Callable[[Experiment], bool]) -> Ledger:
        """The ledger of these experiments and of those of the store that ``also`` accepts."""
        own = {e.key() for e in self.experiments}
        more = [e for e in remembered(self.store) if e.key() not in own and also(e)]
        return Ledger(self, Results(self.store, (*self.experiments, *more)) if more else self)

    def to_polars(self, aggregate: bool = False) -> polars.DataFrame:
        """Cells (or their aggregate) as a polars frame."""
        import polars as pl

        return pl.DataFrame(self.aggregate if aggregate else self.cells, infer_schema_length=None)

    def to_pandas(self, aggregate: bool = False) -> pandas.DataFrame:
        """Cells (or their aggregate) as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.aggregate if aggregate else self.cells)

    def analysis(self, value: str | dict[str, Any] | Analysis) -> list[dict[str, Any]]:
        """One analysis of every group of seeds: rows with ``analysis``, the group's names, ``recipe``, ``n_seeds``,
        ``measure``, ``value``, ``low``, ``high`` (95 %, None where undefined) and the analysis' own columns.

        Only cells whose steps are stored take part; an analysis with steps of its own needs a run that lists it.
        """
        analysis = parse_analysis(value)
        rows = []
        for key, members in self._groups.items():
            ready = [
                (cell, made, own)
                for cell, made in members
                if not analysis.refuses(cell)
                for own in [analysis.steps(cell, made, self._graph)]
                if all(self.store.has(step) for step in own.values())
            ]
            if not ready:
                continue
            cells, made, own = zip(*ready, strict=True)
            names = {"analysis": analysis.name} | dict(zip(GROUP, key, strict=False))
            names |= {"recipe": _recipe(key), "n_seeds": len(cells)}
            for row in analysis.measure(Runs(self.store, cells, made, own)):
                found = names | row
                rows.append(
                    {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in found.items()}
                )
        return rows

    @cached_property
    def analyses(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of every analysis that the experiments list, by its name."""
        listed = {a.name: a for e in self.experiments for a in e.analyses}
        return {name: self.analysis(analysis) for name, analysis in listed.items()}

    def steps(self) -> list[Step]:
        """What a run has to compute: the score steps of all cells, and what the listed analyses need."""
        found = {s.key: s for _, c in self._cells for s in c.scores()}
        for experiment in self.experiments:
            for cell in experiment.cells() if experiment.analyses else ():
                made = self._graph.cell(cell)
                for analysis in experiment.analyses:
                    if not analysis.refuses(cell):
                        found |= {s.key: s for s in analysis.steps(cell, made, self._graph).values()}
        return list(found.values())

    def checks(self) -> list[Step]:
        """The steps that check the rows of all cells: run before anything is trained."""
        return list({c.check.key: c.check for _, c in self._cells}.values())

    def findings(self) -> list[dict[str, Any]]:
        """What the checks of the rows found: task, split seed, ``check``, ``level``, ``message``, ``numbers``, ``examples``."""
        out = []
        for cell, steps in {c.check.key: (cell, c) for cell, c in self._cells}.values():
            if self.store.has(steps.check):
                text = (self.store.open(steps.check) / "findings.json").read_text(encoding="utf-8")
                out += [{"task": cell.task.name, "seed": cell.seed} | found for found in json.loads(text)]
        return out

    def models(self) -> dict[str, dict[str, Any]]:
        """Card of every model in the cells, by name."""
        specs = {
            m.name: m
            for cell, _ in self._cells
            for m in (cell.supervisor, cell.student)
            if isinstance(m, ModelSpec)
        }
        return {name: vars(card(spec)) for name, spec in specs.items()}

    def specs(self) -> dict[str, dict[str, Any]]:
        """The whole JSON of every cell, by key."""
        return {cell.key(): cell.to_dict() for cell, _ in self._cells}

    def provenance(self) -> list[dict[str, Any]]:
        """Where, when and with what each stored step behind the cells was made."""
        stored: dict[str, set[str]] = {}
        rows = []
        for step in closure(self.steps()):
            if step.key not in stored.setdefault(step.name, self.store.keys(step.name)):
                continue
            record = self.store.read_record(step.name, step.key)
            rows.append(
                {"step": step.name, "key": step.key, "version": step.version, "title": step.title}
                | record["provenance"]
            )
        return rows

    def warnings(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        return cautions(self)

    def page(self, title: str | None = None, live: str = "") -> str:
        """The results as one self-contained HTML page; ``live`` as of `render_page`."""
        from weakstrong.results_page import page_of

        return page_of(self, title, live)

    def groups(self) -> list[tuple[dict[str, Any], list[tuple[Cell, CellSteps]]]]:
        """The seeds of each result that is done, with the names of `GROUP` and ``recipe``."""
        return [
            (dict(zip(GROUP, key, strict=False)) | {"recipe": _recipe(key)}, members)
            for key, members in self._groups.items()
        ]


def _recipe(key: tuple[Any, ...]) -> str:
    return digest(" ".join(key[len(GROUP) :]))[:12]


def collect(store: Store, experiments: Iterable[Experiment] | None = None) -> Results:
    """Results of the given experiments, or of all that were run on ``store``.

    Raises:
        StoreError: if nothing was ever run there.
    """
    found = tuple(experiments) if experiments is not None else tuple(remembered(store))
    if not found:
        raise StoreError(
            f"the store {store.url} holds no experiment; run one with w2s run --store {store.url}"
        )
    if not all(isinstance(e, Experiment) for e in found):
        raise ConfigError("results are collected for Experiment values")
    return Results(store, found)
