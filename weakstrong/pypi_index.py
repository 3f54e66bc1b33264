"""Find and download one file of a Python distribution, as pip would, but without installing anything.

The simple index API is read in both its forms (PEP 503 HTML, PEP 691 JSON) from the places the user's pip
settings name. A wheel or sdist is bytes to read here: nothing in it is built or run.
Credentials (in a URL or in netrc) are sent to the host they belong to and never shown.
"""

from __future__ import annotations

import base64
import configparser
import errno
import hashlib
import html
import http.client
import json
import netrc
import os
import platform
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
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import SplitResult, parse_qs, unquote, urljoin, urlsplit, urlunsplit

import platformdirs
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from weakstrong.errors import ConfigError, HashMismatchError, OfflineError, SourceError

T = TypeVar("T")

RETRIES = 3
BACKOFF_S = 0.5
BLOCK_BYTES = 1 << 18
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def without_credentials(text: str) -> str:
    """``text`` with the ``user:password@`` of every URL in it removed.

    >>> without_credentials("asked https://me:secret@host/simple/")
    'asked https://host/simple/'
    """
    return re.sub(r"://[^/\s]*@", "://", text)


def shown(url: str) -> str:
    """A URL fit for a message: no credentials, query (it may hold a token) or fragment."""
    return without_credentials(url).partition("#")[0].partition("?")[0]


@dataclass(frozen=True)
class PipSettings:
    """Where pip would look, and how. URLs are left out of the ``repr``: they may hold credentials."""

    index_url: str = field(default="https://pypi.org/simple", repr=False)
    extra_index_urls: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    no_index: bool = False
    cert: str | None = None
    timeout_s: float = 15.0


def config_files(environ: Mapping[str, str]) -> list[Path]:
    """pip's configuration files, weakest first; they need not exist. PIP_CONFIG_FILE=/dev/null: none."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    name = "pip.ini" if os.name == "nt" else "pip.conf"
    dirs = platformdirs.PlatformDirs("pip", appauthor=False, roaming=True, multipath=True)
    files = [Path(folder) / name for folder in dirs.site_config_dir.split(os.pathsep)]
    if os.name != "nt":
        files.append(Path("/etc") / name)
    if not (named and Path(named).exists()):  # pip leaves the user's files out when one is named
        home = Path.home()
        files.append(home / ("pip" if os.name == "nt" else ".pip") / name)
        if platform.system() == "Darwin":
            files.append(home / ".config" / "pip" / name)
        files.append(Path(dirs.user_config_dir) / name)
    files.append(Path(sys.prefix) / name)
    return files + ([Path(named).expanduser()] if named else [])


def pip_settings(environ: Mapping[str, str] | None = None) -> PipSettings:
    """Read pip's settings from its configuration files and PIP_* variables; pip itself need not be installed.

    Raises:
        ConfigError: a configuration file cannot be parsed, or the timeout is not a number.
    """
    environ = os.environ if environ is None else environ
    sections: dict[str, dict[str, str]] = {}
    for file in config_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            # The parser's own text quotes the line, which may hold a password.
            raise ConfigError(f"{file}: not a pip configuration ({type(error).__name__}); mend it") from None
        for section in parser.sections():
            values = {k.lstrip("-").replace("_", "-"): v for k, v in parser.items(section)}
            sections.setdefault(section, {}).update(values)
    merged = {k: v for s in ("global", "install", "download") for k, v in sections.get(s, {}).items()}
    for key, value in environ.items():
        if key.startswith("PIP_") and value:
            merged[key[4:].lower().replace("_", "-")] = value
    timeout = merged.get("timeout", merged.get("default-timeout", "15"))
    try:
        timeout_s = float(timeout)
    except ValueError:
        raise ConfigError(f"pip's timeout is {timeout!r}; wanted a number of seconds") from None
    certificates = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
    return PipSettings(
        index_url=merged.get("index-url", PipSettings.index_url).strip(),
        extra_index_urls=tuple(merged.get("extra-index-url", "").split()),
        find_links=tuple(merged.get("find-links", "").split()),
        no_index=merged.get("no-index", "").strip().lower() in ("1", "true", "yes", "on", "y", "t"),
        cert=merged.get("cert") or next((environ[name] for name in certificates if environ.get(name)), None),
        timeout_s=timeout_s,
    )


def _origin(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _inherit(base: str, url: str) -> str:
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
        return plain and _request(_inherit(self.url, plain.full_url), dict(plain.headers))


def _tls(cert: str | None) -> ssl.SSLContext:
    folder = bool(cert) and Path(str(cert)).is_dir()
    try:
        return ssl.create_default_context(cafile=None if folder else cert, capath=cert if folder else None)
    except OSError as error:
        raise ConfigError(f"the certificate file {cert} cannot be used ({error}); see PIP_CERT") from error


def _open(url: str, settings: PipSettings, headers: Mapping[str, str]) -> Any:
    """Open an http(s) URL; errors are those of urllib."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise SourceError(f"{shown(url)}: only http, https and file are read; check pip's index settings")
    https = urllib.request.HTTPSHandler(context=_tls(settings.cert))
    opener = urllib.request.build_opener(https, _Redirect(url))
    return opener.open(_request(url, headers), timeout=settings.timeout_s)


