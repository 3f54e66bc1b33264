"""The finetuning loop: the same numbers however memory is cut, and the same as an independent trainer."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from weakstrong.errors import TrainingError
from weakstrong.methods import Method, parse_method
from weakstrong.models._load import classification_layer, load_classifier
from weakstrong.models.base import parse_model
from weakstrong.training.batching import epoch_batches
from weakstrong.training.checkpoint import Checkpoint
from weakstrong.training.features import tokenize
from weakstrong.training.finetune import finetune
from weakstrong.training.fit import History, Rows, fit, learning_rate, probabilities
from weakstrong.training.spec import Finetune, Lora, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
CLASSES = ("no", "yes")
SPEC = Finetune(epochs=2, batch_rows=16, learning_rate=2e-3, precision="fp32", warmup=0.2)
LAST = "early-stop:on=last"


@pytest.fixture
def data(rows: MakeRows) -> tuple[Any, Any]:
    """Training and validation texts with soft labels."""
    texts, labels = rows(72)
    sure = 0.6 + 0.4 * np.random.default_rng(1).random(len(labels))
    yes = np.where(np.array(labels) == 1, sure, 1 - sure)
    probs_NC = np.stack([1 - yes, yes], axis=1).astype(np.float32)
    return (texts[:56], probs_NC[:56]), (texts[56:], probs_NC[56:])


def train(
    folder: Path,
    data: tuple[Any, Any],
    method: str = LAST,
    spec: Finetune = SPEC,
    seed: int = 0,
    **runtime: Any,
) -> tuple[nn.Module, Any, History]:
    return finetune(
        parse_model(str(folder)), CLASSES, *data, parse_method(method), spec, seed, Runtime(**runtime)
    )


def flat(model: nn.Module) -> torch.Tensor:
    """All weights in one vector."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def moved(model: nn.Module, folder: Path) -> torch.Tensor:
    """How far each weight went from where it started."""
    return flat(model) - flat(load_classifier(parse_model(str(folder)), CLASSES, "auto", 0.0, 0)[0])


@pytest.mark.parametrize(
    "method", [LAST, "confidence+early-stop:on=last", "confidence:threshold=prior+early-stop:on=last"]
)
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_micro_batches_do_not_change_the_result(
    tiny_model: Tiny, data: tuple[Any, Any], family: str, method: str
) -> None:
    """A mean or a threshold over a micro-batch: a method that changes with the memory size (public fault)."""
    folder = tiny_model(family, layers=2)
    whole, cut, single = (train(folder, data, method, micro_batch_tokens=n)[0] for n in (10_000, 60, 1))
    distance = moved(whole, folder)
    for other in (cut, single):
        assert (flat(other) - flat(whole)).norm() < 1e-4 * distance.norm()


def test_the_gradient_of_one_step_is_exact_under_micro_batches(
    tiny_model: Tiny, data: tuple[Any, Any]
) -> None:
    """The same in the gradient itself, before Adam's division hides its size: 1e-5 relative."""
    from weakstrong.training.fit import _gradient, make_accelerator

    model, tokenizer = load_classifier(
        parse_model(str(tiny_model("llama", layers=2))), CLASSES, "auto", 0.0, 0
    )
    rows = Rows(tokenize(tokenizer, data[0][0], 64), torch.from_numpy(data[0][1]))
    accelerator, batch, prior_C = make_accelerator(SPEC, "cpu"), np.arange(56), rows.probs_NC.mean(0)
    for name in ("naive", "confidence"):
        method, slopes, losses = parse_method(name), [], []
        for budget in (10_000, 60, 1):
            model.zero_grad()
            runtime = Runtime(micro_batch_tokens=budget)
            losses.append(
                _gradient(accelerator, model, 4, rows, batch, method, 0.7, prior_C, runtime, (0, 0))
            )
            slopes.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        model.zero_grad()
        logits = torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows.ids])
        method.objective(logits, rows.probs_NC, progress=0.7, prior_C=prior_C).mean().backward()
        plain = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert losses == pytest.approx(losses[:1] * 3, rel=1e-5)
        for slope in slopes:
            assert (slope - plain).norm() < 1e-5 * plain.norm()


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_learning_rates(schedule: str) -> None:
    """A warm-up that starts at 0 or jumps, a decay that starts early, a last step of full size."""
    spec = Finetune(learning_rate=2.0, warmup=0.2, schedule=schedule)
    rates = [learning_rate(spec, s, 10) for s in range(10)]
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates[6] == {"linear": 1.0, "cosine": pytest.approx(1.0), "constant": 2.0}[schedule]
    assert all(a >= b for a, b in itertools.pairwise(rates[1:]))
    assert learning_rate(Finetune(learning_rate=2.0, warmup=0.0, schedule=schedule), 0, 10) == 2.0
    assert learning_rate(Finetune(learning_rate=2.0, warmup=1.0, schedule=schedule), 9, 10) == 2.0


