"""A training killed at any moment and run again ends where an undisturbed one does, to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from safetensors import safe_open
from safetensors.torch import load_file
from small_training import SPEC, differing, train

from weakstrong.experiment import Experiment
from weakstrong.graph import Graph
from weakstrong.schedule import run_steps
from weakstrong.store import Store
from weakstrong.training.spec import Lora, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]

# One process imports what training needs and forks every attempt: a new start costs seconds for each kill.
TRAIN = """
import json, os, random, signal, sys, time, traceback
from pathlib import Path
import numpy as np
from safetensors.torch import save_file
import peft
from weakstrong.methods import parse_method
from weakstrong.models._load import load_classifier
from weakstrong.models.base import parse_model
from weakstrong.training.finetune import finetune
from weakstrong.training.spec import Finetune, Runtime
os.environ["TOKENIZERS_PARALLELISM"] = "false"
model, rows, spec, folder = sys.argv[1:]
rows, scratch = np.load(rows), Path(folder, "scratch")
texts, probs_NC = rows["texts"].tolist(), rows["probs_NC"]
def train(pipe):
    def tell(done, total, words):
        os.write(pipe, b"%d\\n" % done)
    runtime = Runtime(checkpoint_seconds=0, micro_batch_tokens=40, progress=tell)
    parts = (texts[:48], probs_NC[:48]), (texts[48:], probs_NC[48:])
    method, training = parse_method("confidence"), Finetune.model_validate_json(spec)
    network, _, history = finetune(
        parse_model(model), ("no", "yes"), *parts, method, training, 0, runtime, scratch
    )
    weights = {n: p.detach().contiguous() for n, p in network.named_parameters()}
    save_file(weights, Path(folder, "out.safetensors"), metadata={"at": str(history.resumed_at)})
load_classifier(parse_model(model), ("no", "yes"), "auto", 0.0, 0)
dice = random.Random(3)
for kill_at in (1, 4, 8, 13, 19, 25, None):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            train(write)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as lines:
        for line in lines:
            if kill_at is not None and int(line) >= kill_at:
                time.sleep(dice.random() * 0.02)
                os.kill(child, signal.SIGKILL)
                break
    status = os.waitpid(child, 0)[1]
    assert status == (0 if kill_at is None else signal.SIGKILL), (kill_at, status)
    # A kill may also leave half a file behind.
    for name in ("state.building", "best.building"):
        (scratch / name).write_bytes(b"half a file")
"""

RUN_CELL = """
import sys
from weakstrong.schedule import run_steps
from weakstrong.experiment import Experiment
from weakstrong.graph import Graph
from weakstrong.store import Store
from weakstrong.training.spec import Runtime
experiment, store = Experiment.from_file(sys.argv[1]), Store(sys.argv[2])
targets = Graph().cell(experiment.cells()[0]).scores()
def tell(event, steps, words, number):
    print(event, steps[0].title if steps else "", words, flush=True)
