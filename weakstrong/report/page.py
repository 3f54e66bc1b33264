"""One HTML file that holds everything a reader needs: words, figures, tables, the explorer, provenance and the data.

It loads nothing from anywhere: styles, scripts and figures are inside; a content security policy forbids more. What it
is made of lies in ``web/``: a template, styles and scripts, put together here in the order of their names.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from weakstrong.report.figures import Given, figures_for
from weakstrong.report.packing import packed
from weakstrong.report.page_data import (
    NAMES,
    ReportData,
    data_of_page,
    embedded_json,
    plain_data,
)
from weakstrong.report.page_figures import FigureEntry, figure_entries
from weakstrong.report.page_strips import Scale, result_ids, strip, strips
from weakstrong.report.page_tables import (
    CELL_HEAD,
    RESULT_HEAD,
    across_row,
    any_table,
    cell_row,
    columns,
    head,
    identity,
    model_row,
    result_row,
    step_rows,
)
from weakstrong.report.page_words import headline, headline_over_tasks, naive_last, notes, pairs, percent
from weakstrong.report.table import Row, has_pgr, method_name, several

__all__ = ["ReportData", "data_of_page", "embedded_json", "headline", "render_page"]

WEB = Path(__file__).parent / "web"


def render_page(data: ReportData, figures: Sequence[FigureEntry] | None = None, live: str = "") -> str:
    """The whole page as one HTML text; the same data give the same text.

    A number that is not finite is shown and embedded as missing, and the page says so. An empty report is a
    page that says that there is nothing yet.

    Args:
        data: what to show.
        figures: in this order; default: PGR and Fig. 3 of every task.
        live: of a page that asks the server that it came from for news (``w2s serve``): the digest of what it
            shows. Opened from a file, such a page is as any other.

    Raises:
        DataError: a row lacks a key, or a value has no form in JSON; the message has its path.
    """
    plain, lost = plain_data(data)
    aggregate, cells, across = plain["aggregate"], plain["cells"], plain["across"]
    if figures is None:
        placed = [
            row | {"place": i} for i, row in enumerate(aggregate)
        ]  # a click on a point opens its result
        figures = figure_entries(figures_for(Given(placed, plain["models"], plain["analyses"])))
    script = _joined("js")
    result_names, result_shared = columns(aggregate)
    cell_names, cell_shared = columns(cells)
    unsure = {identity(row) for row in aggregate if not has_pgr(row)}
    scale = Scale.of(aggregate)
    tasks = list(dict.fromkeys(row["task"] for row in [*aggregate, *cells]))
    count = Counter(cell["status"] for cell in cells)
    return _environment().get_template("page.html.j2").render(
        **{**plain, "warnings": plain["warnings"] + notes(aggregate, cells, lost)},
        live=live,
        style=Markup(_joined("css")),  # ours, not the user's
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        embedded=Markup(embedded_json(packed(plain))),
        headlines=_headlines(aggregate, across),
        hero=_hero(aggregate, scale),
        choices=_choices([*aggregate, *cells]),
        zero=scale.at(0.0),
        one=scale.at(1.0),
        glance=[(task, found) for task in tasks if (found := strips(aggregate, task, scale))],
        ids=result_ids(aggregate),
        figure_tasks=_by_task(figures),
        result_head=head(result_names, RESULT_HEAD),
        result_rows=[result_row(row, result_names) for row in aggregate],
        result_open=result_names.index("method") if aggregate else 0,
        result_shared=result_shared,
        across_rows=[across_row(row) for row in across],
        cell_head=head(cell_names, CELL_HEAD),
        cell_rows=[(c["status"], cell_row(c, cell_names, identity(c) in unsure)) for c in cells],
        cell_shared=cell_shared,
        model_rows=[model_row(name, facts) for name, facts in plain["models"].items()],
        control_table=any_table(plain["controls"]),
        ledger_table=any_table(plain["ledger"]),
        counts={status: count[status] for status in ("done", "failed", "missing")},
        step_rows=step_rows(plain["provenance"]),
        experiment_text=json.dumps(plain["experiment"], indent=2, ensure_ascii=False),
    )  # fmt: skip


def _joined(ending: str) -> str:
    """The files of ``web/`` with an ending, in the order of their names; the scripts share one scope."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(WEB.glob(f"*.{ending}")))
    return f'(() => {{\n"use strict";\n{text}\n}})();' if ending == "js" else text


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(WEB),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda value: f"{value:,}" if isinstance(value, int) else value
    return environment


def _headlines(aggregate: Sequence[Row], across: Sequence[Row]) -> list[tuple[str, str]]:
    """Over all tasks first, then pair by pair as listed: none is chosen for its result."""
    with_task, with_regime = several(aggregate, "task"), several(aggregate, "regime")
    over: dict[tuple[str, ...], list[Row]] = {}
    for row in across:
        over.setdefault((row["supervisor"], row["student"], row["regime"]), []).append(row)
    found = [headline_over_tasks(rows, with_regime) for rows in over.values()]
    return found + [headline(rows, with_task, with_regime) for rows in pairs(aggregate)]


def _hero(aggregate: Sequence[Row], scale: Scale) -> list[Any]:
    """A strip for each method of the first pair, unless there are too many for one look."""
    if not aggregate or several(aggregate, "task"):
        return []
    first = pairs(aggregate)[0]
    places = {id(row): i for i, row in enumerate(aggregate)}
    found = [
        strip(
            method_name(row),
            [(places[id(row)], row)],
            scale,
            percent(row["pgr"], row["pgr_low"], row["pgr_high"]),
        )
        for row in naive_last(first)
        if has_pgr(row)
    ]
    return found if len(found) <= 6 else []


def _choices(rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """The values of every name that has several, to choose from."""
    found = {name: list(dict.fromkeys(str(row[name]) for row in rows)) for name in NAMES}
    return [(name, values) for name, values in found.items() if len(values) > 1]


def _by_task(figures: Sequence[FigureEntry]) -> list[tuple[str, list[tuple[int, FigureEntry]]]]:
    found: dict[str, list[tuple[int, FigureEntry]]] = {}
    for i, figure in enumerate(figures):
        found.setdefault(figure.task, []).append((i, figure))
    return list(found.items())
