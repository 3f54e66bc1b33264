"""Every objective, and the temperature of labels, against independent loops, at limits, by finite differences."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from weakstrong.calibration import fit_temperature, temper
from weakstrong.errors import ConfigError
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


def surest(logp: list[list[float]], shares: list[float]) -> list[int]:
    """The likeliest classes of all rows with given counts, by trying every assignment."""
    counts = [round(share * len(logp)) for share in shares]
    choices = itertools.product(range(len(shares)), repeat=len(logp))
    fitting = (c for c in choices if [c.count(k) for k in range(len(shares))] == counts)
    return list(max(fitting, key=lambda c: sum(row[k] for row, k in zip(logp, c, strict=True))))


@pytest.mark.parametrize(
    ("classes", "prior"), [(2, [0.5, 0.5]), (2, [1 / 3, 2 / 3]), (3, [1 / 3, 1 / 3, 1 / 3])]
)
@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
def test_confidence_is_the_formula_at_the_end_of_training(
    classes: int, prior: list[float], soft: bool
) -> None:
    """A weight on the wrong term, or a threshold at one half in place of the batch's (paper §4.3.2, A.4)."""
    for seed in range(4):
        logits_BC, weak_BC = batch(6, classes, seed, soft)
        method = parse_method("confidence:a_max=0.6")
        found_B = method.objective(logits_BC, weak_BC, progress=1.0, prior_C=torch.tensor(prior).double())
        p_BC = logits_BC.softmax(-1).tolist()
        chosen = surest([[math.log(q) for q in p] for p in p_BC], prior)
        mixed = [
            [0.4 * w + 0.6 * (k == c) for k, w in enumerate(row)]
            for row, c in zip(weak_BC.tolist(), chosen, strict=True)
        ]
        wanted = [ce(target, p) for target, p in zip(mixed, p_BC, strict=True)]
        assert found_B.tolist() == pytest.approx(wanted, rel=1e-9)


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


@pytest.mark.parametrize(("name", "formula"), FORMULAS, ids=[n for n, _ in FORMULAS])
@pytest.mark.parametrize(("classes", "soft"), [(2, True), (2, False), (3, True), (3, False)])
def test_gradient_is_that_of_the_formula(name: str, formula: Formula, classes: int, soft: bool) -> None:
    """A term cut off from the student trains nothing, though the loss reads right."""
    logits_BC, weak_BC = batch(4, classes, 5, soft)
    found_BC = gradient(name, logits_BC, weak_BC)
    for b, c in itertools.product(range(4), range(classes)):
        sides = []
        for step in (1e-6, -1e-6):
            moved = logits_BC[b].detach().clone()
            moved[c] += step
            weak, p = weak_BC[b].tolist(), moved.softmax(-1).tolist()
            if name.startswith("product"):  # its target stays where the student was
                sides.append(ce(product_target(weak, logits_BC[b].softmax(-1).tolist(), 1.0), p))
            else:
                sides.append(formula(weak, p, 1.0))
        assert found_BC[b, c].item() == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize(("progress", "power"), [(0.0, 0.0), (0.1, 0.25), (1.0, 1.0)])
def test_no_gradient_flows_through_the_products_target(progress: float, power: float) -> None:
    """Through the target, the student would drag the labels along, while it warms up as well."""
    logits_BC, weak_BC = batch(6, 3)
    p_BC = logits_BC.detach().softmax(-1)
    mixed_BC = weak_BC * p_BC**power
    (slope_BC,) = torch.autograd.grad(
        loss("product:warmup=0.4", logits_BC, weak_BC, progress).sum(), logits_BC
    )
    assert torch.allclose(slope_BC, p_BC - mixed_BC / mixed_BC.sum(-1, keepdim=True), atol=1e-12)


