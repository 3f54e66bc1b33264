"""What steps need, guessed before they run, against what they take."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weakstrong.data import Part
from weakstrong.experiment import Experiment
from weakstrong.facts import ASSUMED_TOKENS, Facts, Lengths, stated_parameters
from weakstrong.graph import Graph, closure
from weakstrong.machine import Machine, cgroup_limits
from weakstrong.models.base import ModelSpec
from weakstrong.resources import Estimator, Need, critical_path
from weakstrong.schedule import run_steps
from weakstrong.spec import Spec
from weakstrong.store import Step, Store
from weakstrong.training.spec import Runtime
from weakstrong.work import Work

MACHINE = Machine(cpus=8, gpus=4, memory=2**36, flops_per_second=1e11)
ROWS = 300
SETTINGS = {"train_rows": 60, "validation_rows": 20, "test_rows": 60, "seeds": 1}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, rows: Callable[..., Any]) -> Path:
    """A file of texts with classes."""
    texts, labels = rows(ROWS, seed=5)
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    pl.DataFrame({"text": [f"{t} w{i % 50}" for i, t in enumerate(texts)], "label": labels}).write_csv(path)
    return path


@pytest.fixture
def steps(table: Path, tiny_model: Callable[..., Path]) -> Callable[..., dict[str, Step]]:
    """``steps(method, regime, ...)``: the student's fit and what it needs, by kind of step (its last one of each)."""

    def build(method: str, regime: str = "finetune", student: str = "", **more: Any) -> dict[str, Step]:
        small, large = tiny_model("llama", layers=2, seed=1), tiny_model("llama", layers=4)
        wanted = Experiment.parse(
            SETTINGS
            | {
                "task": {"kind": "file", "path": str(table)},
                "supervisors": str(small),
                "students": student or str(large),
                "methods": [method],
                "regime": regime,
            }
            # In float32, which every processor multiplies quickly.
            | (
                {"student_training": {"kind": "finetune", "precision": "fp32"}}
                if regime == "finetune"
                else {}
            )
            | more
        )
        fit = Graph().cell(wanted.cells()[0]).student_fit
        return {s.name: s for s in closure([fit])}

    return build


def run_behind(step: Step, store: Store) -> None:
    """Compute what ``step`` reads."""
    assert not run_steps(list(step.inputs.values()), store).failed


# --- against reality


@pytest.mark.parametrize(
    ("method", "regime", "kind"),
    [
        ("confidence", "finetune", "finetune"),
        ("consistency", "finetune", "finetune"),
        ("generative", "finetune", "tune"),
        ("naive", "probe", "features"),
        ("naive", "probe", "probe"),
    ],
)
def test_flops_are_those_that_torch_counts(
    steps: Callable[..., dict[str, Step]], tmp_path: Path, method: str, regime: str, kind: str
) -> None:
    """An epoch, a view, the validation rows or the backward pass left out makes hours wrong by a factor."""
    from torch.utils.flop_counter import FlopCounterMode

    step, store = steps(method, regime)[kind], Store(tmp_path)
    # A budget that cuts batches, so that a loss over the whole batch costs its extra pass.
    runtime = Runtime(micro_batch_tokens=128)
    run_behind(step, store)
    need = Estimator(store, runtime, MACHINE).need([step])
    with FlopCounterMode(display=False) as counted:
        assert not run_steps([step], store, runtime).failed
    measured = counted.get_total_flops()
    if kind == "probe":  # columns of a single head are filled up to 16
        measured *= 2 / 16
    assert measured > 0
    assert need.flops == pytest.approx(measured, rel=0.2)


