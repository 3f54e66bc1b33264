"""The public functions: run an experiment, train a student."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weakstrong.errors import DataError
from weakstrong.executors.local import Listener, RunReport, run_steps
from weakstrong.experiment import Experiment, experiments_in
from weakstrong.graph import closure
from weakstrong.results import Results, collect, remember
from weakstrong.store import Step, Store
from weakstrong.training.spec import Runtime


def default_store() -> str:
    """``$WEAKSTRONG_STORE``, or ``weakstrong-store`` in the working folder."""
    return os.environ.get("WEAKSTRONG_STORE") or "weakstrong-store"


def run(
    experiment: Experiment | Sequence[Experiment] | dict[str, Any] | str | Path,
    *,
    store: str | Path | Store | None = None,
    runtime: Runtime | None = None,
    listener: Listener | None = None,
) -> Results:
    """Run what is not stored of an experiment and return its results.

    Args:
        experiment: an `Experiment` or several, its mapping, or the path of a YAML file.
        store: where results live; default `default_store`.
        runtime: how steps run; never changes a number's meaning.
        listener: called at every event with (event, steps, words, number).

    Returns:
        scores in [0, 1] and PGR per cell (``.cells``) and per group of seeds (``.aggregate``).

    Raises:
        ConfigError: before anything runs, if the experiment is not valid.
        DataError: before anything is trained, if a task's rows cannot be loaded or dealt.
        StoreError: if the store fails.

    A step that fails leaves its cells with ``status="failed"`` and the reason; the others finish.
    """
    return run_with_report(experiment, store=store, runtime=runtime, listener=listener)[0]


def run_with_report(
    experiment: Experiment | Sequence[Experiment] | dict[str, Any] | str | Path,
    *,
    store: str | Path | Store | None = None,
    runtime: Runtime | None = None,
    listener: Listener | None = None,
) -> tuple[Results, RunReport]:
    """As `run`, with counts of computed, cached, failed and skipped steps."""
    if isinstance(experiment, (str, Path)):
        found = experiments_in(experiment)
    elif isinstance(experiment, dict):
        found = [Experiment.parse(experiment)]
    else:
        found = [experiment] if isinstance(experiment, Experiment) else list(experiment)
    opened = store if isinstance(store, Store) else Store(store or default_store())
    planned = collect(opened, found)
    targets = planned.steps()
    first = _prepare([*targets, *planned.checks()], opened, runtime, listener)
    for one in found:
        remember(opened, one)
    report = run_steps(targets, opened, runtime, listener)
    # What was computed first is met again as stored.
    report.computed += first.computed
    report.cached = max(0, report.cached - first.computed)
    report.seconds += first.seconds
    return collect(opened, found), report


def _prepare(
    targets: list[Step], store: Store, runtime: Runtime | None, listener: Listener | None
) -> RunReport:
    """Load, deal and check the rows of all tasks, so that bad rows stop an experiment before anything of it is kept."""
    rows = [s for s in closure(targets) if s.name in ("load", "split", "twins", "check")]
    report = run_steps(rows, store, runtime, listener)
    if report.failed:
        raise DataError("; ".join(dict.fromkeys(report.failed.values())))
    return report
