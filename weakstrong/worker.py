"""The other end of an executor: takes work as JSON, builds it, answers as JSON.

    python -m weakstrong.worker                 work on standard input, one message a line; answers on standard output,
                                                the first that it is ready
    python -m weakstrong.worker FILE ANSWER     one piece of work, as a process of a team where torchrun started it

What a step prints goes to a file of its own. A worker whose driver is gone saves the training's state and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from weakstrong import team
from weakstrong.errors import ConfigError, StoreError
from weakstrong.stopping import StopFlag, stoppable
from weakstrong.store import Step, Store
from weakstrong.work import LostError, Outcome, Work, error_to_json, outcomes_to_json

REPORT_SECONDS = 0.5


class Worker:
    """Builds one piece of work after another, with what it has opened and rebuilt kept between them.

    Attributes:
        share: of the present work, in [0, 1], as it was last told.
    """

    def __init__(self, flag: StopFlag) -> None:
        self.flag, self.share = flag, 0.0
        self._stores: dict[str, Store] = {}
        self._steps: dict[str, Step] = {}

    def answer(self, text: str, progress: IO[str] | None = None) -> str:
        """Do the work of a message; the answer's text (`weakstrong.work.answer_from_json`)."""
        try:
            work = Work.from_json(text, self._steps)
            store = self._store(work.store)
            return outcomes_to_json(self._do(work, store, progress))
        except (StoreError, ConfigError, LostError) as error:
            return error_to_json(error)

    def _store(self, url: str) -> Store:
        if url not in self._stores:
            if "://" not in url and not Path(url).expanduser().is_dir():
                raise StoreError(
                    f"there is no store at {url} on {os.uname().nodename}; a cluster needs a folder that all machines share, "
                    "or a URL such as s3://bucket/prefix"
                )
            self._stores[url] = Store(url)
        return self._stores[url]

    def _do(self, work: Work, store: Store, progress: IO[str] | None) -> list[Outcome]:
        last = self.share = 0.0

        def tell(done: float, total: float, words: str) -> None:
            nonlocal last
            self.share = done / total if total else 1.0
            if progress is not None and time.monotonic() - last > REPORT_SECONDS:
                last = time.monotonic()
                progress.write(json.dumps({"share": self.share, "words": words}) + "\n")
                progress.flush()

        runtime = replace(work.runtime, stopping=self.flag, progress=tell)
        with log_of(work.steps[0], store) as log:
            try:
                return team.run(work, store, runtime, log)
            finally:
                self.flag.listened = False


@contextlib.contextmanager
def log_of(step: Step, store: Store) -> Iterator[str]:
    """Send what this process prints to the step's own file in the store's working folder; yields its path.

    The file descriptors are turned, so that libraries in C and child processes are caught too. An empty file goes.
    """
    path = store.work / ".logs" / f"{step.name}-{step.key[:16]}.log"
    path.parent.mkdir(exist_ok=True, parents=True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(1), os.dup(2)]
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield str(path)
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


def serve() -> None:
    """Answer messages of standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing but answers goes to the driver
    messages: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            messages.put(line)
        # The driver is gone: end what runs as a spot machine would, with its state saved.
        messages.put(None)
        os.kill(os.getpid(), signal.SIGTERM)

    with stoppable() as flag:
        threading.Thread(target=read, daemon=True).start()
        worker = Worker(flag)
        answers.write(json.dumps({"ready": os.getpid()}) + "\n")
        answers.flush()
        while (message := messages.get()) is not None:
            answer = worker.answer(message, answers)
            if flag.signal is not None:
                return
            answers.write(answer + "\n")
            answers.flush()


def main(arguments: list[str]) -> int:
    """Entry point; the exit code says how it ended (130 and 143: stopped, with the training's state saved)."""
    try:
        if arguments:
            team.join(*map(Path, arguments))
            os._exit(0)  # a thread of gloo may outlive the interpreter, which then aborts: seen under load
        else:
            serve()
    except KeyboardInterrupt as error:
        return 128 + int(getattr(error, "signal", signal.SIGTERM))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
