"""A pool of worker processes on this machine that keeps to its cores and memory."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from weakstrong.errors import ConfigError
from weakstrong.executors.base import (
    EXECUTORS,
    Finished,
    Progress,
    finished,
    last_line,
    refuse_options,
    whole_number,
)
from weakstrong.machine import gpu_names
from weakstrong.stopping import StopFlag
from weakstrong.store import Store
from weakstrong.work import Work

if TYPE_CHECKING:
    from weakstrong.resources import Machine, Need

GRACE_SECONDS, END_SECONDS = 120.0, 10.0
"""Time that a training has to save its state, and that an idle worker has to end."""


class _Worker:
    """One worker process, idle or with one piece of work. It dies with its driver.

    Attributes:
        gpus: names of those that it alone may see; None where the machine has none.
        ready: whether it has said that it is up.
        said: file with what it printed outside of steps.
        log: file of the step that it runs or ran last.
    """

    def __init__(
        self, events: queue.SimpleQueue[tuple[_Worker, str | None]], said: str, gpus: tuple[str, ...] | None
    ) -> None:
        self.gpus, self.said, self.ready = gpus, said, False
        # A session of its own: Ctrl-C in the terminal is for the driver, which then asks the workers.
        seen = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        with open(said, "ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "weakstrong.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                encoding="utf-8",
                start_new_session=True,
                env=os.environ | seen,
            )
        self.work: Work | None = None
        self.need: Need | None = None
        self.log = ""
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()

    def _listen(self, events: queue.SimpleQueue[tuple[_Worker, str | None]]) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as answers:
            for line in answers:
                events.put((self, line))
        self.process.wait()
        events.put((self, None))

    def give(self, work: Work, store: Store, need: Need | None) -> None:
        self.work, self.need = work, need
        first = work.steps[0]
        self.log = str(Path(store.work, ".logs", f"{first.name}-{first.key[:16]}.log"))
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a worker that died idle: its end is reported by _listen
            self.process.stdin.write(work.to_json() + "\n")
            self.process.stdin.flush()

    def dismiss(self) -> None:
        """Let it end: with its standard input gone, a worker that is idle or dead is done."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def death(self) -> str:
        code = self.process.returncode
        if code < 0:  # in the middle of a step, most likely
            return f"signal {signal.Signals(-code).name}{last_line(self.log)}"
        return f"exit code {code}{last_line(self.said) or last_line(self.log)}"


