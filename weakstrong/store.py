"""Steps are values; results are addressed by content.

A `Step` says what to compute; constructing one does nothing. Its key is the SHA-256 of its name, version, canonical
spec and sorted (role, key) of what it depends on, so the same recipe has the same key everywhere. A `Store` keeps one
folder per key, ``<root>/<step name>/<key>/``, with the result's files and a ``record.json`` that is written last.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from weakstrong.errors import CorruptResultError, RecipeMismatchError, SourceError, StoreError
from weakstrong.spec import Spec, canonical, digest

RECORD = "record.json"


@dataclass(frozen=True, eq=False)
class Step:
    """One unit of work, named by what decides its result.

    Attributes:
        name: the step's kind, e.g. ``"features"``; also its folder in the store.
        version: raised whenever the code's numbers change; golden tests enforce it.
        spec: every parameter that decides the result.
        inputs: role -> the step it reads. Roles are part of the key.
        builder: ``"module:function"``, imported when the step runs; the function takes a list of `Job` and a `Runtime`.
        group: steps with the same group may be built together in one call (one pass, one vectorised training).
        title: words for people; not part of the key.
    """

    name: str
    version: int
    spec: Spec
    inputs: Mapping[str, Step] = field(default_factory=dict)
    builder: str = ""
    group: str = ""
    title: str = ""

    @cached_property
    def key(self) -> str:
        """64 hexadecimal digits; equal for equal recipes in every process and on every machine."""
        inputs = ",".join(f'["{role}","{self.inputs[role].key}"]' for role in sorted(self.inputs))
        return digest(
            f'{{"inputs":[{inputs}],"spec":{self.spec.canonical_json},"step":"{self.name}","version":{self.version}}}'
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def recipe(self) -> dict[str, Any]:
        """What was hashed, as plain JSON values."""
        return {
            "step": self.name,
            "version": self.version,
            "spec": json.loads(self.spec.canonical_json),
            "inputs": {role: step.key for role, step in sorted(self.inputs.items())},
        }

    def build_function(self) -> Callable[..., None]:
        """Import and return the function that computes this step."""
        module, _, name = self.builder.partition(":")
        function: Callable[..., None] = getattr(import_module(module), name)
        return function


@dataclass
class Job:
    """A step that is being built: where its inputs lie, where its files go, what it wants to say.

    Attributes:
        out: an empty folder; every file left in it becomes part of the result.
        inputs: role -> folder of the stored input.
        scratch: a folder that survives a kill and is removed when the step is done (checkpoints).
        summary: small JSON values for the record, e.g. a final loss.
        error: set to a `WeakStrongError` by a builder of several jobs when only this one failed.
    """

    step: Step
    out: Path
    inputs: dict[str, Path]
    scratch: Path
    summary: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def explain_os_error(error: OSError, path: str) -> StoreError:
    """Say in words what a failed read or write of the store means."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"no space left on the device of the store {path}; free some, then run again: it resumes"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(
            f"the store {path} cannot be written ({error.strerror}); choose another with --store"
        )
    return StoreError(f"the store {path} failed: {error}")


def store_failure(error: Exception, store: Store) -> StoreError | None:
    """The store's own failure behind what a builder raised, or None if it is the builder's.

    A file that is missing elsewhere, a network error or a bad checkpoint are OS errors too, and break one step only.
    Libraries in Rust hand on the words of the system but no number.
    """
    if isinstance(error, SourceError):
        return None
    number = error.errno if isinstance(error, OSError) else None
    for broken in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO):
        if number == broken or f"{os.strerror(broken)} (os error {broken})" in str(error):
            return explain_os_error(OSError(broken, os.strerror(broken)), store.url)
    if isinstance(error, OSError) and str(error.filename or "").startswith(f"{store.work}{os.sep}"):
        return explain_os_error(error, store.url)
    return None


