"""Who is alive, and who may build what.

On a disk the operating system tells: a lock is free once its process is dead. Object storage has no locks. There a
process writes a counter that grows, and another judges it dead only after the counter stood still for a while by the
judge's own monotonic clock; no two clocks are ever compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from weakstrong.errors import StoreError
from weakstrong.store_place import Place

DEAD_SECONDS = 60.0
"""How long the counter of a process on another machine must stand still until its work is taken over."""
BEATS = 6
"""Times that a counter grows within that time."""


def is_free(path: Path) -> bool:
    """Whether no living process holds the lock file ``path``; one that does not exist is free."""
    if not path.exists():
        return True
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except OSError:
        return False  # cannot be told: leave what it guards
    lock.release()
    return True


_SESSIONS: dict[tuple[Path, float], Session] = {}


def session_for(work: Path, place: Place | None, dead_seconds: float = DEAD_SECONDS) -> Session:
    """The session of this process with ``work``, one for all its `Store` objects; it ends with the process."""
    return _SESSIONS.setdefault((work, dead_seconds), Session(work, place, dead_seconds))


class Session:
    """The life of this process in a store: folders and uploads carry its name, and others can tell whether it lives.

    Args:
        work: folder of the store's work on this machine; lock files lie in its ``.locks``, and what this process is
            given to read in ``.views/<name>``, which goes when it ends.
        place: where the counter goes; None on a disk, where the lock is enough.
        dead_seconds: see `DEAD_SECONDS`.
    """

    def __init__(self, work: Path, place: Place | None, dead_seconds: float = DEAD_SECONDS) -> None:
        self.folder, self.views = work / ".locks", work / ".views"
        self.place, self.dead_seconds = place, dead_seconds
        self._guard, self._pid, self._name = threading.Lock(), -1, ""
        self._numbers, self._jobs = count(), 0
        self._finish: Callable[[], object] | None = None
        self._beats: Callable[[], object] | None = None
        self._seen: dict[str, tuple[bytes, float]] = {}

    def name(self) -> str:
        """The name of this process here; on this machine it counts as alive from the first call on.

        Raises:
            StoreError: if the lock folder cannot be written.
        """
        with self._guard:
            # The first call, a child by fork (which is another process), or a store that was removed and made anew.
            if self._pid != os.getpid() or not _lock_path(self.folder, self._name).exists():
                name = uuid4().hex[:12]
                lock = FileLock(_lock_path(self.folder, name))
                try:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    lock.acquire(timeout=10)
                except OSError as error:  # a timeout is one too
                    raise StoreError(f"the lock folder {self.folder} cannot be used: {error}") from error
                self._finish = weakref.finalize(self, _end, os.getpid(), lock, self.views / name)
                self._pid, self._name, self._beats = os.getpid(), name, None
            return self._name

    def public(self) -> str:
        """The same name; from the first call on other machines can tell too that it is alive.

        Raises:
            StoreError: if the store cannot be written.
        """
        name = self.name()
        if self.place is not None:
            with self._guard:
                if self._beats is None:
                    _beat(self.place, name, 0)
                    over, pause = threading.Event(), self.dead_seconds / BEATS
                    threading.Thread(
                        target=_keep_beating, args=(self.place, name, over, pause), daemon=True
                    ).start()
                    self._beats = weakref.finalize(self, _stop_beating, os.getpid(), over, self.place, name)
        return name

    def unique(self) -> str:
        """A name for one folder or upload, ``<session>-<number>``."""
        return f"{self.name()}-{next(self._numbers)}"

    @contextlib.contextmanager
    def busy(self) -> Iterator[str]:
        """A `unique` name that counts as alive inside; on a disk nothing of this process stays open between jobs."""
        with self._guard:
            self._jobs += 1
        try:
            yield self.unique()
        finally:
            with self._guard:
                self._jobs -= 1
                if self._jobs == 0 and self.place is None and self._finish is not None:
                    self._finish()

    def is_dead(self, name: str) -> bool:
        """Whether the process called ``name`` is known to be dead.

        Where counters tell, the first question starts the watch: ask again, `dead_seconds` later or more.
        """
        if self.place is None:
            return name not in self.own() and is_free(_lock_path(self.folder, name))
        if name in self.own():
            return False
        try:
            beat = self.place.read(_beat_path(self.place, name))
        except FileNotFoundError:
            return True  # it ended in order
        now = time.monotonic()
        seen, since = self._seen.get(name, (b"", now))
        if seen != beat:
            self._seen[name] = (beat, now)
            return False
        return now - since > self.dead_seconds

    def others(self) -> set[str]:
        """Names of all processes that are or were at work in this store, as far as they left a sign."""
        if self.place is None:
            names = {
                p.name.removeprefix("process-").removesuffix(".lock")
                for p in self.folder.glob("process-*.lock")
            }
        else:
            listed = (
                str(e["name"]).rpartition("/")[2] for e in self.place.entries(self.place.path(".sessions"))
            )
            names = {name.removesuffix(".json") for name in listed}
        return names - self.own()

    def own(self) -> set[str]:
        """The name of this process, if it has one by now."""
        return {self._name} if self._pid == os.getpid() else set()

    def living(self, names: set[str], say: Callable[[str], object] = lambda _: None) -> set[str]:
        """Those of ``names`` that are not dead; watches for `dead_seconds` where that is the only way to tell."""
        alive = {name for name in names if not self.is_dead(name)} - self.own()
        if alive and self.place is not None:
            say(
                f"watching {len(alive)} other processes for {self.dead_seconds:.0f} s to see whether they live"
            )
            time.sleep(self.dead_seconds * 1.1)
            alive = {name for name in alive if not self.is_dead(name)}
        return alive


def session_of(unique: str) -> str:
    """The session in a name that `Session.unique` gave."""
    return unique.rpartition("-")[0]


def left_behind(work: Path) -> list[Path]:
    """Temporary folders in ``work`` whose makers are dead.

    That is so if nobody holds the lock of the process that made one, nor that of its step: no clock is asked.
    """
    found = []
    for path in (work / ".building").glob("*"):
        step = re.search(r"-([0-9a-f]{16})-", path.name)
        locks = list((work / ".locks").glob(f"{step[1]}*.lock")) if step else []
        locks.append(_lock_path(work / ".locks", session_of(path.name).rpartition("-")[2]))
        if path.is_dir() and all(map(is_free, locks)):
            found.append(path)
    return found


def _lock_path(folder: Path, name: str) -> Path:
    return folder / f"process-{name}.lock"


def _beat_path(place: Place, name: str) -> str:
    return place.path(".sessions", f"{name}.json")


def _beat(place: Place, name: str, number: int) -> None:
    place.write(_beat_path(place, name), json.dumps({"beats": number}).encode())


def _keep_beating(place: Place, name: str, over: threading.Event, pause: float) -> None:
    for number in count(1):
        if over.wait(pause):
            return
        with contextlib.suppress(StoreError):  # others will think this process dead, and only work twice
            _beat(place, name, number)


def _end(pid: int, lock: FileLock, views: Path) -> None:
    if os.getpid() == pid:  # in a child by fork the lock is its parent's
        shutil.rmtree(views, ignore_errors=True)
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _stop_beating(pid: int, over: threading.Event, place: Place, name: str) -> None:
    over.set()
    if os.getpid() == pid:
        with contextlib.suppress(
            Exception
        ):  # at the end of the interpreter little works, and gc removes the rest
            place.remove_file(_beat_path(place, name))


@dataclass
class Hold:
    """The right to build one step, until it is released or this process dies."""

    lock: FileLock
    lease: str = ""
    place: Place | None = None

    def release(self) -> None:
        """Give it back; a lease that cannot be removed now is void when this process ends."""
        if self.place is not None:
            with contextlib.suppress(StoreError):
                self.place.remove_file(self.lease)
        self.lock.release()


def take(session: Session, folder: Path, key: str) -> Hold | None:
    """The right to build the step ``key``, or None while a living process has it.

    A lease on object storage only saves work: two that hold one both finish, and the first record stands.

    Raises:
        OSError: if the lock file cannot be made.
        StoreError: if the store does not answer.
    """
    lock = FileLock(folder / f"{key}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        return None
    place = session.place
    if place is None:
        return Hold(lock)
    try:
        lease = place.path(".leases", f"{key}.json")
        mine = json.dumps({"session": session.public()}).encode()
        if place.create(lease, mine) or (_is_void(session, place, lease, mine) and place.create(lease, mine)):
            return Hold(lock, lease, place)
    except BaseException:
        lock.release()
        raise
    lock.release()
    return None


def is_held(session: Session, folder: Path, key: str) -> bool:
    """Whether somebody has the right to build the step ``key``, as far as can be told at once.

    Raises:
        StoreError: if the store does not answer.
    """
    if not is_free(folder / f"{key}.lock"):
        return True
    if session.place is None:
        return False
    try:
        name = holder(session.place.read(session.place.path(".leases", f"{key}.json")))
    except FileNotFoundError:
        return False
    # A process of this machine held the lock file too, so it is dead; its session's file says that it was one.
    return not _lock_path(folder, name).exists() and not session.is_dead(name)


def _is_void(session: Session, place: Place, lease: str, mine: bytes) -> bool:
    """Whether a lease is of a dead process; it is gone then."""
    try:
        held = place.read(lease)
        if held != mine and not session.is_dead(holder(held)):
            return False
    except FileNotFoundError:
        return True  # given back this moment
    place.remove_file(lease)
    return True


def holder(lease: bytes) -> str:
    """The session that a lease names; "" if it cannot be read, which is nobody."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(lease)["session"])
    return ""
