"""Several processes that share one training step: which one this is, and what they tell each other.

torchrun starts the processes and `group` joins them; a group that somebody joined before (Ray Train) is used as it is.
Every function here that takes part in a group must be called by all of its processes in the same order. What they tell
each other is tensors and JSON, never a pickle. With one process each function gives its argument back.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from weakstrong.errors import ConfigError, TrainingError

PATIENCE = datetime.timedelta(hours=1)
"""How long a process waits for the others: the main one may be writing or reading a large checkpoint."""


def has_joined() -> bool:
    """Whether this process is in a group."""
    return bool(dist.is_available() and dist.is_initialized())


def joined() -> tuple[int, int]:
    """Rank of this process in the group it joined, and the group's size; (0, 1) without a group."""
    return (dist.get_rank(), dist.get_world_size()) if has_joined() else (0, 1)


def rank() -> int:
    """Rank of this process: in the group it joined, else the one torchrun gave it, else 0."""
    return joined()[0] if has_joined() else int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Processes that share this step: of the group that was joined, else what torchrun started, else 1."""
    return joined()[1] if has_joined() else int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes files and tells of progress; rank 0."""
    return rank() == 0


@contextlib.contextmanager
def group(device: str) -> Iterator[None]:
    """Join the processes that torchrun started, with gloo on the CPU and nccl beside it on ``cuda``; leave them after.

    Does nothing for a single process, or where a group was joined before. On ``cuda`` each process takes the device of
    its local rank, so `Runtime.device` is plain ``cuda``, without a number.
    """
    if world_size() == 1 or has_joined():
        yield
        return
    # Accelerate takes as many threads as it likes, with a warning, where this is not set.
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    if torch.device(device).type == "cuda":
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(own)
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=PATIENCE, device_id=own)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def require_group() -> None:
    """Refuse to train alone where several processes were started.

    Raises:
        ConfigError: if torchrun started several processes and this one joined no group.
    """
    if world_size() != joined()[1]:
        raise ConfigError(
            f"{world_size()} processes were started (WORLD_SIZE), but this one has not joined the others; "
            "call inside `with weakstrong.training.distributed.group(device)`, or unset WORLD_SIZE"
        )


@contextlib.contextmanager
def all_or_none(what: str) -> Iterator[None]:
    """All processes come through the block, or all raise: one that fails alone would leave the others waiting.

    Raises:
        TrainingError: on a process that came through, if another did not.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as failed:
        error = failed
    failures = gather([float(error is not None)])[:, 0]
    if error is not None:
        raise error
    if failures.any():
        names = ", ".join(str(r) for r in failures.nonzero().flatten().tolist())
        raise TrainingError(
            f"{what} failed on process {names} of {len(failures)}; the log of that one says why"
        )


def gather(numbers: Sequence[float]) -> Tensor:
    """Each rank's numbers, float64 [ranks, numbers], on the CPU."""
    own = torch.tensor([list(numbers)], dtype=torch.float64)
    size = joined()[1]
    if size == 1:
        return own
    rows = [torch.empty_like(own, device=_wire()) for _ in range(size)]
    dist.all_gather(rows, own.to(_wire()))
    return torch.cat(rows).cpu()


def any_rank(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether it is raised on any rank."""
    return tuple(bool(count) for count in gather([float(flag) for flag in flags]).sum(0))


def add_up(values: Tensor) -> Tensor:
    """The sum over ranks. Where all but one rank hold zeros, that one's values to the bit."""
    if joined()[1] == 1:
        return values
    total = values.detach().clone().to(_wire())
    dist.all_reduce(total)
    return total.to(values.device)


def from_main(value: Any) -> Any:
    """What the main rank holds: anything JSON can say (tuples become lists), on every rank alike."""
    if joined()[1] == 1:
        return value
    words = json.dumps(value).encode() if is_main() else b""
    length = tensor_from_main(torch.tensor([len(words)]), (1,), torch.int64)
    data = torch.frombuffer(bytearray(words), dtype=torch.uint8) if words else None
    return json.loads(bytes(tensor_from_main(data, (int(length),), torch.uint8).tolist()))


def tensor_from_main(values: Tensor | None, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The main rank's tensor of ``shape`` and ``dtype``; other ranks' ``values`` are ignored."""
    if joined()[1] == 1:
        assert values is not None
        return values
    if is_main():
        assert values is not None
        told = values.to(_wire()).contiguous()
    else:
        told = torch.empty(tuple(shape), dtype=dtype, device=_wire())
    dist.broadcast(told, 0)
    return told


def _wire() -> torch.device:
    """The device whose tensors the group can send."""
    if "gloo" in dist.get_backend_config():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())
