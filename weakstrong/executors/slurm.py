"""Steps as Slurm jobs, by submitit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from weakstrong.sources import cache_dir
from weakstrong.stopping import StopFlag
from weakstrong.store import Store
from weakstrong.work import Work

if TYPE_CHECKING:
    from weakstrong.resources import Need

MINUTE, JOBS = 60.0, 200
POLL_SECONDS = 1.0
LIKE_SLURM = ("partition", "account", "qos", "constraint")


@EXECUTORS.register
class Slurm:
    """One job for each piece of work.

    Options: ``partition``, ``account``, ``qos``, ``constraint`` as Slurm has them; ``minutes`` a job may take (default: four
    times the estimate, an hour at least); ``cpus`` of each (default: what its steps can use on a machine like the driver's);
    ``jobs`` in the queue at once (default 200); ``folder`` for submitit's files,
    seen by all nodes (default: in the user's cache); ``cluster``: ``local`` runs jobs here, to try things.
    """

    asks_needs = True

    def __init__(self, flag: StopFlag, **options: str) -> None:
        refuse_options("slurm", options, (*LIKE_SLURM, "minutes", "cpus", "jobs", "folder", "cluster"))
        try:
            import submitit
        except ImportError:
            raise ConfigError("the executor slurm needs submitit; pip install 'weakstrong[slurm]'") from None
        self.flag, self.options = flag, options
        numbers = {name: options[name] for name in ("minutes", "cpus", "jobs") if name in options}
        self._numbers = {name: whole_number("slurm", name, text) for name, text in numbers.items()}
        folder = options.get("folder") or str(cache_dir() / "slurm")
        try:
            self._submitit = submitit.AutoExecutor(folder=folder, cluster=options.get("cluster", "slurm"))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise ConfigError(f"submitit cannot reach Slurm: {error}") from error
        self.slots = self._numbers.get("jobs", JOBS)
        # Asking Slurm's accounting at every turn is a burden on a cluster; submitit asks it each quarter of a minute.
        self._eager = options.get("cluster") == "local"
        self._jobs: dict[str, tuple[Any, Work]] = {}

    def listen(self, progress: Progress) -> None:
        """Progress of a job is in its note in the store (``w2s status``)."""

    def check(self, need: Need) -> None:
        """Slurm itself refuses what no partition has."""

    def room(self, need: Need | None) -> bool:
        """See `Executor`."""
        return len(self._jobs) < self.slots

    def submit(self, work: Work, store: Store, need: Need | None) -> None:
        """See `Executor`."""
        assert need is not None
        minutes = self._numbers.get("minutes", max(60, 4 * need.seconds / MINUTE))
        asked: dict[str, Any] = {
            "name": f"w2s-{work.steps[0].name}",
            "timeout_min": int(minutes),
            "cpus_per_task": self._numbers.get("cpus", need.cpus),
            "mem_gb": need.memory / 2**30,
            "gpus_per_node": need.gpus,
        }
        asked |= {f"slurm_{name}": self.options[name] for name in LIKE_SLURM if name in self.options}
        try:
            self._submitit.update_parameters(**asked)
            job = self._submitit.submit(build_message, work.to_json())
        except Exception as error:  # submitit hands on what sbatch said in many ways
            raise ConfigError(f"Slurm refused {work.title}: {error}") from error
        self._jobs[str(job.job_id)] = (job, work)

    def wait(self, seconds: float) -> list[Finished]:
        """See `Executor`; a job that ended without an answer (killed, preempted, node gone) is lost."""
        deadline = time.monotonic() + seconds
        while True:
            ended = [name for name, (job, _) in self._jobs.items() if job.done(self._eager)]
            if ended or time.monotonic() >= deadline:
                return [self._end(*self._jobs.pop(name)) for name in ended]
            time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))

    @staticmethod
    def _end(job: Any, work: Work) -> Finished:
        log = str(job.paths.stderr)
        try:
            answer = job.result()
        except Exception as error:  # submitit's own errors, and whatever the job's end left to read
            words = str(error).strip().splitlines() or [""]
            log = log if Path(log).exists() else ""
            return Finished(work, lost=f"job {job.job_id}: {words[0]}{last_line(log)}", log=log)
        return finished(work, answer, log)

    def cancel(self, *, now: bool = False) -> None:
        """See `Executor`; Slurm sends SIGTERM and, after its own grace time, SIGKILL."""
        for job, _ in self._jobs.values():
            job.cancel(check=False)
        self._jobs.clear()

    def close(self) -> None:
        """Nothing is held."""


def build_message(message: str) -> str:
    """What a job does. Stopped by Slurm, it saves its training's state and answers so."""
    import signal

    from weakstrong.errors import Stopped
    from weakstrong.stopping import stoppable
    from weakstrong.work import stop_to_json
    from weakstrong.worker import Worker

    with stoppable() as flag:
        # Sent 90 s before the time limit; submitit's own handler would end the step as failed, its state unsaved.
        signal.signal(signal.SIGUSR2, flag.handle)
        worker = Worker(flag)
        try:
            return worker.answer(message)
        except Stopped as stopped:
            return stop_to_json(stopped, worker.share)
