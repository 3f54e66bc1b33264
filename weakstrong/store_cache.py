"""Files of remote stores on this machine, by content: fetched once, shared by all processes, within a size bound."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from weakstrong.errors import ConfigError
from weakstrong.store_records import FileEntry, file_damage

CACHE_BYTES = 10 * 2**30
"""Bound of the cache where neither an argument nor $WEAKSTRONG_CACHE_BYTES names another."""
RESCAN = 0.02
"""Share of the bound that this process may add before it counts again what all processes have added."""


def cache_bytes(given: int | None = None) -> int:
    """The bound in bytes: ``given``, else $WEAKSTRONG_CACHE_BYTES, else `CACHE_BYTES`.

    Raises:
        ConfigError: if it is no whole number of bytes.
    """
    if given is None:
        text = os.environ.get("WEAKSTRONG_CACHE_BYTES", "").strip()
        if text and not text.isdecimal():
            raise ConfigError(
                f"WEAKSTRONG_CACHE_BYTES is {text!r}; wanted a whole number of bytes, e.g. 20000000000"
            )
        given = int(text) if text else CACHE_BYTES
    if given < 0:
        raise ConfigError(f"the cache of a store cannot have {given} bytes; wanted 0 or more")
    return given


@dataclass(frozen=True)
class _Blob:
    path: Path
    used: float
    size: int
    links: int


class Cache:
    """One file for each content, named by its SHA-256; folders given out hold hard links to them.

    The number of links says which files are in use, so eviction needs no list of users: what a folder of a living
    process links to stays. Least recently used goes first; a clock that jumps changes only this order.

    Args:
        folder: on the same disk as the folders given out; else files are copied there.
        limit: bound of the files kept, in bytes. What is larger, or finds no room, is given out but not kept.
        sweep: removes folders given out by processes that are dead.
    """

    def __init__(self, folder: Path, limit: int, sweep: Callable[[], object]) -> None:
        self.folder, self.limit, self._sweep = folder, limit, sweep
        self._guard = threading.Lock()
        self._size, self._added = -1, 0  # bytes at the last count, and added by this process since

    def fill(
        self, target: Path, files: Mapping[str, FileEntry], fetch: Callable[[Mapping[str, Path]], None]
    ) -> str:
        """Put ``files`` below ``target``, from the cache or by ``fetch(name -> path)``, each checked by its digest.

        Returns:
            What is wrong with the first file that was fetched and is not what it should be; "" if all is well.
        """
        missing = {}
        for name, wanted in files.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self._take(path, wanted):
                missing[name] = path
        if not missing:
            return ""
        self._make_room(sum(files[name].size for name in missing))
        fetch(missing)
        for name, path in missing.items():
            damage = file_damage(path, files[name])
            if damage:
                return damage
            self._keep(path, files[name])
        return ""

    def _blob(self, wanted: FileEntry) -> Path:
        return self.folder / wanted.sha256[:2] / wanted.sha256

    def _take(self, path: Path, wanted: FileEntry) -> bool:
        blob = self._blob(wanted)
        try:
            link(blob, path)
            os.utime(blob)
        except FileNotFoundError:
            if not path.exists():  # else evicted after it was linked, which does no harm
                return False
        if not file_damage(path, wanted):
            return True
        path.unlink()
        blob.unlink(missing_ok=True)
        return False

    def _keep(self, path: Path, wanted: FileEntry) -> None:
        with self._guard:
            if self._size + self._added + wanted.size > self.limit:
                return
            self._added += wanted.size
        blob = self._blob(wanted)
        blob.parent.mkdir(parents=True, exist_ok=True)
        path.chmod(0o444)  # it is shared: who writes in place would change it for all
        half = blob.with_name(f"{blob.name}.{uuid4().hex[:8]}.tmp")
        try:
            link(path, half)
            half.replace(blob)
        finally:
            half.unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        with self._guard:
            if self._size >= 0 and self._added + needed <= min(RESCAN * self.limit, self.limit - self._size):
                return
            blobs = self._blobs()
            if sum(b.size for b in blobs) + needed > self.limit:
                self._sweep()
                blobs = self._blobs()
            total = sum(b.size for b in blobs)
            for blob in sorted(blobs, key=lambda b: b.used):
                if total + needed <= self.limit:
                    break
                if blob.links == 1:
                    with contextlib.suppress(OSError):
                        blob.path.unlink()
                        total -= blob.size
            self._size, self._added = total, 0

    def _blobs(self) -> list[_Blob]:
        found = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):
                    info = os.stat(os.path.join(folder, name))
                    found.append(_Blob(Path(folder, name), info.st_mtime, info.st_size, info.st_nlink))
        return found


def link(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, or copy it where that cannot be done."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(source, target)
