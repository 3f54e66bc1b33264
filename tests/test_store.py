"""The store in a folder: nothing half-written is ever served, whatever dies, fills up or is edited by hand."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

import weakstrong
from weakstrong.errors import CorruptResultError, RecipeMismatchError, StoreError
from weakstrong.schedule import run_steps
from weakstrong.spec import Spec
from weakstrong.store import RECORD, Step, Store
from weakstrong.store_records import seal

ROOT = Path(weakstrong.__file__).parent.parent

BUILDERS = """
import os, time
from pathlib import Path
from typing import Literal
from weakstrong.spec import Spec
from weakstrong.store import Step

class Number(Spec):
    kind: Literal["test-number"] = "test-number"
    value: int = 0
    size: int = 10

def step(value, builder="write", size=10, **inputs):
    return Step("number", 1, Number(value=value, size=size), inputs, f"store_builders:{builder}")

def write(jobs, runtime):
    for job in jobs:
        (job.out / "deep").mkdir()
        (job.out / "deep" / "value.txt").write_text(str(job.step.spec.value) * job.step.spec.size)
        (job.out / "other.bin").write_bytes(bytes(100))
        job.summary["value"] = job.step.spec.value

def slow(jobs, runtime):
    with open(os.environ["COUNT_FILE"], "a") as file:
        file.write("x")
    for job in jobs:
        (job.out / "half.bin").write_bytes(bytes(1000))
    Path(os.environ["COUNT_FILE"] + ".started").touch()
    time.sleep(float(os.environ.get("SLEEP", "0")))
    write(jobs, runtime)

def safetensors(jobs, runtime):
    import numpy as np
    from safetensors.numpy import save_file
    for job in jobs:
        save_file({"x": np.zeros(job.step.spec.size, np.uint8)}, job.out / "x.safetensors")
