"""Steps are values; results are addressed by content.

A `Step` says what to compute; constructing one does nothing. Its key is the SHA-256 of its name, version, canonical
spec and sorted (role, key) of what it depends on, so the same recipe has the same key everywhere. A `Store` keeps one
folder per key, ``<root>/<step name>/<key>/``, with the result's files and a ``record.json`` that is written last.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from weakstrong.errors import CorruptResultError, RecipeMismatchError
from weakstrong.store_cache import cache_bytes as cache_limit
from weakstrong.store_locks import DEAD_SECONDS, Hold, is_held, left_behind, session_for, take
from weakstrong.store_notes import Notes
from weakstrong.store_place import Place
from weakstrong.store_records import (
    ATTEMPT,
    RECIPE,
    RECORD,
    describe_files,
    differences,
    explain_os_error,
    file_damage,
    files_of,
    is_result_of,
    parse_record,
    seal,
    store_failure,
    to_disk,
)
from weakstrong.store_remote import Remote, work_folder
from weakstrong.store_steps import Job, Step

__all__ = ["RECORD", "Job", "Step", "Store", "explain_os_error", "store_failure"]

DEAR_SECONDS = 1.0
"""A result that took longer waits until the disk has it (some 5 ms); a cheaper one that a power cut tears is found by
its digest and computed anew."""


class Store:
    """Results by key, in a folder or at any fsspec URL.

    A result is built in a temporary sibling and renamed (on object storage: uploaded, its record last), so what has a
    record is whole. Opening a result compares its stored recipe with the wanted one and its files with their digests.

    Args:
        url: a folder, or a URL fsspec understands (``s3://bucket/prefix``, ``memory://x``).
        cache_bytes: of a remote store: bound of the copies kept on this machine; default $WEAKSTRONG_CACHE_BYTES, or
            10 GiB. What is in use, or larger, is held besides.
        dead_seconds: of a remote store: how long a builder elsewhere must give no sign until its step is taken over.

    Attributes:
        fs, root: the file system of fsspec, and the path of the store on it.
        work: a folder on this machine: the store itself, or where results of a remote one are built.
        place, session, remote: `Place`, `Session` and, unless it is a folder, `Remote` of this store.

    Raises:
        StoreError: if the place cannot be created or written, or a remote one does not answer.
        ConfigError: if the URL cannot be understood, its library is missing, or it holds credentials.
    """

    def __init__(
        self, url: str | Path, cache_bytes: int | None = None, dead_seconds: float = DEAD_SECONDS
    ) -> None:
        self.place = Place(url)
        self.url, self.fs, self.root = self.place.url, self.place.fs, self.place.root
        self.is_local = self.place.is_local
        self.work = Path(self.root) if self.is_local else work_folder(self.place)
        self._opened: dict[str, Path] = {}
        self._notes = Notes(self.place)
        self.session = session_for(self.work, None if self.is_local else self.place, dead_seconds)
        self.remote = None if self.is_local else Remote(self.place, self.session, cache_limit(cache_bytes))
        try:
            for part in ("", ".building", ".locks"):
                Path(self.work, part).mkdir(parents=True, exist_ok=True)
            probe = Path(self.work, ".building", f"probe-{uuid4().hex}")
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise self.place.explain(error) from error
        if self.remote:
            self.remote.check()

    def folder(self, name: str, key: str) -> str:
        """Path of one result on the store's file system."""
        return f"{self.root}/{name}/{key}"

    def has(self, step: Step) -> bool:
        """Whether a finished result for ``step`` is stored; reads no file's content."""
        path = f"{self.folder(step.name, step.key)}/{RECORD}"
        return os.path.exists(path) if self.is_local else self.place.exists(path)

    def keys(self, name: str) -> set[str]:
        """Keys of all finished results of one kind of step, from one listing."""
        if self.is_local:
            folder = Path(self.root, name)
            if not folder.is_dir():
                return set()
            with os.scandir(folder) as entries:
                return {e.name for e in entries if os.path.exists(f"{e.path}/{RECORD}")}
        # One flat listing of everything below: a pattern would make fsspec ask once for every key.
        found = (path.rsplit("/", 3) for path in self.place.files(f"{self.root}/{name}"))
        return {parts[2] for parts in found if parts[3:] == [RECORD] and parts[1] == name}

    def names(self) -> list[str]:
        """Kinds of steps that have a result here."""
        found = (e for e in self.place.entries(self.root) if e["type"] == "directory")
        return sorted(
            n for e in found if not (n := str(e["name"]).rstrip("/").rpartition("/")[2]).startswith(".")
        )

    def read_record(self, name: str, key: str) -> dict[str, Any]:
        """The record of one result: whole, by the digest it carries of itself; its recipe is not compared.

        Raises:
            CorruptResultError: if it is missing, not JSON, or was changed.
            StoreError: if the store does not answer.
        """
        return self.parse(f"{self.folder(name, key)}/{RECORD}", name, key)

    def parse(self, path: str, name: str, key: str) -> dict[str, Any]:
        """The record in the file ``path``; raises as `read_record`."""
        try:
            return parse_record(self.place.read(path))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
            raise CorruptResultError(
                f"{path} cannot be read ({error}); remove its folder and run again", name, key
            ) from error

    def record(self, step: Step) -> dict[str, Any]:
        """The record of ``step``, after comparing its recipe with the wanted one.

        Raises:
            RecipeMismatchError: naming each field that differs.
            CorruptResultError: if the record cannot be read or was changed.
        """
        record = self.read_record(step.name, step.key)
        wanted, stored = step.recipe(), {k: record.get(k) for k in RECIPE}
        if stored != wanted:
            lines = "\n  ".join(differences(stored, wanted))
            raise RecipeMismatchError(
                f"{self.folder(step.name, step.key)} was written by another recipe than the one that asks for it:\n"
                f"  {lines}\nRemove the folder, or use another --store."
            )
        return record

    def open(self, step: Step) -> Path:
        """A local folder with the result's files, verified once per process against the recorded digests.

        It may be shared: read it, and copy a file before changing it.

        Raises:
            RecipeMismatchError: if the stored recipe is another one.
            CorruptResultError: if a file is missing, truncated or changed; the message names it.
            StoreError: if the store does not answer.
        """
        if step.key in self._opened:
            return self._opened[step.key]
        record = self.record(step)
        local, damage = self.files(step.name, step.key, record)
        if damage:
            raise CorruptResultError(
                f"{damage} Remove the folder {self.folder(step.name, step.key)} and run again; "
                "only this result is computed anew.",
                step.name,
                step.key,
            )
        self._opened[step.key] = local
        return local

    def files(self, name: str, key: str, record: Mapping[str, Any]) -> tuple[Path, str]:
        """A local folder with the files that ``record`` names, and what is wrong with the first bad one."""
        if self.remote:
            return self.remote.open(name, key, record)
        local = Path(self.folder(name, key), record.get(ATTEMPT, ""))
        damages = (file_damage(local / file, wanted) for file, wanted in files_of(record).items())
        return local, next(filter(None, damages), "")

    def set_aside(self, name: str, key: str, why: str) -> str:
        """Move a damaged result into ``.damaged/``, so that it is computed anew; nothing is deleted.

        Returns:
            Where it went, or "" if nothing was moved: there is no result, or it is whole by now.
        """
        target = f"{self.root}/.damaged/{name}-{key}-{uuid4().hex[:8]}"
        try:
            if not self.place.exists(f"{self.folder(name, key)}/{RECORD}") or not self.damage(name, key):
                return ""
            if self.remote:
                self.remote.set_aside(name, key, target)
            else:
                Path(target).parent.mkdir(exist_ok=True)
                Path(self.folder(name, key)).rename(target)
            self._opened.pop(key, None)
            self.place.write(f"{target}/why.txt", why.encode())
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise self.place.explain(error) from error
        return target

    def damage(self, name: str, key: str) -> str:
        """What is wrong with a stored result, found by reading all of it; "" if nothing."""
        try:
            record = self.read_record(name, key)
        except CorruptResultError as error:
            return str(error)
        if not is_result_of(record, name, key):
            return f"The record of {self.folder(name, key)} is of another recipe."
        return self.remote.damage(name, key, record) if self.remote else self.files(name, key, record)[1]

    def write_note(self, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """Keep small JSON ``values`` in the store under ``kind`` and ``name``, seen by every machine that uses it.

        Raises:
            StoreError: if the store cannot be written.
        """
        self._notes.write(kind, name, values)

    def read_notes(self, kind: str) -> dict[str, dict[str, Any]]:
        """All notes of ``kind``, by name; one that cannot be read (half-written, not JSON) is left out."""
        return self._notes.read(kind)

    def remove_note(self, kind: str, name: str) -> None:
        """Remove a note; none is fine."""
        self._notes.remove(kind, name)

    def try_lock(self, step: Step) -> Hold | None:
        """Hold the right to build ``step``, or None if another process holds it.

        The operating system frees the lock of a killed process. Object storage has no locks: there a lease keeps other
        machines away while this process gives signs of life, and should two build after all, the first record stands.
        """
        try:
            return take(self.session, self.work / ".locks", step.key)
        except OSError as error:
            raise self.place.explain(error) from error

    def is_building(self, key: str) -> bool:
        """Whether a living process holds the right to build the step ``key``.

        On object storage a process of another machine counts as alive until its lease is found void (`try_lock`, gc).

        Raises:
            StoreError: if a remote store does not answer.
        """
        return is_held(self.session, self.work / ".locks", key)

    def release(self, step: Step, lock: Hold) -> None:
        """Give the lock back and remove its file once the result exists."""
        with contextlib.suppress(OSError):
            if self.has(step):
                (self.work / ".locks" / f"{step.key}.lock").unlink()
        lock.release()

    def scratch(self, step: Step) -> Path:
        """A folder for checkpoints of an unfinished ``step``; the same after a kill."""
        return self.work / ".scratch" / step.key

    def keep_scratch(self, step: Step) -> int:
        """Copy the checkpoints of ``step`` into a remote store, so that another machine can go on; returns bytes.

        In a folder they are there already. Call it when no checkpoint is being written.

        Raises:
            StoreError: if the store does not take them; what was kept before stays.
        """
        return self.remote.keep_scratch(step.key, self.scratch(step)) if self.remote else 0

    @contextlib.contextmanager
    def job(self, step: Step) -> Iterator[Job]:
        """A `Job` for ``step`` whose temporary folder is removed if it is not committed."""
        with self.session.busy() as unique:
            out = self.work / ".building" / f"{step.name}-{step.key[:16]}-{unique}"
            try:
                out.mkdir(parents=True)
            except OSError as error:
                raise self.place.explain(error) from error
            try:
                inputs = {role: self.open(dependency) for role, dependency in step.inputs.items()}
                if self.remote:
                    self.remote.fetch_scratch(step.key, self.scratch(step))
                yield Job(step, out, inputs, self.scratch(step))
            finally:
                shutil.rmtree(out, ignore_errors=True)

    def commit(self, job: Job, provenance: Mapping[str, Any]) -> None:
        """Turn what a job left in its folder into a stored result, all or nothing; one that is there stays.

        Raises:
            StoreError: if the store cannot be written; nothing half-written is ever visible.
            TypeError, ValueError: if the summary is no JSON.
        """
        step = job.step
        try:
            files = {name: entry._asdict() for name, entry in describe_files(job.out).items()}
        except OSError as error:
            raise self.place.explain(error) from error
        record = step.recipe() | {"key": step.key, "files": files, "summary": job.summary}
        if not self.adopt(job.out, step.name, step.key, record | {"provenance": dict(provenance)}):
            self.record(step)
        if self.remote:
            self.remote.drop_scratch(step.key)
        shutil.rmtree(job.scratch, ignore_errors=True)

    def adopt(self, built: Path, name: str, key: str, record: Mapping[str, Any], sealed: bool = True) -> bool:
        """Move (on object storage: upload) a folder of files and put ``record`` last; False if a record was there.

        A record that came from elsewhere without a digest of itself stays so: ``sealed`` False.

        Raises:
            StoreError: if the store cannot be written; nothing half-written is ever visible.
            TypeError, ValueError: if the record is no JSON.
        """
        if self.remote:
            return self.remote.commit(built, name, key, record, sealed)
        folder = Path(self.folder(name, key))
        try:
            (built / RECORD).write_text(seal(record, sealed), encoding="utf-8")
            if record.get("provenance", {}).get("seconds", 0.0) >= DEAR_SECONDS:
                to_disk(built)
            folder.parent.mkdir(parents=True, exist_ok=True)
            if folder.exists() and not (folder / RECORD).exists():
                shutil.rmtree(folder)  # the remains of a broken copy
            built.rename(folder)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise self.place.explain(error) from error
        return True

    @contextlib.contextmanager
    def busy(self) -> Iterator[Path]:
        """An empty name for a temporary folder; inside, this process counts as using the store, and gc waits for it."""
        with self.session.busy() as unique:
            folder = self.work / ".building" / f"busy-{unique}"
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def clean_building(self) -> int:
        """Remove temporary folders that killed processes of this machine left behind; returns how many."""
        found = left_behind(self.work)
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        return len(found)
