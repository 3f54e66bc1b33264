"""What every executor must do: the same results, in order, whatever raises, dies or is damaged on the way."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import weakstrong
from weakstrong.errors import ConfigError, StoreError
from weakstrong.executors.base import EXECUTORS, Finished, Session
from weakstrong.notes import failures
from weakstrong.resources import Need
from weakstrong.schedule import TRIES, run_steps
from weakstrong.store import Step, Store
from weakstrong.training.spec import Runtime
from weakstrong.work import Work

ROOT = Path(weakstrong.__file__).parent.parent
SESSIONS = {
    "local": "local",
    "process": "process:workers=2",
    "ray": "ray",
    "slurm": "slurm:cluster=local",
}

BUILDERS = """
import os, signal, time
from pathlib import Path
from typing import Literal
from weakstrong.errors import DataError, Stopped
from weakstrong.spec import Spec
from weakstrong.store import Step

class Sum(Spec):
    kind: Literal["test-sum"] = "test-sum"
    name: str
    mark: str = ""

def step(name, builder="add", mark="", group="", kind="sum", **inputs):
    spec = Sum(name=name, mark=str(mark))
    return Step(kind, 1, spec, inputs, f"executor_builders:{builder}", group, title=name)

def add(jobs, runtime):
    for job in jobs:
        total = 1 + sum(int((folder / "total").read_text()) for folder in job.inputs.values())
        (job.out / "total").write_text(str(total))
        job.summary["total"] = total

def talk(jobs, runtime):
    print("a line that a library prints")
    os.system("echo and a line of a child process")
    add(jobs, runtime)

def threads(jobs, runtime):
    import torch
    add(jobs, runtime)
    for job in jobs:
        job.summary["threads"] = torch.get_num_threads()

def gpus(jobs, runtime):
    add(jobs, runtime)
    for job in jobs:
        job.summary["gpus"] = os.environ.get("CUDA_VISIBLE_DEVICES")
    time.sleep(float(job.step.spec.mark or 0))

def refuse(jobs, runtime):
    raise DataError("row 3 is wrong")

def bug(jobs, runtime):
    {}["nothing"]

def no_space(jobs, runtime):
    raise OSError(28, "No space left on device")

def time_limit(jobs, runtime):
    path, _, shares = jobs[0].step.spec.mark.partition("|")
    with open(path, "a+") as file:
        file.write("x")
        file.seek(0)
        tries, shares = len(file.read()), shares.split()
    if tries <= len(shares):
        runtime.should_stop()
        runtime.report(float(shares[tries - 1]), 1.0, "")
        os.kill(os.getpid(), signal.SIGUSR2)
        if runtime.should_stop():
            raise Stopped("its state is saved")
    add(jobs, runtime)

def first_fails(jobs, runtime):
    from weakstrong.training.distributed import gather, is_main
    with open(jobs[0].step.spec.mark, "a") as file:
        file.write("x" * is_main())
    if is_main():
        raise DataError("only the first process found row 3")
    gather([1.0])

def die_once(jobs, runtime):
    for job in jobs:
        mark = Path(job.step.spec.mark)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    add(jobs, runtime)