CHILD = """
import sys
from weakstrong.schedule import run_steps
from weakstrong.store import Store
from weakstrong.work import Work

work = Work.from_json(sys.stdin.read())
assert not run_steps(work.steps, Store(work.store), work.runtime).failed
# Not getrusage: a child's peak there starts at that of the process it was forked from.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory of one child is read as Linux counts it")
@pytest.mark.parametrize("kind", ["finetune", "split"])
def test_memory_is_an_upper_bound(steps: Callable[..., dict[str, Step]], tmp_path: Path, kind: str) -> None:
    """Too little, and the kernel kills workers of a pool; far too much, and cores stay idle."""
    step, store = steps("naive")[kind], Store(tmp_path)
    run_behind(step, store)
    need = Estimator(store, Runtime(), MACHINE).need([step])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD],
        input=Work((step,), store.url, Runtime()).to_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    peak = 1024 * int(done.stdout)
    assert peak <= need.memory <= 2.5 * peak


# --- what is known and what is assumed


def test_rows_are_counted_once_they_are_dealt(steps: Callable[..., dict[str, Step]], tmp_path: Path) -> None:
    """A plan before the rows are loaded and the scheduler after it must speak of the same parts."""
    found, store = steps("naive"), Store(tmp_path)
    split, examples = found["split"], found["examples"]
    before, stated = Facts(None), {Part.TRANSFER: 60, Part.VALIDATION: 20, Part.TEST: 60}
    assert {part: before.rows(split, part) for part in stated} == stated
    assert before.total(split) == 10_000
    assert before.tokens(examples, 64) == Lengths(64, 64, 64)
    assert before.tokens(examples, 256).mean == ASSUMED_TOKENS
    assert len(before.assumptions) == 2
    run_behind(found["finetune"], store)
    after = Facts(store)
    assert {part: after.rows(split, part) for part in stated} == stated
    assert after.total(split) == ROWS
    assert 5 < after.tokens(examples, 256).mean < 25  # texts of 4 to 21 words
    assert after.tokens(examples, 8).bound == 8
    assert not after.assumptions


def test_texts_are_known_from_the_sealed_rows_before_the_examples_exist(
    steps: Callable[..., dict[str, Step]], tmp_path: Path
) -> None:
    """After the checks of `w2s run` only `load` is stored; a plan then must not assume lengths."""
    found, store = steps("naive"), Store(tmp_path)
    assert not run_steps([found["load"]], store).failed
    facts = Facts(store)
    assert 5 < facts.tokens(found["examples"], 256).mean < 25
    assert not facts.assumptions


def test_a_damaged_input_leaves_the_estimate_to_assumptions(
    steps: Callable[..., dict[str, Step]], tmp_path: Path
) -> None:
    """An estimate that raises ends a run whose scheduler would have mended the result."""
    found, store = steps("naive"), Store(tmp_path)
    run_behind(found["finetune"], store)
    for kind in ("split", "examples"):
        record = tmp_path / kind / found[kind].key / "record.json"
        record.write_text(record.read_text()[:-20])
    facts = Facts(Store(tmp_path))
    assert facts.rows(found["split"], Part.TEST) == 60
    assert facts.tokens(found["examples"], 256).mean == ASSUMED_TOKENS


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("hub:org/thing-7b@main", 7e9),
        ("hub:Qwen/Qwen2.5-0.5B-Instruct", 5e8),
        ("hub:org/pythia-160m", 1.6e8),
        ("hub:org/bert-base", 1e9),
    ],
)
def test_a_model_that_is_not_here_has_the_size_of_its_name(name: str, parameters: float) -> None:
    """A 7B model planned as one of 1B is killed for want of memory."""
    assert stated_parameters(name) == parameters
    spec = ModelSpec(name=name, source="hub:org/not-here@" + "0" * 40, weights="hub:" + "0" * 40)
    facts = Facts(None)
    assert facts.size(spec).parameters == parameters
    assert name in next(iter(facts.assumptions.values()))


# --- what raises a need


def need_of(found: dict[str, Step], kind: str = "finetune", **runtime: Any) -> Need:
    return Estimator(None, Runtime(**runtime), MACHINE).need([found[kind]])


def test_more_work_needs_more(steps: Callable[..., dict[str, Step]], tiny_model: Callable[..., Path]) -> None:
    """Each of these was once a factor that an estimate could forget."""
    base = need_of(steps("naive"))
    assert need_of(steps("naive", train_rows=120)).flops > 1.5 * base.flops
    assert need_of(steps("consistency")).flops > 1.5 * base.flops
    assert need_of(steps("naive"), gradient_checkpointing=True).flops > 1.2 * base.flops
    assert need_of(steps("naive"), micro_batch_tokens=16384).memory > base.memory
    rung = need_of(steps("naive", student=f"{tiny_model('llama', layers=4)}::1"))
    assert rung.flops < 0.5 * base.flops
    assert rung.memory < base.memory


def test_adapters_need_less_memory(steps: Callable[..., dict[str, Step]]) -> None:
    """LoRA is chosen because gradient and moments of all weights do not fit."""
    large = ModelSpec(name="hub:org/x-7b", source="hub:org/x-7b@" + "0" * 40, weights="hub:0")
    needs = []
    for method in ("naive", "lora"):
        step = steps(method)["finetune"]
        step = replace(step, spec=step.spec.model_copy(update={"model": large}))
        needs.append(Estimator(None, Runtime(), MACHINE).need([step]))
    full, lora = needs
    assert full.memory > 16 * 7e9
    assert lora.memory < full.memory - 10 * 7e9
    assert lora.flops < 0.8 * full.flops


def test_gpus_are_asked_for_by_model_steps_only(steps: Callable[..., dict[str, Step]]) -> None:
    """A table step that holds a GPU keeps a training waiting; a team of two wants two."""
    found = steps("naive")
    assert need_of(found).gpus == 0
    assert need_of(found).cpus == MACHINE.cpus
    assert need_of(found, threads=3).cpus == 3
    on_gpu = need_of(found, device="cuda", processes=2)
    assert (on_gpu.gpus, on_gpu.cpus) == (2, 4)
    table = need_of(found, "split", device="cuda", processes=2)
    assert (table.gpus, table.cpus) == (0, 1)
    # Activations are on the GPU, so a long micro-batch asks nothing more of the host.
    assert (
        need_of(found, device="cuda", micro_batch_tokens=65536).memory == need_of(found, device="cuda").memory
    )


def test_rungs_share_a_pass_and_heads_their_features(
    steps: Callable[..., dict[str, Step]], tiny_model: Callable[..., Path]
) -> None:
    """A group costs what its parts share once; a sum over its steps would be hours too many."""
    folder = tiny_model("llama", layers=4)
    found = [steps("naive", "probe", student=f"{folder}::{rung}") for rung in (1, 2, 3)]
    estimator = Estimator(None, Runtime(), MACHINE)
    passes = [f["features"] for f in found]
    assert len({step.group for step in passes}) == 1
    assert estimator.need(passes).flops == estimator.need(passes[-1:]).flops
    heads = [steps(f"confidence:a_max={a}", "probe")["probe"] for a in (0.2, 0.4, 0.6)]
    one, all_three = estimator.need(heads[:1]), estimator.need(heads)
    assert all_three.flops == pytest.approx(3 * one.flops)
    assert all_three.memory < 2 * one.memory


def test_finished_steps_set_the_speed(steps: Callable[..., dict[str, Step]], tmp_path: Path) -> None:
    """On a machine whose speed was misjudged the second plan must be better than the first."""
    found, store = steps("naive"), Store(tmp_path)
    step = found["finetune"]
    before = Estimator(store, Runtime(), MACHINE).need([step])
    assert not run_steps([step], store).failed
    summary = store.record(step)["summary"]
    other = steps("hard")["finetune"]
    after = Estimator(store, Runtime(), MACHINE).need([other])
    assert after.flops == pytest.approx(before.flops, rel=2)
    # Looks and predictions come on top of the training that was timed.
    assert summary["seconds"] < after.seconds - 3 < 3 * summary["seconds"]
    slow = Estimator(store, Runtime(), replace(MACHINE, flops_per_second=1.0)).need([other])
    assert slow.seconds == after.seconds


# --- the critical path


class Named(Spec):
    """A step of a test."""

    kind: Literal["test-resources"] = "test-resources"
    number: int


@given(st.data())
def test_the_critical_path_is_the_longest(data: st.DataObject) -> None:
    """Compared with every chain of a small graph; a path through a stored step is no path."""
    made: list[Step] = []
    for number in range(data.draw(st.integers(1, 7))):
        inputs = data.draw(st.sets(st.sampled_from(made), max_size=3)) if made else set()
        made.append(Step("s", 1, Named(number=number), {f"r{i}": s for i, s in enumerate(inputs)}))
    seconds = {s.key: data.draw(st.integers(0, 9)) for s in made}
    done = data.draw(st.sets(st.sampled_from([s.key for s in made])))
    targets = data.draw(st.lists(st.sampled_from(made), min_size=1))

    def chains(step: Step) -> Iterator[list[Step]]:
        if step.key in done:
            yield []
            return
        for before in [c for d in step.inputs.values() for c in chains(d)] or [[]]:
            yield [*before, step]

    longest = max(sum(seconds[s.key] for s in chain) for target in targets for chain in chains(target))
    total, path = critical_path(targets, lambda s: seconds[s.key], done)
    assert total == longest == sum(seconds[s.key] for s in path)
    assert not {s.key for s in path} & done
    assert all(a in b.inputs.values() for a, b in pairwise(path))


# --- the machine


def test_this_machine_has_something() -> None:
    """A pool that keeps to zero cores runs nothing."""
    here = Machine.here()
    assert 1 <= here.cpus <= (os.cpu_count() or 1)
    assert here.memory > 2**28
    assert 1e8 < here.flops_per_second < 1e15


@pytest.mark.parametrize(
    ("listing", "files", "cpus", "memory"),
    [
        ("0::/\n", {"cpu.max": "150000 100000", "memory.max": "max"}, 1.5, math.inf),
        ("0::/a/b\n", {"a/cpu.max": "max 100000", "a/memory.max": "4096", "a/b/memory.max": "max"}, math.inf, 4096),
        ("0::/not/mounted\n", {"memory.max": "512"}, math.inf, 512),
        (
            "5:memory:/j\n4:cpu,cpuacct:/j\n0::/\n",
            {
                "memory/j/memory.limit_in_bytes": "9223372036854771712",
                "memory/memory.limit_in_bytes": "1024",
                "cpu/j/cpu.cfs_quota_us": "-1",
                "cpu/j/cpu.cfs_period_us": "100000",
            },
            math.inf,
            1024,
        ),
        ("", {}, math.inf, math.inf),
    ],
)  # fmt: skip
def test_limits_of_control_groups(
    tmp_path: Path, listing: str, files: dict[str, str], cpus: float, memory: float
) -> None:
    """In a container of 2 cores on a host of 64, a pool of 64 workers is killed for want of memory."""
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)
    (tmp_path / "cgroup").write_text(listing)
    assert cgroup_limits(tmp_path / "fs", tmp_path / "cgroup") == (cpus, memory)


def test_estimating_needs_no_torch() -> None:
    """The scheduler of a pool asks for needs; its own process must stay small."""
    code = "import sys, json, weakstrong.resources; print(json.dumps('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
