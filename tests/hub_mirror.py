"""A small model hub on 127.0.0.1 for tests: data sets and models from a folder, and how it should misbehave.

It answers what `huggingface_hub.snapshot_download` asks for a repository: a branch's commit, the file list of a commit,
HEAD and GET of a file. `HubMirror.use` points the loaded library at it, `HubMirror.environment` a child process.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = re.compile(r"[0-9a-f]{40}")


class HubMirror:
    """``root/ORG/NAME/COMMIT/…`` holds the files of a commit; ``branches`` maps (repository, branch) to a commit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.branches: dict[tuple[str, str], str] = {}
        self.requests: list[tuple[str, str]] = []  # method and path
        self.cut: set[str] = set()  # files whose body ends after half of it
        self.gone: set[str] = set()  # files that are listed, but not there
        mirror = self

        class Handler(_Handler):
            hub = mirror

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def publish(self, repo: str, revision: str, files: Mapping[str, bytes]) -> str:
        """Put files at a commit (40 hexadecimal digits) or at the tip of a branch; the commit."""
        commit = revision
        if not COMMIT.fullmatch(revision):
            contents = [f"{name}:{hashlib.sha256(data).hexdigest()}" for name, data in sorted(files.items())]
            commit = hashlib.sha1("\n".join((repo, revision, *contents)).encode()).hexdigest()
            self.branches[repo, revision] = commit
        for name, data in files.items():
            path = self.root / repo / commit / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return commit

    def files_asked_for(self) -> set[str]:
        """Paths inside repositories whose head or body was asked for."""
        found = (
            re.match(r"(?:/datasets)?/[^/]+/[^/]+/resolve/[^/]+/(.+)", path) for _, path in self.requests
        )
        return {unquote(match[1]) for match in found if match}

    def stop(self) -> None:
        """Close the port; a second call does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def use(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        """Point this process at the mirror, with empty caches in ``home``."""
        from huggingface_hub import close_session, constants

        for name in _foreign_names():
            monkeypatch.delenv(name)
        monkeypatch.setenv("WEAKSTRONG_CACHE", str(home / "weakstrong"))
        # The library reads its settings when it is imported, so the environment is too late here.
        settings = {
            "ENDPOINT": self.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": self.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": True,
            "HF_HUB_DISABLE_PROGRESS_BARS": True,
        }
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        close_session()  # an older one may go through a proxy

    def environment(self, home: Path) -> dict[str, str]:
        """The environment of a child process that uses the mirror, with caches in ``home``."""
        kept = {name: value for name, value in os.environ.items() if name not in _foreign_names()}
        return kept | {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home / "huggingface"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "WEAKSTRONG_CACHE": str(home / "weakstrong"),
        }


def _foreign_names() -> list[str]:
    return [
        name
        for name in os.environ
        if name.startswith(("HF_", "HUGGINGFACE_")) or name.lower().endswith(("_proxy", "_offline"))
    ]


class _Handler(BaseHTTPRequestHandler):
    hub: HubMirror

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path))
        asked = re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path)
        file = re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        match = asked or file
        if match is None:
            return self.fail(404, "")
        repo, revision = match[1], unquote(match[3] if asked else match[2])
        if not (self.hub.root / repo).is_dir():
            return self.fail(401, "RepoNotFound")  # the hub does not tell strangers what exists
        commit = self.hub.branches.get((repo, revision), revision)
        folder = self.hub.root / repo / commit
        if not folder.is_dir():
            return self.fail(404, "RevisionNotFound")
        if file:
            return self.file(folder, commit, unquote(file[3]))
        found = sorted(p for p in folder.rglob("*") if p.is_file())
        names = [p.relative_to(folder).as_posix() for p in found]
        if match[2] == "revision":
            info = {"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in names]}
            return self.send(json.dumps(info).encode())
        entries = [
            {"type": "file", "path": name, "size": p.stat().st_size, "oid": _blob(p.read_bytes())}
            for name, p in zip(names, found, strict=True)
        ]
        return self.send(json.dumps(entries).encode())

    def file(self, folder: Path, commit: str, name: str) -> None:
        path = folder / name
        if name in self.hub.gone or not path.is_file():
            return self.fail(404, "EntryNotFound")
        data = path.read_bytes()
        length = len(data) // 2 if name in self.hub.cut else len(data)
        return self.send(data, {"ETag": f'"{_blob(data)}"', "X-Repo-Commit": commit}, length)

    def send(self, body: bytes, headers: Mapping[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:length])

    def fail(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _blob(data: bytes) -> str:
    """What git calls a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
