"""What an executor costs for each step: a thousand steps that do next to nothing.

    python benchmarks/tiny_steps.py                  local, process and an embedded Ray
    python benchmarks/tiny_steps.py --executor ray   one of them

The first steps are not counted: they start workers, which takes seconds. Aims: 2 ms local, 20 ms process, 30 ms ray.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from weakstrong.executors.base import Session
from weakstrong.schedule import run_steps
from weakstrong.spec import Spec
from weakstrong.store import Job, Step, Store
from weakstrong.training.spec import Runtime

AIMS = {"local": 2.0, "process": 20.0, "ray": 30.0}


class Number(Spec):
    """A number."""

    kind: Literal["tiny-number"] = "tiny-number"
    value: int


def build(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Write it down."""
    for job in jobs:
        assert isinstance(job.step.spec, Number)
        (job.out / "value").write_text(str(job.step.spec.value))


def measure(executor: str, count: int) -> float:
    """Milliseconds for each step."""
    # Workers import the builders by the name of this file.
    import tiny_steps

    steps = [
        Step("tiny", 1, tiny_steps.Number(value=i), builder="tiny_steps:build", title=f"number {i}")
        for i in range(count + 20)
    ]
    with tempfile.TemporaryDirectory() as folder, Session(executor) as session:
        store = Store(folder)
        run_steps(steps[:20], store, session=session)
        begun = time.perf_counter()
        report = run_steps(steps[20:], store, session=session)
        seconds = time.perf_counter() - begun
        assert report.computed == count
    return 1000 * seconds / count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executor", choices=list(AIMS), action="append")
    parser.add_argument("--count", type=int, default=1000)
    given = parser.parse_args()
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    for executor in given.executor or AIMS:
        print(
            f"{executor}: {measure(executor, given.count):.2f} ms a step (aim {AIMS[executor]:.0f} ms)",
            flush=True,
        )


if __name__ == "__main__":
    main()
