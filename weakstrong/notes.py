"""Notes that a run leaves in its store for `w2s status`: what is being built and where, and what failed and why.

They name hosts and processes, so they are no part of a result; a running note goes when its step ends.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from weakstrong.errors import StoreError, WeakStrongError
from weakstrong.redact import without_secrets
from weakstrong.store import Step, Store

FIRST_BEAT, BEAT = 1.0, 5.0
"""Seconds until a step is noted as running (most are over sooner), and between updates."""


def words_of(error: Exception) -> str:
    """An error in one text; the class names itself unless the error was raised on purpose."""
    return without_secrets(
        str(error) if isinstance(error, WeakStrongError) else f"{type(error).__name__}: {error}"
    )


def note_failure(store: Store, step: Step, error: Exception, log: str = "") -> None:
    """Keep why ``step`` failed, with the traceback of an error that was not raised on purpose."""
    values = {"step": step.name, "key": step.key, "title": step.title, "error": words_of(error)}
    if not isinstance(error, WeakStrongError):
        values["traceback"] = without_secrets("".join(traceback.format_exception(error)))
    store.write_note("failed", step.key, values | where() | {"when": time.time(), "log": log})


def failure(store: Store, step: Step) -> str | None:
    """The words of the last failure of ``step``, or None."""
    return failures(store).get(step.key, {}).get("error")


def failures(store: Store) -> dict[str, dict[str, Any]]:
    """Notes on failed steps by key: ``title``, ``error``, ``host``, ``when`` (seconds since 1970), ``log``."""
    return store.read_notes("failed")


def running(store: Store) -> list[dict[str, Any]]:
    """Notes on steps that are being built, oldest first: ``title``, ``host``, ``pid``, ``started``, ``heard``, ``share``, …

    A process that died is here until `clear_dead`; of one on another machine, in a store on object storage, nobody knows,
    and ``heard`` says when it last wrote.
    """
    return sorted(store.read_notes("running").values(), key=lambda note: float(note["started"]))


def clear_dead(store: Store) -> list[dict[str, Any]]:
    """Remove notes on steps that nobody builds, whose processes died without a word; returns them, oldest first."""
    suspects = {n["key"]: n["beats"] for n in running(store) if not store.is_building(n["key"])}
    # What has ended in order since then took its note along.
    dead = [n for n in running(store) if suspects.get(n["key"]) == n["beats"]] if suspects else []
    for note in dead:
        with contextlib.suppress(StoreError):  # it only tells people
            store.remove_note("running", note["key"])
    return dead


def where() -> dict[str, Any]:
    """This process: ``host`` and ``pid``."""
    return {"host": platform.node(), "pid": os.getpid()}


class Pulse:
    """Notes in the store that ``steps`` are being built here, from a second after the start until the end.

    Attributes:
        share, words: how far the work is, in [0, 1], and in words; written with the next beat.
    """

    def __init__(self, store: Store, steps: Sequence[Step], log: str = "") -> None:
        self.share, self.words = 0.0, ""
        self._store, self._steps, self._log = store, steps, log
        self._started, self._over = time.time(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        beats, pause, name = 0, FIRST_BEAT, self._steps[0].key
        while not self._over.wait(pause):
            beats, pause = beats + 1, BEAT
            self._note(name, beats)
        if beats:
            self._store.remove_note("running", name)

    def _note(self, name: str, beats: int) -> None:
        first = self._steps[0]
        values = {
            "step": first.name,
            "key": first.key,
            "title": first.title,
            "steps": len(self._steps),
            "started": self._started,
            "heard": time.time(),
            "beats": beats,
            "share": self.share,
            "words": self.words,
            "log": self._log,
        }
        try:
            self._store.write_note("running", name, values | where())
        except (WeakStrongError, OSError):
            return  # a note is for people only; a store that broke stops the step when it commits