class Store:
    """Results by key, in a folder or at any fsspec URL.

    A result is built in a temporary sibling and renamed (on object storage: uploaded, its record last), so what has a
    record is whole. Opening a result compares its stored recipe with the wanted one and its files with their digests.

    Args:
        url: a folder, or a URL fsspec understands (``s3://bucket/prefix``, ``memory://x``).

    Raises:
        StoreError: if the place cannot be created or written.
    """

    def __init__(self, url: str | Path) -> None:
        from fsspec.core import url_to_fs

        text = str(url)
        self.fs, self.root = url_to_fs(text if "://" in text else str(Path(text).expanduser().absolute()))
        self.url = text
        self.is_local = type(self.fs).__name__ == "LocalFileSystem"
        self._opened: dict[str, Path] = {}
        try:
            if self.is_local:
                for part in ("", ".building", ".locks"):
                    Path(self.root, part).mkdir(parents=True, exist_ok=True)
                probe = Path(self.root, ".building", f"probe-{uuid4().hex}")
                probe.write_text("")
                probe.unlink()
                self.work = Path(self.root)
            else:
                self.fs.makedirs(self.root, exist_ok=True)
                self.work = Path(tempfile.mkdtemp(prefix="weakstrong-"))
                weakref.finalize(self, shutil.rmtree, self.work, ignore_errors=True)
        except OSError as error:
            raise explain_os_error(error, self.url) from error

    def _folder(self, name: str, key: str) -> str:
        return f"{self.root}/{name}/{key}"

    def has(self, step: Step) -> bool:
        """Whether a finished result for ``step`` is stored; reads no file's content."""
        return bool(self.fs.exists(f"{self._folder(step.name, step.key)}/{RECORD}"))

    def keys(self, name: str) -> set[str]:
        """Keys of all finished results of one kind of step, from one listing."""
        if self.is_local:
            folder = Path(self.root, name)
            if not folder.is_dir():
                return set()
            with os.scandir(folder) as entries:
                return {e.name for e in entries if os.path.exists(f"{e.path}/{RECORD}")}
        found = self.fs.glob(f"{self.root}/{name}/*/{RECORD}")
        return {str(path).rsplit("/", 2)[-2] for path in found}

    def names(self) -> list[str]:
        """Kinds of steps that have a result here."""
        if not self.fs.exists(self.root):
            return []
        found = (str(p).rstrip("/").rsplit("/", 1)[-1] for p in self.fs.ls(self.root, detail=False))
        return sorted(n for n in found if not n.startswith("."))

    def read_record(self, name: str, key: str) -> dict[str, Any]:
        """The record of one result, unchecked.

        Raises:
            CorruptResultError: if it is missing or not JSON.
        """
        path = f"{self._folder(name, key)}/{RECORD}"
        try:
            with self.fs.open(path, "rb") as file:
                record = json.loads(file.read())
        except (OSError, ValueError) as error:
            raise CorruptResultError(
                f"{path} cannot be read ({error}); remove its folder and run again"
            ) from error
        if not isinstance(record, dict):
            raise CorruptResultError(f"{path} is not a record; remove its folder and run again")
        return record

    def record(self, step: Step) -> dict[str, Any]:
        """The record of ``step``, after comparing its recipe with the wanted one.

        Raises:
            RecipeMismatchError: naming each field that differs.
            CorruptResultError: if the record cannot be read.
        """
        record = self.read_record(step.name, step.key)
        wanted, stored = step.recipe(), {k: record.get(k) for k in ("step", "version", "spec", "inputs")}
        if stored != wanted:
            lines = "\n  ".join(_differences(stored, wanted))
            raise RecipeMismatchError(
                f"{self._folder(step.name, step.key)} was written by another recipe than the one that asks for it:\n"
                f"  {lines}\nRemove the folder, or use another --store."
            )
        return record

    def open(self, step: Step) -> Path:
        """A local folder with the result's files, verified once per process against the recorded digests.

        Raises:
            RecipeMismatchError: if the stored recipe is another one.
            CorruptResultError: if a file is missing, truncated or changed; the message names it.
        """
        if step.key in self._opened:
            return self._opened[step.key]
        record = self.record(step)
        folder = self._folder(step.name, step.key)
        local = Path(folder) if self.is_local else self.work / step.name / step.key
        if not self.is_local and not local.exists():
            self.fs.get(folder, str(local), recursive=True)
        for name, wanted in record.get("files", {}).items():
            path = local / name
            found = path.stat().st_size if path.is_file() else None
            if found != wanted["size"] or _sha256(path) != wanted["sha256"]:
                what = "is missing" if found is None else f"has {found} bytes or other content"
                raise CorruptResultError(
                    f"{path} {what}; its record wants {wanted['size']} bytes with SHA-256 {wanted['sha256'][:12]}…. "
                    f"Remove the folder {folder} and run again; only this result is computed anew."
                )
        self._opened[step.key] = local
        return local

    def try_lock(self, step: Step) -> FileLock | None:
        """Hold the right to build ``step``, or None if another process holds it.

        The operating system frees the lock of a killed process. Object storage has no locks: there two builders of
        one step both finish and the last upload stands, with the same content.
        """
        folder = self.work / ".locks"
        lock = FileLock(folder / f"{step.key}.lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            return None
        except OSError as error:
            raise explain_os_error(error, self.url) from error
        return lock

    def release(self, step: Step, lock: FileLock) -> None:
        """Give the lock back and remove its file once the result exists."""
        if self.has(step):
            with contextlib.suppress(OSError):
                (self.work / ".locks" / f"{step.key}.lock").unlink()
        lock.release()

    def scratch(self, step: Step) -> Path:
        """A folder for checkpoints of an unfinished ``step``; the same after a kill."""
        return self.work / ".scratch" / step.key

    @contextlib.contextmanager
    def job(self, step: Step) -> Iterator[Job]:
        """A `Job` for ``step`` whose temporary folder is removed if it is not committed."""
        out = self.work / ".building" / f"{step.name}-{step.key[:16]}-{uuid4().hex[:8]}"
        try:
            out.mkdir(parents=True)
        except OSError as error:
            raise explain_os_error(error, self.url) from error
        try:
            inputs = {role: self.open(dependency) for role, dependency in step.inputs.items()}
            yield Job(step, out, inputs, self.scratch(step))
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def commit(self, job: Job, provenance: Mapping[str, Any]) -> None:
        """Turn what a job left in its folder into a stored result, all or nothing.

        Raises:
            StoreError: if the store cannot be written; nothing half-written is ever visible.
        """
        step = job.step
        files = {
            path.relative_to(job.out).as_posix(): {"size": path.stat().st_size, "sha256": _sha256(path)}
            for path in sorted(job.out.rglob("*"))
            if path.is_file()
        }
        record = step.recipe() | {
            "key": step.key,
            "files": files,
            "summary": job.summary,
            "provenance": dict(provenance),
        }
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        folder = self._folder(step.name, step.key)
        try:
            if self.is_local:
                with (job.out / RECORD).open("w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                Path(folder).parent.mkdir(parents=True, exist_ok=True)
                self._rename(job.out, Path(folder), step)
            else:
                for name in files:
                    self.fs.makedirs(f"{folder}/{name}".rsplit("/", 1)[0], exist_ok=True)
                    self.fs.put_file(str(job.out / name), f"{folder}/{name}")
                self.fs.makedirs(folder, exist_ok=True)
                with self.fs.open(f"{folder}/{RECORD}", "wb") as remote:
                    remote.write(text.encode())
        except OSError as error:
            raise explain_os_error(error, self.url) from error
        shutil.rmtree(job.scratch, ignore_errors=True)

    def _rename(self, built: Path, folder: Path, step: Step) -> None:
        """Move into place; a whole result already there stays, a folder without a record is replaced."""
        if folder.exists() and not (folder / RECORD).exists():
            shutil.rmtree(folder)
        try:
            built.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            self.record(step)

    def clean_building(self, older_than: float = 3600.0) -> int:
        """Remove temporary folders that a killed process left behind; returns how many.

        Args:
            older_than: age in seconds since last written; younger ones may belong to a live process.
        """
        folder, removed = self.work / ".building", 0
        for path in folder.iterdir() if folder.is_dir() else ():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > older_than:
                    shutil.rmtree(path)
                    removed += 1
        return removed


def _differences(stored: object, wanted: object, path: str = "") -> list[str]:
    if isinstance(stored, dict) and isinstance(wanted, dict):
        names = sorted(set(stored) | set(wanted))
        return [
            line
            for n in names
            if stored.get(n) != wanted.get(n)
            for line in _differences(stored.get(n), wanted.get(n), f"{path}.{n}".lstrip("."))
        ]
    return [f"{path}: stored {canonical(stored)[:120]}, wanted {canonical(wanted)[:120]}"]
