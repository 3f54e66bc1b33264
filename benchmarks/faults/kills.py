"""Kill -9 at random moments, many times over one experiment; the results must equal those of an undisturbed run.

    python benchmarks/faults/kills.py --kills 50 --victim worker     a worker process of the pool
    python benchmarks/faults/kills.py --kills 50 --victim driver     the command itself, with its pool
    python benchmarks/faults/kills.py --kills 50 --victim local      the command, steps in the same process
    python benchmarks/faults/kills.py --kills 20 --victim node       a node of a Ray cluster of two, on this machine

After every kill each stored result is checked by digest. An experiment that ends before enough kills have fallen starts
again on a new store. Prints the counts that stand in docs/reliability.md; exit code 1 if a byte differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from weakstrong.errors import WeakStrongError
from weakstrong.store import Store

EXPERIMENT = """
name: kills, probe
task: {{kind: file, path: {rows}, text: text, label: label}}
supervisors: [minilm-l6, "smollm2-135m:2"]
students: ["smollm2-135m:6"]
methods: [naive, confidence, bootstrapping]
seeds: 2
train_rows: 200
validation_rows: 50
test_rows: 200
---
name: kills, finetune
task: {{kind: file, path: {rows}, text: text, label: label}}
supervisors: [minilm-l6]
students: ["smollm2-135m:2"]
methods: [naive, confidence]
seeds: 1
supervisor_training: {{kind: probe}}
student_training: {{kind: finetune, head: zeros, epochs: 4}}
train_rows: 96
validation_rows: 20
test_rows: 60
"""
SAME = (
    "probabilities.parquet",
    "correct.parquet",
    "features.safetensors",
    "head.safetensors",
    "rows.parquet",
)
RUN = "from weakstrong.cli import main; main()"


def write_rows(folder: Path, count: int) -> Path:
    """Some film sentences, as a file."""
    from weakstrong.tasks.base import parse_task

    table = parse_task("movie-snippets").load().table.select(["text", "label"])
    table = table.take(list(range(0, len(table), len(table) // count))[:count])  # classes lie in blocks
    rows = folder / "rows.jsonl"
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in table.to_pylist()))
    return rows


def write_recipe(folder: Path) -> Path:
    """The experiment, on 900 of the film sentences."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(EXPERIMENT.format(rows=write_rows(folder, 900)))
    return recipe


def start(recipe: Path, store: Path, executor: str, options: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """``w2s run`` in a session of its own."""
    command = [
        sys.executable,
        "-c",
        RUN,
        "run",
        str(recipe),
        "--store",
        str(store),
        "--executor",
        executor,
        *options,
    ]
    log = (store.parent / "output.txt").open("ab")
    return subprocess.Popen(
        command, stdout=log, stderr=log, start_new_session=True, env=os.environ | {"CI": "1"}
    )


def contents(store: Path) -> dict[str, str]:
    """Digest of each file that holds numbers, by its place."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in SAME
        for path in store.glob(f"[!.]*/*/{name}")
    }


def whole(store: Path) -> int:
    """Check every stored result by digest; returns how many there are."""
    opened, count = Store(store), 0
    for name in opened.names():
        for key in opened.keys(name):
            record = opened.read_record(name, key)
            for file, wanted in record["files"].items():
                found = hashlib.sha256((store / name / key / file).read_bytes()).hexdigest()
                if found != wanted["sha256"]:
                    raise WeakStrongError(f"{name}/{key}/{file} is half-written")
            count += 1
    return count


def children(pid: int) -> list[int]:
    """Worker processes of a driver that have work (they use a core)."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(p) for p in found]


def kill(process: subprocess.Popen[bytes], victim: str, dice: random.Random) -> bool:
    """Kill the victim; False if there was none."""
    if victim != "worker":
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True
    workers = children(process.pid)
    if not workers:
        return False
    os.kill(dice.choice(workers), signal.SIGKILL)
    return True


def disturbed(folder: Path, recipe: Path, victim: str, left: int, dice: random.Random, longest: float) -> int:
    """One experiment on a new store, disturbed until it ends or ``left`` kills have fallen; returns how many."""
    store, kills = folder / "store", 0
    executor = {"worker": "process:workers=2", "driver": "process:workers=2", "local": "local"}[victim]
    process = start(recipe, store, executor)
    while True:
        end = time.monotonic() + dice.uniform(0.5, longest)
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is not None:
            if process.returncode == 0:
                return kills
            if (
                victim == "worker" and process.returncode == 1
            ):  # a step whose worker died too often is given up
                process = start(recipe, store, executor)
                continue
            raise SystemExit(f"exit code {process.returncode}; see {folder / 'output.txt'}")
        if kills < left and kill(process, victim, dice):
            kills += 1
            whole(store)
            if victim != "worker":
                process = start(recipe, store, executor)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--victim", choices=["worker", "driver", "local"], default="worker")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=20.0, help="seconds between two kills, at most")
    given = parser.parse_args()
    dice, counts = random.Random(given.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        recipe = write_recipe(root)
        (root / "calm").mkdir()
        if start(recipe, root / "calm" / "store", "local").wait():
            raise SystemExit((root / "calm" / "output.txt").read_text())
        wanted = contents(root / "calm" / "store")
        print(
            f"undisturbed: {whole(root / 'calm' / 'store')} results, {len(wanted)} files of numbers",
            flush=True,
        )
        while counts["kills"] < given.kills:
            folder = root / f"round{counts['rounds']}"
            folder.mkdir()
            counts["kills"] += disturbed(
                folder, recipe, given.victim, given.kills - counts["kills"], dice, given.longest
            )
            counts["rounds"] += 1
            found = contents(folder / "store")
            whole(folder / "store")
            differ = [file for file in wanted if found.get(file) != wanted[file]]
            counts["different files"] += len(differ)
            counts["compared files"] += len(wanted)
            print(f"{dict(counts)} {differ[:3]}", flush=True)
    sys.exit(1 if counts["different files"] else 0)


if __name__ == "__main__":
    main()
