"""Auxiliary confidence loss: let a strong student disagree with its supervisor (Burns et al. 2023, §4.3.2, A.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from weakstrong.methods.base import METHODS, Method

if TYPE_CHECKING:
    from torch import Tensor


@METHODS.register
class Confidence(Method):
    """Cross entropy against ``(1-a)·weak + a·[student above its threshold]``, no gradient through the target.

    ``a`` rises linearly from 0 to ``a_max`` over the first ``warmup`` share of training. The threshold is set per
    batch so that the hardened predictions have given class shares: half and half (``threshold="half"``: equal
    shares), or the prior estimated from the weak labels (``"prior"``). ``"auto"`` takes half where every class share
    of the weak labels is within 10 % of equal (45 to 55 % with two classes), and the prior elsewhere.
    """

    source: ClassVar[str] = "Burns et al. 2023, §4.3.2 and A.4"
    rowwise: ClassVar[bool] = False
    kind: Literal["confidence"] = "confidence"
    a_max: float = Field(0.75, ge=0, le=1, description="final weight of the student's own predictions")
    warmup: float = Field(0.2, ge=0, le=1, description="share of training over which the weight rises from 0")
    threshold: Literal["auto", "half", "prior"] = Field(
        "auto", description="class shares of the hardened predictions"
    )

    def weight(self, progress: float) -> float:
        """Weight ``a`` at ``progress``; with no warm-up it is ``a_max`` from the start.

        >>> [Confidence().weight(p) for p in (0, 0.1, 0.2, 1)]
        [0.0, 0.375, 0.75, 0.75]
        """
        return self.a_max * min(1.0, progress / self.warmup) if self.warmup else self.a_max

    def objective(self, logits_BC: Tensor, weak_BC: Tensor, *, progress: float, prior_C: Tensor) -> Tensor:
        logp_BC = logits_BC.log_softmax(-1)
        a = self.weight(progress)
        if a == 0:
            return -(weak_BC * logp_BC).sum(-1)
        hard_BC = harden(logp_BC.detach(), self._shares(prior_C))
        return -(((1 - a) * weak_BC + a * hard_BC) * logp_BC).sum(-1)

    def _shares(self, prior_C: Tensor) -> Tensor:
        import torch

        classes = prior_C.shape[-1]
        equal_C = torch.full_like(prior_C, 1 / classes)
        if self.threshold == "prior":
            return prior_C
        if self.threshold == "half":
            return equal_C
        near = ((prior_C - equal_C).abs() <= 0.1 / classes + 1e-6).all(-1, keepdim=True)
        return torch.where(near, equal_C, prior_C)


def harden(logp_BC: Tensor, share_C: Tensor, sweeps: int = 30) -> Tensor:
    """One-hot predictions whose class shares over the batch follow ``share_C``.

    Each class gets an offset; a row takes the class with the largest offset log-probability. With two classes the
    offset is the batch's quantile of the log-odds, so exactly the nearest whole number of rows lies above it (ties
    aside). With more classes offsets are set in turn, ``sweeps`` times: coordinate ascent on the dual of assigning
    rows to classes with given shares.

    Args:
        logp_BC: float [..., B, C] log-probabilities, no gradient.
        share_C: float [..., C], sums to one.

    Returns:
        float [..., B, C] with a single one per row.
    """
    import torch

    rows, classes = logp_BC.shape[-2:]
    if rows == 1:  # no share of one row is a threshold; its own class is what the student believes
        return torch.nn.functional.one_hot(logp_BC.argmax(-1), classes).to(logp_BC.dtype)
    take_C = (share_C * rows).round().long().clamp(0, rows)
    offset_C = torch.zeros_like(logp_BC[..., 0, :])
    for _ in range(1 if classes == 2 else sweeps):
        for c in range(1, classes):
            others_BC = logp_BC + offset_C.unsqueeze(-2)
            others_BC = others_BC.index_fill(-1, torch.tensor([c], device=logp_BC.device), -torch.inf)
            need_B = (others_BC.amax(-1) - logp_BC[..., c]).sort(-1).values
            # Between the last row that is taken and the first that is not; beyond the ends when all or none are.
            edge_B = torch.cat([need_B[..., :1] - 1, need_B, need_B[..., -1:] + 1], -1)
            index = take_C[..., c].expand(need_B.shape[:-1]).unsqueeze(-1)
            cut = (edge_B.gather(-1, index) + edge_B.gather(-1, index + 1)) / 2
            offset_C = offset_C.index_copy(-1, torch.tensor([c], device=logp_BC.device), cut)
    choice_B = (logp_BC + offset_C.unsqueeze(-2)).argmax(-1)
    return torch.nn.functional.one_hot(choice_B, classes).to(logp_BC.dtype)
