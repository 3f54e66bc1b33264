"""``w2s plan``: cells and steps of experiments, what is stored, and what the rest will need. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weakstrong.api import default_store
from weakstrong.cli.listings import print_json, print_table
from weakstrong.errors import ConfigError
from weakstrong.executors.base import EXECUTORS
from weakstrong.experiment import Experiment
from weakstrong.facts import TRAININGS, UNTIMED
from weakstrong.graph import Graph, closure
from weakstrong.redact import visible
from weakstrong.resources import Estimator, Machine, Need, critical_path
from weakstrong.schedule import GROUP_LEAST, GROUP_LIMIT
from weakstrong.store import Step, Store
from weakstrong.training.spec import Runtime

HOUR = 3600.0
GIB = 2**30
SLURM_JOBS = 200
"""Jobs that the slurm executor keeps submitted unless told otherwise."""
MODELS = TRAININGS | UNTIMED | {"probe", "probe_trajectory"}
"""Kinds of steps that compute with a model or train heads."""
WORKERS = {"process": "workers", "slurm": "jobs"}
"""Option of an executor that says how many pieces of work it runs at once."""


def show_plan(
    experiments: Sequence[Experiment],
    store: str | None,
    as_json: bool,
    executor: str = "",
    runtime: Runtime | None = None,
    slots: int | None = None,
) -> None:
    """Print the plan; with an ``executor`` (a name with options, as for `w2s run`) what the steps will need, too.

    Raises:
        ConfigError: for an experiment whose methods and models do not go together, or an unknown executor.
    """
    graph, cells = Graph(), [cell for experiment in experiments for cell in experiment.cells()]
    name = ", ".join(experiment.name for experiment in experiments)
    made = [graph.cell(cell) for cell in cells]
    wanted = {s.key: s for m in made for s in (*m.scores(), m.check)}
    for experiment in experiments:
        for cell in experiment.cells() if experiment.analyses else ():
            for analysis in experiment.analyses:
                if not analysis.refuses(cell):
                    wanted |= {s.key: s for s in analysis.steps(cell, graph.cell(cell), graph).values()}
    targets = list(wanted.values())
    steps = closure(targets)
    url = store or default_store()
    exists = "://" in url or Path(url).expanduser().is_dir()
    opened = Store(url) if exists else None
    stored = {} if opened is None else {kind: opened.keys(kind) for kind in {s.name for s in steps}}
    done = {s.key for s in steps if s.key in stored.get(s.name, ())}
    needed = missing(targets, done)
    rows: dict[str, dict[str, Any]] = {}
    for step in steps:
        row = rows.setdefault(step.name, {"step": step.name, "total": 0, "stored": 0, "to_do": 0})
        row["total"] += 1
        row["stored"] += step.key in done
        row["to_do"] += step.key in needed
    estimates = None
    if executor:
        estimator = Estimator(opened, runtime or Runtime())
        estimates = estimate(targets, needed, estimator, executor, slots)
        for kind, more in estimates.pop("kinds").items():
            rows[kind] |= more
    if as_json:
        listed = [cell.identity() | {"key": cell.key()} for cell in cells]
        values = {"name": name, "n_cells": len(cells), "store": url, "steps": list(rows.values())}
        print_json(values | ({} if estimates is None else {"executor": estimates}) | {"cells": listed})
        return
    print(visible(f"{name}: {len(cells):,} cells, store {url}{'' if exists else ' (not there yet)'}"))
    columns = ["step", "total", "stored", "to_do"]
    if estimates is None:
        print_table(list(rows.values()), columns, tuple(columns[1:]))
        return
    more = ["pieces", "cpus", "gpus", "memory_gib", "flops", "hours"]
    shown = [
        r | {"memory_gib": r["memory"] / GIB, "flops": r["flops"] or None} if "memory" in r else r
        for r in rows.values()
    ]
    print_table(shown, columns + more, tuple(columns[1:] + more))
    for line in words(estimates):
        print(visible(line))


def missing(targets: Sequence[Step], done: set[str]) -> dict[str, Step]:
    """Steps to compute, by key: what ``targets`` need; what is behind a stored result is not looked at."""
    found: dict[str, Step] = {}
    stack = list(targets)
    while stack:
        step = stack.pop()
        if step.key not in done and step.key not in found:
            found[step.key] = step
            stack.extend(step.inputs.values())
    return found


def estimate(
    targets: Sequence[Step],
    needed: dict[str, Step],
    estimator: Estimator,
    executor: str,
    slots: int | None = None,
) -> dict[str, Any]:
    """What the ``needed`` steps ask for, by kind and in all.

    Steps of one group are taken to be built together, as many as the scheduler puts into one piece of work.

    Returns:
        ``kinds`` (name -> pieces; the largest cpus, gpus, memory in bytes; flops and hours together), ``slots``,
        ``hours`` of work on one machine, ``hours_wall``, ``hours_critical``, ``critical_path``, ``rests_on``.
    """
    at_once, packed = slots_of(executor, estimator.machine, slots)
    pieces = pieces_of(needed, at_once)
    needs = [estimator.need(piece) for piece in pieces]
    kinds: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    busy = 0.0
    for piece, need in zip(pieces, needs, strict=True):
        row = kinds.setdefault(
            piece[0].name,
            {"pieces": 0, "cpus": 0, "gpus": 0, "memory": 0, "flops": 0.0, "hours": 0.0},
        )
        row["pieces"] += 1
        for what in ("cpus", "gpus", "memory"):
            row[what] = max(row[what], getattr(need, what))
        row["flops"] += need.flops
        row["hours"] += need.seconds / HOUR
        busy += need.seconds * share(need, estimator.machine, at_once, packed=packed)
        # A step of a group is there when its whole piece of work is.
        seconds |= {step.key: need.seconds for step in piece}
    idle = {step.key for step in closure(list(targets))} - needed.keys()
    longest, path = critical_path(targets, lambda step: seconds[step.key], idle)
    return {
        "name": executor,
        "slots": at_once,
        "kinds": kinds,
        "hours": sum(need.seconds for need in needs) / HOUR,
        "hours_wall": max(busy, longest) / HOUR,
        "hours_critical": longest / HOUR,
        "critical_path": [
            {"step": s.name, "title": s.title, "hours": seconds[s.key] / HOUR, "key": s.key} for s in path
        ],
        "machine": asdict(estimator.machine),
        "rests_on": rests_on(estimator, kinds),
    }


def pieces_of(needed: dict[str, Step], slots: int) -> list[list[Step]]:
    """Pieces of work as the scheduler cuts them: single steps, and groups so large that all slots have some."""
    groups: dict[str, list[Step]] = {}
    for step in needed.values():
        groups.setdefault(f"{step.builder} {step.group}" if step.group else step.key, []).append(step)
    pieces = []
    for group in groups.values():
        size = min(GROUP_LIMIT, max(GROUP_LEAST, -(-len(group) // slots)))
        pieces += [group[i : i + size] for i in range(0, len(group), size)]
    return pieces


def slots_of(executor: str, machine: Machine, slots: int | None) -> tuple[int, bool]:
    """Pieces of work at once, and whether they share this machine's cores and memory.

    Raises:
        ConfigError: for an unknown executor, or a number that is none.
    """
    name, _, rest = executor.partition(":")
    EXECUTORS.get(name)
    options = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    elsewhere = name == "slurm" or "address" in options
    stated = options.get(WORKERS.get(name, ""))
    if slots is None and stated is not None:
        if not stated.isdecimal() or int(stated) < 1:
            raise ConfigError(f"--executor {executor}: {stated!r} is not a number from 1")
        slots = int(stated)
    if slots is None:
        slots = {"local": 1, "slurm": SLURM_JOBS}.get(name, machine.cpus)
    return slots, not elsewhere and name != "local"


def share(need: Need, machine: Machine, slots: int, *, packed: bool) -> float:
    """Share of all that can run at once which a piece of work takes: one slot, or more of a machine that is shared."""
    parts = [1 / slots]
    if packed:
        parts += [need.cpus / machine.cpus, need.memory / machine.memory, need.gpus / max(1, machine.gpus)]
    return min(1.0, max(parts))


def rests_on(estimator: Estimator, kinds: dict[str, dict[str, Any]]) -> list[str]:
    """What the estimates rest on, in sentences."""
    facts, machine = estimator.facts, estimator.machine
    timed = [kind for kind in kinds if facts.measured(kind) is not None]
    models = [kind for kind in kinds if kind in MODELS and kind not in timed]
    others = [kind for kind in kinds if kind not in timed and kind not in models]
    large = [kind for kind, row in kinds.items() if row["memory"] > machine.memory]
    lines = [
        (timed, "are those of finished steps in the store"),
        (models, f"are FLOPs over {estimator.speed_words()}"),
        (others, "are guesses"),
    ]
    said = [f"Times of {', '.join(names)} {what}." for names, what in lines if names]
    if large:
        said.append(
            f"{', '.join(large)} may need more memory than the {machine.memory / GIB:.1f} GiB of this machine."
        )
    return [*said, *facts.assumptions.values()]


def words(found: dict[str, Any]) -> list[str]:
    """The estimates for people."""
    lines = [
        "",
        f"{found['hours']:.2f} hours of work on one machine like this; with {found['name']}, {found['slots']:,} at once: "
        f"{found['hours_wall']:.2f} hours",
        f"critical path, which no number of machines shortens: {found['hours_critical']:.2f} hours",
    ]
    lines += [f"  {s['hours']:8.3f} h  {s['step']}: {s['title']}" for s in found["critical_path"]]
    return [*lines, "", "These are estimates, not promises; downloads are not in them.", *found["rests_on"]]
