"""Steps as tasks of Ray: embedded on this machine, or on a cluster.

Ray places and retries; it keeps nothing. A driver that dies loses what was running, and the same command continues.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weakstrong import team
from weakstrong.errors import ConfigError
from weakstrong.executors import _ray_team
from weakstrong.executors.base import EXECUTORS, Finished, Progress, finished, refuse_options, whole_number
from weakstrong.notes import note_failure, words_of
from weakstrong.stopping import SIGNALS, StopFlag
from weakstrong.store import Store
from weakstrong.work import Outcome, Work

if TYPE_CHECKING:
    from weakstrong.resources import Need

OBJECT_STORE_BYTES = 150 * 2**20
"""Messages are small: steps exchange keys of a store, never tensors."""
GRACE_SECONDS, LOOK_SECONDS = 120.0, 5.0
"""Time that trainings have to save their state, and between two looks at the nodes."""
LEAST_CPU = 1e-3


@EXECUTORS.register
class Ray:
    """Ray tasks; options: ``address`` of a cluster (default: embedded here), ``retries`` of a task by Ray itself, before the scheduler's own
    (default 0: Ray would repeat for ever what runs out of memory).

    Tokens are Ray's own: ``RAY_AUTH_MODE`` and ``RAY_AUTH_TOKEN`` of the environment are passed through untouched.
    """

    asks_needs = True

    def __init__(self, flag: StopFlag, **options: str) -> None:
        refuse_options("ray", options, ("address", "retries"))
        try:
            import ray
        except ImportError:
            raise ConfigError("the executor ray needs Ray; pip install 'weakstrong[ray]'") from None
        self.flag = flag
        self.ray: Any = ray
        self.retries = whole_number("ray", "retries", options.get("retries", "0"), 0)
        address = options.get("address")
        self._owns = not self.ray.is_initialized()
        if address is not None and not self._owns:
            raise ConfigError(
                f"this process is connected to a Ray cluster already; leave address={address} out"
            )
        if self._owns:
            _connect(self.ray, address)
        self._task = self.ray.remote(_build)
        self._desk = self.ray.remote(num_cpus=0)(_ray_team.Desk)
        self._running: dict[Any, _Running] = {}
        self._teams: dict[Future[str], _Running] = {}
        self._threads = _threads()
        self._look()

    def _look(self) -> None:
        """See what nodes there are; they come and go."""
        self._looked = time.monotonic()
        self.nodes: list[dict[str, float]] = [n["Resources"] for n in self.ray.nodes() if n["Alive"]]
        self.cpus = sum(node.get("CPU", 0.0) for node in self.nodes)
        self.slots = max(1, int(self.cpus))

    def listen(self, progress: Progress) -> None:
        """Progress of a task is in its note in the store (``w2s status``); Ray carries none."""

    def check(self, need: Need) -> None:
        """Refuse what no node can give: Ray would wait for ever. More cores than a node has just take longer.

        Raises:
            ConfigError: naming what one process wants and what the largest node has, or how many processes there is
                room for.
        """
        # A node without cores, as a cluster's head may be, takes no work.
        each = {"CPU": LEAST_CPU, "GPU": need.gpus / need.processes, "memory": need.memory / need.processes}
        if _ray_team.fitting(each, self.nodes) < need.processes:
            self._look()
        for name, unit in (("GPU", "GPUs"), ("memory", "bytes of memory")):
            largest = max((node.get(name, 0.0) for node in self.nodes), default=0.0)
            if each[name] > largest:
                raise ConfigError(
                    f"a process of a step needs {each[name]:,.0f} {unit}, the largest node of the Ray cluster has {largest:,.0f}; "
                    "add a larger node, or take a smaller model or batch"
                )
        room = _ray_team.fitting(each, self.nodes)
        if room < need.processes:
            raise ConfigError(
                f"a step is for {need.processes} processes with {each['GPU']:.0f} GPUs and {each['memory']:,.0f} bytes of memory "
                f"each, the Ray cluster has room for {room}; add nodes, or ask for fewer --processes"
            )

    def room(self, need: Need | None) -> bool:
        """Twice what the cluster can run is submitted, so that no node waits for the driver."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._look()
        taken = sum(running.cpus for running in [*self._running.values(), *self._teams.values()])
        return bool(not taken or taken < 2 * self.cpus)

    def submit(self, work: Work, store: Store, need: Need | None) -> None:
        """See `Executor`; a step for several processes goes to Ray Train, which may spread it over nodes."""
        assert need is not None
        processes = work.runtime.processes if team.wanted(work) else 1
        each = {
            "CPU": min(need.cpus / processes, max(node.get("CPU", 0.0) for node in self.nodes)),
            "GPU": need.gpus / processes,
            "memory": need.memory // processes,
        }
        if team.wanted(work):
            while 0 < _ray_team.fitting(each, self.nodes) < processes and each["CPU"] > LEAST_CPU:
                each["CPU"] /= 2  # cores are shared rather than waited for
            running = _Running(work, store, each["CPU"] * processes, self._desk.remote())
            future = self._threads.submit(_ray_team.train, work.to_json(), processes, each, running.desk)
            self._teams[future] = running
            return
        task = self._task.options(
            num_cpus=each["CPU"],
            num_gpus=each["GPU"],
            memory=each["memory"],
            max_retries=self.retries,
            retry_exceptions=False,
            name=f"{work.steps[0].name}: {work.title}",
        )
        self._running[task.remote(work.to_json())] = _Running(work, store, each["CPU"])

    def wait(self, seconds: float) -> list[Finished]:
        """See `Executor`."""
        ended = []
        if self._running:
            ready, _ = self.ray.wait(
                list(self._running), num_returns=1, timeout=0.02 if self._teams else seconds, fetch_local=True
            )
            more, _ = self.ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
            for reference in dict.fromkeys([*ready, *more]):
                running = self._running.pop(reference)
                ended.append(self._end(running, lambda r=reference: self.ray.get(r)))
        if self._teams:
            done, _ = wait_for_futures(self._teams, 0 if ended else seconds, "FIRST_COMPLETED")
            ended += [self._end(self._teams.pop(future), future.result) for future in done]
        return ended

    def _end(self, running: _Running, answer: Any) -> Finished:
        from ray.exceptions import RayError, RayTaskError
        from ray.train import TrainingFailedError

        try:
            return finished(running.work, answer())
        except RayTaskError as error:
            if not isinstance(error.cause, Exception) or isinstance(error.cause, RayError):
                return Finished(running.work, lost=_words(error))
            # Raised outside of the step, e.g. where weakstrong is not installed: it would be raised again.
            for step in running.work.steps:
                note_failure(running.store, step, error.cause)
            failed = [Outcome(step.key, "failed", words_of(error.cause)) for step in running.work.steps]
            return Finished(running.work, failed)
        except (RayError, TrainingFailedError) as error:
            return Finished(running.work, lost=_words(error))

    def cancel(self, *, now: bool = False) -> None:
        """See `Executor`; what does not save its state within two minutes is killed."""
        deadline = time.monotonic() + GRACE_SECONDS
        for running in self._teams.values():
            running.desk.ask.remote(_ray_team.END if now else _ray_team.SAVE)
        for reference in self._running:
            self.ray.cancel(reference, force=now)
        if self._running and not now:
            _, left = self.ray.wait(
                list(self._running), num_returns=len(self._running), timeout=deadline - time.monotonic()
            )
            for reference in left:
                self.ray.cancel(reference, force=True)
        if self._teams and not now:
            _, late = wait_for_futures(self._teams, max(0.0, deadline - time.monotonic()))
            for future in late:
                self._teams[future].desk.ask.remote(_ray_team.END)
        self._running.clear()
        self._teams.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._threads = _threads()

    def close(self) -> None:
        """Leave the cluster; an embedded one ends."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._owns:
            self.ray.shutdown()


@dataclass
class _Running:
    """Work that was submitted, with the cores it asks for and, where it is a team's, its desk."""

    work: Work
    store: Store
    cpus: float
    desk: Any = None


def _threads() -> ThreadPoolExecutor:
    """One for each team: Ray Train blocks."""
    return ThreadPoolExecutor(max_workers=64, thread_name_prefix="ray-train")


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"


def _connect(ray: Any, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray sets a handler of its own; a signal is to save the trainings' states first.
    before = {number: signal.getsignal(number) for number in SIGNALS}
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"no Ray cluster at {address or 'this machine'}: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def _build(message: str) -> str:
    """The remote function: build one piece of work."""
    from weakstrong.stopping import stoppable
    from weakstrong.worker import Worker

    with stoppable() as flag:
        return Worker(flag).answer(message)
