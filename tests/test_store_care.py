"""The care of a store: what verify finds, what gc may and may not remove, and what an import may bring."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from s3_server import Server, s3_server
from store_cases import build, change, end, heard, start, step, stored

from weakstrong.errors import CorruptResultError, StoreError
from weakstrong.store import Store
from weakstrong.store_bundle import read_bundle, write_bundle
from weakstrong.store_care import kinds, verify
from weakstrong.store_garbage import Garbage
from weakstrong.store_records import SEAL, seal


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as running:
        yield running


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WEAKSTRONG_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"s3://{request.getfixturevalue('server').bucket()}/pre/fix"


def collect(store: Store, needed: set[str], damaged: bool = False) -> list[str]:
    """What gc removes, in words; it is gone after this."""
    litter = list(Garbage(store, needed).find(damaged))
    for item in litter:
        item.remove()
    return sorted(item.what for item in litter)


# --- ls and verify


def test_kinds_are_counted(url: str) -> None:
    """Counts or bytes that leave out folders, or take half an upload for a result."""
    store = Store(url)
    assert kinds(store) == []
    build(store, step(1), None, a="x" * 1000, deep__b="y" * 500)
    build(store, step(2))
    store.place.write(f"{store.root}/number/{step(3).key}/half/a", b"z")
    (found,) = kinds(store)
    assert (found.name, found.results) == ("number", 2)
    assert 1500 < found.bytes < 6000
    assert abs(found.newest - time.time()) < 3600


def test_verify_finds_each_kind_of_damage_and_nothing_else(url: str) -> None:
    """A check that says "whole" of a changed file, or of a record that was moved, edited or is of another recipe."""
    store = Store(url)
    for value in range(7):
        build(store, step(value), value, **{f"file{value}": uuid4().hex})
    records = {value: store.record(step(value)) for value in range(7)}
    homes = {value: store.folder("number", step(value).key) for value in range(7)}
    change(store, "/file1", b"x" * 32)
    store.place.write(f"{homes[2]}/record.json", json.dumps(records[2] | {"summary": {"said": 9}}).encode())
    older = {name: value for name, value in records[3].items() if name != SEAL}
    store.place.write(f"{homes[3]}/record.json", json.dumps(older).encode())
    edited = older | {"spec": older["spec"] | {"value": 8}}
    store.place.write(f"{homes[4]}/record.json", json.dumps(edited).encode())
    change(store, "/file5", None)
    store.place.write(f"{homes[6]}/record.json", seal(records[0]).encode())
    heard: list[tuple[int, int]] = []
    states = {v.key: v.state for v in verify(Store(url), lambda *numbers: heard.append(numbers))}
    assert [states[step(value).key] for value in range(7)] == [
        *("whole", "damaged", "damaged", "unsealed", "damaged", "damaged", "damaged")
    ]
    assert heard == [(number, 7) for number in range(1, 8)]


# --- gc


def test_gc_removes_what_nobody_needs_and_keeps_the_rest(url: str) -> None:
    """A result of an experiment that is deleted, or one of none that stays for ever."""
    store = Store(url)
    for value in range(4):
        build(store, step(value))
    one, two = step(1).key, step(2).key
    assert collect(store, {one, two}).count("result") == 2
    assert store.keys("number") == {one, two}
    assert (Store(url).open(step(1)) / "a").read_text() == "x"
    assert {path.partition("/")[0] for path in stored(store)} == {one, two}
    assert "result" not in collect(store, {one, two})


def test_gc_keeps_what_a_living_process_builds_and_removes_it_once_that_is_dead(url: str) -> None:
    """An age of an hour that deletes a step of two hours; a jump of the clock that deletes everything; litter for ever."""
    code = """
store = Store(sys.argv[1], dead_seconds=0.5)
lock = store.try_lock(step(1))
with store.job(step(1)) as job:
    (job.out / "a").write_text("half")
    job.scratch.mkdir(parents=True)
    (job.scratch / "state").write_text("10")
    store.keep_scratch(step(1))
    os.utime(job.out, (0, 0)); os.utime(job.scratch, (0, 0))
    if store.remote:
        store.place.write(f"{store.folder('number', step(1).key)}/{store.session.unique()}/a", b"half")
    say("building")
    sys.stdin.readline()
    store.commit(job, {})
