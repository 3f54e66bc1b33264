"""What a tracker is: something that takes names, numbers and one table, and shows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from weakstrong.errors import ConfigError
from weakstrong.registry import Registry

TRACKERS: Registry[type[Tracker]] = Registry("tracker", "weakstrong.trackers", __file__)
PROJECT = "weakstrong"
"""Under which name runs are filed where a tracker wants one and the user's settings name none."""


class Point(NamedTuple):
    """One number of a series.

    Attributes:
        name: path of words such as ``finetune/student …/agreement``; letters, digits, ``_-.: /`` only.
        at: optimiser step or epoch, from 1; 0 for a number that belongs to no moment.
        value: finite.
    """

    name: str
    at: int
    value: float


def rows_by_moment(points: Sequence[Point]) -> Iterator[tuple[int, dict[str, float]]]:
    """All numbers of one moment together, moments rising, for trackers that take rows.

    >>> dict(rows_by_moment([Point("a", 2, 0.5), Point("a", 1, 0.4), Point("b", 2, 0.1)]))
    {1: {'a': 0.4}, 2: {'a': 0.5, 'b': 0.1}}
    """
    rows: dict[int, dict[str, float]] = {}
    for name, at, value in points:
        rows.setdefault(at, {})[name] = value
    yield from sorted(rows.items())


class Tracker(ABC):
    """One tracker run. All calls come from one thread, which is not the main one, in the order of the methods here.

    Whatever a method raises is told to the user once, and the tracker is left out from then on. A method may be slow:
    steps do not wait for it.
    """

    modules: ClassVar[tuple[str, ...]] = ()
    """What must be importable; the extra that brings it is called like the tracker."""

    @abstractmethod
    def start(self, name: str, config: dict[str, Any], folder: Path) -> None:
        """Open a run.

        Args:
            name: of the experiment.
            config: its JSON.
            folder: where a tracker that writes files puts them, unless the user's settings say otherwise.
        """

    @abstractmethod
    def log(self, points: Sequence[Point]) -> None:
        """Take numbers, of one step or of several. May be called any number of times, or never."""

    @abstractmethod
    def table(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """Take a table; all rows have the same columns, with values of JSON."""

    @abstractmethod
    def finish(self, ok: bool) -> None:
        """Close the run, ``ok`` unless it was interrupted or a step failed. Called after a failure of another method too."""


def _installed(module: str) -> bool:
    # A folder of that name where Python was started (wandb makes one) is found too, but has no origin.
    found = find_spec(module)
    return found is not None and found.origin is not None


def open_tracker(name: str) -> Tracker:
    """The tracker called ``name``; nothing is written or imported of its library yet.

    Raises:
        UnknownNameError: with close matches.
        ConfigError: if its library is not installed, with the command that installs it.
    """
    kind = TRACKERS.get(name)
    missing = [module for module in kind.modules if not _installed(module)]
    if missing:
        raise ConfigError(
            f"tracker {name}: {' and '.join(missing)} is not installed; "
            f"pip install 'weakstrong[{name}]', or leave out --tracker {name}"
        )
    return kind()
