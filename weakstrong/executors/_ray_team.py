"""One step in several processes of Ray Train, and the desk through which driver and team speak. No executor."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weakstrong import team
from weakstrong.errors import Stopped
from weakstrong.stopping import StopFlag
from weakstrong.work import stop_to_json

SAVE, END = 1, 2
"""What a team is asked for: to save its state and stop, to end at once."""
POLL_SECONDS = 1.0


class Desk:
    """An actor beside a team: the driver leaves a wish there, and the team's first process its answer.

    So the answer stands though Ray Train then reports a failed training, as it does when that process ends alone.
    """

    def __init__(self) -> None:
        self._wish, self._answer = 0, ""

    def ask(self, wish: int) -> None:
        """Leave `SAVE` or `END`."""
        self._wish = max(self._wish, wish)

    def wish(self) -> int:
        """What was asked for; 0 for nothing."""
        return self._wish

    def leave(self, answer: str) -> None:
        """Leave the team's answer."""
        self._answer = answer

    def answer(self) -> str:
        """The team's answer; "" for none."""
        return self._answer


def train(message: str, processes: int, each: Mapping[str, float], desk: Any) -> str:
    """Do the work of ``message``; the answer of its first process.

    Args:
        each: resources of one process, as Ray names them.
        desk: handle of a `Desk`.

    Raises:
        TrainingFailedError: (Ray's) if the team died without an answer.
    """
    import ray
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        _member,
        train_loop_config={"message": message, "desk": desk},
        scaling_config=ScalingConfig(
            num_workers=processes, use_gpu=each.get("GPU", 0) > 0, resources_per_worker=dict(each)
        ),
        # Nothing is kept there: checkpoints and results are the store's.
        run_config=RunConfig(storage_path=str(Path(tempfile.gettempdir(), "weakstrong-ray"))),
    )
    try:
        trainer.fit()
    except TrainingFailedError:
        if not ray.get(desk.answer.remote()):
            raise
    return str(ray.get(desk.answer.remote()))


def _member(config: dict[str, Any]) -> None:
    """What each worker of Ray Train does."""
    import ray

    from weakstrong.training.distributed import is_main

    desk, flag, over, share = config["desk"], StopFlag(), threading.Event(), 0.0

    def listen() -> None:
        # Ray Train runs this in a thread, which signals do not reach.
        while not over.wait(POLL_SECONDS):
            wish = ray.get(desk.wish.remote())
            if wish == END:
                os._exit(1)
            if wish == SAVE:
                flag.signal = signal.SIGTERM

    def tell(done: float, total: float, words: str) -> None:
        nonlocal share
        share = done / total if total else 1.0

    def leave(answer: str) -> None:
        ray.get(desk.leave.remote(answer))

    threading.Thread(target=listen, daemon=True).start()
    try:
        team.member(config["message"], leave, tell, flag)
    except Stopped as stopped:
        if is_main():
            leave(stop_to_json(stopped, share))
    finally:
        over.set()


def fitting(each: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> int:
    """How many processes that ask for ``each`` the nodes hold at once, with nothing else on them."""
    return sum(
        min((int(node.get(name, 0.0) / amount) for name, amount in each.items() if amount > 0), default=0)
        for node in nodes
    )
