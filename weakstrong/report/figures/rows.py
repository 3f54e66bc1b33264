"""Which rows a figure draws, what its series are called, and where a model stands on the axis of compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Protocol, TypeVar

from weakstrong.report.table import Row, fixed, has_pgr, method_name, several

T = TypeVar("T")
Models = Mapping[str, Mapping[str, Any]]

CONTROLS = (
    *("random-errors", "mixed-errors", "longest-errors", "shortest-errors"),
    *("ceiling-unsure-errors", "ceiling-sure-errors", "first-features", "shuffled"),
)
"""Supervisors whose labels are derived from others'; figures of ladders leave them out."""


class FigureData(Protocol):
    """What a figure is drawn from: `weakstrong.results.Results`, or `Given` rows."""

    @property
    def aggregate(self) -> Sequence[Row]:
        """One row per (task, supervisor, student, method, regime, recipe), as `Results.aggregate`."""

    @property
    def analyses(self) -> Mapping[str, Sequence[Row]]:
        """Rows of each analysis, by its name with parameters, as `Results.analyses`."""

    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """Facts of each model by name: ``parameters``, ``flops_per_token``."""


def unique(values: Iterable[T]) -> list[T]:
    """Values in order of first sight."""
    return list(dict.fromkeys(values))


def of_analysis(results: FigureData, kind: str, accepts: Callable[[str], bool] | None = None) -> list[Row]:
    """Rows of every variant of the analysis ``kind`` whose parameters (``by=judged``) are accepted."""
    found: list[Row] = []
    for name, rows in results.analyses.items():
        base, _, parameters = name.partition(":")
        if base == kind and (accepts is None or accepts(parameters)):
            found += rows
    return found


def derived(name: str) -> tuple[str, str]:
    """What a derived supervisor is and what it is derived from; a plain one is derived from nothing.

    >>> derived("mixed-errors:share=0.5:minilm-l6"), derived("smollm2-135m:8")
    (('mixed-errors:share=0.5', 'minilm-l6'), ('', 'smollm2-135m:8'))
    """
    kind, _, rest = name.partition(":")
    if kind not in CONTROLS:
        return "", name
    first, colon, more = rest.partition(":")
    return (f"{kind}:{first}", more) if colon and "=" in first else (kind, rest)


def plain(rows: Iterable[Row]) -> list[Row]:
    """Rows whose supervisor is a model, a file or people: no derived labels, which have figures of their own."""
    return [row for row in rows if not derived(str(row["supervisor"]))[0]]


def kind_of(row: Row) -> str:
    """The method without its parameters."""
    return str(row["method"]).partition(":")[0]


def naive_and_confidence(rows: Iterable[Row]) -> list[Row]:
    """Rows of the two methods that the paper draws most."""
    chosen = [row for row in rows if row["method"] == "naive" or kind_of(row) == "confidence"]
    return [row for row in chosen if "+" not in row["method"]]


def arms_of(rows: Sequence[Row]) -> list[str]:
    """What each row compares: its method, and regime, recipe or analysis where rows differ in nothing else.

    Rows that share an arm, a task and a pair are seeds of one result.
    """
    regimes = bool(rows) and several(rows, "regime")
    variants = len({row.get("analysis") for row in rows}) > 1
    recipes: dict[tuple[object, ...], set[str]] = {}
    for row in rows:
        recipes.setdefault(_names(row), set()).add(str(row.get("recipe", "")))
    twins = any(len(found) > 1 for found in recipes.values())
    return [
        _method(row)
        + (f" ({row['regime']})" if regimes else "")
        + (f" [recipe {str(row.get('recipe', ''))[:6]}]" if twins else "")
        + (f" [{row.get('analysis')}]" if variants else "")
        for row in rows
    ]


def _method(row: Row) -> str:
    """Marked where the method is an oracle; an analysis, or labels with errors put in place, read truth by their nature."""
    own = "measure" in row or derived(str(row["supervisor"]))[0]
    return str(row["method"]) if own else method_name(row)


def _names(row: Row) -> tuple[object, ...]:
    return tuple(row[n] for n in ("task", "supervisor", "student", "method", "regime"))


def by_arm(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by arm, in listed order."""
    found: dict[str, list[Row]] = {}
    for arm, row in zip(arms_of(rows), rows, strict=True):
        found.setdefault(arm, []).append(row)
    return found


def pair_of(row: Row) -> str:
    """``supervisor → student``."""
    return f"{row['supervisor']} → {row['student']}"


def positions(rows: Sequence[Row], models: Models) -> tuple[dict[str, float], bool]:
    """x of each model, and whether it is forward FLOPs per token (else its place in the list).

    A supervisor may lack one (labels from a file); where a student lacks one all models stand in listed order.
    """
    names = unique(str(name) for row in rows for name in (row["supervisor"], row["student"]))
    flops = {name: models.get(name, {}).get("flops_per_token") or 0.0 for name in names}
    if all(flops[row["student"]] > 0 for row in rows):
        return {name: float(value) for name, value in flops.items() if value > 0}, True
    return {name: float(place) for place, name in enumerate(names)}, False


def in_order(names: Iterable[str], x_of: Mapping[str, float]) -> list[str]:
    """Names by compute; those without stand first."""
    return sorted(unique(names), key=lambda name: x_of.get(name, 0.0))


def number(value: float, digits: int = 2) -> str:
    """A number for a caption, with a true minus sign."""
    return fixed(value, digits).replace("-", "−")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """One value, or the range and the median of several.

    >>> spread([0.25]), spread([0.5, -0.25, 0.75])
    ('0.25', '−0.25 to 0.75, median 0.50')
    """
    if len(values) == 1:
        return number(values[0], digits)
    return f"{number(min(values), digits)} to {number(max(values), digits)}, median {number(median(values), digits)}"


def pgr_words(rows: Sequence[Row]) -> str:
    """What the PGRs of some aggregate rows are, in a sentence for each arm."""
    sentences = []
    for arm, mine in by_arm(rows).items():
        sure = [row["pgr"] for row in mine if has_pgr(row)]
        lost = len(mine) - len(sure)
        words = f"PGR of {arm}: {spread(sure)}" if sure else f"PGR of {arm}: undefined"
        if lost and sure:
            words += f"; undefined for {lost} of {len(mine)}, where the gap may be zero"
        sentences.append(words + ".")
    return " ".join(sentences)


def seeds_words(rows: Sequence[Row]) -> str:
    """How many seeds stand behind the rows, and what the bars are."""
    least, most = min(r["n_seeds"] for r in rows), max(r["n_seeds"] for r in rows)
    count = f"{most}" if least == most else f"{least} to {most}"
    return f"Bars: 95 % intervals over test rows and {count} seed{'s' if most != 1 else ''}."
