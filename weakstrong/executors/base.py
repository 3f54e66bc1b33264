"""What an executor is: something that takes pieces of work and says what became of them.

The scheduler (`weakstrong.schedule`) decides what may run; an executor only runs it, here or elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from weakstrong.errors import ConfigError
from weakstrong.redact import without_secrets
from weakstrong.registry import Registry
from weakstrong.stopping import StopFlag, stoppable
from weakstrong.store import Store
from weakstrong.work import LostError, Outcome, PausedError, Work, answer_from_json

if TYPE_CHECKING:
    from weakstrong.resources import Need

TAIL_BYTES = 4096
"""Of a log, in which its last line is looked for."""

EXECUTORS: Registry[type[Executor]] = Registry("executor", "weakstrong.executors", __file__)


@dataclass
class Finished:
    """The end of one piece of work.

    Attributes:
        work: as it was submitted.
        outcomes: one for each step; empty if the worker died.
        lost: how the worker died (a signal, a node that went away), or "".
        stopped: how it was stopped with the state of the work saved (a time limit), or "".
        share: of the work, in [0, 1], that was done by then.
        log: file with what it printed, or "".
    """

    work: Work
    outcomes: list[Outcome] = field(default_factory=list)
    lost: str = ""
    stopped: str = ""
    share: float = 0.0
    log: str = ""


Progress = Callable[[Work, float, str], None]


class Executor(Protocol):
    """Runs work. Steps exchange store keys, never tensors."""

    asks_needs: bool
    """Whether it wants to know what work needs; estimates cost time that tiny steps do not have."""

    def __init__(self, flag: StopFlag, **options: str) -> None:
        """``flag`` knows whether this process was asked to stop; ``options`` are the executor's own.

        Raises:
            ConfigError: for an option that it does not have, or if its library is missing.
        """

    def listen(self, progress: Progress) -> None:
        """From now on tell ``progress`` of (work, share in [0, 1], words), where that is known."""

    def check(self, need: Need) -> None:
        """Refuse what can never run here, before it is submitted.

        Raises:
            ConfigError: naming what is wanted and what there is.
        """

    @property
    def slots(self) -> int:
        """How many pieces of work it can run at once, roughly; groups of steps are cut to keep all busy."""

    def room(self, need: Need | None) -> bool:
        """Whether more work with this need may be submitted now."""

    def submit(self, work: Work, store: Store, need: Need | None) -> None:
        """Take work; returns at once."""

    def wait(self, seconds: float) -> list[Finished]:
        """Work that has ended since; waits up to ``seconds`` for the first.

        Raises:
            StoreError: if a worker says that the store itself failed.
        """

    def cancel(self, *, now: bool = False) -> None:
        """Stop all work: ask trainings to save their state and wait for them, or ``now`` kill."""

    def close(self) -> None:
        """Give back workers and connections."""


class Session:
    """An executor by name for one or several calls of `weakstrong.schedule.run_steps`; started when it is first needed.

    Attributes:
        name: of the executor.
        flag: whether this process was asked to stop.

    Args:
        text: a name with options, such as ``process:workers=4`` or ``ray:address=auto``.

    Raises:
        ConfigError: for an unknown name, or options that are not ``option=value``.
    """

    def __init__(self, text: str = "local") -> None:
        self.name, _, rest = text.partition(":")
        pairs = [part.partition("=") for part in filter(None, rest.split(","))]
        for option, equals, _ in pairs:
            if not equals:
                raise ConfigError(
                    f"executor {text!r}: {option!r} is not option=value, e.g. process:workers=4"
                )
        self._kind = EXECUTORS.get(self.name)
        self._options = {option.strip(): value.strip() for option, _, value in pairs}
        self.flag = StopFlag()
        self._started: Executor | None = None

    @property
    def executor(self) -> Executor:
        """The executor, started now if it was not.

        Raises:
            ConfigError: if its library is missing, or the cluster cannot be reached.
        """
        if self._started is None:
            self._started = self._kind(self.flag, **self._options)
        return self._started

    def cancel(self, *, now: bool) -> None:
        """Stop all work of an executor that was started."""
        if self._started is not None:
            self._started.cancel(now=now)

    def __enter__(self) -> Session:
        self._caught = stoppable(self.flag)
        self._caught.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._started is not None:
                self._started.close()
        finally:
            self._caught.__exit__(None, None, None)


def finished(work: Work, answer: str, log: str = "") -> Finished:
    """The end that a worker's answer tells of.

    Raises:
        StoreError: if the worker's store failed.
    """
    try:
        return Finished(work, answer_from_json(answer), log=log)
    except LostError as error:
        return Finished(work, lost=str(error), log=log)
    except PausedError as error:
        return Finished(work, stopped=str(error), share=error.share, log=log)


def last_line(log: str) -> str:
    """The last line of a log that says something, quoted, with words before it; "" if there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return f"; the last line of its log: {without_secrets(said[-1])!r}" if said else ""


def whole_number(name: str, option: str, text: str, least: int = 1) -> int:
    """The value of an executor's option.

    Raises:
        ConfigError: unless it is a whole number from ``least``.
    """
    # isdecimal alone takes digits of any script.
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise ConfigError(
            f"the executor {name} wants a whole number from {least} for {option}, found {text!r}"
        )
    return int(text)


def refuse_options(name: str, options: dict[str, str], known: tuple[str, ...] = ()) -> None:
    """Raise for options that an executor does not have.

    Raises:
        ConfigError: naming the option and those that there are.
    """
    for option in options:
        if option not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise ConfigError(f"the executor {name} has no option {option!r}; {there}")
