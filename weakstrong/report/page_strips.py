"""PGR on one scale for all tasks: a strip per method and task, a dot per pair; small multiples in plain HTML."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weakstrong.report.page_words import percent
from weakstrong.report.table import Row, has_pgr, method_name, several

FURTHEST = (-1.0, 2.0)
"""Where the scale ends at most; what lies beyond stands at the edge, marked, and its words say where."""


@dataclass(frozen=True)
class Dot:
    """A result: its place in the aggregate and on the strip (percent of its width)."""

    index: int
    at: float
    low: float
    width: float
    words: str
    beyond: bool
    oracle: bool


@dataclass(frozen=True)
class Strip:
    """One method on one task, or the pairs of one method."""

    name: str
    dots: tuple[Dot, ...]
    undefined: tuple[int, ...]
    value: str = ""


@dataclass(frozen=True)
class Scale:
    """From PGR to percent of a strip's width; the same for every strip of a page."""

    low: float
    high: float

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Scale:
        """The scale that shows 0, 1 and all intervals, but nothing beyond `FURTHEST`."""
        ends = [row[k] for row in rows if has_pgr(row) for k in ("pgr", "pgr_low", "pgr_high")]
        known = [end for end in ends if end is not None]
        low = max(FURTHEST[0], min([0.0, *known]))
        high = min(FURTHEST[1], max([1.0, *known]))
        room = 0.04 * (high - low)
        return cls(low - room, high + room)

    def at(self, pgr: float) -> float:
        """Percent of the width, within [0, 100].

        >>> Scale(0.0, 2.0).at(0.5), Scale(0.0, 2.0).at(9)
        (25.0, 100.0)
        """
        return round(100 * (min(max(pgr, self.low), self.high) - self.low) / (self.high - self.low), 2)


def strips(aggregate: Sequence[Row], task: str, scale: Scale) -> list[Strip]:
    """One strip for each method (and regime, where there are several) of ``task``, in listed order."""
    with_regime = several(aggregate, "regime")
    found: dict[str, list[tuple[int, Row]]] = {}
    for i, row in enumerate(aggregate):
        if row["task"] == task:
            name = method_name(row) + (f" ({row['regime']})" if with_regime else "")
            found.setdefault(name, []).append((i, row))
    return [strip(name, members, scale) for name, members in found.items()]


def strip(name: str, members: Sequence[tuple[int, Row]], scale: Scale, value: str = "") -> Strip:
    """The strip of some rows of the aggregate, given with their places there."""
    dots = tuple(_dot(i, row, scale) for i, row in members if has_pgr(row))
    return Strip(name, dots, tuple(i for i, row in members if not has_pgr(row)), value)


def _dot(index: int, row: Row, scale: Scale) -> Dot:
    pgr = row["pgr"]
    low = pgr if row["pgr_low"] is None else row["pgr_low"]
    high = pgr if row["pgr_high"] is None else row["pgr_high"]
    words = f"{row['supervisor']} → {row['student']}, {method_name(row)}: {percent(pgr, row['pgr_low'], row['pgr_high'])}"
    return Dot(
        index=index,
        at=scale.at(pgr),
        low=scale.at(low),
        width=round(scale.at(high) - scale.at(low), 2),
        words=words,
        beyond=not scale.low <= pgr <= scale.high,
        oracle=bool(row.get("uses_ground_truth")),
    )


def result_ids(aggregate: Sequence[Row]) -> list[str]:
    """A short name for each result that stays the same when others are added: links to it keep their meaning."""
    found: list[str] = []
    for row in aggregate:
        names: list[Any] = [
            row.get(n) for n in ("task", "supervisor", "student", "method", "regime", "recipe")
        ]
        name = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:10]
        found.append(name if name not in found else f"{name}-{len(found)}")
    return found
