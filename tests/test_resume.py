"""A training killed at any moment and run again ends where an undisturbed one does, to the bit."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from weakstrong.errors import Stopped, TrainingError
from weakstrong.experiment import Experiment
from weakstrong.graph import Graph
from weakstrong.methods import parse_method
from weakstrong.models.base import parse_model
from weakstrong.schedule import run_steps
from weakstrong.store import Store
from weakstrong.training.checkpoint import read_tensors, write_tensors
from weakstrong.training.finetune import finetune
from weakstrong.training.fit import History
from weakstrong.training.generative import tune
from weakstrong.training.spec import Finetune, Generative, Lora, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
SPEC = Finetune(epochs=3, batch_rows=4, learning_rate=2e-3, precision="fp32", dropout=0.1)

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


@pytest.fixture
def data(rows: MakeRows, tmp_path: Path) -> Path:
    texts, labels = rows(64)
    yes = np.where(np.array(labels) == 1, 0.9, 0.2)
    np.savez(tmp_path / "rows.npz", texts=texts, probs_NC=np.stack([1 - yes, yes], 1).astype(np.float32))
    return tmp_path / "rows.npz"


def uninterrupted(model: Path, data: Path, spec: Finetune) -> dict[str, torch.Tensor]:
    stored = np.load(data)
    texts, probs_NC = stored["texts"].tolist(), stored["probs_NC"]
    parts = (texts[:48], probs_NC[:48]), (texts[48:], probs_NC[48:])
    runtime = Runtime(checkpoint_seconds=1e9, micro_batch_tokens=40)
    network, _, _ = finetune(
        parse_model(str(model)), ("no", "yes"), *parts, parse_method("confidence"), spec, 0, runtime, None
    )
    return {name: p.detach() for name, p in network.named_parameters()}


@pytest.mark.parametrize("adapters", [False, True])
def test_killed_training_ends_like_an_undisturbed_one(
    tiny_model: Tiny, data: Path, adapters: bool, tmp_path: Path
) -> None:
    """Order of rows, dropout, Adam's moments, the schedule or the best weights lost by a kill."""
    spec = SPEC.model_copy(update={"lora": Lora(rank=2)}) if adapters else SPEC
    model, out = tiny_model("bert", layers=2), tmp_path / "out.safetensors"
    process = start(TRAIN, model, data, spec.model_dump_json(), tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    with safe_open(out, "pt") as file:
        assert int(file.metadata()["at"]) >= 24
    found, wanted = load_file(out), uninterrupted(model, data, spec)
    assert found.keys() == wanted.keys()
    assert [n for n in wanted if not torch.equal(found[n], wanted[n])] == []


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


def test_a_checkpoint_holds_only_what_training_changes(tiny_model: Tiny, data: Path, tmp_path: Path) -> None:
    """A checkpoint of adapters that holds the whole model, or a saved head that is never put back."""
    stored = np.load(data)
    texts, probs_NC = stored["texts"].tolist(), stored["probs_NC"]
    spec = SPEC.model_copy(update={"lora": Lora(rank=2), "epochs": 1, "dropout": 0.0})
    arguments = (
        ("no", "yes"),
        (texts[:48], probs_NC[:48]),
        (texts[48:], probs_NC[48:]),
        parse_method("early-stop:on=last"),
        spec,
        0,
    )
    model, runtime = parse_model(str(tiny_model("llama", layers=2))), Runtime(checkpoint_seconds=0)
    first = finetune(model, *arguments, runtime, tmp_path / "scratch")[0]
    saved = load_file(tmp_path / "scratch" / "state.safetensors")
    assert not [n for n in saved if "embed_tokens" in n]
    assert sum("exp_avg." in n for n in saved) == sum(n.startswith("weight.") for n in saved) > 0
    # A run that finds a finished state with another head hands that head back.
    name = next(n for n in saved if n.startswith("weight.") and "score" in n)
    saved[name] += 1
    _, words = read_tensors(tmp_path / "scratch" / "state.safetensors")
    write_tensors(tmp_path / "scratch" / "state.safetensors", saved, words)
    again = finetune(model, *arguments, runtime, tmp_path / "scratch")[0]
    assert torch.equal(first.score.weight + 1, again.score.weight)


def train(
    model: Path, data: Path, spec: Finetune, scratch: Path | None, method: str = "confidence", **runtime: Any
) -> tuple[dict[str, torch.Tensor], History]:
    stored = np.load(data)
    texts, probs_NC = stored["texts"].tolist(), stored["probs_NC"]
    network, _, history = finetune(
        parse_model(str(model)), ("no", "yes"), (texts[:48], probs_NC[:48]), (texts[48:], probs_NC[48:]),
        parse_method(method), spec, 0, Runtime(micro_batch_tokens=40, **runtime), scratch,
    )  # fmt: skip
    return {name: p.detach() for name, p in network.named_parameters()}, history


def differing(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> list[str]:
    assert found.keys() == wanted.keys()
    return [n for n in wanted if not torch.equal(found[n], wanted[n])]


def after(steps: int) -> Callable[[], bool]:
    """Yes from the ``steps``-th question on."""
    asked = itertools.count(1)
    return lambda: next(asked) >= steps


def test_asked_to_stop_it_saves_and_goes_on_to_the_same_bits(
    tiny_model: Tiny, data: Path, tmp_path: Path
) -> None:
    """A spot notice that is heeded without saving, a state of the step before, or one that nobody takes along."""
    model, scratch, kept = tiny_model("bert", layers=2), tmp_path / "scratch", []
    spec = SPEC.model_copy(update={"ema": 0.9})
    method = "confidence+early-stop:on=last"  # best weights from before the stop would tell nothing
    wanted, _ = train(model, data, spec, None, method)
    steps = 0
    for part in (1, 7, 10):
        steps += part
        with pytest.raises(Stopped, match=f"stopped after step {steps} of 36; its state is saved"):
            train(
                model,
                data,
                spec,
                scratch,
                method,
                checkpoint_seconds=1e9,
                stopping=after(part),
                kept=kept.append,
            )
    assert kept == [scratch] * 3
    found, history = train(model, data, spec, scratch, method)
    assert history.resumed_at == steps
    assert differing(found, wanted) == []
    with pytest.raises(Stopped, match=r"of 36; its state is lost"):
        train(model, data, spec, None, stopping=after(1))


def test_tuning_asked_to_stop_goes_on_to_the_same_bits(
    tiny_model: Tiny, rows: MakeRows, tmp_path: Path
) -> None:
    """The other loop: a stop that only finetuning knows."""
    model, spec = parse_model(str(tiny_model("gpt2", layers=2))), Generative(batch_rows=8, precision="fp32")

    def run(name: str, scratch: str, **runtime: Any) -> dict[str, torch.Tensor]:
        tune(model, rows(40)[0], spec, 0, Runtime(**runtime), tmp_path / scratch, tmp_path / name)
        return load_file(tmp_path / name / "model.safetensors")

    wanted = run("calm", "a")
    with pytest.raises(Stopped, match="stopped after step 2 of 5; its state is saved"):
        run("stopped", "b", stopping=after(2))
    assert not (tmp_path / "stopped").exists()
    assert differing(run("continued", "b"), wanted) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path, where: float) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(bytes(data))


DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "state cut": ("state", cut),
    "state empty": ("state", empty),
    "a weight of another value": ("state", lambda path: flip(path, 0.7)),
    "a word of another value": ("state", lambda path: flip(path, 30 / path.stat().st_size)),
    "best missing": ("best", Path.unlink),
    "best of another value": ("best", lambda path: flip(path, 0.9)),
    "best cut": ("best", cut),
}


