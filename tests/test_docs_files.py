"""The files that the documentation shows for extending the package, run as they stand there."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from documented import ROOT, blocks, titled

import weakstrong
from weakstrong import steps
from weakstrong.analyses import ANALYSES
from weakstrong.data import Split
from weakstrong.executors.base import EXECUTORS, Session
from weakstrong.methods import METHODS, _own
from weakstrong.models import MODELS, card, parse_model
from weakstrong.models.base import model_folder
from weakstrong.registry import Registry
from weakstrong.results import Results
from weakstrong.schedule import run_steps
from weakstrong.store import Store
from weakstrong.tasks import TASKS, parse_task

PAGE = "extend.md"
Tiny = Callable[..., Path]
REGISTRIES: dict[str, Registry[Any]] = {
    "tasks": TASKS, "models": MODELS, "executors": EXECUTORS, "analyses": ANALYSES,
}  # fmt: skip


@pytest.fixture
def contributed(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``contributed(title, **changes)``: register a file of the page as if it lay in the package."""
    done: list[tuple[Registry[Any], str, str]] = []

    def add(title: str, **changes: tuple[str, str]) -> Any:
        folder, file = title.split("/")[1:]
        text = titled(PAGE, title)
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / file
        path.write_text(text)
        module_name = f"weakstrong.{folder}.{path.stem}"
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        name = path.stem.replace("_", "-")
        done.append((REGISTRIES[folder], name, module_name))
        spec.loader.exec_module(module)
        return REGISTRIES[folder].get(name)

    yield add
    for registry, name, module_name in done:
        registry.forget(name)
        del sys.modules[module_name]


@pytest.fixture
def table(tmp_path: Path, rows: Callable[..., Any]) -> Path:
    """The user's rows, unlike each other."""
    texts, labels = rows(160, seed=3)
    frame = pl.DataFrame({"text": [f"{t} w{i % 50}" for i, t in enumerate(texts)], "label": labels})
    frame.write_csv(tmp_path / "rows.csv")
    return tmp_path / "rows.csv"


def run(table: Path, tiny_model: Tiny, store: Path, **more: Any) -> Results:
    """A small experiment: one seed, probes."""
    values = {
        "task": {"kind": "file", "path": str(table), "label": "label"},
        "supervisors": [str(tiny_model("llama", layers=1))],
        "students": [str(tiny_model("llama", layers=4))],
        "methods": ["naive"],
        "seeds": 1,
    }
    return weakstrong.run(values | more, store=store)


def done(results: Results) -> list[float]:
    """Scores of the students; every cell has one."""
    assert [c["error"] for c in results.cells] == [None] * len(results.cells)
    return [c["student_score"] for c in results.cells]


def test_the_method_trims_and_runs(table: Path, tiny_model: Tiny, tmp_path: Path) -> None:
    """A documented method that does not load, or whose loss is not what its words say."""
    import torch

    own = tmp_path / "trimmed.py"
    own.write_text(titled(PAGE, "trimmed.py"))
    try:
        results = run(table, tiny_model, tmp_path / "s", methods=["naive", f"{own}:share=0.4"])
        assert len(done(results)) == 2
        method = METHODS.get("trimmed")(share=0.25)
        logits_BC = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0], [1.0, 0.0]])
        weak_BC = torch.tensor([[1.0, 0.0]] * 4)
        loss_B = method.objective(logits_BC, weak_BC, progress=0.5, prior_C=weak_BC.mean(0))
        plain_B = torch.nn.functional.cross_entropy(logits_BC, weak_BC, reduction="none")
        assert loss_B.tolist() == pytest.approx([*plain_B[:1].tolist(), 0.0, *plain_B[2:].tolist()])
    finally:
        METHODS.forget("trimmed")
        _own._loaded.pop("trimmed", None)


def test_the_task_is_dealt_without_straddling(
    contributed: Callable[..., Any], tiny_model: Tiny, tmp_path: Path
) -> None:
    """A documented task whose rows are refused, unbalanced or given away by their groups."""
    contributed("weakstrong/tasks/sums.py")
    loaded = parse_task({"kind": "sums", "up_to": 12}).load()
    frame = pl.from_arrow(loaded.table)
    assert isinstance(frame, pl.DataFrame)
    for text, label in frame.select("text", "label").iter_rows():
        a, _, b, _, total = text.split()
        assert (int(a) + int(b) == int(total)) == (loaded.classes[label] == "right")
    assert frame.group_by("group").agg(pl.col("label").sum())["label"].unique().to_list() == [1]
    values = {"task": {"kind": "sums", "up_to": 12}, "supervisors": [str(tiny_model("llama", layers=1))],
              "students": [str(tiny_model("llama", layers=4))], "methods": ["naive"], "seeds": 1}  # fmt: skip
    assert len(done(weakstrong.run(values, store=tmp_path / "s"))) == 1


