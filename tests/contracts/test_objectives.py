"""Every objective against an independent float64 loop, at its limits, and by finite differences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from weakstrong.methods import parse_method
from weakstrong.methods.base import Method

Formula = Callable[[list[float], list[float], float], float]


def batch(rows: int, classes: int, seed: int = 0, soft: bool = True) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits_BC = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    weak_BC = (2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)).softmax(-1)
    if not soft:
        weak_BC = torch.nn.functional.one_hot(weak_BC.argmax(-1), classes).double()
    return logits_BC.requires_grad_(), weak_BC


def loss(method: Method | str, logits_BC: Tensor, weak_BC: Tensor, progress: float = 1.0) -> Tensor:
    return parse_method(method).objective(logits_BC, weak_BC, progress=progress, prior_C=weak_BC.mean(0))


def ce(weak: list[float], p: list[float]) -> float:
    return -sum(w * math.log(q) for w, q in zip(weak, p, strict=True))


def product_target(weak: list[float], p: list[float], power: float) -> list[float]:
    mixed = [w * q**power for w, q in zip(weak, p, strict=True)]
    return [m / sum(mixed) for m in mixed]


# Written from the paper (App. B) and from the articles named in each method's file, row by row, in plain floats.
FORMULAS: list[tuple[str, Formula]] = [
    ("naive", lambda w, p, t: ce(w, p)),
    ("entropy:weight=0.3", lambda w, p, t: ce(w, p) - 0.3 * sum(q * math.log(q) for q in p)),
    (
        "squared-confidence:weight=1.5",
        lambda w, p, t: ce(w, p) - 1.5 * sum((q - 1 / len(p)) ** 2 for q in p) / 2,
    ),
    ("product", lambda w, p, t: ce(product_target(w, p, 1.0), p)),
    ("product:warmup=0.5", lambda w, p, t: ce(product_target(w, p, min(1.0, t / 0.5)), p)),
    ("generalised-ce:q=0.4", lambda w, p, t: sum(a * (1 - q**0.4) / 0.4 for a, q in zip(w, p, strict=True))),
    ("label-smoothing:share=0.2", lambda w, p, t: ce([0.8 * a + 0.2 / len(p) for a in w], p)),
]


@pytest.mark.parametrize(("name", "formula"), FORMULAS, ids=[n for n, _ in FORMULAS])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
def test_loss_is_the_formula(name: str, formula: Formula, classes: int, soft: bool) -> None:
    """A sign, a factor or a mean in place of a sum makes another method under the same name."""
    for seed, progress in itertools.product(range(3), (0.0, 0.3, 1.0)):
        logits_BC, weak_BC = batch(9, classes, seed, soft)
        found_B = loss(name, logits_BC, weak_BC, progress).tolist()
        p_BC = logits_BC.softmax(-1).tolist()
        wanted = [formula(w, p, progress) for w, p in zip(weak_BC.tolist(), p_BC, strict=True)]
        assert found_B == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_for_two_classes_the_squared_term_is_the_papers() -> None:
    """-(p - 0.5)^2 (App. B), not twice that."""
    logits_BC, weak_BC = batch(8, 2)
    extra_B = loss("squared-confidence:weight=1", logits_BC, weak_BC) - loss("naive", logits_BC, weak_BC)
    assert torch.allclose(extra_B, -((logits_BC.softmax(-1)[:, 1] - 0.5) ** 2), atol=1e-12)


def gradient(name: str, logits_BC: Tensor, weak_BC: Tensor) -> Tensor:
    (slope_BC,) = torch.autograd.grad(loss(name, logits_BC, weak_BC).sum(), logits_BC)
    return slope_BC


@pytest.mark.parametrize("name", ["entropy", "squared-confidence"])
def test_the_confidence_term_has_a_gradient_through_the_prediction(name: str) -> None:
    """With the prediction detached, the "entropy" of public code is cross entropy times a factor, no entropy at all."""
    logits_BC, weak_BC = batch(6, 3)
    extra_BC = gradient(f"{name}:weight=1", logits_BC, weak_BC) - gradient("naive", logits_BC, weak_BC)

    def term(x_BC: Tensor) -> float:
        p_BC = x_BC.detach().softmax(-1)
        if name == "entropy":
            return float(-(p_BC * p_BC.log()).sum())
        return float(-((p_BC - 1 / 3) ** 2).sum() / 2)

    for b, c in itertools.product(range(6), range(3)):
        nudge_BC = torch.zeros_like(logits_BC)
        nudge_BC[b, c] = 1e-6
        slope = (term(logits_BC + nudge_BC) - term(logits_BC - nudge_BC)) / 2e-6
        assert extra_BC[b, c].item() == pytest.approx(slope, abs=1e-8)
    # More of the term makes the student surer: one step down its gradient lowers the entropy of every row.
    before_B, after_B = (
        -(x.softmax(-1) * x.log_softmax(-1)).sum(-1) for x in (logits_BC, logits_BC - 0.1 * extra_BC)
    )
    assert (after_B < before_B).all()


def test_no_gradient_flows_through_the_products_target() -> None:
    """Through the target, the student would drag the labels along."""
    logits_BC, weak_BC = batch(6, 3)
    p_BC = logits_BC.detach().softmax(-1)
    target_BC = weak_BC * p_BC / (weak_BC * p_BC).sum(-1, keepdim=True)
    assert torch.allclose(gradient("product", logits_BC, weak_BC), p_BC - target_BC, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    ["confidence:a_max=0", "entropy:weight=0", "squared-confidence:weight=0", "label-smoothing:share=0"],
)
def test_without_its_weight_a_method_is_naive_to_the_bit(name: str) -> None:
    """A leftover term at weight 0 makes every ablation wrong by a little."""
    logits_BC, weak_BC = (x.float().detach().requires_grad_() for x in batch(16, 3))
    assert torch.equal(loss(name, logits_BC, weak_BC), loss("naive", logits_BC, weak_BC))
    assert torch.equal(gradient(name, logits_BC, weak_BC), gradient("naive", logits_BC, weak_BC))


def test_product_with_a_uniform_student_is_cross_entropy() -> None:
    """The student knows nothing at the start: the labels must come through unchanged, zeros too."""
    for soft in (True, False):
        _, weak_BC = batch(8, 3, soft=soft)
        even_BC = torch.zeros(8, 3, dtype=torch.float64, requires_grad=True)
        assert torch.allclose(loss("product", even_BC, weak_BC), loss("naive", even_BC, weak_BC), atol=1e-9)


def test_limits_of_generalised_cross_entropy() -> None:
    """q to 0 is cross entropy, q = 1 half the absolute error of one-hot labels (Zhang and Sabuncu 2018)."""
    logits_BC, weak_BC = batch(8, 3, soft=False)
    near_B = loss("generalised-ce:q=1e-7", logits_BC, weak_BC)
    assert torch.allclose(near_B, loss("naive", logits_BC, weak_BC), atol=1e-5)
    error_B = (logits_BC.softmax(-1) - weak_BC).abs().sum(-1) / 2
    assert torch.allclose(loss("generalised-ce:q=1", logits_BC, weak_BC), error_B, atol=1e-12)


def test_a_one_hot_label_keeps_its_class_against_a_sure_student() -> None:
    """weak × student may underflow to 0/0 for a student that is sure of the opposite."""
    logits_BC = torch.tensor([[30.0, -30.0], [-200.0, 200.0]], requires_grad=True)
    weak_BC = torch.tensor([[0.1, 0.9], [0.0, 1.0]])
    loss_B = loss("product", logits_BC, weak_BC)
    assert loss_B.isfinite().all()


@pytest.mark.parametrize(
    "values",
    [{"kind": "generalised-ce", "q": 0}, {"kind": "label-smoothing", "share": 1.1}, {"kind": "entropy", "weight": -1},
     {"kind": "threshold", "share": 0}, {"kind": "noise", "share": 2}, {"kind": "ema", "decay": 1.0}],
)  # fmt: skip
def test_impossible_parameters_are_refused(values: dict[str, Any]) -> None:
    """A decay of 1 never moves; a share above 1 is no share."""
    from weakstrong.errors import ConfigError

    with pytest.raises(ConfigError, match="is not valid"):
        parse_method(values)
