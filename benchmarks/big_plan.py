"""Time and peak memory of planning and listing very many cells.

python benchmarks/big_plan.py [--cells 100000] [--stored 0] prints one line of JSON for every command, each in its own
process: wall and processor seconds, MiB at the peak. ``--stored`` fills the store with so many made-up scores of 500
test rows first. The aim is 20 s and 2 GiB for 100,000 cells.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from weakstrong.experiment import Experiment
from weakstrong.graph import Graph, closure
from weakstrong.store import Step

COMPOSED = [
    *("naive", "bootstrapping", "bootstrapping+confidence", "generative", "early-stop", "hard", "calibrated"),
    *("zero-shot", "few-shot", "consistency", "entropy", "generative+bootstrapping+confidence"),
]
"""Methods that make other steps than naive does; the rest of the 50 differ in a parameter."""
PER_SEED = 5_000
TEST_ROWS = 500
COMMANDS = (
    ["plan"],
    ["plan", "--json"],
    ["plan", "--executor", "process"],
    ["status"],
    ["results"],
    ["results", "--json"],
)


def experiment(cells: int) -> Experiment:
    """10 supervisors, 10 students, 50 methods, and as many seeds as give ``cells``."""
    methods = [*COMPOSED, *(f"confidence:a_max={i / 100}" for i in range(1, 51 - len(COMPOSED)))]
    return Experiment.parse(
        {
            "task": "movie-snippets",
            "supervisors": [f"smollm2-135m:{i}" for i in range(1, 11)],
            "students": [f"smollm2-135m:{i}" for i in range(20, 30)],
            "methods": methods,
            "seeds": max(1, cells // PER_SEED),
        }
    )


def scores(wanted: Experiment) -> Iterator[Step]:
    """The score steps of all cells."""
    graph = Graph()
    cells = [graph.cell(cell) for cell in wanted.cells()]
    yield from (s for s in closure([s for c in cells for s in c.scores()]) if s.name == "score")


def fill(folder: Path, wanted: Experiment, count: int) -> int:
    """Write ``count`` made-up results as the store writes them, but for waiting for the disk; returns how many."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from weakstrong.store_records import RECORD, describe_files, seal

    generator = np.random.default_rng(0)
    ids = [f"row-{i:06d}" for i in range(TEST_ROWS)]
    written = 0
    for step in scores(wanted):
        if written == count:
            break
        correct = generator.random(TEST_ROWS) < 0.7
        place = folder / step.name / step.key
        place.mkdir(parents=True)
        table = pa.table({"id": ids, "guess": pa.array(correct, pa.int16()), "correct": correct})
        bytes_of = io.BytesIO()
        pq.write_table(table, bytes_of, compression="zstd")
        (place / "correct.parquet").write_bytes(bytes_of.getvalue())
        files = {name: entry._asdict() for name, entry in describe_files(place).items()}
        record = step.recipe() | {
            "key": step.key,
            "files": files,
            "summary": {"accuracy": float(correct.mean()), "rows": TEST_ROWS},
            "provenance": {"seconds": 0.01},
        }
        (place / RECORD).write_text(seal(record), encoding="utf-8")
        written += 1
    return written


def measure(arguments: list[str]) -> dict[str, object]:
    """Run one command and say what it took."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", "from weakstrong.cli.app import main; main()", *arguments],
            stdout=out,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        size = out.tell()
    scale = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    return {
        "exit_code": child.returncode,
        "wall_seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss * scale / 2**20),
        "printed_mib": round(size / 2**20, 1),
    }


def main() -> None:
    """Plan, list, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--stored", type=int, default=0)
    given = parser.parse_args()
    wanted = experiment(given.cells)
    folder = Path(tempfile.mkdtemp(prefix="big-plan-"))
    try:
        (folder / "store").mkdir()
        (folder / "big.yaml").write_text(wanted.to_yaml(), encoding="utf-8")
        # In a child, so that the peak of memory of the others does not start at that of this process.
        if given.stored and not os.fork():
            print(json.dumps({"stored": fill(folder / "store", wanted, given.stored)}), flush=True)
            os._exit(0)
        if given.stored:
            os.wait()
        for command in COMMANDS:
            words = [command[0], str(folder / "big.yaml"), "--store", str(folder / "store"), *command[1:]]
            print(json.dumps({"command": " ".join(command)} | measure(words)), flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
