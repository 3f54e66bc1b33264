"""The wire: open a URL with pip's settings, try again where that helps, and download a file that is checked.

Downloads go on where they broke off and are checked against their SHA-256.
Credentials (in a URL or in netrc) are sent to the host they belong to and never shown.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import http.client
import netrc
import os
import re
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from weakstrong.errors import ConfigError, HashMismatchError, SourceError
from weakstrong.redact import without_credentials

T = TypeVar("T")

RETRIES = 3
BACKOFF_S = 0.5
BLOCK_BYTES = 1 << 18
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def shown(url: str) -> str:
    """A URL fit for a message: no credentials, query (it may hold a token) or fragment."""
    head = url.partition("#")[0].partition("?")[0]
    # A password may hold these marks, though it should not; then the credentials go first.
    whole = head if "@" in head or "@" not in url else url
    return without_credentials(whole).partition("#")[0].partition("?")[0]


@dataclass(frozen=True)
class PipSettings:
    """Where pip would look, and how. URLs are left out of the ``repr``: they may hold credentials."""

    index_url: str = field(default="https://pypi.org/simple", repr=False)
    extra_index_urls: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    no_index: bool = False
    cert: str | None = None
    timeout_s: float = 15.0


def _origin(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def inherit_credentials(base: str, url: str) -> str:
    """``url`` with the credentials of ``base`` where both lie on the same scheme, host and port."""
    one, two = urlsplit(base), urlsplit(url)
    if "@" in one.netloc and "@" not in two.netloc and _origin(one) == _origin(two):
        return urlunsplit(two._replace(netloc=one.netloc))
    return url


def _request(url: str, headers: Mapping[str, str]) -> urllib.request.Request:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    if not user:
        try:
            login = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname or "")
        except (OSError, netrc.NetrcParseError):
            login = None
        name, password = (login[0], login[2] or "") if login else ("", "")
    request = urllib.request.Request(
        urlunsplit(parts._replace(netloc=host, fragment="")), headers=dict(headers)
    )
    if name or password:
        token = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")  # must not follow to another host
    return request


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows redirects; credentials go along only where scheme, host and port stay the same."""

    def __init__(self, url: str) -> None:
        self.url = url

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        plain = super().redirect_request(req, fp, code, msg, headers, newurl)
        return plain and _request(inherit_credentials(self.url, plain.full_url), dict(plain.headers))


def _tls(cert: str | None) -> ssl.SSLContext:
    folder = bool(cert) and Path(str(cert)).is_dir()
    try:
        return ssl.create_default_context(cafile=None if folder else cert, capath=cert if folder else None)
    except OSError as error:
        raise ConfigError(f"the certificate file {cert} cannot be used ({error}); see PIP_CERT") from error


def open_url(url: str, settings: PipSettings, headers: Mapping[str, str]) -> Any:
    """Open an http(s) URL; errors are those of urllib."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise SourceError(f"{shown(url)}: only http, https and file are read; check pip's index settings")
    https = urllib.request.HTTPSHandler(context=_tls(settings.cert))
    opener = urllib.request.build_opener(https, _Redirect(url))
    return opener.open(_request(url, headers), timeout=settings.timeout_s)


class _TransientError(Exception):
    """Worth another try."""


@contextmanager
def network(url: str) -> Iterator[None]:
    """Sort what goes wrong on the wire into worth another try (`_TransientError`) and not (`SourceError`)."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (408, 416, 425, 429) or error.code >= 500:
            raise _TransientError(f"HTTP {error.code}") from None
        raise SourceError(f"{shown(url)}: the server answered HTTP {error.code}") from None
    except (
        urllib.error.URLError,
        ConnectionError,
        TimeoutError,
        ssl.SSLError,
        http.client.HTTPException,
    ) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        text = without_credentials(f"{type(reason).__name__}: {reason}")
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise SourceError(f"{shown(url)}: {text}; name your certificate in PIP_CERT") from None
        raise _TransientError(text) from None
    except ValueError as error:
        raise SourceError(f"{shown(url)}: not a usable URL or proxy ({type(error).__name__})") from None


def patiently(action: Callable[[], T], failed: Callable[[str], SourceError]) -> T:
    """Run ``action``, again after 0.5, 1 and 2 s where the network fails, then raise ``failed(why)``."""
    for wait_s in (*(BACKOFF_S * 2**n for n in range(RETRIES)), None):
        try:
            return action()
        except _TransientError as error:
            if wait_s is None:
                raise failed(str(error)) from None
            time.sleep(wait_s)
    raise AssertionError("the last round returns or raises")


def local_path(place: str) -> Path | None:
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return None if "://" in place else Path(place).expanduser().absolute()