def test_disagreement_is_cross_entropy_of_the_second_view_alone() -> None:
    """Views the wrong way round, or a gradient through the target that makes both views agree on anything."""
    first, second = (batch(7, 3, seed)[0] for seed in (0, 1))
    extra_B = parse_method("consistency:weight=0.7").disagreement(first, second)
    pairs = zip(first.softmax(-1).tolist(), second.softmax(-1).tolist(), strict=True)
    assert extra_B.tolist() == pytest.approx([0.7 * ce(p, q) for p, q in pairs])
    slope_BC, none = torch.autograd.grad(extra_B.sum(), (second, first), allow_unused=True)
    assert none is None
    assert torch.allclose(slope_BC, 0.7 * (second.softmax(-1) - first.softmax(-1)))


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


def test_a_sure_student_makes_no_0_over_0() -> None:
    """weak × student underflows in float32 where the student is sure of the opposite."""
    logits_BC = torch.tensor([[30.0, -30.0], [-200.0, 200.0], [200.0, -200.0]], requires_grad=True)
    weak_BC = torch.tensor([[0.1, 0.9], [0.0, 1.0], [0.0, 1.0]])
    assert loss("product", logits_BC, weak_BC).isfinite().all()


@pytest.mark.parametrize("odds", [72.0, 100.0, 1000.0])
def test_a_one_hot_label_keeps_its_class_against_a_sure_student(odds: float) -> None:
    """A label of zero times anything is zero: a student sure of the opposite must not get a loss of 0."""
    logits_BC = torch.tensor([[odds, 0.0]], requires_grad=True)
    weak_BC = torch.tensor([[0.0, 1.0]])
    assert loss("product", logits_BC, weak_BC).item() == pytest.approx(odds)
    assert gradient("product", logits_BC, weak_BC)[0].tolist() == pytest.approx([1.0, -1.0])


@pytest.mark.parametrize(
    "values",
    [{"kind": "generalised-ce", "q": 0}, {"kind": "label-smoothing", "share": 1.1}, {"kind": "entropy", "weight": -1},
     {"kind": "threshold", "share": 0}, {"kind": "noise", "share": 2}, {"kind": "ema", "decay": 1.0}],
)  # fmt: skip
def test_impossible_parameters_are_refused(values: dict[str, Any]) -> None:
    """A decay of 1 never moves; a share above 1 is no share."""
    with pytest.raises(ConfigError, match="is not valid"):
        parse_method(values)


@pytest.mark.parametrize(
    ("text", "words"),
    [("confidence:a_max", "'a_max' is not parameter=value"), ("confidence:amax=1", "amax: Extra inputs"),
     ("confidence:a_max=0.5,a_max=0.6", "a_max: Input should be a valid number .found .*0.5.*0.6"),
     ("confidence:a_max=2", "a_max: .* less than or equal to 1 .found '2'"),
     ("bootstrapping:through=smollm2-135m:8,through=smollm", "through.1: unknown model 'smollm': did you mean"),
     ("hard+entropy:weight=-1", "parts.1.*greater than or equal to 0"), ("naive+ghost", "unknown method 'ghost'")],
)  # fmt: skip
def test_bad_parameters_say_which_and_why(text: str, words: str) -> None:
    """Found in a list of twenty methods, "invalid value" helps nobody."""
    with pytest.raises(ConfigError, match=re.compile(words, re.DOTALL)):
        parse_method(text)


def test_the_temperature_is_found_again() -> None:
    """A bound, a sign or 1/T for T: an overconfident supervisor must come out cooler, by the factor that made it so."""
    generator = np.random.default_rng(0)
    true_NC = generator.dirichlet([1, 1, 1], 20_000)
    truth_N = np.array([generator.choice(3, p=p) for p in true_NC])
    for factor in (0.4, 1.0, 2.5):
        sharp_NC = true_NC ** (1 / factor)
        sharp_NC /= sharp_NC.sum(1, keepdims=True)
        found = fit_temperature(sharp_NC, truth_N)
        assert found == pytest.approx(1 / factor, rel=0.05)
        grid = np.geomspace(0.2, 5, 400)
        rows = np.arange(len(truth_N))
        scores = [-np.log(np.maximum(temper(sharp_NC, t)[rows, truth_N], 1e-300)).mean() for t in grid]
        assert found == pytest.approx(grid[int(np.argmin(scores))], rel=0.02)
        assert (temper(sharp_NC, found).argmax(1) == sharp_NC.argmax(1)).all()
