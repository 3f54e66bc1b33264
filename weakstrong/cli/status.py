"""``w2s status``: what is done, what runs and where, what failed and why."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from weakstrong.cli.listings import open_store, print_json, print_table
from weakstrong.experiment import experiments_in
from weakstrong.notes import clear_dead, failures, running
from weakstrong.redact import visible


def show_status(experiment: Path | None, store: str | None, as_json: bool) -> None:
    """Counts of cells and steps, each running step, each failure's reason; what died without a word is told once."""
    from weakstrong.results import collect

    opened = open_store(store)
    found = collect(opened, None if experiment is None else experiments_in(experiment))
    cells = Counter(found.statuses())
    dead = [_readable(note) for note in clear_dead(opened)]
    now = [_readable(note) for note in running(opened)]
    failed = list(failures(opened).values())
    counts = {status: cells[status] for status in ("done", "missing", "failed")}
    if as_json:
        print_json(
            counts
            | {
                "store": opened.url,
                "experiments": [e.name for e in found.experiments],
                "running": now,
                "died": dead,
                "failures": failed,
                "errors": list(dict.fromkeys(f"{f['title']}: {f['error']}" for f in failed)),
            }
        )
        return
    print(
        f"{opened.url}: {counts['done']:,} cells done, {counts['missing']:,} missing, {counts['failed']:,} failed"
    )
    if now:
        print(f"\nrunning ({len(now)}):")
        columns = ["title", "where", "for", "share", "now", "heard"]
        print_table(now, columns)
    if dead:
        print(f"\ndied without a word ({len(dead)}); the same w2s run takes them up again:")
        print_table(dead, ["title", "where", "share", "now", "heard"])
    if failed:
        print(f"\nfailed ({len(failed)}); the same w2s run tries them again:")
        for note in sorted(failed, key=lambda n: float(n.get("when", 0))):
            said = f"{note['title']} on {note.get('host', '?')}, {_ago(note.get('when'))}: {note['error']}"
            print(f"  {visible(said)}")
            if note.get("log"):
                print(f"    log: {note['log']}")


def _readable(note: dict[str, Any]) -> dict[str, Any]:
    more = f" and {note['steps'] - 1} more" if note.get("steps", 1) > 1 else ""
    return {
        "title": f"{note['step']}: {note['title']}{more}",
        "where": f"{note['host']}, process {note['pid']}",
        "for": _span(time.time() - float(note["started"])),
        "share": f"{100 * float(note['share']):.0f} %",
        "now": note["words"],
        "heard": _ago(note["heard"]),
        "key": note["key"],
        "log": note["log"],
    }


def _span(seconds: float) -> str:
    # Clocks of two machines differ, so a time may lie in the future.
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _ago(when: object) -> str:
    return f"{_span(time.time() - when)} ago" if isinstance(when, (int, float)) else "at an unknown time"
