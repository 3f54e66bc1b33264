"""The page as a reader meets it: in a browser, by mouse and keyboard, on a phone, in the dark, on paper."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsers import browser, open_page  # noqa: F401 (fixtures)
from made_report import made_report
from matplotlib.figure import Figure
from test_security_page import PAYLOADS, hostile

from weakstrong.report.figures import Drawn
from weakstrong.report.page import ReportData, render_page
from weakstrong.report.page_data import plain_data
from weakstrong.report.page_figures import figure_entries

TASKS = ("movie-snippets", "rated-tweets")


def drawing(task: str, place: int) -> Drawn:
    """A figure with one big point, which stands for a row of the aggregate."""
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([0], [0], marker="o", markersize=40)[0].set_gid(f"result-{place}")
    return Drawn("point", f"A point of {task}", "One point.", task, figure)


@pytest.fixture(scope="module")
def report() -> ReportData:
    """40 results of 80 cells on two tasks, with controls and a ledger."""
    tried = [{"what": "naive", "cells": 40, "chosen": False}]
    return made_report(TASKS, ("naive", "confidence"), 2, controls=[{"control": "shuffled labels", "pgr": 0.01}],
                       ledger=tried)  # fmt: skip


@pytest.fixture(scope="module")
def url(report: ReportData, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "report.html"
    places = {row["task"]: i for i, row in enumerate(report.aggregate)}
    figures = figure_entries([drawing(task, place) for task, place in places.items()])
    file.write_text(render_page(report, figures), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("large") / "report.html"
    file.write_text(render_page(made_report()), encoding="utf-8")
    return file


def shown_rows(page: Any, table: str) -> list[int]:
    name = "result" if table == "results" else "cell"
    return page.eval_on_selector_all(  # type: ignore[no-any-return]
        f"#{table} > tbody > tr:not([hidden])", f"rows => rows.map(row => Number(row.dataset.{name}))"
    )


def test_a_thousand_cells_fit_five_megabytes_and_a_phone(large: Path, open_page: Any) -> None:  # noqa: F811
    """Specs written a thousand times, a table wider than the screen that drags the page along, anything fetched."""
    assert large.stat().st_size < 5_000_000
    page = open_page("about:blank", width=360)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(large.as_uri())
    assert asked == [large.as_uri()]
    assert len(shown_rows(page, "cells")) == 1000
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#results .open").first.click()
    assert page.evaluate("document.querySelector('.inside').scrollWidth") <= 360
    page.locator(".inside summary").last.click()
    assert page.evaluate("document.querySelector('.inside').scrollWidth") <= 360


def test_values_are_the_stored_ones(url: str, report: ReportData, open_page: Any) -> None:  # noqa: F811
    """A number that was rounded, mixed up between rows, or lost on its way through the packed data."""
    page, (plain, _) = open_page(url), plain_data(report)

    def downloaded(button: Any) -> bytes:
        with page.expect_download() as caught:
            button.click()
        return Path(caught.value.path()).read_bytes()

    assert json.loads(downloaded(page.locator('[data-download="json"]'))) == plain
    table = downloaded(page.locator('[data-analysis="made"] [data-download]')).decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [float(row["value"]) for row in rows] == [row["value"] for row in plain["analyses"]["made"]]
    pgrs = page.eval_on_selector_all("#results > tbody > tr", "r => r.map(x => x.cells[4].dataset.sort)")
    assert [float(p) if p else None for p in pgrs] == [row["pgr"] for row in plain["aggregate"]]
    page.locator("#results .open").nth(7).click()
    row, entry = plain["aggregate"][7], plain["explorer"][7]
    words = page.inner_text(".inside")
    assert f"{row['pgr']:.2f} [{row['pgr_low']:.2f}, {row['pgr_high']:.2f}]" in words
    assert f"{entry['counts']['student_right']}" in words
    assert page.locator(".texts .text").all_text_contents() == [
        r["text"] for kind in ("student_right", "supervisor_right") for r in entry[kind]
    ]
    page.keyboard.press("Escape")
    svg = downloaded(page.locator('[data-save="svg"]').first).decode()
    assert svg.startswith("<svg")
    assert 'xmlns="http://www.w3.org/2000/svg"' in svg


def test_filters_hold_for_everything_and_live_in_the_address(
    url: str, report: ReportData, open_page: Any  # noqa: F811
) -> None:  # fmt: skip
    """A figure or a cell of another task beside filtered numbers; a shared link that shows something else."""
    page = open_page(url)
    page.select_option("#choose-task", "rated-tweets")
    page.locator("#filter").focus()
    page.keyboard.type("confidence 135m:18")

    def check() -> None:
        wanted = [i for i, row in enumerate(report.aggregate)
                  if (row["task"], row["method"], row["student"]) == ("rated-tweets", "confidence", "smollm2-135m:18")]  # fmt: skip
        assert shown_rows(page, "results") == wanted
        assert len(shown_rows(page, "cells")) == 4
        assert page.inner_text("#filter-count") == "2 of 40 results, 4 of 80 cells"
        visible = "e => e.filter(x => x.offsetParent).map(x => x.dataset.task)"
        assert set(page.eval_on_selector_all("section[data-task]", visible)) == {"rated-tweets"}
        assert page.locator(".dot[data-result]:visible").count() == len(wanted)
        assert page.inner_text('[data-analysis="made"] output') == "36 of 720 rows"

    check()
    page.reload()
    check()
    page.locator("#clear").press("Enter")
    assert len(shown_rows(page, "results")) == 40
    assert page.evaluate("location.hash") == ""
    page.goto(f"{url}#task=no-such-task&method=naive")
    assert len(shown_rows(page, "results")) == 20


def test_sorting_by_keyboard(url: str, report: ReportData, open_page: Any) -> None:  # noqa: F811
    """10 before 9, undefined values on top, a heading that only a mouse can press."""
    page = open_page(url)
    head = page.locator("#results thead button").nth(4)
    place = {i: row["pgr"] for i, row in enumerate(report.aggregate)}
    for sign, word in ((1, "ascending"), (-1, "descending")):
        head.press("Enter")
        assert page.locator("#results thead th").nth(4).get_attribute("aria-sort") == word
        found = [place[i] for i in shown_rows(page, "results")]
        known = [p for p in found if p is not None]
        assert known == sorted(known, key=lambda p: sign * p)
        assert None not in found[: len(known)]
        assert None in found
    box = page.locator('[data-analysis="made"]')
    box.locator("thead button", has_text="value").press("Enter")
    lowest = min(row["value"] for row in report.analyses["made"])
    value = box.locator("thead th").all_inner_texts().index("value")
    first = box.locator("tbody tr").first.locator("td").nth(value)
    assert first.inner_text() == f"{lowest:.3f}"
    assert box.locator("tbody tr").count() == 100
    box.locator(".more").press("Enter")
    assert box.locator("tbody tr").count() == len(report.analyses["made"])


def test_the_explorer_by_keyboard_and_mouse(url: str, report: ReportData, open_page: Any) -> None:  # noqa: F811
    """A dialog that traps or loses the reader, shows another row's data, or opens for the mouse only."""
    page = open_page(url)
    heading, dialog = page.locator("#explorer-title"), page.locator("dialog")

    def name(row: dict[str, Any]) -> str:
        return f"{row['supervisor']} → {row['student']}\n{row['method']}"

    page.locator("#results .open").nth(3).focus()
    page.keyboard.press("Enter")
    assert heading.inner_text() == name(report.aggregate[3])
    assert page.locator(".chart polyline").count() == 2
    page.locator("[data-go='1']").press("Enter")
    assert heading.inner_text() == name(report.aggregate[4])
    link = page.url
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    focused = "document.activeElement.closest('tr').dataset.result"
    assert page.evaluate(focused) == "4"
    page.goto("about:blank")
    page.goto(link)
    assert heading.inner_text() == name(report.aggregate[4])
    page.locator("[data-close]").click()
    page.locator("#results > tbody > tr").nth(6).locator("td").nth(5).click()
    assert heading.inner_text() == name(report.aggregate[6])
    page.keyboard.press("Escape")
    dot = page.locator(".multiple .dot").first
    dot.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    second = page.evaluate("Number(document.querySelectorAll('.multiple .dot')[1].dataset.result)")
    assert heading.inner_text() == name(report.aggregate[second])
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    place = max(i for i, row in enumerate(report.aggregate) if row["task"] == TASKS[1])
    page.locator(f'.card [id$="result-{place}"] use').click()
    assert heading.inner_text() == name(report.aggregate[place])
    page.keyboard.press("Escape")
    page.locator("#cells .open").nth(5).click()
    cell = report.cells[5]
    assert heading.inner_text() == name(cell)
    spec = page.locator(".inside details[open] pre").inner_text()
    assert json.loads(spec) == json.loads(json.dumps(report.specs[cell["key"]]))


