"""Every data set task through a hub on 127.0.0.1 that serves hand-written records in the hub's own layout."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_mirror import COMMIT, HubMirror

from weakstrong.errors import DataError, OfflineError, SourceError
from weakstrong.tasks import TASKS, TaskRows, parse_task
from weakstrong.tasks._dataset import DatasetTask

RECORDS = Path(__file__).parent / "contracts" / "records"
NAMES = [name for name in TASKS.names() if issubclass(TASKS.get(name), DatasetTask)]
Records = Mapping[str, Sequence[Mapping[str, Any]]]
GROUPED = {
    "helpsteer2": (("prompt",), 2),
    "mc-taco": (("sentence", "question"), 1000),
    "multirc": (("paragraph", "question"), 1000),
}
"""Tasks whose records are answers: the fields that answers to one question share, and how many there are at most."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubMirror]:
    """An empty hub that this process uses, with empty caches."""
    hub = HubMirror(tmp_path / "served")
    hub.use(monkeypatch, tmp_path / "caches")
    yield hub
    hub.stop()


def dataset(name: str) -> DatasetTask:
    task = parse_task(name)
    assert isinstance(task, DatasetTask)
    return task


def written(name: str) -> Records:
    """The hand-written records of a task: a list for ``train``, one for ``test``."""
    found: Records = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def encode(path: str, records: Sequence[Mapping[str, Any]]) -> bytes:
    """A file of records, in the format that its name asks for."""
    out = io.BytesIO()
    if path.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist([dict(r) for r in records]), out)
        return out.getvalue()
    if path.removesuffix(".gz").endswith((".jsonl", ".json")):
        text = "".join(json.dumps(r) + "\n" for r in records).encode()
        return gzip.compress(text) if path.endswith(".gz") else text
    raise AssertionError(f"no test writes {path}; add its format here")


