"""What lies behind a result, read from a store; and the page that follows a store while it grows."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from browsers import browser, open_page  # noqa: F401 (fixtures)
from conftest import toy_rows

import weakstrong
from weakstrong import explorer
from weakstrong.errors import ConfigError
from weakstrong.graph import Graph
from weakstrong.report.page import data_of_page
from weakstrong.results import Results, collect
from weakstrong.serve import PageServer, Watched, is_local
from weakstrong.store import Store

Tiny = Callable[..., Path]
ROWS = 160


@pytest.fixture(scope="module")
def values(tiny_model: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An experiment of one pair on the user's rows, with texts longer than the page shows."""
    texts, labels = toy_rows(ROWS, seed=3)
    file = tmp_path_factory.mktemp("rows") / "texts.csv"
    with open(file, "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "body", "stars"])
        writer.writerows(
            (f"r{i}", f"{text} {i} <b>" + " w1" * (200 * (i % 2)), ("bad", "good")[label])
            for i, (text, label) in enumerate(zip(texts, labels, strict=True))
        )
    return {
        "task": {"kind": "file", "path": str(file), "text": "body", "label": "stars", "id": "id"},
        "supervisors": str(tiny_model("llama", layers=1)), "students": str(tiny_model("llama", layers=4)),
        "methods": ["naive"], "seeds": 2,
    }  # fmt: skip


@pytest.fixture(scope="module")
def ran(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Results:
    return weakstrong.run(values, store=str(tmp_path_factory.mktemp("ran") / "store"))


def entry_of(results: Results) -> dict[str, Any]:
    (entry,) = data_of_page(results.page())["explorer"]
    return dict(entry)


def test_the_rows_are_those_on_which_they_differ(ran: Results, values: dict[str, Any]) -> None:
    """Another seed's predictions, a label joined by position, rows that were picked: compared with the files themselves."""
    entry, store = entry_of(ran), ran.store
    cell = ran.experiments[0].cells()[0]
    made = Graph().cell(cell)
    with open(values["task"]["path"]) as file:
        given = {row["id"]: row for row in csv.DictReader(file)}

    def guesses(fit: Any) -> dict[str, tuple[str, float]]:
        table = pq.read_table(store.open(fit) / "probabilities.parquet").to_pylist()
        found = {}
        for row in table:
            probs = [v for k, v in row.items() if k != "id"]
            probs = probs[0] if isinstance(probs[0], list) else probs
            found[row["id"]] = (("bad", "good")[probs[1] > probs[0]], max(probs))
        return found

    test = pq.read_table(store.open(made.ceiling) / "correct.parquet")["id"].to_pylist()
    weak, strong = guesses(made.supervisor_fit), guesses(made.student_fit)
    right = {arm: {i for i in test if found[i][0] == given[i]["stars"]}
             for arm, found in (("supervisor", weak), ("student", strong))}  # fmt: skip
    for kind, differ in (("student_right", right["student"] - right["supervisor"]),
                         ("supervisor_right", right["supervisor"] - right["student"])):  # fmt: skip
        assert entry["counts"][kind] == len(differ)
        wanted = sorted(differ, key=lambda i: hashlib.sha256(i.encode()).hexdigest())[: explorer.ROWS_EACH]
        assert [row["id"] for row in entry[kind]] == wanted
        for row in entry[kind]:
            body = given[row["id"]]["body"]
            assert row["text"] == (body if len(body) <= 400 else body[:400].rstrip() + "…")
            assert (row["truth"], row["supervisor"], row["student"]) == (
                given[row["id"]]["stars"], weak[row["id"]][0], strong[row["id"]][0])  # fmt: skip
            assert row["student_p"] == pytest.approx(strong[row["id"]][1], abs=5e-4)
    assert entry["student_right"] + entry["supervisor_right"]
    assert sum(entry["counts"].values()) == len(test)


def test_curves_and_steps_are_those_of_the_cells(ran: Results) -> None:
    """A curve of the supervisor, or of one seed for all; provenance of another cell."""
    entry = entry_of(ran)
    cells = ran.experiments[0].cells()
    assert entry["keys"] == [cell.key() for cell in cells]
    for line, cell in zip(entry["curve"]["lines"], cells, strict=True):
        fit = Graph().cell(cell).student_fit
        history = ran.store.record(fit)["summary"]["validation_agreement"]
        assert [y for _, y in line["points"]] == pytest.approx(history, abs=5e-5)
        assert line["points"][line["best"] - 1][1] == max(y for _, y in line["points"])
    first = Graph().cell(cells[0])
    assert {s.key for s in first.scores()} | {first.student_fit.key} <= set(entry["steps"])
    known = {record["key"] for record in ran.provenance()}
    assert set(entry["steps"]) <= known


def test_a_bundle_of_scores_has_a_page_without_texts(ran: Results, tmp_path: Path) -> None:
    """Results that somebody sent without texts end in a traceback, or in an empty page that does not say why."""
    store = Store(tmp_path / "s")
    for cell in ran.experiments[0].cells():
        for step in Graph().cell(cell).scores():
            target = Path(store.folder(step.name, step.key))
            target.parent.mkdir(exist_ok=True)
            if not target.exists():
                target.symlink_to(ran.store.open(step))
    entry = entry_of(collect(store, ran.experiments))
    assert entry["counts"] == entry_of(ran)["counts"]
    assert entry["student_right"] == entry["curve"]["lines"] == []
    assert "scores only" in entry["note"]


def test_a_page_of_many_results_shows_fewer_rows_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand long reviews make a page that no phone opens; the same rule must hold for every result."""
    found = [
        {kind: [{"id": f"{g}-{i}", "text": f"{g}-{kind}-{i}" + "x" * 380} for i in range(10)] for kind in explorer.KINDS}
        for g in range(300)
    ]  # fmt: skip
    explorer._within_budget(found)
    lengths = {len(entry[kind]) for entry in found for kind in explorer.KINDS}
    (each,) = lengths
    assert 1 <= each < 10
    assert 600 * each * 390 <= explorer.TEXT_BUDGET < 600 * (each + 1) * 520


# --- the server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[PageServer]:
    """A server of an empty store that follows it ten times a second."""
    watched = Watched(Store(tmp_path / "store"))
    server = PageServer(watched, "127.0.0.1", 0)
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}),
        threading.Thread(target=watched.follow, args=(0.1,)),
    ]
    for thread in threads:
        thread.start()
    yield server
    watched.stop()
    server.shutdown()
    for thread in threads:
        thread.join()
    server.server_close()


def ask(server: PageServer, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, str, Any]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body, answer.headers


def test_it_answers_get_of_two_addresses_to_its_own_names_only(served: PageServer) -> None:
    """A site in the reader's browser that points its name at 127.0.0.1 reads the results; a path reads a file."""
    status, body, headers = ask(served)
    assert status == 200
    assert "Nothing has been measured yet" in body
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask(served, "/digest?x=1")[0] == 200
    for path in ("/../etc/passwd", "/report.html", "/%2e%2e/"):
        assert ask(served, path)[0] == 404, path
    for method in ("POST", "HEAD", "PUT", "DELETE", "OPTIONS"):
        assert ask(served, method=method)[0] == 405, method
    for host in ("localhost", f"LOCALHOST:{served.server_port}", "127.0.0.1:1", "[::1]:80"):
        assert ask(served, Host=host)[0] == 200, host
    for host in (
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        "192.168.0.1",
    ):
        assert ask(served, Host=host)[0] == 403, host


def test_bound_to_all_addresses_it_knows_addresses_but_no_foreign_name() -> None:
    """Rebinding works against a server in the local network too."""
    server = PageServer.__new__(PageServer)
    server.host = "0.0.0.0"
    assert server.is_own("192.168.0.7:8000")
    assert server.is_own("[fe80::1]:80")
    assert not server.is_own("evil.example")
    assert [is_local(h) for h in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "my-host")] == [True] * 3 + [
        False
    ] * 2


def test_a_taken_port_is_named(served: PageServer) -> None:
    """A traceback of the socket says nothing about --port."""
    with pytest.raises(ConfigError, match=f"port {served.server_port}.*--port"):
        PageServer(served.watched, "127.0.0.1", served.server_port)


def test_the_open_page_follows_the_store(
    served: PageServer, values: dict[str, Any], open_page: Any, ran: Results  # noqa: F811
) -> None:  # fmt: skip
    """A page that stays as it was, or one that loses what its reader had typed, sorted and opened."""
    store = served.watched._store
    page = open_page(served.url)
    assert "Nothing has been measured yet" in page.inner_text("h1 ~ .lead")
    half = values | {"seeds": [0]}
    weakstrong.run(half, store=store)
    page.locator("#results > tbody > tr").wait_for(timeout=60_000)
    assert page.locator("#cells > tbody > tr").count() == 1
    page.locator("#filter").fill("naive")
    page.locator("#cells thead button").first.click()
    page.locator("#filter").focus()
    page.locator("details#provenance > summary").click()
    page.locator("#filter").focus()
    weakstrong.run(values, store=store)
    page.locator("#cells > tbody > tr").nth(1).wait_for(timeout=60_000)
    assert page.input_value("#filter") == "naive"
    assert page.evaluate("document.activeElement.id") == "filter"
    assert page.locator("#cells thead th").first.get_attribute("aria-sort") == "ascending"
    assert page.locator("details#provenance").get_attribute("open") is not None
    page.locator("#live", has_text="cells done, 0 missing").wait_for(timeout=10_000)
    page.locator("#results .open").first.click()
    aggregate = [r for r in collect(store).aggregate if r["n_seeds"] == 2]
    assert f"{aggregate[0]['student_score']:.3f}" in page.inner_text(".inside")


def test_ctrl_c_ends_it_cleanly(ran: Results) -> None:
    """A traceback, a thread that holds the process, or a warning that is missing."""
    command = [
        sys.executable,
        "-c",
        "from weakstrong.cli import main; main()",
        "serve",
        "--json",
        "--host",
        "0.0.0.0",
    ]
    process = subprocess.Popen([*command, "--store", ran.store.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env=os.environ)  # fmt: skip
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        port = int(said["url"].rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10):  # one that never asks anything
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "no password" in errors
    assert "Traceback" not in errors
    assert "stopped" in errors


def test_a_damaged_result_is_told_and_the_page_stays(ran: Results, tmp_path: Path) -> None:
    """One bad file must neither end the server nor go unsaid, nor stay on the page once it is mended."""
    shutil.copytree(ran.store.root, tmp_path / "store")
    score = Graph().cell(ran.experiments[0].cells()[0]).student
    folder, aside = tmp_path / "store" / "score" / score.key, tmp_path / "aside"
    whole = (folder / "correct.parquet").read_bytes()
    folder.rename(aside)
    watched = Watched(Store(tmp_path / "store"))
    before = watched.page
    assert (watched.news["done"], watched.news["missing"]) == (1, 1)
    (aside / "correct.parquet").write_bytes(b"x" + whole[1:])
    aside.rename(folder)
    thread = threading.Thread(target=watched.follow, args=(0.05,))
    thread.start()

    def wait(holds: Callable[[], bool]) -> None:
        until = time.monotonic() + 60
        while not holds() and time.monotonic() < until:
            time.sleep(0.02)
        assert holds()

    try:
        wait(lambda: "correct.parquet" in watched.news["error"])
        assert watched.page == before
        (folder / "correct.parquet").write_bytes(whole)
        wait(lambda: watched.news["done"] == 2)
        assert watched.news["error"] == ""
    finally:
        watched.stop()
        thread.join()
