"""SIGTERM, Ctrl-C once and twice, a dead driver: what is finished stays, a training goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from weakstrong.executors.base import Session
from weakstrong.experiment import Experiment
from weakstrong.graph import Graph
from weakstrong.schedule import run_steps
from weakstrong.store import Store
from weakstrong.training.spec import Finetune, Runtime

Signalled = Callable[[str, Runtime, signal.Signals, bool], list[float]]
Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
LONG = Finetune(epochs=400, batch_rows=4, learning_rate=1e-3, precision="fp32", evaluations=1)
"""Some 3,000 steps: no machine is done with them before the signal comes."""
SHORT = Finetune(epochs=2, batch_rows=4, learning_rate=1e-3, precision="fp32")


@pytest.fixture
def experiment(tiny_model: Tiny, rows: MakeRows, tmp_path: Path) -> Callable[[Finetune], Path]:
    """``experiment(training)``: a file of one cell with a tiny model."""
    texts, labels = rows(120)
    pl.DataFrame({"text": texts, "label": labels}).write_ndjson(tmp_path / "rows.jsonl")
    model = tiny_model("llama", layers=1)

    def make(training: Finetune) -> Path:
        made = Experiment.parse(
            {
                "task": {"kind": "file", "path": str(tmp_path / "rows.jsonl")}, "supervisors": str(model),
                "students": str(model), "methods": ["naive"], "seeds": [0],
                "supervisor_training": {"kind": "probe"}, "student_training": training.to_dict(),
                "train_rows": 32, "validation_rows": 8, "test_rows": 24,
            }
        )  # fmt: skip
        path = tmp_path / f"{training.epochs}.yaml"
        path.write_text(made.to_yaml())
        return path

    return make


class Run:
    """``w2s run`` in a process of its own, in a session of its own."""

    def __init__(self, path: Path, store: Path, *options: str) -> None:
        self.output = path.parent / f"output-{time.monotonic_ns()}"
        with self.output.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from weakstrong.cli import main; main()", "run", str(path), "--store", str(store), *options],
                stdout=out, stderr=out, env=os.environ | {"CI": "1"}, start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return self.output.read_text()

    def until(self, seen: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not seen():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.05)

    def ended(self, seconds: float = 60) -> int:
        return self.process.wait(seconds)


def training_is_noted(store: Path) -> Callable[[], bool]:
    """Whether the student's or the ceiling's training, and no other step, is noted as running with some progress."""

    def seen() -> bool:
        notes = [json.loads(p.read_text()) for p in (store / ".running").glob("*.json")]
        return any(n["step"] == "finetune" and n["share"] > 0 for n in notes)

    return seen


def states(store: Path) -> list[Path]:
    return list((store / ".scratch").glob("*/state.safetensors"))


@pytest.mark.parametrize("executor", ["local", "process:workers=1"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_training(
    experiment: Callable[[Finetune], Path], tmp_path: Path, number: signal.Signals, executor: str
) -> None:
    """A spot machine gives two minutes' notice; hours of training must not be lost, nor a lock or a half result left."""
    path, store = experiment(LONG), tmp_path / "store"
    run = Run(path, store, "--executor", executor)
    run.until(training_is_noted(store))
    run.process.send_signal(number)
    assert run.ended() == 128 + number, run.said()
    assert "Traceback" not in run.said()
    assert len(states(store)) == 1
    assert list((store / ".building").iterdir()) == []
    assert not list((store / ".running").glob("*.json"))


def test_the_next_run_goes_on_from_the_saved_state(
    experiment: Callable[[Finetune], Path], tmp_path: Path
) -> None:
    """A saved state that nobody reads, or that is read and then trained from the start."""
    from safetensors import safe_open

    path, store = experiment(LONG), tmp_path / "store"
    resumed: list[int] = []
    # Student and ceiling may each be first; the third stop is the second of one of them.
    for _ in range(3):
        run = Run(path, store)
        run.until(training_is_noted(store))
        run.process.send_signal(signal.SIGTERM)
        run.ended()
    for state in states(store):
        with safe_open(state, "pt") as file:
            resumed.append(json.loads(file.metadata()["meta"])["history"]["resumed_at"])
    assert max(resumed) > 0


def test_a_second_signal_ends_at_once(experiment: Callable[[Finetune], Path], tmp_path: Path) -> None:
    """An impatient second Ctrl-C must not hang, print a traceback, or leave half a result."""
    path, store = experiment(LONG), tmp_path / "store"
    run = Run(path, store)
    run.until(training_is_noted(store))
    run.process.send_signal(signal.SIGINT)
    run.process.send_signal(signal.SIGINT)
    assert run.ended(20) == 130
    assert "Traceback" not in run.said()
    assert list((store / ".building").iterdir()) == []
    short = experiment(SHORT)
    assert Run(short, store).ended() == 0


def test_workers_end_with_their_driver(experiment: Callable[[Finetune], Path], tmp_path: Path) -> None:
    """A driver that is killed leaves workers that train for nobody and hold the locks of the next run."""
    path, store = experiment(LONG), tmp_path / "store"
    run = Run(path, store, "--executor", "process:workers=1")
    run.until(training_is_noted(store))
    (note,) = [json.loads(p.read_text()) for p in (store / ".running").glob("*.json")]
    os.kill(run.process.pid, signal.SIGKILL)
    run.ended()
    for _ in range(200):
        if not Path(f"/proc/{note['pid']}").exists():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the worker outlived its driver by 20 seconds")
    assert len(states(store)) == 1


def notes(store: Path) -> list[dict[str, Any]]:
    """Those of trainings that run."""
    found = [json.loads(p.read_text()) for p in (store / ".running").glob("*.json")]
    return [n for n in found if n["step"] == "finetune"]


