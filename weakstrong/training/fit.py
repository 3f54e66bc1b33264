"""The training loop of the finetune regime, one page: evaluate, save, step.

Legend: B rows of a batch, C classes, N training rows, V validation rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import Tensor, nn

from weakstrong.errors import TrainingError
from weakstrong.methods.base import Method
from weakstrong.training.average import Average
from weakstrong.training.batching import batches_by_length, epoch_batches, steps_per_epoch
from weakstrong.training.checkpoint import Checkpoint, trained
from weakstrong.training.comparisons import Tokens, are_pairs, flat, row_length
from weakstrong.training.features import pad
from weakstrong.training.spec import Finetune, Runtime


@dataclass
class Rows:
    """Tokenised rows with class probabilities float32 [N, C] to learn from or to be compared with.

    ``view_ids`` are the tokens of another view of every row, for methods that have one.
    """

    ids: list[Tokens]
    probs_NC: Tensor
    view_ids: list[Tokens] | None = None


@dataclass
class History:
    """What happened: (step, mean loss since the last entry in nats, agreement with the weak validation labels)."""

    evaluations: list[tuple[int, float, float]] = field(default_factory=list)
    best_step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    resumed_at: int = 0


def learning_rate(spec: Finetune, step: int, steps: int) -> float:
    """Rate of step ``step`` (from 0) of ``steps``: linear warm-up, then linear or cosine decay to 0, or constant.

    >>> [round(learning_rate(Finetune(learning_rate=1.0, warmup=0.5), s, 4), 2) for s in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warm = round(spec.warmup * steps)
    if step < warm:
        return spec.learning_rate * (step + 1) / warm
    share = (step - warm) / max(1, steps - warm)
    factor = {"constant": 1.0, "linear": 1 - share, "cosine": 0.5 * (1 + math.cos(math.pi * share))}
    return spec.learning_rate * factor[spec.schedule]


def fit(
    model: nn.Module,
    pad_id: int,
    train: Rows,
    validation: Rows,
    method: Method,
    spec: Finetune,
    seed: int,
    runtime: Runtime,
    checkpoint: Checkpoint,
) -> History:
    """Train ``model`` in place and leave it with its best (or last) weights.

    The result depends on the specs and the seed only: not on micro-batches (up to rounding; with dropout the masks are
    drawn for each micro-batch, so there it does depend on their size) and not on whether the
    training was killed and resumed from ``checkpoint`` (to the bit, on one machine).

    Raises:
        TrainingError: when the loss is not finite; it names the step.
    """
    import time

    accelerator = make_accelerator(spec, runtime.device)
    parameters = list(trained(model).values())
    optimizer = torch.optim.AdamW(
        parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    raw_model, raw_optimizer = accelerator.unwrap_model(model), optimizer.optimizer
    train = Rows(train.ids, train.probs_NC.to(runtime.device), train.view_ids)
    lengths = [row_length(row) for row in train.ids]
    prior_C = train.probs_NC.mean(0)
    per_epoch = steps_per_epoch(len(train.ids), spec.batch_rows)
    steps = per_epoch * spec.epochs
    evaluate_at = {
        e * per_epoch + round(per_epoch * (k + 1) / spec.evaluations)
        for e in range(spec.epochs)
        for k in range(spec.evaluations)
    }
    history, step, losses, best = History(), 0, [], -1.0
    average = Average(raw_model, spec.ema)
    saved = checkpoint.load(raw_model, raw_optimizer, average.weights)
    if saved is not None:
        history, losses, best = History(**saved["history"]), saved["losses"], saved["best"]
        step = history.resumed_at = saved["step"]
    model.train()
    while step < steps:
        epoch = step // per_epoch
        batches = epoch_batches(lengths, spec.batch_rows, seed, epoch, spec.group_by_length)
        for rows in batches[step - epoch * per_epoch :]:
            started = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(spec, step, steps)
            progress = step / max(1, steps - 1)
            loss = _gradient(
                accelerator, model, pad_id, train, rows, method, progress, prior_C, runtime, (seed, step)
            )
            if not math.isfinite(loss):
                raise TrainingError(f"the loss is {loss} at step {step + 1} of {steps}; lower learning_rate")
            accelerator.clip_grad_norm_(parameters, spec.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            average.update(raw_model, step)
            losses.append(loss)
            history.tokens += sum(lengths[i] for i in rows)
            history.seconds += time.perf_counter() - started
            if step in evaluate_at:
                with average.in_place(raw_model):
                    score = agreement(model, pad_id, validation, runtime)
                    history.evaluations.append((step, float(np.mean(losses)), score))
                    losses = []
                    if score > best or method.stop == "last":
                        best, history.best_step = score, step
                        if step < steps:
                            checkpoint.save_best(raw_model)
            if checkpoint.due():
                meta = {"history": vars(history), "losses": losses, "best": best, "step": step}
                checkpoint.save(raw_model, raw_optimizer, meta, average.weights)
            runtime.report(step, steps, f"step {step}/{steps}, loss {loss:.3f}")
    if history.best_step != steps:
        checkpoint.load_best(raw_model)
    else:
        average.keep(raw_model)
    model.eval()
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    return history


def make_accelerator(spec: Finetune, device: str) -> Accelerator:
    """An Accelerator for this step alone: its state is a process-wide singleton that keeps the first precision."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    return Accelerator(cpu=device == "cpu", mixed_precision="bf16" if spec.precision == "bf16" else "no")


def _gradient(
    accelerator: Accelerator,
    model: nn.Module,
    pad_id: int,
    train: Rows,
    rows: np.ndarray[Any, np.dtype[np.int64]],
    method: Method,
    progress: float,
    prior_C: Tensor,
    runtime: Runtime,
    noise: tuple[int, int],
) -> float:
    """Add the gradient of the batch's mean loss to the parameters; returns the loss in nats.

    A batch over the token budget is cut into micro-batches. A row-wise loss is summed over them. Another loss sees
    the logits of the whole batch first, and each micro-batch then runs again with its share of the gradient.
    """
    lengths = [row_length(train.ids[i]) for i in rows]
    parts = batches_by_length(lengths, runtime.micro_batch_tokens)
    weak_BC = train.probs_NC[torch.from_numpy(rows).to(train.probs_NC.device)]

    views = [train.ids] if train.view_ids is None else [train.ids, train.view_ids]

    def forward(part: np.ndarray[Any, np.dtype[np.int64]]) -> list[Tensor]:
        """Logits [B, C] of each view; dropout is the same whenever the same rows go through."""
        torch.manual_seed(hash((*noise, int(part[0]))) % 2**31)
        return [class_logits(model, [ids[rows[i]] for i in part], pad_id, weak_BC.device) for ids in views]

    def loss_of(logits: list[Tensor], picked_BC: Tensor) -> Tensor:
        loss_B = method.objective(logits[0], picked_BC, progress=progress, prior_C=prior_C)
        if len(logits) > 1:
            loss_B = loss_B + method.disagreement(logits[0], logits[1])
        return loss_B.sum() / len(rows)

    if method.rowwise or len(parts) == 1:
        total = 0.0
        for part in parts:
            loss = loss_of(forward(part), weak_BC[part])
            accelerator.backward(loss)
            total += loss.item()
        return total
    whole = [torch.empty_like(weak_BC) for _ in views]
    with torch.no_grad():
        for part in parts:
            for logits_BC, part_BC in zip(whole, forward(part), strict=True):
                logits_BC[part] = part_BC
    for logits_BC in whole:
        logits_BC.requires_grad_()
    loss = loss_of(whole, weak_BC)
    slopes = torch.autograd.grad(loss, whole)
    for part in parts:
        pairs = zip(forward(part), slopes, strict=True)
        accelerator.backward(torch.stack([(got * slope_BC[part]).sum() for got, slope_BC in pairs]).sum())
    return float(loss.item())


def class_logits(model: nn.Module, rows: Sequence[Tokens], pad_id: int, device: Any) -> Tensor:
    """Float32 logits [B, C]; of comparisons the rewards of both sides, [B, 2], from one pass through all texts."""
    ids_BT, mask_BT = pad(flat(rows), pad_id, device)
    extra = {"use_cache": False} if getattr(model.config, "use_cache", None) is not None else {}
    logits: Tensor = model(input_ids=ids_BT, attention_mask=mask_BT, **extra).logits
    return logits.float().view(2, len(rows)).T if are_pairs(rows) else logits.float()


def probabilities(model: nn.Module, pad_id: int, ids: Sequence[Tokens], runtime: Runtime) -> Tensor:
    """Class probabilities float32 [N, C] on the CPU, rows in the given order."""
    was_training = model.training
    model.eval()
    out = torch.empty(len(ids), 2 if are_pairs(ids) else model.config.num_labels)
    with torch.inference_mode():
        for part in batches_by_length([row_length(row) for row in ids], runtime.forward_tokens):
            out[torch.from_numpy(part)] = (
                class_logits(model, [ids[i] for i in part], pad_id, runtime.device).softmax(-1).cpu()
            )
    model.train(was_training)
    return out


def agreement(model: nn.Module, pad_id: int, validation: Rows, runtime: Runtime) -> float:
    """Share of validation rows, in [0, 1], whose class equals that of the given probabilities."""
    guess_V = probabilities(model, pad_id, validation.ids, runtime).argmax(-1)
    return float((guess_V == validation.probs_NC.argmax(-1)).float().mean())
