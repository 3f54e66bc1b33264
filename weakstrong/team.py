"""One training step in several processes: torchrun starts them, the first one locks, commits and answers.

The same processes may be started by hand, by Slurm or by Ray Train; every one calls `member` with the work's message.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from weakstrong.build import build, call
from weakstrong.errors import ConfigError, Stopped, StoreError
from weakstrong.notes import note_failure, words_of
from weakstrong.stopping import SAVE_SECONDS, StopFlag, end_with_input, stoppable
from weakstrong.store import Store
from weakstrong.training.spec import ProgressCall, Runtime
from weakstrong.work import LostError, Outcome, Work, answer_from_json, error_to_json, outcomes_to_json

TEAM_STEPS = frozenset({"finetune", "finetune_trajectory", "tune"})
"""Kinds of steps that several processes may share; all others run in one."""
POLL_SECONDS = 0.2
GRACE_SECONDS, END_SECONDS = 120.0, 10.0
"""Time until torchrun is killed that was asked to save the team's state, and that was told to end."""


def wanted(work: Work) -> bool:
    """Whether this work is for several processes."""
    return work.runtime.processes > 1 and work.steps[0].name in TEAM_STEPS


def run(work: Work, store: Store, runtime: Runtime, log: str = "") -> list[Outcome]:
    """Build here, or with a team where the runtime says so; see `weakstrong.build.build`."""
    return launch(work, runtime) if wanted(work) else build(work.steps, store, runtime, log)


def launch(work: Work, runtime: Runtime) -> list[Outcome]:
    """Start the team by torchrun on this machine and wait for its answer.

    The processes share one end of a socket as their standard input; the other end is held here. So they learn that
    this process is gone, however it died, and this one learns that all of them are, when torchrun is.

    Raises:
        StoreError: if the store itself failed.
        LostError: if one of its processes died.
        Stopped: after the team saved its state, when this process is asked to stop.
    """
    with tempfile.TemporaryDirectory(prefix="weakstrong-team-") as folder:
        message, answer = Path(folder, "work.json"), Path(folder, "answer.json")
        message.write_text(work.to_json(), encoding="utf-8")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command += [
            str(runtime.processes),
            "--shutdown-timeout",
            str(SAVE_SECONDS),
            "-m",
            "weakstrong.worker",
            str(message),
            str(answer),
        ]
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(command, start_new_session=True, stdin=theirs.fileno())
        try:
            while process.poll() is None:
                if runtime.should_stop():
                    process.send_signal(signal.SIGTERM)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(GRACE_SECONDS)
                    raise Stopped("the processes of a step were stopped")
                _hear(answer.with_suffix(".progress"), runtime)
                time.sleep(POLL_SECONDS)
        finally:
            if process.poll() is None:
                # Killed, torchrun would leave its processes behind: each has a session of its own.
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(END_SECONDS)
                process.kill()
                process.wait()
            _outlive(ours)
        if answer.exists():
            return answer_from_json(answer.read_text(encoding="utf-8"))
        raise LostError(f"one of {runtime.processes} processes of a step; exit code {process.returncode}")


def _outlive(ours: socket.socket) -> None:
    """Wait for processes whose torchrun was killed: they would hold the step's lock, and work for nobody."""
    with ours:
        ours.shutdown(socket.SHUT_WR)
        ours.settimeout(GRACE_SECONDS)
        with suppress(OSError):
            ours.recv(1)


def _hear(path: Path, runtime: Runtime) -> None:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        runtime.report(found["share"], 1.0, found["words"])


def join(message: Path, answer: Path) -> None:
    """What each process that torchrun started does: take its part, and write the answer if it is the first.

    It ends when its standard input does, which `launch` holds.
    """
    end_with_input(lambda: os.read(0, 1))
    from weakstrong.training.distributed import is_main

    last = 0.0

    def tell(done: float, total: float, words: str) -> None:
        nonlocal last
        if is_main() and time.monotonic() - last > 1:
            last = time.monotonic()
            half = answer.with_suffix(".half")
            half.write_text(json.dumps({"share": done / total if total else 1.0, "words": words}))
            half.replace(answer.with_suffix(".progress"))

    def leave(text: str) -> None:
        half = answer.with_suffix(".half")
        half.write_text(text, encoding="utf-8")
        half.replace(answer)

    with suppress(LostError):
        member(message.read_text(encoding="utf-8"), leave, tell)


def member(
    message: str,
    leave: Callable[[str], None],
    tell: ProgressCall | None = None,
    flag: StopFlag | None = None,
) -> None:
    """Take part in the work of ``message``; the first process hands the answer to ``leave``.

    Raises:
        LostError: in the first process, its answer given, if the others may wait for it for ever; whoever started
            them is to end them.
        Stopped: on all of them, once ``flag`` or a signal asks, with the training's state saved.
    """
    from weakstrong.training.distributed import from_main, group, is_main

    try:
        work = Work.from_json(message)
        store = Store(work.store)
    except (ConfigError, StoreError) as error:
        if is_main():
            leave(error_to_json(error))
        raise LostError("the work cannot be taken up") from error
    with stoppable(flag) as asked, group(work.runtime.device):
        runtime = replace(work.runtime, stopping=asked, progress=tell)
        if not is_main():
            _follow(work, store, runtime, from_main(None))
            from_main(None)  # torchrun ends the first process when another ends badly, so it answers first
            return
        outcomes: list[Outcome] = []
        try:
            outcomes = build(work.steps, store, runtime, share=from_main)
            leave(outcomes_to_json(outcomes))
        except (ConfigError, StoreError) as error:
            leave(error_to_json(error))
        except Exception as error:
            outcomes = [Outcome(step.key, "failed", words_of(error)) for step in work.steps]
            for step in work.steps:
                note_failure(store, step, error)
            leave(outcomes_to_json(outcomes))
        if not outcomes or any(outcome.status == "failed" for outcome in outcomes):
            raise LostError("the others may not have come as far as this process")
        from_main("done")


def _follow(work: Work, store: Store, runtime: Runtime, keys: list[str]) -> None:
    """Build what the first process builds, into folders that are thrown away."""
    with ExitStack() as stack:
        steps = {step.key: step for step in work.steps}
        jobs = [stack.enter_context(store.job(steps[key])) for key in keys]
        if jobs:
            call(jobs, store, replace(runtime, progress=None))
