"""Take one file or folder out of a zip or tar file, through nested ones, and refuse what is unsafe."""

from __future__ import annotations

import difflib
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from weakstrong.downloads import NO_SPACE, no_space
from weakstrong.errors import SourceError

DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, RuntimeError, BadGzipFile)


def is_safe(name: str) -> bool:
    """Whether a member name stays below the folder it is put in, on any system."""
    return bool(name) and not (
        {"", ".", ".."} & set(name.split("/")) or "\\" in name or PureWindowsPath(name).anchor or ":" in name
    )


class _Member(NamedTuple):
    kind: str
    size: int
    open: Callable[[], IO[bytes] | None]


@contextmanager
def _members(archive: Path) -> Iterator[list[tuple[str, _Member]]]:
    """Every member of a zip or tar file, by name."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as z:
            found = []
            for info in z.infolist():
                kind = (
                    "link"
                    if stat.S_ISLNK(info.external_attr >> 16)
                    else "folder"
                    if info.is_dir()
                    else "file"
                )
                found.append((info.filename, _Member(kind, info.file_size, partial(z.open, info))))
            yield found
    else:
        with tarfile.open(archive) as t:
            found = []
            for item in t.getmembers():
                kind = "file" if item.isreg() else "folder" if item.isdir() else "link or device"
                found.append((item.name, _Member(kind, item.size, partial(t.extractfile, item))))
            yield found


def extract(archive: Path, inside: Sequence[str], room: Path, uri: str, strip_top: bool) -> None:
    """Put the file or folder that ``inside`` names into ``room``, through nested archives; nothing else."""
    path, *deeper = inside
    target = room / PurePosixPath(path).name
    try:
        with _members(archive) as members:
            _take(members, path, target, uri, archive.name, strip_top)
    except DAMAGE as error:
        raise SourceError(f"{uri}: {archive.name} is damaged or not a zip or tar file ({error})") from error
    if deeper:
        if target.is_dir():
            raise SourceError(f"{uri}: {path!r} is a folder; name an archive before the '!'")
        nested = room.with_name(f"{room.name}.nested{len(deeper)}")
        target.rename(nested)
        extract(nested, deeper, room, uri, strip_top=False)
        nested.unlink()


def _take(
    members: list[tuple[str, _Member]], path: str, target: Path, uri: str, archive: str, strip_top: bool
) -> None:
    named: dict[str, _Member] = {}
    for raw, member in members:
        name = raw.removeprefix("./").rstrip("/")
        if PurePosixPath(name).is_absolute() or ".." in re.split(r"[/\\]", name):
            raise SourceError(
                f"{uri}: {archive} has the member {raw!r}, outside its folder; refused, do not trust it"
            )
        name = name.partition("/")[2] if strip_top else name
        if name:
            named[name] = member
    wanted = {n: m for n, m in named.items() if n == path or n.startswith(f"{path}/")}
    if not wanted:
        near = difflib.get_close_matches(path, named, n=5, cutoff=0.3) or sorted(named)[:5]
        raise SourceError(f"{uri}: {archive} has no {path!r}; it has e.g. {', '.join(near)}")
    for name, member in wanted.items():
        if member.kind not in ("file", "folder") or not is_safe(name):
            raise SourceError(
                f"{uri}: {archive} has {name!r}, a {member.kind}; only plain files are extracted"
            )
    needed = sum(m.size for m in wanted.values())
    try:
        for name, member in wanted.items():
            place = (
                target.joinpath(*name.removeprefix(path).strip("/").split("/")) if name != path else target
            )
            if member.kind == "folder":
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            opened = member.open()
            assert opened is not None
            with opened, place.open("wb") as out:
                shutil.copyfileobj(opened, out, 1 << 20)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise no_space(target.parent, uri, needed) from None
        raise
