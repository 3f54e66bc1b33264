"""Public data sets from the command line: original files in a folder, rows on the screen, checks, several tasks at once."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from test_cli import w2s

from weakstrong.tasks import parse_task

Tiny = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folders of two data sets with hand-written rows in the authors' form."""
    for name in ("cola", "wic"):
        (tmp_path / "data" / name).mkdir(parents=True)
    lines = [
        f"src\t{i % 2}\t{'' if i % 2 else '*'}\tThe w{i} w{7 * i % 50} went w{i % 11}." for i in range(240)
    ]
    (tmp_path / "data" / "cola" / "in_domain_train.tsv").write_text("\n".join(lines[:180]) + "\n")
    (tmp_path / "data" / "cola" / "in_domain_dev.tsv").write_text("\n".join(lines[180:]) + "\n")
    rows = [
        {
            "word": f"w{i}",
            "sentence1": f"one w{i} here",
            "sentence2": f"two w{i} w{i % 7}",
            "label": i % 2 == 0,
        }
        for i in range(200)
    ]
    (tmp_path / "data" / "wic" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "data"


def test_show_prints_rows_and_writes_ids(data: Path, tmp_path: Path) -> None:
    """Ids that cannot be joined with labels made elsewhere; a count or a rendering that is not the task's."""
    text = w2s(
        "tasks", "show", "wic", "--data-dir", data / "wic", "--out", tmp_path / "rows.csv", cwd=tmp_path
    ).stdout
    assert "200 rows" in text
    assert "Word: w0\nContext 1: one w0 here" in text
    shown = json.loads(
        w2s("tasks", "show", "wic", "--data-dir", data, "--rows", 2, "--json", cwd=tmp_path).stdout
    )
    assert (shown["rows"], shown["rows_per_class"], len(shown["shown"])) == (
        200,
        {"different": 100, "same": 100},
        2,
    )
    table = parse_task({"kind": "wic", "data_dir": str(data / "wic")}).load().table
    with (tmp_path / "rows.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [r["id"] for r in written] == table["id"].to_pylist()
    assert [r["text"] for r in written] == table["text"].to_pylist()


def test_check_finds_a_planted_leak(tmp_path: Path) -> None:
    """Checks that read another split than the one they name, or never warn."""
    frame = pl.DataFrame(
        {
            "text": [f"w{i} " * (20 if i % 2 else 3) for i in range(400)],
            "label": [str(i % 2) for i in range(400)],
        }
    )
    frame.write_csv(tmp_path / "long.csv")
    found = json.loads(w2s("tasks", "check", f"file:{tmp_path / 'long.csv'}", "--json", cwd=tmp_path).stdout)
    warned = {f["check"] for f in found if f["level"] == "warning"}
    assert "text length alone" in warned
    assert (
        "warning: text length alone"
        in w2s("tasks", "check", f"file:{tmp_path / 'long.csv'}", cwd=tmp_path).stdout
    )


def test_several_data_sets_in_one_run(data: Path, tiny_model: Tiny, tmp_path: Path) -> None:
    """A folder given to one task only, checks left out of the report, tasks never joined in one median."""
    model = tiny_model("llama", layers=2)
    arguments = (
        "--task",
        "cola,wic",
        "--data-dir",
        data,
        "--supervisor",
        f"{model}::1",
        "--student",
        model,
        "--seeds",
        2,
    )
    done = json.loads(w2s("run", *arguments, "--store", tmp_path / "store", "--json", cwd=tmp_path).stdout)
    assert {row["task"] for row in done["aggregate"]} == {"cola", "wic"}
    page = (tmp_path / "store" / "report.html").read_text()
    assert "Checks of the rows" in page
    assert "Over all tasks" in page
    across = json.loads(
        w2s("results", "--across", "--json", "--store", tmp_path / "store", cwd=tmp_path).stdout
    )
    assert {row["method"]: row["n_tasks"] for row in across} == {"naive": 2, "confidence": 2}
    again = w2s("run", *arguments, "--store", tmp_path / "store", cwd=tmp_path).stdout
    assert "\n0 steps computed" in again
    # The key follows the files' content, not the folder.
    shutil.move(data, tmp_path / "moved")
    moved = [tmp_path / "moved" if a is data else a for a in arguments]
    assert "\n0 steps computed" in w2s("run", *moved, "--store", tmp_path / "store", cwd=tmp_path).stdout


def test_a_folder_without_the_files_says_which_are_wanted(data: Path, tmp_path: Path) -> None:
    """'File not found' for a file that nobody named; a folder given to a task that takes none."""
    (data / "wic" / "train.jsonl").rename(data / "wic" / "wic-train.json")
    for command in ("plan", "run"):
        error = w2s(command, "--task", "wic", "--data-dir", data, cwd=tmp_path, code=1).stderr
        assert "train.jsonl" in error
        assert "wic-train.json" in error
    assert (
        "public data set"
        in w2s("plan", "--task", "movie-snippets", "--data-dir", data, cwd=tmp_path, code=1).stderr
    )
    assert not (tmp_path / "weakstrong-store").exists()