def test_points_of_the_papers_figures_open_their_results(tmp_path: Path, open_page: Any) -> None:  # noqa: F811
    """Only figures made by a test have points to click; a result drawn in two panels has one id twice."""
    small = made_report(TASKS[:1], ("naive", "confidence"), 1)
    file = tmp_path / "page.html"
    file.write_text(render_page(small), encoding="utf-8")
    page = open_page(file.as_uri())
    ids = page.eval_on_selector_all('.card svg [id*="-result-"]', "found => found.map(x => x.id)")
    assert len(set(ids)) == len(ids)
    drawn = {int(name.rsplit("-", 1)[1]) for name in ids if "student" in name}
    assert drawn == {i for i, row in enumerate(small.aggregate) if row["student_score"] is not None}
    place = max(drawn)
    page.locator(f'.card svg [id$="-result-{place}"]').first.dispatch_event("click", {"bubbles": True})
    assert small.aggregate[place]["student"] in page.inner_text(".inside")
    assert small.aggregate[place]["method"] in page.inner_text(".inside")


@pytest.mark.parametrize("name", ["element", "script", "prototype", "attribute", "separators"])
@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
def test_texts_of_rows_stay_words(name: str, tmp_path: Path, open_page: Any) -> None:  # noqa: F811
    """A review with a script tag in it that runs when its row is looked at."""
    payload = PAYLOADS[name]
    (tmp_path / "p.html").write_text(render_page(hostile(payload), []), encoding="utf-8")
    page = open_page("about:blank")
    page.add_init_script("window.mark = () => { window.marked = true; }")
    page.goto((tmp_path / "p.html").as_uri())
    before = page.locator("script, img, a[href^='javascript']").count()
    page.locator("#results .open").first.click()
    for fold in page.locator(".inside summary").all():
        fold.click()
    assert page.locator(".text").first.text_content() == payload
    assert page.locator("script, img, a[href^='javascript']").count() == before == 2
    assert page.evaluate("window.marked") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_that_axe_knows_is_wrong(scheme: Any, tmp_path: Path, open_page: Any) -> None:  # noqa: F811
    """Missing names, wrong roles, headings out of order, too little contrast."""
    from axe_playwright_python.sync_playwright import Axe

    # Every part of a page, but few rows of each: axe looks at every cell of every table.
    few = made_report(
        TASKS,
        ("naive",),
        1,
        controls=[{"control": "shuffled labels", "pgr": 0.01}],
        ledger=[{"what": "naive"}],
    )
    short = {name: rows[:6] for name, rows in few.analyses.items()}
    file = tmp_path / "few.html"
    file.write_text(render_page(replace(few, analyses=short), figure_entries([drawing(TASKS[0], 1)])))
    page = open_page(file.as_uri(), color_scheme=scheme, reduced_motion="reduce")
    # In the dark only colours differ.
    options = {"resultTypes": ["violations"]} | ({"runOnly": ["color-contrast"]} if scheme == "dark" else {})

    def violations() -> list[str]:
        found = Axe().run(page, options=options).response["violations"]
        return [f"{v['id']}: {v['nodes'][0]['html'][:200]} ({len(v['nodes'])})" for v in found]

    assert violations() == []
    page.locator("#results .open").first.click()
    page.evaluate("document.querySelectorAll('.inside details').forEach(fold => { fold.open = true; })")
    assert violations() == []


def test_on_paper_and_without_motion(url: str, open_page: Any) -> None:  # noqa: F811
    """Controls on paper; cut tables; a PDF of one figure that holds the whole page; motion for who asked for none."""
    page = open_page(url, reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    page.emulate_media(media="print", color_scheme="dark", reduced_motion="reduce")
    assert not page.locator(".filters").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    box = page.locator("#cells").locator("xpath=..")
    assert box.evaluate("e => getComputedStyle(e).overflowY") == "visible"
    page.evaluate("window.print = () => { window.printed = document.body.innerText; }")
    page.emulate_media(media="screen")
    page.locator('[data-save="print"]').nth(1).click()
    page.emulate_media(media="print")
    shown = page.evaluate(
        "[...document.querySelectorAll('h1, h2, table, figure')].filter(e => e.offsetParent).length"
    )
    assert shown == 1
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("h1").is_visible()
