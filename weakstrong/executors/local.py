"""Run steps in this process, one after another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weakstrong import team
from weakstrong.executors.base import EXECUTORS, Finished, Progress, refuse_options
from weakstrong.stopping import StopFlag
from weakstrong.store import Store
from weakstrong.work import LostError, Work

if TYPE_CHECKING:
    from weakstrong.resources import Need


@EXECUTORS.register
class Local:
    """This process; no options. The default: what a notebook or a laptop wants."""

    asks_needs = False
    slots = 1

    def __init__(self, flag: StopFlag, **options: str) -> None:
        refuse_options("local", options)
        self.flag = flag
        self._progress: Progress = lambda *_: None
        self._next: tuple[Work, Store] | None = None

    def listen(self, progress: Progress) -> None:
        """See `Executor`."""
        self._progress = progress

    def check(self, need: Need) -> None:
        """Nothing is refused: the system's own limits are what there is."""

    def room(self, need: Need | None) -> bool:
        """One piece of work at a time."""
        return self._next is None

    def submit(self, work: Work, store: Store, need: Need | None) -> None:
        """See `Executor`; the work is done in `wait`."""
        self._next = work, store

    def wait(self, seconds: float) -> list[Finished]:
        """Do the work; waits for its end, however long."""
        assert self._next is not None
        (work, store), self._next = self._next, None
        runtime = replace(
            work.runtime,
            stopping=self.flag,
            progress=lambda done, total, words: self._progress(work, done / total if total else 1.0, words),
        )
        try:
            return [Finished(work, team.run(work, store, runtime))]
        except LostError as error:
            return [Finished(work, lost=str(error))]
        finally:
            self.flag.listened = False

    def cancel(self, *, now: bool = False) -> None:
        """What ran here has ended with the exception that led here."""

    def close(self) -> None:
        """Nothing is held."""
