"""One HTML file that holds everything a reader needs: words, figures, tables, specs, provenance and the data.

It loads nothing from anywhere: styles, script and figures are inside; a content security policy forbids more.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from weakstrong.errors import DataError
from weakstrong.report.figures import Given, curves, pgr_bars, to_svg
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

ROLES = ("supervisor", "student", "ceiling")
AGGREGATE_KEYS = (
    *("task", "supervisor", "student", "method", "regime", "n_seeds", "n_test"),
    *(f"{role}_{end}" for role in ROLES for end in ("score", "low", "high")),
    *("pgr", "pgr_low", "pgr_high", "pgr_defined", "pgr_reason", "p_vs_naive", "p_vs_naive_holm"),
)
CELL_KEYS = (
    *("task", "supervisor", "student", "method", "regime", "seed"),
    *("supervisor_score", "student_score", "ceiling_score", "pgr", "status", "key", "error"),
)
ENOUGH_SEEDS = 5
BARS_UP_TO = 8  # pairs; beyond, the points are too many for one look and Fig. 3 comes alone


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
    version: str = ""


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


def render_page(data: ReportData) -> str:
    """The whole page as one HTML text; the same data give the same text.

    A number that is not finite is shown and embedded as missing, and the page says so. An empty report is a
    page that says that there is nothing yet.

    Raises:
        DataError: a row lacks a key, or a value has no form in JSON; the message has its path.
    """
    lost: list[str] = []
    plain = _plain(asdict(data), "data", lost)
    for name, keys in (("aggregate", AGGREGATE_KEYS), ("cells", CELL_KEYS)):
        for i, row in enumerate(plain[name]):
            if missing := [key for key in keys if key not in row]:
                raise DataError(f"{name}[{i}] lacks {', '.join(missing)}; a row needs {', '.join(keys)}")
    folder = Path(__file__).parent
    script = (folder / "page.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["thousands"] = lambda value: f"{value:,}" if isinstance(value, int) else value
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    aggregate, cells = plain["aggregate"], plain["cells"]
    pairs = _pairs(aggregate)
    result_names, result_shared = _columns(aggregate)
    cell_names, cell_shared = _columns(cells)
    unsure = {_identity(row) for row in aggregate if not has_pgr(row)}
    return template.render(
        **{**plain, "warnings": plain["warnings"] + _notes(aggregate, cells, lost)},
        style=Markup((folder / "page.css").read_text(encoding="utf-8")),  # ours, not the user's
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        embedded=Markup(embedded_json(plain)),
        headlines=[
            headline(rows, several(aggregate, "task"), several(aggregate, "regime")) for rows in pairs
        ],
        figures=_figures(aggregate, plain["models"]),
        result_head=_head(result_names, _RESULT_HEAD),
        result_rows=[_result_row(row, result_names) for row in aggregate],
        result_shared=result_shared,
        across_rows=[_across_row(row) for row in plain["across"]],
        cell_head=_head(cell_names, _CELL_HEAD),
        cell_rows=[(c["status"], _cell_row(c, cell_names, _identity(c) in unsure)) for c in cells],
        cell_shared=cell_shared,
        model_rows=[_model_row(name, facts) for name, facts in plain["models"].items()],
        spec_rows=_spec_rows(plain["specs"], cells),
        spec_place={key: i for i, key in enumerate(plain["specs"])},
        counts={
            status: sum(c["status"] == status for c in cells) for status in ("done", "failed", "missing")
        },
        step_rows=_step_rows(plain["provenance"]),
        experiment_text=json.dumps(plain["experiment"], indent=2, ensure_ascii=False),
    )


def embedded_json(value: object) -> str:
    r"""JSON that is safe inside a script element: ``<``, ``>``, ``&`` and two line separators are escaped.

    >>> embedded_json({"a": "</script>"})
    '{"a":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def headline(rows: Sequence[Row], with_task: bool = True, with_regime: bool = False) -> tuple[str, str]:
    """A sentence for one (task, supervisor, student, regime), methods in listed order; and a line of facts.

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
    for row in rows:
        pgr = row["pgr"]
        if row.get("uses_ground_truth"):
            continue  # an oracle is no method
        if not has_pgr(row):
            undefined.setdefault(str(row["pgr_reason"]), []).append(str(row["method"]))
            continue
        aside = ", worse than the supervisor" if pgr < 0 else ", above the ceiling" if pgr > 1 else ""
        gap = "" if parts else " of the gap between supervisor and ceiling"  # explained once
        parts.append(f"{row['method']} {'' if parts else 'recovers '}{_percent(row)}{gap}{aside}")
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


def _percent(row: Row) -> str:
    def hundredths(value: float) -> str:
        return fixed(100 * value, 0).replace("-", "−")

    low, high = row["pgr_low"], row["pgr_high"]
    interval = "" if low is None or high is None else f" [{hundredths(low)}, {hundredths(high)}]"
    return f"{hundredths(row['pgr'])} %{interval}"


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


def _notes(aggregate: Sequence[Row], cells: Sequence[Row], lost: Sequence[str]) -> list[str]:
    """What a careful reader would ask about, where the data show it."""
    notes = []
    failed, missing = (sum(c["status"] == status for c in cells) for status in ("failed", "missing"))
    if failed:
        notes.append(f"{failed:,} of {len(cells):,} cells failed; their errors are in the table of cells.")
    if missing:
        notes.append(f"{missing:,} of {len(cells):,} cells have not run yet.")
    if few := sum(row["n_seeds"] < ENOUGH_SEEDS for row in aggregate):
        rest = f"{few:,} of {len(aggregate):,} results rest on fewer than {ENOUGH_SEEDS} seeds"
        notes.append(f"{rest}: read them as first looks.")
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        notes.append(f"Not a finite number, shown as missing: {', '.join(lost[:5])}{more}.")
    return notes


def _pairs(aggregate: Sequence[Row]) -> list[list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in aggregate:
        key = (row["task"], row["supervisor"], row["student"], row["regime"])
        found.setdefault(key, []).append(row)
    return list(found.values())


def _figures(aggregate: Sequence[Row], models: Mapping[str, Any]) -> list[dict[str, Any]]:
    figures, given = [], Given(aggregate, models)
    for i, task in enumerate(dict.fromkeys(row["task"] for row in aggregate)):
        pairs = {(row["supervisor"], row["student"]) for row in aggregate if row["task"] == task}
        bars = to_svg(pgr_bars(given, task), f"b{i}-") if len(pairs) <= BARS_UP_TO else ""
        lines = to_svg(curves(given, task), f"c{i}-")
        figures.append({"task": task, "bars": Markup(bars), "curves": Markup(lines)})
    return figures


_NAMES = ("task", "supervisor", "student", "method", "regime")
_SCORE_HEAD = (("Supervisor score", True), ("Student score", True), ("Ceiling score", True))
_RESULT_HEAD = (("PGR", True), *_SCORE_HEAD, ("p vs naive", True), ("p (Holm)", True))
_SIZES = {"n_seeds": "Seeds", "n_test": "Test rows"}
_CELL_HEAD = (("Seed", True), *_SCORE_HEAD, ("PGR", True), ("Status", False), ("Spec", False))


def _identity(row: Row) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in _NAMES)


def _columns(rows: Sequence[Row]) -> tuple[list[str], str]:
    """The naming and size columns to show, and the words for those left out because all rows agree."""
    shared = [name for name in ("task", "regime") if rows and not several(rows, name)]
    sizes = [name for name in _SIZES if name in rows[0]] if rows else []
    words = [f"{name} {rows[0][name]}" for name in shared]
    words += [f"{rows[0][n]:,} {_SIZES[n].lower()}" for n in sizes if not several(rows, n)]
    names = [name for name in _NAMES if name not in shared] + [n for n in sizes if several(rows, n)]
    return names, ", ".join(words)


def _head(names: Sequence[str], rest: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
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


def _result_row(row: Row, names: Sequence[str]) -> list[Shown]:
    scores = [
        _number(row[f"{r}_score"], 3, format_interval(row[f"{r}_low"], row[f"{r}_high"], 3)) for r in ROLES
    ]
    if has_pgr(row):
        pgr = _number(row["pgr"], 2, format_interval(row["pgr_low"], row["pgr_high"]))
    else:
        pgr = Shown("undefined", str(row["pgr_reason"]), None, numeric=True)
    tests = [Shown(format_p(p), "", p, numeric=True) for p in (row["p_vs_naive"], row["p_vs_naive_holm"])]
    return [*_words(row, names), pgr, *scores, *tests]


def _across_row(row: Row) -> list[Shown]:
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
    return [Shown(method_name(row) if n == "method" else str(row[n])) for n in _NAMES[1:]] + numbers


def _cell_row(cell: Row, names: Sequence[str], unsure: bool) -> list[Shown]:
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


def _model_row(name: str, facts: Mapping[str, Any]) -> list[Shown]:
    counts = [facts.get("parameters"), facts.get("flops_per_token")]
    numbers = [Shown(MISSING if n is None else f"{n:,.0f}", "", n, numeric=True) for n in counts]
    words = [Shown(str(facts.get(n) or MISSING)) for n in ("licence", "source")]
    return [Shown(name), *numbers, *words]


def _spec_rows(specs: Mapping[str, Any], cells: Sequence[Row]) -> list[tuple[str, str]]:
    of_key = {cell["key"]: cell for cell in cells}
    return [(key, _cell_name(of_key[key]) if key in of_key else "of no listed cell") for key in specs]


def _cell_name(cell: Row) -> str:
    names = (cell["task"], f"{cell['supervisor']} → {cell['student']}", cell["method"], cell["regime"])
    return " · ".join([*(str(name) for name in names), f"seed {cell['seed']}"])


def _step_rows(provenance: Sequence[Row]) -> list[tuple[str, int, str, str]]:
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
