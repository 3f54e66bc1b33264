"""From stored records and results to the numbers and names that a tracker gets."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weakstrong.redact import values_without_secrets, without_secrets
from weakstrong.spec import digest
from weakstrong.trackers.base import Point

if TYPE_CHECKING:
    from weakstrong.experiment import Experiment
    from weakstrong.store import Step

SERIES = {
    "evaluations": ("loss", "agreement"),
    "losses": ("loss",),
    "validation_agreement": ("agreement",),
}
"""Lists in the summary of a record, and what their columns are called; a list without steps counts from 1."""
IDENTITY = ("task", "supervisor", "student", "method", "regime")
LONGEST = 160
"""Characters of the words in a name: with the rest it stays below the 250 that mlflow takes."""


def clean(words: str) -> str:
    """``words`` in the characters that every tracker takes in a name, without the slash that parts names.

    >>> clean("student org/model:8, confidence:a_max=0.5, seed 0")
    'student org_model:8 confidence:a_max_0.5 seed 0'
    """
    return re.sub(r"[^\w.: -]", "_", words.replace(", ", " "))[:LONGEST].strip(" .") or "_"


def name_of(step: Step) -> str:
    """What the numbers of ``step`` are filed under: its kind, its title and the first digits of its key.

    Titles alone are not unique: they do not name the task, nor whose labels a student learned from.
    """
    return f"{step.name}/{clean(without_secrets(step.title or step.name))} {step.key[:8]}"


def points_of(step: Step, record: Mapping[str, Any]) -> list[Point]:
    """The learning curves and numbers in a step's record."""
    name, points = name_of(step), []
    for field, value in (record["summary"] | {"step_seconds": record["provenance"]["seconds"]}).items():
        if field in SERIES:
            for i, row in enumerate(value, start=1):
                at, *numbers = row if isinstance(row, list) else (i, row)
                points += [
                    Point(f"{name}/{column}", int(at), float(number))
                    for column, number in zip(SERIES[field], numbers, strict=False)
                    if _is_number(number)
                ]
        elif _is_number(value):
            points.append(Point(f"{name}/{clean(field)}", 0, float(value)))
    return points


def points_of_table(rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Every number of the aggregate, filed under task, models, method and regime."""
    names = ["/".join(["aggregate", *(clean(str(row[column])) for column in IDENTITY)]) for row in rows]
    times = Counter(names)
    points = []
    for name, row in zip(names, rows, strict=True):
        if (
            times[name] > 1
        ):  # other splits or trainings, or names that differ in characters that are not taken
            name += f" {digest(json.dumps([row[c] for c in (*IDENTITY, 'recipe')]))[:8]}"
        points += [Point(f"{name}/{field}", 0, float(v)) for field, v in row.items() if _is_number(v)]
    return points


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def config_of(experiments: Sequence[Experiment]) -> dict[str, Any]:
    """What decides the numbers, as JSON values. Fields that say only where something lies stay on this machine."""
    values = [
        values_without_secrets(json.loads(e.canonical_json)) | {"experiment_key": e.key()}
        for e in experiments
    ]
    return values[0] if len(values) == 1 else {"experiments": values}


def title_of(experiments: Iterable[Experiment]) -> str:
    """The names of the experiments, as the page has them."""
    return without_secrets(" · ".join(dict.fromkeys(e.name for e in experiments)))


def plain_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the aggregate as JSON values without secrets."""
    found: list[dict[str, Any]] = values_without_secrets(json.loads(json.dumps(list(rows))))
    return found
