"""What every method must keep, found by name; and the confidence loss against brute force.

Legend: H heads, B rows, C classes.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weakstrong.errors import ConfigError
from weakstrong.methods import METHODS, Method, parse_method
from weakstrong.methods.confidence import Confidence, harden
from weakstrong.methods.naive import Naive

NAMES = METHODS.names()
PROGRESS = (0.0, 0.1, 0.5, 1.0)
every_method = pytest.mark.parametrize("name", NAMES)


def batch(
    rows: int,
    classes: int,
    seed: int = 0,
    heads: int | None = None,
    soft: bool = True,
    dtype: Any = torch.float32,
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits with gradient, weak labels and their prior."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, classes) if heads is None else (heads, rows, classes)
    logits_BC = (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()
    weak_BC = (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).softmax(-1)
    if not soft:
        weak_BC = torch.nn.functional.one_hot(weak_BC.argmax(-1), classes).double()
    return logits_BC, weak_BC.to(dtype), weak_BC.mean(-2).to(dtype)


def loss(
    method: Method, logits_BC: Tensor, weak_BC: Tensor, prior_C: Tensor, progress: float = 1.0
) -> Tensor:
    return method.objective(logits_BC, weak_BC, progress=progress, prior_C=prior_C)


# --- every method


@every_method
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
@pytest.mark.parametrize("progress", PROGRESS)
def test_loss_is_finite_and_reaches_the_logits(name: str, classes: int, soft: bool, progress: float) -> None:
    """A detached term, a NaN from 0·log 0 or code for two classes only."""
    logits_BC, weak_BC, prior_C = batch(16, classes, soft=soft)
    loss_B = loss(METHODS.get(name)(), logits_BC, weak_BC, prior_C, progress)
    assert loss_B.shape == (16,)
    assert loss_B.dtype == logits_BC.dtype
    assert loss_B.isfinite().all()
    loss_B.mean().backward()
    assert logits_BC.grad is not None
    assert logits_BC.grad.isfinite().all()
    assert (logits_BC.grad.abs().sum(-1) > 0).all()


@every_method
def test_extreme_logits_stay_finite(name: str) -> None:
    """log(softmax) written out underflows to log 0 for a sure student."""
    logits_BC = torch.tensor([[-1e4, 1e4], [1e4, -1e4], [0.0, 0.0], [300.0, -300.0]], requires_grad=True)
    weak_BC = torch.tensor([[1.0, 0.0], [0.3, 0.7], [0.5, 0.5], [0.0, 1.0]])
    loss_B = loss(METHODS.get(name)(), logits_BC, weak_BC, weak_BC.mean(0))
    loss_B.sum().backward()
    assert loss_B.isfinite().all()
    assert logits_BC.grad is not None
    assert logits_BC.grad.isfinite().all()


@every_method
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("progress", PROGRESS)
def test_heads_trained_together_equal_heads_alone(name: str, classes: int, progress: float) -> None:
    """Rows or thresholds that leak between heads make a sweep's numbers depend on what else ran."""
    method = METHODS.get(name)()
    logits_HBC, weak_HBC, prior_HC = batch(20, classes, heads=4)
    together_HB = loss(method, logits_HBC, weak_HBC, prior_HC, progress)
    together_HB.mean(-1).sum().backward()
    assert logits_HBC.grad is not None
    for h in range(4):
        alone_BC = logits_HBC[h].detach().clone().requires_grad_()
        alone_B = loss(method, alone_BC, weak_HBC[h], prior_HC[h], progress)
        alone_B.mean().backward()
        assert torch.equal(together_HB[h], alone_B)
        assert torch.equal(logits_HBC.grad[h], alone_BC.grad)


@every_method
def test_the_rowwise_claim_is_true(name: str) -> None:
    """A method that says it is rowwise and is not gets other losses with every micro-batch size."""
    method = METHODS.get(name)()
    changed = False
    for seed in range(20):
        logits_BC, weak_BC, prior_C = batch(9, 2, seed)
        other_BC = logits_BC.detach().clone()
        other_BC[1:] += 3 * torch.randn(8, 2, generator=torch.Generator().manual_seed(seed))
        before, after = (loss(method, x, weak_BC, prior_C)[0] for x in (logits_BC, other_BC))
        changed |= not torch.equal(before, after)
    assert changed != method.rowwise


