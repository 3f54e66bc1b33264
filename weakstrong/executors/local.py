"""Run steps in this process, in waves, building steps of one group together."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from weakstrong.errors import StoreError, WeakStrongError
from weakstrong.graph import closure
from weakstrong.store import Job, Step, Store, explain_os_error, store_failure
from weakstrong.training.spec import Runtime

PACKAGES = ("weakstrong", "torch", "transformers", "accelerate", "numpy")
GROUP_LIMIT = 256
POLL_SECONDS = 0.2

Event = Literal["cached", "started", "progress", "done", "failed", "skipped", "waiting"]


@dataclass
class RunReport:
    """What a run did: counts of steps, and the error of each step that failed, by key."""

    computed: int = 0
    cached: int = 0
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)


Listener = Callable[[Event, Sequence[Step], str, float], None]


def provenance(seconds: float) -> dict[str, Any]:
    """Where and with what a result was made; no names of users, hosts or paths."""
    versions = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "seconds": round(seconds, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "versions": versions,
    }


def run_steps(
    targets: Sequence[Step], store: Store, runtime: Runtime | None = None, listener: Listener | None = None
) -> RunReport:
    """Compute what ``targets`` need and is not stored; a step whose result exists is not looked behind.

    A step that fails stops only what depends on it. Steps that another process is building are waited for.

    Raises:
        StoreError: if the store itself fails (no space, not writable, a result of another recipe).
        KeyboardInterrupt: after removing unfinished results; what is finished stays.
    """
    runtime, started = runtime or Runtime(), time.monotonic()
    tell: Listener = listener or (lambda *_: None)
    report = RunReport()
    needed, done = _missing(targets, store)
    report.cached = len(done)
    tell("cached", list(done.values()), "", 0.0)
    pending = {step.key: step for step in needed}
    ready_keys = set(done)
    while pending:
        for step in [
            s
            for s in pending.values()
            if any(d.key in report.failed or d.key in report.skipped for d in s.inputs.values())
        ]:
            report.skipped.add(step.key)
            tell("skipped", [pending.pop(step.key)], "", 0.0)
        ready = [s for s in pending.values() if all(d.key in ready_keys for d in s.inputs.values())]
        if not ready:
            continue
        built = False
        for group in _groups(ready):
            finished = _build_group(group, store, runtime, tell, report)
            for step in finished:
                pending.pop(step.key, None)
                if step.key not in report.failed:
                    ready_keys.add(step.key)
            if finished:
                built = True
                break
        if not built:
            tell("waiting", ready, "another process is building the next steps", 0.0)
            time.sleep(POLL_SECONDS)
    report.seconds = time.monotonic() - started
    return report


def _missing(targets: Sequence[Step], store: Store) -> tuple[list[Step], dict[str, Step]]:
    """Steps to compute, dependencies first, and stored steps they (or the caller) read."""
    done: dict[str, Step] = {}
    needed: dict[str, Step] = {}
    stack = list(targets)
    while stack:
        step = stack.pop()
        if step.key in done or step.key in needed:
            continue
        if store.has(step):
            store.record(step)
            done[step.key] = step
        else:
            needed[step.key] = step
            stack.extend(step.inputs.values())
    return [s for s in closure(list(targets)) if s.key in needed], done


def _groups(ready: Iterable[Step]) -> list[list[Step]]:
    groups: dict[str, list[Step]] = {}
    for step in ready:
        groups.setdefault(f"{step.builder} {step.group}" if step.group else step.key, []).append(step)
    # Steps on their own first: the longer a group waits, the more steps are built together.
    waiting = sorted(groups.values(), key=lambda g: bool(g[0].group))
    return [g[i : i + GROUP_LIMIT] for g in waiting for i in range(0, len(g), GROUP_LIMIT)]


def _build_group(
    group: list[Step], store: Store, runtime: Runtime, tell: Listener, report: RunReport
) -> list[Step]:
    """Build what no other process holds; returns steps that are stored or failed now."""
    finished: list[Step] = []
    with ExitStack() as stack:
        mine: list[Job] = []
        for step in group:
            lock = store.try_lock(step)
            if lock is None:
                continue
            stack.callback(store.release, step, lock)
            if store.has(step):
                store.record(step)
                finished.append(step)
                report.cached += 1
                tell("cached", [step], "", 0.0)
            else:
                mine.append(stack.enter_context(store.job(step)))
        if not mine:
            return finished
        steps = [job.step for job in mine]
        tell("started", steps, "", 0.0)
        listening = replace(
            runtime,
            progress=lambda done, total, words: tell(
                "progress", steps, words, done / total if total else 1.0
            ),
        )
        started = time.monotonic()
        try:
            steps[0].build_function()(mine, listening)
        except StoreError:
            raise
        except Exception as error:  # one broken step must not lose the others
            broken = store_failure(error, store)
            if broken is not None:
                raise broken from error
            _fail_all(mine, error)
        seconds = (time.monotonic() - started) / len(mine)
        for job in mine:
            if job.error is None:
                try:
                    store.commit(job, provenance(seconds))
                except (TypeError, ValueError) as error:  # a summary that is no JSON
                    job.error = error
            if job.error is None:
                report.computed += 1
                _forget_failure(store, job.step)
                tell("done", [job.step], "", seconds)
            else:
                report.failed[job.step.key] = _words(job.error)
                _note_failure(store, job.step, job.error)
                tell("failed", [job.step], report.failed[job.step.key], seconds)
            finished.append(job.step)
    return finished


def _fail_all(jobs: Sequence[Job], error: Exception) -> None:
    for job in jobs:
        job.error = error


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, WeakStrongError) else f"{type(error).__name__}: {error}"


def _note_failure(store: Store, step: Step, error: Exception) -> None:
    folder = store.work / ".failed"
    note = {
        "step": step.name,
        "key": step.key,
        "title": step.title,
        "error": _words(error),
        "when": time.time(),
    }
    try:
        folder.mkdir(exist_ok=True)
        (folder / f"{step.key}.json").write_text(json.dumps(note, ensure_ascii=False))
        if not isinstance(error, WeakStrongError):
            (folder / f"{step.key}.txt").write_text("".join(traceback.format_exception(error)))
    except OSError as failed:
        raise explain_os_error(failed, store.url) from failed


def _forget_failure(store: Store, step: Step) -> None:
    for ending in ("json", "txt"):
        (store.work / ".failed" / f"{step.key}.{ending}").unlink(missing_ok=True)


def failure(store: Store, step: Step) -> str | None:
    """The words of the last failure of ``step``, or None."""
    path = store.work / ".failed" / f"{step.key}.json"
    return json.loads(path.read_text())["error"] if path.exists() else None
