"""The command, as a user types it: main job, practitioner's job, looks, and bad input. Tiny models, real processes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

Tiny = Callable[..., Path]
CELL_KEYS = {
    *("task", "supervisor", "student", "method", "regime", "seed"),
    *("supervisor_score", "student_score", "ceiling_score", "pgr", "status", "key"),
}
AGGREGATE_KEYS = {
    *("task", "supervisor", "student", "method", "regime", "n_seeds", "n_test"),
    *("supervisor_score", "student_score", "ceiling_score"),
    *("pgr", "pgr_low", "pgr_high", "pgr_defined", "p_vs_naive"),
}


def w2s(*arguments: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command offline in a folder of its own."""
    done = subprocess.run(
        [sys.executable, "-c", "from weakstrong.cli import main; main()", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"WEAKSTRONG_OFFLINE": "1", "CI": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def table(tmp_path: Path, rows: Callable[..., Any]) -> Path:
    """Texts with a class name, a noisy weak label, and an id."""
    texts, labels = rows(160, seed=3)
    weak = [1 - y if i % 7 == 0 else y for i, y in enumerate(labels)]
    frame = pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(160)],
            "body": [f"{t} {i % 9}" for i, t in enumerate(texts)],
            "stars": [("bad", "good")[y] for y in labels],
            "guess": [("bad", "good")[y] for y in weak],
            "checked": [("bad", "good")[y] if i < 40 else None for i, y in enumerate(labels)],
        }
    )
    frame.write_csv(tmp_path / "texts.csv")
    return tmp_path / "texts.csv"


def axes(table: Path, supervisor: object, student: object) -> list[object]:
    """Flags of a small experiment on the user's rows."""
    columns = ["--text", "body", "--label", "stars"]
    models = ["--supervisor", supervisor, "--student", student]
    return ["--task", f"file:{table}", *columns, *models, "--seeds", 2, "--store", "s"]


def test_main_job_on_a_users_file(table: Path, tiny_model: Tiny, tmp_path: Path) -> None:
    """The whole path from flags to page must hold: keys a machine reads, nothing computed twice, equal looks."""
    models = tiny_model("llama", layers=1), tiny_model("llama", layers=4)
    flags = axes(table, *models)
    first = json.loads(w2s("run", *flags, "--json", cwd=tmp_path).stdout)
    assert len(first["cells"]) == 4
    assert all(set(c) >= CELL_KEYS and c["status"] == "done" for c in first["cells"])
    assert all(set(r) >= AGGREGATE_KEYS and r["n_seeds"] == 2 for r in first["aggregate"])
    assert Path(tmp_path, first["page"]).read_text().startswith("<!doctype html>")
    again = w2s("run", *flags, cwd=tmp_path)
    assert "0 steps computed" in again.stdout
    assert json.loads(w2s("results", "--store", "s", "--json", cwd=tmp_path).stdout) == first["cells"]
    listed = list(
        csv.DictReader(io.StringIO(w2s("results", "--store", "s", "--format", "csv", cwd=tmp_path).stdout))
    )
    assert [r["key"] for r in listed] == [c["key"] for c in first["cells"]]
    plan = json.loads(w2s("plan", *flags, "--json", cwd=tmp_path).stdout)
    assert plan["n_cells"] == 4
    assert all(s["stored"] == s["total"] for s in plan["steps"])
    status = json.loads(w2s("status", "--store", "s", "--json", cwd=tmp_path).stdout)
    assert (status["done"], status["missing"], status["failed"]) == (4, 0, 0)
    drawn = json.loads(
        w2s("figures", "fig3", "fig8", "--store", "s", "--format", "svg", "--json", cwd=tmp_path).stdout
    )
    assert [figure["name"] for figure in drawn] == ["fig3", "fig8"]
    assert all(Path(tmp_path, figure["path"]).read_text().startswith("<svg") for figure in drawn)
    assert (tmp_path / "figures/captions.md").read_text().count("2 seeds") == 2
    assert "recipes/fig18" in w2s("figures", "fig18", "--store", "s", cwd=tmp_path, code=1).stderr
    w2s("report", "--store", "s", "-o", "page.html", cwd=tmp_path)
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_finetune_regime(table: Path, tiny_model: Tiny, tmp_path: Path) -> None:
    """Both regimes must end in the same tables; finetuning goes through other steps."""
    flags = axes(table, tiny_model("bert", layers=1), tiny_model("llama", layers=2))
    done = json.loads(w2s("run", *flags, "--regime", "finetune", "--json", cwd=tmp_path).stdout)
    assert {c["regime"] for c in done["cells"]} == {"finetune"}
    assert all(c["status"] == "done" for c in done["cells"])


def test_weak_labels_of_the_file_as_supervisor(table: Path, tiny_model: Tiny, tmp_path: Path) -> None:
    """Labels that come with the rows must be scored as they are: one in seven is wrong."""
    flags = axes(table, "file", tiny_model("llama", layers=2))
    done = json.loads(w2s("run", *flags, "--weak-label", "guess", "--json", cwd=tmp_path).stdout)
    assert all(c["supervisor_score"] == pytest.approx(6 / 7, abs=0.15) for c in done["cells"])


