"""Heads on frozen features: training many together must equal training one alone, by the textbook."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from weakstrong.methods import parse_method
from weakstrong.training.probe import HeadTask, predict, train_heads
from weakstrong.training.spec import Probe, Runtime

ROWS, VALIDATION, WIDTH = 150, 40, 24
SPEC = Probe(epochs=6, batch_rows=32, learning_rate=0.02)
MakeTask = Callable[..., HeadTask]


@pytest.fixture(scope="module")
def matrices() -> list[np.ndarray]:
    """Three feature matrices with columns of very different size, as real features have."""
    generator = np.random.default_rng(5)
    sizes = 10 ** generator.uniform(-2, 2, WIDTH)
    return [(generator.standard_normal((400, WIDTH)) * sizes + sizes).astype(np.float32) for _ in range(3)]


@pytest.fixture
def task(matrices: list[np.ndarray]) -> MakeTask:
    """``task(seed, matrix=0, classes=2)``: a noisy linear problem, other rows and labels for every seed."""

    def make(seed: int, matrix: int = 0, classes: int = 2) -> HeadTask:
        generator = np.random.default_rng([seed, 1])
        features_MD = matrices[matrix]
        rows = generator.permutation(len(features_MD))
        scores = features_MD / features_MD.std(0) @ generator.standard_normal((WIDTH, classes))
        scores += 4 * generator.standard_normal(scores.shape)
        probs = np.exp(scores / 4) / np.exp(scores / 4).sum(1, keepdims=True)
        probs = probs.astype(np.float32)
        train, validation = rows[:ROWS], rows[ROWS : ROWS + VALIDATION]
        return HeadTask(features_MD, train, validation, probs[train], probs[validation], seed, f"head {seed}")

    return make


def reference(task: HeadTask, spec: Probe, method: object) -> tuple[np.ndarray, list[float], int]:
    """One head by nn.Linear and torch.optim.Adam; weights [D, C] for raw features, history, best epoch."""
    inputs = torch.from_numpy(task.features_MD[task.train_N])
    rms = inputs.pow(2).mean(0).sqrt()
    inputs, targets = inputs / rms, torch.from_numpy(task.targets_NC)
    held = torch.from_numpy(task.features_MD[task.validation_V]) / rms
    answers = torch.from_numpy(task.validation_VC).argmax(1)
    layer = torch.nn.Linear(inputs.shape[1], targets.shape[1], bias=False)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.Adam(layer.parameters(), lr=spec.learning_rate)
    generator = np.random.default_rng([task.seed, 7])
    batches = int(np.ceil(len(inputs) / spec.batch_rows))
    step, history, weights = 0, [], []
    for _ in range(spec.epochs):
        for rows in np.split(
            generator.permutation(len(inputs)), range(spec.batch_rows, len(inputs), spec.batch_rows)
        ):
            progress = step / (batches * spec.epochs - 1)
            loss = method.objective(
                layer(inputs[rows]), targets[rows], progress=progress, prior_C=targets.mean(0)
            )
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
            step += 1
        history.append((layer(held).argmax(1) == answers).float().mean().item())
        weights.append((layer.weight / rms).detach().T.numpy().copy())
    best = int(np.argmax(history)) if method.stop != "last" else spec.epochs - 1
    return weights[best], history, best + 1


@pytest.mark.parametrize(
    "method", ["naive", "confidence:warmup=0.3", "confidence:threshold=prior", "early-stop:on=last"]
)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_equals_plain_torch(task: MakeTask, method: str, classes: int) -> None:
    """Adam's bias correction, the order of rows, progress, the prior, the scale or the stop gone wrong."""
    tasks = [task(seed, matrix=seed % 2, classes=classes) for seed in range(3)]
    train_heads(tasks, SPEC, parse_method(method), Runtime())
    for found in tasks:
        weight_DC, history, best = reference(found, SPEC, parse_method(method))
        rms_D1 = np.sqrt((found.features_MD[found.train_N] ** 2).mean(0))[:, None]
        np.testing.assert_allclose(found.weight_DC * rms_D1, weight_DC * rms_D1, rtol=1e-4, atol=1e-4)
        assert (found.history, found.best_epoch) == (pytest.approx(history), best)


@pytest.mark.parametrize("method", ["naive", "confidence"])
def test_company_does_not_change_a_head(task: MakeTask, method: str) -> None:
    """Heads that leak into each other: a batch statistic, an early stop or an order shared between heads."""
    alone = task(3, matrix=1)
    train_heads([alone], SPEC, parse_method(method), Runtime())
    crowd = [task(seed, matrix=seed % 3) for seed in (0, 1, 2, 4, 5, 6, 7)] + [task(3, matrix=1)]
    train_heads(crowd, SPEC, parse_method(method), Runtime())
    assert crowd[-1].best_epoch == alone.best_epoch
    np.testing.assert_allclose(crowd[-1].weight_DC, alone.weight_DC, rtol=1e-6, atol=1e-7)


