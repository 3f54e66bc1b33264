"""Checkpoints of an unfinished training: tensors in safetensors, the rest in JSON, never a pickle."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class Checkpoint:
    """The last state of one training in ``folder``, and its best weights so far.

    A state is written beside the old one and renamed, so a kill at any moment leaves a whole one.
    """

    def __init__(self, folder: Path | None, seconds: float) -> None:
        self.folder, self.seconds, self._last = folder, seconds, time.monotonic()
        self._best: dict[str, Tensor] | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def due(self) -> bool:
        """Whether it is time to save."""
        return self.folder is not None and time.monotonic() - self._last >= self.seconds

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        meta: dict[str, Any],
        average: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write trained weights, both moments of Adam, the average of the weights if there is one, and ``meta``."""
        if self.folder is None:
            return
        tensors = {}
        for name, weight in trained(model).items():
            tensors[f"weight.{name}"] = weight
            state = optimizer.state.get(weight, {})
            tensors |= {f"{k}.{name}": v for k, v in state.items() if isinstance(v, Tensor)}
        tensors |= {f"average.{name}": weight for name, weight in (average or {}).items()}
        self._write(self.folder / "state.safetensors", tensors, {"meta": json.dumps(meta)})
        self._last = time.monotonic()

    def load(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Any] | None:
        """Put a saved state back; returns its ``meta``, or None if there is none."""
        path = None if self.folder is None else self.folder / "state.safetensors"
        if path is None or not path.exists():
            return None
        tensors = load_file(path)
        with torch.no_grad():
            for name, weight in trained(model).items():
                weight.copy_(tensors[f"weight.{name}"])
                state = {
                    k: tensors[f"{k}.{name}"]
                    for k in ("step", "exp_avg", "exp_avg_sq")
                    if f"{k}.{name}" in tensors
                }
                if state:
                    optimizer.state[weight] = {
                        k: v.to(v.device if k == "step" else weight.device) for k, v in state.items()
                    }
            for name, weight in (average or {}).items():
                weight.copy_(tensors[f"average.{name}"])
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            meta: dict[str, Any] = json.loads(file.metadata()["meta"])
        return meta

    def save_best(self, model: nn.Module) -> None:
        """Keep the present weights as the best; on disk if there is a folder, else in memory."""
        if self.folder is None:
            self._best = {name: weight.detach().clone() for name, weight in trained(model).items()}
        else:
            self._write(self.folder / "best.safetensors", trained(model), {})

    def load_best(self, model: nn.Module) -> None:
        """Put the best weights back."""
        best = self._best if self.folder is None else load_file(self.folder / "best.safetensors")
        assert best is not None
        with torch.no_grad():
            for name, weight in trained(model).items():
                weight.copy_(best[name])

    def _write(self, path: Path, tensors: dict[str, Tensor], meta: dict[str, str]) -> None:
        building = path.with_suffix(".building")
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, building, metadata=meta)
        os.replace(building, path)


def trained(model: nn.Module) -> dict[str, Tensor]:
    """Parameters that training changes, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
