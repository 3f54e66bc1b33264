"""The care of a store: what verify finds, what gc may and may not remove, and what an import may bring."""

from __future__ import annotations

import json
import signal
import time
from uuid import uuid4

import pytest
from s3_server import Server
from store_cases import build, change, end, heard, start, step, stored

from weakstrong.store import Store
from weakstrong.store_care import kinds, verify
from weakstrong.store_garbage import Garbage
from weakstrong.store_records import SEAL, seal

pytestmark = pytest.mark.usefixtures("own_cache")


def collect(store: Store, needed: set[str], damaged: bool = False) -> list[str]:
    """What gc removes, in words; it is gone after this."""
    litter = list(Garbage(store, lambda: needed).find(damaged))
    for item in litter:
        item.remove()
    return sorted(item.what for item in litter)


# --- ls and verify


def test_kinds_are_counted(store_url: str) -> None:
    """Counts or bytes that leave out folders, or take half an upload for a result."""
    store = Store(store_url)
    assert kinds(store) == []
    build(store, step(1), None, a="x" * 1000, deep__b="y" * 500)
    build(store, step(2))
    store.place.write(f"{store.root}/number/{step(3).key}/half/a", b"z")
    (found,) = kinds(store)
    assert (found.name, found.results) == ("number", 2)
    assert 1500 < found.bytes < 6000
    assert abs(found.newest - time.time()) < 3600


def test_verify_finds_each_kind_of_damage_and_nothing_else(store_url: str) -> None:
    """A check that says "whole" of a changed file, or of a record that was moved, edited or is of another recipe."""
    store = Store(store_url)
    for value in range(8):
        build(store, step(value), value, **{f"file{value}": uuid4().hex})
    records = {value: store.record(step(value)) for value in range(8)}
    homes = {value: store.folder("number", step(value).key) for value in range(8)}
    change(store, "/file1", b"x" * 32)
    store.place.write(f"{homes[2]}/record.json", json.dumps(records[2] | {"summary": {"said": 9}}).encode())
    older = {name: value for name, value in records[3].items() if name != SEAL}
    store.place.write(f"{homes[3]}/record.json", json.dumps(older).encode())
    # Its files are whole, and its seal is right.
    edited = records[4] | {"spec": records[4]["spec"] | {"value": 8}}
    store.place.write(f"{homes[4]}/record.json", seal(edited).encode())
    change(store, "/file5", None)
    store.place.write(f"{homes[6]}/record.json", seal(records[0]).encode())
    bare = {name: value for name, value in records[7].items() if name not in (SEAL, "files")}
    store.place.write(f"{homes[7]}/record.json", json.dumps(bare).encode())
    heard: list[tuple[int, int]] = []
    states = {v.key: v.state for v in verify(Store(store_url), lambda *numbers: heard.append(numbers))}
    assert [states[step(value).key] for value in range(8)] == [
        *("whole", "damaged", "damaged", "unsealed", "damaged", "damaged", "damaged", "unsealed")
    ]
    assert heard == [(number, 8) for number in range(1, 9)]
    # What is called damaged can be set aside, and is not in the way of the right result then.
    for value in range(8):
        moved = store.set_aside("number", step(value).key, "test")
        assert bool(moved) == (states[step(value).key] == "damaged"), value
        assert store.has(step(value)) != bool(moved)


# --- gc


def test_gc_removes_what_nobody_needs_and_keeps_the_rest(store_url: str) -> None:
    """A result of an experiment that is deleted, or one of none that stays for ever."""
    store = Store(store_url)
    for value in range(4):
        build(store, step(value))
    one, two = step(1).key, step(2).key
    assert collect(store, {one, two}).count("result") == 2
    assert store.keys("number") == {one, two}
    assert (Store(store_url).open(step(1)) / "a").read_text() == "x"
    assert {path.partition("/")[0] for path in stored(store)} == {one, two}
    assert "result" not in collect(store, {one, two})


def test_gc_keeps_what_a_living_process_builds_and_removes_it_once_that_is_dead(store_url: str) -> None:
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
    store = Store(store_url, dead_seconds=0.5)
    build(store, step(5))
    living, dying = start(code, store_url), start(code.replace("step(1)", "step(2)"), store_url)
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


def test_gc_keeps_checkpoints_of_steps_that_are_needed(store_url: str) -> None:
    """Hours of training deleted before the same command could go on with them."""
    store = Store(store_url)
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


def test_gc_removes_damaged_results_only_when_told(store_url: str) -> None:
    """Evidence that is deleted before anybody saw it."""
    store = Store(store_url)
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


def test_what_others_do_while_gc_watches_is_no_litter(server: Server) -> None:
    """The files of a result deleted as an upload that no record names, for its record came while gc watched, and its
    maker ended; a newcomer's result, or the lease of the step that it builds."""
    finishing = """
store = Store(sys.argv[1], dead_seconds=0.5)
create = store.place.create
def late(path, data):
    say("uploaded"); sys.stdin.readline()
    return create(path, data)
with store.job(step(1)) as job:
    (job.out / "a").write_text("x")
    store.place.create = late
    store.commit(job, {})
"""
    coming = "build(store, step(2)); lock = store.try_lock(step(3)); say('here'); sys.stdin.readline()"
    store = Store(f"s3://{server.bucket()}/x", dead_seconds=0.5)
    first, others = start(finishing, store.url), []
    assert heard(first) == "uploaded"

    def meanwhile(_: str) -> None:
        first.communicate("\n", timeout=60)
        others.append(start(coming, store.url))
        assert heard(others[0]) == "here"

    for item in Garbage(store, set, meanwhile).find():
        item.remove()
    assert stored(store, ".leases") == [f"{step(3).key}.json"]
    assert [store.damage("number", step(value).key) for value in (1, 2)] == ["", ""]
    others[0].communicate("\n", timeout=60)


def test_an_experiment_that_begins_and_ends_under_gc_keeps_its_results(store_url: str) -> None:
    """What is needed looked up first, results listed minutes later: those of a new experiment are nobody's."""
    store = Store(store_url)

    def needed() -> set[str]:
        build(store, step(1))
        return set()

    build(store, step(0))
    assert [item.path for item in Garbage(store, needed).find() if item.what == "result"] == [
        store.folder("number", step(0).key)
    ]


def test_gc_keeps_checkpoints_that_are_on_their_way(store_url: str) -> None:
    """Checkpoints of another machine that vanish while they are fetched: hours of training done again."""
    store = Store(store_url)
    half = store.scratch(step(1)).with_name(f"{step(1).key}.0123abcd.tmp")
    half.mkdir(parents=True)
    assert "checkpoints" not in collect(store, {step(1).key})
    assert half.exists()
    assert collect(store, set()).count("checkpoints") == 1
