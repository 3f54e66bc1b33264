"""The care of a store: what it holds, and whether it is whole."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from weakstrong.errors import CorruptResultError
from weakstrong.store import Store
from weakstrong.store_records import RECORD, files_of, is_sealed

THREADS = 8


@dataclass(frozen=True)
class Kind:
    """All results of one kind of step: how many, their bytes, and when the newest was written (0 if unknown)."""

    name: str
    results: int
    bytes: int
    newest: float


def kinds(store: Store) -> list[Kind]:
    """What a store holds, from listings alone."""
    found = []
    for name in store.names():
        home = f"{store.root}/{name}/"
        files = store.place.files(home.rstrip("/"))
        records = [f for path, f in files.items() if path.partition(home)[2].split("/")[1:] == [RECORD]]
        size, newest = sum(file.bytes for file in files.values()), max((r.when for r in records), default=0.0)
        found.append(Kind(name, len(records), size, newest))
    return found


@dataclass(frozen=True)
class Verdict:
    """Whether one result is what its record says; an ``unsealed`` record carries no digest of itself (older)."""

    name: str
    key: str
    state: Literal["whole", "unsealed", "damaged"]
    words: str = ""
    bytes: int = 0


def verify(store: Store, progress: Callable[[int, int], object] = lambda *_: None) -> list[Verdict]:
    """Read every record and every file of a store and compare digests; ``progress(done, total)`` after each result.

    Raises:
        StoreError: if the store does not answer.
    """
    results = [(name, key) for name in store.names() for key in sorted(store.keys(name))]
    verdicts = []
    with ThreadPoolExecutor(THREADS) as pool:
        for verdict in pool.map(lambda result: _verdict(store, *result), results):
            verdicts.append(verdict)
            progress(len(verdicts), len(results))
    return verdicts


def _verdict(store: Store, name: str, key: str) -> Verdict:
    try:
        record = store.read_record(name, key)
    except CorruptResultError as error:
        return Verdict(name, key, "damaged", str(error))
    damage, size = store.damage(name, key), sum(entry.size for entry in files_of(record).values())
    if damage:
        return Verdict(name, key, "damaged", damage, size)
    return Verdict(name, key, "whole" if is_sealed(record) else "unsealed", "", size)
