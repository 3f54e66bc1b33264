"""Tasks on the screen: `w2s tasks`, `w2s tasks show NAME`, `w2s tasks check NAME`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weakstrong.cli.options import (
    ChosenOption,
    DataDirOption,
    FirstOption,
    GroupOption,
    JsonOption,
    LabelOption,
    PromptOption,
    RejectedOption,
    SecondOption,
    TestRows,
    TextOption,
    TrainRows,
)
from weakstrong.errors import DataError, StoreError
from weakstrong.redact import visible

if TYPE_CHECKING:
    import pyarrow as pa

    from weakstrong.tasks import Task, TaskRows

tasks_app = typer.Typer(
    help="List tasks; `show` one with its rows, or `check` its rows for leaks.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
NameArgument = Annotated[str, typer.Argument(help="A task of `w2s tasks`, or file:PATH.")]


@tasks_app.callback()
def list_tasks(context: typer.Context, as_json: JsonOption = False) -> None:
    """List tasks: kind, rows, classes, licence, source, and whether they are cached.

    `w2s tasks show NAME` prints rows, `w2s tasks check NAME` looks for leaks.
    """
    if context.invoked_subcommand is not None:
        return
    from weakstrong.cli.listings import print_json, print_table
    from weakstrong.tasks import TASKS
    from weakstrong.tasks.base import FILE_TASKS

    rows: list[dict[str, Any]] = []
    for name in TASKS.names():
        task = TASKS.get(name)
        rows.append(
            {
                "name": name,
                "kind": str(task.task_kind),
                "rows": task.size or task.published,
                "classes": list(task.class_names),
                "licence": task.licence,
                "source": task.source,
                "cached": None if name in FILE_TASKS else task.parse({"kind": name}).cached(),
                "about": (task.__doc__ or "").strip().splitlines()[0],
            }
        )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["classes"] = ", ".join(row["classes"])
        row["cached"] = {True: "yes", False: "no", None: "yours"}[row["cached"]]
    print_table(rows, ["name", "kind", "rows", "classes", "cached", "licence"], ("rows",))
    print("\nRows: labelled records as published, before any limit. More on one: w2s tasks show NAME.")
    print("Original files instead of the hub: --data-dir FOLDER. Your own rows: file:PATH.")


def _named(name: str, data_dir: Path | None, columns: dict[str, str | None]) -> Task:
    from weakstrong.cli.axes import task_values
    from weakstrong.tasks import parse_task

    given = {column: value for column, value in columns.items() if value is not None}
    return parse_task(task_values(name, given, data_dir))


@tasks_app.command()
def show(
    name: NameArgument,
    rows: Annotated[int, typer.Option("--rows", min=0, help="How many rows to print.")] = 3,
    data_dir: DataDirOption = None,
    text: TextOption = None,
    label: LabelOption = None,
    group: GroupOption = None,
    prompt: PromptOption = None,
    chosen: ChosenOption = None,
    rejected: RejectedOption = None,
    first: FirstOption = None,
    second: SecondOption = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Also write all rows (id, group, text, label …) to this CSV file."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a task's rows as models read them, the balance of classes, groups and lengths.

    Example: `w2s tasks show boolq --data-dir BoolQ`
    """
    columns = {
        "text": text, "label": label, "group": group, "prompt": prompt, "chosen": chosen, "rejected": rejected,
        "first": first, "second": second,
    }  # fmt: skip
    task = _named(name, data_dir, columns)
    loaded = task.load()
    facts = describe(task, loaded)
    if out is not None:
        _write_rows(loaded.table, out)
    shown = _spread(loaded.table, rows)
    if as_json:
        from weakstrong.cli.listings import print_json

        print_json(facts | {"shown": shown})
        return
    print(f"{facts['name']}: {facts['about']}")
    print(
        f"{facts['rows']:,} rows in {facts['groups']:,} groups, {facts['kind']}; {facts['licence']}; {facts['source']}"
    )
    print("classes: " + visible(", ".join(f"{c} {n:,}" for c, n in facts["rows_per_class"].items())))
    if facts["rows_per_origin"]:
        print(
            "set aside by the authors: "
            + ", ".join(f"{o} {n:,}" for o, n in facts["rows_per_origin"].items())
        )
    words = facts["words"]
    print(
        f"words in a text: median {words['median']:.0f}, 95 % up to {words['p95']:.0f}, longest {words['longest']}"
    )
    for note in facts["notes"]:
        print(visible(note))
    for row in shown:
        print(f"\n--- {visible(row['id'])}, {row['label']}\n{visible(row['text'])}")
        if "other" in row:
            print(f"--- second\n{visible(row['other'])}")
    if out is not None:
        print(f"\nrows: {out}")


