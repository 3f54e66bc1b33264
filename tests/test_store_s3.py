"""What can go wrong with a store on a real S3 server, and its cache on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from s3_server import Server, forget_clients, s3_process
from store_cases import ROOT, build, end, heard, start, step, stored

from weakstrong.errors import ConfigError, CorruptResultError, StoreError
from weakstrong.store import Store

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def bucket(server: Server) -> str:
    return f"s3://{server.bucket()}/pre/fix"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One try for each request, so that a server that is gone is told in a moment."""
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """From here on this process is another machine: its cache and its work folder are empty."""
    monkeypatch.setenv("WEAKSTRONG_CACHE", str(tmp_path / name))


def test_a_process_killed_while_it_uploads_leaves_nothing_visible(bucket: str) -> None:
    """kill -9 between the files and the record: half a result served, or its place blocked."""
    code = """
from weakstrong.store_place import Place
put = Place.put
def slow(self, files):
    for number, (path, target) in enumerate(files.items()):
        put(self, {path: target})
        say(number)
        time.sleep(0.2)
Place.put = slow
build(store, step(1), *"abcdefgh")
"""
    for files in (1, 4, 8):
        process = start(code, bucket)
        for number in range(files):
            assert heard(process) == str(number)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        store = Store(bucket)
        assert len(stored(store)) >= files
        assert not store.has(step(1))
        assert store.keys("number") == set()
    build(store, step(1), None, a="whole")
    folder = Store(bucket).open(step(1))
    assert sorted(p.name for p in folder.iterdir()) == ["a", "record.json"]
    assert (folder / "a").read_text() == "whole"


def test_a_second_process_reads_from_the_cache_and_is_not_fooled_by_it(
    bucket: str, server: Server, tmp_path: Path
) -> None:
    """A cache that is fetched again, or one whose damaged file becomes a number."""
    store, text = Store(bucket), uuid4().hex
    build(store, step(1), None, a=text, b="b" + text)
    code = "say((store.open(step(1)) / 'a').read_text())"
    assert end(start(code, bucket)) == [text]
    for path in store.fs.find(f"{store.root}/number"):
        if not path.endswith("record.json"):
            store.fs.mv(path, f"{path}.away")
    assert end(start(code, bucket)) == [text]  # its files come from the cache, for the store has none
    blobs = [p for p in (tmp_path / "cache" / "store" / "blobs").rglob("*") if p.is_file()]
    assert len(blobs) == 2
    for blob in blobs:
        blob.chmod(0o644)
        blob.write_bytes(b"y" * blob.stat().st_size)
    failed = start(code, bucket)
    assert "CorruptResultError" in failed.communicate()[1]
    for path in store.fs.find(f"{store.root}/number"):
        if path.endswith(".away"):
            store.fs.mv(path, path.removesuffix(".away"))
    assert end(start(code, bucket)) == [text]


def blobs_of(tmp_path: Path) -> int:
    """Bytes in the cache."""
    return sum(p.stat().st_size for p in (tmp_path / "cache" / "store" / "blobs").rglob("*") if p.is_file())


