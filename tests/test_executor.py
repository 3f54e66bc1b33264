"""Running a graph: one broken step, a second run, an interrupt, and steps that are built together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import weakstrong
from weakstrong.errors import CorruptResultError, StoreError
from weakstrong.notes import failure
from weakstrong.schedule import GROUP_LIMIT, run_steps
from weakstrong.store import Step, Store
from weakstrong.training.spec import Runtime

ROOT = Path(weakstrong.__file__).parent.parent

BUILDERS = """
import os
from typing import Literal
from weakstrong.errors import DataError, OfflineError, StoreError
from weakstrong.spec import Spec
from weakstrong.store import Step

CALLS = []

class Named(Spec):
    kind: Literal["test-named"] = "test-named"
    name: str

def step(name, builder="add", group="", **inputs):
    return Step("sum", 1, Named(name=name), inputs, f"run_builders:{builder}", group, title=name)

def add(jobs, runtime):
    CALLS.append([job.step.title for job in jobs])
    for job in jobs:
        total = sum(int((path / "total").read_text()) for path in job.inputs.values())
        (job.out / "total").write_text(str(total + 1))

def bad_data(jobs, runtime):
    raise DataError("row 3 is wrong")

def bug(jobs, runtime):
    return {}["nothing"]

def missing_file(jobs, runtime):
    raise OSError("Can't load tokenizer for './model'")

def not_found(jobs, runtime):
    open("/nonexistent/tokenizer.json")

def timeout(jobs, runtime):
    raise TimeoutError("the hub took too long")

def offline(jobs, runtime):
    raise OfflineError("not cached and the network is off")

def interrupt(jobs, runtime):
    for job in jobs:
        (job.out / "half").write_text("x")
        job.scratch.mkdir(parents=True)
        (job.scratch / "checkpoint").write_text("step 10")
    raise KeyboardInterrupt

def half_of_group(jobs, runtime):
    add(jobs, runtime)
    for job in jobs:
        if job.step.title.endswith("bad"):
            job.error = DataError(f"{job.step.title} diverged")

def nan_summary(jobs, runtime):
    add(jobs, runtime)
    for job in jobs:
        job.summary["loss"] = float("nan")

def telling(jobs, runtime):
    runtime.report(1, 4, "a quarter")
    add(jobs, runtime)

