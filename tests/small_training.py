"""What tests of a training that is killed, stopped or damaged share: one that takes milliseconds a step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weakstrong.methods import parse_method
from weakstrong.models.base import parse_model
from weakstrong.training.finetune import finetune
from weakstrong.training.fit import History
from weakstrong.training.spec import Finetune, Runtime

SPEC = Finetune(epochs=3, batch_rows=4, learning_rate=2e-3, precision="fp32", dropout=0.1)


def train(
    model: Path,
    soft_rows: Path,
    spec: Finetune,
    scratch: Path | None,
    method: str = "confidence",
    **runtime: Any,
) -> tuple[dict[str, torch.Tensor], History]:
    stored = np.load(soft_rows)
    texts, probs_NC = stored["texts"].tolist(), stored["probs_NC"]
    network, _, history = finetune(
        parse_model(str(model)), ("no", "yes"), (texts[:48], probs_NC[:48]), (texts[48:], probs_NC[48:]),
        parse_method(method), spec, 0, Runtime(micro_batch_tokens=40, **runtime), scratch,
    )  # fmt: skip
    return {name: p.detach() for name, p in network.named_parameters()}, history


def differing(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> list[str]:
    assert found.keys() == wanted.keys()
    return [n for n in wanted if not torch.equal(found[n], wanted[n])]


def after(steps: int) -> Callable[[], bool]:
    """Yes from the ``steps``-th question on."""
    asked = itertools.count(1)
    return lambda: next(asked) >= steps