@dataclass(frozen=True)
class DistFile:
    """One wheel or sdist: its name, where it lies, and its SHA-256 (64 hex digits) and bytes where stated."""

    filename: str
    url: str = field(repr=False)
    sha256: str | None = None
    size: int | None = None

    @property
    def path(self) -> Path | None:
        """The file itself when it already lies on this machine."""
        return local_path(self.url)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def no_space(folder: Path, what: str, needed: int | None) -> SourceError:
    """The error for a full disk: ``needed`` more bytes, in ``folder``."""
    free = shutil.disk_usage(folder).free
    size = "more space" if needed is None else f"{needed:,} more bytes"
    return SourceError(
        f"no space left in {folder} ({free:,} bytes free): {what} needs {size}. "
        "Make room, or set WEAKSTRONG_CACHE to a folder on a larger disk"
    )


@contextmanager
def _progress(name: str, done: int, total: int | None, show: bool) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the bytes of each block."""
    if show and sys.stderr.isatty() and not os.environ.get("CI"):
        from rich import progress as bars
        from rich.console import Console

        columns = (*bars.Progress.get_default_columns(), bars.DownloadColumn(), bars.TransferSpeedColumn())
        with bars.Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(name, total=total, completed=done)
            yield lambda count: bar.advance(task, count)
        return
    if show:
        size = "" if total is None else f" ({total:,} bytes{f', {done:,} already here' if done else ''})"
        print(f"downloading {name}{size}", file=sys.stderr)
    yield lambda count: None


def _body(headers: Message, status: int, start: int) -> tuple[int, int | None]:
    """(offset the body starts at, bytes of the whole file if told) of an answer to a request from start."""
    length = headers.get("Content-Length")
    if status != 206:
        return 0, int(length) if length else None
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    if not span or int(span[1]) != start:
        raise _TransientError(f"the server answered another range than from byte {start}")
    return start, None if span[2] == "*" else int(span[2])


def _stream(file: DistFile, part: Path, settings: PipSettings, show: bool) -> None:
    """One request that fills ``part``, from where it ends if the server allows."""
    validator = part.with_suffix(".validator")
    tag = validator.read_text(encoding="utf-8") if validator.exists() else ""
    start = part.stat().st_size if part.exists() else 0
    if file.size is not None and start == file.size:
        return
    if not tag and not file.sha256:
        start = 0  # nothing would tell a changed file from the old one
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-"} | ({"If-Range": tag} if tag else {})
    total = file.size
    try:
        with network(file.url), open_url(file.url, settings, headers) as response:
            start, told = _body(response.headers, response.status, start)
            total = told if told is not None else file.size
            etag = response.headers.get("ETag", "")
            tag = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
            validator.write_text(tag, encoding="utf-8")
            with (
                part.open("ab" if start else "wb") as out,
                _progress(file.filename, start, total, show) as advance,
            ):
                while block := response.read(BLOCK_BYTES):
                    out.write(block)
                    advance(len(block))
    except _TransientError as error:
        if str(error) == "HTTP 416":
            part.unlink(missing_ok=True)  # longer than the file, or complete but unproven: start afresh
        raise
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        missing = None if total is None else total - (part.stat().st_size if part.exists() else 0)
        raise no_space(part.parent, file.filename, missing) from None
    size = part.stat().st_size
    if total is not None and size < total:
        raise _TransientError(f"the connection ended after {size:,} of {total:,} bytes")


def download(file: DistFile, folder: Path, settings: PipSettings, progress: bool = True) -> Path:
    """The file's bytes on this machine, checked against the index's SHA-256 where it states one.

    Bytes go to a ``.part`` file in ``folder``, are resumed after an interruption (an earlier run's too), and
    get their name when complete. A file that lies on this machine already is returned as it is.

    Raises:
        HashMismatchError: the index states another SHA-256; the bytes are deleted.
        SourceError: no answer after 3 retries, a refusal, or no space left.
    """
    target = file.path or folder / file.filename
    if file.path is None:
        name = file.sha256 or hashlib.sha256(shown(file.url).encode()).hexdigest()
        part = folder / f"{name}.part"

        def failed(why: str) -> SourceError:
            return SourceError(
                f"{file.filename} from {shown(file.url)}: {why}, after {RETRIES} retries. "
                "What came is kept; run again to go on from there"
            )

        resumed = part.exists()
        patiently(lambda: _stream(file, part, settings, progress), failed)
        if resumed and file.sha256 and file_sha256(part) != file.sha256:
            part.unlink()  # the old beginning may be to blame
            patiently(lambda: _stream(file, part, settings, progress), failed)
        part.with_suffix(".validator").unlink(missing_ok=True)
        part.replace(target)
    if file.sha256 and (found := file_sha256(target)) != file.sha256:
        if file.path is None:
            target.unlink()
        raise HashMismatchError(
            f"{file.filename} from {shown(file.url)}: found sha256 {found}, wanted {file.sha256} "
            "(from the index). Run again; if it stays so, the index is wrong or was tampered with"
        )
    return target
