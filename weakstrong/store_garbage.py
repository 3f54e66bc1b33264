"""What can go from a store: results that nobody needs, what dead processes left, checkpoints of what is done.

Who is dead is told by locks, and on object storage by counters that stand still; never by a clock or an age.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from weakstrong.errors import CorruptResultError
from weakstrong.store import Store
from weakstrong.store_locks import holder, is_free, left_behind, session_of
from weakstrong.store_records import ATTEMPT, RECORD
from weakstrong.store_remote import MARKER


@dataclass(frozen=True)
class Litter:
    """One thing that can go, by calling ``remove``; ``bytes`` is what that frees."""

    what: Literal["result", "leftover", "checkpoints", "lock", "damaged"]
    path: str
    bytes: int
    remove: Callable[[], object] = field(repr=False)


class Garbage:
    """Looks at a store, and finds what can go; removes nothing itself.

    Args:
        needed: gives the keys of all steps whose results are to stay. It is asked once the results are listed, so what
            an experiment that begins after it was asked stores is never litter.
        say: hears a line when other processes must be watched for a while.

    Attributes:
        working: living processes in the store; in their presence no result is litter, for they may be reading it.
    """

    def __init__(
        self,
        store: Store,
        needed: Callable[[], set[str]],
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.store, self.place = store, store.place
        self._stored = {name: store.keys(name) for name in store.names()}
        self.needed = needed()
        self._sessions = store.session.others()
        uploads = self._unnamed_uploads()
        sessions = {session_of(_last(path)) for path in uploads} | set(self._held().values())
        self.working = store.session.living((sessions | self._sessions) - {""}, say)
        # While it watched, others came, finished uploads and ended. A lease is younger than its session: leases first.
        self._leases = self._held()
        self.working |= store.session.others() - self._sessions
        self._alive = self.working | store.session.own()
        still = self._unnamed_uploads() if uploads else {}
        self._uploads = {path: size for path, size in still.items() if path in uploads}

    def find(self, damaged: bool = False) -> Iterator[Litter]:
        """Everything that can go; ``damaged``: also what was set aside as such."""
        if not self.working:
            yield from self._results()
        for path in left_behind(self.store.work):
            yield Litter("leftover", str(path), _size(path), partial(shutil.rmtree, path, ignore_errors=True))
        for name, size in self._uploads.items():
            if session_of(_last(name)) not in self._alive:
                yield Litter("leftover", name, size, partial(self.place.remove, name))
        yield from self._checkpoints()
        yield from self._locks()
        if damaged:
            for entry in self.place.entries(self.place.path(".damaged")):
                yield self._folder("damaged", str(entry["name"]))

    def _folder(self, what: Literal["checkpoints", "damaged"], path: str) -> Litter:
        size = sum(file.bytes for file in self.place.files(path).values())
        return Litter(what, path, size, partial(self.place.remove, path))

    def _held(self) -> dict[str, str]:
        """Every lease, and the session that has it."""
        leases = {} if self.store.is_local else self.place.files(self.place.path(".leases"))
        return {path: holder(data) for path, data in self.place.read_all(list(leases)).items()}

    def _results(self) -> Iterator[Litter]:
        for name, keys in self._stored.items():
            sizes: dict[str, int] = {}
            for path, file in self.place.files(f"{self.store.root}/{name}").items():
                key = _below(path, f"{self.store.root}/{name}").partition("/")[0]
                sizes[key] = sizes.get(key, 0) + file.bytes
            for key in sorted(keys - self.needed):
                path = self.store.folder(name, key)
                yield Litter("result", path, sizes.get(key, 0), partial(remove_result, self.store, name, key))

    def _unnamed_uploads(self) -> dict[str, int]:
        """Folder and bytes of every upload, of a result or of checkpoints, that no record or marker names."""
        found: dict[str, int] = {}
        if self.store.is_local:
            return found
        homes = [(f"{self.store.root}/{name}", RECORD) for name in self.store.names()]
        for home, last in [*homes, (self.place.path(".scratch"), MARKER)]:
            sizes: dict[str, dict[str, int]] = {}
            finished: set[str] = set()
            for path, file in self.place.files(home).items():
                key, _, rest = _below(path, home).partition("/")
                if rest == last:
                    finished.add(key)
                elif "/" in rest:
                    attempt, attempts = rest.partition("/")[0], sizes.setdefault(key, {})
                    attempts[attempt] = attempts.get(attempt, 0) + file.bytes
            for key, attempts in sizes.items():
                if key in finished and len(attempts) == 1:
                    continue  # no need to read what it names
                current = ""
                if key in finished:
                    try:
                        current = str(self.store.parse(f"{home}/{key}/{last}", "", key)[ATTEMPT])
                    except (CorruptResultError, KeyError):
                        continue  # it cannot be told which upload is the right one
                found |= {f"{home}/{key}/{name}": size for name, size in attempts.items() if name != current}
        return found

    def _checkpoints(self) -> Iterator[Litter]:
        """Checkpoints of steps that are stored, and of steps that nobody needs or builds."""
        stored = set().union(*self._stored.values())
        leased = {
            _last(path).removesuffix(".json") for path, who in self._leases.items() if who in self._alive
        }

        def can_go(key: str) -> bool:
            if key in stored:
                return True
            return key not in self.needed | leased and is_free(self.store.work / ".locks" / f"{key}.lock")

        for path in sorted((self.store.work / ".scratch").glob("*")):
            if can_go(path.name.partition(".")[0]):  # <key>.<number>.tmp: on their way from another machine
                yield Litter(
                    "checkpoints", str(path), _size(path), partial(shutil.rmtree, path, ignore_errors=True)
                )
        if not self.store.is_local:
            for entry in self.place.entries(self.place.path(".scratch")):
                if can_go(_last(str(entry["name"]))):
                    yield self._folder("checkpoints", str(entry["name"]))

    def _locks(self) -> Iterator[Litter]:
        for name, who in self._leases.items():
            if who not in self._alive:
                yield Litter("lock", name, 0, partial(self.place.remove_file, name))
        if not self.store.is_local:
            for session in self._sessions - self._alive:
                name = self.place.path(".sessions", f"{session}.json")
                yield Litter("lock", name, 0, partial(self.place.remove_file, name))
        for path in sorted((self.store.work / ".locks").glob("*.lock")):
            if is_free(path):
                yield Litter("lock", str(path), 0, partial(_unlock, path))


def remove_result(store: Store, name: str, key: str) -> None:
    """Remove one result, so that nobody ever sees a part of it."""
    home = store.folder(name, key)
    if store.is_local:
        with store.busy() as aside, contextlib.suppress(FileNotFoundError):
            Path(home).rename(aside)
    else:
        store.place.remove_file(f"{home}/{RECORD}")
        store.place.remove(home)


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _below(path: str, home: str) -> str:
    return path.partition(f"{home}/")[2]


def _size(path: Path) -> int:
    size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(folder, name)).st_size
    return size


def _unlock(path: Path) -> None:
    lock = FileLock(path)
    with contextlib.suppress(Timeout, OSError):
        lock.acquire(blocking=False)
        path.unlink(missing_ok=True)
        lock.release()
