"""The report page: it holds the data as given, and nothing in the data can break out of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from weakstrong.errors import DataError
from weakstrong.report.figures import fig3
from weakstrong.report.packing import unpacked
from weakstrong.report.page import ReportData, render_page

Rows = list[dict[str, Any]]
REASON = "the gap's interval [-0.004, 0.031] covers zero"
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \u2028 $x$ & 'q' \"d\""


def result(
    supervisor: str, student: str, method: str, scores: tuple[float, float, float], **more: object
) -> dict[str, Any]:
    low, mid, high = scores
    row: dict[str, Any] = {"task": "t", "supervisor": supervisor, "student": student, "method": method}
    row |= {"regime": "probe", "n_seeds": 5, "n_test": 2000}
    for role, score in zip(("supervisor", "student", "ceiling"), (low, mid, high), strict=True):
        row |= {f"{role}_score": score, f"{role}_low": score - 0.01, f"{role}_high": score + 0.01}
    pgr = (mid - low) / (high - low)
    row |= {"pgr": pgr, "pgr_low": pgr - 0.1, "pgr_high": pgr + 0.12, "pgr_defined": True, "pgr_reason": ""}
    return row | {"p_vs_naive": None, "p_vs_naive_holm": None} | more


def undefined(row: dict[str, Any], pgr: float | None = -2.2) -> dict[str, Any]:
    return row | {"pgr": pgr, "pgr_low": None, "pgr_high": None, "pgr_defined": False, "pgr_reason": REASON}


def cell(row: dict[str, Any], seed: int, **more: object) -> dict[str, Any]:
    names = ("task", "supervisor", "student", "method", "regime")
    scores = ("supervisor_score", "student_score", "ceiling_score", "pgr")
    key = f"{row['student']}-{row['method']}-{seed}"
    return {n: row[n] for n in (*names, *scores)} | {
        "seed": seed,
        "status": "done",
        "key": key,
        "error": None,
        **more,
    }


MODELS: dict[str, dict[str, Any]] = {
    name: {"parameters": int(flops / 2), "flops_per_token": flops, "licence": "MIT", "source": "pypi:x==1/m"}
    for name, flops in {"a": 4e7, "b:8": 1.1e8, "c": 2.4e8, "d": 1.3e9}.items()
}
ROWS: Rows = [
    result("a", "c", "naive", (0.70, 0.76, 0.85)),
    result("a", "c", "confidence", (0.70, 0.80, 0.85), p_vs_naive=0.0004, p_vs_naive_holm=0.0008),
    result("a", "d", "naive", (0.70, 0.77, 0.90)),
    result("a", "d", "confidence", (0.70, 0.84, 0.90), p_vs_naive=0.021, p_vs_naive_holm=0.042),
    result("b:8", "c", "naive", (0.75, 0.79, 0.85)),
    undefined(result("b:8", "c", "confidence", (0.75, 0.81, 0.85))),
    result("b:8", "d", "naive", (0.75, 0.80, 0.90)),
    result("b:8", "d", "confidence", (0.75, 0.86, 0.90)),
]


def report(rows: Rows = ROWS, seeds: int = 5, **more: Any) -> ReportData:
    cells = [cell(row, seed) for row in rows for seed in range(seeds)]
    fields: dict[str, Any] = {
        "title": "A ladder",
        "aggregate": rows,
        "cells": cells,
        "models": MODELS,
        "specs": {c["key"]: {"kind": "cell", "seed": c["seed"], "lr": 1e-3} for c in cells},
        "provenance": [{"step": "probe", "key": c["key"], "seconds": 1.5, "version": 2} for c in cells],
        "experiment": {"kind": "experiment", "seeds": list(range(seeds))},
        "warnings": ["No leak check was run."],
        "version": "0.1.0",
    }
    return ReportData(**(fields | more))


class Page(HTMLParser):
    """The elements and the texts of a page as a browser's parser splits them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tables: dict[str, list[list[tuple[str, str | None]]]] = {}
        self._table, self._open = "", ""
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._open = tag
        if tag == "script":
            self.scripts.append((found, ""))
        elif tag == "table":
            self._table = found.get("id") or "other"
            self.tables.setdefault(self._table, [])
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag == "td" or (tag == "th" and "data-sort" in found):
            self.tables[self._table][-1].append(("", found.get("data-sort")))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("table", "script", "style"):
            self._open = ""
        self._table = "" if tag == "table" else self._table

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            attrs, before = self.scripts[-1]
            self.scripts[-1] = (attrs, before + data)
        elif self._open != "style":
            self.words += data
            row = self.tables[self._table][-1:] if self._table else []
            if row and row[0]:
                row[0][-1] = ((row[0][-1][0] + data).strip(), row[0][-1][1])

    @property
    def data(self) -> Any:
        return next(unpacked(json.loads(text)) for attrs, text in self.scripts if attrs.get("id") == "data")


