"""The public functions: run an experiment, train a student."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weakstrong.errors import DataError
from weakstrong.executors.base import Session
from weakstrong.experiment import Experiment, experiments_in
from weakstrong.graph import closure
from weakstrong.remembered import remember
from weakstrong.results import Results, collect
from weakstrong.schedule import Listener, RunReport, run_steps
from weakstrong.store import Step, Store
from weakstrong.trackers import Tracker, track
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
    trackers: Sequence[str | Tracker] = (),
    executor: str = "local",
) -> Results:
    """Run what is not stored of an experiment and return its results.

    Args:
        experiment: an `Experiment` or several, its mapping, or the path of a YAML file.
        store: where results live; default `default_store`.
        runtime: how steps run; never changes a number's meaning.
        listener: called at every event with (event, steps, words, number).
        trackers: names such as ``"mlflow"``, or trackers of your own; they can neither fail nor change a run.
        executor: where steps run: ``"local"`` (this process), ``"process:workers=4"``, ``"ray:address=auto"``,
            ``"slurm:partition=gpu"``.

    Returns:
        scores in [0, 1] and PGR per cell (``.cells``) and per group of seeds (``.aggregate``).

    Raises:
        ConfigError: before anything runs, if the experiment is not valid or a tracker is not installed.
        DataError: before anything is trained, if a task's rows cannot be loaded or dealt.
        StoreError: if the store fails.

    A step that fails leaves its cells with ``status="failed"`` and the reason; the others finish.
    """
    return run_with_report(
        experiment, store=store, runtime=runtime, listener=listener, trackers=trackers, executor=executor
    )[0]


def run_with_report(
    experiment: Experiment | Sequence[Experiment] | dict[str, Any] | str | Path,
    *,
    store: str | Path | Store | None = None,
    runtime: Runtime | None = None,
    listener: Listener | None = None,
    trackers: Sequence[str | Tracker] = (),
    executor: str = "local",
) -> tuple[Results, RunReport]:
    """As `run`, with counts of computed, cached, failed and skipped steps."""
    if isinstance(experiment, (str, Path)):
        found = experiments_in(experiment)
    elif isinstance(experiment, dict):
        found = [Experiment.parse(experiment)]
    else:
        found = [experiment] if isinstance(experiment, Experiment) else list(experiment)
    opened = store if isinstance(store, Store) else Store(store or default_store())
    # What is stored before the experiment is remembered must not look like nobody's to a gc meanwhile.
    with (
        opened.busy(),
        track(trackers, found, opened, listener) as tracked,
        Session(executor) as session,
    ):
        planned = collect(opened, found)
        targets = planned.steps()
        first = _prepare([*targets, *planned.checks()], opened, runtime, tracked, session)
        for one in found:
            remember(opened, one)
        report = run_steps(targets, opened, runtime, tracked, session)
        # What was computed first is met again as stored.
        report.computed += first.computed
        report.cached = max(0, report.cached - first.computed)
        report.seconds += first.seconds
        report.damaged = [*first.damaged, *report.damaged]
        report.lost += first.lost
        results = collect(opened, found)
        tracked.finish(results, report)
    return results, report


def _prepare(
    targets: list[Step],
    store: Store,
    runtime: Runtime | None,
    listener: Listener | None,
    session: Session,
) -> RunReport:
    """Load, deal and check the rows of all tasks, so that bad rows stop an experiment before anything of it is kept."""
    rows = [s for s in closure(targets) if s.name in ("load", "split", "twins", "check")]
    report = run_steps(rows, store, runtime, listener, session)
    if report.failed:
        raise DataError("; ".join(dict.fromkeys(report.failed.values())))
    return report
