"""A result's record: sealed by its own digest, read with suspicion; and what a failing disk means in words."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from weakstrong.errors import SourceError, StoreError
from weakstrong.spec import canonical, digest

if TYPE_CHECKING:
    from weakstrong.store import Store

RECORD = "record.json"
SEAL = "record_sha256"
ATTEMPT = "attempt"
"""Field of a record on object storage: the folder beside it that holds its files."""
RECIPE = ("step", "version", "spec", "inputs")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FileEntry(NamedTuple):
    """What a record says of one file: its length in bytes and its SHA-256 as hexadecimal digits."""

    size: int
    sha256: str


def describe_files(folder: Path) -> dict[str, FileEntry]:
    """Every file below ``folder``, by its path relative to it with forward slashes, in order."""
    return {
        path.relative_to(folder).as_posix(): FileEntry(path.stat().st_size, file_sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def to_disk(folder: Path) -> None:
    """Return once the disk has every file of ``folder``."""
    for path in (*filter(Path.is_file, folder.rglob("*")), folder):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def file_damage(path: Path, wanted: FileEntry) -> str:
    """What is wrong with a file, in a sentence that names it; "" if nothing."""
    found = path.stat().st_size if path.is_file() else None
    if found == wanted.size and file_sha256(path) == wanted.sha256:
        return ""
    what = "is missing" if found is None else f"has {found} bytes or other content"
    return f"{path} {what}; its record wants {wanted.size} bytes with SHA-256 {wanted.sha256[:12]}…."


def _seal_of(record: Mapping[str, Any]) -> str:
    # The standard encoder with sorted keys: a fifth of the time of `canonical`, and a store may hold 100,000 records.
    rest = {name: value for name, value in record.items() if name != SEAL}
    return digest(json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def seal(record: Mapping[str, Any], sealed: bool = True) -> str:
    """The text of a record with its own digest in it; with ``sealed`` False, of one that never had a digest.

    Raises:
        TypeError, ValueError: if a value is no JSON, or a number is not finite.
    """
    plain = json.loads(json.dumps(dict(record), allow_nan=False))  # what a reader will see: lists, not tuples
    own = {SEAL: _seal_of(plain)} if sealed else {}
    return json.dumps(plain | own, indent=1, ensure_ascii=False, allow_nan=False)


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether the record carries a digest of itself; older ones do not."""
    return SEAL in record


def parse_record(data: bytes) -> dict[str, Any]:
    """The record in ``data``; one without a digest of itself (an older one) is taken as it is.

    Raises:
        ValueError: if it is not a record, or its digest is another; the message goes after "cannot be read".
    """
    try:
        record = json.loads(data)
        if not isinstance(record, dict):
            raise ValueError("it is not a record")
        if is_sealed(record) and _seal_of(record) != record[SEAL]:
            raise ValueError(f"it was changed: its {SEAL} is of other content")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    files_of(record)
    summary, provenance = record.get("summary", {}), record.get("provenance", {})
    if not isinstance(summary, dict) or not isinstance(provenance, dict):
        raise ValueError("its summary or provenance is no object")
    if not isinstance(provenance.get("seconds", 0.0), (int, float)):
        raise ValueError(f"its seconds are {provenance['seconds']!r}, no number")
    return record


def recipe_key(record: Mapping[str, Any]) -> str:
    """The key that the recipe in a record has; as `weakstrong.store.Step.key`."""
    inputs = ",".join(f'["{role}","{key}"]' for role, key in sorted(record["inputs"].items()))
    return digest(
        f'{{"inputs":[{inputs}],"spec":{canonical(record["spec"])},"step":"{record["step"]}","version":{record["version"]}}}'
    )


def is_result_of(record: Mapping[str, Any], name: str, key: str) -> bool:
    """Whether the recipe in a record is that of the step of kind ``name`` with ``key``."""
    try:
        return recipe_key(record) == key and record["step"] == name
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return False


def files_of(record: Mapping[str, Any]) -> dict[str, FileEntry]:
    """The files that a record names.

    Raises:
        ValueError: if they are no files below its folder.
    """
    found, attempt = {}, record.get(ATTEMPT, "")
    if not isinstance(attempt, str) or not re.fullmatch(r"[0-9a-z-]*", attempt):
        raise ValueError(f"its {ATTEMPT} {attempt!r} names no folder")
    files = record.get("files", {})
    for name, entry in files.items() if isinstance(files, dict) else ():
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or "\\" in name or ":" in parts[0] or "\0" in name:
            raise ValueError(f"it names the file {name!r}, which is outside its folder")
        try:
            size, sha256 = entry["size"], entry["sha256"]
            if type(size) is not int or size < 0 or not re.fullmatch(r"[0-9a-f]{64}", sha256):
                raise TypeError
        except (TypeError, KeyError):
            raise ValueError(f"it does not say the size and SHA-256 of {name!r}") from None
        found[name] = FileEntry(size, sha256)
    if not isinstance(files, dict):
        raise ValueError("it does not name its files")
    return found


def differences(stored: object, wanted: object, path: str = "") -> list[str]:
    """One line ``path: stored x, wanted y`` for each leaf in which two recipes differ."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        names = sorted(set(stored) | set(wanted))
        return [
            line
            for n in names
            if stored.get(n) != wanted.get(n)
            for line in differences(stored.get(n), wanted.get(n), f"{path}.{n}".lstrip("."))
        ]
    return [f"{path}: stored {canonical(stored)[:120]}, wanted {canonical(wanted)[:120]}"]


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