def test_embedded_data_equal_the_input() -> None:
    """Rounded, dropped or reordered values in the data that readers download."""
    data = report()
    found = Page(render_page(data)).data
    for name in (
        "title",
        "aggregate",
        "cells",
        "models",
        "specs",
        "provenance",
        "experiment",
        "warnings",
        "version",
    ):
        assert found[name] == getattr(data, name), name


def test_nothing_in_the_data_can_open_an_element() -> None:
    """``</script>`` in a name, error, warning or spec ran as code in the reader's browser."""
    clean = Page(render_page(report(ROWS[:2], seeds=1)))
    rows = [row | {"task": EVIL, "pgr_defined": False, "pgr_reason": EVIL} for row in ROWS[:2]]
    data = report(rows, seeds=1, title=EVIL, warnings=[EVIL], version=EVIL, experiment={EVIL: EVIL})
    bad = [cell(row, 0, status="failed", error=EVIL, key=EVIL) for row in rows]
    facts = {"licence": EVIL, "source": EVIL}
    data = ReportData(
        **{**vars(data), "cells": bad, "specs": {EVIL: {EVIL: EVIL}}, "models": {**MODELS, EVIL: facts}},
    )
    page = Page(render_page(data))
    assert len(page.scripts) == len(clean.scripts) == 2
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert page.data["cells"][0]["error"] == EVIL
    assert EVIL in page.words


def test_every_result_is_a_row_with_a_sorting_key() -> None:
    """A row cut from the table, or a column sorted as text: 10 before 9."""
    page = Page(render_page(report()))
    body = [row for row in page.tables["results"] if row]
    assert len(body) == len(ROWS)
    for cells, row in zip(body, ROWS, strict=True):
        words, keys = [text for text, _ in cells], [key for _, key in cells]
        assert words[:3] == [row["supervisor"], row["student"], row["method"]]
        assert keys[3] == (repr(row["pgr"]) if row["pgr_defined"] else "")
        assert [float(key or "nan") for key in keys[4:7]] == [
            row[f"{role}_score"] for role in ("supervisor", "student", "ceiling")
        ]
    heads = [attrs for tag, attrs in page.tags if tag == "th" and "aria-sort" in attrs]
    assert {attrs["aria-sort"] for attrs in heads} == {"none"}
    assert len([row for row in page.tables["cells"] if row]) == len(ROWS) * 5


def test_undefined_pgr_shows_its_reason_and_never_a_number() -> None:
    """The reader saw -2.20, or a bare dash."""
    page = Page(render_page(report()))
    (row,) = [r for r in page.tables["results"] if r and r[3][0].startswith("undefined")]
    assert row[3] == ("undefined" + REASON, "")
    assert f"the PGR of confidence is undefined ({REASON})" in page.words
    assert "-2.2" not in page.words
    assert "−220" not in page.words


def test_headline_is_the_first_pair_as_listed() -> None:
    """The best pair on top is a choice after the result."""
    words = Page(render_page(report())).words
    first = "With supervisor a and student c, confidence recovers 67 % [57, 79] of the gap"
    assert f"{first} between supervisor and ceiling; naive 40 % [30, 52]." in words
    others = [
        words.index(f"With supervisor {s} and student {t},")
        for s, t in (("a", "d"), ("b:8", "c"), ("b:8", "d"))
    ]
    assert [words.index(first), *others] == sorted([words.index(first), *others])
    worse = report([result("a", "c", "naive", (0.70, 0.65, 0.80))])
    assert "naive recovers −50 % [−60, −38]" in Page(render_page(worse)).words
    assert "worse than the supervisor" in Page(render_page(worse)).words


def test_several_tasks_and_regimes_are_kept_apart() -> None:
    """Probe and finetune results of one pair merged into one sentence or one line of a figure."""
    rows = [
        row | {"regime": regime, "task": task}
        for task in ("t", "u")
        for regime in ("probe", "finetune")
        for row in ROWS[:2]
    ]
    page = Page(render_page(report(rows)))
    for task in ("t", "u"):
        for regime in ("probe", "finetune"):
            assert page.words.count(f"On {task}, with supervisor a and student c ({regime}),") == 1
    titles = [ax.get_title(loc="left") for ax in fig3(rows, MODELS, "t").axes[::2]]
    assert titles == ["naive (probe)", "confidence (probe)", "naive (finetune)", "confidence (finetune)"]