@every_method
def test_a_batch_of_one_row_works(name: str) -> None:
    """The last batch of an epoch may hold one row; its threshold must not turn it into half a label."""
    method = METHODS.get(name)()
    for seed, classes in itertools.product(range(4), (2, 3)):
        logits_BC, weak_BC, prior_C = batch(1, classes, seed)
        loss_B = loss(method, logits_BC, weak_BC, prior_C)
        loss_B.sum().backward()
        assert loss_B.isfinite().all()
        logp_BC = logits_BC.detach().log_softmax(-1)
        hard_BC = harden(logp_BC, torch.full((classes,), 1 / classes))
        assert sorted(hard_BC[0].tolist()) == [0.0] * (classes - 1) + [1.0]


@every_method
@pytest.mark.parametrize("classes", [2, 3])
def test_a_student_that_agrees_has_the_least_loss(name: str, classes: int) -> None:
    """A sign error trains away from the labels: at certain and balanced labels, agreement is the minimum."""
    method = METHODS.get(name)()
    label_B = torch.arange(6 * classes) % classes
    weak_BC = torch.nn.functional.one_hot(label_B, classes).float()
    agree_BC = 20 * weak_BC + 0.01 * torch.randn(weak_BC.shape, generator=torch.Generator().manual_seed(0))
    prior_C = weak_BC.mean(0)
    # Bounded losses stop at 1/q, smoothed ones never reach 0.
    agree, other = (loss(method, x, weak_BC, prior_C, 0.0).mean() for x in (agree_BC, -agree_BC))
    assert agree < 0.1 * other


@every_method
def test_same_inputs_give_the_same_loss_and_leave_no_trace(name: str) -> None:
    """Hidden state or a draw from the global generator makes resumed runs differ."""
    method = METHODS.get(name)()
    logits_BC, weak_BC, prior_C = batch(8, 3)
    copies = [x.detach().clone() for x in (logits_BC, weak_BC, prior_C)]
    state = torch.get_rng_state()
    first, second = (loss(method, logits_BC, weak_BC, prior_C, 0.3) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip((logits_BC, weak_BC, prior_C), copies, strict=True))


# Product's target moves with the student and has no gradient; tests/contracts/test_objectives.py sees to it.
@pytest.mark.parametrize("name", [n for n in NAMES if n != "product"])
def test_gradients_are_right(name: str) -> None:
    """The gradient of the loss with the batch's target held fixed, against differences in float64."""
    method = METHODS.get(name)()
    logits_BC, weak_BC, prior_C = batch(7, 3, dtype=torch.float64)
    loss(method, logits_BC, weak_BC, prior_C).sum().backward()
    assert logits_BC.grad is not None
    # Away from its thresholds a hardened target is constant, so plain differences see only the student's side.
    step = 1e-6
    for b, c in itertools.product(range(7), range(3)):
        nudge_BC = torch.zeros_like(logits_BC)
        nudge_BC[b, c] = step
        up, down = (loss(method, logits_BC.detach() + s * nudge_BC, weak_BC, prior_C).sum() for s in (1, -1))
        assert ((up - down) / (2 * step)).item() == pytest.approx(logits_BC.grad[b, c].item(), abs=1e-6)


@every_method
def test_the_name_rebuilds_the_method(name: str) -> None:
    """Tables call a method by its name; a name that does not parse back cannot be repeated."""
    method = METHODS.get(name)()
    variants: list[Method] = [method]
    if isinstance(method, Confidence):
        variants += [Confidence(a_max=0.1 + 0.2, warmup=0.0, threshold="prior"), Confidence(a_max=1e-7)]
    for variant in variants:
        assert parse_method(variant.name) == variant
        assert parse_method(variant.to_dict()) == variant
    assert len({v.name for v in variants}) == len(variants)
    assert method.kind == name


# --- naive


