"""Generative finetuning: language-model training on a task's texts, without labels (paper §5.2.2).

Legend: B rows of a batch, T tokens, D width, P predicted tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as checkpoint_pass

from weakstrong.errors import ModelError, Stopped, TrainingError
from weakstrong.models._load import load_language_model, quiet_transformers
from weakstrong.models.base import ModelSpec
from weakstrong.training.batching import (
    batches_by_length,
    epoch_batches,
    share_of_batch,
    steps_per_epoch,
)
from weakstrong.training.checkpoint import Checkpoint, trained
from weakstrong.training.distributed import all_or_none, any_rank, from_main, gather, is_main, joined
from weakstrong.training.features import pad, tokenize
from weakstrong.training.fit import learning_rate, make_accelerator, passes, prepare, stopped_words
from weakstrong.training.sharding import gathered, is_sharded, needs_shards, shard
from weakstrong.training.spec import Finetune, Generative, Runtime

CHUNK_TOKENS = 1024
"""Predicted tokens whose logits (over the whole vocabulary) are in memory at once."""


def tune(
    model: ModelSpec,
    texts: Sequence[str],
    spec: Generative,
    seed: int,
    runtime: Runtime,
    scratch: Path | None,
    out: Path,
) -> dict[str, Any]:
    """Train a decoder on ``texts`` and write it to ``out`` as an ordinary Hugging Face folder.

    The loss of a batch is the mean over all its predicted tokens, in nats; the result does not depend on micro-batches
    (up to rounding), nor on a kill and resumption from ``scratch``, nor on how many processes share the step (all of
    them call this; weights within 1e-5 in float32 in the tests). Only the main process needs ``scratch`` and writes
    ``out``.

    Returns:
        ``losses`` (step, mean loss since the last entry), ``tokens``, ``steps``, ``seconds``, ``resumed_at``.

    Raises:
        ModelError: for an encoder, or texts without a token to predict.
        TrainingError: when the loss is not finite; it names the step.
        Stopped: if asked to stop; the state is in ``scratch``.
    """
    with all_or_none(f"loading {model.name}"):
        network, tokenizer = load_language_model(model)
    sharded = needs_shards(network, runtime)
    if not sharded:
        network.to(runtime.device)
    if runtime.device == "cpu" and hasattr(network, "set_attn_implementation"):
        network.set_attn_implementation("eager")  # as in finetuning: quicker on short rows
    ids = _rows(tokenizer, texts, spec, seed)
    if not ids:
        raise ModelError(
            f"{model.name}: none of {len(texts)} texts has two tokens, so there is nothing to predict"
        )
    pace = Finetune(
        learning_rate=spec.learning_rate, epochs=spec.epochs, warmup=spec.warmup, precision=spec.precision
    )
    accelerator = make_accelerator(pace, runtime.device)
    alone = joined()[1] == 1
    module = network if alone else NextTokenLoss(network)
    frame = shard(module, runtime.device) if sharded else None
    raw_optimizer = torch.optim.AdamW(
        list(trained(network).values()), lr=spec.learning_rate, weight_decay=0.0, fused=True
    )
    wrapped, optimizer = prepare(accelerator, module, raw_optimizer)
    checkpoint = Checkpoint(scratch, runtime.checkpoint_seconds, runtime.kept)
    gradient = add_gradient if alone else add_shared_gradient
    lengths = [len(row) for row in ids]
    per_epoch = steps_per_epoch(len(ids), spec.batch_rows)
    steps = per_epoch * spec.epochs
    note = max(1, steps // 10)
    summary: dict[str, Any] = {"losses": [], "tokens": 0, "steps": steps, "seconds": 0.0, "resumed_at": 0}
    step, recent = 0, []
    saved = checkpoint.load(network, raw_optimizer)
    if saved is not None:
        step, recent, summary = saved["step"], saved["recent"], saved["summary"]
        summary["resumed_at"] = step
    wrapped.eval()  # no dropout: the texts are seen once
    while step < steps:
        epoch = step // per_epoch
        batches = epoch_batches(lengths, spec.batch_rows, seed, epoch, group_by_length=True)
        for rows in batches[step - epoch * per_epoch :]:
            started = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(pace, step, steps)
            batch = [ids[i] for i in rows]
            loss = gradient(accelerator, wrapped, tokenizer.pad_token_id, batch, runtime)
            if not math.isfinite(loss):
                raise TrainingError(f"the loss is {loss} at step {step + 1} of {steps}; lower learning_rate")
            accelerator.clip_grad_norm_(list(trained(network).values()), spec.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            recent.append(loss)
            summary["tokens"] += sum(len(row) for row in batch)
            summary["seconds"] += time.perf_counter() - started
            if step % note == 0 or step == steps:
                summary["losses"].append((step, float(np.mean(recent))))
                recent = []
            due, stopping = any_rank(checkpoint.due(), runtime.should_stop())
            if due or stopping:
                meta = {"step": step, "recent": recent, "summary": summary}
                checkpoint.save(network, raw_optimizer, meta)
            if is_main():
                runtime.report(step, steps, f"step {step}/{steps}, loss {loss:.3f}")
            if stopping:
                raise Stopped(stopped_words(step, steps, checkpoint))
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    if frame is not None:
        network = gathered(module, frame, runtime.device).network
    if is_main():
        with quiet_transformers():
            network.save_pretrained(out)
            tokenizer.save_pretrained(out)
    return dict(from_main(summary))


def _rows(tokenizer: Any, texts: Sequence[str], spec: Generative, seed: int) -> list[list[int]]:
    """Tokens of the chosen texts, with an end token where the text was not cut; rows of one token are left out."""
    order = np.random.default_rng([seed, 17]).permutation(len(texts))
    chosen = order if spec.rows is None else order[: spec.rows]
    rows = tokenize(tokenizer, [texts[i] for i in sorted(chosen.tolist())], spec.max_tokens)
    end = tokenizer.eos_token_id
    ended = [row if end is None or len(row) == spec.max_tokens else [*row, end] for row in rows]
    return [row for row in ended if len(row) > 1]


def add_gradient(
    accelerator: Any, model: nn.Module, pad_id: int, batch: Sequence[Sequence[int]], runtime: Runtime
) -> float:
    """Add the gradient of the batch's mean next-token loss; returns the loss in nats per token."""
    predicted = sum(len(row) - 1 for row in batch)
    total = 0.0
    for part in batches_by_length([len(row) for row in batch], runtime.micro_batch_tokens):
        ids_BT, mask_BT = pad([batch[i] for i in part], pad_id, runtime.device)
        with accelerator.autocast():
            hidden_BTD = model.get_decoder()(
                input_ids=ids_BT, attention_mask=mask_BT, use_cache=False
            ).last_hidden_state
        real_BT = mask_BT[:, 1:].bool()
        hidden_PD, target_P = hidden_BTD[:, :-1][real_BT], ids_BT[:, 1:][real_BT]
        total += _backward(accelerator, model, hidden_PD, target_P, predicted)
    return total


