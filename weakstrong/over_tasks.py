"""Aggregate rows of many tasks as one row for each pair and method (paper §4.1, Fig. 5). No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from weakstrong.across_tasks import across_tasks, holm, median_over_tasks, ratio_of_summed_gaps

KEY = ("supervisor", "student", "method", "regime", "recipe")
FEWEST_TASKS = 2


def over_tasks(aggregate: Sequence[Mapping[str, Any]], level: float = 0.95) -> list[dict[str, Any]]:
    """One row for each (supervisor, student, method, regime) with results on two tasks or more.

    ``pgr_median`` is over the tasks whose PGR is defined (``n_defined`` of ``n_tasks``), with the exact distribution-free
    interval of a median from order statistics (none below six tasks). ``pgr_summed`` is the summed gain of all tasks by
    their summed gap, undefined tasks included; None where supervisors are better than ceilings, all in all. ``wilcoxon_p`` and ``sign_p`` compare the student's accuracy with that of
    naive, task by task, both exact and two-sided; ``wilcoxon_p_holm`` adjusts over all rows of the list. Accuracies and
    gains are shares in [0, 1].
    """
    groups: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in aggregate:
        groups.setdefault(tuple(row[k] for k in KEY), {})[str(row["task"])] = row
    rows = []
    for key, by_task in groups.items():
        if len(by_task) < FEWEST_TASKS:
            continue
        one: dict[str, Any] = dict(zip(KEY, key, strict=True))
        pgr_T = [float(r["pgr"]) if r["pgr_defined"] else math.nan for r in by_task.values()]
        found = median_over_tasks(pgr_T)
        low, high = _interval([p for p in pgr_T if not math.isnan(p)], level)
        scores = [
            [r[f"{arm}_score"] for r in by_task.values()] for arm in ("supervisor", "student", "ceiling")
        ]
        gap = sum(scores[2]) - sum(scores[0])
        one |= {
            "n_tasks": len(by_task),
            "n_defined": found.n_defined,
            "pgr_median": _finite(found.median),
            "pgr_median_low": low,
            "pgr_median_high": high,
            "pgr_summed": _finite(ratio_of_summed_gaps(*scores)) if gap > 0 else None,
            "uses_ground_truth": any(r["uses_ground_truth"] for r in by_task.values()),
        }
        rows.append(one | _against_naive(key, by_task, groups))
    adjust(rows, "wilcoxon_p")
    return rows


def adjust(rows: Sequence[dict[str, Any]], name: str) -> None:
    """Write Holm's adjustment of the p-values ``name`` over all rows that have one as ``{name}_holm``."""
    compared = [row for row in rows if row[name] is not None]
    for row, p in zip(compared, holm([row[name] for row in compared]).tolist(), strict=True):
        row[f"{name}_holm"] = p


def _against_naive(
    key: tuple[Any, ...],
    by_task: Mapping[str, Mapping[str, Any]],
    groups: Mapping[tuple[Any, ...], Mapping[str, Mapping[str, Any]]],
) -> dict[str, Any]:
    empty = dict.fromkeys(("n_better", "n_worse", "gain_median", "wilcoxon_p", "sign_p", "wilcoxon_p_holm"))
    place = KEY.index("method")
    naive = groups.get((*key[:place], "naive", *key[place + 1 :]), {})
    both = sorted(by_task.keys() & naive.keys())
    if key[place] == "naive" or not both or any(by_task[t]["uses_ground_truth"] for t in both):
        return empty
    test = across_tasks([by_task[t]["student_score"] - naive[t]["student_score"] for t in both])
    return empty | {
        "n_better": test.n_better,
        "n_worse": test.n_worse,
        "gain_median": test.median,
        "wilcoxon_p": test.wilcoxon_p,
        "sign_p": test.sign_p,
    }


def _interval(values: Sequence[float], level: float) -> tuple[float | None, float | None]:
    """Exact interval of the median from order statistics; None where so few values give none."""
    if not values:
        return None, None
    from scipy.stats import quantile_test

    found = quantile_test(values, p=0.5).confidence_interval(level)
    return _finite(float(found.low)), _finite(float(found.high))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
