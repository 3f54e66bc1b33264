"""The flat example and the pipeline are the same experiment."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from weakstrong.builders.data import ids_of
from weakstrong.data import Part, positions
from weakstrong.experiment import Experiment
from weakstrong.graph import Graph
from weakstrong.schedule import run_steps
from weakstrong.store import Store

EXAMPLE = Path(__file__).parents[1] / "examples" / "one_cell.py"
Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("one_cell", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_rows(path: Path, rows: MakeRows, seed: int = 0, share: float = 0.5) -> Path:
    """Rows of which ``share`` of those with label 1 are kept, so that classes can be unequal."""
    texts, labels = rows(1200, seed=seed)
    keep = np.random.default_rng(0).random(len(labels)) < np.where(np.array(labels) == 1, share, 1 - share)
    kept = np.flatnonzero(keep).tolist()
    pl.DataFrame({"text": [texts[i] for i in kept], "label": [labels[i] for i in kept]}).write_ndjson(path)
    return path


@pytest.mark.parametrize(
    ("supervisor", "student", "share"),
    [("bert", "llama", 0.5), ("llama::1", "gpt2", 0.5), ("gemma3_text::2", "modernbert::2", 0.35)],
)
def test_the_example_equals_the_pipeline(
    example: Any,
    tiny_model: Tiny,
    rows: MakeRows,
    tmp_path: Path,
    supervisor: str,
    student: str,
    share: float,
) -> None:
    """A choice that the docs and the example state and the pipeline does not make, or the other way round."""
    weak, strong = (
        str(tiny_model(family)) + (f"::{layers}" if layers else "")
        for family, _, layers in (name.partition("::") for name in (supervisor, student))
    )
    path = write_rows(tmp_path / "rows.jsonl", rows, share=share)
    training = {"kind": "probe", "features": {"dtype": "float32"}}
    experiment = Experiment.parse(
        {
            "task": {"kind": "file", "path": str(path)}, "supervisors": weak, "students": strong,
                "seeds": [0, 1],
            "methods": ["naive", "confidence"], "supervisor_training": training, "student_training": training,
            "split": {"majority_limit": 1.0},
        }
    )  # fmt: skip
    store, graph = Store(tmp_path / "store"), Graph()
    cells = {(c.method.name, c.seed): graph.cell(c) for c in experiment.cells()}
    assert not run_steps([s for cell in cells.values() for s in cell.scores()], store).failed

    for seed in (0, 1):
        of_naive, of_confidence = cells["naive", seed], cells["confidence", seed]
        loaded = store.open(of_naive.student_fit.inputs["split"].inputs["load"])
        table = pq.read_table(loaded / "rows.parquet")
        split, ids = store.open(of_naive.student_fit.inputs["split"]), table["id"].to_pylist()
        parts = {str(p): positions(ids_of(split, [p]), ids, "rows") for p in Part}
        correct = example.one_cell(
            table["text"].to_pylist(),
            table["label"].to_numpy(),
            parts,
            weak,
            strong,
            seed=seed,
            dtype="float32",
        )
        found = {name: f"{rows.mean():.4f}" for name, rows in correct.items()}
        steps = {
            "supervisor": of_naive.supervisor, "naive": of_naive.student, "confidence": of_confidence.student,
            "ceiling": of_naive.ceiling,
        }  # fmt: skip
        assert found == {n: f"{store.record(s)['summary']['accuracy']:.4f}" for n, s in steps.items()}
        assert len(set(found.values())) > 1


def printed(text: str) -> tuple[dict[str, float], dict[str, str]]:
    """Accuracies and shares of the gap that the command prints."""
    lines = [line.split() for line in text.splitlines()]
    assert [line[0] for line in lines] == ["supervisor", "naive", "confidence", "ceiling"]
    return {line[0]: float(line[2]) for line in lines}, {line[0]: line[4] for line in lines}


def test_the_command_prints_all_four(tiny_model: Tiny, rows: MakeRows, tmp_path: Path) -> None:
    """A printed PGR that does not follow from the printed accuracies, or a command that does not run."""
    path = tmp_path / "rows.csv"
    frame = pl.read_ndjson(write_rows(tmp_path / "rows.jsonl", rows))
    frame.with_columns(
        label=pl.when(pl.col("label") == 1).then(pl.lit("good")).otherwise(pl.lit("bad"))
    ).write_csv(path)
    weak, strong = f"{tiny_model('gpt_neox')}::1", str(tiny_model("modernbert"))
    command = [
        sys.executable,
        "-W",
        "error",
        str(EXAMPLE),
        str(path),
        "--supervisor",
        weak,
        "--student",
        strong,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    value, shares = printed(done.stdout)
    gap = value["ceiling"] - value["supervisor"]
    assert gap > 0.1
    wanted = {name: (accuracy - value["supervisor"]) / gap for name, accuracy in value.items()}
    assert {n: float(s) for n, s in shares.items()} == pytest.approx(wanted, abs=0.002 / gap)


def test_no_gap_means_no_pgr(
    example: Any, tiny_model: Tiny, rows: MakeRows, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """A share of a gap that may be zero printed as a number (-2.2 was seen)."""
    model, path = str(tiny_model("bert")), str(write_rows(tmp_path / "rows.jsonl", rows))
    monkeypatch.setattr(sys, "argv", ["one_cell.py", path, "--supervisor", model, "--student", model])
    example.main()
    assert set(printed(capsys.readouterr().out)[1].values()) == {"undefined:"}


def test_three_classes_are_refused(tmp_path: Path, example: Any) -> None:
    """A third class silently counted as one of two."""
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": t, "label": i}) for i, t in enumerate("abc")))
    with pytest.raises(SystemExit, match="3 different values"):
        example.read(str(path))


def test_parts_are_disjoint_and_whole(example: Any) -> None:
    """A row that trains and tests, or a half that is smaller than the other."""
    parts = example.split(1003, 4)
    rows = np.concatenate(list(parts.values()))
    assert sorted(rows.tolist()) == list(range(1003))
    assert len(parts["weak_train"]) == len(parts["transfer"])
    assert len(parts["weak_train_validation"]) == len(parts["validation"]) == 50


def test_the_example_stands_alone_and_is_short() -> None:
    """The page that a newcomer reads first grown into a second framework, or leaning on the package."""
    source = EXAMPLE.read_text()
    assert "import weakstrong" not in source
    assert "from weakstrong" not in source
    assert source.count("\n") < 150