store.release(step(1), lock)
"""
    store = Store(url, dead_seconds=0.5)
    build(store, step(5))
    living, dying = start(code, url), start(code.replace("step(1)", "step(2)"), url)
    assert heard(living) == heard(dying) == "building"
    # Nothing of theirs may go, not even results that nobody needs: they may be reading those.
    before = stored(store, ""), sorted(p.name for p in (store.work / ".building").iterdir())
    collect(store, set())
    after = stored(store, ""), sorted(p.name for p in (store.work / ".building").iterdir())
    assert [p for p in before[0] if ".lock" not in p] == [p for p in after[0] if ".lock" not in p]
    assert before[1] == after[1]
    dying.send_signal(signal.SIGKILL)
    dying.communicate()
    found = collect(store, {step(1).key, step(2).key})
    assert "result" not in found
    assert found.count("leftover") == (2 if store.remote else 1)  # its folder here, and its upload there
    assert len(list((store.work / ".building").iterdir())) == 1
    assert living.stdin is not None
    living.stdin.write("\n")
    living.stdin.flush()
    end(living)
    assert store.damage("number", step(1).key) == ""
    found = collect(store, set())
    assert found.count("result") == 2
    assert found.count("checkpoints") == (
        2 if store.remote else 1
    )  # those of the step that died, kept there too
    assert stored(store, "number") == stored(store, ".scratch") == stored(store, ".leases") == []
    assert collect(store, set()) == []


def test_gc_keeps_checkpoints_of_steps_that_are_needed(url: str) -> None:
    """Hours of training deleted before the same command could go on with them."""
    store = Store(url)
    for value in (1, 2, 3):
        with store.job(step(value)) as job:
            job.scratch.mkdir(parents=True)
            (job.scratch / "state").write_text("10")
            store.keep_scratch(step(value))
            if value == 3:
                store.adopt(
                    job.out, "number", step(3).key, step(3).recipe() | {"key": step(3).key, "files": {}}
                )
    places = 2 if store.remote else 1
    assert collect(store, {step(1).key, step(3).key}).count("checkpoints") == 2 * places
    assert (store.scratch(step(1)) / "state").exists()


def test_gc_removes_damaged_results_only_when_told(url: str) -> None:
    """Evidence that is deleted before anybody saw it."""
    store = Store(url)
    build(store, step(1), None, a=uuid4().hex)
    change(store, "/a", b"bad")
    assert store.set_aside("number", step(1).key, "test")
    assert collect(store, set()) == []
    assert collect(store, set(), damaged=True) == ["damaged"]
    assert stored(store, ".damaged") == []


def test_gc_keeps_the_upload_that_the_record_names(server: Server) -> None:
    """A loser's files that stay for ever, or the winner's that go with them."""
    store = Store(f"s3://{server.bucket()}/x")
    build(store, step(1), None, a="winner")
    home = store.folder("number", step(1).key)
    store.place.write(f"{home}/000000000000-0/a", b"loser")
    change(store, "record.json", (text := store.fs.cat_file(f"{home}/record.json"))[:-9])
    assert collect(store, {step(1).key}) == []  # the record does not say which of the two it means
    change(store, "record.json", text)
    assert collect(store, {step(1).key}) == ["leftover"]
    assert (Store(store.url).open(step(1)) / "a").read_text() == "winner"
    assert store.damage("number", step(1).key) == ""


# --- export and import


def test_a_bundle_carries_results_between_all_kinds_of_store(
    url: str, tmp_path: Path, server: Server
) -> None:
    """A carried result that is another one, a file that differs from run to run, or a store that is overwritten."""
    store, two = Store(url), step(2, base=step(1))
    build(store, step(1), {"x": 0.5}, a="one", deep__b="")
    build(store, two, None, a="two")
    wanted = [("number", two.key), ("number", step(1).key)]
    carried = write_bundle(store, tmp_path / "one.tar", {"e" * 64: {"name": "ü"}}, wanted)
    assert (carried.experiments, carried.results, carried.bytes) == (1, 2, 6)
    write_bundle(Store(url), tmp_path / "two.tar", {"e" * 64: {"name": "ü"}}, wanted[::-1])
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


def test_a_damaged_result_is_not_exported(url: str, tmp_path: Path) -> None:
    """Damage that is spread by the very tool that should carry what is right."""
    store = Store(url)
    build(store, step(1), None, a=uuid4().hex)
    change(store, "/a", b"x" * 32)
    with pytest.raises(CorruptResultError, match="verify --set-aside"):
        write_bundle(Store(url), tmp_path / "x.tar", {}, [("number", step(1).key)])
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
    with pytest.raises(StoreError, match="there is no file"):
        read_bundle(Store(tmp_path / "other"), tmp_path / "missing")
    assert {v.state for v in verify(Store(tmp_path / "other"))} == {"whole"}  # what came before the cut
    assert len(Store(tmp_path / "other").keys("number")) == 1
