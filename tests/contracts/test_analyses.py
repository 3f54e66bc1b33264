"""What every analysis must keep, found by name: it parses, says where it comes from, and measures a stored experiment."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weakstrong.analyses import ANALYSES, Analysis, parse_analysis
from weakstrong.api import run_with_report
from weakstrong.experiment import Experiment
from weakstrong.results import Results
from weakstrong.store import Store

NAMES = ANALYSES.names()
REGIMES: dict[str, dict[str, Any]] = {
    "probe": {"kind": "probe", "epochs": 3, "features": {"dtype": "float32"}},
    "finetune": {
        "kind": "finetune", "epochs": 1, "batch_rows": 8, "learning_rate": 1e-3, "precision": "fp32", "head": "zeros",
    },
}  # fmt: skip
COMMON = {"analysis", "task", "supervisor", "student", "method", "regime", "recipe", "n_seeds", "measure", "value",
          "low", "high"}  # fmt: skip
SHARES = {"accuracy", "agreement"}
every_analysis = pytest.mark.parametrize("name", NAMES)


class Bench:
    """One small experiment in each regime, computed when it is first asked for."""

    def __init__(
        self, folder: Path, tiny_model: Callable[..., Path], texts: list[str], labels: list[int]
    ) -> None:
        lines = [json.dumps({"text": t, "label": y}) for t, y in zip(texts, labels, strict=True)]
        (folder / "rows.jsonl").write_text("\n".join(lines))
        self.task = {"kind": "file", "path": str(folder / "rows.jsonl")}
        self.model, self.store = str(tiny_model("llama", layers=4)), Store(folder / "store")

    def results(self, regime: str, analysis: Analysis) -> Results:
        wanted = Experiment.parse(
            {
                "task": self.task, "supervisors": f"{self.model}::1", "students": self.model,
                "methods": ["naive", "zero-shot", "early-stop:on=oracle"], "seeds": 2,
                "supervisor_training": REGIMES["probe"], "student_training": REGIMES[regime],
                "split": {"train_rows": 40, "validation_rows": 12, "test_rows": 60}, "analyses": [analysis],
            }
        )  # fmt: skip
        found, report = run_with_report(wanted, store=self.store)
        assert not report.failed, report.failed
        return found


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path], rows: Callable[..., Any]
) -> Bench:
    return Bench(tmp_path_factory.mktemp("analyses"), tiny_model, *rows(240))


@every_analysis
def test_an_entry_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    """A list of analyses whose sources nobody can look up, and parameters without words."""
    entry = ANALYSES.get(name)
    parsed = parse_analysis(name)
    assert type(parsed) is entry
    assert parsed.kind == parsed.name == name
    assert len(entry.source) > 10
    assert entry.__doc__
    assert entry.__doc__ != Analysis.__doc__
    assert parse_analysis(parsed.to_dict()).key() == parsed.key()
    assert parse_analysis(json.loads(json.dumps(parsed.to_dict()))).name == name


@every_analysis
def test_steps_are_the_same_when_they_are_asked_for_again(bench: Bench, name: str) -> None:
    """A step that depends on when it was planned is never found again; one that changes the cell's own is worse."""
    analysis = parse_analysis(name)
    results = Results(bench.store, (Experiment.parse({
        "task": bench.task, "supervisors": f"{bench.model}::1", "students": bench.model, "methods": ["naive"],
        "seeds": 1, "student_training": REGIMES["finetune"], "analyses": [analysis],
    }),))  # fmt: skip
    again = Results(bench.store, results.experiments)
    assert [s.key for s in results.steps()] == [s.key for s in again.steps()]
    plain = results.experiments[0].model_copy(update={"analyses": ()})
    assert {s.key for s in Results(bench.store, (plain,)).steps()} <= {s.key for s in results.steps()}


@pytest.mark.parametrize("regime", REGIMES)
@every_analysis
def test_rows_are_flat_and_within_their_intervals(bench: Bench, name: str, regime: str) -> None:
    """Rows that no table, CSV or JSON can hold, a value beside its interval, or shares in per cent."""
    analysis = parse_analysis(name)
    results = bench.results(regime, analysis)
    taken = [c for c in results.experiments[0].cells() if not analysis.refuses(c)]
    rows = results.analysis(analysis)
    assert {r["method"] for r in rows} <= {c.method.name for c in taken}
    assert bool(rows) == bool(taken)
    json.dumps(rows, allow_nan=False)
    for row in rows:
        assert set(row) >= COMMON
        assert (row["analysis"], row["n_seeds"]) == (name, 2)
        assert all(v is None or isinstance(v, (str, int, float, bool)) for v in row.values()), row
        value, low, high = row["value"], row["low"], row["high"]
        if None in (value, low, high):
            continue
        assert math.isfinite(value)
        assert low - 1e-9 <= value <= high + 1e-9, row
        assert not (row["measure"] in SHARES and not -1e-9 <= low <= high <= 1 + 1e-9), row
    names = [
        tuple(sorted((k, str(v)) for k, v in r.items() if k not in ("value", "low", "high"))) for r in rows
    ]
    assert len(set(names)) == len(names)  # every row can be told from the others