@tasks_app.command()
def check(
    name: NameArgument,
    data_dir: DataDirOption = None,
    text: TextOption = None,
    label: LabelOption = None,
    group: GroupOption = None,
    prompt: PromptOption = None,
    chosen: ChosenOption = None,
    rejected: RejectedOption = None,
    first: FirstOption = None,
    second: SecondOption = None,
    train_rows: TrainRows = None,
    test_rows: TestRows = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the split that is checked.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Look for what could make numbers mislead: near-duplicates across parts, groups, balance, shortcuts.

    The same checks run before every experiment, and stand in its report.
    """
    from weakstrong.cli.listings import print_json
    from weakstrong.data import Split, deal
    from weakstrong.leaks import check_split, near_duplicates, render

    columns = {
        "text": text, "label": label, "group": group, "prompt": prompt, "chosen": chosen, "rejected": rejected,
        "first": first, "second": second,
    }  # fmt: skip
    task = _named(name, data_dir, columns)
    loaded = task.load()
    split = deal(
        loaded.table, len(loaded.classes), Split(seed=seed, train_rows=train_rows, test_rows=test_rows)
    )
    found = check_split(loaded.table, split, len(loaded.classes), near_duplicates(loaded.table))
    if as_json:
        from dataclasses import asdict

        print_json([asdict(finding) for finding in found])
        return
    parts = Counter(split["part"].to_pylist())
    print(f"{task.name}, split {seed}: " + ", ".join(f"{part} {n:,}" for part, n in parts.items()))
    for line in render(found):
        print(visible(line))


def describe(task: Task, loaded: TaskRows) -> dict[str, Any]:
    """Numbers of a loaded task: rows, groups, balance, lengths in words."""
    import numpy as np

    table = loaded.table
    labels = Counter(table["label"].to_pylist())
    columns = [table[c].to_pylist() for c in ("text", "other") if c in table.column_names]
    words_N = np.array([len(text.split()) for column in columns for text in column])
    return {
        "name": task.name,
        "about": (type(task).__doc__ or "").strip().splitlines()[0],
        "kind": str(task.task_kind),
        "licence": task.licence,
        "source": task.source,
        "rows": len(table),
        "groups": len(set(table["group"].to_pylist())),
        "rows_per_class": {c: labels[i] for i, c in enumerate(loaded.classes)},
        "rows_per_origin": dict(Counter(table["origin"].to_pylist()))
        if "origin" in table.column_names
        else {},
        "words": {
            "median": float(np.median(words_N)),
            "p95": float(np.quantile(words_N, 0.95)),
            "longest": int(words_N.max()),
        },
        "notes": list(loaded.notes),
    }


def _spread(table: pa.Table, count: int) -> list[dict[str, Any]]:
    """Rows from the whole table, not only from its beginning."""
    count = min(count, len(table))
    picked = table.take([round(i * (len(table) - 1) / max(1, count - 1)) for i in range(count)])
    wanted = [c for c in ("id", "label", "text", "other") if c in table.column_names]
    rows: list[dict[str, Any]] = picked.select(wanted).to_pylist()
    return rows


def _write_rows(table: pa.Table, out: Path) -> None:
    import polars as pl

    wanted = [c for c in ("id", "group", "text", "other", "label", "difficulty") if c in table.column_names]
    frame = pl.from_arrow(table.select(wanted))
    assert isinstance(frame, pl.DataFrame)
    if out.suffix.lower() != ".csv":
        raise DataError(f"{out}: rows are written as CSV; name a file that ends in .csv")
    try:
        frame.write_csv(out)
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error.strerror}") from error
