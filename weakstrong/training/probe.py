"""Linear heads on frozen features, many trained together.

Legend: H heads, N training rows, B rows of a batch, V validation rows, M rows of a feature matrix, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from weakstrong.errors import TrainingError
from weakstrong.methods.base import Method
from weakstrong.training.spec import Probe, Runtime

FloatArray = npt.NDArray[np.float32]


@dataclass
class HeadTask:
    """One head to train.

    Attributes:
        features_MD: float32 feature matrix; heads may share one.
        train_N, validation_V: row numbers into it.
        targets_NC, validation_VC: class probabilities to learn, and to stop by.
        seed: of the order of rows.
        weight_DC: the result, to be applied to raw features.
        history: agreement with the validation labels after every epoch, in [0, 1].
        error: set if this head's loss left the numbers.
    """

    features_MD: FloatArray
    train_N: npt.NDArray[np.int64]
    validation_V: npt.NDArray[np.int64]
    targets_NC: FloatArray
    validation_VC: FloatArray
    seed: int
    name: str = ""
    weight_DC: FloatArray | None = None
    best_epoch: int = 0
    history: list[float] = field(default_factory=list)
    error: TrainingError | None = None


def train_heads(tasks: Sequence[HeadTask], spec: Probe, method: Method, runtime: Runtime) -> None:
    """Train all heads, each as if alone; heads must agree in numbers of rows, width and classes.

    Every head has its own batches, from its own seed; they meet only inside batched matrix products. Heads are
    taken in chunks that fit ``runtime.head_bytes``.
    """
    rows, width = len(tasks[0].train_N) + len(tasks[0].validation_V), tasks[0].features_MD.shape[1]
    size = max(1, runtime.head_bytes // (4 * rows * width))
    # Heads on the same rows share their copy of the features, so they belong in the same chunk.
    order = sorted(range(len(tasks)), key=lambda i: (id(tasks[i].features_MD), tasks[i].train_N.tobytes()))
    for start in range(0, len(order), size):
        chunk = [tasks[i] for i in order[start : start + size]]
        _train_chunk(chunk, spec, method, runtime.device)
        runtime.report(min(start + size, len(order)), len(order), f"{len(order)} heads")


def _train_chunk(tasks: Sequence[HeadTask], spec: Probe, method: Method, device: str) -> None:
    train_SND, validation_SVD, scale_SD, source_H = _stack(tasks, device)
    targets_HNC = torch.from_numpy(np.stack([t.targets_NC for t in tasks])).to(device)
    answers_HV = torch.from_numpy(np.stack([t.validation_VC for t in tasks])).argmax(-1).to(device)
    prior_HC = targets_HNC.mean(1)
    heads, rows, classes = targets_HNC.shape
    width = train_SND.shape[-1]
    flat_D = train_SND.reshape(-1, width)
    first_H1 = (source_H * rows).unsqueeze(1)
    head_H1 = torch.arange(heads, device=device).unsqueeze(1)

    weight_HDC = torch.zeros(heads, width, classes, device=device)
    first_moment, second_moment = torch.zeros_like(weight_HDC), torch.zeros_like(weight_HDC)
    best_HDC, best_H = weight_HDC.clone(), torch.full((heads,), -1.0, device=device)
    failed_H = torch.zeros(heads, dtype=torch.bool, device=device)
    steps = -(-rows // spec.batch_rows) * spec.epochs
    step = 0
    generators = [np.random.default_rng([t.seed, 7]) for t in tasks]
    for epoch in range(spec.epochs):
        order_HN = torch.from_numpy(np.stack([g.permutation(rows) for g in generators])).to(device)
        for start in range(0, rows, spec.batch_rows):
            pick_HB = order_HN[:, start : start + spec.batch_rows]
            batch_HBD = flat_D[first_H1 + pick_HB]
            logits_HBC = torch.bmm(batch_HBD, weight_HDC).requires_grad_()
            loss_HB = method.objective(
                logits_HBC, targets_HNC[head_H1, pick_HB], progress=step / max(1, steps - 1), prior_C=prior_HC
            )
            (slope_HBC,) = torch.autograd.grad(loss_HB.mean(-1).sum(), logits_HBC)
            failed_H |= ~loss_HB.detach().isfinite().all(-1)
            step += 1
            _adam(
                weight_HDC,
                torch.bmm(batch_HBD.mT, slope_HBC),
                first_moment,
                second_moment,
                step,
                spec.learning_rate,
            )
        with torch.no_grad():
            guess_HV = _validation_logits(validation_SVD, weight_HDC, source_H).argmax(-1)
            score_H = (guess_HV == answers_HV).float().mean(-1)
            better_H = (score_H > best_H) if method.early_stop else torch.ones_like(failed_H)
            best_H = torch.where(better_H, score_H, best_H)
            best_HDC = torch.where(better_H[:, None, None], weight_HDC, best_HDC)
        for task, score, better in zip(tasks, score_H.tolist(), better_H.tolist(), strict=True):
            task.history.append(score)
            task.best_epoch = epoch + 1 if better else task.best_epoch
    raw_HDC = (best_HDC / scale_SD[source_H].unsqueeze(-1)).cpu().numpy()
    for i, task in enumerate(tasks):
        task.weight_DC = raw_HDC[i]
        if failed_H[i] or not np.isfinite(raw_HDC[i]).all():
            task.error = TrainingError(
                f"{task.name}: the loss left the finite numbers; lower the learning rate"
            )


def _stack(tasks: Sequence[HeadTask], device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scaled training [S, N, D] and validation [S, V, D] features of the distinct row sets, scale [S, D], set of each head."""
    index: dict[tuple[int, bytes, bytes], int] = {}
    train, validation, scales, source = [], [], [], []
    for task in tasks:
        key = (id(task.features_MD), task.train_N.tobytes(), task.validation_V.tobytes())
        if key not in index:
            index[key] = len(index)
            rows_ND = torch.from_numpy(task.features_MD[task.train_N])
            scale_D = rows_ND.square().mean(0).sqrt().clamp_min(1e-6)
            train.append(rows_ND / scale_D)
            validation.append(torch.from_numpy(task.features_MD[task.validation_V]) / scale_D)
            scales.append(scale_D)
        source.append(index[key])
    stacked = (torch.stack(t).to(device) for t in (train, validation, scales))
    train_SND, validation_SVD, scale_SD = stacked
    return train_SND, validation_SVD, scale_SD, torch.tensor(source, device=device)


