"""What a reader must know before believing the numbers of a store. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weakstrong import stats

if TYPE_CHECKING:
    from weakstrong.results import Results


def cautions(results: Results) -> list[str]:
    """Sentences: results that lack, few seeds, findings of the checks, notes of tasks, choices made on test rows."""
    missing = [c for c in results.cells if c["status"] != "done"]
    out = []
    if missing:
        failed = sum(c["status"] == "failed" for c in missing)
        out.append(
            f"{len(missing)} of {len(results.cells)} cells have no result ({failed} failed); they are left out."
        )
    if any(r["n_seeds"] < stats.SEEDS_WANTED for r in results.aggregate):
        fewest = min(r["n_seeds"] for r in results.aggregate)
        out.append(f"Only {fewest} seed(s) in places; {stats.SEEDS_WANTED} or more are wanted for a result.")
    return [*out, *beyond_cells(results)]


def beyond_cells(results: Results) -> list[str]:
    """Those that the cells themselves do not show."""
    return [*_of_rows(results), *_of_choices(results)]


def _of_rows(results: Results) -> list[str]:
    alarms: dict[tuple[str, str], list[str]] = {}
    for found in results.findings():
        if found["level"] == "warning":
            alarms.setdefault((found["task"], found["check"]), []).append(found["message"])
    # Every seed deals the rows anew; the first one's words stand for all.
    out = [f"{task}, {check}: {messages[0]}" for (task, check), messages in alarms.items()]
    for loaded in {s.inputs["load"].key: s.inputs["load"] for s in results.checks()}.values():
        if results.store.has(loaded):
            notes = results.store.record(loaded)["summary"]["notes"]
            out += [f"{loaded.title}: {note}" for note in notes]
    return out


def _of_choices(results: Results) -> list[str]:
    """Of all experiments on the same tasks: a sweep spread over several files is a sweep."""
    tasks = {t.key() for e in results.experiments for t in e.tasks}
    return results.ledger_of(lambda e: any(t.key() in tasks for t in e.tasks)).warnings()
