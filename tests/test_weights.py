"""What happens to weights: averages, decay, dropout, adapters, a probe's head; in probes and in finetuning."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from weakstrong.errors import ModelError
from weakstrong.experiment import Experiment
from weakstrong.graph import Graph
from weakstrong.methods import Method, parse_method
from weakstrong.models._load import classification_layer, load_classifier
from weakstrong.models.base import parse_model
from weakstrong.training.batching import epoch_batches
from weakstrong.training.features import tokenize
from weakstrong.training.finetune import finetune
from weakstrong.training.probe import HeadTask, _drop, train_heads
from weakstrong.training.spec import Finetune, Lora, Probe, Runtime

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
    other = head_task(1)
    other.seed = 2  # the same rows and labels
    train_heads([other], spec, LAST, Runtime())
    assert not np.allclose(other.weight_DC, alone[0], atol=1e-3)


def test_heads_on_the_same_rows_share_no_labels_under_dropout_decay_and_average() -> None:
    """Columns of one product: one head's slope, decay or average that reaches its neighbour."""
    spec = Probe(epochs=3, batch_rows=16, learning_rate=0.05, dropout=0.3, weight_decay=0.2, ema=0.8)
    one, two, alone = head_task(1), head_task(1), head_task(1)
    two.features_MD, two.targets_NC = one.features_MD, one.targets_NC[::-1].copy()
    alone.targets_NC = two.targets_NC
    train_heads([one, two], spec, LAST, Runtime())
    train_heads([alone], spec, LAST, Runtime())
    assert two.weight_DC is not None
    assert np.allclose(two.weight_DC, alone.weight_DC, atol=1e-6)
    assert np.allclose(one.weight_DC, trained(spec, 1)[0], atol=1e-6)
    assert not np.allclose(one.weight_DC, two.weight_DC, atol=1e-2)


def test_dropout_keeps_the_mean_of_what_the_head_sees() -> None:
    """Kept features must be scaled by 1/(1-share); otherwise, with dropout off, the head is too sure or too unsure."""
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    ones_GBD = torch.ones(2, 400, 50)
    out_GBD = _drop(ones_GBD, generators, 0.75)
    assert set(out_GBD.unique().tolist()) == {0.0, 4.0}
    assert out_GBD.mean((1, 2)).tolist() == pytest.approx([1.0, 1.0], abs=0.05)
    assert not torch.equal(out_GBD[0], out_GBD[1])
    again_GBD = _drop(ones_GBD[:1], [torch.Generator().manual_seed(1)], 0.75)
    assert torch.equal(again_GBD[0], out_GBD[1])


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


def by_plain_loop(folder: Path, data: tuple[Any, Any], spec: Finetune) -> list[Any]:
    """All weights at the start and after every step, by torch.optim.AdamW in a loop of its own."""
    model, tokenizer = load_classifier(parse_model(str(folder)), ("no", "yes"), "auto", 0.0, 0)
    ids, targets = tokenize(tokenizer, data[0][0], 64), torch.from_numpy(data[0][1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    weights = [flat(model)]
    for epoch in range(spec.epochs):
        for rows in epoch_batches([len(row) for row in ids], spec.batch_rows, 0, epoch, True):
            logits = torch.cat([model(input_ids=torch.tensor([ids[i]])).logits for i in rows])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, targets[torch.from_numpy(rows)]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), spec.clip_norm)
            optimizer.step()
            weights.append(flat(model))
    return weights


@pytest.mark.parametrize(("ema", "decay"), [(0.0, 0.3), (0.8, 0.0), (0.8, 0.3)])
def test_decay_and_average_of_a_model_are_the_hand_kept_ones(
    tiny_model: Tiny, data: tuple[Any, Any], ema: float, decay: float
) -> None:
    """Decay through the gradient, an average from the wrong start, one that disturbs training or is not handed back."""
    spec = SPEC.model_copy(
        update={"schedule": "constant", "warmup": 0.0, "weight_decay": decay, "learning_rate": 1e-3}
    )
    weights = by_plain_loop(tiny_model("llama", layers=2), data, spec)
    wanted = weights[0].clone()
    for t, weight in enumerate(weights[1:], 1):
        keep = min(ema, (1 + t) / (10 + t))
        wanted = keep * wanted + (1 - keep) * weight
    found = flat(fit(tiny_model("llama", layers=2), data, spec.model_copy(update={"ema": ema}), Runtime()))
    assert len(weights) == 9
    assert (found - wanted).norm() < 2e-3 * (weights[-1] - weights[0]).norm()
    for update in ({"ema": 0.0 if ema else 0.8}, {"weight_decay": 0.0 if decay else 0.3}):
        other = spec.model_copy(update={"ema": ema} | update)
        assert not torch.allclose(
            found, flat(fit(tiny_model("llama", layers=2), data, other, Runtime())), atol=1e-4
        )