class _TransientError(Exception):
    """Worth another try."""


@contextmanager
def _network(url: str) -> Iterator[None]:
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


def _patiently(action: Callable[[], T], failed: Callable[[str], SourceError]) -> T:
    """Run ``action``, again after 0.5, 1 and 2 s where the network fails, then raise ``failed(why)``."""
    for wait_s in (*(BACKOFF_S * 2**n for n in range(RETRIES)), None):
        try:
            return action()
        except _TransientError as error:
            if wait_s is None:
                raise failed(str(error)) from None
            time.sleep(wait_s)
    raise AssertionError("the last round returns or raises")


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
        return _local(self.url)


def _local(place: str) -> Path | None:
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return None if "://" in place else Path(place).expanduser().absolute()


class _Links(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.base, self.hrefs = page, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if href and tag == "base":
            self.base = urljoin(self.base, href)
        elif href and tag == "a":
            self.hrefs.append(href)


def read_page(text: str, page: str, is_json: bool = False) -> list[DistFile]:
    """The files that a simple-index page (its text, and the URL it came from) links to.

    >>> [f.filename for f in read_page('<a href="a-1.tar.gz#sha256=00">', "https://host/simple/a/")]
    ['a-1.tar.gz']
    """
    found: list[tuple[str, str | None, int | None]] = []
    base = page
    if is_json:
        found = [
            (e["url"], e.get("hashes", {}).get("sha256"), e.get("size")) for e in json.loads(text)["files"]
        ]
    else:
        links = _Links(page)
        links.feed(text)
        base = links.base
        found = [
            (h, next(iter(parse_qs(urlsplit(h).fragment).get("sha256", [])), None), None) for h in links.hrefs
        ]
    files = []
    for href, sha256, size in found:
        url = _inherit(page, urljoin(base, href))
        if urlsplit(url).scheme == "file" and urlsplit(page).scheme != "file":
            continue  # a server must not point at files of this machine
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        files.append(DistFile(name, url, sha256.lower() if sha256 else None, size))
    return files


def _read_folder(folder: Path) -> list[DistFile]:
    return [DistFile(p.name, p.as_uri()) for p in sorted(folder.iterdir()) if p.is_file()]


def _read_local(place: Path, project: str | None) -> list[DistFile]:
    """Files of a folder index (``project`` given) or of a find-links place; none where it does not exist."""
    if place.is_file():
        if place.suffix in (".html", ".htm"):
            return read_page(place.read_text(encoding="utf-8"), place.as_uri())
        return [DistFile(place.name, place.as_uri())]
    if not place.is_dir():
        return []
    own = (p for p in place.iterdir() if project and p.is_dir() and canonicalize_name(p.name) == project)
    if folder := next(own, None):
        page = folder / "index.html"
        return (
            read_page(page.read_text(encoding="utf-8"), page.as_uri())
            if page.is_file()
            else _read_folder(folder)
        )
    return _read_folder(place)


def _read_remote(url: str, settings: PipSettings) -> list[DistFile]:
    if url.partition("#")[0].endswith((".whl", ".tar.gz", ".zip")):  # find-links may name one file
        return read_page(f'<a href="{html.escape(url)}">', url)

    def ask() -> tuple[str, str, bool]:
        headers = {"Accept": ACCEPT, "Accept-Encoding": "identity"}
        with _network(url), _open(url, settings, headers) as response:
            is_json = "json" in response.headers.get_content_type()
            return response.read().decode("utf-8", "replace"), _inherit(url, response.url), is_json

    return read_page(*_patiently(ask, lambda why: OfflineError(f"{shown(url)}: out of reach ({why})")))


def _rank(filename: str, project: str) -> tuple[Version, int] | None:
    """(version, 0 for a py3-none-any wheel, 1 an sdist, 2 another wheel), or None for another project."""
    try:
        if filename.endswith(".whl"):
            name, version, _, tags = parse_wheel_filename(filename)
            rank = 0 if any((t.interpreter, t.abi, t.platform) == ("py3", "none", "any") for t in tags) else 2
        else:
            (name, version), rank = parse_sdist_filename(filename), 1
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
    return (version, rank) if name == project else None


def find_file(distribution: str, version: str, settings: PipSettings, offline: bool = False) -> DistFile:
    """The file to read for ``distribution==version``: a py3-none-any wheel, else the sdist.

    find-links are read first, then the indexes in pip's order; the first pure wheel ends the search.
    ``offline`` reads places on this machine only.

    Raises:
        OfflineError: nothing found, and an index was out of reach (or ``offline``).
        SourceError: nothing found; the message has the versions found and the places asked.
    """
    project, wanted = canonicalize_name(distribution), Version(version)
    indexes = () if settings.no_index else (settings.index_url, *settings.extra_index_urls)
    places = [(p, None) for p in settings.find_links] + [(p, project) for p in indexes]
    seen: dict[Version, list[str]] = {}
    asked: list[str] = []
    best: tuple[int, DistFile] | None = None
    unreachable = False
    for place, name in places:
        folder = _local(place)
        url = place if folder is None and name is None else f"{place.rstrip('/')}/{name}/"
        if folder is None and offline:
            continue
        try:
            files = _read_remote(url, settings) if folder is None else _read_local(folder, name)
            asked.append(str(folder or shown(url)))
        except (SourceError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            unreachable |= isinstance(error, OfflineError)
            text = str(error) if isinstance(error, SourceError) else f"{shown(place)}: {type(error).__name__}"
            asked.append(text)
            continue
        for file in files:
            ranked = _rank(file.filename, project)
            if ranked is None or (offline and file.path is None):
                continue
            seen.setdefault(ranked[0], []).append(file.filename)
            if ranked[0] == wanted and ranked[1] < 2 and (best is None or ranked[1] < best[0]):
                best = (ranked[1], file)
        if best and best[0] == 0:
            break
    if best:
        return best[1]
    found = ", ".join(str(v) for v in sorted(seen)[-20:]) or "none"
    if wanted in seen:
        found = f"only {', '.join(sorted(set(seen[wanted])))}, and a py3-none-any wheel or an sdist is wanted"
    kind = OfflineError if unreachable or offline else SourceError
    raise kind(
        f"{distribution}=={version} was not found; versions found: {found}; "
        f"asked: {'; '.join(asked) or 'nothing'}. Check the name, the version "
        "and pip's settings (index-url, extra-index-url, find-links)"
    )


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
        with _network(file.url), _open(file.url, settings, headers) as response:
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
        _patiently(lambda: _stream(file, part, settings, progress), failed)
        if resumed and file.sha256 and file_sha256(part) != file.sha256:
            part.unlink()  # the old beginning may be to blame
            _patiently(lambda: _stream(file, part, settings, progress), failed)
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
