"""How good the estimates of `weakstrong.resources` are: peak memory and time of real steps, each in its own process.

python benchmarks/needs.py [--rows 200] [--task movie-snippets] prints one line of JSON for every step of a few small
experiments: estimated and measured mebibytes and seconds. Memory should be an upper bound within a factor of about two.
Needs the embedded models (`w2s run` fetches them).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from weakstrong.experiment import Experiment
from weakstrong.graph import Graph, closure
from weakstrong.resources import Estimator
from weakstrong.store import Step, Store
from weakstrong.training.spec import Runtime
from weakstrong.work import Work

CHILD = """
import sys
from weakstrong.schedule import run_steps
from weakstrong.store import Store
from weakstrong.work import Work

work = Work.from_json(sys.stdin.read())
report = run_steps(work.steps, Store(work.store), work.runtime)
sys.exit("; ".join(report.failed.values()) or 0)
"""


def steps_of(task: str, rows: int) -> list[Step]:
    """Every kind of step that has a model, on small models."""
    common = {"task": task, "seeds": 1, "train_rows": rows, "validation_rows": 50, "test_rows": rows}
    experiments = [
        common
        | {"supervisors": "minilm-l6", "students": "smollm2-135m:4", "methods": methods, "regime": regime}
        for regime, methods in (
            ("probe", ["naive", "zero-shot"]),
            ("finetune", ["naive", "lora", "generative", "consistency"]),
        )
    ]
    graph = Graph()
    cells = [graph.cell(cell) for values in experiments for cell in Experiment.parse(values).cells()]
    return closure([step for cell in cells for step in (*cell.scores(), cell.check)])


def measure(step: Step, store: Store, runtime: Runtime) -> tuple[float, float]:
    """Peak resident MiB and seconds of a process that computes ``step``."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", CHILD], stdin=subprocess.PIPE, text=True)
    assert child.stdin is not None
    child.stdin.write(Work((step,), store.url, runtime).to_json())
    child.stdin.close()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{step.title} failed")
    scale = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    return usage.ru_maxrss * scale / 2**20, time.perf_counter() - started


def main() -> None:
    """Run all steps and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--task", default="movie-snippets")
    given = parser.parse_args()
    runtime = Runtime()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        for step in steps_of(given.task, given.rows):
            # A new estimator knows what the steps before have left in the store.
            need = Estimator(store, runtime).need([step])
            mib, seconds = measure(step, store, runtime)
            print(
                json.dumps(
                    {
                        "step": step.name,
                        "title": step.title,
                        "estimated_mib": round(need.memory / 2**20),
                        "measured_mib": round(mib),
                        "ratio": round(need.memory / 2**20 / mib, 2),
                        "estimated_seconds": round(need.seconds, 1),
                        "measured_seconds": round(seconds, 1),
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
