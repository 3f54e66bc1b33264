"""Results in a file: the same in every store, and an import that trusts nothing."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from s3_server import Server
from store_cases import build, change, step

from weakstrong.errors import CorruptResultError, StoreError
from weakstrong.store import Store
from weakstrong.store_bundle import read_bundle, write_bundle
from weakstrong.store_care import verify
from weakstrong.store_records import SEAL, seal


def test_a_bundle_carries_results_between_all_kinds_of_store(
    store_url: str, tmp_path: Path, server: Server
) -> None:
    """A carried result that is another one, a file that differs from run to run, or a store that is overwritten."""
    store, two = Store(store_url), step(2, base=step(1))
    build(store, step(1), {"x": 0.5}, a="one", deep__b="")
    build(store, two, None, a="two")
    wanted = [("number", two.key), ("number", step(1).key)]
    carried = write_bundle(store, tmp_path / "one.tar", {"e" * 64: {"name": "ü"}}, wanted)
    assert (carried.experiments, carried.results, carried.bytes) == (1, 2, 6)
    write_bundle(Store(store_url), tmp_path / "two.tar", {"e" * 64: {"name": "ü"}}, wanted[::-1])
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    write_bundle(store, tmp_path / "dry.tar", {}, wanted, dry_run=True)
    assert not list(tmp_path.glob("dry.tar*"))
    for other in (
        Store(tmp_path / "other"),
        Store(f"s3://{server.bucket()}"),
        Store(f"memory://{uuid4().hex}"),
    ):
        assert read_bundle(other, tmp_path / "one.tar", dry_run=True).results == 2
        assert other.names() == []
        build(other, step(1), "mine", a="mine")
        found = read_bundle(other, tmp_path / "one.tar")
        assert (found.experiments, found.results, found.there) == (1, 1, 1)
        assert (other.open(step(1)) / "a").read_text() == "mine"
        assert (other.open(two) / "a").read_text() == "two"
        assert other.record(two)["summary"] == store.record(two)["summary"]
        assert other.read_notes("experiments") == {"e" * 64: {"name": "ü"}}
        assert {v.state for v in verify(other)} == {"whole"}
        again = write_bundle(other, tmp_path / "again.tar", {}, wanted[:1])
        assert again.results == 1


def test_a_damaged_result_is_not_exported(store_url: str, tmp_path: Path) -> None:
    """Damage that is spread by the very tool that should carry what is right."""
    store = Store(store_url)
    build(store, step(1), None, a=uuid4().hex)
    change(store, "/a", b"x" * 32)
    with pytest.raises(CorruptResultError, match="verify --set-aside"):
        write_bundle(Store(store_url), tmp_path / "x.tar", {}, [("number", step(1).key)])
    assert not list(tmp_path.glob("x.tar*"))


Members = list[tuple[tarfile.TarInfo, bytes]]


def members_of(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(m, f.read() if (f := tar.extractfile(m)) else b"") for m in tar.getmembers()]


def renamed(ending: str, name: str) -> Callable[[Members], None]:
    def act(members: Members) -> None:
        for member, _ in members:
            if member.name.endswith(ending):
                member.name = name

    return act


def linked(kind: bytes) -> Callable[[Members], None]:
    def act(members: Members) -> None:
        member = members[-1][0]
        member.type, member.linkname, member.size = kind, "/etc/passwd", 0

    return act


def edited(ending: str, change: Callable[[bytes], bytes]) -> Callable[[Members], None]:
    def act(members: Members) -> None:
        for number, (member, data) in enumerate(members):
            if member.name.endswith(ending):
                members[number] = (member, change(data))
                member.size = len(members[number][1])

    return act


def summary(data: bytes) -> bytes:
    return json.dumps(json.loads(data) | {"summary": {"said": 1}}).encode()


def other_recipe(data: bytes) -> bytes:
    record = json.loads(data)
    return seal(record | {"spec": record["spec"] | {"value": 77}}).encode()


def outside(data: bytes) -> bytes:
    record = json.loads(data)
    return seal(record | {"files": {"../../evil": record["files"]["a"]}}).encode()


def with_fields(**fields: Any) -> Callable[[bytes], bytes]:
    """An older record, without seal, with other fields."""

    def act(data: bytes) -> bytes:
        return json.dumps({k: v for k, v in (json.loads(data) | fields).items() if k != SEAL}).encode()

    return act


EVIL: dict[str, Callable[[Members], Any]] = {
    "parent": renamed("files/a", "results/number/../../../evil"),
    "absolute": renamed("files/a", "/tmp/evil"),
    "hidden folder": renamed("files/a", ".locks/evil"),
    "symbolic link": linked(tarfile.SYMTYPE),
    "hard link": linked(tarfile.LNKTYPE),
    "device": linked(tarfile.CHRTYPE),
    "pipe": linked(tarfile.FIFOTYPE),
    "folder": linked(tarfile.DIRTYPE),
    "flipped file": edited("files/a", lambda data: b"X" + data[1:]),
    "longer file": edited("files/a", lambda data: data + b"x"),
    "edited record": edited("record.json", summary),
    "record of another": edited("record.json", other_recipe),
    "record that points outside": edited("record.json", outside),
    "record is no JSON": edited("record.json", lambda data: data[:-5]),
    "record of another shape": edited("record.json", with_fields(inputs=[1])),
    "record with other provenance": edited("record.json", with_fields(provenance=[1])),
    "record with odd seconds": edited("record.json", with_fields(provenance={"seconds": "1"})),
    "record with a list as summary": edited("record.json", with_fields(summary=[1])),
    "record nested deeply": edited("record.json", lambda data: b"[" * 200_000),
    "manifest without lists": edited("manifest.json", lambda data: b'{"format": 1, "results": 3}'),
    "manifest is no JSON": edited("manifest.json", lambda data: b"["),
    "another format": edited("manifest.json", lambda data: data.replace(b'"format": 1', b'"format": 9')),
    "no manifest": lambda members: members.pop(0),
    "missing file": lambda members: members.pop(),
    "file twice": lambda members: members.append(members[-1]),
    "missing result": lambda members: members.__delitem__(slice(1, None)),
}


@pytest.mark.parametrize("evil", EVIL)
def test_an_import_refuses_what_no_export_writes(tmp_path: Path, evil: str) -> None:
    """A file from a stranger that writes elsewhere, or brings numbers that nobody computed."""
    store = Store(tmp_path / "store")
    build(store, step(1), None, a="text")
    write_bundle(store, tmp_path / "good.tar", {}, [("number", step(1).key)])
    members = members_of(tmp_path / "good.tar")
    EVIL[evil](members)
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    before = sorted(p.name for p in tmp_path.iterdir())
    other = Store(tmp_path / "new" / "other")
    for dry_run in (True, False):
        with pytest.raises(StoreError, match=r"evil\.tar"):
            read_bundle(other, tmp_path / "evil.tar", dry_run)
    assert other.names() == []
    assert list((other.work / ".building").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*before, "new"])
    assert not Path("/tmp/evil").exists()


def test_an_import_of_something_else_is_refused(tmp_path: Path) -> None:
    """A traceback of tarfile for a wrong path, a compressed file or half a download."""
    store = Store(tmp_path / "store")
    for value in range(3):
        build(store, step(value), None, a=os.urandom(20_000).hex())
    write_bundle(store, tmp_path / "good.tar", {}, [("number", step(value).key) for value in range(3)])
    data = (tmp_path / "good.tar").read_bytes()
    for name, content in (("text", b"hello"), ("empty", b""), ("half", data[: len(data) // 2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreError, match=name):
            read_bundle(Store(tmp_path / "other"), tmp_path / name)
    with tarfile.open(tmp_path / "packed", "w:gz") as tar:
        tar.add(tmp_path / "text", "text")
    with pytest.raises(StoreError, match="packed"):
        read_bundle(Store(tmp_path / "other"), tmp_path / "packed")
    for name, why in (("missing", "No such file"), ("other", "Is a directory")):
        with pytest.raises(StoreError, match=f"{name} cannot be read.*{why}"):
            read_bundle(Store(tmp_path / "other"), tmp_path / name)
    odd = [
        (m, with_fields(summary={"said": "\ud800"})(d) if "record" in m.name else d)
        for m, d in members_of(tmp_path / "good.tar")
    ]
    with tarfile.open(tmp_path / "surrogate", "w") as tar:
        for member, content in odd:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(StoreError, match="surrogate is no export"):
        read_bundle(Store(tmp_path / "new"), tmp_path / "surrogate")
    assert {v.state for v in verify(Store(tmp_path / "other"))} == {"whole"}  # what came before the cut
    assert len(Store(tmp_path / "other").keys("number")) == 1