def test_page_loads_nothing() -> None:
    """A font, script or picture from the network tells a third party who reads the report."""
    source = "https://example.com/model"
    text = render_page(report(models={**MODELS, "x": {"source": source}}))
    page = Page(text)
    assert source in page.words
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert (attrs.get(name) or "#").startswith("#"), (tag, name, attrs)
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
    assert not re.search(r"@import|url\((?!#)", text)
    outside = {u for u in re.findall(r"https?://[^\s\"'<\\]+", text) if u != source}
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_policy_allows_the_pages_own_script_only() -> None:
    """With a hash that does not fit, the page cannot sort; without one, any script would run."""
    page = Page(render_page(report()))
    (policy,) = [
        attrs["content"] or "" for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs
    ]
    (script,) = [text for attrs, text in page.scripts if not attrs]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_ids_are_unique() -> None:
    """Two figures with one id: the second is clipped by the first, links go to the wrong place."""
    rows = [row | {"task": task} for task in ("t", "u") for row in ROWS]
    page = Page(render_page(report(rows)))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {str(a["href"])[1:] for tag, a in page.tags if tag == "a"}
    assert links <= set(ids)


def test_same_data_same_page() -> None:
    """A date or a random id makes every report differ from the last."""
    assert render_page(report()) == render_page(report())


def test_a_thousand_cells_stay_under_five_megabytes() -> None:
    """Specs written twice, or figures with outlines, made pages that browsers choke on."""
    models = {f"m{i}": {"flops_per_token": 1e8 * 3**i} for i in range(5)}
    rows = [
        result(f"m{i}", f"m{j}", method, (0.6, 0.7, 0.8), task=f"task-{t}")
        for t in range(4)
        for i in range(5)
        for j in range(i, 5)
        for method in ("naive", "confidence", "bootstrapping", "entropy")
    ][:200]
    data = report(rows, models=models)
    specs = {
        f"{i:064x}": {"kind": "cell", "fields": {f"field_{j}": j / 7 for j in range(75)}} for i in range(1000)
    }
    cells = [c | {"key": key} for c, key in zip(data.cells, specs, strict=True)]
    steps = [
        {"step": "probe", "key": f"{i:064x}", "seconds": 1.0, "version": 1, "host": "h" * 80}
        for i in range(3000)
    ]
    text = render_page(ReportData(**{**vars(data), "specs": specs, "cells": cells, "provenance": steps}))
    assert len(cells) == 1000
    assert len(text.encode()) < 5_000_000


def test_empty_store_says_so() -> None:
    """No result yet is the first thing a new user sees; it must not be a traceback."""
    page = Page(render_page(ReportData("Nothing")))
    assert "Nothing has been measured yet" in page.words
    assert page.data["aggregate"] == []
    unfinished = [cell(ROWS[0], 0, status="failed", error="loss is nan", pgr=None, student_score=None)]
    words = Page(render_page(ReportData("Half", cells=unfinished))).words
    assert "No result yet: 1 cell listed, 0 finished" in words
    assert "loss is nan" in words
    assert "1 of 1 cells failed" in words


def test_warnings_and_weak_evidence_are_in_plain_sight() -> None:
    """A warning inside a closed fold, or three seeds that read like a result."""
    text = render_page(report([row | {"n_seeds": 3} for row in ROWS], warnings=["Chosen on the test set."]))
    section = text[text.index('<section class="warnings"') : text.index('id="glance-title"')]
    assert "Chosen on the test set." in section
    assert "8 of 8 results rest on fewer than 5 seeds" in section
    assert "<details" not in section


def test_numbers_that_are_not_finite_become_missing_and_are_named() -> None:
    """``NaN`` is not JSON: the browser's parser throws and the whole page is dead."""
    row = undefined(ROWS[0], float("nan")) | {"student_score": np.float32("inf"), "n_test": np.int64(2000)}
    page = Page(render_page(report([row], seeds=0)))
    assert page.data["aggregate"][0]["pgr"] is None
    assert page.data["aggregate"][0]["n_test"] == 2000
    assert "data.aggregate[0].student_score, data.aggregate[0].pgr" in page.words


def test_bad_rows_are_refused_by_name() -> None:
    """A KeyError from inside a template says nothing about whose row it is."""
    short = {name: value for name, value in ROWS[1].items() if name != "pgr_low"}
    with pytest.raises(DataError, match=r"aggregate\[1\] lacks pgr_low"):
        render_page(report(aggregate=[ROWS[0], short]))
    with pytest.raises(DataError, match=r"data\.experiment\.folder: found set"):
        render_page(report(experiment={"folder": {1}}))
    with pytest.raises(DataError, match=r"data\.experiment: the key 3 is int"):
        render_page(report(experiment={3: 1}))
