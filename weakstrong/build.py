"""Build steps in this process: lock, open inputs, call the builder, commit; what every executor runs in the end."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from weakstrong.errors import CorruptResultError, StoreError
from weakstrong.notes import Pulse, note_failure, words_of
from weakstrong.store import Job, Step, Store, store_failure
from weakstrong.training.spec import Runtime
from weakstrong.work import Outcome

PACKAGES = ("weakstrong", "torch", "transformers", "accelerate", "numpy")


def provenance(seconds: float) -> dict[str, Any]:
    """Where and with what a result was made; no names of users, hosts or paths."""
    return {
        "seconds": round(seconds, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "versions": dict(_versions()),
    }


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Looking versions up costs milliseconds, more than a small step."""
    found = []
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found.append((package, version(package)))
    return tuple(found)


def build(
    steps: Sequence[Step],
    store: Store,
    runtime: Runtime,
    log: str = "",
    share: Callable[[list[str]], list[str]] = lambda keys: keys,
) -> list[Outcome]:
    """Build those of ``steps`` that are neither stored nor held by another process; one outcome each.

    Args:
        log: where this process writes what it prints; named in notes.
        share: tells the other processes of a team which keys are built (`weakstrong.worker`).

    Raises:
        StoreError: if the store itself fails (no space, not writable, a result of another recipe).
        KeyboardInterrupt: after removing unfinished results.
    """
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        mine: list[Job] = []
        for step in steps:
            lock = store.try_lock(step)
            if lock is None:
                outcomes.append(Outcome(step.key, "busy"))
                continue
            stack.callback(store.release, step, lock)
            if store.has(step):
                store.record(step)
                outcomes.append(Outcome(step.key, "cached"))
                continue
            try:
                mine.append(stack.enter_context(store.job(step)))
            except CorruptResultError as error:
                outcomes.append(Outcome(step.key, "damaged", str(error), damaged=(error.name, error.key)))
        share([job.step.key for job in mine])
        if mine:
            outcomes += _built(mine, store, runtime, log)
    return outcomes


def _built(mine: list[Job], store: Store, runtime: Runtime, log: str) -> list[Outcome]:
    started = time.monotonic()
    with Pulse(store, [job.step for job in mine], log) as pulse:

        def progress(done: float, total: float, words: str) -> None:
            pulse.share, pulse.words = (done / total if total else 1.0), words
            if runtime.progress is not None:
                runtime.progress(done, total, words)

        scratch = {job.scratch: job.step for job in mine}
        kept = None if store.is_local else lambda folder: store.keep_scratch(scratch[folder])
        call(mine, store, replace(runtime, progress=progress, kept=kept))
    seconds = (time.monotonic() - started) / len(mine)
    made, outcomes = provenance(seconds), []
    for job in mine:
        if job.error is None:
            try:
                store.commit(job, made)
            except (TypeError, ValueError) as error:  # a summary that is no JSON
                job.error = error
        if job.error is None:
            store.remove_note("failed", job.step.key)
            outcomes.append(Outcome(job.step.key, "done", seconds=seconds))
        else:
            note_failure(store, job.step, job.error, log)
            outcomes.append(Outcome(job.step.key, "failed", words_of(job.error), seconds))
    return outcomes


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Give torch so many threads for a while; the next step of this process may want another number."""
    if count is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def call(jobs: Sequence[Job], store: Store, runtime: Runtime) -> None:
    """Call the builder; an error of it is every job's, unless it is the store's own.

    Raises:
        StoreError: if the store failed.
    """
    try:
        with _threads(runtime.threads):
            jobs[0].step.build_function()(jobs, runtime)
    except StoreError:
        raise
    except Exception as error:  # one broken step must not lose the others
        broken = store_failure(error, store)
        if broken is not None:
            raise broken from error
        for job in jobs:
            job.error = error
