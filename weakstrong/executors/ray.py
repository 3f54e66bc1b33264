"""Steps as tasks of Ray: embedded on this machine, or on a cluster.

Ray places and retries; it keeps nothing. A driver that dies loses what was running, and the same command continues.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weakstrong import team
from weakstrong.errors import ConfigError
from weakstrong.executors.base import EXECUTORS, Finished, Progress, finished, refuse_options
from weakstrong.stopping import StopFlag
from weakstrong.store import Store
from weakstrong.work import Work

if TYPE_CHECKING:
    from weakstrong.resources import Need

OBJECT_STORE_BYTES = 150 * 2**20
"""Messages are small: steps exchange keys of a store, never tensors."""
GRACE_SECONDS = 120.0


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
        self.retries = int(options.get("retries", "0"))
        address = options.get("address")
        self._owns = not self.ray.is_initialized()
        if address is not None and not self._owns:
            raise ConfigError(
                f"this process is connected to a Ray cluster already; leave address={address} out"
            )
        if self._owns:
            _connect(self.ray, address)
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        self.largest = {
            what: max(node.get(name, 0.0) for node in nodes)
            for what, name in (("cpus", "CPU"), ("gpus", "GPU"), ("memory", "memory"))
        }
        self.cpus = float(sum(node.get("CPU", 0.0) for node in nodes))
        self.slots = max(1, int(self.cpus))
        self._task = self.ray.remote(_build)
        self._running: dict[Any, tuple[Work, float]] = {}
        self._teams: dict[Future[str], tuple[Work, float]] = {}
        self._threads = ThreadPoolExecutor(max_workers=64, thread_name_prefix="ray-train")

    def listen(self, progress: Progress) -> None:
        """Progress of a task is in its note in the store (``w2s status``); Ray carries none."""

    def check(self, need: Need) -> None:
        """Refuse what no node can give: Ray would wait for ever. More cores than a node has just take longer.

        Raises:
            ConfigError: naming what is wanted and what the largest node has.
        """
        for what, wanted in (("gpus", need.gpus), ("memory", need.memory)):
            if wanted > self.largest[what]:
                unit = "bytes of memory" if what == "memory" else "GPUs"
                raise ConfigError(
                    f"a step needs {wanted:,} {unit}, the largest node of the Ray cluster has {self.largest[what]:,.0f}; "
                    "add a larger node, or take a smaller model or batch"
                )

    def room(self, need: Need | None) -> bool:
        """Twice what the cluster can run is submitted, so that no node waits for the driver."""
        taken = sum(cpus for _, cpus in [*self._running.values(), *self._teams.values()])
        return bool(not taken or taken < 2 * self.cpus)

    def submit(self, work: Work, store: Store, need: Need | None) -> None:
        """See `Executor`; a step for several processes goes to Ray Train, which may spread it over nodes."""
        assert need is not None
        cpus = min(float(need.cpus), self.largest["cpus"])
        if team.wanted(work):
            future = self._threads.submit(_train, work.to_json(), work.runtime.processes, cpus, need.gpus)
            self._teams[future] = (work, cpus * work.runtime.processes)
            return
        task = self._task.options(
            num_cpus=cpus,
            num_gpus=need.gpus,
            memory=need.memory,
            max_retries=self.retries,
            retry_exceptions=False,
            name=f"{work.steps[0].name}: {work.title}",
        )
        self._running[task.remote(work.to_json())] = (work, cpus)

    def wait(self, seconds: float) -> list[Finished]:
        """See `Executor`."""
        ended = []
        if self._running:
            ready, _ = self.ray.wait(
                list(self._running), num_returns=1, timeout=0.02 if self._teams else seconds, fetch_local=True
            )
            more, _ = self.ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
            for reference in dict.fromkeys([*ready, *more]):
                work, _ = self._running.pop(reference)
                ended.append(self._end(work, lambda r=reference: self.ray.get(r)))
        if self._teams:
            done, _ = wait_for_futures(self._teams, 0 if ended else seconds, "FIRST_COMPLETED")
            for future in done:
                work, _ = self._teams.pop(future)
                ended.append(self._end(work, future.result))
        return ended

    def _end(self, work: Work, answer: Any) -> Finished:
        from ray.exceptions import RayError
        from ray.train import TrainingFailedError

        try:
            return finished(work, answer())
        except (RayError, TrainingFailedError) as error:
            return Finished(work, lost=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")

    def cancel(self, *, now: bool = False) -> None:
        """See `Executor`; tasks that do not save their state within two minutes are killed."""
        for reference in self._running:
            self.ray.cancel(reference, force=now)
        if self._running and not now:
            deadline = time.monotonic() + GRACE_SECONDS
            _, left = self.ray.wait(
                list(self._running), num_returns=len(self._running), timeout=deadline - time.monotonic()
            )
            for reference in left:
                self.ray.cancel(reference, force=True)
        self._running.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Leave the cluster; an embedded one ends."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._owns:
            self.ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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


def _build(message: str) -> str:
    """The remote function: build one piece of work."""
    from weakstrong.stopping import stoppable
    from weakstrong.worker import Worker

    with stoppable() as flag:
        return Worker(flag).answer(message)


def _train(message: str, processes: int, cpus: float, gpus: int) -> str:
    """One step in several processes by Ray Train; the first one's answer."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        _member,
        train_loop_config={"message": message},
        scaling_config=ScalingConfig(
            num_workers=processes,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": max(1.0, cpus / processes)},
        ),
        # Nothing is kept there: checkpoints and results are the store's.
        run_config=RunConfig(storage_path=str(Path(tempfile.gettempdir(), "weakstrong-ray"))),
    )
    return str(trainer.fit().return_value)


def _member(config: dict[str, str]) -> str | None:
    """What each worker of Ray Train does; the value of the first one comes back."""
    return team.member(config["message"])
