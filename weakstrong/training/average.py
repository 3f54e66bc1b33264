"""Exponential moving average of a model's trained weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from weakstrong.training.checkpoint import trained


def ema_decay(decay: float, step: int) -> float:
    """Decay of the average at ``step`` (from 1): small at first, so that the start does not linger.

    >>> [round(ema_decay(0.99, step), 2) for step in (1, 10, 10_000)]
    [0.18, 0.55, 0.99]
    """
    return min(decay, (1 + step) / (10 + step))


class Average:
    """The running average of a model's trained weights; does nothing where ``decay`` is 0."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = (
            {name: weight.detach().clone() for name, weight in trained(model).items()} if decay else {}
        )

    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the weights after ``step``."""
        with torch.no_grad():
            for name, weight in trained(model).items() if self.weights else ():
                self.weights[name].lerp_(weight, 1 - ema_decay(self.decay, step))

    def keep(self, model: nn.Module) -> None:
        """Put the average into the model for good."""
        _copy(self.weights, model)

    @contextlib.contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """The model holds the average inside, its own weights after."""
        own = {n: w.detach().clone() for n, w in trained(model).items()} if self.weights else {}
        self.keep(model)
        try:
            yield
        finally:
            _copy(own, model)


def _copy(weights: dict[str, Tensor], model: nn.Module) -> None:
    with torch.no_grad():
        for name, weight in trained(model).items() if weights else ():
            weight.copy_(weights[name])