def _validation_logits(validation_SVD: Tensor, weight_HDC: Tensor, source_H: Tensor) -> Tensor:
    heads, _, classes = weight_HDC.shape
    logits_HVC = torch.empty(heads, validation_SVD.shape[1], classes, device=weight_HDC.device)
    for s in range(len(validation_SVD)):
        mine = (source_H == s).nonzero().squeeze(1)
        logits_HVC[mine] = validation_SVD[s] @ weight_HDC[mine]
    return logits_HVC


def _adam(weight: Tensor, slope: Tensor, first: Tensor, second: Tensor, step: int, rate: float) -> None:
    """One step of Adam in place, betas (0.9, 0.999), eps 1e-8 (Kingma & Ba 2015); per head, so heads stay apart."""
    first.lerp_(slope, 0.1)
    second.mul_(0.999).addcmul_(slope, slope, value=0.001)
    scale = (1 - 0.999**step) ** 0.5
    weight.addcdiv_(first, second.sqrt().add_(1e-8 * scale), value=-rate * scale / (1 - 0.9**step))


def predict(features_MD: FloatArray, weight_DC: FloatArray) -> FloatArray:
    """Class probabilities float32 [M, C] of a linear head."""
    logits_MC = features_MD @ weight_DC
    logits_MC -= logits_MC.max(-1, keepdims=True)
    exp_MC = np.exp(logits_MC)
    probabilities: FloatArray = exp_MC / exp_MC.sum(-1, keepdims=True)
    return probabilities
