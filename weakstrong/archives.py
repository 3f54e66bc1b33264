"""Take one file or folder out of a zip or tar file, through nested ones, and refuse what is unsafe.

Nothing is written outside the folder it belongs in, links and devices are never made, two members never share a
place, and an archive that unpacks to far more than its own size is refused before it fills the disk or the memory.
"""

from __future__ import annotations

import bz2
import difflib
import errno
import gzip
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, NamedTuple

from weakstrong.downloads import NO_SPACE, no_space
from weakstrong.errors import SourceError

DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, RuntimeError, ValueError, LookupError, struct.error),
)
"""What the readers of the standard library raise over bytes that are no archive, or a broken one."""
FREE_BYTES = 1 << 30
"""What any archive may unpack to, however small it is."""
RATIO = 200
"""Beyond `FREE_BYTES`, how many times its own size: text shrinks to a tenth or so, zeros to a thousandth."""
PIECE_BYTES = 1 << 24
"""The longest piece of a tar file that is read at once: it says itself how long its headers are."""
COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}


def is_safe(name: str) -> bool:
    """Whether a member name stays below the folder it is put in, on any system."""
    return bool(name) and not (
        {"", ".", ".."} & set(name.split("/"))
        or {"\\", ":", "\0"} & set(name)
        or PureWindowsPath(name).anchor
    )


class _Member(NamedTuple):
    kind: str
    size: int
    open: Callable[[], IO[bytes] | None]


class _Archive(NamedTuple):
    """An archive, and the URI that asked for it, as messages name it."""

    path: Path
    uri: str

    def refuse_bomb(self, unpacked: int) -> None:
        """Refuse an archive of which ``unpacked`` bytes, or more, were promised or read."""
        packed = self.path.stat().st_size
        if unpacked > max(FREE_BYTES, RATIO * packed):
            raise SourceError(
                f"{self.uri}: {self.path.name} has {packed:,} bytes and unpacks to {unpacked:,} or more, over {RATIO} "
                "times as many; refused, do not trust it"
            )


class _Bounded:
    """What tarfile reads from: never far more bytes than the archive has, never a huge piece at once."""

    def __init__(self, stream: IO[bytes], archive: _Archive) -> None:
        self._stream, self._archive, self.tell = stream, archive, stream.tell

    def seek(self, place: int) -> int:
        self._archive.refuse_bomb(place)
        return self._stream.seek(place)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= PIECE_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes; at most {PIECE_BYTES:,} are read")
        self._archive.refuse_bomb(self.tell() + size)
        return self._stream.read(size)


@contextmanager
def _members(archive: _Archive) -> Iterator[list[tuple[str, _Member]]]:
    """Every member of a zip or tar file, by name."""
    found = []
    if zipfile.is_zipfile(archive.path):
        with zipfile.ZipFile(archive.path) as z:
            for info in z.infolist():
                link = stat.S_ISLNK(info.external_attr >> 16)
                kind = "link" if link else "folder" if info.is_dir() else "file"
                found.append((info.filename, _Member(kind, info.file_size, partial(z.open, info))))
            yield found
        return
    with ExitStack() as stack:
        stream = stack.enter_context(archive.path.open("rb"))
        opened = next((o for mark, o in COMPRESSED.items() if stream.peek(6).startswith(mark)), None)
        if opened is not None:
            stream = stack.enter_context(opened(stream))
        bounded: Any = _Bounded(stream, archive)
        t = stack.enter_context(tarfile.open(fileobj=bounded, mode="r:"))
        for item in t:
            if item.size < 0:
                raise tarfile.ReadError(
                    f"a member of {item.size} bytes"
                )  # the next header would be this one again
            kind = "file" if item.isreg() else "folder" if item.isdir() else "link or device"
            found.append((item.name, _Member(kind, item.size, partial(t.extractfile, item))))
        yield found


def extract(archive: Path, inside: Sequence[str], room: Path, uri: str, strip_top: bool) -> None:
    """Put the file or folder that ``inside`` names into ``room``, through nested archives; nothing else.

    Raises:
        SourceError: it is not there, damaged, unsafe, unpacks to far too much, or does not fit on the disk.
    """
    path, *deeper = inside
    target = room / PurePosixPath(path).name
    source = _Archive(archive, uri)
    try:
        with _members(source) as members:
            _write(_chosen(members, path, source, strip_top), path, target, source)
    except SourceError:
        raise
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of this machine; bz2 has no number for bytes that are not its own
        raise SourceError(f"{uri}: {archive.name} is damaged or not a zip or tar file ({error})") from error
    if deeper:
        if target.is_dir():
            raise SourceError(f"{uri}: {path!r} is a folder; name an archive before the '!'")
        nested = room.with_name(f"{room.name}.nested{len(deeper)}")
        target.rename(nested)
        extract(nested, deeper, room, uri, strip_top=False)
        nested.unlink()


def _chosen(
    members: list[tuple[str, _Member]], path: str, archive: _Archive, strip_top: bool
) -> dict[str, _Member]:
    """The members at or below ``path``, by name."""
    uri, file = archive.uri, archive.path.name
    wanted: dict[str, _Member] = {}
    names, places = [], dict[str, str]()
    for raw, member in members:
        name = raw.removeprefix("./").rstrip("/")
        if PurePosixPath(name).is_absolute() or ".." in re.split(r"[/\\]", name):
            raise SourceError(
                f"{uri}: {file} has the member {raw!r}, outside its folder; refused, do not trust it"
            )
        name = name.partition("/")[2] if strip_top else name
        names.append(name)
        if name != path and not name.startswith(f"{path}/"):
            continue
        if member.kind not in ("file", "folder") or not is_safe(name):
            raise SourceError(f"{uri}: {file} has {name!r}, a {member.kind}; only plain files are extracted")
        if "file" in (member.kind, places.get(name.casefold())) and name.casefold() in places:
            # Readers differ in which one they take, and so do file systems that know no case.
            raise SourceError(f"{uri}: {file} has {name!r} twice; refused, do not trust it")
        places[name.casefold()] = member.kind
        wanted[name] = member
    if not wanted:
        names = [n for n in dict.fromkeys(names) if n]
        near = difflib.get_close_matches(path, names, n=5, cutoff=0.3) or sorted(names)[:5]
        raise SourceError(f"{uri}: {file} has no {path!r}; it has e.g. {', '.join(near)}")
    for name in wanted:
        above = next((str(p) for p in PurePosixPath(name).parents if str(p) in wanted), None)
        if above is not None and wanted[above].kind == "file":
            raise SourceError(f"{uri}: {file} has {above!r} as a file and as a folder; refused")
    return wanted


def _write(wanted: dict[str, _Member], path: str, target: Path, archive: _Archive) -> None:
    needed = sum(m.size for m in wanted.values())
    archive.refuse_bomb(needed)
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
            raise no_space(target.parent, archive.uri, needed) from None
        raise
