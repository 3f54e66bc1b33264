"""Prompting beside training, student by student (paper §5.2.1, Fig. 9). No torch.

A view of the aggregate and no analysis of cells: it sets five methods beside each other, where an analysis sees one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

KEY: Final = ("task", "supervisor", "student", "regime", "recipe")
WAYS: Final = ("zero-shot", "few-shot, weak labels", "few-shot, ground truth", "naive", "ceiling")
"""In the order of the figure. ``naive`` and ``ceiling`` are trained."""


def prompting(aggregate: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a figure: every way to use a student, for each (task, supervisor, student, regime, recipe).

    Only groups in which some student was prompted. ``way`` is one of `WAYS`; ``method`` tells settings of it apart, such
    as the number of examples. ``score``, ``low`` and ``high`` are accuracies on the same test rows, in [0, 1].
    ``gain_vs_naive`` and ``p_vs_naive_holm`` are those of the aggregate, None for naive, the ceiling and whatever
    ``uses_ground_truth``.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in aggregate:
        groups.setdefault(tuple(row[k] for k in KEY), []).append(row)
    out = []
    for key, members in groups.items():
        found = [(way, row) for row in members if (way := _way(row))]
        if all(way == "naive" for way, _ in found):
            continue
        # Methods that tune a ceiling of their own have another one; every method here has the plain one.
        found.append(("ceiling", found[0][1]))
        for way, row in sorted(found, key=lambda pair: WAYS.index(pair[0])):
            arm = "ceiling" if way == "ceiling" else "student"
            compared = way not in ("naive", "ceiling")
            out.append(
                dict(zip(KEY, key, strict=True))
                | {
                    "way": way,
                    "method": "" if way == "ceiling" else row["method"],
                    "uses_ground_truth": way == "ceiling" or row["uses_ground_truth"],
                    "n_seeds": row["n_seeds"],
                    "n_test": row["n_test"],
                    "score": row[f"{arm}_score"],
                    "low": row[f"{arm}_low"],
                    "high": row[f"{arm}_high"],
                    "gain_vs_naive": row["gain_vs_naive"] if compared else None,
                    "p_vs_naive_holm": row["p_vs_naive_holm"] if compared else None,
                }
            )
    return out


def _way(row: Mapping[str, Any]) -> str:
    kind = str(row["method"]).partition(":")[0]
    if kind == "few-shot":
        return WAYS[2] if row["uses_ground_truth"] else WAYS[1]
    return str(row["method"]) if row["method"] == "naive" else kind if kind == "zero-shot" else ""