def summed_loss(network: Any, logits_PV: Tensor, target_P: Tensor) -> Tensor:
    """Summed loss in nats, from the logits over the vocabulary; Gemma squeezes its logits first."""
    cap = getattr(network.config, "final_logit_softcapping", None)
    if cap is not None:
        logits_PV = cap * torch.tanh(logits_PV / cap)
    return nn.functional.cross_entropy(logits_PV.float(), target_P, reduction="sum")


def _backward(
    accelerator: Any, model: nn.Module, hidden_PD: Tensor, target_P: Tensor, predicted: int
) -> float:
    """Backward through the unembedding chunk by chunk, so that logits of few tokens are held, then the body once."""
    held_PD = hidden_PD.detach().requires_grad_()
    unembed = model.get_output_embeddings()
    total = 0.0
    for start in range(0, len(target_P), CHUNK_TOKENS):
        with accelerator.autocast():
            logits = unembed(held_PD[start : start + CHUNK_TOKENS])
        loss = summed_loss(model, logits, target_P[start : start + CHUNK_TOKENS])
        (loss / predicted).backward()
        total += loss.item() / predicted
    assert held_PD.grad is not None
    hidden_PD.backward(held_PD.grad)
    return total


class NextTokenLoss(nn.Module):  # type: ignore[misc]  # torch is not read by mypy here
    """A language model as a function from tokens to the summed loss in nats: one pass that DDP and FSDP2 can watch.

    The logits are made again, chunk by chunk, in the backward pass, so that those of few tokens are held.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        hidden_BTD = self.network.get_decoder()(
            input_ids=ids_BT, attention_mask=mask_BT, use_cache=False
        ).last_hidden_state
        real_BT = mask_BT[:, 1:].bool()
        hidden_PD, target_P = hidden_BTD[:, :-1][real_BT], ids_BT[:, 1:][real_BT]
        starts = range(0, len(target_P), CHUNK_TOKENS)
        chunks = [slice(start, start + CHUNK_TOKENS) for start in starts]
        losses = [checkpoint_pass(self.chunk, hidden_PD[c], target_P[c], use_reentrant=False) for c in chunks]
        return torch.stack(losses).sum()

    def chunk(self, hidden_PD: Tensor, target_P: Tensor) -> Tensor:
        """Summed loss of some predicted tokens."""
        return summed_loss(self.network, self.network.get_output_embeddings()(hidden_PD), target_P)


def add_shared_gradient(
    accelerator: Any, model: nn.Module, pad_id: int, batch: Sequence[Sequence[int]], runtime: Runtime
) -> float:
    """`add_gradient` where several processes share the batch; ``model`` is a prepared `NextTokenLoss`."""
    rank, size = joined()
    predicted, total = sum(len(row) - 1 for row in batch), 0.0
    lengths, budget = [len(row) for row in batch], runtime.micro_batch_tokens
    parts = share_of_batch(lengths, budget, rank, size, even=is_sharded(model))
    for part, counts, sync in passes(accelerator, model, parts):
        ids_BT, mask_BT = pad([batch[i] for i in part], pad_id, runtime.device)
        with sync:
            loss = model(ids_BT, mask_BT) * counts / predicted
            accelerator.backward(loss * size)  # DDP and FSDP2 take the mean over processes
        total += loss.item()
    return float(gather([total]).sum())
