"""The training loop of the finetune regime, one page: evaluate, save, step.

Processes that share a step each take some rows of every batch (DDP, or FSDP2 for a sharded model) and add up gradients
of the whole batch's loss, so they end where one process does, up to the rounding of sums in another order. Tolerance,
without dropout, of a few dozen steps: in float32 weights within 1e-5 and probabilities within 1e-5 (seen: 6e-7), under
bf16 probabilities within 1e-2. Weights whose gradient is zero but for rounding (the bias of attention's keys) wander
further, since Adam divides by its size, and change no output. With dropout the masks are others. Every process has the
same scores and takes the same decisions.

Legend: B rows of a batch, C classes, N training rows, V validation rows.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from weakstrong.errors import ConfigError, Stopped, TrainingError
from weakstrong.methods.base import Method
from weakstrong.training.average import Average
from weakstrong.training.batching import (
    IntArray,
    batches_by_length,
    epoch_batches,
    share_of_batch,
    steps_per_epoch,
)
from weakstrong.training.checkpoint import Checkpoint, trained
from weakstrong.training.comparisons import Tokens, are_pairs, flat, row_length
from weakstrong.training.distributed import (
    add_up,
    any_rank,
    from_main,
    gather,
    is_main,
    joined,
    require_group,
)
from weakstrong.training.features import pad
from weakstrong.training.sharding import is_sharded
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
    seen: Callable[[nn.Module, int], None] | None = None,
) -> History:
    """Train ``model`` in place and leave it with its best (or last) weights.

    The result depends on the specs and the seed only: not on micro-batches (up to rounding; with dropout the masks are
    drawn for each micro-batch, so there it does depend on their size) and not on whether the
    training was killed and resumed from ``checkpoint`` (to the bit, on one machine), nor on how many processes share
    it (within the tolerance above). All of them must call this, and all return the same history.

    ``seen`` is called with the model and the step at every evaluation, on all processes; it may look, and changes nothing.

    Raises:
        TrainingError: when the loss is not finite; it names the step.
        Stopped: after a step, on all processes together, once any is asked to stop; the state is saved.
    """
    import time

    accelerator = make_accelerator(spec, runtime.device)
    parameters = list(trained(model).values())
    optimizer = torch.optim.AdamW(
        parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True
    )
    raw_model, raw_optimizer = model, optimizer
    model, optimizer = prepare(accelerator, model, optimizer)
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
                    score = agreement(raw_model, pad_id, validation, runtime)
                    history.evaluations.append((step, float(np.mean(losses)), score))
                    losses = []
                    if seen is not None:
                        seen(raw_model, step)
                    if score > best or method.stop == "last":
                        best, history.best_step = score, step
                        if step < steps:
                            checkpoint.save_best(raw_model)
            due, stopping = any_rank(checkpoint.due(), runtime.should_stop())
            if due or stopping:
                meta = {"history": vars(history), "losses": losses, "best": best, "step": step}
                checkpoint.save(raw_model, raw_optimizer, meta, average.weights)
            if is_main():
                runtime.report(step, steps, f"step {step}/{steps}, loss {loss:.3f}")
            if stopping:
                raise Stopped(stopped_words(step, steps, checkpoint))
    if history.best_step != steps:
        checkpoint.load_best(raw_model)
    else:
        average.keep(raw_model)
    model.eval()
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    return History(**from_main(vars(history)))


def stopped_words(step: int, steps: int, checkpoint: Checkpoint) -> str:
    """What a step that was asked to stop says."""
    saved = (
        "its state is saved" if checkpoint.on_disk else "its state is lost, it has no folder for checkpoints"
    )
    return f"stopped after step {step} of {steps}; {saved}"


def make_accelerator(spec: Finetune, device: str) -> Accelerator:
    """An Accelerator for this step alone: its state is a process-wide singleton that keeps the first precision.

    Raises:
        ConfigError: if several processes were started and are not in one group that Accelerate sees.
    """
    require_group()
    size = joined()[1]
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    accelerator = Accelerator(
        cpu=device == "cpu", mixed_precision="bf16" if spec.precision == "bf16" else "no"
    )
    if accelerator.num_processes != size:
        raise ConfigError(
            f"{size} processes share this step, but Accelerate sees {accelerator.num_processes}; whoever joined the "
            "group must set RANK, WORLD_SIZE and LOCAL_RANK, as torchrun and Ray Train do"
        )
    return accelerator


def prepare(accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
    """Model and optimizer for the loop; a sharded model gets the precision only, since it shares by itself."""
    if is_sharded(model):
        model = accelerator.prepare_model(model, evaluation_mode=True)
        return model, accelerator.prepare_optimizer(optimizer)
    model, prepared = accelerator.prepare(model, optimizer)
    if isinstance(model, DistributedDataParallel):
        # Buffers are constants of the model. Telling them in every pass would need equally many passes on all ranks.
        model.broadcast_buffers = False
    return model, prepared


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

    A batch over the token budget is cut into micro-batches, which the processes share. A row-wise loss is summed over
    them. Another loss sees the logits of the whole batch first, and each micro-batch then runs again with its share of
    the gradient. DDP and FSDP2 take the mean over processes, so each brings its part times their number.
    """
    lengths, (rank, size) = [row_length(train.ids[i]) for i in rows], joined()
    parts = share_of_batch(lengths, runtime.micro_batch_tokens, rank, size, even=is_sharded(model))
    weak_BC = train.probs_NC[torch.from_numpy(rows).to(train.probs_NC.device)]

    views = [train.ids] if train.view_ids is None else [train.ids, train.view_ids]

    def forward(part: IntArray) -> list[Tensor]:
        """Logits [B, C] of each view; dropout is the same whenever the same rows go through."""
        torch.manual_seed(hash((*noise, int(part[0]))) % 2**31)
        return [class_logits(model, [ids[rows[i]] for i in part], pad_id, weak_BC.device) for ids in views]

    def loss_of(logits: list[Tensor], picked_BC: Tensor) -> Tensor:
        loss_B = method.objective(logits[0], picked_BC, progress=progress, prior_C=prior_C)
        if len(logits) > 1:
            loss_B = loss_B + method.disagreement(logits[0], logits[1])
        return loss_B.sum() / len(rows)

    if method.rowwise or (size == 1 and len(parts) == 1):
        total = 0.0
        for part, counts, sync in passes(accelerator, model, parts):
            with sync:
                loss = loss_of(forward(part), weak_BC[part]) * counts
                accelerator.backward(loss * size)
            total += loss.item()
        return float(gather([total]).sum())
    whole = [torch.zeros_like(weak_BC) for _ in views]
    with torch.no_grad():
        for part, counts, _ in passes(accelerator, model, parts):
            for logits_BC, part_BC in zip(whole, forward(part), strict=True):
                logits_BC[part] = part_BC if counts else logits_BC[part]
    whole = [add_up(logits_BC).requires_grad_() for logits_BC in whole]
    loss = loss_of(whole, weak_BC)
    slopes = torch.autograd.grad(loss, whole)
    for part, counts, sync in passes(accelerator, model, parts):
        with sync:
            pairs = zip(forward(part), slopes, strict=True)
            weighted = torch.stack([(got * slope_BC[part]).sum() for got, slope_BC in pairs]).sum()
            accelerator.backward(weighted * counts * size)
    return float(gather([loss.item()])[0])


