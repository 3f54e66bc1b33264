"""From a YAML file and flags to one experiment."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from weakstrong.analyses.base import ANALYSES
from weakstrong.errors import ConfigError
from weakstrong.experiment import Experiment, experiments_in, listed, values_in
from weakstrong.methods.base import METHODS
from weakstrong.registry import Registry, unknown
from weakstrong.tasks.base import FILE_TASKS, TASKS

PLURAL = {"task": "tasks", "supervisor": "supervisors", "student": "students", "method": "methods"}


def quickstart() -> dict[str, Any]:
    """The experiment of ``w2s run`` without arguments."""
    values: dict[str, Any] = yaml.safe_load(
        files("weakstrong").joinpath("quickstart.yaml").read_text(encoding="utf-8")
    )
    return values


def build_experiments(
    path: Path | None, flags: dict[str, Any], columns: dict[str, Any], data_dir: Path | None = None
) -> list[Experiment]:
    """The file's experiments, or the quickstart, with axes replaced by flags and original files looked for in
    ``data_dir``.

    Raises:
        ConfigError: for names or values that do not fit, before anything runs.
    """
    if path is not None:
        found = values_in(path) if data_dir is not None else [e.to_dict() for e in experiments_in(path)]
        return [_changed(values, flags, columns, data_dir, str(path)) for values in found]
    values = quickstart()
    if "task" in flags:
        # The quickstart's numbers of rows are those of its own task.
        values = {k: v for k, v in values.items() if k not in ("train_rows", "validation_rows", "test_rows")}
        values["name"] = ", ".join(str(v) for v in _flat(flags["task"]))
    return [_changed(values, flags, columns, data_dir, "the experiment")]


def _changed(
    values: dict[str, Any], flags: dict[str, Any], columns: dict[str, Any], data_dir: Path | None, where: str
) -> Experiment:
    for flag, plural in PLURAL.items():
        if flag in flags:
            values.pop(flag, None)
            values[plural] = _list_of(METHODS, flags[flag]) if flag == "method" else _flat(flags[flag])
    if columns or data_dir is not None:
        tasks = values.pop("tasks") if "tasks" in values else [values.pop("task")]
        tasks = tasks if isinstance(tasks, list) else [tasks]
        values["tasks"] = [task_values(task, columns, data_dir) for task in tasks]
    if "analysis" in flags:
        values["analyses"] = _list_of(ANALYSES, flags["analysis"])
    if "controls" in flags:
        values["controls"] = flags["controls"]
    if "seeds" in flags:
        values["seeds"] = _seeds(flags["seeds"])
    if "regime" in flags:
        values |= {
            "supervisor_training": {"kind": flags["regime"]},
            "student_training": {"kind": flags["regime"]},
        }
        values.pop("regime", None)
    rows = {n: flags[n] for n in ("train_rows", "validation_rows", "test_rows") if n in flags}
    return Experiment.parse(values | rows, where)


def _flat(values: list[str]) -> list[str]:
    # A path may hold commas.
    return [part for value in values for part in ([value] if value.startswith("file:") else _words(value))]


def _words(value: str) -> list[str]:
    return [str(part) for part in listed(value)]  # type: ignore[attr-defined]


def _list_of(registry: Registry[Any], values: list[str]) -> list[str]:
    """Split at commas that begin another entry, so that ``a:x=1,y=2,b`` is ``a:x=1,y=2`` and ``b``."""
    out: list[str] = []
    for value in values:
        for i, part in enumerate(filter(None, (p.strip() for p in value.split(",")))):
            name = re.split(r"[:+]", part, maxsplit=1)[0]
            if i and "=" in name and out:
                out[-1] += f",{part}"
            elif name in registry.names() or name.endswith(".py"):
                out.append(part)
            else:
                raise unknown(registry.noun, name, registry.names(), registry.hint)
    return out


def task_values(task: object, columns: dict[str, Any], data_dir: Path | None) -> object:
    """A task as the flags have it: with columns of the user's file, or with its original files in a folder.

    Raises:
        ConfigError: if the task takes no such flag.
    """
    if columns:
        task = _with_columns(task, columns)
    if data_dir is None:
        return task
    values = dict(task) if isinstance(task, dict) else {"kind": str(task)}
    name = str(values.get("kind"))
    if name.startswith("file:") or "data_dir" not in TASKS.get(name).model_fields:
        raise ConfigError(f"--data-dir goes with a public data set such as boolq, found task {name!r}")
    own = next((data_dir / n for n in (name, name.replace("-", "_")) if (data_dir / n).is_dir()), data_dir)
    return values | {"data_dir": str(own), "sha256": "", "revision": ""}


def _with_columns(task: object, columns: dict[str, Any]) -> dict[str, Any]:
    if isinstance(task, str) and task.startswith("file:"):
        task = {"kind": "file", "path": task.removeprefix("file:")}
    if isinstance(task, dict) and task.get("kind") in FILE_TASKS:
        kind = FILE_TASKS[1] if {"chosen", "first"} & set(columns) else str(task["kind"])
        return {k: v for k, v in task.items() if k != "sha256"} | columns | {"kind": kind}
    raise ConfigError(
        f"--{next(iter(columns)).replace('_', '-')} goes with --task file:PATH, found task {task!r}"
    )


def _seeds(text: str) -> int | list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds is a number of seeds or a list such as 3,4,7, found {text!r}") from None
    return numbers[0] if len(numbers) == 1 and "," not in text else numbers


def with_address(executor: str, address: str | None) -> str:
    """The executor's text with the address of its cluster.

    Raises:
        ConfigError: for an address of an executor that has none.
    """
    if address is None:
        return executor
    if executor.partition(":")[0] != "ray":
        raise ConfigError(f"--address goes with --executor ray, found --executor {executor}")
    return f"{executor}{',' if ':' in executor else ':'}address={address}"