def die(jobs, runtime):
    print("the last thing it said", flush=True)
    with open(jobs[0].step.spec.mark, "a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A module of builders that workers can import too."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "executor_builders.py").write_text(BUILDERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
        import executor_builders  # type: ignore[import-not-found]

        yield executor_builders
        del sys.modules["executor_builders"]


@pytest.fixture(scope="module", params=list(SESSIONS))
def session(
    request: pytest.FixtureRequest, built: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    """One executor for all tests of this file: a cluster takes seconds to start."""
    text = SESSIONS[request.param]
    if request.param == "slurm":
        text += f",folder={tmp_path_factory.mktemp('slurm')}"
    with Session(text) as started:
        yield started


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def total(store: Store, step: Step) -> int:
    return int((store.open(step) / "total").read_text())


def test_every_executor_is_tried_here() -> None:
    """An executor that no contract covers."""
    assert set(SESSIONS) == set(EXECUTORS.names())


def test_a_graph_is_computed_in_order(built: Any, session: Session, store: Store) -> None:
    """A step that runs before its inputs are stored, twice, or with the inputs of another role."""
    first = built.step("a")
    middle = [built.step(f"b{i}", x=first) for i in range(3)]
    last = built.step("c", **{f"x{i}": step for i, step in enumerate(middle)})
    report = run_steps([last], store, session=session)
    assert (report.computed, report.failed, total(store, last)) == (5, {}, 7)
    assert store.record(last)["summary"] == {"total": 7}
    again = run_steps([last], Store(store.root), session=session)
    assert (again.computed, again.cached) == (0, 1)


def test_steps_of_a_group_are_all_built(built: Any, session: Session, store: Store) -> None:
    """A group that is cut for several workers must not lose a member."""
    steps = [built.step(f"g{i}", group="heads") for i in range(70)]
    assert run_steps(steps, store, session=session).computed == 70
    assert store.keys("sum") == {step.key for step in steps}


def test_an_error_costs_only_what_needs_the_step(built: Any, session: Session, store: Store) -> None:
    """An error of one step that ends the run, is tried again, or comes back with other words."""
    bad, bug, good = built.step("bad", "refuse"), built.step("bug", "bug"), built.step("good")
    child = built.step("child", x=bad)
    report = run_steps([child, bug, good], store, session=session)
    assert report.failed == {bad.key: "row 3 is wrong", bug.key: "KeyError: 'nothing'"}
    assert (report.skipped, report.computed, report.lost) == ({child.key}, 1, 0)
    notes = failures(store)
    assert notes[bad.key]["error"] == "row 3 is wrong"
    assert "executor_builders.py" in notes[bug.key]["traceback"]


def test_a_damaged_input_is_set_aside_and_computed_anew(built: Any, session: Session, store: Store) -> None:
    """A changed file must not flow into new results, nor stop a sweep until somebody removes it by hand."""
    first = built.step("a")
    run_steps([first], store, session=session)
    (Path(store.root, "sum", first.key) / "total").write_text("7")
    last = built.step("b", x=first)
    report = run_steps([last], store, session=session)
    assert (report.computed, len(report.damaged), total(Store(store.root), last)) == (2, 1, 2)
    assert "total has 1 bytes or other content" in report.damaged[0]


def test_a_store_that_fails_in_a_worker_ends_the_run(built: Any, session: Session, store: Store) -> None:
    """A full disk is no error of one step: going on would train for nothing."""
    with pytest.raises(StoreError, match="no space left on the device of the store"):
        run_steps([built.step("full", "no_space")], store, session=session)


# A step that kills its process would kill these tests where it runs in theirs; and submitit waits a quarter of a minute for
# the answer of each dead job (tried by hand: benchmarks/faults).
others = pytest.mark.parametrize("session", ["process", "ray"], indirect=True)


@others
def test_work_of_a_dead_worker_is_given_out_again(
    built: Any, session: Session, store: Store, tmp_path: Path
) -> None:
    """kill -9, an out-of-memory kill or a lost node in the middle of a step."""
    steps = [built.step(f"d{i}", "die_once", tmp_path / f"mark{i}") for i in range(2)]
    last = built.step("last", x=steps[0], y=steps[1])
    report = run_steps([last], store, session=session)
    assert (report.computed, report.failed, total(store, last)) == (3, {}, 3)
    assert report.lost == 2
    assert list((store.work / ".building").iterdir()) == []


@others
def test_a_step_that_kills_every_worker_is_given_up(
    built: Any, session: Session, store: Store, tmp_path: Path
) -> None:
    """A step that needs more memory than there is must not be tried for ever, nor take the others with it."""
    bad, good = built.step("bad", "die", tmp_path / "tries"), built.step("good")
    report = run_steps([bad, good], store, session=session)
    assert report.computed == 1
    assert f"bad: its worker died {TRIES} times" in report.failed[bad.key]
    if session.name == "process":
        assert "the last line of its log: 'the last thing it said'" in report.failed[bad.key]
    assert (tmp_path / "tries").read_text() == "x" * TRIES
    assert failures(store)[bad.key]["error"] == report.failed[bad.key]


@pytest.mark.parametrize("session", ["local", "ray"], indirect=True)
def test_an_error_of_a_team_s_first_process_is_the_step_s(
    built: Any, session: Session, store: Store, tmp_path: Path
) -> None:
    """Wrong data told as four deaths, or the other processes waiting an hour for the first."""
    step = built.step("bad", "first_fails", tmp_path / "tries", kind="finetune")
    report = run_steps([step], store, Runtime(processes=2), session=session)
    assert report.failed == {step.key: "only the first process found row 3"}
    assert (report.lost, (tmp_path / "tries").read_text()) == (0, "x")


@pytest.mark.parametrize("session", ["ray"], indirect=True)
def test_what_a_task_of_ray_raises_is_no_death(built: Any, session: Session, store: Store) -> None:
    """A broken installation on the nodes, tried four times and told as a want of memory."""
    (store.work / ".logs").write_text("")  # a file where the logs' folder must be
    step = built.step("a")
    report = run_steps([step], store, session=session)
    assert report.failed[step.key].startswith("FileExistsError: ")
    assert (report.lost, list(failures(store))) == (0, [step.key])


@pytest.mark.parametrize("session", ["slurm"], indirect=True)
def test_a_time_limit_is_no_death_while_there_is_progress(
    built: Any, session: Session, store: Store, tmp_path: Path
) -> None:
    """A training of ten hours in jobs of two, given up after four; one that never comes further, tried for ever."""
    heard: list[str] = []
    step = built.step("long", "time_limit", f"{tmp_path / 'tries'}|0.5 0.5")
    report = run_steps([step], store, listener=lambda event, steps, *_: heard.append(event), session=session)
    assert (report.computed, report.failed, report.lost) == (1, {}, 1)
    assert [event for event in heard if event in ("stopped", "lost")] == ["stopped", "lost"]
    assert (tmp_path / "tries").read_text() == "xxx"


def test_a_step_has_the_threads_that_the_run_asks_for(built: Any, session: Session, store: Store) -> None:
    """A number that a worker never hears of changes the last bits of finetuning; one that stays slows what follows."""
    import torch

    before = torch.get_num_threads()
    for count in (1, 3):
        step = built.step(f"{count} threads", "threads")
        assert not run_steps([step], store, Runtime(threads=count), session=session).failed
        assert store.record(step)["summary"]["threads"] == count
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("session", ["process", "ray", "slurm"], indirect=True)
def test_what_a_step_prints_goes_to_its_own_file(
    built: Any, session: Session, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    """Words of many workers on one screen, in the way of the answers, or nowhere."""
    step = built.step("loud", "talk")
    run_steps([step, built.step("silent")], store, session=session)
    logs = list(Path(store.root, ".logs").iterdir())
    assert [path.name for path in logs] == [f"sum-{step.key[:16]}.log"]
    assert logs[0].read_text().splitlines() == [
        "a line that a library prints",
        "and a line of a child process",
    ]
    assert "a line" not in capfd.readouterr().out


def test_workers_of_a_pool_have_gpus_of_their_own(
    built: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four trainings on the first of four GPUs, out of memory; a team that sees one; a GPU that an idle worker keeps."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-5")
    with Session("process:workers=2") as session:
        pool = session.executor
        for turn, (count, gpus) in enumerate([(2, 1), (1, 2), (1, 0), (2, 1)]):
            steps = [built.step(f"{turn} {i}", "gpus", 0.5 * (count > 1)) for i in range(count)]
            need = Need(1, gpus, 0, 0.0, 0.0)
            for step in steps:
                assert pool.room(need)
                pool.submit(Work((step,), store.root, Runtime()), store, need)
            assert pool.room(Need(1, 2, 0, 0.0, 0.0)) == (gpus == 0)
            ended: list[Finished] = []
            while len(ended) < count:
                ended += pool.wait(30)
            seen = sorted(store.record(step)["summary"]["gpus"] for step in steps)
            assert seen == {(2, 1): ["4", "GPU-5"], (1, 2): ["4,GPU-5"], (1, 0): [""]}[count, gpus]


def test_a_pool_whose_workers_cannot_start_ends_the_run(
    built: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation told as four deaths of every step, perhaps for want of memory."""
    (tmp_path / "tokenize.py").write_text("raise ImportError('libfoo.so.1 is not there')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    with (
        Session("process:workers=1") as session,
        pytest.raises(ConfigError, match=r"no worker of the pool can start.*libfoo\.so\.1 is not there"),
    ):
        run_steps([built.step("a")], store, session=session)


def test_a_step_whose_class_a_worker_cannot_import_ends_the_run(
    built: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for code of the user that only the driver has."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with (
        Session("process:workers=1") as session,
        pytest.raises(ConfigError, match=r"executor_builders:Sum of the step 'a' cannot be imported"),
    ):
        run_steps([built.step("a")], store, session=session)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("proces", "did you mean process"),
        ("process:worker=2", "no option 'worker'; it has workers"),
        ("process:workers=none", "process wants a whole number from 1 for workers, found 'none'"),
        ("process:workers=2.5", "process wants a whole number from 1 for workers, found '2.5'"),
        ("slurm:cluster=local,cpus=0", "slurm wants a whole number from 1 for cpus, found '0'"),
        ("slurm:cluster=local,minutes=1h", "slurm wants a whole number from 1 for minutes, found '1h'"),
        ("slurm:cluster=local,jobs=", "slurm wants a whole number from 1 for jobs, found ''"),
        ("ray:retries=-1", "ray wants a whole number from 0 for retries, found '-1'"),
        ("process:2", "'2' is not option=value"),
        ("local:workers=2", "no option 'workers'; it has none"),
    ],
)
def test_a_wrong_executor_is_refused_by_name(text: str, words: str) -> None:
    """A misspelt option that is ignored runs an experiment elsewhere than meant."""
    with pytest.raises(ConfigError, match=words), Session(text) as session:
        assert session.executor
