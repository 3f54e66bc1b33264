"""What comes from data stays words: on the page, on a terminal, in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from weakstrong.cli.listings import print_table
from weakstrong.cli.student import predict_and_write
from weakstrong.redact import spreadsheet_safe, visible
from weakstrong.report.packing import unpacked
from weakstrong.report.page import ReportData, render_page
from weakstrong.report.table import result_table

Tiny = Callable[..., Path]
PAYLOADS = {
    "element": "<script>mark()</script><img src=x onerror=mark()>",
    "attribute": "\" onmouseover=mark() x='",
    "quote": "' autofocus onfocus=mark() x=\"",
    "script": "</script><script>mark()</script>",
    "title": "</title></style></pre></svg><svg onload=mark()>",
    "comment": "<!--<script>",
    "cdata": "]]><x onclick=mark()>",
    "url": "javascript:mark()",
    "template": "{{ 7*7 }}{% raw %}${mark()}`",
    "entity": "&lt;img src=x onerror=mark()&gt;&#60;b&#62;",
    "separators": "\u2028mark()\u2029\u0085//",
    "direction": "\u202e)(kram\u202c",
    "control": "\x00\x1b]52;c;bWFyaw==\x07\x08",
    "unpaired": "<a href=\"javascript:mark()\"><textarea><noscript><template>",
    "prototype": "__proto__",
    "formula": "=HYPERLINK(\"http://x\",A1)",
    "math": "$\\frac{a}{b}$ \\href{javascript:mark()}{x}",
}  # fmt: skip


def hostile(payload: str) -> ReportData:
    """A report in which ``payload`` stands in every text, name and key."""
    names = {n: f"{n}{payload}" for n in ("task", "supervisor", "student", "method", "regime")}
    scores: dict[str, Any] = {
        "pgr": 0.5,
        "pgr_low": 0.4,
        "pgr_high": 0.6,
        "pgr_defined": True,
        "pgr_reason": "",
    }
    for role, score in (("supervisor", 0.7), ("student", 0.8), ("ceiling", 0.9)):
        scores |= {f"{role}_score": score, f"{role}_low": score - 0.01, f"{role}_high": score + 0.01}
    row = names | scores | {"n_seeds": 1, "n_test": 100, "p_vs_naive": 0.01, "p_vs_naive_holm": 0.02}
    other = row | {
        "method": f"second{payload}", "pgr": None, "pgr_low": None, "pgr_high": None,
        "pgr_defined": False, "pgr_reason": payload, "uses_ground_truth": True,
    }  # fmt: skip
    cell = {k: v for k, v in row.items() if not k.endswith(("_low", "_high"))} | {
        "seed": 0,
        "status": "failed",
    }
    cell |= {"key": payload, "error": f"{payload}{payload}"}
    across = names | {
        "pgr_median": 0.5, "pgr_median_low": 0.4, "pgr_median_high": 0.6, "pgr_summed": 0.5, "n_defined": 2,
        "n_tasks": 2, "n_better": 1, "n_worse": 1, "wilcoxon_p_holm": 0.5, "sign_p": 0.5,
    }  # fmt: skip
    facts = {"parameters": 10, "flops_per_token": 1e6, "licence": payload, "source": payload}
    finding = {
        "task": payload,
        "seed": 0,
        "check": payload,
        "message": payload,
        "examples": [payload, payload],
    }
    shown = {
        "id": payload,
        "text": payload,
        "other": payload,
        "truth": payload,
        "supervisor": payload,
        "student": payload,
    }
    entry = names | {
        "keys": [payload], "seeds": [0], "seed": 0, "note": payload, "steps": [payload],
        "curve": {"unit": payload, "lines": [{"seed": 0, "points": [[1, 0.5], [2, 0.6]], "best": 2}]},
        "counts": {"both_right": 1, "student_right": 1, "supervisor_right": 1, "both_wrong": 1},
        "student_right": [shown], "supervisor_right": [shown],
    }  # fmt: skip
    measured = names | {
        "analysis": payload,
        "measure": payload,
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        payload: payload,
    }
    return ReportData(
        explorer=[entry], analyses={payload: [measured]}, ledger=[{payload: payload}], controls=[{payload: [payload]}],
        title=payload, aggregate=[row, other], across=[across], cells=[cell, cell | {"status": payload}],
        models={names["student"]: facts, names["supervisor"]: facts, payload: facts},
        specs={payload: {payload: [payload, {payload: payload}]}},
        provenance=[{"step": payload, "key": payload, "version": payload, "seconds": 1.0, payload: payload}],
        experiment={payload: payload}, warnings=[payload],
        findings=[finding | {"level": "warning"}, finding | {"level": payload}], version=payload,
    )  # fmt: skip


class Structure(HTMLParser):
    """The tags of a page in order, each with the names of its attributes and what of them can act.

    Of figures it keeps only which tags and attributes there are: longer words leave room for fewer ticks.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.drawn: set[str] = set()
        self.scripts: list[str] = []
        self.words, self._script, self._figure = "", False, False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._figure = self._figure or tag == "svg"
        links = [str(v) for n, v in attrs if n in ("href", "src", "xlink:href")]
        if self._figure:
            self.drawn |= {tag, *(n for n, _ in attrs), *(v for v in links if not v.startswith("#"))}
            return
        acting = sorted(f"{n}={v}" for n, v in attrs if n in ("style", "id", "type", "http-equiv"))
        named = (
            re.sub("open=[0-9a-f]{10}", "open=", text) for text in (*acting, *links)
        )  # a digest of the names
        self.tags.append((tag, *(n for n, _ in attrs), *named))
        self._script = tag == "script"
        self.scripts += [""] * self._script

    def handle_endtag(self, tag: str) -> None:
        if self._figure:
            self._figure = tag != "svg"
        else:
            self.tags.append((f"/{tag}",))
        self._script = self._script and tag != "script"

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment",))

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[-1] += data
        else:
            self.words += data