def test_chunks_do_not_change_results(task: MakeTask) -> None:
    """Results that depend on the memory given, or that land on another head after sorting into chunks."""
    once, cut = ([task(seed, matrix=seed % 3) for seed in range(7)] for _ in range(2))
    train_heads(once, SPEC, parse_method("confidence"), Runtime())
    train_heads(
        cut, SPEC, parse_method("confidence"), Runtime(head_bytes=2 * 4 * (ROWS + VALIDATION) * WIDTH)
    )
    for a, b in zip(once, cut, strict=True):
        np.testing.assert_allclose(a.weight_DC, b.weight_DC, rtol=1e-6, atol=1e-7)


def test_early_stopping_keeps_the_best_epoch(task: MakeTask) -> None:
    """The last epoch handed back, or the best one by a number that is not the recorded one."""
    stopped, last = task(2), task(2)
    # Labels that contradict the training labels: agreement falls as training goes on.
    for t in (stopped, last):
        t.validation_V, t.validation_VC = t.train_N[:40], 1 - t.targets_NC[:40]
    train_heads([stopped], SPEC, parse_method("naive"), Runtime())
    train_heads([last], SPEC, parse_method("early-stop:on=last"), Runtime())
    assert stopped.history == last.history
    assert last.best_epoch == SPEC.epochs
    assert stopped.best_epoch == int(np.argmax(stopped.history)) + 1 < SPEC.epochs
    for t, epoch in ((stopped, stopped.best_epoch), (last, SPEC.epochs)):
        guess = predict(t.features_MD[t.validation_V], t.weight_DC).argmax(1)
        assert (guess == t.validation_VC.argmax(1)).mean() == pytest.approx(t.history[epoch - 1])


def test_nan_stops_its_own_head_only(task: MakeTask) -> None:
    """One broken feature matrix that spoils its neighbours, or a NaN head that counts as trained."""
    good, bad, neighbour = task(0), task(1, matrix=1), task(2)
    bad.features_MD = bad.features_MD.copy()
    bad.features_MD[bad.train_N[5], 3] = np.nan
    train_heads([good, bad, neighbour], SPEC, parse_method("confidence"), Runtime())
    assert bad.error is not None
    assert "head 1" in str(bad.error)
    for t in (good, neighbour):
        alone = task(t.seed)
        train_heads([alone], SPEC, parse_method("confidence"), Runtime())
        assert t.error is None
        np.testing.assert_allclose(t.weight_DC, alone.weight_DC, rtol=1e-6, atol=1e-7)


def test_constant_zero_columns_are_harmless(task: MakeTask) -> None:
    """Division by the root mean square of a column of zeros."""
    broken = task(0)
    broken.features_MD = broken.features_MD.copy()
    broken.features_MD[:, 4] = 0
    train_heads([broken], SPEC, parse_method("naive"), Runtime())
    assert broken.error is None
    assert np.isfinite(broken.weight_DC).all()


def test_predictions_of_large_logits_are_probabilities() -> None:
    """exp overflow for confident heads."""
    probs_MC = predict(np.array([[1e4, -1e4]], np.float32), np.eye(2, dtype=np.float32))
    np.testing.assert_array_equal(probs_MC, [[1.0, 0.0]])


@pytest.mark.parametrize(("width", "classes"), [(384, 2), (576, 3), (50, 2)])
def test_a_head_has_the_same_bits_in_any_company(width: int, classes: int) -> None:
    """A run that was killed trains other heads together than an undisturbed one, and must give the same numbers."""
    features_MD = np.random.default_rng(0).standard_normal((400, width)).astype(np.float32)

    def head(seed: int, labels: int) -> HeadTask:
        rows = np.random.default_rng(seed).permutation(400)
        probs_NC = np.random.default_rng([seed, labels]).dirichlet(np.ones(classes), 400).astype(np.float32)
        train, validation = rows[:200], rows[200:250]
        return HeadTask(features_MD, train, validation, probs_NC[train], probs_NC[validation], seed)

    names = [(seed, labels) for seed in range(4) for labels in range(11)]
    together = {name: head(*name) for name in names}
    method, spec = parse_method("confidence"), Probe(epochs=2, dropout=0.1)
    train_heads(list(together.values()), spec, method, Runtime())
    order = np.random.default_rng(1).permutation(len(names))
    for part in np.split(order, [1, 4, 9, 26]):
        company = {names[i]: head(*names[i]) for i in part}
        train_heads(list(company.values()), spec, method, Runtime())
        for name, alone in company.items():
            assert np.array_equal(alone.weight_DC, together[name].weight_DC), (name, len(part))