def test_the_cache_keeps_its_bound_and_what_is_in_use(bucket: str, tmp_path: Path) -> None:
    """A disk that fills up over the weeks, or a file that is evicted under the hands of who reads it."""
    url = bucket
    code = """
for value in range(int(sys.argv[2]), int(sys.argv[3])):
    build(store, step(value), f"{value:03}" * 1000)
"""
    end(start(code, url, 0, 10, WEAKSTRONG_CACHE_BYTES="10000"))
    holding = start(
        "folders = [store.open(step(v)) for v in (0, 1)]; say('open'); sys.stdin.readline()\n"
        "say([(f / 'part0').read_text() == f'{v:03}' * 1000 for v, f in enumerate(folders)])",
        url, WEAKSTRONG_CACHE_BYTES="10000",
    )  # fmt: skip
    assert heard(holding) == "open"
    assert blobs_of(tmp_path) == 6000
    code = """
import threading
def read(values):
    for value in values:
        assert (store.open(step(value)) / "part0").read_text() == f"{value:03}" * 1000
threads = [threading.Thread(target=read, args=([2 + n, 4 + n, 6 + n],)) for n in range(2)]
[t.start() for t in threads]; [t.join() for t in threads]
say(len(store._opened))
"""
    readers = [start(code, url, WEAKSTRONG_CACHE_BYTES="10000") for _ in range(2)]
    assert [end(reader) for reader in readers] == [["6"], ["6"]]
    assert blobs_of(tmp_path) <= 10000 + 3000  # two that fetch at the same moment may both find room for one
    assert holding.stdin is not None
    holding.stdin.write("\n")
    holding.stdin.flush()
    assert end(holding) == ["[True, True]"]
    # Nobody holds anything now, though one was killed while it did: the next who needs room gets all of it.
    killed = start("store.open(step(0)); say('open'); time.sleep(60)", url, WEAKSTRONG_CACHE_BYTES="10000")
    assert heard(killed) == "open"
    killed.kill()
    killed.communicate()
    store = Store(url, cache_bytes=3000)
    store.open(step(9))
    assert blobs_of(tmp_path) == 3000
    assert (Store(url, cache_bytes=0).open(step(8)) / "part0").read_text() == "008" * 1000
    assert blobs_of(tmp_path) <= 3000
    views = tmp_path.glob("cache/store/places/*/.views/*")
    assert len(list(views)) == 1  # this process's own


