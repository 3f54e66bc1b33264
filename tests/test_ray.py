"""Ray apart from what every executor does: nodes that come later, teams over several nodes, whose signals are caught."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from weakstrong.errors import ConfigError
from weakstrong.executors.base import Session
from weakstrong.resources import Need


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with one core; tests add nodes."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 * 2**20})
    yield made
    made.shutdown()


def need(gpus: int, processes: int) -> Need:
    return Need(1, gpus, 2**20, 0.0, 0.0, processes)


def test_nodes_that_join_later_count_and_teams_spread_over_them(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run refused for what there is by now, that never uses half of its cluster, or one process in two places."""
    from weakstrong.executors import ray as module

    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    with Session(f"ray:address={cluster.address}") as session:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        ray = session.executor
        after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        assert after == before == [session.flag.handle] * 2  # or SIGTERM ends the run with nothing saved
        assert ray.slots == 1
        with pytest.raises(ConfigError, match=r"process of a step needs 1 GPUs, the largest node .* has 0"):
            ray.check(need(1, 1))
        for _ in range(2):
            cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=100 * 2**20)
        cluster.wait_for_nodes()
        ray.check(need(1, 1))
        ray.check(need(2, 2))
        with pytest.raises(ConfigError, match=r"process of a step needs 2 GPUs, the largest node .* has 1"):
            ray.check(need(2, 1))
        with pytest.raises(ConfigError, match=r"3 processes with 1 GPUs .* has room for 2"):
            ray.check(need(3, 3))
        assert ray.room(None)
        assert ray.slots == 5
