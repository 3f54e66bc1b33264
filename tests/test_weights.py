"""What happens to weights: averages, decay, dropout, adapters, a probe's head; in probes and in finetuning."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from weakstrong.errors import ModelError
from weakstrong.methods import parse_method
from weakstrong.models._load import classification_layer, load_classifier
from weakstrong.models.base import parse_model
from weakstrong.training.average import ema_decay
from weakstrong.training.finetune import finetune
from weakstrong.training.probe import HeadTask, train_heads
from weakstrong.training.spec import Finetune, Probe, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
LAST = parse_method("early-stop:on=last")
SPEC = Finetune(epochs=2, batch_rows=8, learning_rate=2e-3, precision="fp32", evaluations=1)


def head_task(seed: int, classes: int = 2) -> HeadTask:
    generator = np.random.default_rng([seed, 5])
    features_MD = generator.standard_normal((120, 8)).astype(np.float32)
    scores = features_MD @ generator.standard_normal((8, classes)) + generator.standard_normal((120, classes))
    probs = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).astype(np.float32)
    return HeadTask(
        features_MD, np.arange(90), np.arange(90, 120), probs[:90], probs[90:], seed, f"head {seed}"
    )


def trained(spec: Probe, *seeds: int) -> list[Any]:
    tasks = [head_task(seed) for seed in seeds]
    train_heads(tasks, spec, LAST, Runtime())
    return [task.weight_DC for task in tasks]


def by_torch(seed: int, spec: Probe) -> tuple[Any, list[Any]]:
    """Weights after every step by torch.optim.AdamW; the last ones divided by the scale."""
    task = head_task(seed)
    inputs = torch.from_numpy(task.features_MD[task.train_N])
    rms = inputs.pow(2).mean(0).sqrt()
    weight = torch.zeros(2, 8, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=spec.learning_rate, weight_decay=spec.weight_decay)
    generator, steps = np.random.default_rng([seed, 7]), []
    for _ in range(spec.epochs):
        order = generator.permutation(90)
        for start in range(0, 90, spec.batch_rows):
            rows = order[start : start + spec.batch_rows]
            logp = ((inputs[rows] / rms) @ weight.T).log_softmax(1)
            loss = -(torch.from_numpy(task.targets_NC)[rows] * logp).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps.append(weight.detach().clone())
    return rms, steps


def test_weight_decay_of_probes_is_adamws() -> None:
    """Decay through the gradient is another method (Loshchilov and Hutter 2019)."""
    spec = Probe(epochs=5, batch_rows=16, learning_rate=0.05, weight_decay=0.5)
    rms, steps = by_torch(1, spec)
    assert np.allclose(trained(spec, 1)[0], (steps[-1] / rms).T.numpy(), atol=1e-5)
    assert not np.allclose(
        trained(spec.model_copy(update={"weight_decay": 0.0}), 1)[0], trained(spec, 1)[0], atol=1e-3
    )


def test_average_of_probes_is_the_hand_kept_one() -> None:
    """An average over epochs instead of steps, or from the wrong start."""
    spec = Probe(epochs=5, batch_rows=16, learning_rate=0.05, ema=0.9)
    rms, steps = by_torch(2, spec)
    average = torch.zeros(2, 8)
    for t, weight in enumerate(steps, 1):
        decay = min(0.9, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * weight
    assert np.allclose(trained(spec, 2)[0], (average / rms).T.numpy(), atol=1e-5)


def test_dropout_of_a_head_does_not_depend_on_its_neighbours() -> None:
    """Masks drawn from one generator make a head's numbers depend on what else is trained."""
    spec = Probe(epochs=3, batch_rows=16, learning_rate=0.05, dropout=0.5)
    together, alone = trained(spec, 1, 2, 3), [trained(spec, seed)[0] for seed in (1, 2, 3)]
    for a, b in zip(together, alone, strict=True):
        assert np.array_equal(a, b)
    assert not np.allclose(alone[0], trained(spec.model_copy(update={"dropout": 0.0}), 1)[0], atol=1e-3)


@pytest.fixture
def data(rows: MakeRows) -> tuple[Any, Any]:
    texts, labels = rows(40)
    probs_NC = np.eye(2, dtype=np.float32)[labels] * 0.8 + 0.1
    return (texts[:32], probs_NC[:32]), (texts[32:], probs_NC[32:])


def fit(
    folder: Path, data: tuple[Any, Any], spec: Finetune, runtime: Runtime, *more: Any, **named: Any
) -> Any:
    model = parse_model(str(folder))
    return finetune(model, ("no", "yes"), *data, named.pop("method", LAST), spec, 0, runtime, *more, **named)[
        0
    ]


