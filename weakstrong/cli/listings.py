"""Commands that only look: results, report, models, methods."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weakstrong.api import default_store
from weakstrong.errors import ConfigError, StoreError
from weakstrong.experiment import experiments_in
from weakstrong.redact import spreadsheet_safe, visible
from weakstrong.store import Store

if TYPE_CHECKING:
    from weakstrong.results import Results


PRETTY_ROWS = 1000
"""Rows of the longest table that is laid out for the width of a terminal; that takes a millisecond per row."""


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def print_csv(rows: list[dict[str, Any]]) -> None:
    """Comma-separated values with every column that any row has, safe to open in a spreadsheet."""
    if rows:
        columns = list(dict.fromkeys(column for row in rows for column in row))
        writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: spreadsheet_safe(v) for k, v in row.items()} for row in rows)


def print_table(rows: list[dict[str, Any]], columns: list[str], right: tuple[str, ...] = ()) -> None:
    """A table for people; a long one in plain columns."""
    if len(rows) > PRETTY_ROWS:
        _print_plain(rows, columns, right)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column.replace("_", " "), justify="right" if column in right else "left", overflow="fold"
        )
    for row in rows:
        # Text, not str: a name such as "[bold]" is a name, not markup.
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    Console().print(table)


def _print_plain(rows: list[dict[str, Any]], columns: list[str], right: tuple[str, ...]) -> None:
    cells = [[_cell(row.get(column)) for row in rows] for column in columns]
    lines = []
    for column, texts in zip(columns, cells, strict=True):
        named = [column.replace("_", " "), *texts]
        width = max(map(len, named))
        lines.append([t.rjust(width) if column in right else t.ljust(width) for t in named])
    for line in zip(*lines, strict=True):
        print("  ".join(line).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) >= 1000 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else visible(str(value))


def open_store(store: str | None) -> Store:
    """An existing store.

    Raises:
        StoreError: if there is none, so that looking never creates one.
    """
    url = store or default_store()
    if "://" not in url and not Path(url).expanduser().is_dir():
        raise StoreError(f"there is no store at {url}; name one with --store, or make one with w2s run")
    return Store(url)


def stored_results(experiment: Path | None, store: str | None) -> Results:
    from weakstrong.results import collect

    return collect(open_store(store), None if experiment is None else experiments_in(experiment))


def show_results(
    experiment: Path | None, store: str | None, format: str, aggregate: bool, across: bool = False
) -> None:
    """Cells, groups of seeds, or pairs and methods over all tasks, in the asked format."""
    found = stored_results(experiment, store)
    rows = found.across if across else found.aggregate if aggregate else found.cells
    if format == "json":
        print_json(rows)
    elif format == "csv":
        print_csv(rows)
    elif across:
        numbers = ["n_tasks", "n_defined", "pgr_median", "pgr_median_low", "pgr_median_high", "pgr_summed"]
        tests = ["n_better", "n_worse", "wilcoxon_p_holm", "sign_p"]
        print_table(rows, ["supervisor", "student", "method", *numbers, *tests], (*numbers, *tests))
    elif aggregate:
        from rich.console import Console

        from weakstrong.report.table import result_table

        Console().print(result_table(rows))
    else:
        scores = ["supervisor_score", "student_score", "ceiling_score", "pgr"]
        columns = ["task", "supervisor", "student", "method", "regime", "seed", *scores, "status"]
        print_table(rows, columns, ("seed", *scores))


def show_controls(experiment: Path | None, store: str | None, format: str) -> None:
    """What each control should show, and whether it does, in the asked format."""
    rows = stored_results(experiment, store).controls
    if format == "json":
        print_json(rows)
    elif format == "csv":
        print_csv(rows)
    elif not rows:
        print("no control is stored; w2s run --controls adds them to an experiment")
    else:
        from weakstrong.report.table import format_interval, format_number, several

        shown = [
            {
                "control": row["control"],
                "task": row["task"],
                "pair": f"{row['supervisor'].removeprefix(row['control'] + ':')} → {row['student']}",
                "expected": f"{row['measure']} {row['expected']}",
                "found": f"{format_number(row['value'], 2)} {format_interval(row['low'], row['high'])}".rstrip(),
                "verdict": row["verdict"],
            }
            for row in rows
        ]
        named = ["control", *(["task"] if several(rows, "task") else []), "pair"]
        print_table(shown, [*named, "expected", "found", "verdict"])


def write_report(
    experiment: Path | None, store: str | None, out: Path, title: str | None, as_json: bool
) -> None:
    """Write the page and say where it is."""
    page = stored_results(experiment, store).page(title)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"the page {out} cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"page": str(out), "bytes": len(page.encode())})
    else:
        print(f"page: {out}")


def show_models(names: list[str], as_json: bool) -> None:
    """Cards of the embedded models and of those named."""
    from weakstrong.models import MODELS, card, parse_model

    rows = [vars(card(parse_model(name))) for name in [*MODELS.names(), *names]]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["source"] = (
            row["source"].partition("/")[0] if row["source"].startswith("pypi:") else row["source"]
        )
        for column in ("parameters", "flops_per_token"):
            row[column] = None if row[column] is None else f"{row[column] / 1e6:.0f}M"
    columns = ["name", "family", "layers", "parameters", "flops_per_token", "licence", "cached", "source"]
    print_table(rows, columns, ("layers", "parameters", "flops_per_token"))
    print("\nA rung is a model's first layers: smollm2-135m:8. Others: hub:org/name@revision, or a folder.")


def show_methods(files: list[str], as_json: bool) -> None:
    """Every method with its parameters, and those of the user's own ``files``."""
    from weakstrong.methods import METHODS, parse_method

    for file in files:
        if not file.endswith(".py"):
            raise ConfigError(f"{file!r} is no method file; name one that ends in .py")
        parse_method(file)
    rows: list[dict[str, Any]] = []
    for name in METHODS.names():
        method = METHODS.get(name)
        parameters = {
            field: {
                "default": method.model_fields[field].default,
                "about": method.model_fields[field].description or field.replace("_", " "),
            }
            for field in method.parameters()
        }
        doc = (method.__doc__ or "").strip().splitlines()[0]
        rows.append(
            {
                "name": name,
                "sets": sorted(method.sets),
                "source": method.source,
                "parameters": parameters,
                "about": doc,
            }
        )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['name']}  [{', '.join(row['sets'])}]  ({row['source']})\n  {row['about']}")
        for field, info in row["parameters"].items():
            print(f"    {field} = {info['default']}: {info['about']}")
    print(
        "\nParameters: confidence:a_max=0.5. Together: generative+bootstrapping+confidence; parts that set the same"
        "\nthing (in brackets) do not go together, but labels and weights do. Your own: --method path/to/file.py"
    )