@EXECUTORS.register
class Process:
    """Worker processes on this machine; options: ``workers`` (default: one for each core).

    Where the machine has GPUs, each worker sees as many as its steps need, and no other worker sees them.
    """

    asks_needs = True

    def __init__(self, flag: StopFlag, **options: str) -> None:
        from weakstrong.resources import Machine

        refuse_options("process", options, ("workers",))
        self.flag = flag
        self.machine: Machine = Machine.here()
        self.slots = whole_number("process", "workers", options.get("workers", str(self.machine.cpus)))
        self._gpus = gpu_names()
        self._said = tempfile.TemporaryDirectory(prefix="weakstrong-pool-")
        self._started, self._any_ready = count(), False
        self._progress: Progress = lambda *_: None
        self._events: queue.SimpleQueue[tuple[_Worker, str | None]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []

    def listen(self, progress: Progress) -> None:
        """See `Executor`."""
        self._progress = progress

    def check(self, need: Need) -> None:
        """Refuse work that needs more GPUs than the machine has.

        More cores just take longer; memory is an estimate, and the system has the last word.

        Raises:
            ConfigError: naming both figures.
        """
        if need.gpus > self.machine.gpus:
            raise ConfigError(f"a step needs {need.gpus} GPUs, this machine has {self.machine.gpus}")

    def room(self, need: Need | None) -> bool:
        """Whether a worker, cores and memory are free; an idle pool always has room."""
        busy = [worker.need for worker in self._workers if worker.work is not None]
        if not busy or need is None:
            return len(busy) < self.slots
        taken = [n for n in busy if n is not None]
        return (
            len(busy) < self.slots
            and sum(n.cpus for n in taken) + min(need.cpus, self.machine.cpus) <= self.machine.cpus
            and sum(n.gpus for n in taken) + need.gpus <= self.machine.gpus
            and sum(n.memory for n in taken) + need.memory <= self.machine.memory
        )

    def submit(self, work: Work, store: Store, need: Need | None) -> None:
        """See `Executor`; starts a worker where none is idle that sees as many GPUs as the work needs."""
        wanted = need.gpus if need is not None else 0
        idle = [w for w in self._workers if w.work is None and w.process.poll() is None]
        fit = [w for w in idle if len(w.gpus or ()) == wanted]
        (fit[0] if fit else self._start(wanted, idle)).give(work, store, need)

    def _start(self, wanted: int, idle: list[_Worker]) -> _Worker:
        """A new worker; idle ones end if there would be too many, or if they hold GPUs that it needs."""
        while idle and (len(self._workers) >= self.slots or len(self._free()) < wanted):
            self._end(idle.pop())
        gpus = tuple(self._free()[:wanted]) if self._gpus else None
        said = Path(self._said.name, f"worker-{next(self._started)}.log")
        self._workers.append(_Worker(self._events, str(said), gpus))
        return self._workers[-1]

    def _free(self) -> list[str]:
        taken = {name for worker in self._workers for name in worker.gpus or ()}
        return [name for name in self._gpus if name not in taken]

    def _end(self, worker: _Worker) -> None:
        worker.dismiss()
        try:
            worker.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            _signal(worker, signal.SIGKILL)
            worker.process.wait()
        self._workers.remove(worker)

    def wait(self, seconds: float) -> list[Finished]:
        """See `Executor`."""
        return list(self._ended(seconds))

    def _ended(self, seconds: float) -> Iterator[Finished]:
        deadline = time.monotonic() + seconds
        any_ended = False
        while True:
            left = 0.0 if any_ended else max(0.0, deadline - time.monotonic())
            try:
                worker, line = self._events.get(timeout=left) if left else self._events.get_nowait()
            except queue.Empty:
                return
            work = worker.work
            if line is None:
                if worker in self._workers:
                    self._workers.remove(worker)
                worker.dismiss()
                if not self._any_ready and worker.process.returncode > 0:
                    raise ConfigError(
                        f"no worker of the pool can start: {sys.executable} -m weakstrong.worker ended with {worker.death()}"
                    )
                if work is not None:
                    any_ended = True
                    yield Finished(work, lost=worker.death(), log=_there(worker.log))
            elif not worker.ready:
                worker.ready = self._any_ready = True
            elif work is not None:
                message = json.loads(line)
                if "share" in message:
                    self._progress(work, message["share"], message["words"])
                else:
                    worker.work = None
                    any_ended = True
                    yield finished(work, line, _there(worker.log))

    def cancel(self, *, now: bool = False) -> None:
        """See `Executor`; workers that do not save their state within two minutes are killed."""
        for worker in self._workers:
            _signal(worker, signal.SIGKILL if now else signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(worker, signal.SIGKILL)
                worker.process.wait()
            worker.dismiss()
        self._workers.clear()
        self._events = queue.SimpleQueue()  # what those workers still say is heard by nobody

    def close(self) -> None:
        """End idle workers."""
        for worker in self._workers:
            worker.dismiss()
        for worker in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(END_SECONDS)
        self.cancel(now=True)
        self._said.cleanup()


def _signal(worker: _Worker, number: signal.Signals) -> None:
    """Signal the worker; a kill is for its whole session, with the processes of a team."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if number == signal.SIGKILL:
            os.killpg(worker.process.pid, number)
        elif worker.process.poll() is None:
            worker.process.send_signal(number)


def _there(path: str) -> str:
    return path if Path(path).exists() else ""
