"""What is computed, as values: a `Step` that says what, and the `Job` of building one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from weakstrong.spec import Spec, digest


@dataclass(frozen=True, eq=False)
class Step:
    """One unit of work, named by what decides its result.

    Attributes:
        name: the step's kind, e.g. ``"features"``; also its folder in the store.
        version: raised whenever the code's numbers change; golden tests enforce it.
        spec: every parameter that decides the result.
        inputs: role -> the step it reads. Roles are part of the key.
        builder: ``"module:function"``, imported when the step runs; the function takes a list of `Job` and a `Runtime`.
        group: steps with the same group may be built together in one call (one pass, one vectorised training).
        title: words for people; not part of the key.
    """

    name: str
    version: int
    spec: Spec
    inputs: Mapping[str, Step] = field(default_factory=dict)
    builder: str = ""
    group: str = ""
    title: str = ""

    @cached_property
    def key(self) -> str:
        """64 hexadecimal digits; equal for equal recipes in every process and on every machine."""
        inputs = ",".join(f'["{role}","{self.inputs[role].key}"]' for role in sorted(self.inputs))
        return digest(
            f'{{"inputs":[{inputs}],"spec":{self.spec.canonical_json},"step":"{self.name}","version":{self.version}}}'
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def recipe(self) -> dict[str, Any]:
        """What was hashed, as plain JSON values."""
        return {
            "step": self.name,
            "version": self.version,
            "spec": json.loads(self.spec.canonical_json),
            "inputs": {role: step.key for role, step in sorted(self.inputs.items())},
        }

    def build_function(self) -> Callable[..., None]:
        """Import and return the function that computes this step."""
        module, _, name = self.builder.partition(":")
        function: Callable[..., None] = getattr(import_module(module), name)
        return function


@dataclass
class Job:
    """A step that is being built: where its inputs lie, where its files go, what it wants to say.

    Attributes:
        out: an empty folder; every file left in it becomes part of the result.
        inputs: role -> folder of the stored input.
        scratch: a folder that survives a kill and is removed when the step is done (checkpoints).
        summary: small JSON values for the record, e.g. a final loss.
        error: set to a `WeakStrongError` by a builder of several jobs when only this one failed.
    """

    step: Step
    out: Path
    inputs: dict[str, Path]
    scratch: Path
    summary: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None