@pytest.mark.parametrize("regime", ["finetune", "probe"])
def test_practitioner_gets_an_ordinary_model(
    table: Path, tiny_model: Tiny, tmp_path: Path, regime: str
) -> None:
    """A student that only our own code can load, or whose pipeline scores differ from w2s predict, is of no use."""
    from transformers import pipeline

    options = [
        "--text",
        "body",
        "--weak-label",
        "guess",
        "--label",
        "checked",
        "--student",
        tiny_model("llama"),
    ]
    done = w2s(
        "train",
        "--data",
        table,
        *options,
        "--regime",
        regime,
        "--out",
        "student",
        "--store",
        "s",
        "--json",
        cwd=tmp_path,
    )
    result = json.loads(done.stdout)
    assert result["rows"]["test"] >= 40
    assert result["score"]["low"] <= result["score"]["value"] <= result["score"]["high"]
    card = (tmp_path / "student" / "README.md").read_text()
    assert all(words in card for words in ("confidence", "texts.csv", "guess", "95 % interval"))
    ours = json.loads(w2s("predict", "student", table, "--text", "body", cwd=tmp_path).stdout)
    texts = pl.read_csv(table)["body"].to_list()
    classify = pipeline("text-classification", model=str(tmp_path / "student"), truncation=True, top_k=None)
    assert len(ours) == len(texts)
    for row, theirs in zip(ours, classify(texts, batch_size=1), strict=True):
        assert row["probabilities"] == pytest.approx({t["label"]: t["score"] for t in theirs}, abs=1e-4)
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].__getitem__)
    w2s("predict", "student", table, "--text", "body", "--format", "parquet", "-o", "p.parquet", cwd=tmp_path)
    assert pl.read_parquet(tmp_path / "p.parquet").columns == ["label", "probabilities"]
    taken = w2s("train", "--data", table, *options, "--out", "student", "--store", "s", cwd=tmp_path, code=1)
    assert "not empty" in taken.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--task", "movie-snipets"], "movie-snippets"),
        (["--method", "confidense"], "confidence"),
        (["--method", "confidence:a_max=2"], "a_max"),
        (["--method", "confidence:amax=0.5"], "amax"),
        (["--student", "smollm2-135"], "smollm2-135m"),
        (["--student", "smollm2-135m:31"], "30 layers"),
        (["--seeds", "many"], "3,4,7"),
        (["--seeds", "0"], "seeds"),
        (["--text", "body"], "file:PATH"),
        (["nowhere.yaml"], "does not exist"),
        (["--task", "file:nowhere.csv"], "does not exist"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(flags: list[str], words: str, tmp_path: Path) -> None:
    """A slip must end in one line that names it, not in a trace or a half-made store."""
    done = w2s("run", *flags, cwd=tmp_path, code=1)
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "task: movie-snippets\nsupervisors: [minilm-l6]\nstudents: [smollm2-135m]\nsplit: {train_row: 5}",
            "split.train_row",
        ),
        ("task: movie-snippets\nsupervisors: [minilm-l6]\nstudents: [smollm2-135m]\nseeds: [a]", "seeds.0"),
        ("task: [", "YAML"),
    ],
)
def test_bad_yaml_names_the_field(text: str, words: str, tmp_path: Path) -> None:
    """An unknown field or wrong type deep in a file must be found by its path."""
    (tmp_path / "e.yaml").write_text(text)
    assert words in w2s("plan", "e.yaml", cwd=tmp_path, code=1).stderr


def test_failed_cells_end_in_a_reason(table: Path, tiny_model: Tiny, tmp_path: Path) -> None:
    """Too few rows must fail with counts and exit code 1 before anything is kept; status must know why a step failed."""
    flags = axes(table, tiny_model("llama", layers=1), tiny_model("llama"))
    done = w2s("run", *flags, "--train-rows", 500, cwd=tmp_path, code=1)
    assert "too few rows" in done.stderr
    assert "Results" not in done.stdout
    assert "holds no experiment" in w2s("status", "--store", "s", cwd=tmp_path, code=1).stderr
    flags += ["--method", "naive", "--method", "consistency:view_of=paraphrase"]
    assert "needs a task with paraphrases" in w2s("run", *flags, cwd=tmp_path, code=1).stderr
    status = json.loads(w2s("status", "--store", "s", "--json", cwd=tmp_path).stdout)
    assert (status["done"], status["failed"]) == (2, 2)
    assert "needs a task with paraphrases" in status["errors"][0]


def test_lists_are_json(tmp_path: Path) -> None:
    """A machine reads these lists; a name or a number that is missing breaks it."""
    models = {
        m["name"]: m for m in json.loads(w2s("models", "smollm2-135m:8", "--json", cwd=tmp_path).stdout)
    }
    assert models["smollm2-135m:8"]["flops_per_token"] == 2 * (8 * 3_540_096 + 576)
    assert {"minilm-l6", "smollm2-135m", "gemma3-270m"} <= set(models)
    assert {m["name"] for m in json.loads(w2s("methods", "--json", cwd=tmp_path).stdout)} >= {
        "naive",
        "confidence",
    }
    assert {t["name"] for t in json.loads(w2s("tasks", "--json", cwd=tmp_path).stdout)} >= {
        "movie-snippets",
        "file",
    }


def test_help_and_plan_import_no_torch(tmp_path: Path) -> None:
    """Help that takes seconds is help nobody reads."""
    for arguments in (["--help"], ["plan", "--json"]):
        code = (
            f"import sys; sys.argv = ['w2s', *{arguments}]\n"
            "from weakstrong.cli import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)
