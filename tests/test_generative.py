"""Generative finetuning against plain torch, and that what it writes can be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from weakstrong.errors import ModelError, TrainingError
from weakstrong.models._load import load_backbone, load_classifier, load_language_model
from weakstrong.models.base import parse_model
from weakstrong.training.fit import make_accelerator
from weakstrong.training.generative import CHUNK_TOKENS, _rows, add_gradient, tune
from weakstrong.training.spec import Finetune, Generative, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
SPEC = Generative(epochs=2, learning_rate=3e-3, precision="fp32", batch_rows=8)
FAMILIES = ["llama", "gpt2", "gpt_neox", "gemma3_text"]


def flat(model: Any) -> Any:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("budget", [10**6, 40])
def test_the_gradient_is_that_of_the_mean_over_all_tokens(
    tiny_model: Tiny, rows: MakeRows, family: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mean of micro-batch means, a shifted target, or padding that is predicted."""
    monkeypatch.setattr("weakstrong.training.generative.CHUNK_TOKENS", 7)
    network, tokenizer = load_language_model(parse_model(str(tiny_model(family))))
    batch = [tokenizer(text)["input_ids"] for text in rows(6)[0]]
    loss = add_gradient(
        make_accelerator(Finetune(precision="fp32"), "cpu"), network, tokenizer.pad_token_id, batch,
        Runtime(micro_batch_tokens=budget),
    )  # fmt: skip
    found = {n: p.grad.clone() for n, p in network.named_parameters()}
    network.zero_grad()
    terms = []
    for row in batch:  # one row at a time, no padding
        logp = network(input_ids=torch.tensor([row])).logits[0].double().log_softmax(-1)
        terms += [-logp[t, row[t + 1]] for t in range(len(row) - 1)]
    wanted = torch.stack(terms).mean()
    wanted.backward()
    assert loss == pytest.approx(wanted.item(), rel=1e-5)
    for name, parameter in network.named_parameters():
        assert torch.allclose(found[name], parameter.grad, atol=1e-5), name
    assert CHUNK_TOKENS > 100


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_written_is_what_was_trained(
    tiny_model: Tiny, rows: MakeRows, tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tied embeddings saved apart, a rung saved at full depth, or bf16 weights."""
    held: list[Any] = []
    original = AutoModelForCausalLM.from_pretrained

    def spy(*args: Any, **named: Any) -> Any:
        held.append(original(*args, **named))
        return held[-1]

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", spy)
    model = parse_model(f"{tiny_model(family)}::2")
    before = flat(load_language_model(model)[0])
    summary = tune(model, rows(40)[0], SPEC, 0, Runtime(), None, tmp_path / "out")
    trained = held[-1][0]
    monkeypatch.undo()
    assert not torch.allclose(flat(trained), before)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert again.config.num_hidden_layers == 2
    assert torch.equal(flat(again), flat(trained))
    assert summary["losses"][-1][1] < summary["losses"][0][1]
    body, _ = load_backbone(model, torch.float32, tmp_path / "out")
    assert torch.equal(body.get_input_embeddings().weight, again.get_input_embeddings().weight)
    classifier, _ = load_classifier(model, ("no", "yes"), "auto", 0.0, 0, tmp_path / "out")
    assert torch.equal(classifier.get_input_embeddings().weight, again.get_input_embeddings().weight)


class KilledError(Exception):
    pass


def test_a_killed_tuning_ends_where_a_calm_one_does(tiny_model: Tiny, rows: MakeRows, tmp_path: Path) -> None:
    """Moments or the place in the epoch lost at a kill."""
    model, texts = parse_model(str(tiny_model("llama", layers=2))), rows(40)[0]

    def stop(done: float, total: float, words: str) -> None:
        if done == 6:
            raise KilledError

    tune(model, texts, SPEC, 0, Runtime(), None, tmp_path / "calm")
    with pytest.raises(KilledError):
        tune(
            model,
            texts,
            SPEC,
            0,
            Runtime(checkpoint_seconds=0, progress=stop),
            tmp_path / "s",
            tmp_path / "x",
        )
    summary = tune(model, texts, SPEC, 0, Runtime(checkpoint_seconds=0), tmp_path / "s", tmp_path / "resumed")
    assert summary["resumed_at"] >= 5
    calm, resumed = (tmp_path / n / "model.safetensors" for n in ("calm", "resumed"))
    assert calm.read_bytes() == resumed.read_bytes()


def test_rows_are_limited_and_ended(tiny_model: Tiny, rows: MakeRows) -> None:
    """A text that was cut has no end; one of a single token predicts nothing."""
    _, tokenizer = load_language_model(parse_model(str(tiny_model("llama"))))
    texts = [*rows(20)[0], "w1"]
    assert len(_rows(tokenizer, texts, SPEC.model_copy(update={"rows": 5}), 0)) == 5
    found = _rows(tokenizer, texts, SPEC.model_copy(update={"max_tokens": 6}), 0)
    assert all((row[-1] == tokenizer.eos_token_id) == (len(row) < 6 or row[-1] == 6) for row in found)
    assert [*tokenizer("w1")["input_ids"], tokenizer.eos_token_id] in found


def test_what_cannot_be_tuned_is_refused(tiny_model: Tiny, rows: MakeRows, tmp_path: Path) -> None:
    """An encoder has no next token; a loss beyond numbers must stop and say where."""
    with pytest.raises(ModelError, match="is an encoder and predicts no next token"):
        tune(parse_model(str(tiny_model("bert"))), ["w1 w2"], SPEC, 0, Runtime(), None, tmp_path / "a")
    wild = SPEC.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match="at step"):
        tune(parse_model(str(tiny_model("llama"))), rows(40)[0], wild, 0, Runtime(), None, tmp_path / "b")
