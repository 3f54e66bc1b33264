"""Every tracker shows what the store holds and no secret, and none can fail, change or hold a run.

What a tracker has written is read back by its own reader.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tracker_readers import READERS, Shown

import weakstrong
from weakstrong.errors import ConfigError, UnknownNameError
from weakstrong.experiment import Experiment
from weakstrong.store import Store
from weakstrong.trackers import TRACKERS, Point, Tracker, _feed
from weakstrong.trackers._points import config_of, points_of_table

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
ROOT = Path(weakstrong.__file__).parent.parent
NAMES = TRACKERS.names()
SECRETS = {
    "HF_TOKEN": "hf_plantedPlantedPlanted",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "MLFLOW_TRACKING_PASSWORD": "planted-password",
    "AWS_SECRET_ACCESS_KEY": "planted/aws/secret",
}
PROBE = {"kind": "probe", "epochs": 3, "features": {"dtype": "float32"}}
FINETUNE = {"kind": "finetune", "epochs": 1, "batch_rows": 8, "learning_rate": 1e-3, "precision": "fp32"}


def values(folder: Path, tiny_model: Tiny, rows: MakeRows, **changes: Any) -> dict[str, Any]:
    """An experiment of seconds; its title of a student is the same for both supervisors."""
    texts, labels = rows(300)
    pl.DataFrame({"text": texts, "label": labels}).write_ndjson(folder / "rows.jsonl")
    model = str(tiny_model("llama", layers=4))
    return {
        "name": "tiny run", "task": {"kind": "file", "path": str(folder / "rows.jsonl")},
        "supervisors": [f"{model}::1", f"{model}::2"], "students": f"{model}::3", "methods": ["naive"], "seeds": 1,
        "supervisor_training": PROBE, "student_training": PROBE,
        "split": {"train_rows": 60, "validation_rows": 20, "test_rows": 60},
    } | changes  # fmt: skip


@dataclass
class Ran:
    """A run by the command, in a folder of its own, with secrets in its environment."""

    name: str
    folder: Path
    printed: dict[str, Any]
    said: str
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def shown(self) -> Shown:
        return READERS[self.name](self.folder)


@pytest.fixture(scope="module", params=NAMES)
def ran(request: Any, tmp_path_factory: pytest.TempPathFactory, tiny_model: Tiny, rows: MakeRows) -> Ran:
    """One experiment with every kind of step that has numbers, shown by one tracker."""
    for module in TRACKERS.get(request.param).modules:
        pytest.importorskip(module, reason=f"pip install 'weakstrong[{request.param}]'", exc_type=ImportError)
    folder = tmp_path_factory.mktemp(request.param)
    changes = {"methods": ["naive", "generative"], "student_training": FINETUNE}
    experiment = Experiment.parse(values(folder, tiny_model, rows, **changes))
    (folder / "tiny.yaml").write_text(experiment.to_yaml())
    command = [sys.executable, "-c", "from weakstrong.cli import main; main()", "run", "tiny.yaml"]
    gone = ("WANDB_", "MLFLOW_", "TRACKIO_")
    own = {
        "PYTHONPATH": str(ROOT),
        "WEAKSTRONG_OFFLINE": "1",
        "CI": "1",
        "OMP_NUM_THREADS": "1",
        "TRACKIO_DIR": str(folder / "trackio"),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [*command, "--store", "s", "--tracker", request.param, "--json"],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if not k.startswith(gone)} | own | SECRETS,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    store = Store(folder / "s")
    records = {key: store.read_record(name, key) for name in store.names() for key in store.keys(name)}
    return Ran(request.param, folder, json.loads(done.stdout), done.stderr, records)


def test_a_tracker_shows_what_the_store_holds(ran: Ran) -> None:
    """A curve under another step's name (titles repeat), a lost last step, PGR of another group, lines of a library
    between the JSON of the results."""
    assert "warning" not in ran.said
    shown = ran.shown()
    wanted: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for key, record in ran.records.items():
        summary, kind = record["summary"], f"{record['step']} {key[:8]}"
        for column, name in enumerate(("loss", "agreement"), start=1):
            if rows := summary.get("evaluations"):
                wanted[kind, name] = [(row[0], row[column]) for row in rows]
        if rows := summary.get("losses"):
            wanted[kind, "loss"] = [(at, loss) for at, loss in rows]
        if rows := summary.get("validation_agreement"):
            wanted[kind, "agreement"] = list(enumerate(rows, start=1))
        if record["step"] == "score":
            wanted[kind, "accuracy"] = [(0, summary["accuracy"])]
    assert {kind.split()[0] for kind, _ in wanted} == {"probe", "finetune", "tune", "score"}
    found = {}
    for name, points in shown.series.items():
        step, title, *last = name.split("/")
        if last and last[-1] in ("loss", "agreement", "accuracy"):
            found[f"{step} {title[-8:]}", last[-1]] = points
    assert found.keys() == wanted.keys()
    for one, points in wanted.items():
        assert [at for at, _ in found[one]] == [at for at, _ in points]
        assert [v for _, v in found[one]] == pytest.approx([v for _, v in points], rel=1e-6)
    for row in ran.printed["aggregate"]:
        (place,) = {
            name.rsplit("/", 1)[0]
            for name in shown.series
            if name.startswith("aggregate/") and f"/{row['method']}/" in name
            and f"/{row['supervisor'].replace('/', '_')}/" in name
        }  # fmt: skip
        for column in ("pgr", "pgr_low", "pgr_high", "student_score", "ceiling_low"):
            points = shown.series.get(f"{place}/{column}", [])
            assert points == ([] if row[column] is None else [(0, pytest.approx(row[column], rel=1e-6))])
        assert row["student"] in shown.table
    assert shown.series["run/computed"] == [(0, len(ran.records))]
    assert "tiny" in shown.name
    assert "generative" in shown.config
    assert shown.ok is not False


def test_nothing_that_is_written_holds_a_secret(ran: Ran) -> None:
    """A library that notes the environment, or a config that took it along; the user's rows' place in a config."""
    written = [
        p for p in ran.folder.rglob("*") if p.is_file() and "s" not in p.relative_to(ran.folder).parts[:1]
    ]
    assert len(written) > 2
    for path in written:
        for name, secret in SECRETS.items():
            assert secret.encode() not in path.read_bytes(), (path, name)
    assert str(ran.folder) not in ran.shown().config


# --- a run and its trackers


class Recording(Tracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.points: list[Point] = []
        self.ok: bool | None = None

    def start(self, name: str, config: dict[str, Any], folder: Path) -> None:
        self.calls.append("start")

    def log(self, points: Sequence[Point]) -> None:
        self.calls.append("log")
        self.points += points

    def table(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        self.calls.append("table")

    def finish(self, ok: bool) -> None:
        self.calls.append("finish")
        self.ok = ok


class Raising(Recording):
    """Raises in one of its methods."""

    def __init__(self, where: str, error: BaseException) -> None:
        super().__init__()
        self.where, self.error = where, error

    def __getattribute__(self, name: str) -> Any:
        if name == object.__getattribute__(self, "__dict__").get("where"):
            self.calls.append(name)
            raise self.error
        return super().__getattribute__(name)


@pytest.fixture
def tiny(tmp_path: Path, tiny_model: Tiny, rows: MakeRows) -> dict[str, Any]:
    return values(tmp_path, tiny_model, rows)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_model: Tiny, rows: MakeRows) -> list[dict[str, Any]]:
    """The cells of the tiny experiment without any tracker."""
    folder = tmp_path_factory.mktemp("plain")
    return weakstrong.run(values(folder, tiny_model, rows), store=folder / "s").cells


@pytest.mark.parametrize("error", [OSError("no space left"), SystemExit(3)], ids=["error", "exit"])
@pytest.mark.parametrize("where", ["start", "log", "table", "finish"])
def test_a_tracker_that_fails_is_left_out(
    where: str, error: BaseException, tiny: dict[str, Any], plain: list[dict[str, Any]], tmp_path: Path
) -> None:
    """A full disk under a tracker must cost neither a step nor another tracker's run, nor a warning for each step."""
    broken, other = Raising(where, error), Recording()
    with pytest.warns(RuntimeWarning) as said:
        results = weakstrong.run(tiny, store=tmp_path / "s", trackers=[broken, other])
    assert results.cells == plain
    assert len(said) == 1
    assert "Raising" in str(said[0].message)
    assert str(error) in str(said[0].message)
    assert broken.calls.count(where) == (2 if where == "finish" else 1)
    assert other.ok
    assert other.calls[0] == "start"
    assert other.calls[-2:] == ["table", "finish"]


