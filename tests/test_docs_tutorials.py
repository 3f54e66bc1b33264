"""The commands of the tutorials, as they stand there, on tiny models and few rows."""

from __future__ import annotations

import csv
import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from documented import ROOT, blocks, shell_lines, titled, words

from weakstrong.cli.app import app
from weakstrong.methods import METHODS, _own

Tiny = Callable[..., Path]


def told(page: str) -> list[list[str]]:
    """The commands of a tutorial, in order."""
    lines = [line for b in blocks(ROOT / "docs" / page) if b.language == "sh" for line in shell_lines(b.body)]
    return [words(line) for line in lines]


def follow(command: list[str]) -> None:
    """Do what a reader's shell would do, in this process: starting Python a dozen times takes longer than all the rest."""
    if command[0] == "python":
        runpy.run_path(command[1], run_name="__main__")
    else:
        assert command[0] == "w2s"
        app(command[1:], standalone_mode=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: Any) -> Path:
    """A fresh folder to work in, without a terminal and without the network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI", "1")
    monkeypatch.setitem(os.environ, "WEAKSTRONG_OFFLINE", "1")
    return tmp_path


def test_the_practitioners_way(
    folder: Path, tiny_model: Tiny, rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tutorial whose files do not fit together: columns, names, formats, flags."""
    texts, labels = rows(2500)
    spoken = {0: ("bad", "dull", ""), 1: ("good", "fun", "")}
    frame = {
        "id": [f"{i:05}" for i in range(2500)],
        "text": [f"{t} {spoken[y][i % 3]}" for i, (t, y) in enumerate(zip(texts, labels, strict=True))],
        "label": labels,
    }
    pl.DataFrame(frame).write_csv("rows.csv")
    Path("label.py").write_text(titled("tutorials/practitioner.md", "label.py"))
    show, *rest = told("tutorials/practitioner.md")
    assert show == ["w2s", "tasks", "show", "movie-snippets", "--rows", "0", "--out", "rows.csv"]
    experiment = rest.pop()
    assert experiment[:2] == ["w2s", "run"]
    for command in rest:
        more = ["--student", str(tiny_model("llama"))] if command[:2] == ["w2s", "train"] else []
        follow([*command, *more])
    assert (folder / "student" / "model.safetensors").is_file()
    with open("new.csv", newline="") as new, open("predictions.csv", newline="") as predicted:
        wanted, found = list(csv.DictReader(new)), list(csv.DictReader(predicted))
    assert len(found) == len(wanted) == 200
    assert {row["label"] for row in found} <= {"negative", "positive"}
    assert sum(json.loads(found[0]["probabilities"]).values()) == pytest.approx(1, abs=1e-5)
    experiment[experiment.index("--student") + 1] = str(tiny_model("llama"))
    follow(["w2s", "plan", *experiment[2:]])


def test_the_researchers_way(
    folder: Path, tiny_model: Tiny, rows: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A tutorial whose experiment is not valid, or whose commands look at another store."""
    texts, labels = rows(300)
    pl.DataFrame({"text": [f"{t} w{i % 50}" for i, t in enumerate(texts)], "label": labels}).write_csv(
        "rows.csv"
    )
    Path("trimmed.py").write_text(titled("extend.md", "trimmed.py"))
    text = titled("tutorials/researcher.md", "small.yaml")
    changes = {
        '"smollm2-135m:2"': str(tiny_model("llama", layers=1)),
        '"smollm2-135m:8"': str(tiny_model("llama")),
        "train_rows: 300": "train_rows: 60",
        "validation_rows: 80": "validation_rows: 20",
        "test_rows: 400": "test_rows: 60",
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    Path("small.yaml").write_text(text)
    quickstart, show, *rest = told("tutorials/researcher.md")
    assert quickstart == ["w2s", "run"]
    assert show[:3] == ["w2s", "tasks", "show"]
    try:
        for command in rest:
            if "--student" in command:
                command[command.index("--student") + 1] = str(tiny_model("llama", layers=2))
            follow(command)
            assert capsys.readouterr().out
        code = [b.body for b in blocks(ROOT / "docs/tutorials/researcher.md") if b.language == "python"]
        assert code
        for body in code:
            exec(compile(body, "researcher.md", "exec"), {})
    finally:
        METHODS.forget("trimmed")
        _own._loaded.pop("trimmed", None)
    assert (folder / "small.html").stat().st_size > 10_000
