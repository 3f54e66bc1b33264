"""Feed trackers from the store while a run goes on, so that none can fail, change or hold the run.

Each tracker lives on a thread of its own. What the run tells it is "this step is stored now"; the thread reads the
step's record and passes numbers on, several steps at once if it is behind.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weakstrong.redact import without_secrets
from weakstrong.trackers._points import config_of, plain_rows, points_of, points_of_table, title_of
from weakstrong.trackers.base import Point, Tracker, open_tracker

if TYPE_CHECKING:
    from weakstrong.experiment import Experiment
    from weakstrong.results import Results
    from weakstrong.schedule import Event, Listener, RunReport
    from weakstrong.store import Step, Store

BATCH = 256
GATHER_S = 0.25
"""Seconds for which a tracker waits for more steps: told one by one, tiny steps wait for its thread at every turn."""
PATIENCE_S, INTERRUPTED_S = 30.0, 3.0
"""Seconds without a sign of life after which the end of a run waits for a tracker no longer."""


LONGEST_ERROR = 300
"""Characters of an error in a warning; some libraries put all that they could not send into it."""


@dataclass
class _End:
    """The last thing a tracker is told."""

    ok: bool
    rows: list[dict[str, Any]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)


class _Feeder(threading.Thread):
    """One tracker and what it has yet to be told.

    Attributes:
        inbox: stored steps, then one `_End`.
        ending: set once the `_End` is in the inbox.
        error: what the tracker raised, if it did; nothing is told to it any more.
        alive_at: when it last answered, in seconds of the monotonic clock.
    """

    def __init__(self, name: str, tracker: Tracker, store: Store, opening: tuple[str, dict[str, Any], Path]):
        super().__init__(name=f"tracker {name}", daemon=True)
        self.tracker, self.store, self.opening = tracker, store, opening
        self.inbox: queue.SimpleQueue[Step | _End] = queue.SimpleQueue()
        self.ending = threading.Event()
        self.error: BaseException | None = None
        self.alive_at = time.monotonic()

    def run(self) -> None:
        """Tell the tracker everything, to its end or its first error."""
        try:
            self.tracker.start(*self.opening)
            end = self._steps()
            if end.points:
                self.tracker.log(end.points)
            if end.rows:
                self.tracker.table("aggregate", end.rows)
            self.alive_at = time.monotonic()
            self.tracker.finish(end.ok)
        except BaseException as error:  # a library that calls sys.exit() is no reason to stop either
            self.error = error
            with suppress(BaseException):
                self.tracker.finish(False)

    def _steps(self) -> _End:
        while True:
            self.alive_at = time.monotonic()
            told: list[Step | _End] = [self.inbox.get()]
            self.ending.wait(GATHER_S)
            with suppress(queue.Empty):
                while len(told) < BATCH:
                    told.append(self.inbox.get_nowait())
            last = told[-1]
            steps = [one for one in told if not isinstance(one, _End)]
            points = [point for step in steps for point in points_of(step, self.store.record(step))]
            if points:
                self.tracker.log(points)
            if isinstance(last, _End):
                return last


class Tracked:
    """A `Listener` that also tells trackers of every step that is done."""

    def __init__(self, feeders: Sequence[_Feeder], listener: Listener | None) -> None:
        self._feeders, self._listener = list(feeders), listener

    def __call__(self, event: Event, steps: Sequence[Step], words: str, number: float) -> None:
        """See `Listener`."""
        if event == "done":
            for feeder in self._feeders:
                for step in steps:
                    feeder.inbox.put(step)
        self._leave_out()
        if self._listener is not None:
            self._listener(event, steps, words, number)

    def finish(self, results: Results, report: RunReport) -> None:
        """Tell the aggregate, close all tracker runs and wait for them, but not for ever."""
        if not self._feeders:
            return
        rows: list[dict[str, Any]] = []
        try:
            rows = plain_rows(results.aggregate)
        except Exception as error:  # whoever reads the results meets it again, where it belongs
            _warn(f"trackers get no aggregate: {type(error).__name__}: {error}")
        points = points_of_table(rows)
        counts = {"computed": report.computed, "cached": report.cached, "failed": len(report.failed)}
        points += [Point(f"run/{name}", 0, float(count)) for name, count in counts.items()]
        points.append(Point("run/seconds", 0, report.seconds))
        self.close(_End(not report.failed, rows, points), PATIENCE_S)

    def close(self, end: _End, patience: float) -> None:
        """Let every tracker come to its end; one that does not answer for ``patience`` seconds is left behind."""
        for feeder in self._feeders:
            feeder.alive_at = time.monotonic()
            feeder.inbox.put(end)
            feeder.ending.set()
        for feeder in self._feeders:
            while feeder.is_alive() and (left := feeder.alive_at + patience - time.monotonic()) > 0:
                feeder.join(left)
        self._leave_out()
        for feeder in self._feeders:
            if feeder.is_alive():
                _warn(
                    f"{feeder.name} has not answered for {patience:.0f} s and is left behind; "
                    "what it shows of this run may not be all"
                )
        self._feeders = []

    def _leave_out(self) -> None:
        """Say which trackers have failed since the last time, and forget them."""
        for feeder in [f for f in self._feeders if f.error is not None]:
            self._feeders.remove(feeder)
            words = " ".join(without_secrets(str(feeder.error)).split())[:LONGEST_ERROR]
            _warn(f"{feeder.name} is left out from now on: {type(feeder.error).__name__}: {words}")


def _warn(words: str) -> None:
    """Warn; where warnings are errors, print, for what becomes of a tracker must not stop a run."""
    words = without_secrets(words)
    try:
        warnings.warn(words, RuntimeWarning, stacklevel=4)
    except RuntimeWarning:
        print(f"warning: {words}", file=sys.stderr)


@contextmanager
def track(
    trackers: Sequence[str | Tracker],
    experiments: Sequence[Experiment],
    store: Store,
    listener: Listener | None = None,
) -> Iterator[Tracked]:
    """Open one run in every tracker and yield the `Listener` of the run; call its ``finish`` at the end.

    Args:
        trackers: names, or trackers of your own.
        experiments: what is run; their names are the run's name and their JSON its config.
        store: where the steps' records are read.
        listener: hears everything as without trackers.

    Raises:
        ConfigError: before anything runs, if a name is unknown or its library is not installed.
    """
    opened = [
        (one, open_tracker(one)) if isinstance(one, str) else (type(one).__name__, one)
        for one in dict.fromkeys(trackers)
    ]
    opening = (title_of(experiments), config_of(experiments), Path.cwd())
    tracked = Tracked([_Feeder(name, tracker, store, opening) for name, tracker in opened], listener)
    for feeder in tracked._feeders:
        feeder.start()
    try:
        yield tracked
    except BaseException:
        tracked.close(_End(ok=False), INTERRUPTED_S)
        raise
