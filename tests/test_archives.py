"""Files and folders out of wheels and sdists that an index on 127.0.0.1 serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from weakstrong.errors import SourceError
from weakstrong.sources import fetch


def test_an_sdist_and_an_archive_inside_it(index: Any) -> None:
    """Bug: the sdist's top folder stays in the way, or a nested archive loses its own."""
    inner = index.make_tar({"in/rows.txt": b"rows"})
    index.files["old-0.5.tar.gz"] = index.make_tar(
        {"old-0.5/res/in.tar.gz": inner, "old-0.5/setup.py": b"1/0"}
    )
    index.files["old-0.6.zip"] = index.make_zip({"old-0.6/res/in.tar.gz": inner})
    for version in ("0.5", "0.6"):
        uri = f"pypi:old=={version}/res/in.tar.gz"
        assert fetch(f"{uri}!in/rows.txt", progress=False).read_bytes() == b"rows"
        assert fetch(f"{uri}!in", progress=False).is_dir()
        assert fetch(uri, progress=False).read_bytes() == inner
    with pytest.raises(SourceError, match=r"no 'in/row\.txt'.*in/rows\.txt"):
        fetch("pypi:old==0.5/res/in.tar.gz!in/row.txt", progress=False)


@pytest.mark.parametrize("name", ["my_data/../../../evil", "/tmp/evil"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_members_outside_their_folder_are_refused(index: Any, tmp_path: Path, name: str, kind: str) -> None:
    """Bug: an archive writes over files of the user."""
    make = index.make_zip if kind == "zip" else index.make_tar
    index.files[f"evil-1.{kind}"] = make(
        {"evil-1/my_data/good": b"", f"evil-1/{name}".replace("//", "/"): b""}
    )
    if name.startswith("/"):
        index.files[f"evil-1.{kind}"] = make({"evil-1/my_data/good": b"", name: b""})
    with pytest.raises(SourceError, match="outside its folder"):
        fetch("pypi:evil==1/my_data", progress=False)
    assert not list(tmp_path.rglob("evil"))


def test_links_in_what_is_wanted_are_refused(index: Any) -> None:
    """Bug: a link in the archive points at a file of this machine, which is then read as data."""
    index.files["linked-1.tar.gz"] = index.make_tar({"linked-1/d/a": b"a"}, link="linked-1/d/passwd")
    with pytest.raises(SourceError, match="a link"):
        fetch("pypi:linked==1/d", progress=False)
    assert fetch("pypi:linked==1/d/a", progress=False).read_bytes() == b"a"


def test_a_damaged_archive_says_so(index: Any) -> None:
    """Bug: a raw zipfile or tarfile error reaches the user."""
    index.files["bad-1.zip"] = b"no archive"
    index.files["bad-2.tar.gz"] = index.make_tar({"bad-2/a": index.big})[:-5000]
    for version in (1, 2):
        with pytest.raises(SourceError, match="damaged or not a zip or tar"):
            fetch(f"pypi:bad=={version}/a", progress=False)
