"""Results of a store in one file, to carry to another: a plain tar, equal bytes for equal results.

``manifest.json`` first, then ``experiments/<key>.json``, then for each result ``results/<step>/<key>/record.json``
and its files below ``results/<step>/<key>/files/``. Reading trusts nothing: see `read_bundle`.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from weakstrong.errors import ConfigError, CorruptResultError, StoreError
from weakstrong.store import Store
from weakstrong.store_records import (
    ATTEMPT,
    RECORD,
    SEAL,
    FileEntry,
    file_damage,
    files_of,
    is_result_of,
    is_sealed,
    parse_record,
    seal,
)

FORMAT = 1
MANIFEST = "manifest.json"
LONGEST_JSON = 64 * 2**20
"""Bytes of a record, an experiment or the manifest; a larger one is refused unread."""
_RESULT = re.compile(r"results/(?P<name>\w[\w-]*)/(?P<key>[0-9a-f]{64})/(?P<rest>record\.json|files/.+)")
_EXPERIMENT = re.compile(r"experiments/(?P<key>[0-9a-f]{64})\.json")


@dataclass
class Carried:
    """What went into a file or came out of it: counts of experiments and results, and bytes of files."""

    experiments: int = 0
    results: int = 0
    there: int = 0
    bytes: int = 0


def write_bundle(
    store: Store,
    path: Path,
    experiments: Mapping[str, Mapping[str, Any]],
    results: Iterable[tuple[str, str]],
    dry_run: bool = False,
) -> Carried:
    """Write experiments (their JSON, by key) and results (kind and key) to ``path``, each result verified first.

    Raises:
        CorruptResultError: if a result is damaged; there is no file then.
        StoreError: if the file cannot be written.
    """
    carried, half = Carried(), path.with_name(f"{path.name}.{uuid4().hex[:8]}.tmp")
    wanted = sorted(set(results))
    manifest = {"format": FORMAT, "experiments": sorted(experiments), "results": [list(r) for r in wanted]}
    try:
        with tarfile.open(os.devnull if dry_run else half, "w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, MANIFEST, _text(manifest))
            for key, values in sorted(experiments.items()):
                _add(tar, f"experiments/{key}.json", _text(values))
                carried.experiments += 1
            for name, key in wanted:
                carried.bytes += _add_result(store, tar, name, key)
                carried.results += 1
        if not dry_run:
            half.replace(path)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror or error}); choose another file"
        ) from error
    finally:
        half.unlink(missing_ok=True)
    return carried


def _text(values: object) -> bytes:
    return (json.dumps(values, sort_keys=True, ensure_ascii=False, indent=1) + "\n").encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes | Path) -> None:
    member = tarfile.TarInfo(name)  # the rest of its fields is 0 or empty: no user, no time
    member.mode = 0o644
    if isinstance(data, Path):
        member.size = data.stat().st_size
        with data.open("rb") as file:
            tar.addfile(member, file)
    else:
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def _add_result(store: Store, tar: tarfile.TarFile, name: str, key: str) -> int:
    record = store.read_record(name, key)
    folder, damage = store.files(name, key, record)
    if damage:
        raise CorruptResultError(
            f"{damage} Run w2s store verify --set-aside, then w2s run, then export again.", name, key
        )
    home, files = f"results/{name}/{key}", files_of(record)
    _add(tar, f"{home}/{RECORD}", _moved(record).encode())
    for file in sorted(files):
        _add(tar, f"{home}/files/{file}", folder / file)
    return sum(entry.size for entry in files.values())


def _moved(record: Mapping[str, Any]) -> str:
    """The text of a record without where its files lay; a record without seal (an older one) gets none."""
    plain = {name: value for name, value in record.items() if name not in (ATTEMPT, SEAL)}
    return seal(plain, is_sealed(record))


def read_bundle(
    store: Store, path: Path, dry_run: bool = False, progress: Callable[[int, int], object] = lambda *_: None
) -> Carried:
    """Put what ``path`` holds into ``store``; what is there stays as it is.

    Only plain files with the names of a bundle are read, none larger than its record says, and a result enters only if
    its record, its recipe and every file have the right digests. A result in the middle of which the file ends is not
    kept; those before it are.

    Raises:
        StoreError: if it is no bundle, is damaged, or has a member that is a link, a device or lies outside.
    """
    carried = Carried()
    try:
        file = path.open("rb")
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read ({error.strerror}); name a file of w2s store export"
        ) from error
    try:
        with file, tarfile.open(fileobj=file, mode="r:") as tar:
            _Reader(store, tar, path, dry_run, carried, progress).read()
    except (tarfile.TarError, UnicodeError, RecursionError) as error:
        raise StoreError(
            f"{path} is no export of a store, or is damaged ({error}); export it again"
        ) from error
    except OSError as error:
        raise store.place.explain(error) from error
    return carried


class _Reader:
    def __init__(
        self,
        store: Store,
        tar: tarfile.TarFile,
        path: Path,
        dry_run: bool,
        carried: Carried,
        progress: Callable[[int, int], object],
    ) -> None:
        self.store, self.tar, self.path, self.dry_run, self.carried = store, tar, path, dry_run, carried
        self.progress = progress

    def read(self) -> None:
        members = self._members()
        first = next(members, None)
        manifest = self._json(first) if first is not None and first.name == MANIFEST else {}
        if manifest.get("format") != FORMAT:
            raise StoreError(
                f"{self.path} is no export of a store that this version can read "
                f"(format {manifest.get('format')!r}, wanted {FORMAT}); make one with w2s store export"
            )
        results, experiments = manifest.get("results"), manifest.get("experiments")
        if not isinstance(results, list) or not isinstance(experiments, list):
            raise StoreError(f"{self.path}: {MANIFEST} lists no results and experiments; export it again")
        total = len(results)
        pending = next(members, None)
        while pending is not None:
            if match := _EXPERIMENT.fullmatch(pending.name):
                self._experiment(match["key"], pending)
                pending = next(members, None)
            else:
                pending = self._result(pending, members)
                self.progress(self.carried.results + self.carried.there, total)
        done = self.carried.results + self.carried.there
        if done != total or self.carried.experiments != len(experiments):
            raise StoreError(
                f"{self.path} promises {total} results and holds {done}; it is cut short: export it again. "
                "What it held is stored."
            )

    def _members(self) -> Iterator[tarfile.TarInfo]:
        for member in self.tar:
            name = member.name
            parts = name.split("/")
            if not member.isreg() or member.issparse():
                raise StoreError(
                    f"{self.path} has {name!r}, which is no plain file; refused, do not trust it"
                )
            if {"", ".", ".."} & set(parts) or "\\" in name or ":" in parts[0]:
                raise StoreError(f"{self.path} has {name!r}, outside its folder; refused, do not trust it")
            if name != MANIFEST and not (_EXPERIMENT.fullmatch(name) or _RESULT.fullmatch(name)):
                raise StoreError(f"{self.path} has {name!r}, which no export has; refused, do not trust it")
            yield member

    def _open(self, member: tarfile.TarInfo) -> IO[bytes]:
        opened = self.tar.extractfile(member)
        assert opened is not None  # a plain file
        return opened

    def _bytes(self, member: tarfile.TarInfo) -> bytes:
        if member.size > LONGEST_JSON:
            raise StoreError(
                f"{self.path} has {member.name!r} of {member.size} bytes; refused, do not trust it"
            )
        with self._open(member) as file:
            return file.read()

    def _json(self, member: tarfile.TarInfo) -> dict[str, Any]:
        try:
            values = json.loads(self._bytes(member))
        except ValueError as error:
            raise StoreError(f"{self.path}: {member.name} is no JSON ({error}); export it again") from error
        if not isinstance(values, dict):
            raise StoreError(f"{self.path}: {member.name} is no JSON object; export it again")
        return values

    def _experiment(self, key: str, member: tarfile.TarInfo) -> None:
        values = self._json(member)
        if not self.dry_run and key not in self.store.read_notes("experiments"):
            self.store.write_note("experiments", key, values)
        self.carried.experiments += 1

    def _result(self, member: tarfile.TarInfo, members: Iterator[tarfile.TarInfo]) -> tarfile.TarInfo | None:
        """Read one result, which begins with its record; returns the member after it."""
        match = _RESULT.fullmatch(member.name)
        if match is None or match["rest"] != RECORD:
            raise StoreError(f"{self.path} has {member.name!r} where a record was wanted; export it again")
        name, key = match["name"], match["key"]
        try:
            record = parse_record(self._bytes(member))
            files = files_of(record)
        except ValueError as error:
            raise StoreError(
                f"{self.path}: {member.name} cannot be read ({error}); export it again"
            ) from error
        if not is_result_of(record, name, key) or ATTEMPT in record:
            raise StoreError(
                f"{self.path}: {member.name} is the record of another result; refused, do not trust it"
            )
        there = self.store.place.exists(f"{self.store.folder(name, key)}/{RECORD}")
        with self.store.busy() as room:
            room.mkdir()
            following = self._files(room, f"results/{name}/{key}/files/", files, members)
            if there or self.dry_run or not self.store.adopt(room, name, key, record, is_sealed(record)):
                shutil.rmtree(room, ignore_errors=True)
        self.carried.results += not there
        self.carried.there += there
        self.carried.bytes += 0 if there else sum(entry.size for entry in files.values())
        return following

    def _files(
        self, room: Path, home: str, files: Mapping[str, FileEntry], members: Iterator[tarfile.TarInfo]
    ) -> tarfile.TarInfo | None:
        seen: set[str] = set()
        for member in members:
            name = member.name.removeprefix(home)
            if name == member.name:
                break
            if name not in files or name in seen or member.size != files[name].size:
                raise StoreError(
                    f"{self.path}: {member.name} is not what its record says; refused, do not trust it"
                )
            place = room / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with self._open(member) as source, place.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            damage = file_damage(place, files[name])
            if damage:
                raise StoreError(f"{self.path}: {member.name} is damaged (other SHA-256); export it again")
            seen.add(name)
        else:
            member = None
        if len(seen) != len(files):
            raise StoreError(f"{self.path} is cut short in {home}; export it again")
        return member


def checked_target(path: Path) -> Path:
    """A file to write a bundle to.

    Raises:
        ConfigError: if its folder does not exist, or it is a folder.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"{path} cannot be written: it is a folder, or its folder does not exist")
    return path
