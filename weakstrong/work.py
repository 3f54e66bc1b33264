"""Pieces of work as messages: which steps, which store, how; and what became of them. No torch.

Between machines go the recipes of steps and the URL of a store, as JSON; never tensors, and never a pickle of ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from typing import Any, Literal

from weakstrong.errors import ConfigError, Stopped, StoreError
from weakstrong.spec import Spec
from weakstrong.store import Step
from weakstrong.training.spec import Runtime

Status = Literal["done", "cached", "busy", "failed", "damaged"]
CALLS = ("progress", "stopping", "kept")
"""Fields of `Runtime` that are functions of one process."""


class LostError(Exception):
    """The processes that did the work died without an answer; it may be given out again."""


class PausedError(Exception):
    """The processes that did the work were stopped from outside, e.g. by a time limit, with its state saved.

    Attributes:
        share: of the work, in [0, 1], that was done; as far as it was told.
    """

    def __init__(self, words: str, share: float) -> None:
        super().__init__(words)
        self.share = share


@dataclass(frozen=True)
class Outcome:
    """What became of one step.

    Attributes:
        key: of the step.
        status: ``done`` and ``cached`` are stored; ``busy`` is being built by another process; ``damaged`` was not
            built because the stored input named by ``damaged`` is.
        words: why it failed.
        seconds: its share of the time that its group took.
        damaged: kind and key of a stored input whose files are not what its record says.
    """

    key: str
    status: Status
    words: str = ""
    seconds: float = 0.0
    damaged: tuple[str, str] | None = None


@dataclass(frozen=True)
class Work:
    """Steps that are built in one call, where their inputs and results live, and how to run."""

    steps: tuple[Step, ...]
    store: str
    runtime: Runtime

    @property
    def title(self) -> str:
        """Words for people, e.g. of a log."""
        more = f" and {len(self.steps) - 1} more" if len(self.steps) > 1 else ""
        return f"{self.steps[0].title}{more}"

    def to_json(self) -> str:
        """The message: every step with all that it needs, dependencies first."""
        runtime = asdict(replace(self.runtime, progress=None, stopping=None, kept=None))
        return json.dumps(
            {
                "steps": _listed(self.steps),
                "wanted": [step.key for step in self.steps],
                "store": self.store,
                "runtime": {k: v for k, v in runtime.items() if k not in CALLS},
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str, known: dict[str, Step] | None = None) -> Work:
        """Rebuild the steps; ``known`` keeps them between messages.

        Raises:
            ConfigError: if a rebuilt step has another key: sender and receiver run different code.
        """
        message = json.loads(text)
        made = {} if known is None else known
        for values in message["steps"]:
            if values["key"] not in made:
                made[values["key"]] = _rebuilt(values, made)
        steps = tuple(made[key] for key in message["wanted"])
        return cls(steps, message["store"], Runtime(**message["runtime"]))


def _listed(steps: Sequence[Step]) -> list[dict[str, Any]]:
    seen: dict[str, dict[str, Any]] = {}

    def add(step: Step) -> None:
        if step.key in seen:
            return
        for needed in step.inputs.values():
            add(needed)
        kind = type(step.spec)
        seen[step.key] = {
            "key": step.key,
            "name": step.name,
            "version": step.version,
            "class": f"{kind.__module__}:{kind.__qualname__}",
            "spec": step.spec.to_dict(),
            "inputs": {role: needed.key for role, needed in step.inputs.items()},
            "builder": step.builder,
            "group": step.group,
            "title": step.title,
        }

    for step in steps:
        add(step)
    return list(seen.values())


def _rebuilt(values: dict[str, Any], made: dict[str, Step]) -> Step:
    module, _, name = values["class"].partition(":")
    try:
        kind = getattr(import_module(module), name)
    except Exception as error:  # whatever a module raises when it is imported
        raise ConfigError(
            f"{values['class']} of the step {values['title']!r} cannot be imported where it is to run: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Spec)):
        raise ConfigError(f"{values['class']} is no spec, so the step {values['title']!r} cannot be rebuilt")
    step = Step(
        values["name"],
        values["version"],
        kind.parse(values["spec"], values["title"]),
        {role: made[key] for role, key in values["inputs"].items()},
        values["builder"],
        values["group"],
        values["title"],
    )
    if step.key != values["key"]:
        raise ConfigError(
            f"{step.name} ({step.title}) has the key {step.key[:12]} here and {values['key'][:12]} where it was planned; "
            "install the same version of weakstrong on every machine"
        )
    return step


def outcomes_to_json(outcomes: Sequence[Outcome]) -> str:
    """What a worker answers."""
    return json.dumps({"outcomes": [asdict(o) for o in outcomes]}, ensure_ascii=False)


def error_to_json(error: Exception) -> str:
    """What a worker answers when the store itself failed, so that the run must end."""
    return json.dumps({"error": type(error).__name__, "words": str(error)}, ensure_ascii=False)


def stop_to_json(stopped: Stopped, share: float) -> str:
    """What a worker answers that was stopped from outside after ``share`` of the work."""
    if not stopped.saved:
        return error_to_json(LostError(str(stopped)))
    return json.dumps({"stopped": str(stopped), "share": share}, ensure_ascii=False)


def answer_from_json(text: str) -> list[Outcome]:
    """Outcomes of an answer.

    Raises:
        StoreError: if the worker's store failed.
        ConfigError: if the worker could not take the work at all.
        LostError: if processes that the worker had started died.
        PausedError: if the worker was stopped with the state of the work saved.
    """
    answer = json.loads(text)
    if "stopped" in answer:
        raise PausedError(answer["stopped"], answer["share"])
    if answer.get("error") == LostError.__name__:
        raise LostError(answer["words"])
    if "error" in answer:
        import weakstrong.errors

        kind = getattr(weakstrong.errors, answer["error"], None)
        raise (kind if kind is not None and issubclass(kind, (StoreError, ConfigError)) else StoreError)(
            answer["words"]
        )
    return [Outcome(**o | {"damaged": o["damaged"] and tuple(o["damaged"])}) for o in answer["outcomes"]]
