"""Classification by prompting: the probability of the answers' tokens, nothing trained (paper §5.2.1).

Legend: N rows, B rows of a batch, T tokens, D width, C classes.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from weakstrong.errors import ConfigError, ModelError, TrainingError
from weakstrong.models._load import load_language_model
from weakstrong.models.base import ModelSpec
from weakstrong.training.batching import batches_by_length
from weakstrong.training.features import pad
from weakstrong.training.spec import Prompt, Runtime

MAX_CLASSES = 10


def preamble(instruction: str, classes: Sequence[str], shots: Sequence[tuple[str, int]]) -> str:
    r"""What stands before every text: the instruction, the answers, and the examples.

    >>> preamble("Say which.", ["bad", "good"], [("a\nfilm", 1)])
    'Say which. Answer with a number: 0 for bad, 1 for good.\n\nText: a film\nAnswer: 1\n\n'
    """
    answers = ", ".join(f"{i} for {name}" for i, name in enumerate(classes))
    shown = "".join(f"Text: {_one_line(text)}\nAnswer: {label}\n\n" for text, label in shots)
    return f"{instruction} Answer with a number: {answers}.\n\n{shown}"


def _one_line(text: str) -> str:
    # A line break inside a text could forge an answer.
    return " ".join(text.split())


def prompt_probabilities(
    model: ModelSpec,
    classes: tuple[str, ...],
    instruction: str,
    shots: Sequence[tuple[str, int]],
    texts: Sequence[str],
    spec: Prompt,
    runtime: Runtime,
) -> npt.NDArray[np.float32]:
    """Class probabilities float32 [N, C]: a softmax over the tokens " 0", " 1", … after ``Answer:``.

    The preamble goes through the model once; its keys and values serve every text.

    Args:
        shots: examples (text, class number) shown in the prompt.

    Raises:
        ConfigError: for more than ten classes.
        ModelError: for an encoder, answers that are not single tokens, or a prompt longer than the model's positions.
        TrainingError: if a probability is not finite.
    """
    if len(classes) > MAX_CLASSES:
        raise ConfigError(f"prompting: {len(classes)} classes, at most {MAX_CLASSES} have a digit as answer")
    dtype = torch.bfloat16 if spec.precision == "bf16" else torch.float32
    network, tokenizer = load_language_model(model, dtype)
    network.to(runtime.device)
    joint, answers = _answers(tokenizer, len(classes), model.name)
    cut = [text for text, _ in shots]
    shown = [(_cut(tokenizer, text, spec), label) for text, (_, label) in zip(cut, shots, strict=True)]
    prefix = tokenizer(preamble(instruction, classes, shown))["input_ids"]
    ids = [
        tokenizer(f"Text: {_cut(tokenizer, text, spec)}\n", add_special_tokens=False)["input_ids"] + joint
        for text in texts
    ]
    longest, most = len(prefix) + max(map(len, ids)), getattr(network.config, "max_position_embeddings", None)
    if most is not None and longest > most:
        raise ModelError(
            f"{model.name}: the longest prompt has {longest} tokens, {len(prefix)} of them before the text, and the "
            f"model {most} positions; lower k or max_tokens"
        )
    out_NC = torch.empty(len(ids), len(classes))
    unembed = network.get_output_embeddings().weight[torch.tensor(answers, device=runtime.device)].float()
    with torch.inference_mode():
        held = DynamicCache(config=network.config)
        _run(network, torch.tensor([prefix], device=runtime.device), None, held)
        done, total = 0, sum(map(len, ids))
        for rows in batches_by_length([len(row) for row in ids], runtime.forward_tokens):
            ids_BT, mask_BT = pad([ids[i] for i in rows], tokenizer.pad_token_id, runtime.device)
            cache = copy.deepcopy(held)  # a forward pass adds to the cache it is given
            cache.batch_repeat_interleave(len(rows))
            hidden_BTD = _run(network, ids_BT, mask_BT, cache).last_hidden_state
            last_BD = hidden_BTD[torch.arange(len(rows)), mask_BT.sum(1) - 1].float()
            out_NC[torch.from_numpy(rows)] = (last_BD @ unembed.T).softmax(-1).cpu()
            done += int(mask_BT.sum())
            runtime.report(done, total, f"prompting {model.name}: {total:,} tokens after {len(prefix)}")
    if not bool(out_NC.isfinite().all()):
        raise TrainingError(
            f"{model.name}: probabilities after the prompt are not finite; use precision: fp32"
        )
    probabilities: npt.NDArray[np.float32] = out_NC.numpy()
    return probabilities


def _run(network: nn.Module, ids_BT: Tensor, mask_BT: Tensor | None, cache: Any) -> Any:
    """The body's output for tokens that follow what ``cache`` holds; their keys and values are added to it."""
    before = cache.get_seq_length()
    if mask_BT is not None:
        mask_BT = torch.cat([mask_BT.new_ones(len(mask_BT), before), mask_BT], 1)
    place_1T = torch.arange(before, before + ids_BT.shape[1], device=ids_BT.device).unsqueeze(0)
    body = network.get_decoder()
    # transformers 5.24 renamed the argument, model by model.
    name = "cache" if "cache" in inspect.signature(body.forward).parameters else "past_key_values"
    place_BT = place_1T.expand(len(ids_BT), -1)
    return body(
        input_ids=ids_BT, attention_mask=mask_BT, position_ids=place_BT, use_cache=True, **{name: cache}
    )


def _cut(tokenizer: Any, text: str, spec: Prompt) -> str:
    """The text on one line, cut after ``max_tokens`` tokens."""
    line = _one_line(text)
    row = tokenizer(line, add_special_tokens=False)["input_ids"]
    if len(row) <= spec.max_tokens:
        return line
    return _one_line(tokenizer.decode(row[: spec.max_tokens]))


def _answers(tokenizer: Any, classes: int, name: str) -> tuple[list[int], list[int]]:
    """The tokens that all answers share, which belong to the prompt, and the token in which each differs."""
    whole = [tokenizer(f"Answer: {c}", add_special_tokens=False)["input_ids"] for c in range(classes)]
    shared = next(
        i for i in range(1 + min(map(len, whole))) if len({tuple(row[: i + 1]) for row in whole}) > 1
    )
    rest = [row[shared:] for row in whole]
    single = [row[0] for row in rest if len(row) == 1]
    if len(set(single)) != classes or tokenizer.unk_token_id in single:
        raise ModelError(f"{name}: the answers 0 to {classes - 1} are not one token each: {rest}")
    return whole[0][:shared], single
