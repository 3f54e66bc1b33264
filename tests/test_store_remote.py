"""One contract for stores in a folder, in memory and on a real S3 server."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from uuid import uuid4

import pytest
from store_cases import build, change, end, heard, start, step, stored

from weakstrong.errors import ConfigError, CorruptResultError, RecipeMismatchError, StoreError
from weakstrong.notes import clear_dead, running
from weakstrong.store import Store
from weakstrong.store_records import SEAL, seal

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(params=["folder", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "run[1] of *")
    if request.param == "memory":
        return f"memory://{uuid4().hex}/prefix"
    return f"s3://{request.getfixturevalue('server').bucket()}/pre/fix"


@pytest.fixture
def shared(url: str) -> str:
    """A store that several processes reach."""
    if url.startswith("memory"):
        pytest.skip("a store in memory is seen by one process")
    return url


# --- the contract


def test_a_result_comes_back_whole(url: str) -> None:
    """The plain path everywhere: files in folders, an empty file, summary, inputs, listings; the second commit changes nothing."""
    store, one = Store(url), step(1)
    two = step(2, base=one)
    build(store, one, {"π": [1, 2.5]}, a="x" * 1000, deep__b="", deep__c="é")
    build(store, two, None, a="second")
    assert store.has(two)
    assert not store.has(step(3))
    assert store.names() == ["number"]
    assert store.keys("number") == {one.key, two.key}
    assert store.keys("numb") == store.keys("other") == set()
    again = Store(url)
    folder = again.open(one)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*")} == {
        "a",
        "deep",
        "deep/b",
        "deep/c",
        "record.json",
    }
    assert (folder / "deep" / "c").read_text() == "é"
    assert again.record(one)["summary"] == {"said": {"π": [1, 2.5]}}
    assert again.record(two)["inputs"] == {"base": one.key}
    before = stored(store)
    build(again, one, "later", a="other bytes")
    assert stored(store) == before
    assert (Store(url).open(one) / "a").read_text() == "x" * 1000
    with store.job(two) as job:
        assert (job.inputs["base"] / "a").read_text() == "x" * 1000


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
@pytest.mark.parametrize("file", ["/a", "/deep/b", "record.json"])
def test_damage_of_every_file_is_found_set_aside_and_computed_anew(url: str, file: str, damage: str) -> None:
    """Damage that flows into numbers, or one that keeps its place for ever, or is deleted unseen."""
    store, one, text = Store(url), step(1), uuid4().hex  # content that no cache has
    build(store, one, None, a=text, deep__b=text[::-1])
    (path,) = (p for p in store.fs.find(f"{store.root}/number") if p.endswith(file))
    data = store.fs.cat_file(path)
    changed = {
        "flipped": data[:9] + bytes([data[9] ^ 1]) + data[10:],
        "truncated": data[:-1],
        "missing": None,
    }[damage]
    change(store, file, changed)
    fresh = Store(url)
    if file == "record.json" and damage == "missing":
        assert not fresh.has(one)
        assert fresh.set_aside("number", one.key, "gone") == ""
    else:
        assert fresh.damage("number", one.key)
        with pytest.raises(CorruptResultError, match=file.rpartition("/")[2]) as caught:
            fresh.open(one)
        where = fresh.set_aside(caught.value.name, caught.value.key, str(caught.value))
        kept = stored(fresh, where.removeprefix(fresh.root).lstrip("/"))
        assert len(kept) == 4 - (damage == "missing")
        assert fresh.set_aside("number", one.key, "again") == ""
    assert not Store(url).has(one)
    build(fresh, one, None, a=text, deep__b=text[::-1])
    assert fresh.damage("number", one.key) == ""
    assert fresh.set_aside("number", one.key, "a false alarm") == ""
    assert (Store(url).open(one) / "a").read_text() == text


def test_files_without_a_record_are_no_result(url: str) -> None:
    """The remains of a broken upload or copy: served as a result, or in the way of one."""
    store, home = Store(url), f"number/{step(1).key}"
    for path in (f"{home}/a", f"{home}/deep/a", f"number/{'0' * 64}/x-0/a"):
        store.place.write(f"{store.root}/{path}", b"half")
    assert not store.has(step(1))
    assert store.keys("number") == set()
    build(store, step(1), None, a="whole")
    folder = Store(url).open(step(1))
    assert sorted(p.name for p in folder.iterdir()) == ["a", "record.json"]
    assert (folder / "a").read_text() == "whole"
    assert store.keys("number") == {step(1).key}


def test_a_record_is_believed_only_with_its_seal_and_recipe(url: str) -> None:
    """A prettier number typed into a record; an older record without a seal refused; another recipe served."""
    store, one = Store(url), step(1)
    build(store, one, 0.5)
    record = store.record(one)
    change(store, "record.json", json.dumps(record | {"summary": {"said": 0.9}}).encode())
    with pytest.raises(CorruptResultError, match=SEAL):
        Store(url).record(one)
    change(store, "record.json", json.dumps({k: v for k, v in record.items() if k != SEAL}).encode())
    assert Store(url).record(one)["summary"] == {"said": 0.5}
    change(store, "record.json", seal(record | {"version": 7}).encode())
    with pytest.raises(RecipeMismatchError, match="version: stored 7, wanted 1"):
        Store(url).open(one)


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "a/../../b", "C:/x", "..\\x", ""])
def test_a_record_that_points_outside_is_refused(url: str, name: str, tmp_path: Path) -> None:
    """A hostile store that makes a reader write or read anywhere on this machine."""
    store, one = Store(url), step(1)
    build(store, one)
    record = store.record(one)
    evil = record | {"files": {name: record["files"]["a"]}}
    for wrong in (
        evil,
        record | {"attempt": "../.."},
        record | {"files": {"a": {"size": 1, "sha256": "../x"}}},
    ):
        change(store, "record.json", seal(wrong).encode())
        with pytest.raises(CorruptResultError, match=r"record\.json"):
            Store(url).open(one)


def test_notes_are_seen_by_others_and_bad_ones_are_skipped(url: str) -> None:
    """A half-written note that stops `w2s status`, or a note of this machine that others never see."""
    store, other = Store(url), Store(url)
    assert store.read_notes("running") == {}
    store.write_note("running", "a", {"share": 0.5})
    store.write_note("running", "a", {"share": 0.75})
    store.write_note("running", "b", {"words": "ä"})
    for name, data in (("c.json", b'{"half'), ("d.json", b"[1]"), ("e.json", b"\xff"), ("f.json.tmp", b"{}")):
        store.fs.pipe_file(f"{store.root}/.running/{name}", data)
    assert other.read_notes("running") == {"a": {"share": 0.75}, "b": {"words": "ä"}}
    other.remove_note("running", "a")
    other.remove_note("running", "a")
    assert store.read_notes("running") == {"b": {"words": "ä"}}
    assert store.names() == []
    with pytest.raises(ConfigError, match="cannot name a note"):
        store.write_note("running", "../x", {})


def test_another_process_s_result_is_seen_at_once(shared: str) -> None:
    """Listings that fsspec caches hide what another process wrote after the first look."""
    store = Store(shared)
    build(store, step(0))
    store.write_note("failed", "mine", {})
    for _ in range(2):  # whatever is cached is cached now
        assert store.names() == ["number"]
        assert len(store.keys("number")) == 1
        assert not store.has(step(1))
        assert store.read_notes("failed") == {"mine": {}}
        assert len(store.place.entries(store.folder("number", step(1).key))) == 0
        assert len(store.place.entries(f"{store.root}/number")) == 1
    end(
        start(
            "build(store, step(1)); store.write_note('failed', 'x', {'a': 1})\n"
            "build(store, Step('other', 1, Number(value=1)))",
            shared,
        )
    )
    assert store.has(step(1))
    assert store.names() == ["number", "other"]
    assert store.keys("number") == {step(0).key, step(1).key}
    assert store.read_notes("failed") == {"mine": {}, "x": {"a": 1}}


def test_two_processes_at_once_never_mix_files(shared: str) -> None:
    """Two builders whose files differ, uploading at once: one's digests with the other's files."""
    code = """