@pytest.fixture(scope="module")
def plain() -> Structure:
    """The page of words that are none of HTML's."""
    return Structure(render_page(hostile("x" * 40)))


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # names longer than a figure is wide
@pytest.mark.parametrize("name", PAYLOADS)
def test_data_add_nothing_to_the_page_but_words(name: str, plain: Structure) -> None:
    """An element, an attribute, a comment, a link or a script of the page that came from the data."""
    payload = (
        f"{PAYLOADS[name]:<40}"  # as long as that of the plain page, for long words have a class of their own
    )
    page = Structure(render_page(hostile(payload)))
    assert page.tags == plain.tags
    assert page.drawn <= plain.drawn
    assert page.scripts[1:] == plain.scripts[1:]
    data = unpacked(json.loads(page.scripts[0]))
    assert data["title"] == payload
    assert data["cells"][0]["error"] == 2 * payload
    assert not re.search(r"[<>&\u2028\u2029]", page.scripts[0])
    if payload.isprintable():
        assert payload in page.words


def test_the_page_may_load_and_run_nothing_else() -> None:
    """The second lock: were an element to slip in, the browser would not run it."""
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', render_page(hostile("x")))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-[\w+/=]+'", rules["script-src"])


# --- the terminal


@pytest.mark.parametrize(
    "text", [*PAYLOADS.values(), "[bold]x[/]", "[/nothing]", "[link=file:///etc/passwd]x[/link]"]
)
def test_names_are_no_markup_and_no_escape_sequences(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that ends the command with a traceback, makes a link, or writes the reader's clipboard."""
    from rich.console import Console

    print_table([{"name": text}], ["name"])
    Console(width=400).print(result_table(hostile(text).aggregate))
    shown = capsys.readouterr().out
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    assert visible(text)[:8].strip() in shown


# --- the spreadsheet


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"), ("-x", "'-x"),
     ("\t=1", "'\t=1"), ("-1", "-1"), ("+0.5", "+0.5"), ("-", "-"), ("1e-3", "1e-3"), (-0.5, -0.5), (None, None)],
)  # fmt: skip
def test_formulas_become_words(value: object, wanted: object) -> None:
    """A cell that calculates, or a number or a class called "-" that is no longer one."""
    assert spreadsheet_safe(value) == wanted


def test_a_models_class_names_are_no_formulas_in_csv(tiny_model: Tiny, tmp_path: Path) -> None:
    """Class names come from the model's config.json, and predictions are opened in a spreadsheet."""
    from weakstrong.models._load import load_classifier
    from weakstrong.models.base import parse_model

    names = ('=HYPERLINK("http://x")', "+")
    network, tokenizer = load_classifier(parse_model(str(tiny_model("llama"))), names, "auto", 0.0, 0)
    network.save_pretrained(tmp_path / "student")
    tokenizer.save_pretrained(tmp_path / "student")
    (tmp_path / "rows.csv").write_text("text\n" + "\n".join(f"w{i} w{2 * i}" for i in range(20)))
    for form in ("csv", "json"):
        predict_and_write(tmp_path / "student", tmp_path / "rows.csv", "text", form, tmp_path / form, "cpu")
    labels = {row["label"] for row in csv.DictReader(io.StringIO((tmp_path / "csv").read_text()))}
    exact = {row["label"] for row in json.loads((tmp_path / "json").read_text())}
    assert labels == {f"'{label}" if label.startswith("=") else label for label in exact}
    assert names[0] in exact
