"""A training that was stopped goes on from what it saved, and never from a damaged or incomplete state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_training import SPEC, after, differing, train

from weakstrong.errors import Stopped, TrainingError
from weakstrong.methods import parse_method
from weakstrong.models.base import parse_model
from weakstrong.training.checkpoint import read_tensors, write_tensors
from weakstrong.training.finetune import finetune
from weakstrong.training.generative import tune
from weakstrong.training.spec import Finetune, Generative, Lora, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]


def test_a_checkpoint_holds_only_what_training_changes(
    tiny_model: Tiny, soft_rows: Path, tmp_path: Path
) -> None:
    """A checkpoint of adapters that holds the whole model, or a saved head that is never put back."""
    stored = np.load(soft_rows)
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


def test_asked_to_stop_it_saves_and_goes_on_to_the_same_bits(
    tiny_model: Tiny, soft_rows: Path, tmp_path: Path
) -> None:
    """A spot notice that is heeded without saving, a state of the step before, or one that nobody takes along."""
    model, scratch, kept = tiny_model("bert", layers=2), tmp_path / "scratch", []
    spec = SPEC.model_copy(update={"ema": 0.9})
    method = "confidence+early-stop:on=last"  # best weights from before the stop would tell nothing
    wanted, _ = train(model, soft_rows, spec, None, method)
    steps = 0
    for part in (1, 7, 10):
        steps += part
        with pytest.raises(Stopped, match=f"stopped after step {steps} of 36; its state is saved"):
            train(
                model,
                soft_rows,
                spec,
                scratch,
                method,
                checkpoint_seconds=1e9,
                stopping=after(part),
                kept=kept.append,
            )
    assert kept == [scratch] * 3
    found, history = train(model, soft_rows, spec, scratch, method)
    assert history.resumed_at == steps
    assert differing(found, wanted) == []
    with pytest.raises(Stopped, match=r"of 36; its state is lost"):
        train(model, soft_rows, spec, None, stopping=after(1))


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
def stopped(tiny_model: Tiny, soft_rows: Path, tmp_path: Path) -> tuple[Path, Finetune, Path]:
    """A model, its training, and the folder of that training, stopped after the best weights were kept."""
    model, scratch = tiny_model("llama", layers=1), tmp_path / "scratch"
    spec = Finetune(epochs=1, batch_rows=4, learning_rate=2e-3, precision="fp32", evaluations=4)
    with pytest.raises(Stopped):
        train(model, soft_rows, spec, scratch, stopping=after(7))
    assert {p.name for p in scratch.iterdir()} == {"state.safetensors", "best.safetensors"}
    return model, spec, scratch


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_set_aside(
    stopped: tuple[Path, Finetune, Path], soft_rows: Path, damage: str
) -> None:
    """A power cut or a bad disk: a training that can never go on, or goes on with weights nobody trained."""
    model, spec, scratch = stopped
    file, act = DAMAGE[damage]
    act(scratch / f"{file}.safetensors")
    with pytest.warns(UserWarning, match=r"cannot be used .* are set aside as \*\.damaged"):
        found, history = train(model, soft_rows, spec, scratch)
    assert history.resumed_at == 0
    assert differing(found, train(model, soft_rows, spec, None)[0]) == []
    assert (scratch / "state.damaged").exists()
    # What was set aside is not in the way of the next state.
    with pytest.raises(Stopped):
        train(model, soft_rows, spec, scratch, stopping=after(1))
    assert train(model, soft_rows, spec, scratch)[1].resumed_at == 1


def test_best_weights_lost_in_the_middle(stopped: tuple[Path, Finetune, Path], soft_rows: Path) -> None:
    """Best weights that vanish while training goes on: a missing file's traceback, or the last weights as the best."""
    model, spec, scratch = stopped
    spec = spec.model_copy(update={"learning_rate": 1e-12})  # no later moment is better

    def lose(done: float, total: float, words: str) -> None:
        (scratch / "best.safetensors").unlink(missing_ok=True)

    with pytest.raises(TrainingError, match=r"best\.safetensors cannot be used .* run again to train from"):
        train(model, soft_rows, spec, scratch, progress=lose, checkpoint_seconds=1e9)
    with pytest.warns(UserWarning, match="training starts from the beginning"):
        train(model, soft_rows, spec, scratch)
