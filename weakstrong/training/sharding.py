"""A model too big for every process to hold its training state: weights, gradients and moments in shards (FSDP2).

Plain torch: Accelerate 1.15 ignores its FSDP2 plugin on the CPU without a word and gives DDP.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from weakstrong.errors import TrainingError
from weakstrong.training.distributed import joined
from weakstrong.training.spec import Runtime


def needs_shards(model: nn.Module, runtime: Runtime) -> bool:
    """Whether several processes share the step and the model has more parameters than `Runtime.shard_above`."""
    return joined()[1] > 1 and sum(p.numel() for p in model.parameters()) > runtime.shard_above


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` was applied to ``model``."""
    return isinstance(model, FSDPModule)


def shard(model: nn.Module, device: str) -> nn.Module:
    """Shard the weights of ``model`` in place, layer by layer; the model must be equal on all ranks.

    Returns:
        the model as it was, without weights, for `gathered`.

    Raises:
        TrainingError: if a parameter is not a shard afterwards.
    """
    empty = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    frame: nn.Module = copy.deepcopy(model, dict(empty))
    mesh = init_device_mesh(torch.device(device).type, (joined()[1],))
    # The root too gives its whole weights back after a forward pass, or the next one would see those of before a step.
    for module in (*_layers(model), model):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    whole = [name for name, p in model.named_parameters() if not isinstance(p, DTensor)]
    if whole or not is_sharded(model):
        raise TrainingError(f"{len(whole)} parameters are not sharded, first {whole[:1]}; raise shard_above")
    return frame


def gathered(model: nn.Module, frame: nn.Module, device: str) -> nn.Module:
    """``frame`` with the weights of the sharded ``model``: an ordinary model again, on every rank."""
    weights = {id(p): p for p in frame.parameters()}
    for (name, hollow), (same, part) in zip(frame.named_parameters(), model.named_parameters(), strict=True):
        assert name == same
        weights[id(hollow)] = nn.Parameter(whole(part.detach()), hollow.requires_grad)
    for module in frame.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = weights[id(parameter)]
    return frame.to(device)


def whole(values: Tensor) -> Tensor:
    """The whole tensor, gathered from all ranks if ``values`` is a shard; every rank must ask."""
    return values.full_tensor() if isinstance(values, DTensor) else values


def part_of(values: Tensor, like: Tensor) -> Tensor:
    """Of a whole tensor what this rank holds, where ``like`` is a shard; no communication."""
    values = values.to(like.device)
    if not isinstance(like, DTensor):
        return values
    return distribute_tensor(values, like.device_mesh, like.placements, src_data_rank=None)


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """The transformer layers: children of lists as long as the model is deep."""
    depths = {m.config.num_hidden_layers for m in model.modules() if isinstance(m, nn.Module) and _deep(m)}
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) in depths:
            yield from module


def _deep(module: nn.Module) -> bool:
    return getattr(getattr(module, "config", None), "num_hidden_layers", None) is not None