def hf_trainer(
    folder: Path, data: tuple[Any, Any], method: Method, spec: Finetune, seed: int, out: Path
) -> nn.Module:
    """The same training by transformers.Trainer, fed our order of rows through a fixed sampler."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    model, tokenizer = load_classifier(parse_model(str(folder)), CLASSES, "auto", 0.0, seed)
    (texts, probs_NC), _ = data
    ids = tokenize(tokenizer, texts, spec.max_tokens)
    batches = [
        epoch_batches([len(r) for r in ids], spec.batch_rows, seed, e, False) for e in range(spec.epochs)
    ]
    # One long epoch in our order: the Trainer sees every epoch's rows one after another.
    order = [int(i) for epoch in batches for batch in epoch for i in batch]
    items = [{"input_ids": ids[i], "labels": probs_NC[i].tolist()} for i in range(len(ids))]

    class Ordered(Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return order

        def compute_loss(self, model: Any, inputs: Any, **_: Any) -> Any:
            weak_BC = inputs.pop("labels")
            progress, prior_C = (
                self.state.global_step / (self.state.max_steps - 1),
                torch.from_numpy(probs_NC).mean(0),
            )
            return method.objective(
                model(**inputs).logits, weak_BC, progress=progress, prior_C=prior_C
            ).mean()

    arguments = TrainingArguments(
        output_dir=str(out), num_train_epochs=1, per_device_train_batch_size=spec.batch_rows,
        optim="adamw_torch", learning_rate=spec.learning_rate, lr_scheduler_type="linear", warmup_steps=0,
        weight_decay=spec.weight_decay,
        max_grad_norm=spec.clip_norm, use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True,
        logging_strategy="no", dataloader_pin_memory=False, remove_unused_columns=False, seed=seed,
    )  # fmt: skip
    Ordered(model, arguments, DataCollatorWithPadding(tokenizer), train_dataset=items).train()
    return model


@pytest.mark.parametrize("name", [LAST, "confidence:warmup=0.6+early-stop:on=last"])
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_equals_the_hugging_face_trainer(
    tiny_model: Tiny, data: tuple[Any, Any], family: str, name: str, tmp_path: Path
) -> None:
    """A loop that differs from the standard one in clipping, decay, schedule, betas, progress or the mean."""
    spec = SPEC.model_copy(
        update={"warmup": 0.0, "group_by_length": False, "batch_rows": 14, "learning_rate": 1e-3}
    )
    folder = tiny_model(family, layers=2)
    ours = train(folder, data, name, spec, micro_batch_tokens=100)[0]
    theirs = hf_trainer(folder, data, parse_method(name), spec, 0, tmp_path)
    distance = moved(ours, folder)
    assert distance.norm() > 0.1
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=1e-4, atol=1e-4)
    assert (flat(ours) - flat(theirs)).norm() < 1e-3 * distance.norm()


def test_equal_seeds_give_equal_bits_and_other_seeds_other_weights(
    tiny_model: Tiny, data: tuple[Any, Any]
) -> None:
    """A result that depends on what ran before in the process, or a seed that does nothing."""
    folder = tiny_model("llama", layers=2)
    spec = SPEC.model_copy(update={"dropout": 0.1})
    for each in (SPEC, spec):
        torch.manual_seed(1)
        one = train(folder, data, "confidence", each)[0]
        torch.manual_seed(2)
        two = train(folder, data, "confidence", each)[0]
        other = train(folder, data, "confidence", each, seed=1)[0]
        assert torch.equal(flat(one), flat(two))
        assert not torch.equal(flat(one), flat(other))


def test_gradient_checkpointing_changes_nothing(tiny_model: Tiny, data: tuple[Any, Any]) -> None:
    """Recomputed activations that differ (dropout drawn anew), or gradients lost at a frozen embedding."""
    folder = tiny_model("llama", layers=2)
    for spec in (SPEC, SPEC.model_copy(update={"lora": Lora(rank=4), "dropout": 0.1})):
        plain, saved = (
            train(folder, data, "confidence", spec, gradient_checkpointing=g)[0] for g in (False, True)
        )
        torch.testing.assert_close(flat(plain), flat(saved), rtol=1e-5, atol=1e-6)
        assert moved(saved, folder).norm() > 0.1


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_lora_trains_adapters_and_head_only(tiny_model: Tiny, data: tuple[Any, Any], family: str) -> None:
    """All weights trained, a head left frozen, or an export that lost the adapters."""
    folder = tiny_model(family, layers=2)
    spec = SPEC.model_copy(update={"lora": Lora(rank=2), "learning_rate": 1e-2})
    model, tokenizer, history = train(folder, data, LAST, spec)
    start = dict(load_classifier(parse_model(str(folder)), CLASSES, "auto", 0.0, 0)[0].named_parameters())
    head = classification_layer(model).weight
    assert {n for n, _ in model.named_parameters()} == set(start)
    for name, weight in model.named_parameters():
        delta = (weight - start[name]).detach()
        if weight is head:
            assert delta.any()
        elif weight.dim() == 2 and "emb" not in name and "wte" not in name and "wpe" not in name:
            # An adapter of rank 2: the change of every linear layer has that rank, no more.
            sizes = torch.linalg.svdvals(delta.double())
            assert sizes[0] > 1e-4, name
            assert sizes[2] < 1e-4 * sizes[0], name
        elif weight.dim() == 2 or "norm" in name.lower() or "ln_" in name:
            assert not delta.any(), name
    # The merged model gives the score that the adapters gave at the last look.
    ids = tokenize(tokenizer, data[1][0], 64)
    guess = probabilities(model, tokenizer.pad_token_id, ids, Runtime()).argmax(1).numpy()
    assert (guess == data[1][1].argmax(1)).mean() == pytest.approx(history.evaluations[-1][2])


def test_merged_adapters_equal_the_adapter_model(tiny_model: Tiny, data: tuple[Any, Any]) -> None:
    """An export that scales adapters twice or forgets alpha."""
    from peft import LoraConfig, TaskType, get_peft_model

    network, tokenizer = load_classifier(
        parse_model(str(tiny_model("llama", layers=2))), CLASSES, "auto", 0.0, 0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by an old name
        network = get_peft_model(
            network, LoraConfig(task_type=TaskType.SEQ_CLS, r=2, target_modules="all-linear")
        )
    trained_rows, held = (Rows(tokenize(tokenizer, t, 64), torch.from_numpy(p)) for t, p in data)
    spec = SPEC.model_copy(update={"learning_rate": 1e-2})
    fit(network, 4, trained_rows, held, parse_method(LAST), spec, 0, Runtime(), Checkpoint(None, 1.0))
    before_NC = probabilities(network, 4, held.ids, Runtime())
    after_NC = probabilities(network.merge_and_unload(), 4, held.ids, Runtime())
    torch.testing.assert_close(before_NC, after_NC, rtol=1e-5, atol=1e-5)


def test_a_loss_that_is_not_finite_names_its_step(tiny_model: Tiny, data: tuple[Any, Any]) -> None:
    """NaN weights stored as a finished student."""
    (texts, probs_NC), held = data
    broken_NC = probs_NC.copy()
    spec = SPEC.model_copy(update={"group_by_length": False})
    third = epoch_batches([1] * 56, 16, 0, 0, False)[2]
    broken_NC[third[0]] = np.nan
    with pytest.raises(TrainingError, match="step 3 of 8"):
        train(tiny_model("llama", layers=2), ((texts, broken_NC), held), LAST, spec)


def test_early_stopping_hands_back_the_best_weights(tiny_model: Tiny, data: tuple[Any, Any]) -> None:
    """The last weights handed back under the name of the best, or one step's head on another's body."""
    (texts, probs_NC), _ = data
    # Validation by the training rows with their answers turned round: the first look is the best.
    held = (texts[:24], 1 - probs_NC[:24])
    spec = SPEC.model_copy(update={"evaluations": 1, "epochs": 4})
    folder = tiny_model("llama", layers=2)
    for method, best in (("naive", 4), (LAST, 16)):
        model, tokenizer, history = train(folder, (data[0], held), method, spec)
        scores = {step: score for step, _, score in history.evaluations}
        assert list(scores) == [4, 8, 12, 16]
        assert history.best_step == best == (max(scores, key=scores.__getitem__) if best == 4 else 16)
        guess = probabilities(model, 4, tokenize(tokenizer, held[0], 64), Runtime()).argmax(1).numpy()
        assert (guess == held[1].argmax(1)).mean() == pytest.approx(scores[best])
        assert not model.training


def test_bf16_runs_and_weights_stay_float32(tiny_model: Tiny, data: tuple[Any, Any]) -> None:
    """Weights cast to bfloat16, where small steps vanish; or a precision kept from the training before."""
    folder = tiny_model("llama", layers=2)
    exact = train(folder, data)[0]
    half = train(folder, data, spec=SPEC.model_copy(update={"precision": "bf16"}))[0]
    again = train(folder, data)[0]
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    assert torch.equal(flat(exact), flat(again))
    difference = (flat(half) - flat(exact)).norm() / moved(exact, folder).norm()
    assert 0 < difference < 0.5


def test_the_loop_learns(tiny_model: Tiny, rows: MakeRows) -> None:
    """Gradients with the wrong sign or rows joined to the labels of others."""
    texts, labels = rows(300, noise=0.0)
    probs_NC = np.eye(2, dtype=np.float32)[labels]
    data = ((texts[:240], probs_NC[:240]), (texts[240:], probs_NC[240:]))
    spec = SPEC.model_copy(update={"epochs": 6, "learning_rate": 3e-3})
    history = train(tiny_model("llama", layers=2), data, "naive", spec)[2]
    assert max(score for _, _, score in history.evaluations) > 0.85
    assert history.evaluations[-1][1] < 0.5 * history.evaluations[0][1]
