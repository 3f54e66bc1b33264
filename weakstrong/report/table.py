"""The aggregate rows as text: one number with its interval, a p-value, a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from weakstrong.redact import visible

Row = Mapping[str, Any]

MISSING = "–"
"""What stands where there is no number."""


def fixed(value: float, digits: int) -> str:
    """``value`` with ``digits`` decimals; never a minus sign before zero.

    >>> fixed(-0.004, 2), fixed(0.5, 3)
    ('0.00', '0.500')
    """
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def format_interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """The interval in brackets, or nothing where an end is missing.

    >>> format_interval(0.58, 0.75), format_interval(None, 0.75)
    ('[0.58, 0.75]', '')
    """
    return "" if low is None or high is None else f"[{fixed(low, digits)}, {fixed(high, digits)}]"


def has_pgr(row: Row) -> bool:
    """Whether the row has a PGR that may be shown: a number is there and its gap is not in doubt."""
    return bool(row["pgr_defined"]) and row["pgr"] is not None


def format_pgr(row: Row) -> str:
    """PGR (1 = the ceiling, 0 = the supervisor, paper §3) with its interval, not clipped to [0, 1].

    >>> format_pgr({"pgr": 0.671, "pgr_low": 0.58, "pgr_high": 0.75, "pgr_defined": True})
    '0.67 [0.58, 0.75]'
    >>> format_pgr({"pgr": -2.2, "pgr_low": None, "pgr_high": None, "pgr_defined": False})
    'undefined'
    """
    if not has_pgr(row):
        return "undefined"
    return f"{fixed(row['pgr'], 2)} {format_interval(row['pgr_low'], row['pgr_high'])}".rstrip()


def format_number(value: float | None, digits: int) -> str:
    """``value`` with ``digits`` decimals, or a dash where there is none."""
    return MISSING if value is None else fixed(value, digits)


def format_score(row: Row, role: str) -> str:
    """The score in [0, 1] of ``role`` (``supervisor``, ``student`` or ``ceiling``) with its interval.

    >>> format_score({"student_score": 0.8291, "student_low": 0.81, "student_high": 0.845}, "student")
    '0.829 [0.810, 0.845]'
    """
    score = row[f"{role}_score"]
    if score is None:
        return MISSING
    return f"{fixed(score, 3)} {format_interval(row[f'{role}_low'], row[f'{role}_high'], 3)}".rstrip()


def format_p(p: float | None) -> str:
    """A p-value in [0, 1] with three decimals; never a bare zero or one.

    >>> [format_p(p) for p in (0.0004, 0.043, 0.9999, None)]
    ['<0.001', '0.043', '>0.999', '–']
    """
    if p is None:
        return MISSING
    return "<0.001" if p < 0.001 else ">0.999" if p > 0.999 else f"{p:.3f}"


def method_name(row: Row) -> str:
    """The method, marked where ground truth beyond the supervisor's own helped it (an oracle).

    >>> method_name({"method": "early-stop:on=oracle", "uses_ground_truth": True})
    'early-stop:on=oracle [ground truth]'
    """
    return f"{row['method']} [ground truth]" if row.get("uses_ground_truth") else str(row["method"])


def several(rows: Sequence[Row], column: str) -> bool:
    """Whether ``column`` takes more than one value, so that it has to be shown."""
    return len({row[column] for row in rows}) > 1


def result_table(aggregate: Sequence[Row]) -> Table:
    """A rich table with one line for each aggregate row, in the order given; keys as in `ReportData`.

    It fits 80 columns with names of usual length: each pair stands on a line above its methods, what all rows share
    stands in the title, the scores' own intervals are left to the page, and the p-value is the one after Holm's
    correction. The reasons for undefined PGRs follow as a caption.
    """
    shared = [n for n in ("task", "regime") if aggregate and not several(aggregate, n)]
    title = ", ".join(["Results on the test set", *(f"{n} {aggregate[0][n]}" for n in shared)])
    one_count = not several(aggregate, "n_seeds")
    if aggregate and one_count:
        title += f", seeds {aggregate[0]['n_seeds']}"
    table = Table(title=Text(visible(title)), title_justify="left", caption_justify="left", box=SIMPLE_HEAD)
    table.padding = (0, 1, 0, 0)
    table.add_column("supervisor → student\n  method", overflow="fold")
    for name in (
        "supervisor,\nstudent, ceiling",
        "PGR",
        "p (Holm)\nvs naive",
        *([] if one_count else ["seeds"]),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    heading = None
    # An oracle stands below the methods of its pair, out of the comparison.
    place = {pair: i for i, pair in enumerate(dict.fromkeys(_pair(row) for row in aggregate))}
    for row in sorted(aggregate, key=lambda r: (place[_pair(r)], bool(r.get("uses_ground_truth")))):
        parts = [str(row[n]) for n in ("task", "regime") if n not in shared]
        pair = ", ".join([f"{row['supervisor']} → {row['student']}", *parts])
        # Text, not str: a name such as "[bold]" is a name, not markup
        if pair != heading:
            heading = pair
            table.add_row(Text(visible(pair), style="bold"))
        scores = "  ".join(format_number(row[f"{r}_score"], 3) for r in ("supervisor", "student", "ceiling"))
        cells = [f"  {method_name(row)}", scores, format_pgr(row), format_p(row["p_vs_naive_holm"])]
        table.add_row(
            *(Text(visible(cell)) for cell in [*cells, *([] if one_count else [str(row["n_seeds"])])])
        )
    undefined = [row for row in aggregate if not has_pgr(row)]
    reasons = dict.fromkeys(
        f"{row['supervisor']} → {row['student']}: {row['pgr_reason']}"
        for row in undefined
        if row["pgr_reason"]
    )
    if reasons:
        table.caption = Text(visible("PGR undefined: " + "; ".join(reasons)))
    elif not aggregate:
        table.caption = Text("No finished cells yet.")
    return table


def across_table(across: Sequence[Row]) -> Table:
    """A rich table of `weakstrong.over_tasks.over_tasks`: median PGR over tasks with its interval, and tests."""
    title = Text(f"Over {max(row['n_tasks'] for row in across)} tasks: median PGR where a gap exists")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.padding = (0, 1, 0, 0)
    table.add_column("supervisor → student\n  method", overflow="fold")
    for name in ("median PGR", "tasks\nwith gap", "better /\nworse", "Wilcoxon p\n(Holm)"):
        table.add_column(name, justify="right", no_wrap=True)
    heading = None
    for row in across:
        pair = f"{row['supervisor']} → {row['student']}"
        if pair != heading:
            heading = pair
            table.add_row(Text(visible(pair), style="bold"))
        interval = format_interval(row["pgr_median_low"], row["pgr_median_high"])
        won = MISSING if row["n_better"] is None else f"{row['n_better']} / {row['n_worse']}"
        cells = (
            f"  {method_name(row)}",
            f"{format_number(row['pgr_median'], 2)} {interval}".rstrip(),
            f"{row['n_defined']} of {row['n_tasks']}",
            won,
            format_p(row["wilcoxon_p_holm"]),
        )
        table.add_row(*(Text(visible(cell)) for cell in cells))
    return table


def _pair(row: Row) -> tuple[str, ...]:
    return tuple(str(row[n]) for n in ("task", "supervisor", "student", "regime"))