"""

RUN_ONE = """
import sys
from store_builders import step
from weakstrong.schedule import run_steps
from weakstrong.store import Store
report = run_steps([step(1, "slow")], Store(sys.argv[1]))
print(report.computed, report.cached, len(report.failed))
"""


class Number(Spec):
    kind: Literal["test-number"] = "test-number"
    value: int = 0
    size: int = 10


@pytest.fixture
def builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of builders that subprocesses can import too."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "store_builders.py").write_text(BUILDERS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
    monkeypatch.setenv("COUNT_FILE", str(tmp_path / "count"))
    import store_builders  # type: ignore[import-not-found]

    yield store_builders
    del sys.modules["store_builders"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def folder_of(store: Store, step: Step) -> Path:
    return Path(store.root, step.name, step.key)


def leftovers(store: Store) -> list[str]:
    return [p.name for p in (store.work / ".building").iterdir()]


def start(code: str, *arguments: object, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], env=os.environ | env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


# --- keys


def test_roles_are_in_the_key(builders: Any) -> None:
    """Hashing sorted dependencies without roles makes weak=A, strong=B the same as weak=B, strong=A."""
    a, b = builders.step(1), builders.step(2)
    one, other = builders.step(3, weak=a, strong=b), builders.step(3, weak=b, strong=a)
    assert one.key != other.key
    assert builders.step(3, strong=b, weak=a).key == one.key


@pytest.mark.parametrize(
    "change", [{"name": "numbers"}, {"version": 2}, {"spec": Number(value=9)}, {"inputs": {}}]
)
def test_name_version_spec_and_inputs_are_in_the_key(builders: Any, change: dict[str, Any]) -> None:
    """A step of another version must not be served the old numbers."""
    values = {"name": "number", "version": 1, "spec": Number(value=1), "inputs": {"a": builders.step(0)}}
    assert Step(**values).key != Step(**(values | change)).key


def test_words_and_places_are_not_in_the_key(builders: Any, tmp_path: Path) -> None:
    """A moved store or a reworded title must recompute nothing."""
    step = Step("number", 1, Number(value=1), {}, "store_builders:write", "group", "title")
    assert step.key == Step("number", 1, Number(value=1)).key
    run_steps([step], Store(tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    report = run_steps([builders.step(1)], Store(tmp_path / "b"))
    assert (report.computed, report.cached) == (0, 1)


# --- what was stored is checked


def test_a_result_opens_with_its_files_and_record(builders: Any, store: Store) -> None:
    """The plain path: files, summary and provenance come back, and nothing temporary stays."""
    step = builders.step(7)
    run_steps([step], store)
    assert (store.open(step) / "deep" / "value.txt").read_text() == "7" * 10
    record = store.record(step)
    assert record["summary"] == {"value": 7}
    assert set(record["files"]) == {"deep/value.txt", "other.bin"}
    assert leftovers(store) == []
    assert store.keys("number") == {step.key}
    assert store.names() == ["number"]


def test_a_hit_with_another_recipe_raises_and_names_the_field(builders: Any, store: Store) -> None:
    """Drift that only warns serves a stale result."""
    step = builders.step(1, base=builders.step(0))
    run_steps([step], store)
    path = folder_of(store, step) / RECORD
    record = json.loads(path.read_text())
    for change, words in (
        (record | {"spec": record["spec"] | {"value": 2}}, r"spec\.value: stored 2, wanted 1"),
        (record | {"version": 4}, r"version: stored 4, wanted 1"),
        (record | {"inputs": {"base": "0" * 64}}, r"inputs\.base: stored \"0000"),
        (record | {"spec": {"kind": "x"}}, r"spec\.value: stored null, wanted 1"),
        ({"files": {}}, r"spec: stored null"),
    ):
        path.write_text(seal(change))
        with pytest.raises(RecipeMismatchError, match=words):
            Store(store.root).open(step)
        with pytest.raises(RecipeMismatchError, match=words):
            run_steps([step], Store(store.root))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [flip, Path.unlink, lambda p: p.write_bytes(p.read_bytes()[:-1]), lambda p: p.write_bytes(b"")],
    ids=["bit flipped", "missing", "truncated", "empty"],
)
def test_damaged_files_are_refused_by_name(builders: Any, store: Store, damage: Any) -> None:
    """A bad disk or a broken copy must not become a number; only that result is computed anew."""
    step = builders.step(1)
    run_steps([step], store)
    damage(folder_of(store, step) / "deep" / "value.txt")
    with pytest.raises(CorruptResultError, match=r"deep/value\.txt .*[Rr]emove the folder"):
        Store(store.root).open(step)
    shutil.rmtree(folder_of(store, step))
    assert run_steps([step], Store(store.root)).computed == 1
    assert (Store(store.root).open(step) / "deep" / "value.txt").read_text() == "1" * 10


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\x00\xff"])
def test_a_record_that_is_not_a_record_is_refused(builders: Any, store: Store, text: str) -> None:
    """A truncated record must be a CorruptResultError, not a JSON traceback."""
    step = builders.step(1)
    run_steps([step], store)
    (folder_of(store, step) / RECORD).write_bytes(text.encode("latin-1"))
    with pytest.raises(CorruptResultError, match=r"record\.json"):
        Store(store.root).open(step)


def test_a_folder_without_record_is_no_result(builders: Any, store: Store) -> None:
    """Files without a record are the remains of a broken upload; they are replaced, not served or tripped over."""
    step = builders.step(1)
    folder_of(store, step).mkdir(parents=True)
    (folder_of(store, step) / "other.bin").write_text("half")
    assert not store.has(step)
    assert store.keys("number") == set()
    assert run_steps([step], store).computed == 1
    assert (store.open(step) / "other.bin").read_bytes() == bytes(100)


# --- death and company


def test_a_killed_process_leaves_nothing_visible_and_the_next_run_works(builders: Any, store: Store) -> None:
    """kill -9 inside a build must not leave a half result or a lock that stays held."""
    process = start(RUN_ONE, store.root, SLEEP="60")
    started = Path(os.environ["COUNT_FILE"] + ".started")
    for _ in range(400):
        if started.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    assert started.exists(), process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    step = builders.step(1, "slow")
    assert not store.has(step)
    assert store.keys("number") == set()
    assert len(leftovers(store)) == 1
    with store.job(builders.step(2)):
        cleaned = 0
        for _ in range(100):  # a busy kernel may give a lock back a moment after its process is gone
            cleaned += store.clean_building()
            if cleaned:
                break
            time.sleep(0.05)
        assert cleaned == 1  # not the folder of a living process, however old
        assert len(leftovers(store)) == 1
    assert run_steps([step], store).computed == 1
    assert sorted(p.name for p in store.open(step).iterdir()) == [
        *sorted(["deep", "half.bin", "other.bin"]),
        RECORD,
    ]
    assert leftovers(store) == []


def test_two_processes_that_want_one_step_build_it_once(builders: Any, store: Store, tmp_path: Path) -> None:
    """A race that builds twice wastes a GPU; one that fails the loser breaks a sweep."""
    pair = [start(RUN_ONE, store.root, SLEEP="1.5") for _ in range(2)]
    said = [process.communicate(timeout=60) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    assert (tmp_path / "count").read_text() == "x"
    assert sorted(out.split() for out, _ in said) == [["0", "1", "0"], ["1", "0", "0"]]
    assert leftovers(store) == []


def test_a_result_that_appeared_meanwhile_stays(builders: Any, store: Store) -> None:
    """Where locks do not work (some network disks) the second builder must not overwrite or fail."""
    step = builders.step(1)
    with store.job(step) as late:
        builders.write([late], None)
        run_steps([step], store)
        before = store.record(step)
        store.commit(late, {"seconds": 99})
    assert store.record(step) == before
    assert leftovers(store) == []


# --- places that cannot be written


def test_a_store_below_a_file_is_refused(tmp_path: Path) -> None:
    """The user learns at the start, in words, that the place cannot be written."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=str(tmp_path / "file")):
        Store(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match=str(tmp_path / "file")):
        Store(tmp_path / "file")


