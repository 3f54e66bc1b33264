"""Downloads from an index on 127.0.0.1 that cuts, refuses and lies."""

from __future__ import annotations

import errno
import io
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from weakstrong.errors import HashMismatchError, OfflineError, SourceError
from weakstrong.sources import fetch, is_cached

URI = "pypi:my-data==1.0/my_data/big.bin"


def test_a_cut_connection_is_resumed(index: Any) -> None:
    """Bug: a truncated body is taken for the whole, or every byte is sent again."""
    index.cuts = 2
    assert fetch(URI, progress=False).read_bytes() == index.big
    assert len(index.file_requests()) == 3
    assert index.served == len(index.files["my_data-1.0-py3-none-any.whl"])


def test_an_interrupted_run_is_resumed_by_the_next(index: Any) -> None:
    """Bug: what an earlier run had is thrown away, or the error hides that it is kept."""
    index.cuts = 4
    with pytest.raises(SourceError, match=r"ended after .* after 3 retries.*run again"):
        fetch(URI, progress=False)
    assert len(index.file_requests()) == 4
    before = index.served
    assert fetch(URI, progress=False).read_bytes() == index.big
    assert index.served == len(index.files["my_data-1.0-py3-none-any.whl"])
    assert before < index.served


def test_a_server_without_ranges_gets_a_fresh_start(index: Any) -> None:
    """Bug: the whole body is appended to the part that was there."""
    index.cuts, index.ranges = 1, False
    assert fetch(URI, progress=False).read_bytes() == index.big


def test_a_part_of_other_bytes_is_started_afresh(index: Any) -> None:
    """Bug: a corrupt beginning from an earlier run makes every later run fail."""
    index.cuts = 4
    with pytest.raises(SourceError):
        fetch(URI, progress=False)
    (part,) = Path(os.environ["WEAKSTRONG_CACHE"]).rglob("*.part")
    part.write_bytes(b"x" * part.stat().st_size)
    assert fetch(URI, progress=False).read_bytes() == index.big


def test_a_wrong_hash_in_the_index_is_refused(index: Any) -> None:
    """Bug: the index's hash is not checked, or the bad file stays and is served next time."""
    index.hash = "0" * 64
    with pytest.raises(HashMismatchError, match=f"found sha256 [0-9a-f]{{64}}, wanted {'0' * 64}"):
        fetch(URI, progress=False)
    assert not is_cached(URI)
    index.hash = None
    assert fetch(URI, progress=False).read_bytes() == index.big


def test_credentials_are_sent_and_never_shown(
    index: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bug: a private index refuses us although the URL or netrc has the password; a message prints it."""
    index.password = "hunter2"
    with pytest.raises(SourceError, match="401"):
        fetch(URI)
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//me:hunter2@"))
    index.cuts = 4
    with pytest.raises(SourceError) as caught:
        fetch(URI)
    assert fetch(URI).read_bytes() == index.big
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n", encoding="utf-8")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert fetch("pypi:my-data==1.0/other").read_bytes() == b"o"
    err = capfd.readouterr().err
    assert "downloading my_data-1.0" in err
    assert "hunter2" not in err + str(caught.value)


def test_an_index_out_of_reach_is_an_offline_error(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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
    index: Any, monkeypatch: pytest.MonkeyPatch, ending: str
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
        needed = size if ending == ".part" else len(index.big)
        with pytest.raises(SourceError, match=f"no space left in .*cache.* needs {needed:,} more bytes"):
            fetch(URI, progress=False)
    assert len(index.file_requests()) == 1
    assert not is_cached(URI)
    assert fetch(URI, progress=False).read_bytes() == index.big
