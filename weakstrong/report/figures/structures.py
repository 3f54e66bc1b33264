"""Rows of cells whose supervisor's errors were put elsewhere (paper App. E.1 and E.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from weakstrong.report.figures.rows import derived
from weakstrong.report.table import Row

ERRORS = (
    *("random-errors", "mixed-errors", "longest-errors", "shortest-errors"),
    *("ceiling-unsure-errors", "ceiling-sure-errors"),
)
OWN = "weak model's own errors"


def structure_of(row: Row) -> str:
    """Where the errors of a row's supervisor lie, in words.

    >>> structure_of({"supervisor": "ceiling-sure-errors:a"}), structure_of({"supervisor": "a"})
    ('ceiling sure', "weak model's own errors")
    """
    rule = derived(str(row["supervisor"]))[0]
    return rule.replace("-errors", "").replace("-", " ").replace(":", ", ") or OWN


def rule_of(row: Row) -> str:
    """The rule without its parameters; empty for a plain supervisor."""
    return derived(str(row["supervisor"]))[0].partition(":")[0]


def base_of(row: Row) -> str:
    """The supervisor whose errors were moved, or the row's own."""
    return derived(str(row["supervisor"]))[1]


def structures_in(rows: Iterable[Row], wanted: Callable[[str], bool] = ERRORS.__contains__) -> list[Row]:
    """Rows of wanted rules, after those of the supervisors that they are derived from: what there is to compare."""
    rows = list(rows)
    # labels derived twice belong to the figure of simulation
    moved = [row for row in rows if wanted(rule_of(row)) and not derived(base_of(row))[0]]
    places = {_place(row) for row in moved}
    return [row for row in rows if not rule_of(row) and _place(row) in places] + moved


def _place(row: Row) -> tuple[object, ...]:
    return base_of(row), *(row[n] for n in ("task", "student", "method", "regime"))
