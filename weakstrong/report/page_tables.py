"""Rows of the page's tables: the words of every cell, and what a column is sorted by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weakstrong.report.page_data import NAMES, ROLES
from weakstrong.report.page_words import in_short
from weakstrong.report.table import (
    MISSING,
    Row,
    fixed,
    format_interval,
    format_number,
    format_p,
    has_pgr,
    method_name,
    several,
)


@dataclass(frozen=True)
class Shown:
    """One cell of a table: its words, small words below, what it is sorted by, and whether it is a number."""

    text: str
    note: str = ""
    order: str | float | None = None
    numeric: bool = False

    @property
    def sort(self) -> str:
        """The text of the ``data-sort`` attribute; empty for what has no place in an order."""
        return "" if self.order is None else repr(self.order) if self.numeric else str(self.order)


_SCORE_HEAD = (("Supervisor score", True), ("Student score", True), ("Ceiling score", True))
RESULT_HEAD = (("PGR", True), *_SCORE_HEAD, ("p vs naive", True), ("p (Holm)", True))
_SIZES = {"n_seeds": "Seeds", "n_test": "Test rows"}
CELL_HEAD = (("Seed", True), *_SCORE_HEAD, ("PGR", True), ("Status", False), ("Spec", False))


def identity(row: Row) -> tuple[str, ...]:
    """Task, supervisor, student, method and regime."""
    return tuple(str(row[name]) for name in NAMES)


def columns(rows: Sequence[Row]) -> tuple[list[str], str]:
    """The naming and size columns to show, and the words for those left out because all rows agree."""
    shared = [name for name in ("task", "regime") if rows and not several(rows, name)]
    sizes = [name for name in _SIZES if name in rows[0]] if rows else []
    words = [f"{name} {rows[0][name]}" for name in shared]
    words += [f"{rows[0][n]:,} {_SIZES[n].lower()}" for n in sizes if not several(rows, n)]
    names = [name for name in NAMES if name not in shared] + [n for n in sizes if several(rows, n)]
    return names, ", ".join(words)


def head(names: Sequence[str], rest: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Headings, and whether the column holds numbers."""
    return [*((_SIZES.get(name, name.capitalize()), name in _SIZES) for name in names), *rest]


def _words(row: Row, names: Sequence[str]) -> list[Shown]:
    return [
        Shown(f"{row[n]:,}", order=row[n], numeric=True)
        if n in _SIZES
        else Shown(method_name(row) if n == "method" else str(row[n]), order=str(row[n]))
        for n in names
    ]


def _number(value: float | None, digits: int, note: str = "") -> Shown:
    return Shown(format_number(value, digits), note, value, numeric=True)


def result_row(row: Row, names: Sequence[str]) -> list[Shown]:
    """One result: its names, PGR, scores and tests."""
    scores = [
        _number(row[f"{r}_score"], 3, format_interval(row[f"{r}_low"], row[f"{r}_high"], 3)) for r in ROLES
    ]
    if has_pgr(row):
        pgr = _number(row["pgr"], 2, format_interval(row["pgr_low"], row["pgr_high"]))
    else:
        pgr = Shown("undefined", in_short(row["pgr_reason"]), None, numeric=True)
    tests = [Shown(format_p(p), "", p, numeric=True) for p in (row["p_vs_naive"], row["p_vs_naive_holm"])]
    return [*_words(row, names), pgr, *scores, *tests]


def across_row(row: Row) -> list[Shown]:
    """One pair and method over all tasks."""
    interval = format_interval(row["pgr_median_low"], row["pgr_median_high"])
    numbers = [
        _number(row["pgr_median"], 2, interval),
        _number(row["pgr_summed"], 2),
        Shown(f"{row['n_defined']} of {row['n_tasks']}", "", row["n_defined"], numeric=True),
        Shown(
            MISSING if row["n_better"] is None else f"{row['n_better']} / {row['n_worse']}",
            "",
            row["n_better"],
            numeric=True,
        ),
        *(Shown(format_p(p), "", p, numeric=True) for p in (row["wilcoxon_p_holm"], row["sign_p"])),
    ]
    return _words(row, NAMES[1:]) + numbers


def cell_row(cell: Row, names: Sequence[str], unsure: bool) -> list[Shown]:
    """One cell; ``unsure`` where the PGR of its result is undefined."""
    error = str(cell["error"] or "")
    error = error if len(error) <= 300 else error[:300] + " … (whole text in the data)"
    return [
        *_words(cell, names),
        Shown(str(cell["seed"]), "", cell["seed"], numeric=True),
        *(_number(cell[f"{role}_score"], 3) for role in ROLES),
        # one seed's ratio over a gap that all seeds together leave in doubt is no number to show
        Shown("undefined", numeric=True) if unsure and cell["pgr"] is not None else _number(cell["pgr"], 2),
        Shown(str(cell["status"]), error, str(cell["status"])),
        Shown(str(cell["key"] or MISSING), "", str(cell["key"] or "")),
    ]


def model_row(name: str, facts: Mapping[str, Any]) -> list[Shown]:
    """One model and its facts."""
    counts = [facts.get("parameters"), facts.get("flops_per_token")]
    numbers = [Shown(MISSING if n is None else f"{n:,.0f}", "", n, numeric=True) for n in counts]
    words = [
        Shown(text, order=text) for text in (str(facts.get(n) or MISSING) for n in ("licence", "source"))
    ]
    return [Shown(name, order=name), *numbers, *words]


def step_rows(provenance: Sequence[Row]) -> list[tuple[str, int, str, str]]:
    """Step, how often it ran, its time together, the versions of it that ran."""
    rows = []
    for step in dict.fromkeys(str(record.get("step", "?")) for record in provenance):
        mine = [record for record in provenance if str(record.get("step", "?")) == step]
        seconds = sum(record.get("seconds") or 0.0 for record in mine)
        versions = dict.fromkeys(str(record.get("version", "?")) for record in mine)
        rows.append((step, len(mine), duration(seconds), ", ".join(versions)))
    return rows


def duration(seconds: float) -> str:
    """Seconds in the words of a clock.

    >>> duration(0.42), duration(75), duration(7260)
    ('0.4 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def any_table(rows: Sequence[Row]) -> tuple[list[tuple[str, bool]], list[list[Shown]]]:
    """Head and body of rows of any columns: all of them, in the order in which they first appear."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    numeric = {n: all(_is_number(row.get(n)) or row.get(n) is None for row in rows) for n in names}
    body = [[_any(row.get(name), numeric[name]) for name in names] for row in rows]
    return [(name.replace("_", " ").capitalize(), numeric[name]) for name in names], body


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _any(value: Any, numeric: bool) -> Shown:
    if value is None:
        return Shown(MISSING, numeric=numeric)
    if numeric:
        return Shown(f"{value:,}" if isinstance(value, int) else fixed(value, 3), order=value, numeric=True)
    if isinstance(value, bool):
        value = "yes" if value else "no"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Shown(text, order=text)
