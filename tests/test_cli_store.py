"""`w2s store` on a store that a real (tiny) experiment filled, as a user types it."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import weakstrong
from weakstrong.cli.app import app
from weakstrong.errors import StoreError
from weakstrong.store import Store

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any, rows: Any) -> Path:
    """A folder with a store ``s`` that holds one finished experiment, and the experiment's file ``e.json``."""
    folder = tmp_path_factory.mktemp("filled")
    texts, labels = rows(120, seed=3)
    lines = [
        "text,label",
        *(f"{t} {i % 9},{('bad', 'good')[y]}" for i, (t, y) in enumerate(zip(texts, labels, strict=True))),
    ]
    (folder / "texts.csv").write_text("\n".join(lines))
    values = {
        "name": "tiny",
        "tasks": [{"kind": "file", "path": str(folder / "texts.csv")}],
        "supervisors": [str(tiny_model("llama", layers=1))],
        "students": [str(tiny_model("llama", layers=2))],
        "methods": ["naive"],
        "seeds": [0],
    }
    (folder / "e.json").write_text(json.dumps(values))
    weakstrong.run(values, store=folder / "s")
    return folder


@pytest.fixture
def here(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(filled / "s", tmp_path / "s")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI", "1")
    return tmp_path


@pytest.fixture
def w2s() -> Run:
    def run(*arguments: object, code: int = 0) -> Any:
        done = CliRunner().invoke(app, list(map(str, arguments)))
        if isinstance(done.exception, StoreError):
            raise done.exception
        assert done.exit_code == code, (done.output, done.exception)
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return run


def paths(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_ls_says_what_is_there(here: Path, w2s: Run) -> None:
    """Counts that differ from the folders a user sees."""
    listed = w2s("store", "ls", "--store", "s", "--json")
    counts = {kind["name"]: kind["results"] for kind in listed["kinds"]}
    assert counts == {
        p.name: len(list(p.iterdir())) for p in (here / "s").iterdir() if p.is_dir() and p.name[0] != "."
    }
    assert counts["score"] == 3
    text = w2s("store", "ls", "--store", "s")
    assert "score" in text
    assert f"{sum(counts.values())} results" in text


def test_verify_sets_aside_and_the_same_run_mends(filled: Path, here: Path, w2s: Run) -> None:
    """Damage that is found and cannot be mended by the commands that are named."""
    before = w2s("results", "--store", "s", "--json")
    path = next((here / "s" / "score").glob("*/correct.parquet"))
    path.write_bytes(path.read_bytes()[:-4] + b"evil")
    found = w2s("store", "verify", "--store", "s", "--json", code=1)
    assert (found["damaged"], found["unsealed"]) == (1, 0)
    assert "correct.parquet" in found["results"][0]["words"]
    assert "would be moved" in w2s("store", "verify", "--store", "s", "--set-aside", "--dry-run", code=1)
    assert path.exists()
    w2s("store", "verify", "--store", "s", "--set-aside", code=1)
    assert not path.exists()
    assert "0 damaged" in w2s("store", "verify", "--store", "s")
    weakstrong.run(json.loads((filled / "e.json").read_text()), store=here / "s")
    assert w2s("results", "--store", "s", "--json") == before


def test_gc_keeps_the_experiment_and_removes_the_rest(here: Path, w2s: Run) -> None:
    """A command that deletes a user's results, or deletes in a dry run."""
    before = w2s("results", "--store", "s", "--json")
    kept = paths(here / "s")
    shutil.copytree(next((here / "s" / "score").iterdir()), here / "s" / "score" / ("0" * 64))
    (here / "s" / ".building" / f"score-{'0' * 16}-{'0' * 12}-0").mkdir()
    (here / "s" / ".locks" / f"{'0' * 64}.lock").touch()
    dirty = paths(here / "s")
    dry = w2s("store", "gc", "--store", "s", "--dry-run", "--json")
    assert paths(here / "s") == dirty
    done = w2s("store", "gc", "--store", "s", "--json")
    assert (
        [item["what"] for item in done["removed"]]
        == [item["what"] for item in dry["removed"]]
        == ["result", "leftover", "lock"]
    )
    assert paths(here / "s") == kept
    assert w2s("results", "--store", "s", "--json") == before
    assert "0 things removed" in w2s("store", "gc", "--store", "s")


@pytest.mark.parametrize("damage", ["half", "unknown field", "key"])
def test_gc_refuses_when_it_cannot_read_an_experiment(here: Path, w2s: Run, damage: str) -> None:
    """An experiment of another version, or half a file: all of its results would be deleted."""
    (path,) = (here / "s" / ".experiments").iterdir()
    text = path.read_text()
    if damage == "half":
        path.write_text(text[: len(text) // 2])
    elif damage == "unknown field":
        path.write_text(json.dumps(json.loads(text) | {"of_the_future": 1}))
    else:
        path.rename(path.with_name(f"{'a' * 64}.json"))
    before = paths(here / "s")
    with pytest.raises(StoreError, match="nothing is removed"):
        w2s("store", "gc", "--store", "s")
    assert paths(here / "s") == before


@pytest.mark.parametrize("full", [False, True])
def test_an_export_shows_the_same_results_elsewhere(here: Path, w2s: Run, full: bool) -> None:
    """A file for a colleague from which her `w2s results` and `w2s report` show something else, or nothing."""
    options = ["--full"] if full else []
    sent = w2s("store", "export", "-o", "r.tar", *options, "--store", "s", "--json")
    assert sent["experiments"] == 1
    w2s("store", "export", "-o", "r2.tar", *options, "--store", "s", "--dry-run")
    assert not os.path.exists("r2.tar")
    got = w2s("store", "import", "r.tar", "--store", "other", "--json")
    assert (got["results"], got["bytes"]) == (sent["results"], sent["bytes"])
    for look in (["results"], ["results", "--aggregate"]):
        assert w2s(*look, "--store", "other", "--json") == w2s(*look, "--store", "s", "--json")
    w2s("report", "--store", "other", "-o", "page.html")
    assert Path("page.html").read_text().startswith("<!doctype html>")
    assert "0 damaged" in w2s("store", "verify", "--store", "other")
    assert "0 results (" in w2s("store", "import", "r.tar", "--store", "other")
    if full:
        assert sum(k["results"] for k in w2s("store", "ls", "--store", "other", "--json")["kinds"]) == sum(
            k["results"] for k in w2s("store", "ls", "--store", "s", "--json")["kinds"]
        )


def test_an_export_of_what_never_ran_is_refused(here: Path, w2s: Run) -> None:
    """An empty file for a colleague, and exit 0."""
    recipe = Path(__file__).parent.parent / "recipes" / "controls.yaml"
    with pytest.raises(StoreError, match=r"holds nothing of .*controls.yaml yet; run it with w2s run"):
        w2s("store", "export", str(recipe), "-o", "r.tar", "--store", "s")
    assert not os.path.exists("r.tar")


def test_a_bundle_names_no_user_and_no_machine(here: Path, w2s: Run) -> None:
    """A file to be published that tells who made it, where and when it was packed."""
    w2s("store", "export", "-o", "r.tar", "--store", "s")
    with tarfile.open("r.tar") as tar:
        for member in tar.getmembers():
            assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
    assert os.uname().nodename.encode() not in Path("r.tar").read_bytes()


def test_a_store_that_is_not_there_is_not_made_by_looking(
    w2s: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typing error in --store that leaves empty stores behind and says that all is well."""
    monkeypatch.chdir(tmp_path)
    for command in (["ls"], ["verify"], ["gc"], ["export"], ["import", "x.tar", "--dry-run"]):
        with pytest.raises(StoreError, match="there is no store"):
            w2s("store", *command, "--store", "typo")
    assert not (tmp_path / "typo").exists()
    Store(tmp_path / "empty")
    with pytest.raises(StoreError, match="holds no experiment"):
        w2s("store", "export", "--store", "empty")
