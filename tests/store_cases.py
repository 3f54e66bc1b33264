"""What the tests of stores share: a step, processes that build it, and a look behind the store's back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import weakstrong
from weakstrong.spec import Spec
from weakstrong.store import Step, Store

ROOT = Path(weakstrong.__file__).parent.parent


class Number(Spec):
    kind: Literal["test-number"] = "test-number"
    value: int = 0


def step(value: int, **inputs: Step) -> Step:
    return Step("number", 1, Number(value=value), inputs)


COMMON = f"""
import os, sys, time, json
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from typing import Literal
from weakstrong.spec import Spec
from weakstrong.store import Step, Store
class Number(Spec):
    kind: Literal["test-number"] = "test-number"
    value: int = 0
def step(value, **inputs):
    return Step("number", 1, Number(value=value), inputs)
def say(*words):
    print(*words, flush=True)
def build(store, step, *texts, seconds=0.0):
    with store.job(step) as job:
        for number, text in enumerate(texts or ("x",)):
            (job.out / f"part{{number}}").write_text(text)
        time.sleep(seconds)
        store.commit(job, {{}})
store = Store(sys.argv[1])
"""


def start(code: str, *arguments: object, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", COMMON + code, *map(str, arguments)], env=os.environ | env,
        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def heard(process: subprocess.Popen[str]) -> str:
    """The next line that a process says."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, process.communicate()[1]
    return line


def end(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.splitlines()


def build(store: Store, step: Step, summary: Any = None, /, **files: str) -> None:
    with store.job(step) as job:
        for name, text in (files or {"a": "x"}).items():
            path = job.out / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        job.summary["said"] = summary
        store.commit(job, {"seconds": 0})


def stored(store: Store, below: str = "number") -> list[str]:
    """Paths of a store's files, relative to ``below``."""
    home = f"{store.root}/{below}"
    store.fs.invalidate_cache()
    return sorted(str(p).removeprefix(home).lstrip("/") for p in store.fs.find(home))


def change(store: Store, ending: str, data: bytes | None) -> None:
    """Change (or remove) the one stored file with this ending behind the store's back."""
    (path,) = (p for p in store.fs.find(f"{store.root}/number") if p.endswith(ending))
    if data is None:
        store.fs.rm_file(path)
    else:
        store.fs.pipe_file(path, data)