def test_the_model_has_the_counts_of_its_weights(
    contributed: Callable[..., Any], tiny_model: Tiny, index: Any
) -> None:
    """A documented entry that fetches nothing, or counts of which cards and estimates are wrong."""
    from safetensors.numpy import load_file

    folder = tiny_model("bert", layers=2)
    files = {f"tiny_words/model/{p.name}": p.read_bytes() for p in folder.iterdir()}
    index.files["tiny_words-1.0-py3-none-any.whl"] = index.make_zip(files)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    entry = contributed("weakstrong/models/tiny_words.py", digest=("SHA-256 of model.safetensors", digest))
    assert not entry.cached()
    spec = parse_model("tiny-words:1")
    weights = load_file(model_folder(spec) / "model.safetensors")
    assert entry.cached()
    layers = [sum(w.size for n, w in weights.items() if f"encoder.layer.{i}." in n) for i in range(2)]
    embeddings = sum(
        w.size for n, w in weights.items() if "embeddings.weight" in n or "_embeddings.weight" in n
    )
    norm = sum(w.size for n, w in weights.items() if "embeddings.LayerNorm" in n)
    assert (layers, embeddings, norm) == (
        [entry.layer_parameters] * 2, entry.embedding_parameters, entry.other_parameters,
    )  # fmt: skip
    assert card(spec).parameters == layers[0] + embeddings + norm


def test_the_analysis_measures_what_it_says(table: Path, tiny_model: Tiny, tmp_path: Path) -> None:
    """The file on the page, read from a store, against the predictions themselves."""
    results = run(table, tiny_model, tmp_path / "s", seeds=2)
    done(results)
    found = {(r["arm"], r["where"]): r for r in results.analysis("agreement") if r["measure"] == "agreement"}
    equal, chosen = [], []
    for _, made in results._cells:
        frames = [
            pl.read_parquet(results.store.open(s) / "correct.parquet").sort("id")
            for s in (made.supervisor, made.student)
        ]
        chosen.append(~frames[0]["correct"].to_numpy().astype(bool))
        equal.append(frames[0]["guess"].to_numpy() == frames[1]["guess"].to_numpy())
    wrong = np.array(chosen)
    row = found["student", "supervisor wrong"]
    assert row["rows"] == wrong.sum() > 0
    assert row["value"] == pytest.approx(np.array(equal)[wrong].mean())


def test_the_executor_gives_the_results_of_local(
    contributed: Callable[..., Any], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A documented executor that loses work, or hangs on its pipes."""
    monkeypatch.setenv("PYTHONPATH", str(Path(weakstrong.__file__).parent.parent))
    contributed("weakstrong/executors/command.py")
    dealt = steps.split(
        steps.load(parse_task({"kind": "file", "path": str(table), "label": "label"})), Split()
    )
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    run_steps([dealt], here)
    with Session("command:prefix=nice -n 1") as session:
        report = run_steps([dealt], there, session=session)
    assert (report.computed, report.failed) == (2, {})
    assert there.record(dealt)["files"] == here.record(dealt)["files"]


def test_the_executor_tells_of_a_death(contributed: Callable[..., Any], tmp_path: Path) -> None:
    """A command that cannot start the work must not look like an answer, nor wait for ever."""
    contributed("weakstrong/executors/command.py")
    store = Store(tmp_path / "s")
    with Session("command:prefix=false") as session:
        report = run_steps([steps.load(parse_task("movie-snippets"))], store, session=session)
    (words,) = report.failed.values()
    assert "exit code 1" in words


@pytest.mark.parametrize("page", [PAGE, "methods.md"])
def test_every_python_block_is_whole(page: str) -> None:
    """A fragment that a reader cannot save and run."""
    found = [b.body for b in blocks(ROOT / "docs" / page) if b.language == "python"]
    assert found
    for body in found:
        # The site shows a file of the package in place of a line of this form.
        shown = re.fullmatch(r'--8<-- "(.+)"\n', body)
        text = (ROOT / shown[1]).read_text(encoding="utf-8") if shown else body
        assert any(isinstance(node, ast.ClassDef) for node in ast.parse(text).body), body