def test_the_average_of_the_best_moment_is_handed_back(
    tiny_model: Tiny, data: tuple[Any, Any], tmp_path: Path
) -> None:
    """Scored is the average, so kept must be the average, not the weights beside it; and not those of the end."""
    folder, spec = tiny_model("llama", layers=2), SPEC.model_copy(update={"ema": 0.6, "evaluations": 4})
    texts, probs_NC = data[0]
    turned = (texts[:16], 1 - probs_NC[:16])  # agreement falls as training goes on
    states: dict[int, dict[str, Any]] = {}

    def keep(done: float, total: float, words: str) -> None:
        states[round(done)] = load_file(tmp_path / "state.safetensors")

    runtime = Runtime(checkpoint_seconds=0, progress=keep)
    model, _, history = finetune(
        parse_model(str(folder)), ("no", "yes"), data[0], turned, parse_method("naive"), spec, 0, runtime, tmp_path
    )  # fmt: skip
    best = max(history.evaluations, key=lambda e: e[2])[0]
    assert history.best_step == best < 8
    for name, weight in model.named_parameters():
        assert torch.equal(weight, states[best][f"average.{name}"]), name
    assert any(not torch.equal(w, states[best][f"weight.{n}"]) for n, w in model.named_parameters())


class KilledError(Exception):
    pass


@pytest.mark.parametrize(("at", "method"), [(2, LAST), (5, LAST), (8, LAST), (5, parse_method("naive"))])
def test_a_killed_average_goes_on_where_it_was(
    tiny_model: Tiny, data: tuple[Any, Any], tmp_path: Path, at: int, method: Method
) -> None:
    """A checkpoint without the average starts it anew from half-trained weights, or hands back the plain ones."""
    folder, spec = tiny_model("llama", layers=2), SPEC.model_copy(update={"ema": 0.9})

    def stop(done: float, total: float, words: str) -> None:
        if done == at:
            raise KilledError

    with pytest.raises(KilledError):
        fit(folder, data, spec, Runtime(checkpoint_seconds=0, progress=stop), tmp_path, method=method)
    resumed = fit(folder, data, spec, Runtime(checkpoint_seconds=0), tmp_path, method=method)
    assert torch.equal(flat(resumed), flat(fit(folder, data, spec, Runtime(), method=method)))


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
    adapted = fit(folder, data, still.model_copy(update={"lora": Lora(rank=2)}), Runtime(), head_DC=head_DC)
    assert torch.allclose(classification_layer(adapted).weight, torch.from_numpy(head_DC.T), atol=1e-6)
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


@pytest.mark.parametrize("name", ["lora", "ema", "regularised", "ema+regularised:dropout=0.3+lora:rank=4"])
def test_methods_of_the_weights_change_the_student_only(name: str) -> None:
    """A supervisor or ceiling that is trained otherwise beside one method makes its PGR another quantity."""
    values = {"task": "movie-snippets", "supervisors": "minilm-l6", "students": "smollm2-135m:22", "seeds": 1}
    experiment = Experiment.parse(values | {"methods": ["naive", name], "regime": "finetune"})
    graph = Graph()
    naive, other = (graph.cell(cell) for cell in experiment.cells())
    assert naive.supervisor_fit.key == other.supervisor_fit.key
    assert naive.ceiling_fit.key == other.ceiling_fit.key
    specs: list[Any] = [made.student_fit.spec for made in (naive, other)]
    before, after = (spec.training.to_dict() for spec in specs)
    changed = {field for field in before if before[field] != after[field]}
    fields = {"lora": {"lora", "learning_rate"}, "ema": {"ema"}, "regularised": {"weight_decay", "dropout"}}
    assert changed == set.union(*(fields[part.split(":")[0]] for part in name.split("+")))
