"""``w2s analyse``: what there is, and what a store's predictions say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weakstrong.analyses.base import ANALYSES, parse_analysis
from weakstrong.cli.listings import print_csv, print_json, print_table, stored_results

HIDDEN = ("analysis", "recipe", "n_seeds")


def list_analyses(as_json: bool) -> None:
    """Every analysis with its parameters and where it comes from."""
    rows = []
    for name in ANALYSES.names():
        entry = ANALYSES.get(name)
        parameters = {
            field: {
                "default": entry.model_fields[field].get_default(call_default_factory=True),
                "about": entry.model_fields[field].description or field.replace("_", " "),
            }
            for field in entry.parameters()
        }
        about = (entry.__doc__ or "").strip().splitlines()[0]
        rows.append({"name": name, "source": entry.source, "parameters": parameters, "about": about})
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['name']}  ({row['source']})\n  {row['about']}")
        for field, info in row["parameters"].items():  # type: ignore[attr-defined]
            print(f"    {field} = {info['default']}: {info['about']}")
    print("\nOf what a store holds: w2s analyse NAME. With trainings of its own: w2s run --analysis NAME.")


def show_analyses(names: list[str], experiment: Path | None, store: str | None, format: str) -> None:
    """The rows of some analyses in the asked format."""
    wanted = [parse_analysis(name) for name in names]
    found = stored_results(experiment, store)
    rows: list[dict[str, Any]] = [row for analysis in wanted for row in found.analysis(analysis)]
    if format == "json":
        print_json(rows)
    elif format == "csv":
        print_csv(rows)
    elif not rows:
        print(
            f"no stored cell has what {', '.join(names)} needs; w2s run --analysis {','.join(names)} computes it"
        )
    for analysis in wanted if format == "table" else ():
        own = [row for row in rows if row["analysis"] == analysis.name]
        columns = list(dict.fromkeys(column for row in own for column in row if column not in HIDDEN))
        numbers = tuple(c for c in columns if any(isinstance(row.get(c), (int, float)) for row in own))
        print_table(own, columns, numbers)
