"""Find one file of a Python distribution, as pip would, but without installing anything.

The simple index API is read in both its forms (PEP 503 HTML, PEP 691 JSON) from the places the user's pip
settings name. A wheel or sdist is bytes to read here: nothing in it is built or run.
"""

from __future__ import annotations

import configparser
import html
import json
import os
import platform
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import platformdirs
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from weakstrong.downloads import (
    DistFile,
    PipSettings,
    inherit_credentials,
    local_path,
    network,
    open_url,
    patiently,
    shown,
)
from weakstrong.errors import ConfigError, OfflineError, SourceError

__all__ = [
    "DistFile",
    "PipSettings",
    "config_files",
    "find_file",
    "pip_settings",
    "read_page",
    "shown",
]

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"


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
        url = inherit_credentials(page, urljoin(base, href))
        if urlsplit(url).scheme == "file" and urlsplit(page).scheme != "file":
            continue  # a server must not point at files of this machine
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        if {"/", "\\", "\0"} & set(name):
            continue  # %2F in a link: the download would be written elsewhere
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
        with network(url), open_url(url, settings, headers) as response:
            is_json = "json" in response.headers.get_content_type()
            return response.read().decode("utf-8", "replace"), inherit_credentials(url, response.url), is_json

    return read_page(*patiently(ask, lambda why: OfflineError(f"{shown(url)}: out of reach ({why})")))


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
        folder = local_path(place)
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
