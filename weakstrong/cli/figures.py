"""``w2s figures``: the paper's figures from a store, as files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from weakstrong.cli.listings import print_json, stored_results

if TYPE_CHECKING:
    from weakstrong.report.figures import Drawn, FigureData
    from weakstrong.results import Results


def list_figures(as_json: bool) -> None:
    """Every figure with what it needs."""
    from weakstrong.report.figures import FIGURES, in_order

    found = [(name, FIGURES.get(name)) for name in in_order()]
    if as_json:
        keys = ("title", "needs", "paper", "analyses")
        print_json([{"name": name} | {key: getattr(entry, key) for key in keys} for name, entry in found])
        return
    for name, entry in found:
        print(f"{name}  {entry.title}\n    needs {entry.needs}")


def write_figures(
    names: list[str],
    out: Path,
    format: str,
    task: str | None,
    experiment: Path | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Draw the named figures, or all that the results can fill, and write them with their captions.

    Raises:
        UnknownNameError: for a figure or task that does not exist.
        DataError: for a named figure that the results cannot fill.
    """
    from weakstrong.errors import DataError
    from weakstrong.report.figures import FIGURES, figures_for, save

    entries = [FIGURES.get(name)() for name in names]  # a misspelt name fails before anything is read
    results = stored_results(experiment, store)
    found: list[Drawn] = []
    if entries:
        data = _with_analyses(results, [kind for entry in entries for kind in entry.analyses])
        for entry in entries:
            mine = entry.drawn(data, task)
            if not mine:
                entry(data, task)  # says what is missing
            found += mine
    else:
        found = [one for one in figures_for(results) if task in (None, one.task)]
    if not found:
        raise DataError("nothing to draw: no cell is done; w2s run computes some, w2s status says what is")
    rows, captions = [], ["# Figures\n"]
    for drawn in found:
        path = save(drawn.figure, out / f"{file_name(drawn)}.{format}")
        title = f"{drawn.title}, {drawn.task}" if drawn.task else drawn.title
        captions.append(f"**{path.name}** {title}. {drawn.caption}\n")
        rows.append(
            {
                "name": drawn.name,
                "task": drawn.task,
                "path": str(path),
                "title": drawn.title,
                "caption": drawn.caption,
            }
        )
    (out / "captions.md").write_text("\n".join(captions), encoding="utf-8")
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['path']}  {row['title']}")
    print(f"{out / 'captions.md'}  what each shows, and how it compares with the paper")


def file_name(drawn: Drawn) -> str:
    """A name that any file system takes.

    >>> from weakstrong.report.figures import Drawn
    >>> file_name(Drawn("fig3", "", "", "file:a/b.csv", None))
    'fig3-file-a-b.csv'
    """
    return re.sub(r"[^\w.-]+", "-", f"{drawn.name}-{drawn.task}").strip("-.")


def _with_analyses(results: Results, kinds: list[str]) -> FigureData:
    """The results with analyses that a named figure draws, although no experiment lists them."""
    from weakstrong.analyses import ANALYSES
    from weakstrong.report.figures import Given

    analyses = dict(results.analyses)
    listed = {name.partition(":")[0] for name in analyses}
    for kind in dict.fromkeys(kinds):
        if kind not in listed and kind in ANALYSES.names():
            analyses[kind] = results.analysis(kind)
    return Given(results.aggregate, results.models(), analyses)