run_steps(targets, store, Runtime(checkpoint_seconds=0), tell)
"""

WRITE = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from weakstrong.training.checkpoint import Checkpoint
torch.set_num_threads(1)
def parts():
    model = torch.nn.Linear(500, 500)
    return model, torch.optim.AdamW(model.parameters())
def fill(model, optimizer, value):
    for p in model.parameters():
        p.data.fill_(value)
        optimizer.state[p] = {"step": torch.tensor(float(value)), "exp_avg": torch.full_like(p, value)}
        optimizer.state[p]["exp_avg_sq"] = torch.full_like(p, value)
random.seed(0)
seen = set()
for trial in range(25):
    folder = Path(sys.argv[1], str(trial))
    child = os.fork()
    if child == 0:
        model, optimizer = parts()
        checkpoint, step = Checkpoint(folder, 0), 0
        while True:
            step += 1
            fill(model, optimizer, step)
            checkpoint.save(model, optimizer, {"step": step})
    while not (folder / "state.safetensors").exists():
        time.sleep(0.0005)
    time.sleep(random.random() * 0.03)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    model, optimizer = parts()
    step = Checkpoint(folder, 0).load(model, optimizer)["step"]
    tensors = [t for p in model.parameters() for t in (p, *optimizer.state[p].values())]
    assert len(tensors) == 8 and all((t == step).all() for t in tensors), (trial, step)
    seen |= {p.name for p in folder.iterdir()} - {"state.safetensors"}
# At least one kill fell into the writing, or nothing was tried.
assert seen
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error::UserWarning", "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )


def kill_when(process: subprocess.Popen[str], seen: Callable[[str], bool], pause: float) -> None:
    """Kill -9 a little after the first line of output that fits."""
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if seen(line):
            break
    else:
        pytest.fail(f"the training ended before it could be killed: {process.stderr.read()}")
    time.sleep(pause)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("adapters", [False, True])
def test_killed_training_ends_like_an_undisturbed_one(
    tiny_model: Tiny, soft_rows: Path, adapters: bool, tmp_path: Path
) -> None:
    """Order of rows, dropout, Adam's moments, the schedule or the best weights lost by a kill."""
    spec = SPEC.model_copy(update={"lora": Lora(rank=2)}) if adapters else SPEC
    model, out = tiny_model("bert", layers=2), tmp_path / "out.safetensors"
    process = start(TRAIN, model, soft_rows, spec.model_dump_json(), tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    with safe_open(out, "pt") as file:
        assert int(file.metadata()["at"]) >= 24
    wanted, _ = train(model, soft_rows, spec, None, checkpoint_seconds=1e9)
    assert differing(load_file(out), wanted) == []


def test_a_kill_while_writing_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """A checkpoint written in place: unreadable after a kill, or weights and moments of two steps."""
    process = start(WRITE, tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def experiment_file(model: Path, rows: MakeRows, folder: Path) -> Path:
    texts, labels = rows(120)
    pl.DataFrame({"text": texts, "label": labels}).write_ndjson(folder / "rows.jsonl")
    training = SPEC.to_dict()
    experiment = Experiment.parse(
        {
            "task": {"kind": "file", "path": str(folder / "rows.jsonl")}, "supervisors": f"{model}::1",
            "students": str(model), "methods": ["confidence"], "seeds": [0], "supervisor_training": training,
            "student_training": training,
            "train_rows": 32, "validation_rows": 8, "test_rows": 24,
        }
    )  # fmt: skip
    (folder / "experiment.yaml").write_text(experiment.to_yaml())
    return folder / "experiment.yaml"


def predictions(targets: Sequence[object], store: Store) -> list[bytes]:
    return [(store.open(s.inputs["predictions"]) / "probabilities.parquet").read_bytes() for s in targets]


def test_a_killed_experiment_gives_the_same_predictions(
    tiny_model: Tiny, rows: MakeRows, tmp_path: Path
) -> None:
    """A store that serves a half-trained result, keeps a dead process's lock, or starts the student anew."""
    path = experiment_file(tiny_model("llama", layers=2), rows, tmp_path)
    targets = Graph().cell(Experiment.from_file(path).cells()[0]).scores()
    calm, killed = Store(tmp_path / "calm"), Store(tmp_path / "killed")
    assert not run_steps(targets, calm, Runtime(checkpoint_seconds=1e9)).failed

    kill_when(
        start(RUN_CELL, path, killed.url),
        lambda line: line.startswith("progress student") and " step 13/" in line,
        0.005,
    )
    assert not killed.has(targets[1])
    report = run_steps(targets, killed, Runtime(checkpoint_seconds=0))
    assert not report.failed
    assert killed.record(targets[1].inputs["predictions"])["summary"]["resumed_at"] >= 12
    assert predictions(targets, killed) == predictions(targets, calm)
    assert not list(Path(killed.root, ".scratch").iterdir())
