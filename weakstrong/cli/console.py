"""A run on the screen: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from weakstrong.api import default_store, run_with_report
from weakstrong.errors import StoreError
from weakstrong.experiment import Experiment
from weakstrong.redact import visible
from weakstrong.results import Results
from weakstrong.schedule import Event
from weakstrong.store import Step, Store
from weakstrong.training.spec import Runtime

COLUMNS = ("stored", "done", "failed", "skipped")


def is_live() -> bool:
    """Whether a table that rewrites itself makes sense: a terminal, and not CI."""
    return sys.stderr.isatty() and not os.environ.get("CI")


class Screen:
    """Shows the events of a run on standard error."""

    def __init__(self, live: bool) -> None:
        self.console = Console(stderr=True)
        self.counts: dict[str, dict[str, int]] = {}
        self.words, self.share, self.last = "", 0.0, 0.0
        self.live = (
            Live(console=self.console, get_renderable=self.render, refresh_per_second=4) if live else None
        )

    def __enter__(self) -> Screen:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, event: Event, steps: Sequence[Step], words: str, number: float) -> None:
        """A `Listener`."""
        for step in steps:
            row = self.counts.setdefault(step.name, dict.fromkeys(COLUMNS, 0))
            if event in ("cached", "done", "failed", "skipped"):
                row["stored" if event == "cached" else event] += 1
        if event in ("started", "progress", "waiting"):
            first = steps[0]
            more = f" and {len(steps) - 1} more" if len(steps) > 1 else ""
            self.words = visible(f"{first.name}: {words or first.title}{'' if words else more}")
            self.share = number
        if self.live is None:
            self._line(event, steps, words, number)

    def _line(self, event: Event, steps: Sequence[Step], words: str, number: float) -> None:
        if event in ("lost", "stopped", "damaged"):
            what = {"lost": f"worker died ({words})", "stopped": f"{words}; it goes on in another job"}.get(
                event, words
            )
            self.console.print(
                f"{event:<8} {steps[0].title}: {what}", markup=False, highlight=False, soft_wrap=True
            )
        elif event == "failed":
            self.console.print(
                visible(f"failed   {steps[0].title}: {words}"), markup=False, highlight=False, soft_wrap=True
            )
        elif event == "started" and steps[0].name not in ("score", "truth", "examples"):
            self.console.print(f"started  {self.words}", markup=False, highlight=False, soft_wrap=True)
            self.last = time.monotonic()
        elif event == "progress" and time.monotonic() - self.last > 15:
            self.console.print(
                f"  {100 * number:3.0f} %  {self.words}", markup=False, highlight=False, soft_wrap=True
            )
            self.last = time.monotonic()

    def render(self) -> Group:
        """The table of steps and what is happening now."""
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("step")
        for column in COLUMNS:
            table.add_column(column, justify="right")
        for name, row in self.counts.items():
            table.add_row(name, *(str(row[c] or "") for c in COLUMNS))
        return Group(
            table, ProgressBar(total=1.0, completed=self.share, width=40), Text(self.words, style="dim")
        )


def run_and_show(
    experiments: Sequence[Experiment],
    store: str | None,
    page: Path | None,
    runtime: Runtime,
    as_json: bool,
    trackers: Sequence[str] = (),
    executor: str = "local",
) -> int:
    """Run, print the table, write the page; returns the exit code: 1 if a step failed, 130 or 143 if stopped."""
    opened = Store(store or default_store())
    started = time.monotonic()
    try:
        # What libraries print while steps run must not mix with results.
        with Screen(is_live()) as screen, redirect_stdout(sys.stderr):
            results, report = run_with_report(
                experiments,
                store=opened,
                runtime=runtime,
                listener=screen,
                trackers=trackers,
                executor=executor,
            )
    except KeyboardInterrupt as stopped:
        print(
            f"\nstopped; finished steps are kept in {opened.url}, the same command resumes", file=sys.stderr
        )
        return 128 + int(getattr(stopped, "signal", signal.SIGINT))
    place = write_page(results, page, opened)
    if as_json:
        print(
            json.dumps(
                {
                    "aggregate": results.aggregate,
                    "cells": results.cells,
                    "controls": results.controls,
                    "page": str(place),
                },
                ensure_ascii=False,
            )
        )
    else:
        from weakstrong.report.table import result_table

        console = Console()
        console.print(result_table(results.aggregate))
        if results.across:
            from weakstrong.report.table import across_table

            console.print(across_table(results.across))
        for line in explain(results):
            console.print(visible(line), markup=False, highlight=False)
        seconds = time.monotonic() - started
        console.print(
            f"{report.computed} steps computed, {report.cached} taken from {opened.url}, {seconds:.1f} s\npage: {place}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if report.lost or report.damaged:
            console.print(
                f"{report.lost} times a worker died and its steps ran again; {len(report.damaged)} damaged results were set "
                "aside and computed anew",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    for words in dict.fromkeys(report.failed.values()):
        print(f"error: {visible(words)}", file=sys.stderr)
    return 1 if report.failed else 0


def explain(results: Results) -> list[str]:
    """Words below the table: what weakens the numbers."""
    counts = Counter(row["verdict"] for row in results.controls)
    words = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
    return [*results.warnings(), *([f"controls: {words} (w2s results --controls)"] if words else [])]


def write_page(results: Results, page: Path | None, store: Store) -> Path:
    """Write the HTML page; default ``report.html`` in a local store, else in the working folder."""
    place = page or (Path(store.root) / "report.html" if store.is_local else Path("report.html"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(results.page(), encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"the page {place} cannot be written: {error.strerror}; choose another with --report"
        ) from error
    return place
