"""Controls: cells whose outcome is known beforehand, what each should show, and whether it did. No torch.

A result whose controls fail says more about the experiment than about the method. Burns et al. 2023, E.1 (random errors)
and E.3 (trivial imitation); the others are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from weakstrong.derived.base import parse_rule
from weakstrong.methods.base import Method, parse_method
from weakstrong.models.base import ModelSpec, card
from weakstrong.supervisors import DerivedLabels, Supervisor
from weakstrong.tasks.base import Task, TaskKind

Verdict = Literal["as expected", "not as expected", "undecided"]
Row = Mapping[str, Any]

CONTROLS = ("shuffled", "random-errors", "trivial-imitation", "zero-shot", "supervisor = student")
PGR_ZERO = 0.05
"""A PGR up to this is about 0."""
PGR_DOUBT = 0.2
"""An interval of PGR that ends below this decides that it is about 0; a wider one decides nothing."""
GAIN_ZERO = 0.01
"""A lead of the student over a supervisor like itself, in accuracy, that is about 0."""
GAIN_DOUBT = 0.03
"""As `PGR_DOUBT`, of that lead."""


def control_cells(
    task: Task, supervisors: Sequence[Supervisor], students: Sequence[ModelSpec]
) -> Iterator[tuple[Supervisor, ModelSpec, Method]]:
    """Supervisor, student and method of every control of one task, with naive on the same pairs to hold them against.

    Supervisors that are no models are passed over, and so is what a student cannot do: zero-shot needs a decoder, and
    comparisons have no classes to ask for or to state.
    """
    naive, told, asked = (parse_method(name) for name in ("naive", "trivial-imitation", "zero-shot"))
    rules = [parse_rule(name) for name in ("shuffled", "random-errors")]
    classes = task.task_kind is TaskKind.CLASSIFICATION
    for student in students:
        # What a hub model is may be unknown until it is here; only a known encoder is passed over.
        answers = classes and card(student).family != "encoder"
        for supervisor in supervisors:
            if isinstance(supervisor, ModelSpec):
                yield supervisor, student, naive
                for rule in rules:
                    yield DerivedLabels(rule=rule, of=supervisor), student, naive
                for method in [told] * classes + [asked] * answers:
                    yield supervisor, student, method
        yield student, student, naive


def controls(aggregate: Sequence[Row]) -> list[dict[str, Any]]:
    """What the controls among the rows of `Results.aggregate` show.

    Returns:
        one mapping for each: ``control``, ``task``, ``supervisor``, ``student``, ``method``, ``regime``, ``recipe``,
        ``n_seeds``, ``measure``, ``expected`` (words), ``value``, ``low``, ``high`` (95 %, None where undefined) and
        ``verdict``: "as expected" where the whole interval is, "not as expected" where none of it is, else "undecided".
    """
    naive = {_pair(row): row for row in aggregate if row["method"] == "naive"}
    found = [made for row in aggregate for made in _read(row, naive)]
    return sorted(found, key=lambda row: CONTROLS.index(row["control"]))


def _read(row: Row, naive: Mapping[tuple[Any, ...], Row]) -> Iterator[dict[str, Any]]:
    rule, _, of = str(row["supervisor"]).partition(":")
    kinds = {part.partition(":")[0] for part in str(row["method"]).split("+")}
    if "trivial-imitation" in kinds:
        verdict = _about_zero(row["pgr_low"], row["pgr_high"], PGR_ZERO, PGR_DOUBT, both=True)
        yield _made("trivial-imitation", row, "PGR", "pgr", "about 0", verdict)
    if "zero-shot" in kinds:
        other = naive.get(_pair(row))
        words = "below naive" if other is None else f"below naive, {other['student_score']:.3f}"
        verdict = "undecided" if other is None else _above(other, row, "student")
        yield _made("zero-shot", row, "accuracy", "student", words, verdict, "student_score")
    if row["method"] != "naive":
        return
    if rule == "shuffled":
        verdict = _about_zero(row["pgr_low"], row["pgr_high"], PGR_ZERO, PGR_DOUBT)
        yield _made(rule, row, "PGR", "pgr", "at most 0", verdict)
    if rule == "random-errors":
        other = naive.get(_pair(dict(row) | {"supervisor": of}))
        known = other is not None and other["pgr"] is not None
        words = f"above that of {of}" + (f", {other['pgr']:.2f}" if known and other is not None else "")
        verdict = "undecided" if other is None else _above(row, other, "pgr")
        yield _made(rule, row, "PGR", "pgr", words, verdict)
    if row["supervisor"] == row["student"]:
        verdict = _about_zero(row["gain_low"], row["gain_high"], GAIN_ZERO, GAIN_DOUBT)
        yield _made(CONTROLS[-1], row, "student - supervisor", "gain", "at most 0", verdict)


def _made(
    control: str, row: Row, measure: str, column: str, words: str, verdict: Verdict, value: str = ""
) -> dict[str, Any]:
    names = ("task", "supervisor", "student", "method", "regime", "recipe", "n_seeds")
    numbers = {
        "value": row[value or column],
        "low": row[f"{column}_low"],
        "high": row[f"{column}_high"],
    }
    return (
        {"control": control}
        | {name: row[name] for name in names}
        | {"measure": measure, "expected": words}
        | numbers
        | {"verdict": verdict}
    )


def _pair(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("task", "supervisor", "student", "regime", "recipe"))


def _about_zero(
    low: float | None, high: float | None, zero: float, doubt: float, *, both: bool = False
) -> Verdict:
    """Of a number that should be at most about 0, or with ``both`` not far below it either."""
    if low is None or high is None:
        return "undecided"
    floor = -1.0 if both else -math.inf
    if low > zero or high < zero * floor:
        return "not as expected"
    return "as expected" if high <= doubt and low >= doubt * floor else "undecided"


def _above(upper: Row, lower: Row, column: str) -> Verdict:
    """Whether intervals of one number lie in the order that they should."""
    ends = [row[f"{column}_{end}"] for row in (upper, lower) for end in ("low", "high")]
    if None in ends:
        return "undecided"
    if ends[0] > ends[3]:
        return "as expected"
    return "not as expected" if ends[1] < ends[2] else "undecided"