def passes(
    accelerator: Accelerator, model: nn.Module, parts: Sequence[IntArray]
) -> Iterator[tuple[IntArray, int, contextlib.AbstractContextManager[None]]]:
    """For each micro-batch its rows, whether it counts (1 or 0), and the context of its forward and backward pass.

    An empty micro-batch is the batch's first row, counted 0 times. DDP adds up gradients in the last pass only.
    """
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        yield (
            part if len(part) else np.zeros(1, np.int64),
            int(len(part) > 0),
            contextlib.nullcontext() if last else accelerator.no_sync(model),
        )


def class_logits(model: nn.Module, rows: Sequence[Tokens], pad_id: int, device: Any) -> Tensor:
    """Float32 logits [B, C]; of comparisons the rewards of both sides, [B, 2], from one pass through all texts."""
    ids_BT, mask_BT = pad(flat(rows), pad_id, device)
    config = model.module.config if isinstance(model, DistributedDataParallel) else model.config
    extra = {"use_cache": False} if getattr(config, "use_cache", None) is not None else {}
    logits: Tensor = model(input_ids=ids_BT, attention_mask=mask_BT, **extra).logits
    return logits.float().view(2, len(rows)).T if are_pairs(rows) else logits.float()


def probabilities(model: nn.Module, pad_id: int, ids: Sequence[Tokens], runtime: Runtime) -> Tensor:
    """Class probabilities float32 [N, C] on the CPU, rows in the given order.

    Processes of a group share the batches, which are those of one process, and all get all rows; all must call this.
    """
    was_training = model.training
    model.eval()
    (rank, size), sharded = joined(), is_sharded(model)
    out = torch.zeros(len(ids), 2 if are_pairs(ids) else model.config.num_labels)
    batches = batches_by_length([row_length(row) for row in ids], runtime.forward_tokens)
    # Inference tensors would stay in a sharded model and break its next backward pass.
    with torch.no_grad() if sharded else torch.inference_mode():
        for part in batches[rank::size]:
            out[torch.from_numpy(part)] = (
                class_logits(model, [ids[i] for i in part], pad_id, runtime.device).softmax(-1).cpu()
            )
        if sharded and rank >= len(batches) % size > 0:  # it is whole in a pass only if all ranks are in one
            class_logits(model, [ids[0]], pad_id, runtime.device)
    model.train(was_training)
    return add_up(out)


def agreement(model: nn.Module, pad_id: int, validation: Rows, runtime: Runtime) -> float:
    """Share of validation rows, in [0, 1], whose class equals that of the given probabilities."""
    guess_V = probabilities(model, pad_id, validation.ids, runtime).argmax(-1)
    return float((guess_V == validation.probs_NC.argmax(-1)).float().mean())
