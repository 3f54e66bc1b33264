"""Linear heads on frozen features, many trained together.

Legend: G groups of K heads on the same rows, H = G·K heads, X = K·C columns, filled up, N training rows, B rows of a batch, V validation rows, M rows of a feature matrix, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from weakstrong.errors import TrainingError
from weakstrong.methods.base import Method
from weakstrong.training.average import ema_decay
from weakstrong.training.spec import Probe, Runtime

FloatArray = npt.NDArray[np.float32]
COLUMNS = 16
"""Columns of a product are filled up to a multiple of this, so that a head's bits do not depend on its company."""


@dataclass
class HeadTask:
    """One head to train.

    Attributes:
        features_MD: float32 feature matrix; heads may share one.
        train_N, validation_V: row numbers into it.
        targets_NC, validation_VC: class probabilities to learn, and to stop by.
        seed: of the order of rows, and of dropout.
        view_MD: float32 features of another view of the same rows, for methods that have one.
        weight_DC: the result, to be applied to raw features.
        history: agreement with the validation labels after every epoch, in [0, 1].
        error: set if this head's loss left the numbers.
        seen: called after every epoch with its number, from 1, and the weights that the head would have now, as ``weight_DC``.
    """

    features_MD: FloatArray
    train_N: npt.NDArray[np.int64]
    validation_V: npt.NDArray[np.int64]
    targets_NC: FloatArray
    validation_VC: FloatArray
    seed: int
    name: str = ""
    view_MD: FloatArray | None = None
    weight_DC: FloatArray | None = None
    best_epoch: int = 0
    history: list[float] = field(default_factory=list)
    error: TrainingError | None = None
    seen: Callable[[int, FloatArray], None] | None = None