def test_a_failure_holds_no_secret_and_stops_no_strict_run(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Libraries put keys and URLs into their messages; `python -W error` must not turn a tracker into a failed run."""
    monkeypatch.setenv("WANDB_API_KEY", SECRETS["WANDB_API_KEY"])
    words = f"key {SECRETS['WANDB_API_KEY']} refused by postgresql://me:hush-hush@host/db"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = weakstrong.run(tiny, store=tmp_path / "s", trackers=[Raising("log", OSError(words))])
    assert all(cell["status"] == "done" for cell in done.cells)
    said = capsys.readouterr().err
    assert "Raising is left out" in said
    assert SECRETS["WANDB_API_KEY"] not in said
    assert "hush-hush" not in said


class Slow(Recording):
    """Takes a while over everything."""

    def log(self, points: Sequence[Point]) -> None:
        time.sleep(8)


def test_a_slow_tracker_holds_neither_steps_nor_the_end(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracker without an answer (a dead server) called in line would stop the run for good."""
    monkeypatch.setattr(_feed, "PATIENCE_S", 0.5)
    started, done_at = time.monotonic(), []
    with pytest.warns(RuntimeWarning, match="Slow has not answered") as said:
        weakstrong.run(
            tiny, store=tmp_path / "s", trackers=[Slow()],
            listener=lambda event, *_: done_at.append(time.monotonic()) if event == "done" else None,
        )  # fmt: skip
    assert len(said) == 1
    assert len(done_at) > 10
    assert time.monotonic() - started < 8


def test_an_interrupted_run_is_closed_as_such(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Ctrl-C must leave no run that looks as if it went on, or as if it were whole."""
    tracker = Recording()

    def stop(event: str, *_: object) -> None:
        if event == "done":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weakstrong.run(tiny, store=tmp_path / "s", trackers=[tracker], listener=stop)
    assert tracker.ok is False
    assert "table" not in tracker.calls


def test_a_failed_step_makes_a_failed_run(tiny: dict[str, Any], tmp_path: Path) -> None:
    """A run with holes must not be shown as finished well."""
    tracker = Recording()
    weakstrong.run(
        tiny | {"student_training": FINETUNE | {"learning_rate": 1e36}},
        store=tmp_path / "s",
        trackers=[tracker],
    )
    assert tracker.ok is False
    assert Point("run/failed", 0, 1.0) in [p._replace(value=float(p.value > 0)) for p in tracker.points]


KILLED = """
import json, os, signal, sys
import weakstrong
from weakstrong.trackers import Tracker
class Killer(Tracker):
    def start(self, name, config, folder): pass
    def log(self, points):
        os.kill(os.getpid(), signal.SIGKILL)
    def table(self, name, rows): pass
    def finish(self, ok): pass
weakstrong.run(json.loads(sys.argv[1]), store=sys.argv[2], trackers=[Killer()])
"""


def test_a_process_killed_inside_a_tracker_leaves_a_sound_store(
    tiny: dict[str, Any], plain: list[dict[str, Any]], tmp_path: Path
) -> None:
    """A tracker that writes into the store, or holds a step open while it is told, would leave halves."""
    command = [sys.executable, "-c", KILLED, json.dumps(tiny), str(tmp_path / "s")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, timeout=240)
    assert done.returncode == -signal.SIGKILL
    store = Store(tmp_path / "s")
    kept = {key for name in store.names() for key in store.keys(name)}
    assert kept
    tracker = Recording()
    assert weakstrong.run(tiny, store=tmp_path / "s", trackers=[tracker]).cells == plain
    # What was stored before the kill is taken as it is, and not told again.
    told = {point.name.split("/")[1][-8:] for point in tracker.points if point.name.count("/") == 2}
    assert told
    assert not told & {key[:8] for key in kept}


# --- names, configs, what is not installed


@pytest.mark.parametrize("name", NAMES)
def test_a_tracker_that_is_not_installed_is_refused_first(
    name: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import error after hours, or one that does not say what to install."""
    monkeypatch.setitem(sys.modules, TRACKERS.get(name).modules[0], None)
    with pytest.raises(ConfigError, match=rf"pip install 'weakstrong\[{name}\]'"):
        weakstrong.run(tiny, store=tmp_path / "s", trackers=[name])
    assert not Store(tmp_path / "s").names()


def test_a_folder_is_no_installed_tracker(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb leaves a folder `wandb` where it ran; Python takes that for a package without files."""
    (tmp_path / "onlyfolder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    kind = type("Own", (Recording,), {"modules": ("onlyfolder",), "__module__": "own.onlyfolder"})
    TRACKERS.register(kind)
    try:
        with pytest.raises(ConfigError, match="onlyfolder is not installed"):
            weakstrong.run(tiny, store=tmp_path / "s", trackers=["onlyfolder"])
    finally:
        TRACKERS.forget("onlyfolder")


def test_an_unknown_tracker_is_named_with_close_ones(tiny: dict[str, Any], tmp_path: Path) -> None:
    """A typing error must not run for an hour untracked."""
    with pytest.raises(UnknownNameError, match="did you mean mlflow"):
        weakstrong.run(tiny, store=tmp_path / "s", trackers=["mlfow"])


def test_names_of_the_aggregate_are_unique_and_plain() -> None:
    """Two rows under one name give one line that jumps; characters that mlflow refuses lose a whole run."""
    row = {
        "task": "org/task",
        "supervisor": "a",
        "student": "b",
        "method": "x+y",
        "regime": "probe",
        "recipe": "1",
    }
    rows = [row | {"pgr": 0.1}, row | {"pgr": 0.2, "recipe": "2"}, row | {"pgr": 0.3, "method": "x_y"}]
    points = points_of_table([*rows, row | {"task": "..", "pgr": None}])
    assert sorted(p.value for p in points) == [0.1, 0.2, 0.3]
    assert len({p.name for p in points}) == 3
    assert all(name.count("/") == 6 and ".." not in name and "+" not in name for name, _, _ in points)


def test_a_config_holds_no_token_of_the_environment(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with a token goes to a server for all to see; a URL in quotation marks breaks the JSON, and the run."""
    monkeypatch.setenv("HF_TOKEN", SECRETS["HF_TOKEN"])
    config = config_of([Experiment.parse(tiny | {"name": f'"http://h/?q=1" {SECRETS["HF_TOKEN"]}'})])
    assert SECRETS["HF_TOKEN"] not in json.dumps(config)
    assert config["split"]["train_rows"] == 60
    several = config_of([Experiment.parse(tiny), Experiment.parse(tiny | {"name": "other"})])
    assert [one["name"] for one in several["experiments"]] == ["tiny run", "other"]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    """A tracker's thread that outlives its run keeps files open and writes into the next one."""
    import threading

    yield
    left = [t for t in threading.enumerate() if t.name.startswith("tracker ") and "Slow" not in t.name]
    assert not left
