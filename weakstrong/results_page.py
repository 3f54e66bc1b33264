"""The page of results: what a store holds, gathered for `weakstrong.report.page`. No torch."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from weakstrong.cautions import beyond_cells
from weakstrong.explorer import explored
from weakstrong.report.page import ReportData, render_page

if TYPE_CHECKING:
    from weakstrong.results import Results


def page_of(results: Results, title: str | None = None, live: str = "") -> str:
    """One self-contained HTML page; ``live`` as of `render_page`."""
    groups = results.groups()
    data = ReportData(
        title=title or " · ".join(e.name for e in results.experiments),
        aggregate=results.aggregate,
        across=results.across,
        cells=results.cells,
        models=results.models(),
        specs=results.specs(),
        provenance=results.provenance(),
        experiment=results.experiments[0].to_dict() if len(results.experiments) == 1 else {},
        warnings=beyond_cells(
            results
        ),  # the page sees for itself which cells lack, and how many seeds there are
        findings=results.findings(),
        explorer=explored(results.store, [members for _, members in groups], [names for names, _ in groups]),
        analyses=results.analyses,
        ledger=results.ledger.tests,
        controls=results.controls,
        version=version("weakstrong"),
    )
    return render_page(data, live=live)
