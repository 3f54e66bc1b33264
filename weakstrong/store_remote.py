"""Results and checkpoints on object storage: uploads that appear whole or not at all, and their copies on this machine.

A commit puts its files below ``<step>/<key>/<attempt>/`` and then the record, which names the attempt. The record is
created only if there is none, so two builders of one step never mix files, and what was read once does not change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from weakstrong.errors import StoreError
from weakstrong.sources import cache_dir
from weakstrong.store_cache import Cache, link
from weakstrong.store_locks import Session, is_free
from weakstrong.store_place import Place
from weakstrong.store_records import (
    ATTEMPT,
    RECORD,
    FileEntry,
    describe_files,
    file_damage,
    files_of,
    parse_record,
    seal,
)

MARKER = "marker.json"


@cache
def _passing() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="weakstrong-"))
    weakref.finalize(_passing, shutil.rmtree, folder, ignore_errors=True)
    return folder


def base_folder(place: Place) -> Path:
    """Where this machine keeps the work and the cache of all remote stores; for stores in memory, until the end."""
    return _passing() if place.protocol == "memory" else cache_dir() / "store"


def work_folder(place: Place) -> Path:
    """Where this machine keeps what it does for a remote store; the same after a kill."""
    return base_folder(place) / "places" / hashlib.sha256(place.url.encode()).hexdigest()[:16]


class Remote:
    """The verbs of a `weakstrong.store.Store` that differ on object storage.

    Args:
        limit: bound of the cache in bytes.
    """

    def __init__(self, place: Place, session: Session, limit: int) -> None:
        self.place, self.session = place, session
        self.base, self.work = base_folder(place), work_folder(place)
        self.cache = Cache(self.base / "blobs", limit, self.sweep)
        self._kept: set[str] = set()  # steps of which the store may hold checkpoints

    def check(self) -> None:
        """Ask once, so that a wrong bucket, login or address is told before anything is computed.

        Raises:
            StoreError: saying which.
        """
        with contextlib.suppress(FileNotFoundError), self.place.asking():
            self.place.fs.invalidate_cache()
            self.place.fs.ls(self.place.root, detail=False)

    def sweep(self) -> int:
        """Remove folders that dead processes of this machine were given, of any store; returns how many."""
        removed = 0
        for views in self.base.glob("places/*/.views/*"):
            if is_free(views.parent.parent / ".locks" / f"process-{views.name}.lock"):
                shutil.rmtree(views, ignore_errors=True)
                removed += 1
        return removed

    def open(self, name: str, key: str, record: Mapping[str, Any]) -> tuple[Path, str]:
        """The files of a result in a folder of this process, and what is wrong with them ("" if nothing).

        Raises:
            StoreError: if the store does not answer or this disk is full; nothing half-fetched stays.
        """
        attempt = record.get(ATTEMPT, "")
        source = self.place.path(name, key, *filter(None, [attempt]))
        view = self.session.views / self.session.name() / name / key / f"files-{attempt}"
        half = view.with_name(f"{uuid4().hex[:8]}.tmp")
        try:
            with self.place.asking():
                half.mkdir(parents=True)
                damage = self._fill(half, source, files_of(record))
                if damage:
                    return view, damage
                (half / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
                try:
                    half.rename(view)
                except OSError:
                    if not view.is_dir():  # else it was made before, perhaps by another thread this moment
                        raise
            return view, ""
        finally:
            shutil.rmtree(half, ignore_errors=True)

    def damage(self, name: str, key: str, record: Mapping[str, Any]) -> str:
        """What is wrong with the files in the store itself, whatever is cached here; "" if nothing."""
        source = self.place.path(name, key, *filter(None, [record.get(ATTEMPT, "")]))
        with self.session.busy() as unique:
            half = self.work / ".building" / f"check-{key[:16]}-{unique}"
            try:
                for file, wanted in files_of(record).items():
                    self.place.get({f"{source}/{file}": half / file})
                    damage = file_damage(half / file, wanted)
                    if damage:
                        return damage.replace(str(half), source)
                    (half / file).unlink()
            except FileNotFoundError as error:
                return f"{source} lacks a file that its record names ({error})."
            finally:
                shutil.rmtree(half, ignore_errors=True)
        return ""

    def _fill(self, folder: Path, source: str, files: Mapping[str, FileEntry]) -> str:
        def fetch(missing: Mapping[str, Path]) -> None:
            self.place.get({f"{source}/{name}": path for name, path in missing.items()})

        try:
            damage = self.cache.fill(folder, files, fetch)
        except FileNotFoundError as error:
            return f"{source} lacks a file that its record names ({error})."
        return damage.replace(str(folder), source)

    def commit(
        self, folder: Path, name: str, key: str, record: Mapping[str, Any], sealed: bool = True
    ) -> bool:
        """Upload the files that ``record`` names from ``folder``, then the record; False if there was one already.

        Raises:
            StoreError: if the store does not take them; what was put is invisible.
        """
        self.session.public()
        attempt, home, stands = self.session.unique(), self.place.path(name, key), False
        try:
            self.place.put({folder / file: f"{home}/{attempt}/{file}" for file in files_of(record)})
            stands = self.place.create(
                f"{home}/{RECORD}", seal({**record, ATTEMPT: attempt}, sealed).encode()
            )
        finally:
            if not stands and not self._stands(home, attempt):
                with contextlib.suppress(StoreError):
                    self.place.remove(f"{home}/{attempt}")
        return stands

    def _stands(self, home: str, attempt: str) -> bool:
        """Whether the record names ``attempt`` though its writing seemed to fail; unknown counts as yes."""
        try:
            return parse_record(self.place.read(f"{home}/{RECORD}")).get(ATTEMPT) == attempt
        except FileNotFoundError:
            return False
        except (StoreError, ValueError):
            return True

    def set_aside(self, name: str, key: str, target: str) -> None:
        """Move a result; its record goes first, so that it is no result while the files are under way.

        Raises:
            FileNotFoundError: if there is no record.
        """
        home = self.place.path(name, key)
        record = self.place.read(f"{home}/{RECORD}")
        try:
            attempt = parse_record(record).get(ATTEMPT, "")
        except ValueError:
            attempt = ""  # which files it meant cannot be told: all
        paths = self.place.files(f"{home}/{attempt}".rstrip("/"))
        self.place.write(f"{target}/{RECORD}", record)
        self.place.remove_file(f"{home}/{RECORD}")
        for path in paths:
            with contextlib.suppress(FileNotFoundError), self.place.asking():
                self.place.fs.mv(path, f"{target}/{path.removeprefix(home).lstrip('/')}")

    def keep_scratch(self, key: str, scratch: Path) -> int:
        """Upload a folder of checkpoints, marker last; returns bytes. What was kept before goes after that."""
        if not scratch.is_dir():
            return 0
        self._kept.add(key)
        self.session.public()
        home, attempt, before = self._scratch(key), self.session.unique(), self._marker(key)
        still = self.work / ".building" / f"scratch-{key[:16]}-{attempt}"
        try:
            with self.place.asking():
                # Links, so that a checkpoint replaced while it is uploaded is still the one that was described.
                shutil.copytree(scratch, still, copy_function=link)
                files = describe_files(still)
                self.place.put({still / name: f"{home}/{attempt}/{name}" for name in files})
        finally:
            shutil.rmtree(still, ignore_errors=True)
        marker = {ATTEMPT: attempt, "files": {name: entry._asdict() for name, entry in files.items()}}
        self.place.write(f"{home}/{MARKER}", seal(marker).encode())
        if before:
            self.place.remove(f"{home}/{before[ATTEMPT]}")
        return sum(entry.size for entry in files.values())

    def fetch_scratch(self, key: str, scratch: Path) -> bool:
        """Bring the checkpoints that another machine kept, if this one has none; False if there are none to have.

        Raises:
            StoreError: if the store does not answer.
        """
        if scratch.exists():
            self._kept.add(key)
            return False
        for _ in range(3):  # it may be replaced by a newer one while it is fetched
            marker = self._marker(key)
            if not marker:
                return False
            self._kept.add(key)
            half = scratch.with_name(f"{key}.{uuid4().hex[:8]}.tmp")
            try:
                with self.place.asking():
                    half.mkdir(parents=True)
                    files = files_of(marker)
                    self.place.get({f"{self._scratch(key)}/{marker[ATTEMPT]}/{n}": half / n for n in files})
                    if describe_files(half) != dict(files):
                        warnings.warn(
                            f"a kept checkpoint of {key[:16]} is damaged; that step starts anew", stacklevel=2
                        )
                        return False
                    half.rename(scratch)
                return True
            except FileNotFoundError:
                continue
            finally:
                shutil.rmtree(half, ignore_errors=True)
        return False

    def drop_scratch(self, key: str) -> None:
        """Remove kept checkpoints, marker first; gc removes what cannot be removed now."""
        if key in self._kept:
            with contextlib.suppress(StoreError):
                self.place.remove_file(f"{self._scratch(key)}/{MARKER}")
                self.place.remove(self._scratch(key))
                self._kept.discard(key)

    def _scratch(self, key: str) -> str:
        return self.place.path(".scratch", key)

    def _marker(self, key: str) -> dict[str, Any] | None:
        try:
            return parse_record(self.place.read(f"{self._scratch(key)}/{MARKER}"))
        except (FileNotFoundError, ValueError):
            return None
