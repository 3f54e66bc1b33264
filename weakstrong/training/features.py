"""Features of many rungs from one forward pass.

Legend: B rows of a batch, N rows, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from weakstrong.errors import TrainingError
from weakstrong.models._load import final_norm, is_decoder, load_backbone, truncated_config
from weakstrong.models.base import ModelSpec, model_folder
from weakstrong.training.batching import batches_by_length
from weakstrong.training.comparisons import Text, Tokens, are_pairs, flat
from weakstrong.training.spec import FeatureSpec, Runtime


def tokenize(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of each text, cut to ``max_tokens``, never empty."""
    ids = tokenizer(list(texts), truncation=True, max_length=max_tokens, padding=False)["input_ids"]
    return [row or [tokenizer.pad_token_id] for row in ids]


def tokenize_rows(tokenizer: Any, texts: Sequence[Text], max_tokens: int) -> list[Tokens]:
    """Token ids of each row, every text cut to ``max_tokens`` by itself."""
    ids = tokenize(tokenizer, flat(texts), max_tokens)
    return list(zip(ids[: len(texts)], ids[len(texts) :], strict=True)) if are_pairs(texts) else list(ids)


def pad(rows: Sequence[Sequence[int]], pad_id: int, device: str | torch.device) -> tuple[Tensor, Tensor]:
    """Token ids [B, T], padded on the right, and the attention mask [B, T]; both int64."""
    length = max(len(row) for row in rows)
    ids_BT = torch.full((len(rows), length), pad_id)
    mask_BT = torch.zeros((len(rows), length), dtype=torch.long)
    for i, row in enumerate(rows):
        ids_BT[i, : len(row)] = torch.tensor(row)
        mask_BT[i, : len(row)] = 1
    return ids_BT.to(device), mask_BT.to(device)


def pool(hidden_BTD: Tensor, mask_BT: Tensor, last: bool) -> Tensor:
    """Float32 [B, D]: the state of the last real token, or the mean over real tokens."""
    if last:
        last_B = mask_BT.sum(1) - 1
        return hidden_BTD[torch.arange(len(last_B), device=last_B.device), last_B].float()
    mask_BT1 = mask_BT.unsqueeze(-1)
    return (hidden_BTD.float() * mask_BT1).sum(1) / mask_BT1.sum(1)


def extract(
    model: ModelSpec,
    rungs: Sequence[int | None],
    texts: Sequence[str],
    spec: FeatureSpec,
    runtime: Runtime,
    folder: Path | None = None,
) -> list[npt.NDArray[np.float32]]:
    """Features of ``texts`` at each rung, from one pass through the deepest.

    A rung's feature is what the model cut to that depth would give: the state after its last layer, through the
    model's final norm.

    Args:
        model: the checkpoint; its own ``layers`` is ignored.
        rungs: depths in layers; None is the whole model.
        folder: weights in place of the pretrained ones (generative finetuning, or a finetuned student).

    Returns:
        one float32 [N, D] array per rung, rows in the order of ``texts``.

    Raises:
        TrainingError: if a feature is not finite.
    """
    deepest = None if None in rungs else max(r for r in rungs if r is not None)
    dtype = getattr(torch, spec.dtype)
    backbone, tokenizer = load_backbone(model.model_copy(update={"layers": deepest}), dtype, folder)
    config = backbone.config
    depth: int = config.num_hidden_layers
    wanted = [depth if r is None else r for r in rungs]
    last, norm = is_decoder(config), final_norm(backbone)
    if folder is not None and not last:
        # A finetuned classifier no longer says that it came from a language model.
        last = is_decoder(truncated_config(model, model_folder(model)))
    backbone.to(runtime.device)
    ids = tokenize(tokenizer, texts, spec.max_tokens)
    lengths = [len(row) for row in ids]
    total, done = sum(lengths), 0
    out = [np.empty((len(ids), config.hidden_size), np.float32) for _ in rungs]
    extra = {"use_cache": False} if last else {}
    with torch.inference_mode():
        for rows in batches_by_length(lengths, runtime.forward_tokens):
            ids_BT, mask_BT = pad([ids[i] for i in rows], tokenizer.pad_token_id, runtime.device)
            states = _states(backbone, wanted, depth, norm, ids_BT, mask_BT, extra)
            for target, rung in zip(out, wanted, strict=True):
                target[rows] = pool(states[rung], mask_BT, last).cpu().numpy()
            done += sum(lengths[i] for i in rows)
            runtime.report(done, total, f"{model.source}: {total:,} tokens through {depth} layers")
    for rung, features_ND in zip(wanted, out, strict=True):
        if not np.isfinite(features_ND).all():
            raise TrainingError(
                f"{model.name}: features of layer {rung} are not finite; try features.dtype: float32"
            )
    return out


def _states(
    backbone: nn.Module,
    wanted: Sequence[int],
    depth: int,
    norm: nn.Module,
    ids_BT: Tensor,
    mask_BT: Tensor,
    extra: dict[str, Any],
) -> dict[int, Tensor]:
    """Hidden states [B, T, D] by rung."""
    shallow = [r for r in set(wanted) if r != depth]
    # A mask of ones only: without it the attention kernel may take its faster causal path.
    mask = None if bool(mask_BT.all()) else mask_BT
    output = backbone(input_ids=ids_BT, attention_mask=mask, output_hidden_states=bool(shallow), **extra)
    states = {rung: norm(output.hidden_states[rung]) for rung in shallow}
    states[depth] = output.last_hidden_state
    return states
