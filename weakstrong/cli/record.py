"""``w2s results`` with ``--ledger``, ``--best`` or ``--prompting``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from weakstrong.cli.listings import print_csv, print_json, print_table, stored_results
from weakstrong.redact import visible

Rows = list[dict[str, Any]]


def show_ledger(experiment: Path | None, store: str | None, format: str) -> None:
    """Sentences, the choices among variants and the warnings; as CSV every scoring, as JSON all of it."""
    ledger = stored_results(experiment, store).ledger
    if format == "json":
        print_json(ledger.to_dict())
        return
    if format == "csv":
        print_csv(ledger.scorings)
        return
    for sentence in ledger.words():
        print(visible(sentence))
    if ledger.choices:
        print()
        numbers = ("n_variants", "expected_maximum", "expected_maximum_pgr")
        names = ["task", "supervisor", "student", "method", "regime", "parameters"]
        print_table(ledger.choices, [*names, *numbers, "variants"], numbers)
    for warning in ledger.warnings():
        print(visible(f"warning: {warning}"))


def show_best(experiment: Path | None, store: str | None, format: str, over: str, corrected: bool) -> None:
    """The best of several, with what picking it lifts by chance."""
    rows = stored_results(experiment, store).best(over, corrected)
    seed = ["seed"] if over == "seed" else []
    numbers = ["n_choices", "mean", "score", "expected_maximum", "corrected", "pgr", "pgr_corrected"]
    names = ["task", "supervisor", "student", "method", "regime"]
    _show(rows, format, [*names, *seed], [*numbers])
    if format == "table":
        for warning in dict.fromkeys(row["warning"] for row in rows if row["warning"]):
            print(visible(f"warning: {warning}"), file=sys.stderr)


def show_prompting(experiment: Path | None, store: str | None, format: str) -> None:
    """Every way to use each student that was prompted."""
    rows = stored_results(experiment, store).prompting
    if not rows and format == "table":
        print("no student was prompted; w2s run --method zero-shot --method few-shot --method naive does it")
    names = ["task", "supervisor", "student", "regime", "way", "method"]
    _show(rows, format, names, ["score", "low", "high", "gain_vs_naive", "p_vs_naive_holm"])


def _show(rows: Rows, format: str, names: list[str], numbers: list[str]) -> None:
    if format == "json":
        print_json(rows)
    elif format == "csv":
        print_csv(rows)
    elif rows:
        print_table(rows, [*names, *numbers], tuple(numbers))