def test_a_spot_machine_s_successor_goes_on_from_the_kept_checkpoint(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine that vanishes with hours of training; a checkpoint that is uploaded in halves and believed."""
    code = """
with store.job(step(1)) as job:
    job.scratch.mkdir(parents=True)
    for n in (1, 2, 3):
        (job.scratch / "state").write_text(f"state {n}")
        (job.scratch / "deep").mkdir(exist_ok=True)
        (job.scratch / "deep" / "best").write_text(f"best {n}")
        store.keep_scratch(step(1))
    from weakstrong.store_place import Place
    put = Place.put
    def half(self, files):
        put(self, dict(list(files.items())[:1]))
        say("half")
        time.sleep(60)
    Place.put = half
    (job.scratch / "state").write_text("state 4")
    store.keep_scratch(step(1))
"""
    process = start(code, bucket, WEAKSTRONG_CACHE=str(tmp_path / "spot"))
    assert heard(process) == "half"
    process.kill()
    process.communicate()
    store = Store(bucket)
    with store.job(step(1)) as job:
        texts = {p.name: p.read_text() for p in job.scratch.rglob("*") if p.is_file()}
        assert texts == {"state": "state 3", "best": "best 3"}
        store.commit(job, {})
    assert stored(store, ".scratch") == []
    with Store(bucket).job(step(2)) as job:
        job.scratch.mkdir(parents=True)
        (job.scratch / "state").write_text("good")
        Store(bucket).keep_scratch(step(2))
    change_scratch = [p for p in store.fs.find(f"{store.root}/.scratch") if p.endswith("/state")]
    store.fs.pipe_file(change_scratch[0], b"evil")
    elsewhere(monkeypatch, tmp_path, "third")
    with pytest.warns(UserWarning, match="damaged; that step starts anew"), Store(bucket).job(step(2)) as job:
        assert not job.scratch.exists()


@pytest.mark.usefixtures("quick")
def test_a_server_that_goes_away_is_told_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A traceback of botocore, a step computed anew because no answer was taken for a no, or a lost result."""
    with pytest.MonkeyPatch.context() as patch, s3_process(patch) as server:
        bucket = f"s3://{server.bucket()}/x"
        store = Store(bucket)
        build(store, step(1), None, a="one")
        folder = store.open(step(1))
        with store.job(step(2)) as job:
            (job.out / "a").write_text("two")
            server.stop()
            asked: list[Callable[[], object]] = [
                lambda: store.commit(job, {}),
                lambda: store.has(step(1)),
                lambda: store.keys("number"),
                lambda: store.names(),
                lambda: store.record(step(1)),
                lambda: store.try_lock(step(3)),
                lambda: store.write_note("failed", "x", {}),
                lambda: store.read_notes("failed"),
                lambda: store.set_aside("number", step(1).key, ""),
                lambda: Store(bucket),
            ]
            for ask in asked:
                with pytest.raises(
                    StoreError, match=f"no connection to the store {bucket}.*run again"
                ) as caught:
                    ask()
                assert not isinstance(caught.value, CorruptResultError)
            assert (job.out / "a").read_text() == "two"
        assert (store.open(step(1)) / "a").read_text() == (folder / "a").read_text() == "one"


@pytest.mark.usefixtures("quick")
def test_a_server_that_goes_away_in_the_middle_of_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a result after the server is back, or a commit that is said to have worked."""
    with pytest.MonkeyPatch.context() as patch, s3_process(patch) as server:
        store = Store(f"s3://{server.bucket()}/x")
        create = store.place.create

        def gone(path: str, data: bytes) -> bool:
            server.stop()
            return create(path, data)

        monkeypatch.setattr(store.place, "create", gone)
        with store.job(step(1)) as job:
            (job.out / "a").write_text("two")
            with pytest.raises(StoreError, match="no connection"):
                store.commit(job, {})


def test_wrong_buckets_keys_and_rights_are_said_in_words(
    server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typing error in a bucket's name that makes a bucket, or a traceback where one sentence helps."""
    build(Store(bucket), step(1))
    with pytest.raises(StoreError, match=r"s3://no-such-bucket-here/x: no such bucket; make it first"):
        Store("s3://no-such-bucket-here/x")
    names = {b["Name"] for b in server.client().list_buckets()["Buckets"]}
    assert "no-such-bucket-here" not in names
    with (
        server.checking_rights(),
        pytest.raises(StoreError, match=r"access denied by the store s3://.*--store"),
    ):
        Store(bucket)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget_clients()
    with pytest.raises(StoreError, match=r"no credentials for the store s3://.*AWS_ACCESS_KEY_ID"):
        Store(bucket)
    forget_clients()


def test_a_bucket_that_may_only_be_read_is_read_and_refuses_in_words(
    server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Published results that cannot be read without the right to write; a write that fails in a traceback."""
    build(Store(bucket), step(1), None, a="public")
    elsewhere(monkeypatch, tmp_path, "reader")
    for name, value in server.reader().items():
        monkeypatch.setenv(name, value)
    forget_clients()
    with server.checking_rights():
        store = Store(bucket)
        assert (store.open(step(1)) / "a").read_text() == "public"
        assert store.keys("number") == {step(1).key}
        assert store.read_notes("failed") == {}
        for write in (
            lambda: build(store, step(2)),
            lambda: store.try_lock(step(2)),
            lambda: store.write_note("failed", "x", {}),
        ):
            with pytest.raises(StoreError, match="access denied by the store"):
                write()
        assert not store.has(step(2))
    forget_clients()


def test_a_url_with_credentials_is_refused_without_showing_them() -> None:
    """Passwords in logs, notes and on the page."""
    for url in (
        "s3://AKIAPLANTED:planted-secret@bucket/x",
        "s3://AKIAPLANTED@bucket",
        "ftp://me:planted-secret@host/x",
    ):
        with pytest.raises(ConfigError, match="holds a password or key") as caught:
            Store(url)
        assert "planted" not in str(caught.value).lower()


def test_secrets_of_the_environment_are_not_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that puts the keys it used into its message."""
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    store = Store(f"memory://{uuid4().hex}")

    def leak(*_: object, **__: object) -> None:
        raise RuntimeError(f"https://me:{secret}@host/x?sig={secret} refused {secret}")

    monkeypatch.setattr(store.fs, "info", leak, raising=False)
    with pytest.raises(StoreError, match="refused") as caught:
        store.has(step(1))
    assert secret not in str(caught.value)


def test_what_a_url_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ImportError of fsspec where one command helps."""
    with pytest.raises(ConfigError, match="wanted a folder or a URL such as s3://bucket/prefix"):
        Store("nosuch://bucket/x")
    with pytest.raises(ConfigError, match="reads as a pattern"):
        Store("memory://run[1]/x")
    code = (
        "import sys; sys.modules['s3fs'] = None\nfrom weakstrong.store import Store\nStore('s3://bucket/x')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert "ConfigError" in done.stderr
    assert "pip install weakstrong[s3]" in done.stderr
