"""Decide which steps run next, hand them to an executor, and deal with what comes back.

Durability is the store's: a driver that dies loses nothing but what was being built, and any number of drivers may work
on one store at once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weakstrong.errors import CorruptResultError, Stopped, StoreError, TrainingError
from weakstrong.executors.base import Finished, Session
from weakstrong.graph import closure
from weakstrong.notes import clear_dead, note_failure
from weakstrong.store import Step, Store
from weakstrong.training.spec import Runtime
from weakstrong.work import Outcome, Work

if TYPE_CHECKING:
    from weakstrong.resources import Estimator

GROUP_LIMIT, GROUP_LEAST = 256, 32
POLL_SECONDS, BUSY_SECONDS = 0.2, 1.0
"""Between two looks at what runs, and at a step that another process builds."""
TRIES = 4
"""How often work is taken up whose worker died; what raised an error is not tried again."""
REPAIRS = 2
"""How often one result is computed anew in a run because its files were damaged."""

Event = Literal[
    "cached", "started", "progress", "done", "failed", "skipped", "waiting", "lost", "stopped", "damaged"
]
Listener = Callable[[Event, Sequence[Step], str, float], None]


@dataclass
class RunReport:
    """What a run did: counts of steps, and the error of each step that failed, by key."""

    computed: int = 0
    cached: int = 0
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)
    """Stored results that were not what their record says, set aside and computed anew."""
    lost: int = 0
    """Times that a worker died."""


def run_steps(
    targets: Sequence[Step],
    store: Store,
    runtime: Runtime | None = None,
    listener: Listener | None = None,
    session: Session | None = None,
) -> RunReport:
    """Compute what ``targets`` need and is not stored; a step whose result exists is not looked behind.

    A step that fails stops only what depends on it. Steps that another process is building are waited for. Work whose
    worker died is given out again. A stored result that is damaged is set aside and computed anew.

    Args:
        session: where steps run; default this process.

    Raises:
        ConfigError: if the session's executor cannot start, or can never run a step.
        StoreError: if the store itself fails (no space, not writable, a result of another recipe).
        KeyboardInterrupt: after unfinished results are removed and trainings have saved their state.
    """
    if session is None:
        with Session() as own:
            return run_steps(targets, store, runtime, listener, own)
    started = time.monotonic()
    run = _Run(store, runtime or Runtime(), listener, session)
    run.all(targets)
    run.report.seconds = time.monotonic() - started
    return run.report


class _Run:
    """One call of `run_steps`."""

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        listener: Listener | None,
        session: Session,
    ) -> None:
        self.store, self.runtime, self.session = store, runtime, session
        self.tell: Listener = listener or (lambda *_: None)
        self.report = RunReport()
        self.tries: dict[str, int] = {}
        self.repairs: dict[str, int] = {}
        self.shares: dict[str, float] = {}

    def all(self, targets: Sequence[Step]) -> None:
        self.targets = targets
        self.flying: set[str] = set()
        try:
            done = self._plan()
            self.report.cached = len(done)
            self.tell("cached", done, "", 0.0)
            if self.pending:
                self._start()
            while self.pending:
                self._turn()
        except BaseException as error:
            self._cancel(error)
            raise

    def _start(self) -> None:
        self.store.clean_building()
        clear_dead(self.store)
        self.executor = self.session.executor
        self.executor.listen(lambda work, share, words: self.tell("progress", list(work.steps), words, share))
        self.needs: Estimator | None = None
        if self.executor.asks_needs:
            from weakstrong.resources import Estimator

            self.needs = Estimator(self.store, self.runtime)
            for step in self.pending.values():  # before anything is submitted
                self.executor.check(self.needs.need([step]))

    def _cancel(self, error: BaseException) -> None:
        """Stop what still runs; a second signal kills it."""
        try:
            self.session.cancel(now=not isinstance(error, KeyboardInterrupt))
        except KeyboardInterrupt:
            self.session.cancel(now=True)
        if isinstance(error, Stopped) and self.session.flag.signal is not None:
            error.signal = self.session.flag.signal

    # --- what is to do

    def _plan(self) -> list[Step]:
        """Find what is missing; returns what is stored and is a target or an input of something missing."""
        done: dict[str, Step] = {}
        needed: dict[str, Step] = {}
        wanted = {step.key for step in self.targets}
        stack = list(self.targets)
        while stack:
            step = stack.pop()
            if step.key in done or step.key in needed:
                continue
            if self.store.has(step) and self._is_whole(step, verify=step.key in wanted):
                done[step.key] = step
            else:
                needed[step.key] = step
                stack.extend(step.inputs.values())
        self.pending = {
            s.key: s
            for s in closure(list(self.targets))
            if s.key in needed and s.key not in self.report.failed and s.key not in self.report.skipped
        }
        self.singles: deque[Step] = deque()
        self.groups: dict[str, list[Step]] = {}
        self.later: list[tuple[float, Step]] = []
        self.waits: dict[str, int] = {}
        self.children: dict[str, list[Step]] = {}
        for step in self.pending.values():
            missing = [d for d in step.inputs.values() if d.key in needed]
            self.waits[step.key] = len(missing)
            for dependency in missing:
                self.children.setdefault(dependency.key, []).append(step)
            if not missing and step.key not in self.flying:
                self._ready(step)
        for key in [*self.report.failed, *self.report.skipped]:
            self._skip_children(key)
        return list(done.values())

    def _is_whole(self, step: Step, *, verify: bool) -> bool:
        """Compare the recipe of a stored result, and of a target its files too; a damaged one is set aside."""
        try:
            self.store.open(step) if verify else self.store.record(step)
        except CorruptResultError as error:
            self._set_aside(error.name, error.key, str(error), step)
            return False
        return True

    def _set_aside(self, name: str, key: str, words: str, step: Step) -> None:
        if self.store.is_local and not Path(self.store.root, ".building").is_dir():
            raise StoreError(
                f"the store {self.store.url} was removed while steps ran; run again to start it anew"
            )
        if not self.store.set_aside(name, key, words):
            return  # another step, or another driver, has found it too
        self.repairs[key] = self.repairs.get(key, 0) + 1
        self.report.damaged.append(words)
        self.tell("damaged", [step], words, 0.0)
        if self.repairs[key] > REPAIRS:
            raise CorruptResultError(
                f"{words} It was computed anew {REPAIRS} times and is damaged again: check the disk."
            )

    def _ready(self, step: Step) -> None:
        if step.group:
            self.groups.setdefault(f"{step.builder} {step.group}", []).append(step)
        else:
            self.singles.append(step)

    # --- one turn: give out, wait, take in

    def _turn(self) -> None:
        if self.session.flag.signal is not None:
            raise Stopped("stopped between two steps")
        self._wake()
        self._give_out()
        if self.flying:
            for finished in self.executor.wait(POLL_SECONDS):
                self._take_in(finished)
        elif self.later:
            waiting = [step for _, step in self.later]
            self.tell("waiting", waiting, "another process is building the next steps", 0.0)
            time.sleep(POLL_SECONDS)
        elif self.pending and not self.singles and not self.groups:
            raise AssertionError(f"{len(self.pending)} steps wait for nothing that runs")

    def _wake(self) -> None:
        now = time.monotonic()
        due = [step for when, step in self.later if when <= now]
        self.later = [entry for entry in self.later if entry[0] > now]
        for step in due:
            # This process lives long enough to see that a holder on another machine is dead; a worker asks but once.
            hold = self.store.try_lock(step)
            if hold is None:
                self.later.append((now + BUSY_SECONDS, step))
            else:
                self.store.release(step, hold)
                self._ready(step)

    def _give_out(self) -> None:
        # Steps on their own first: the longer a group waits, the more steps are built together.
        while self.singles or self.groups:
            chosen = [self.singles[0]] if self.singles else self._of_group()
            need = None if self.needs is None else self.needs.need(chosen)
            if need is not None:
                self.executor.check(need)
            if not self.executor.room(need):
                return
            self._taken(chosen)
            self.tell("started", chosen, "", 0.0)
            self.flying.update(step.key for step in chosen)
            # A relative folder would mean another one where a worker runs.
            place = self.store.root if self.store.is_local else self.store.url
            self.executor.submit(Work(tuple(chosen), place, self.runtime), self.store, need)

    def _of_group(self) -> list[Step]:
        steps = next(iter(self.groups.values()))
        each = -(-len(steps) // self.executor.slots)
        return steps[: min(GROUP_LIMIT, max(GROUP_LEAST, each))]

    def _taken(self, chosen: list[Step]) -> None:
        if self.singles and chosen[0] is self.singles[0]:
            self.singles.popleft()
            return
        name = next(iter(self.groups))
        left = self.groups[name][len(chosen) :]
        if left:
            self.groups[name] = left
        else:
            del self.groups[name]

    def _take_in(self, finished: Finished) -> None:
        steps = {step.key: step for step in finished.work.steps}
        self.flying.difference_update(steps)
        if finished.lost:
            self._lost(finished)
            return
        if finished.stopped:
            self._stopped(finished)
            return
        again = False
        for outcome in finished.outcomes:
            step = steps[outcome.key]
            if outcome.status in ("done", "cached"):
                self._stored(step, outcome)
            elif outcome.status == "busy":
                self.later.append((time.monotonic() + POLL_SECONDS, step))
            elif outcome.status == "failed":
                self._failed(step, outcome.words, outcome.seconds)
            else:
                assert outcome.damaged is not None
                self._set_aside(*outcome.damaged, outcome.words, step)
                again = True
        if again:
            self._plan()

    def _stored(self, step: Step, outcome: Outcome) -> None:
        self.pending.pop(step.key, None)
        if outcome.status == "done":
            self.report.computed += 1
        else:
            self.report.cached += 1
        self.tell(outcome.status, [step], "", outcome.seconds)  # type: ignore[arg-type]  # one of two events
        for child in self.children.get(step.key, ()):
            self.waits[child.key] -= 1
            if not self.waits[child.key] and child.key in self.pending:
                self._ready(child)

    def _failed(self, step: Step, words: str, seconds: float) -> None:
        self.pending.pop(step.key, None)
        self.report.failed[step.key] = words
        self.tell("failed", [step], words, seconds)
        self._skip_children(step.key)

    def _skip_children(self, key: str) -> None:
        stack = list(self.children.get(key, ()))
        while stack:
            step = stack.pop()
            if self.pending.pop(step.key, None) is not None:
                self.report.skipped.add(step.key)
                self.tell("skipped", [step], "", 0.0)
                stack.extend(self.children.get(step.key, ()))

    def _stopped(self, finished: Finished) -> None:
        """Work whose state was saved goes on where it was; if it came no further than at its last stop, it died."""
        first = finished.work.steps[0].key
        if finished.share <= self.shares.get(first, 0.0):
            self._lost(replace(finished, lost=f"{finished.stopped}, no further than before"))
            return
        self.shares[first] = finished.share
        self.tell("stopped", list(finished.work.steps), finished.stopped, finished.share)
        for step in finished.work.steps:
            self._ready(step)

    def _lost(self, finished: Finished) -> None:
        self.report.lost += 1
        self.store.clean_building()
        clear_dead(self.store)
        self.tell("lost", list(finished.work.steps), finished.lost, 0.0)
        for step in finished.work.steps:
            self.tries[step.key] = self.tries.get(step.key, 0) + 1
            if self.tries[step.key] < TRIES:
                self._ready(step)
                continue
            more = f"; what it printed: {finished.log}" if finished.log else ""
            error = TrainingError(
                f"{step.title}: its worker died {TRIES} times ({finished.lost}), perhaps for want of memory{more}"
            )
            note_failure(self.store, step, error, finished.log)
            self._failed(step, str(error), 0.0)