def test_a_store_in_proc_is_refused() -> None:
    """A file system that cannot hold folders at all."""
    with pytest.raises(StoreError, match="/proc/weakstrong"):
        Store("/proc/weakstrong")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None or subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    ).returncode:  # fmt: skip
        pytest.skip("mounting a file system needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_read_only_disk_is_refused_and_still_read(builders: Any, small_disk: Path) -> None:
    """A read-only mount is said in words with what to do."""
    store = Store(small_disk / "store")
    run_steps([builders.step(1)], store)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(
        StoreError, match=r"cannot be written \(Read-only file system\); choose another with --store"
    ):
        Store(small_disk / "store")
    with pytest.raises(StoreError, match="cannot be written"):
        run_steps([builders.step(2)], store)
    assert (store.open(builders.step(1)) / "other.bin").stat().st_size == 100


@pytest.mark.parametrize("builder", ["write", "safetensors"])
def test_a_full_disk_is_said_in_words_and_earlier_results_stay(
    builders: Any, small_disk: Path, builder: str
) -> None:
    """A full disk must stop the run, not count as a bug of one step (safetensors hides the errno) or half-write."""
    store = Store(small_disk / "store")
    first, big = builders.step(1), builders.step(2, builder, size=2_000_000)
    run_steps([first], store)
    with pytest.raises(StoreError, match="no space left on the device of the store"):
        run_steps([first, big], store)
    assert not store.has(big)
    assert leftovers(store) == []
    fresh = Store(store.root)
    assert (fresh.open(first) / "deep" / "value.txt").read_text() == "1" * 10
    assert run_steps([builders.step(3)], fresh).computed == 1


def test_a_disk_that_fills_up_with_the_record_shows_no_result(builders: Any, small_disk: Path) -> None:
    """The record is the last file written; without it the result must not be visible."""
    store = Store(small_disk / "store")
    step = builders.step(1)
    with store.job(step) as job:
        builders.write([job], None)
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "ballast").write_bytes(bytes(2**20))
        job.summary["long"] = "x" * 100_000
        with pytest.raises(StoreError, match="no space left"):
            store.commit(job, {})
    assert not store.has(step)
    (small_disk / "ballast").unlink()
    assert run_steps([step], store).computed == 1


def test_a_file_size_limit_of_the_process_is_a_store_error(builders: Any, store: Store) -> None:
    """Needs no root: the operating system refuses the write (EFBIG) and nothing half-written is visible."""
    code = (
        "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from store_builders import step\nfrom weakstrong.errors import StoreError\n"
        "from weakstrong.schedule import run_steps\nfrom weakstrong.store import Store\n"
        "store = Store(sys.argv[1])\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))\n"
        "try:\n    run_steps([step(2, size=200_000)], store)\n"
        "except StoreError as error:\n    print(error)\n"
    )
    out, err = start(code, store.root).communicate(timeout=60)
    assert "failed: [Errno 27]" in out, err
    assert not store.has(builders.step(2, size=200_000))
    assert leftovers(store) == []