def test_naive_is_torchs_cross_entropy() -> None:
    """An independent reference for soft and hard labels."""
    for soft in (True, False):
        logits_BC, weak_BC, prior_C = batch(12, 3, soft=soft, dtype=torch.float64)
        wanted_B = torch.nn.functional.cross_entropy(logits_BC, weak_BC, reduction="none")
        assert torch.allclose(loss(Naive(), logits_BC, weak_BC, prior_C), wanted_B, atol=1e-12)


# --- confidence


def test_confidence_without_weight_is_naive_to_the_bit() -> None:
    """The limit a = 0, as a_max and at the start of the warm-up."""
    logits_BC, weak_BC, prior_C = batch(16, 3)
    wanted_B = loss(Naive(), logits_BC, weak_BC, prior_C)
    assert torch.equal(loss(Confidence(a_max=0.0), logits_BC, weak_BC, prior_C), wanted_B)
    assert torch.equal(loss(Confidence(a_max=0.75), logits_BC, weak_BC, prior_C, 0.0), wanted_B)


@pytest.mark.parametrize("a_max", [0.25, 0.75, 1.0])
@pytest.mark.parametrize("warmup", [0.1, 0.2, 1.0])
def test_warm_up_is_a_straight_line_to_a_max(a_max: float, warmup: float) -> None:
    """In the public code the weight rises to 0.1 and then jumps to 1."""
    method = Confidence(a_max=a_max, warmup=warmup)
    for share in (0.0, 0.05, 0.25, 0.5, 0.75, 1.0):
        assert method.weight(share * warmup) == pytest.approx(share * a_max)
    assert method.weight(1.0) == a_max
    steps = [method.weight(p / 1000) for p in range(1001)]
    assert max(b - a for a, b in itertools.pairwise(steps)) <= a_max / warmup / 1000 + 1e-12
    assert min(b - a for a, b in itertools.pairwise(steps)) >= 0


def test_without_warm_up_the_weight_is_full_from_the_start() -> None:
    """Division by a warm-up of zero."""
    assert [Confidence(warmup=0.0).weight(p) for p in (0.0, 0.5, 1.0)] == [0.75] * 3


@pytest.mark.parametrize("progress", [0.05, 0.1, 0.2, 1.0])
def test_confidence_is_the_papers_formula(progress: float) -> None:
    """(1-a)·CE(weak) + a·CE(f̂ above the median), written from the paper in float64 (§4.3.2, A.4)."""
    for rows, seed in itertools.product((4, 6, 32), range(5)):
        logits_BC, weak_BC, _ = batch(rows, 2, seed, dtype=torch.float64)
        a = min(progress / 0.2, 1.0) * 0.75
        p_B = logits_BC.softmax(-1)[:, 1]
        above_B = (p_B > p_B.quantile(0.5)).double()
        target_B = (1 - a) * weak_BC[:, 1] + a * above_B
        wanted_B = -(target_B * p_B.log() + (1 - target_B) * (1 - p_B).log())
        found_B = loss(Confidence(), logits_BC, weak_BC, torch.tensor([0.5, 0.5]).double(), progress)
        assert torch.allclose(found_B, wanted_B, atol=1e-9)


def test_no_gradient_flows_through_the_hardened_target() -> None:
    """With weight 1 and the target fixed, the gradient is softmax minus target."""
    logits_BC, weak_BC, prior_C = batch(8, 2, dtype=torch.float64)
    loss(Confidence(a_max=1.0, threshold="half"), logits_BC, weak_BC, prior_C).sum().backward()
    p_BC = logits_BC.detach().softmax(-1)
    hard_BC = harden(p_BC.log(), torch.tensor([0.5, 0.5]).double())
    assert logits_BC.grad is not None
    assert torch.allclose(logits_BC.grad, p_BC - hard_BC, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-10_000, 10_000), min_size=2, max_size=33, unique=True),
    st.floats(0, 1),
)
def test_two_classes_are_cut_at_the_quantile(points: list[int], share: float) -> None:
    """The rows with the largest log-odds, as many as the share asks, become class 1; half is the median."""
    odds_B = torch.tensor(points, dtype=torch.float64) / 300
    logp_BC = torch.stack([torch.zeros_like(odds_B), odds_B], -1).log_softmax(-1).float()
    for wanted in (0.5, share):
        hard_BC = harden(logp_BC, torch.tensor([1 - wanted, wanted]))
        take = round(float(torch.tensor(wanted) * len(points)))
        chosen = set(sorted(range(len(points)), key=points.__getitem__)[len(points) - take :])
        assert {b for b in range(len(points)) if hard_BC[b, 1] == 1} == chosen
        assert torch.equal(hard_BC.sum(-1), torch.ones(len(points)))
    if len(points) % 2 == 0:
        half = harden(logp_BC, torch.tensor([0.5, 0.5]))[:, 1]
        assert torch.equal(half.bool(), odds_B > odds_B.quantile(0.5))


