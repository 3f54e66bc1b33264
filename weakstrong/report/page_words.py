"""The sentences of the page: headlines, and what a careful reader would ask about."""

from __future__ import annotations

from collections.abc import Sequence

from weakstrong.report.table import Row, fixed, format_number, has_pgr

ENOUGH_SEEDS = 5


def headline(rows: Sequence[Row], with_task: bool = True, with_regime: bool = False) -> tuple[str, str]:
    """A sentence for one (task, supervisor, student, regime); and a line of facts.

    Methods stand in listed order, never by their result; naive, which they are compared with, last.

    >>> row = dict(task="t", supervisor="A", student="B", method="naive", regime="probe", n_seeds=5,
    ...            n_test=2000, pgr=0.671, pgr_low=0.58, pgr_high=0.75, pgr_defined=True, pgr_reason="",
    ...            supervisor_score=0.7, ceiling_score=0.9)
    >>> for text in headline([row], with_task=False):
    ...     print(text)
    With supervisor A and student B, naive recovers 67 % [58, 75] of the gap between supervisor and ceiling.
    supervisor 0.700 · ceiling 0.900 · 5 seeds · 2,000 test examples
    """
    first = rows[0]
    parts: list[str] = []
    undefined: dict[str, list[str]] = {}  # reason -> methods
    for row in naive_last(rows):
        pgr = row["pgr"]
        if row.get("uses_ground_truth"):
            continue  # an oracle is no method
        if not has_pgr(row):
            undefined.setdefault(in_short(row["pgr_reason"]), []).append(str(row["method"]))
            continue
        aside = ", worse than the supervisor" if pgr < 0 else ", above the ceiling" if pgr > 1 else ""
        gap = "" if parts else " of the gap between supervisor and ceiling"  # explained once
        parts.append(
            f"{row['method']} {'' if parts else 'recovers '}{percent(pgr, row['pgr_low'], row['pgr_high'])}{gap}{aside}"
        )
    for reason, methods in undefined.items():
        parts.append(f"the PGR of {', '.join(methods)} is undefined{f' ({reason})' if reason else ''}")
    where = f"On {first['task']}, with" if with_task else "With"
    facts = [f"{role} {format_number(first[f'{role}_score'], 3)}" for role in ("supervisor", "ceiling")]
    least, most = min(row["n_seeds"] for row in rows), max(row["n_seeds"] for row in rows)
    facts.append(f"{most if least == most else f'{least}–{most}'} seed{'s' if most != 1 else ''}")
    facts.append(f"{first['n_test']:,} test examples")
    student = f"{first['student']} ({first['regime']})" if with_regime else first["student"]
    sentence = f"{where} supervisor {first['supervisor']} and student {student}, {'; '.join(parts)}."
    return sentence, " · ".join(facts)


def in_short(reason: object) -> str:
    """Why a PGR is undefined without the numbers, which stand beside it.

    >>> in_short("the ceiling is below the supervisor: ceiling 0.7, supervisor 0.8; did it train?")
    'the ceiling is below the supervisor'
    """
    return str(reason).partition(": ceiling ")[0]


def headline_over_tasks(across: Sequence[Row], with_regime: bool = False) -> tuple[str, str]:
    """As `headline`, for one (supervisor, student, regime) over all tasks: medians of the PGR.

    >>> row = dict(supervisor="A", student="B", method="naive", regime="probe", n_tasks=7, n_defined=6,
    ...            pgr_median=0.34, pgr_median_low=0.27, pgr_median_high=0.41)
    >>> headline_over_tasks([row])[0]
    'Over 7 tasks, with supervisor A and student B, naive recovers a median of 34 % [27, 41] of the gap.'
    """
    first = across[0]
    parts: list[str] = []
    for row in naive_last(across):
        if row.get("uses_ground_truth"):
            continue
        if row["pgr_median"] is None:
            parts.append(f"the PGR of {row['method']} is undefined on every task")
            continue
        value = percent(row["pgr_median"], row["pgr_median_low"], row["pgr_median_high"])
        opening = "" if parts else "recovers a median of "
        parts.append(f"{row['method']} {opening}{value}{'' if parts else ' of the gap'}")
    student = f"{first['student']} ({first['regime']})" if with_regime else first["student"]
    sentence = f"Over {first['n_tasks']} tasks, with supervisor {first['supervisor']} and student {student}, "
    return (
        f"{sentence}{'; '.join(parts)}.",
        f"a gap to recover on {first['n_defined']} of {first['n_tasks']} tasks",
    )


def naive_last(rows: Sequence[Row]) -> list[Row]:
    """The rows in their order, those of the naive method after the others."""
    return sorted(rows, key=lambda row: row["method"] == "naive")


def percent(value: float, low: float | None, high: float | None) -> str:
    """A share and its interval in hundredths.

    >>> percent(0.671, 0.58, 0.75), percent(-0.5, None, None)
    ('67 % [58, 75]', '−50 %')
    """

    def hundredths(share: float) -> str:
        return fixed(100 * share, 0).replace("-", "−")

    interval = "" if low is None or high is None else f" [{hundredths(low)}, {hundredths(high)}]"
    return f"{hundredths(value)} %{interval}"


def notes(aggregate: Sequence[Row], cells: Sequence[Row], lost: Sequence[str]) -> list[str]:
    """What a careful reader would ask about, where the data show it."""
    found = []
    failed, missing = (sum(c["status"] == status for c in cells) for status in ("failed", "missing"))
    if failed:
        found.append(f"{failed:,} of {len(cells):,} cells failed; their errors are in the table of cells.")
    if missing:
        found.append(f"{missing:,} of {len(cells):,} cells have not run yet.")
    if few := sum(row["n_seeds"] < ENOUGH_SEEDS for row in aggregate):
        rest = f"{few:,} of {len(aggregate):,} results rest on fewer than {ENOUGH_SEEDS} seeds"
        found.append(f"{rest}: read them as first looks.")
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        found.append(f"Not a finite number, shown as missing: {', '.join(lost[:5])}{more}.")
    return found


def pairs(aggregate: Sequence[Row]) -> list[list[Row]]:
    """The rows of each (task, supervisor, student, regime) and recipe, in listed order."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in aggregate:
        key = (row["task"], row["supervisor"], row["student"], row["regime"], str(row.get("recipe", "")))
        found.setdefault(key, []).append(row)
    return list(found.values())