def layout(task: DatasetTask, records: Records) -> dict[str, bytes]:
    """The data files that the patterns of the task name, in two pieces each where a pattern allows it."""
    files = {}
    for origin, pattern in task.hub_files().items():
        rows = records[origin]
        pieces = 2 if "*" in pattern and len(rows) > 1 else 1
        for i in range(pieces):
            path = pattern.replace("*", f"{i:05}-of-{pieces:05}")
            files[path] = encode(path, rows[i * len(rows) // pieces : (i + 1) * len(rows) // pieces])
    return files


def publish(mirror: HubMirror, task: DatasetTask, records: Records) -> tuple[str, set[str]]:
    """Put a task's records where it looks for them, beside what it has to leave alone; commit and data files."""
    files = layout(task, records)
    strangers = {
        f"{task.hub.repo.split('/')[1]}.py": b"raise SystemExit('a loading script was run')\n",
        "README.md": b"# A data set\n",
        "elsewhere/unlabelled-00000-of-00001.parquet": b"not asked for",
    }
    return mirror.publish(task.hub.repo, task.hub.revision, files | strangers), set(files)


def words(text: str | None) -> str:
    return " ".join((text or "").split())


def rows_of(rows: TaskRows) -> list[tuple[str, str, int, str]]:
    table = rows.table
    others = table["other"].to_pylist() if "other" in table.column_names else [None] * len(table)
    columns = (table["text"].to_pylist(), others, table["label"].to_pylist(), table["origin"].to_pylist())
    return [
        (words(text), words(other), label, origin)
        for text, other, label, origin in zip(*columns, strict=True)
    ]


def as_items_wants(name: str, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records, those of one question as one with ``answers``."""
    if name not in GROUPED:
        return [dict(record) for record in records]
    fields, most = GROUPED[name]
    runs = [list(run) for _, run in groupby(records, lambda record: [record.get(f) for f in fields])]
    questions = [run[i : i + most] for run in runs for i in range(0, len(run), most)]
    return [{**question[0], "answers": [dict(answer) for answer in question]} for question in questions]


def rows_without_hub(task: DatasetTask, records: Records) -> list[tuple[str, str, int, str]]:
    """What the records say, through `items` alone."""
    found: dict[tuple[str, str], tuple[str, str, int, str]] = {}
    for origin in ("train", "test"):
        for record in as_items_wants(task.name, records[origin]) if origin in task.hub_files() else ():
            for item in task.items(record):
                row = (words(item.text), words(item.other), item.label, origin)
                if row[0] != row[1]:
                    found.setdefault(row[:2], row)
    return list(found.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_hub_gives_the_rows_of_its_records_once(
    name: str, mirror: HubMirror, monkeypatch: pytest.MonkeyPatch, no_network: Any
) -> None:
    """Bugs: a pattern names no file of the layout, fields change their types on the way, a loading script or another
    part is fetched, the commit of a branch is not noted, or the second load asks the hub again."""
    task, records = dataset(name), written(name)
    commit, files = publish(mirror, task, records)
    assert not task.cached()
    rows = task.load()
    assert rows_of(rows) == rows_without_hub(task, records)
    assert mirror.files_asked_for() == files
    assert f"hub {task.hub.repo}@{commit[:12]}" in rows.notes

    count = len(mirror.requests)
    mirror.stop()
    no_network()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert task.cached()
    again = task.load()
    assert again.table.equals(rows.table)
    assert again.notes == rows.notes
    assert len(mirror.requests) == count


def without(column: str, records: Records) -> Records:
    return {
        origin: [{field: value for field, value in record.items() if field != column} for record in rows]
        for origin, rows in records.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_column_is_named(name: str, mirror: HubMirror) -> None:
    """Bug: a column that the hub renamed gives a bare KeyError, or rows without that text."""
    task, records = dataset(name), written(name)
    part = next(iter(task.hub_files()))
    needed = []
    for column in records[part][0]:
        try:
            for record in as_items_wants(name, without(column, records)[part]):
                list(task.items(record))
        except KeyError as error:
            needed.append((column, error.args[0]))
    assert needed, f"{name} makes rows from any record, whatever its columns"
    assert all(column == named for column, named in needed)
    column = needed[0][0]
    short = without(column, records)
    publish(mirror, task, short)
    with pytest.raises(DataError, match=rf"{name}: .*'{column}'"):
        task.load()


def two_parts() -> tuple[DatasetTask, Records]:
    """A task with a file for either part."""
    return dataset("boolq"), written("boolq")


def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library tries again five times and waits for seconds before each."""
    for module in ("huggingface_hub.file_download", "huggingface_hub.utils._http"):
        clock = types.SimpleNamespace(sleep=lambda _: None, time=time.time, perf_counter=time.perf_counter)
        monkeypatch.setattr(importlib.import_module(module), "time", clock)


def test_what_the_hub_does_not_have_is_named(mirror: HubMirror) -> None:
    """Bug: a wrong name, revision or layout ends in an error of the library, or in no rows at all."""
    task, records = two_parts()
    with pytest.raises(SourceError, match=rf"{task.hub.repo}@(.|\n)*Check the name, the revision"):
        task.load()
    publish(mirror, task, records)
    for revision in ("0" * 40, "no-such-branch"):
        other = task.model_copy(update={"revision": revision})
        with pytest.raises(SourceError, match=f"{task.hub.repo}@{revision}"):
            other.load()
        assert not other.cached()


def test_a_part_that_the_hub_does_not_have_is_named(mirror: HubMirror) -> None:
    """Bug: a data set whose files moved gives training rows only, and its test part is cut from those."""
    task, records = two_parts()
    train, test = task.hub_files()["train"], task.hub_files()["test"]
    files = {
        path: data for path, data in layout(task, records).items() if not path.startswith(test.split("*")[0])
    }
    assert files
    assert all(path.startswith(train.split("*")[0]) for path in files)
    mirror.publish(task.hub.repo, task.hub.revision, files)
    for _ in range(2):
        with pytest.raises(DataError, match=rf"{task.hub.repo}@.* has no files {test.split('*')[0]}"):
            task.load()


def test_a_listed_file_that_is_not_there_is_an_error_each_time(mirror: HubMirror) -> None:
    """Bug: the snapshot counts as whole although one of its files could not be had."""
    task, records = two_parts()
    _, files = publish(mirror, task, records)
    mirror.gone = {max(files)}
    for _ in range(2):
        with pytest.raises(SourceError, match=f"{task.hub.repo}@"):
            task.load()
        assert not task.cached()


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_out_of_reach_is_named(
    mirror: HubMirror, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    """Bug: without a network the user sees a connection error that names no data set and no way on."""
    task, records = two_parts()
    publish(mirror, task, records)
    mirror.stop()
    retry_at_once(monkeypatch)
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError, match=rf"{task.hub.repo}@.*copy the cache"):
        task.load()
    assert mirror.requests == []


@pytest.mark.parametrize("revision", ["1" * 40, "main", "refs/convert/parquet"])
def test_a_download_cut_short_leaves_nothing_that_counts_as_whole(
    mirror: HubMirror, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    """Bug: half a file, or one part of two, is taken for the data set by the next load."""
    retry_at_once(monkeypatch)
    task, records = two_parts()
    task = task.model_copy(update={"revision": revision})
    files = layout(task, records)
    mirror.publish(task.hub.repo, revision, files)
    mirror.cut = {max(files)}
    with pytest.raises(SourceError, match=f"{task.hub.repo}@{revision}"):
        task.load()
    assert not task.cached()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError, match=f"{task.hub.repo}@{revision}"):
        task.load()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    mirror.cut = set()
    assert rows_of(task.load()) == rows_without_hub(task, records)
    assert task.cached()


def test_a_branch_stays_at_the_commit_that_was_loaded(mirror: HubMirror) -> None:
    """Bug: a branch that moved gives other rows under the same revision in the middle of an experiment."""
    task, records = two_parts()
    task = task.model_copy(update={"revision": "main"})
    old = mirror.publish(task.hub.repo, "main", layout(task, records))
    rows = task.load()
    fewer = {"train": records["train"][:2], "test": records["test"]}
    new = mirror.publish(task.hub.repo, "main", layout(task, fewer))
    assert COMMIT.fullmatch(new)
    assert new != old
    again = task.load()
    assert again.table.equals(rows.table)
    assert f"hub {task.hub.repo}@{old[:12]}" in again.notes


def test_the_library_finds_the_hub_by_its_environment(mirror: HubMirror, tmp_path: Path) -> None:
    """Bug: only a process whose settings were changed by hand finds another endpoint, or works offline later."""
    task, records = two_parts()
    publish(mirror, task, records)
    code = "from weakstrong.tasks import parse_task; print(len(parse_task('boolq').load().table))"
    environment = mirror.environment(tmp_path / "child")
    counts = []
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment | more, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        counts.append(int(done.stdout))
        mirror.stop()
    assert counts == [len(rows_without_hub(task, records))] * 2
    assert not os.path.exists(tmp_path / "caches" / "hub")