@pytest.mark.parametrize("rows", [6, 30, 32, 33, 128])
def test_three_classes_get_equal_shares_within_a_row(rows: int) -> None:
    """Hardening by argmax lets one class swallow the batch."""
    for seed in range(20):
        logits_BC, _, _ = batch(rows, 3, seed)
        hard_BC = harden(logits_BC.detach().log_softmax(-1), torch.full((3,), 1 / 3))
        assert torch.equal(hard_BC.sum(-1), torch.ones(rows))
        assert (hard_BC.sum(0) - rows / 3).abs().max() <= 1


def test_three_classes_are_the_likeliest_with_those_shares() -> None:
    """Any other assignment with the same counts must be no likelier (brute force over all of them)."""
    for seed in range(10):
        logits_BC, _, _ = batch(6, 3, seed, dtype=torch.float64)
        logp_BC = logits_BC.detach().log_softmax(-1)
        hard_BC = harden(logp_BC, torch.full((3,), 1 / 3).double())
        counts = hard_BC.sum(0).tolist()
        best = max(
            sum(logp_BC[b, c].item() for b, c in enumerate(choice))
            for choice in itertools.product(range(3), repeat=6)
            if [float(choice.count(c)) for c in range(3)] == counts
        )
        assert (hard_BC * logp_BC).sum().item() == pytest.approx(best)


@pytest.mark.parametrize(
    ("prior", "threshold", "expected"),
    [
        ([0.55, 0.45], "auto", 0.5), ([0.45, 0.55], "auto", 0.5), ([0.3, 0.7], "auto", 0.7), ([0.56, 0.44], "auto", 0.44),
        ([0.3, 0.7], "half", 0.5), ([0.55, 0.45], "prior", 0.45),
    ],
)  # fmt: skip
def test_the_threshold_follows_the_prior_only_off_balance(
    prior: list[float], threshold: str, expected: float
) -> None:
    """Forcing half and half on unbalanced data relabels good rows."""
    logits_BC, weak_BC, _ = batch(100, 2, dtype=torch.float64)
    method = parse_method({"kind": "confidence", "a_max": 1.0, "threshold": threshold})
    loss(method, logits_BC, weak_BC, torch.tensor(prior).double()).sum().backward()
    assert logits_BC.grad is not None
    hard_BC = (logits_BC.detach().softmax(-1) - logits_BC.grad).round()
    assert hard_BC.mean(0)[1].item() == pytest.approx(expected, abs=0.005)


def test_auto_chooses_per_head() -> None:
    """Heads of different tasks or seeds train together with different priors."""
    logits_HBC, weak_HBC, _ = batch(100, 2, heads=2, dtype=torch.float64)
    prior_HC = torch.tensor([[0.5, 0.5], [0.2, 0.8]]).double()
    loss(Confidence(a_max=1.0), logits_HBC, weak_HBC, prior_HC).sum().backward()
    assert logits_HBC.grad is not None
    hard_HBC = (logits_HBC.detach().softmax(-1) - logits_HBC.grad).round()
    assert hard_HBC.mean(1)[:, 1].tolist() == pytest.approx([0.5, 0.8])


@pytest.mark.parametrize("values", [{"a_max": 1.1}, {"a_max": -0.1}, {"warmup": 1.5}, {"threshold": "mean"}])
def test_impossible_parameters_are_refused(values: dict[str, Any]) -> None:
    """A weight above one trains away from the weak labels."""
    with pytest.raises(ConfigError, match=next(iter(values))):
        Confidence.parse(values)