def train_heads(tasks: Sequence[HeadTask], spec: Probe, method: Method, runtime: Runtime) -> None:
    """Train all heads, each as if alone; heads must agree in numbers of rows, width and classes.

    Heads on the same rows in the same order (of one seed: other methods, supervisors, the ceiling) are columns of one
    matrix product; such groups of equal size then go through batched products together, in chunks whose features
    fit ``runtime.head_bytes``.
    """
    groups: dict[tuple[int, int, bytes, bytes, int], list[HeadTask]] = {}
    for task in tasks:
        rows = (task.train_N.tobytes(), task.validation_V.tobytes())
        groups.setdefault((id(task.features_MD), id(task.view_MD), *rows, task.seed), []).append(task)
    alike: dict[int, list[list[HeadTask]]] = {}
    for group in groups.values():
        alike.setdefault(len(group), []).append(group)
    count, width = len(tasks[0].train_N) + len(tasks[0].validation_V), tasks[0].features_MD.shape[1]
    size = max(1, runtime.head_bytes // (4 * count * width))
    done = 0
    for same_size in alike.values():
        for start in range(0, len(same_size), size):
            chunk = same_size[start : start + size]
            _train_chunk(chunk, spec, method, runtime.device)
            done += len(chunk) * len(chunk[0])
            runtime.report(done, len(tasks), f"{len(tasks)} heads")


def _train_chunk(groups: Sequence[Sequence[HeadTask]], spec: Probe, method: Method, device: str) -> None:
    """Train G groups of K heads; every step is one batched product for logits and one for slopes."""
    count, each = len(groups), len(groups[0])
    tasks = [task for group in groups for task in group]
    firsts = [group[0] for group in groups]
    train_GND, validation_GVD, scale_GD = _scaled(firsts, device)
    targets_HNC = torch.from_numpy(np.stack([t.targets_NC for t in tasks])).to(device)
    answers_HV = torch.from_numpy(np.stack([t.validation_VC for t in tasks])).argmax(-1).to(device)
    prior_HC = targets_HNC.mean(1)
    heads, rows, classes = targets_HNC.shape
    width = train_GND.shape[-1]
    flats = [train_GND.reshape(-1, width)]
    if firsts[0].view_MD is not None:
        views = [torch.from_numpy(t.view_MD[t.train_N]) for t in firsts if t.view_MD is not None]
        flats.append((torch.stack(views).to(device) / scale_GD.unsqueeze(1)).reshape(-1, width))
    first_G1 = torch.arange(count, device=device).unsqueeze(1) * rows
    head_H1 = torch.arange(heads, device=device).unsqueeze(1)

    def by_head(values_GBX: Tensor) -> Tensor:
        """[G, B, X] to [H, B, C]."""
        real_GBX = values_GBX[..., : each * classes]
        return real_GBX.unflatten(-1, (each, classes)).transpose(1, 2).flatten(0, 1)

    def by_group(values_HBC: Tensor) -> Tensor:
        """[H, B, C] to [G, B, X]."""
        real_GBX = values_HBC.unflatten(0, (count, each)).transpose(1, 2).flatten(2, 3)
        return nn.functional.pad(real_GBX, (0, columns - each * classes))

    columns = -(-each * classes // COLUMNS) * COLUMNS
    weight_GDX = torch.zeros(count, width, columns, device=device)
    first_moment, second_moment = torch.zeros_like(weight_GDX), torch.zeros_like(weight_GDX)
    best_GDX, best_H = weight_GDX.clone(), torch.full((heads,), -1.0, device=device)
    failed_H = torch.zeros(heads, dtype=torch.bool, device=device)
    steps = -(-rows // spec.batch_rows) * spec.epochs
    step = 0
    generators = [np.random.default_rng([group[0].seed, 7]) for group in groups]
    # A generator for each view: the first view's noise must not depend on whether there is a second.
    noises = [
        [torch.Generator().manual_seed(task.seed + (view << 32)) for task in firsts]
        for view in range(len(flats))
    ]
    average_GDX = weight_GDX.clone() if spec.ema else weight_GDX
    for epoch in range(spec.epochs):
        order_GN = torch.from_numpy(np.stack([g.permutation(rows) for g in generators])).to(device)
        for start in range(0, rows, spec.batch_rows):
            pick_GB = order_GN[:, start : start + spec.batch_rows]
            batches = [flat_D[first_G1 + pick_GB] for flat_D in flats]
            if spec.dropout:
                pairs = zip(batches, noises, strict=True)
                batches = [_drop(batch_GBD, noise, spec.dropout) for batch_GBD, noise in pairs]
            # The first view's logits, and the second's where there is one.
            logits = [by_head(torch.bmm(b, weight_GDX)).contiguous().requires_grad_() for b in batches]
            weak_HBC = targets_HNC[head_H1, pick_GB.repeat_interleave(each, 0)]
            progress = step / max(1, steps - 1)
            loss_HB = method.objective(logits[0], weak_HBC, progress=progress, prior_C=prior_HC)
            if len(logits) > 1:
                loss_HB = loss_HB + method.disagreement(logits[0], logits[1])
            slopes = torch.autograd.grad(loss_HB.mean(-1).sum(), logits)
            failed_H |= ~loss_HB.detach().isfinite().all(-1)
            step += 1
            slope_GDX = torch.bmm(batches[0].mT, by_group(slopes[0]))
            if len(logits) > 1:
                slope_GDX.baddbmm_(batches[1].mT, by_group(slopes[1]))
            if spec.weight_decay:
                weight_GDX.mul_(1 - spec.learning_rate * spec.weight_decay)
            _adam(weight_GDX, slope_GDX, first_moment, second_moment, step, spec.learning_rate)
            if spec.ema:
                average_GDX.lerp_(weight_GDX, 1 - ema_decay(spec.ema, step))
        with torch.no_grad():
            guess_HV = by_head(torch.bmm(validation_GVD, average_GDX)).argmax(-1)
            score_H = (guess_HV == answers_HV).float().mean(-1)
            better_H = torch.ones_like(failed_H) if method.stop == "last" else (score_H > best_H)
            best_H = torch.where(better_H, score_H, best_H)
            better_G1X = by_group(better_H.view(-1, 1, 1).expand(-1, 1, classes))
            best_GDX = torch.where(better_G1X, average_GDX, best_GDX)
        for task, score, better in zip(tasks, score_H.tolist(), better_H.tolist(), strict=True):
            task.history.append(score)
            task.best_epoch = epoch + 1 if better else task.best_epoch
        if any(task.seen is not None for task in tasks):
            now_HDC = by_head(average_GDX / scale_GD.unsqueeze(-1)).cpu().numpy()
            for task, now_DC in zip(tasks, now_HDC, strict=True):
                if task.seen is not None:
                    task.seen(epoch + 1, np.ascontiguousarray(now_DC))
    raw_HDC = by_head(best_GDX / scale_GD.unsqueeze(-1)).cpu().numpy()
    for i, task in enumerate(tasks):
        task.weight_DC = np.ascontiguousarray(raw_HDC[i])
        if failed_H[i] or not np.isfinite(raw_HDC[i]).all():
            task.error = TrainingError(
                f"{task.name}: the loss left the finite numbers; lower the learning rate"
            )


def _scaled(tasks: Sequence[HeadTask], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Training [G, N, D] and validation [G, V, D] features over their scale [G, D], a root mean square."""
    train, validation, scales = [], [], []
    for task in tasks:
        rows_ND = torch.from_numpy(task.features_MD[task.train_N])
        scale_D = rows_ND.square().mean(0).sqrt().clamp_min(1e-6)
        train.append(rows_ND / scale_D)
        validation.append(torch.from_numpy(task.features_MD[task.validation_V]) / scale_D)
        scales.append(scale_D)
    train_GND, validation_GVD, scale_GD = (torch.stack(t).to(device) for t in (train, validation, scales))
    return train_GND, validation_GVD, scale_GD


def _adam(weight: Tensor, slope: Tensor, first: Tensor, second: Tensor, step: int, rate: float) -> None:
    """One step of Adam in place, betas (0.9, 0.999), eps 1e-8 (Kingma & Ba 2015); per head, so heads stay apart."""
    first.lerp_(slope, 0.1)
    second.mul_(0.999).addcmul_(slope, slope, value=0.001)
    scale = (1 - 0.999**step) ** 0.5
    weight.addcdiv_(first, second.sqrt().add_(1e-8 * scale), value=-rate * scale / (1 - 0.9**step))


def _drop(batch_GBD: Tensor, noises: Sequence[torch.Generator], share: float) -> Tensor:
    """Features left out at random, the others scaled up; what falls out depends on the group's own generator."""
    keep = [torch.rand(batch_GBD.shape[1:], generator=g) >= share for g in noises]
    return batch_GBD * torch.stack(keep).to(batch_GBD.device) / (1 - share)


def predict(features_MD: FloatArray, weight_DC: FloatArray) -> FloatArray:
    """Class probabilities float32 [M, C] of a linear head."""
    logits_MC = features_MD @ weight_DC
    logits_MC -= logits_MC.max(-1, keepdims=True)
    exp_MC = np.exp(logits_MC)
    probabilities: FloatArray = exp_MC / exp_MC.sum(-1, keepdims=True)
    return probabilities
