"""Checkpoints of an unfinished training: tensors in safetensors, the rest in JSON, never a pickle.

A file carries the SHA-256 of its own tensors and words in its metadata, so that one that was cut short or changed is
known as such. Of processes that share a training only the main one has files; it tells the others what they say.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from weakstrong.errors import TrainingError
from weakstrong.training.distributed import all_or_none, from_main, is_main, tensor_from_main
from weakstrong.training.sharding import part_of, whole

STATE, BEST, DIGEST = "state.safetensors", "best.safetensors", "sha256"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Checkpoint:
    """The last state of one training in ``folder``, and its best weights so far.

    A state is written beside the old one and renamed, so a kill at any moment leaves a whole one. A state that is not
    whole all the same (a power cut, a failing disk), or whose best weights are gone, is set aside with a warning, and
    training starts from the beginning.

    Args:
        folder: where the files are; only the main process's counts. None: nothing is written.
        seconds: time between two states.
        kept: called with the folder after each state.
    """

    def __init__(
        self, folder: Path | None, seconds: float, kept: Callable[[Path], object] | None = None
    ) -> None:
        self.folder, self.seconds, self.kept, self._last = folder, seconds, kept, time.monotonic()
        self.on_disk: bool = from_main(folder is not None)
        self._best: dict[str, Tensor] | None = None
        self._has_best = False
        if folder is not None and is_main():
            folder.mkdir(parents=True, exist_ok=True)

    def due(self) -> bool:
        """Whether it is time to save."""
        return self.on_disk and time.monotonic() - self._last >= self.seconds

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        meta: dict[str, Any],
        average: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write trained weights, both moments of Adam, the average of the weights if there is one, and ``meta``."""
        if not self.on_disk:
            return
        tensors = {}
        for name, weight in trained(model).items():
            tensors[f"weight.{name}"] = weight
            state = optimizer.state.get(weight, {})
            tensors |= {f"{k}.{name}": v for k, v in state.items() if isinstance(v, Tensor)}
        tensors |= {f"average.{name}": weight for name, weight in (average or {}).items()}
        self._write(STATE, tensors, {"meta": json.dumps(meta), "best": str(int(self._has_best))})
        self._last = time.monotonic()
        with all_or_none("keeping the checkpoint"):
            if self.kept is not None and is_main() and self.folder is not None:
                self.kept(self.folder)

    def load(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Any] | None:
        """Put a saved state back; returns its ``meta``, or None if there is none that can be used."""
        if not self.on_disk:
            return None
        weights = trained(model)
        shapes = {f"weight.{name}": tuple(weight.shape) for name, weight in weights.items()}
        shapes |= {f"average.{name}": tuple(weight.shape) for name, weight in (average or {}).items()}
        tensors, words = self._read_state(shapes) if is_main() else ({}, None)
        words, names = from_main([words, sorted(tensors)])
        if words is None:
            return None
        found = set(names)

        def stored(name: str, like: Tensor) -> Tensor:
            return tensor_from_main(tensors.get(name), like.shape, like.dtype)

        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(part_of(stored(f"weight.{name}", weight), weight))
                state = {}
                for moment in MOMENTS:
                    if f"{moment}.{name}" not in found:
                        continue
                    like = torch.zeros((), device=weight.device) if moment == "step" else weight
                    value = stored(f"{moment}.{name}", like)
                    state[moment] = value.to(like.device) if moment == "step" else part_of(value, weight)
                if state:
                    optimizer.state[weight] = state
            for name, weight in (average or {}).items():
                weight.copy_(part_of(stored(f"average.{name}", weight), weight))
        self._has_best = words["best"] == "1"
        meta: dict[str, Any] = json.loads(words["meta"])
        return meta

    def save_best(self, model: nn.Module) -> None:
        """Keep the present weights as the best; on disk if there is a folder, else in memory."""
        if self.on_disk:
            self._write(BEST, trained(model), {})
        else:
            self._best = {name: weight.detach().clone() for name, weight in trained(model).items()}
        self._has_best = True

    def load_best(self, model: nn.Module) -> None:
        """Put the best weights back.

        Raises:
            TrainingError: if their file was damaged since it was written; the next run starts from the beginning.
        """
        tensors = self._best or {}
        if self.on_disk:
            with all_or_none("reading the best weights"):
                if is_main():
                    assert self.folder is not None
                    try:
                        tensors, _ = read_tensors(self.folder / BEST)
                    except (OSError, SafetensorError, ValueError) as error:
                        raise TrainingError(
                            f"{self.folder / BEST} cannot be used ({error}); run again to train from the beginning"
                        ) from error
        with torch.no_grad():
            for name, weight in trained(model).items():
                best = tensors.get(name)
                if self.on_disk:
                    best = part_of(tensor_from_main(best, weight.shape, weight.dtype), weight)
                assert best is not None
                weight.copy_(best)

    def _read_state(
        self, shapes: Mapping[str, tuple[int, ...]]
    ) -> tuple[dict[str, Tensor], dict[str, str] | None]:
        """Tensors and words of a whole state that has ``shapes``; none of a missing or damaged one."""
        assert self.folder is not None
        path = self.folder / STATE
        if not path.exists():
            return {}, None
        try:
            tensors, words = read_tensors(path)
            for name, shape in shapes.items():
                if name not in tensors or tuple(tensors[name].shape) != shape:
                    raise ValueError(f"it has no {name} of shape {shape}")
            if words["best"] == "1":
                read_tensors(self.folder / BEST)
        except (OSError, SafetensorError, ValueError) as error:
            for damaged in (path, self.folder / BEST):
                if damaged.exists():
                    os.replace(damaged, damaged.with_suffix(".damaged"))
            warnings.warn(
                f"the checkpoint in {self.folder} cannot be used ({error}); its files are set aside as *.damaged, "
                "and training starts from the beginning",
                stacklevel=2,
            )
            return {}, None
        return tensors, words

    def _write(self, file: str, tensors: Mapping[str, Tensor], words: dict[str, str]) -> None:
        """On the main rank write whole tensors, on others help to gather them."""
        found = {}
        for name, values in tensors.items():
            gathered = whole(values.detach())
            if is_main():
                found[name] = gathered.contiguous().cpu()
        with all_or_none("writing the checkpoint"):
            if is_main():
                assert self.folder is not None
                write_tensors(self.folder / file, found, words)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], words: dict[str, str]) -> None:
    """Write a file with its digest, beside an old one first, so that one of both is whole at any moment."""
    building = path.with_suffix(".building")
    save_file(dict(tensors), building, metadata=words | {DIGEST: _digest(tensors, words)})
    with building.open("rb+") as file:  # a name that points to unwritten blocks is what a power cut leaves
        os.fsync(file.fileno())
    os.replace(building, path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, on the CPU, and words of a file that `write_tensors` wrote.

    Raises:
        ValueError: if the content is not what was written; also SafetensorError and OSError.
    """
    with safe_open(path, "pt") as file:
        words = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if words.pop(DIGEST, None) != _digest(tensors, words):
        raise ValueError("its content does not have the SHA-256 that was written with it")
    return tensors, words


def _digest(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> str:
    found = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
    for name in sorted(tensors):
        values = tensors[name]
        found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        found.update(values.reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def trained(model: nn.Module) -> dict[str, Tensor]:
    """Parameters that training changes, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