@pytest.fixture
def stopped(tiny_model: Tiny, data: Path, tmp_path: Path) -> tuple[Path, Finetune, Path]:
    """A model, its training, and the folder of that training, stopped after the best weights were kept."""
    model, scratch = tiny_model("llama", layers=1), tmp_path / "scratch"
    spec = Finetune(epochs=1, batch_rows=4, learning_rate=2e-3, precision="fp32", evaluations=4)
    with pytest.raises(Stopped):
        train(model, data, spec, scratch, stopping=after(7))
    assert {p.name for p in scratch.iterdir()} == {"state.safetensors", "best.safetensors"}
    return model, spec, scratch


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_set_aside(
    stopped: tuple[Path, Finetune, Path], data: Path, damage: str
) -> None:
    """A power cut or a bad disk: a training that can never go on, or goes on with weights nobody trained."""
    model, spec, scratch = stopped
    file, act = DAMAGE[damage]
    act(scratch / f"{file}.safetensors")
    with pytest.warns(UserWarning, match=r"cannot be used .* are set aside as \*\.damaged"):
        found, history = train(model, data, spec, scratch)
    assert history.resumed_at == 0
    assert differing(found, train(model, data, spec, None)[0]) == []
    assert (scratch / "state.damaged").exists()
    # What was set aside is not in the way of the next state.
    with pytest.raises(Stopped):
        train(model, data, spec, scratch, stopping=after(1))
    assert train(model, data, spec, scratch)[1].resumed_at == 1


def test_best_weights_lost_in_the_middle(stopped: tuple[Path, Finetune, Path], data: Path) -> None:
    """Best weights that vanish while training goes on: a missing file's traceback, or the last weights as the best."""
    model, spec, scratch = stopped
    spec = spec.model_copy(update={"learning_rate": 1e-12})  # no later moment is better

    def lose(done: float, total: float, words: str) -> None:
        (scratch / "best.safetensors").unlink(missing_ok=True)

    with pytest.raises(TrainingError, match=r"best\.safetensors cannot be used .* run again to train from"):
        train(model, data, spec, scratch, progress=lose, checkpoint_seconds=1e9)
    with pytest.warns(UserWarning, match="training starts from the beginning"):
        train(model, data, spec, scratch)