def hang(jobs, runtime):
    import pathlib, time
    for job in jobs:
        (job.out / "half").write_text("x")
    pathlib.Path(os.environ["STARTED"]).touch()
    time.sleep(60)
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of builders that subprocesses can import too."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "run_builders.py").write_text(BUILDERS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
    import run_builders  # type: ignore[import-not-found]

    yield run_builders
    del sys.modules["run_builders"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


class Heard:
    """Remembers what a run told its listener."""

    def __init__(self) -> None:
        self.events: list[tuple[str, list[str], str, float]] = []

    def __call__(self, event: str, steps: Sequence[Step], words: str, share: float) -> None:
        self.events.append((event, [s.title for s in steps], words, share))

    def of(self, event: str) -> list[str]:
        return [title for e, titles, _, _ in self.events if e == event for title in titles]


def total(store: Store, step: Step) -> int:
    return int((store.open(step) / "total").read_text())


def test_a_graph_is_computed_once_in_order(made: Any, store: Store) -> None:
    """A dependency shared by two steps must be built once and before both."""
    a = made.step("a")
    b, c = made.step("b", x=a), made.step("c", x=a)
    d = made.step("d", x=b, y=c)
    report = run_steps([d, d], store)
    assert (report.computed, report.cached, report.failed) == (4, 0, {})
    assert total(store, d) == 5
    calls = [name for call in made.CALLS for name in call]
    assert sorted(calls) == ["a", "b", "c", "d"]
    assert calls[0] == "a"
    assert calls[-1] == "d"


def test_a_second_run_computes_nothing(made: Any, store: Store) -> None:
    """A step that runs twice costs hours; so does one behind a stored result."""
    target = made.step("b", x=made.step("a"))
    run_steps([target], store)
    again = run_steps([target], Store(store.root))
    assert (again.computed, again.cached) == (0, 1)
    assert len(made.CALLS) == 2
    more = run_steps([target, made.step("c", x=target)], Store(store.root))
    assert (more.computed, more.cached) == (1, 1)


def test_what_lies_behind_a_stored_result_may_be_gone(made: Any, store: Store) -> None:
    """Features deleted to save space must not be computed again for results that exist."""
    first = made.step("a")
    target = made.step("b", x=first)
    run_steps([target], store)
    for path in Path(store.root, "sum", first.key).iterdir():
        path.unlink()
    Path(store.root, "sum", first.key).rmdir()
    assert run_steps([target], Store(store.root)).computed == 0


@pytest.mark.parametrize(
    ("builder", "words"),
    [
        ("bad_data", "row 3 is wrong"),
        ("bug", "KeyError: 'nothing'"),
        ("missing_file", "OSError: Can't load tokenizer for './model'"),
        (
            "not_found",
            "FileNotFoundError: [Errno 2] No such file or directory: '/nonexistent/tokenizer.json'",
        ),
        ("timeout", "TimeoutError: the hub took too long"),
        ("offline", "not cached and the network is off"),
    ],
)
def test_a_failing_step_stops_only_what_needs_it(made: Any, store: Store, builder: str, words: str) -> None:
    """One broken model in a sweep must cost its own cells only; an OSError of a builder is not a broken store."""
    bad = made.step("bad", builder)
    child = made.step("child", x=bad)
    grandchild = made.step("grandchild", x=child)
    good = [made.step(f"good {i}", x=made.step("root")) for i in range(3)]
    heard = Heard()
    report = run_steps([grandchild, *good], store, listener=heard)
    assert report.failed == {bad.key: words}
    assert report.skipped == {child.key, grandchild.key}
    assert report.computed == 4
    assert heard.of("skipped") == ["child", "grandchild"]
    assert [total(store, g) for g in good] == [2, 2, 2]
    assert failure(store, bad) == words
    assert failure(store, child) is None
    assert not store.has(bad)


def test_a_mended_step_runs_and_its_failure_is_forgotten(made: Any, store: Store) -> None:
    """A failure that is remembered for ever hides the fix."""
    bad = made.step("x", "bad_data")
    run_steps([bad], store)
    mended = made.step("x")
    assert mended.key == bad.key
    assert run_steps([made.step("y", x=mended)], store).computed == 2
    assert failure(store, mended) is None


def test_groups_are_built_together_and_lone_steps_first(made: Any, store: Store) -> None:
    """Heads of one group train in one pass; started too early, a group is built in pieces."""
    root = made.step("root")
    late = made.step("late", x=made.step("early", x=root))
    members = [made.step(f"m{i}", group="g", x=root if i < 5 else late) for i in range(10)]
    others = [made.step(f"o{i}", group="h", x=root) for i in range(3)]
    run_steps([*members, *others], store)
    groups = [sorted(call) for call in made.CALLS if len(call) > 1]
    assert sorted(groups) == [sorted(f"m{i}" for i in range(10)), ["o0", "o1", "o2"]]
    assert [total(store, m) for m in members] == [2] * 5 + [4] * 5


def test_a_large_group_is_cut(made: Any, store: Store) -> None:
    """A thousand heads in one call would not fit in memory."""
    run_steps([made.step(str(i), group="g") for i in range(GROUP_LIMIT + 10)], store)
    assert [len(call) for call in made.CALLS] == [GROUP_LIMIT, 10]


def test_one_diverged_member_does_not_lose_its_group(made: Any, store: Store) -> None:
    """256 heads trained together, one loss is not finite."""
    members = [made.step(name, "half_of_group", group="g") for name in ("a", "b bad", "c")]
    report = run_steps(members, store)
    assert report.failed == {members[1].key: "b bad diverged"}
    assert report.computed == 2
    assert [store.has(m) for m in members] == [True, False, True]


def test_a_builder_that_raises_fails_its_whole_group(made: Any, store: Store) -> None:
    """No member may stay pending: the run would never end."""
    members = [made.step(str(i), "bug", group="g") for i in range(3)]
    report = run_steps(members, store)
    assert set(report.failed) == {m.key for m in members}


def test_an_interrupt_keeps_what_is_finished_and_the_checkpoint(made: Any, store: Store) -> None:
    """Ctrl-C must leave a usable store: finished results, no half result, no held lock."""
    done = made.step("done")
    broken = made.step("broken", "interrupt", x=done)
    with pytest.raises(KeyboardInterrupt):
        run_steps([broken], store)
    assert store.has(done)
    assert not store.has(broken)
    assert list((store.work / ".building").iterdir()) == []
    assert (store.scratch(broken) / "checkpoint").read_text() == "step 10"
    resumed = run_steps([made.step("broken", x=done)], Store(store.root))
    assert (resumed.computed, resumed.cached) == (1, 1)
    assert not store.scratch(broken).exists()


def test_ctrl_c_in_a_terminal_removes_the_half_result(made: Any, store: Store, tmp_path: Path) -> None:
    """The real signal, in a real process."""
    code = (
        "import sys\nfrom run_builders import step\nfrom weakstrong.schedule import run_steps\n"
        "from weakstrong.store import Store\nrun_steps([step('x', 'hang')], Store(sys.argv[1]))\n"
    )
    started = tmp_path / "started"
    process = subprocess.Popen(
        [sys.executable, "-c", code, store.root], env=os.environ | {"STARTED": str(started)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(400):
        if started.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert "stopped by SIGINT" in said
    assert list((store.work / ".building").iterdir()) == []
    assert run_steps([made.step("x")], store).computed == 1


@pytest.mark.parametrize("which", ["input", "target"])
def test_a_damaged_result_is_computed_anew(made: Any, store: Store, which: str) -> None:
    """A changed result must not flow into new ones, nor be served as it is; the damaged one is kept to be looked at."""
    first = made.step("a")
    last = made.step("b", x=first)
    run_steps([first] if which == "input" else [last], store)
    broken = first if which == "input" else last
    (Path(store.root, "sum", broken.key) / "total").write_text("7")
    heard = Heard()
    report = run_steps([last], Store(store.root), listener=heard)
    assert "total has 1 bytes or other content" in report.damaged[0]
    assert len(heard.of("damaged")) == 1
    assert total(Store(store.root), last) == 2
    (kept,) = Path(store.root, ".damaged").iterdir()
    assert (kept / "total").read_text() == "7"


def test_damage_that_many_steps_find_is_mended_once(made: Any, store: Store) -> None:
    """Forty heads that read one damaged matrix must not count as forty damages, and end the run."""
    first = made.step("a")
    run_steps([first], store)
    (Path(store.root, "sum", first.key) / "total").write_text("7")
    heads = [made.step(f"head {i}", group="heads", x=first) for i in range(9)]
    report = run_steps(heads, Store(store.root))
    assert (report.computed, len(report.damaged), report.failed) == (10, 1, {})


def test_a_disk_that_damages_everything_ends_the_run(made: Any, store: Store) -> None:
    """Setting aside and computing anew for ever hides a dying disk."""
    spoiled = made.step("spoiled")

    def bad_disk(event: str, steps: Sequence[Step], words: str, share: float) -> None:
        if event == "done" and steps[0] == spoiled:
            (Path(store.root, "sum", spoiled.key) / "total").write_text("no number")

    with pytest.raises(CorruptResultError, match=r"computed anew 2 times .* check the disk"):
        run_steps([made.step("next", x=spoiled)], store, listener=bad_disk)


def test_a_summary_that_is_no_json_fails_its_step_only(made: Any, store: Store) -> None:
    """A NaN in a summary found at commit must not end the whole run with a bare ValueError."""
    bad, good = made.step("bad", "nan_summary"), made.step("good")
    report = run_steps([bad, good], store)
    assert set(report.failed) == {bad.key}
    assert store.has(good)
    assert not store.has(bad)


def test_progress_reaches_the_listener_with_its_steps(made: Any, store: Store) -> None:
    """A step that takes hours in silence looks hung; and the caller's own runtime must not be changed."""
    heard, runtime = Heard(), Runtime()
    run_steps([made.step("a", "telling")], store, runtime, heard)
    assert ("progress", ["a"], "a quarter", 0.25) in heard.events
    assert [e for e, *_ in heard.events if e != "cached"] == ["started", "progress", "done"]
    assert runtime.progress is None


def test_provenance_names_no_place_or_person(made: Any, store: Store) -> None:
    """A record that is published with a paper must not hold a user's name or paths."""
    step = made.step("a")
    run_steps([step], store)
    record = store.record(step)
    assert record["provenance"]["seconds"] >= 0
    assert record["provenance"]["versions"]["numpy"]
    text = (Path(store.root, "sum", step.key) / "record.json").read_text()
    assert str(store.root) not in text
    assert os.uname().nodename not in text


def test_a_store_that_breaks_in_the_middle_stops_the_run(made: Any, store: Store) -> None:
    """Going on without a store would train for nothing."""
    run_steps([made.step("a")], store)
    for name in (".building", ".locks"):
        for path in (store.work / name).iterdir():
            path.unlink()
        (store.work / name).rmdir()
        (store.work / name).write_text("")
    with pytest.raises(StoreError, match=str(store.root)):
        run_steps([made.step("b")], store)