def flat(model: Any) -> Any:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_decay_zero_is_the_last_weights_to_the_bit(tiny_model: Tiny, data: tuple[Any, Any]) -> None:
    """A copy that lags a step behind."""
    folder = tiny_model("llama", layers=2)
    spec = parse_method("ema:decay=0").prepare(SPEC)
    assert isinstance(spec, Finetune)
    assert torch.equal(flat(fit(folder, data, spec, Runtime())), flat(fit(folder, data, SPEC, Runtime())))
    assert np.array_equal(trained(Probe(epochs=2), 1)[0], trained(Probe(epochs=2, ema=0.0), 1)[0])


def test_average_of_a_model_is_the_hand_kept_one(tiny_model: Tiny, data: tuple[Any, Any]) -> None:
    """The average must be handed back, and must not disturb training."""
    folder, weights = tiny_model("llama", layers=2), []
    # The weights after k steps are those of a run whose rate is what the whole run's is and that stops there.
    import weakstrong.training.fit as loop

    original = loop.Average.update

    def spy(self: Any, model: Any, step: int) -> None:
        weights.append(flat(model).clone())
        original(self, model, step)

    loop.Average.update = spy  # type: ignore[method-assign]
    try:
        found = flat(fit(folder, data, SPEC.model_copy(update={"ema": 0.8}), Runtime()))
    finally:
        loop.Average.update = original  # type: ignore[method-assign]
    average = flat(load_classifier(parse_model(str(folder)), ("no", "yes"), "auto", 0.0, 0)[0])
    for t, weight in enumerate(weights, 1):
        average = average.lerp(weight, 1 - ema_decay(0.8, t))
    assert len(weights) == 8
    assert torch.allclose(found, average, atol=1e-6)
    plain = flat(fit(folder, data, SPEC, Runtime()))
    assert torch.equal(weights[-1], plain)
    assert not torch.allclose(found, plain, atol=1e-4)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("at", [2, 5])
def test_a_killed_average_goes_on_where_it_was(
    tiny_model: Tiny, data: tuple[Any, Any], tmp_path: Path, at: int
) -> None:
    """A checkpoint without the average starts it anew from half-trained weights."""
    folder, spec = tiny_model("llama", layers=2), SPEC.model_copy(update={"ema": 0.9})

    def stop(done: float, total: float, words: str) -> None:
        if done == at:
            raise KilledError

    with pytest.raises(KilledError):
        fit(folder, data, spec, Runtime(checkpoint_seconds=0, progress=stop), tmp_path)
    resumed = fit(folder, data, spec, Runtime(checkpoint_seconds=0), tmp_path)
    assert torch.equal(flat(resumed), flat(fit(folder, data, spec, Runtime())))


@pytest.mark.parametrize(
    "method", ["consistency+confidence+early-stop:on=last", "consistency+early-stop:on=last"]
)
def test_a_second_view_does_not_depend_on_the_micro_batch(
    tiny_model: Tiny, data: tuple[Any, Any], method: str
) -> None:
    """Views cut apart, or a threshold per micro-batch, change the method with the memory size."""
    view = [" ".join(reversed(text.split())) for text in data[0][0]]
    folder, parsed = tiny_model("llama", layers=2), parse_method(method)
    whole, cut = (
        flat(fit(folder, data, SPEC, Runtime(micro_batch_tokens=t), method=parsed, view=view))
        for t in (10**6, 30)
    )
    assert torch.allclose(whole, cut, atol=2e-5)
    assert not torch.allclose(whole, flat(fit(folder, data, SPEC, Runtime(), method=parsed)), atol=1e-4)


def test_finetuning_starts_at_the_probes_head(tiny_model: Tiny, data: tuple[Any, Any]) -> None:
    """A transposed head, or one that the unembedding rows overwrite."""
    head_DC = np.random.default_rng(0).standard_normal((32, 2)).astype(np.float32)
    folder = tiny_model("llama", layers=2)
    still = SPEC.model_copy(update={"learning_rate": 1e-12})
    model = fit(folder, data, still, Runtime(), head_DC=head_DC)
    assert torch.allclose(classification_layer(model).weight, torch.from_numpy(head_DC.T), atol=1e-6)
    with pytest.raises(ModelError, match="lp-ft needs a decoder"):
        fit(folder, data, still, Runtime(), head_DC=np.zeros((5, 2), np.float32))


def test_adapters_leave_the_body_alone(tiny_model: Tiny, data: tuple[Any, Any]) -> None:
    """lora changes the training, not only its name, and leaves the embeddings as they were."""
    spec = parse_method("lora:rank=2").prepare(SPEC)
    assert isinstance(spec, Finetune)
    assert spec.learning_rate == 5e-4
    folder = tiny_model("llama", layers=2)
    before = load_classifier(parse_model(str(folder)), ("no", "yes"), "auto", 0.0, 0)[0]
    start = copy.deepcopy(before.get_input_embeddings().weight)
    model = fit(folder, data, spec, Runtime())
    assert torch.equal(model.get_input_embeddings().weight, start)