for value in range(12):
    say("ready"); sys.stdin.readline()
    try:
        build(store, step(value), *[f"{sys.argv[2]} {n} " * 200 for n in range(4)])
    except Exception as error:
        say(type(error), error)
"""
    both = [start(code, shared, name) for name in "ab"]
    winners = set()
    store = Store(shared)
    for value in range(12):
        for process in both:
            assert heard(process) == "ready"
        for process in both:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for _ in range(600):
            if store.has(step(value)):
                break
            time.sleep(0.01)
    for process in both:
        assert end(process) == []
    for value in range(12):
        folder = Store(shared).open(step(value))
        texts = {(folder / f"part{n}").read_text().split()[0] for n in range(4)}
        assert len(texts) == 1
        winners |= texts
        assert store.damage("number", step(value).key) == ""
    assert len(stored(store)) == 12 * 5  # the other's files are gone
    assert winners <= {"a", "b"}


def test_a_note_of_a_dead_process_goes_and_one_of_a_living_stays(shared: str) -> None:
    """A driver killed yesterday, of another host or with a process number that lives again, shown as running for ever."""
    note = {"key": step(1).key, "started": 1.0, "heard": 1.0, "beats": 3, "host": "elsewhere", "pid": 1}
    holding = start("lock = Store(sys.argv[1]).try_lock(step(1)); say(bool(lock)); time.sleep(60)", shared)
    assert heard(holding) == "True"
    store = Store(shared)
    store.write_note("running", note["key"], note)
    store.write_note("running", step(2).key, note | {"key": step(2).key})
    assert [n["key"] for n in clear_dead(store)] == [step(2).key]
    assert running(store) == [note]
    holding.send_signal(signal.SIGKILL)
    holding.communicate()
    assert clear_dead(store) == [note]
    assert running(Store(shared)) == []


def test_only_one_machine_holds_a_step_and_a_dead_one_frees_it(shared: str, tmp_path: Path) -> None:
    """Two machines that train the same step for hours, one that waits for ever for a killed one, or robs a living one."""
    code = "store = Store(sys.argv[1], dead_seconds=0.6); lock = store.try_lock(step(1)); say(bool(lock)); time.sleep(60)"
    holding = start(code, shared, WEAKSTRONG_CACHE=str(tmp_path / "another machine"))
    assert heard(holding) == "True"
    other = Store(shared, dead_seconds=1.2)
    for _ in range(50):  # more often than the holder gives a sign, and for longer than it may be silent
        assert other.try_lock(step(1)) is None
        time.sleep(0.05)
    free = other.try_lock(step(2))
    assert free is not None
    other.release(step(2), free)
    holding.send_signal(signal.SIGKILL)
    holding.communicate()
    for _ in range(200):
        lock = other.try_lock(step(1))
        if lock is not None:
            break
        time.sleep(0.05)
    assert lock is not None
    other.release(step(1), lock)
    again = other.try_lock(step(1))
    assert again is not None
    again.release()


def test_checkpoints_survive_and_go_with_the_result(url: str) -> None:
    """A scratch folder that is lost at the first kill, or kept for ever after the result."""
    store, one = Store(url), step(1)
    with store.job(one) as job:
        job.scratch.mkdir(parents=True)
        (job.scratch / "state").write_text("step 10")
        store.keep_scratch(one)
    with Store(url).job(one) as job:
        assert (job.scratch / "state").read_text() == "step 10"
        store.commit(job, {})
    assert not job.scratch.exists()
    assert stored(store, ".scratch") == []


def test_a_result_that_another_thread_opens_at_once_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that open one remote result: the slower one's folder is in the way, and the store is "broken"."""
    store = Store(f"memory://{uuid4().hex}")
    build(store, step(1))
    record, rename = store.record(step(1)), Path.rename
    with monkeypatch.context() as patch:

        def late(path: Path, target: Path) -> Path:
            patch.undo()
            store.files("number", step(1).key, record)  # the other thread was quicker
            return rename(path, target)

        patch.setattr(Path, "rename", late)
        folder = store.open(step(1))
    assert (folder / "a").read_text() == "x"


class ConflictError(OSError):
    """As S3 answers to two that put one object at once."""

    response = {"Error": {"Code": "ConditionalRequestConflict"}}  # noqa: RUF012 - as botocore has it


@pytest.mark.parametrize("times", [3, 100])
def test_a_record_is_never_replaced(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """S3 asks to try again, and the last try puts its record over the one that others have read."""
    store = Store(f"memory://{uuid4().hex}")
    path, left, pipe = store.place.path("record.json"), iter(range(times)), store.fs.pipe_file
    store.place.write(path, b"first")

    def busy(path: str, data: bytes, mode: str = "overwrite") -> None:
        if mode == "create" and next(left, None) is not None:
            raise ConflictError("a conflicting operation is in progress")
        pipe(path, data, mode=mode)

    monkeypatch.setattr(store.fs, "pipe_file", busy)
    if times == 100:
        with pytest.raises(StoreError, match="a conflicting operation"):
            store.place.create(path, b"second")
    else:
        assert not store.place.create(path, b"second")
    assert store.place.read(path) == b"first"
