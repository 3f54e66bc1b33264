"""A page that follows a store: a small server of this machine, for the eyes of whoever runs it.

It answers GET of two addresses, ``/`` (the page of `Results.page`) and ``/digest`` (a few numbers of JSON, which the open
page asks for), and reads nothing else. A page of another site that leads a name of its own to this machine (DNS
rebinding) is refused by the Host header.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import platform
import socket
import socketserver
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from weakstrong.errors import ConfigError, WeakStrongError
from weakstrong.notes import running
from weakstrong.redact import without_secrets
from weakstrong.remembered import remembered
from weakstrong.report.page import ReportData, render_page
from weakstrong.results import Results
from weakstrong.store import Store

LOCAL = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("", "0.0.0.0", "::")
EVERY, EVERY_REMOTE = 1.0, 10.0
"""Seconds between two looks at a store in a folder, and at one behind a network."""
SHARE = 0.2
"""Share of the time that may go into making pages while a store grows."""
NOTES = (".experiments", ".failed")
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def listing(store: Store) -> str:
    """A digest of which results, failures and experiments the store holds; no result is opened.

    A folder's own time changes when a result enters it, so a store on disk costs one look at each kind of step.
    """
    if store.is_local:
        names = [*store.names(), *NOTES]
        folders = [(name, os.path.join(store.root, name)) for name in names]
        seen: Any = [
            # The number too: two results may enter within one tick of the clock.
            (name, os.stat(path).st_mtime_ns, len(os.listdir(path)))
            for name, path in folders
            if os.path.isdir(path)
        ]
    else:
        seen = [(name, sorted(store.keys(name))) for name in store.names()]
        seen += [(note, sorted(store.read_notes(note.lstrip(".")))) for note in NOTES]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


class Watched:
    """The newest page of a store, made again when the store's listing changes.

    Attributes:
        page: HTML, UTF-8.
        news: ``digest`` of what the page shows, numbers of cells ``done``, ``missing`` and ``failed``, of steps
            ``running`` now, and ``error``: why the page could not be made anew, or "".
    """

    def __init__(self, store: Store, title: str | None = None) -> None:
        self._store, self._title = store, title
        self._over, self._cost = threading.Event(), 0.0
        self.page = b""
        self.news: dict[str, Any] = {"digest": "", "error": ""}
        self.look()

    def look(self) -> bool:
        """Make the page anew if the store has changed; whether it did.

        Raises:
            WeakStrongError: if the store or a result cannot be read; the page stays.
        """
        digest = listing(self._store)
        now = len([note for note in running(self._store) if note["alive"]])
        if digest == self.news["digest"]:
            self.news = self.news | {"running": now, "error": ""}
            return False
        started = time.monotonic()
        experiments = tuple(remembered(self._store))
        results = Results(self._store, experiments)
        if experiments:
            page = results.page(self._title, live=digest)
        else:
            page = render_page(ReportData(self._title or "No experiment yet"), live=digest)
        states = results.statuses()
        self._cost = time.monotonic() - started
        self.page = page.encode()
        counts = {state: states.count(state) for state in ("done", "missing", "failed")}
        self.news = {"digest": digest, "running": now, "error": ""} | counts
        return True

    def follow(self, every: float | None = None) -> None:
        """Look again and again until `stop`, seldom enough that making pages takes little of the machine."""
        every = every or (EVERY if self._store.is_local else EVERY_REMOTE)
        pause = every
        while not self._over.wait(pause):
            pause = every
            try:
                if self.look():
                    pause = max(every, self._cost / SHARE)
            except WeakStrongError as error:
                self.news = self.news | {"error": str(error)}
            except (
                Exception
            ) as error:  # the page that is open must not die of it; it says why it stands still
                self.news = self.news | {"error": without_secrets(f"{type(error).__name__}: {error}")}

    def stop(self) -> None:
        """End `follow`."""
        self._over.set()


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "weakstrong", ""
    timeout = 30

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.command != "GET":
            self._send(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"only GET", {"Allow": "GET"})
        elif not self.server.is_own(self.headers.get("Host", "")):
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this server is not known by that name")
        else:
            return True
        return False

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        watched = self.server.watched
        if path == "/":
            self._send(HTTPStatus.OK, "text/html", watched.page)
        elif path == "/digest":
            self._send(HTTPStatus.OK, "application/json", json.dumps(watched.news).encode())
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there are / and /digest")

    def _send(self, status: HTTPStatus, kind: str, body: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        sent = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body))}
        for name, value in (HEADERS | sent | (more or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the page asks every other second."""


class PageServer(ThreadingHTTPServer):
    """Serves what `Watched` holds.

    Args:
        host: a name or address of this machine.
        port: 0 for any that is free.

    Raises:
        ConfigError: if nobody can listen there.
    """

    daemon_threads = True

    def __init__(self, watched: Watched, host: str, port: int) -> None:
        self.watched, self.host = watched, host
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"no server can listen at {host}, port {port}: {why}; choose with --host and --port"
            ) from error

    def server_bind(self) -> None:
        # Not that of HTTPServer, which asks the network what this machine is called.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, int(self.server_address[1])

    @property
    def url(self) -> str:
        """Where a browser of this machine finds it."""
        host = "localhost" if self.host in EVERYWHERE else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_port}/"

    def is_own(self, host: str) -> bool:
        """Whether a Host header names this server; with all addresses bound, any address does, but no foreign name."""
        name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        name = name.lower().rstrip(".")
        if name in LOCAL or (name and name == self.host.lower()):
            return True
        if self.host not in EVERYWHERE:
            return False
        return name == platform.node().lower() or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