def noted(store: Path, share: float = 0.0) -> set[int]:
    """Processes in which a training is noted as running, with at least this share done."""
    return {n["pid"] for n in notes(store) if n["share"] >= share}


def another(store: Path, share: float, old: frozenset[int]) -> bool:
    return bool(noted(store, share) - old)


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def children(process: int) -> set[int]:
    return set(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def still(processes: set[int], seconds: float = 20) -> set[int]:
    """Those that have not ended by then."""
    deadline = time.monotonic() + seconds
    left = processes
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {process for process in left if Path(f"/proc/{process}").exists()}
    return left


def test_a_team_ends_with_whoever_started_it(experiment: Callable[[Finetune], Path], tmp_path: Path) -> None:
    """Processes of a step that outlive a kill -9 train for nobody, hold its lock, and write into its checkpoints."""
    path, store = experiment(LONG), tmp_path / "store"
    run = Run(path, store, "--processes", "2")
    seen: set[int] = set()
    # The run gives the work of a dead launcher out again. A worker of a pool is to its team what the driver is here.
    for victim, share in (("launcher", 0.0), ("driver", 0.001)):
        run.until(partial(another, store, share, frozenset(seen)))
        (first,) = noted(store) - seen
        launcher = parent(first)
        team = children(launcher)
        assert len(team) == 2
        os.kill(launcher if victim == "launcher" else run.process.pid, signal.SIGKILL)
        if victim == "driver":
            run.ended()
            team.add(launcher)
        left = still(team)
        for process in left:
            os.kill(process, signal.SIGKILL)
        assert not left, f"a team outlived its {victim}"
        seen |= team
    assert len(states(store)) == 1


@pytest.fixture
def signalled(experiment: Callable[[Finetune], Path], tmp_path: Path) -> Signalled:
    """``signalled(executor, runtime, number)``: train, send the process that trains or this one a signal, and stop."""
    path, store = experiment(LONG), Store(tmp_path / "store")
    fit = Graph().cell(Experiment.from_file(path).cells()[0]).student_fit
    assert not run_steps(list(fit.inputs.values()), store).failed

    def run(executor: str, runtime: Runtime, number: signal.Signals, own: bool) -> list[float]:
        stopped: list[float] = []

        def hear(event: str, steps: object, words: str, share: float) -> None:
            if event == "stopped":
                stopped.append(share)
                raise KeyboardInterrupt
            assert event != "lost", words

        def send() -> None:
            deadline = time.monotonic() + 300
            while not training_is_noted(Path(store.root))() and time.monotonic() < deadline:
                time.sleep(0.05)
            os.kill(os.getpid() if own else notes(Path(store.root))[0]["pid"], number)

        with Session(executor) as session:
            sender = threading.Thread(target=send)
            sender.start()
            with pytest.raises(KeyboardInterrupt):
                run_steps([fit], store, runtime, hear, session)
            sender.join()
        return stopped

    return run


def saved_step(store: Path) -> int:
    from safetensors import safe_open

    (state,) = states(store)
    with safe_open(state, "pt") as file:
        return int(json.loads(file.metadata()["meta"])["step"])


def test_a_team_of_ray_saves_its_state(signalled: Signalled, tmp_path: Path) -> None:
    """Ray replaces the handler of SIGTERM, and its workers hear no signal: two minutes of training were lost."""
    signalled("ray", Runtime(processes=2, checkpoint_seconds=1e6), signal.SIGTERM, True)
    assert saved_step(tmp_path / "store") > 0
    assert not notes(tmp_path / "store")


def test_a_job_at_its_time_limit_saves_its_state(signalled: Signalled, tmp_path: Path) -> None:
    """Slurm's warning before the limit that loses the training's state, or that the scheduler takes for a death."""
    executor = f"slurm:cluster=local,folder={tmp_path / 'jobs'}"
    (share,) = signalled(executor, Runtime(checkpoint_seconds=1e6), signal.SIGUSR2, False)
    assert saved_step(tmp_path / "store") == round(share * LONG.epochs * 32 / LONG.batch_rows) > 0


def test_a_store_that_is_removed_under_a_run_is_said(
    experiment: Callable[[Finetune], Path], tmp_path: Path
) -> None:
    """Going on would rebuild everything from nothing, in a folder that somebody meant to be gone."""
    path, store = experiment(LONG), tmp_path / "store"
    run = Run(path, store)
    run.until(training_is_noted(store))
    shutil.rmtree(store)
    run.process.send_signal(signal.SIGTERM)
    assert run.ended() == 1, run.said()
    assert "Traceback" not in run.said()
    assert f"{store}" in run.said()


def test_results_after_signals_equal_an_undisturbed_run(
    experiment: Callable[[Finetune], Path], tmp_path: Path
) -> None:
    """Stops at several moments that shift a number by a bit."""
    training = SHORT.model_copy(update={"epochs": 12})
    path, calm, disturbed = experiment(training), tmp_path / "calm", tmp_path / "disturbed"
    assert Run(path, calm).ended() == 0
    for _ in range(3):
        run = Run(path, disturbed)
        seen = training_is_noted(disturbed)
        while run.process.poll() is None and not seen():
            time.sleep(0.01)
        run.process.send_signal(signal.SIGTERM)
        run.ended()
    assert Run(path, disturbed).ended() == 0
    targets = Graph().cell(Experiment.from_file(path).cells()[0]).scores()
    for step in targets:
        found = [
            (Store(s).open(step.inputs["predictions"]) / "probabilities.parquet").read_bytes()
            for s in (calm, disturbed)
        ]
        assert found[0] == found[1]
