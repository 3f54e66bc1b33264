"""What a report is made of: plain values, checked, and their form inside the page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

from weakstrong.errors import DataError
from weakstrong.report.packing import unpacked

ROLES = ("supervisor", "student", "ceiling")
AGGREGATE_KEYS = (
    *("task", "supervisor", "student", "method", "regime", "n_seeds", "n_test"),
    *(f"{role}_{end}" for role in ROLES for end in ("score", "low", "high")),
    *("pgr", "pgr_low", "pgr_high", "pgr_defined", "pgr_reason", "p_vs_naive", "p_vs_naive_holm"),
)
DISAGREEMENTS = ("student_right", "supervisor_right")
CELL_KEYS = (
    *("task", "supervisor", "student", "method", "regime", "seed"),
    *("supervisor_score", "student_score", "ceiling_score", "pgr", "status", "key", "error"),
)
NAMES = ("task", "supervisor", "student", "method", "regime")
ROW_KEYS = {
    "aggregate": AGGREGATE_KEYS,
    "cells": CELL_KEYS,
    "explorer": (*NAMES, *("keys", "seeds", "curve", "seed", "counts", "steps", "note"), *DISAGREEMENTS),
}


@dataclass(frozen=True)
class ReportData:
    """What a report shows, as plain values (str, int, float, bool, None, list, dict).

    Attributes:
        title: heading of the page.
        aggregate: one row for each (task, supervisor, student, method, regime): those names; ``n_seeds``,
            ``n_test``; ``{supervisor,student,ceiling}_{score,low,high}`` in [0, 1] or None; ``pgr``,
            ``pgr_low``, ``pgr_high`` (float or None), ``pgr_defined`` (bool), ``pgr_reason`` (str, empty
            where defined); ``p_vs_naive``, ``p_vs_naive_holm`` in [0, 1] or None.
        across: one row for each (supervisor, student, method, regime) over several tasks, as of `over_tasks`.
        cells: one row for each cell: the same names, ``seed``, the three scores and ``pgr`` (None unless
            done), ``status`` (``done``, ``failed`` or ``missing``), ``key`` (into ``specs``), ``error`` (str
            or None).
        models: name -> ``parameters``, ``flops_per_token``, ``licence``, ``source``; any of them may lack.
        specs: cell key -> the whole spec of the cell.
        provenance: one dict for each step that ran: ``step``, ``key``, ``seconds``, ``version``, host facts.
        experiment: the experiment as asked for.
        warnings: shown at the top, in this order.
        findings: of the checks of the rows: ``task``, ``seed``, ``check``, ``level``, ``message``, ``examples``.
        explorer: what lies behind each row of ``aggregate``, as of `weakstrong.explorer.explored`; a row without
            an entry is shown without it.
        analyses: name -> rows as of `weakstrong.results.Results.analysis`: the five names, ``measure``, ``value``,
            ``low``, ``high`` and columns of its own.
        ledger: what was tried, one flat mapping each; all columns are shown.
        controls: results of controls, one flat mapping each; all columns are shown.
        version: of the package that wrote the results.
    """

    title: str
    aggregate: list[dict[str, Any]] = field(default_factory=list)
    across: list[dict[str, Any]] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    provenance: list[dict[str, Any]] = field(default_factory=list)
    experiment: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    explorer: list[dict[str, Any]] = field(default_factory=list)
    analyses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    controls: list[dict[str, Any]] = field(default_factory=list)
    version: str = ""


def embedded_json(value: object) -> str:
    r"""JSON that is safe inside a script element: ``<``, ``>``, ``&`` and two line separators are escaped.

    >>> embedded_json({"a": "</script>"})
    '{"a":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def plain_data(data: ReportData) -> tuple[dict[str, Any], list[str]]:
    """``data`` in JSON's own types, checked, and the paths of numbers that are not finite (None there).

    Raises:
        DataError: a row lacks a key, or a value has no form in JSON; the message has its path.
    """
    lost: list[str] = []
    plain = {
        entry.name: _plain(getattr(data, entry.name), f"data.{entry.name}", lost) for entry in fields(data)
    }
    analyses = {f"analyses.{name}": rows for name, rows in plain["analyses"].items()}
    needed = dict.fromkeys(analyses, (*NAMES, "measure", "value", "low", "high"))
    for name, keys in (ROW_KEYS | needed).items():
        for i, row in enumerate(analyses[name] if name in analyses else plain[name]):
            if missing := [key for key in keys if key not in row]:
                raise DataError(f"{name}[{i}] lacks {', '.join(missing)}; a row needs {', '.join(keys)}")
    return plain, lost


def data_of_page(page: str) -> dict[str, Any]:
    """The data inside a page that `weakstrong.report.page.render_page` wrote, as given to it.

    Raises:
        DataError: if the text is no such page.
    """
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    if found is None:
        raise DataError("this is no page of weakstrong: it holds no data")
    value: dict[str, Any] = unpacked(json.loads(found[1]))
    return value


def _plain(value: object, path: str, lost: list[str]) -> Any:
    """``value`` in JSON's own types; what is not finite becomes None and is named in ``lost``."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        if math.isfinite(value):
            return float(value)
        lost.append(path)
        return None
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise DataError(f"{path}: the key {key!r} is {type(key).__name__}, wanted str")
        return {key: _plain(item, f"{path}.{key}", lost) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{i}]", lost) for i, item in enumerate(value)]
    wanted = "str, number, bool, None, list or dict"
    raise DataError(f"{path}: found {type(value).__name__}, wanted {wanted}; convert it first")
