"""From specs to a finetuned classifier: load, tokenise, fit, hand back an ordinary transformers model."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from weakstrong.errors import ModelError
from weakstrong.methods.base import Method
from weakstrong.models._load import classification_layer, load_classifier
from weakstrong.models.base import ModelSpec
from weakstrong.training.checkpoint import Checkpoint
from weakstrong.training.comparisons import REWARD, Text, are_pairs, one_output
from weakstrong.training.distributed import all_or_none
from weakstrong.training.features import tokenize_rows
from weakstrong.training.fit import History, Rows, fit, probabilities
from weakstrong.training.sharding import gathered, needs_shards, shard
from weakstrong.training.spec import Finetune, Lora, Runtime

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Watch:
    """Somebody who wants to know, at every evaluation, what the model says of ``texts``.

    Attributes:
        seen: called with the step and class probabilities float32 [N, C], on all processes.
    """

    texts: Sequence[Text]
    seen: Callable[[int, FloatArray], None]


@contextlib.contextmanager
def _old_names() -> Iterator[None]:
    """Hush what a user cannot heed: names that transformers 5.23 renamed, a flag that PEFT sets itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*deprecated and will be removed in v6", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out")
        yield


def _load(
    model: ModelSpec,
    classes: tuple[str, ...],
    pairs: bool,
    spec: Finetune,
    seed: int,
    folder: Path | None,
    head_DC: FloatArray | None,
) -> tuple[Any, Any]:
    """The classifier (of pairs, the reward model) to start from, on the CPU, and its tokenizer."""
    network, tokenizer = load_classifier(
        model, REWARD if pairs else classes, spec.head, spec.dropout, seed, folder
    )
    if head_DC is not None:
        layer, head_DC = classification_layer(network), one_output(head_DC) if pairs else head_DC
        if layer.weight.shape != head_DC.T.shape:
            raise ModelError(
                f"{model.name}: a probe's head has shape {head_DC.T.shape}, its classification layer "
                f"{tuple(layer.weight.shape)}; lp-ft needs a decoder"
            )
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(head_DC.T)))
    return network, tokenizer


def _with_adapters(network: nn.Module, lora: Lora, dropout: float, seed: int) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapters = LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules="all-linear",
            lora_dropout=dropout,
        )
        with _old_names():
            return get_peft_model(network, adapters)


def _look(watch: Watch, tokenizer: Any, spec: Finetune, runtime: Runtime) -> Callable[[nn.Module, int], None]:
    """What `fit` calls for a `Watch`."""
    ids = tokenize_rows(tokenizer, watch.texts, spec.max_tokens)

    def seen(network: nn.Module, step: int) -> None:
        watch.seen(step, probabilities(network, tokenizer.pad_token_id, ids, runtime).numpy())

    return seen


def finetune(
    model: ModelSpec,
    classes: tuple[str, ...],
    train: tuple[Sequence[Text], FloatArray],
    validation: tuple[Sequence[Text], FloatArray],
    method: Method,
    spec: Finetune,
    seed: int,
    runtime: Runtime,
    scratch: Path | None = None,
    *,
    view: Sequence[Text] | None = None,
    folder: Path | None = None,
    head_DC: FloatArray | None = None,
    watch: Watch | None = None,
) -> tuple[nn.Module, Any, History]:
    """Train a classifier of ``classes`` on texts with class probabilities float32 [N, C].

    On comparisons (pairs of texts) a reward model is trained: one output, whose difference between the second and the
    first text is the log-odds of the second class (paper A.3). Its head starts from the unembedding row of "0".

    Where several processes share the step (`weakstrong.training.distributed.group`) all of them call this with equal
    arguments, all get the model and the history, and only the main one needs ``scratch``. A model above
    `Runtime.shard_above` is trained in shards; it must fit whole, in float32, on one device before and after.

    Args:
        scratch: folder for checkpoints; a state found there is continued.
        view: another view of every training text, for methods that have one.
        folder: weights to start from in place of the pretrained ones (generative finetuning).
        head_DC: weights of the classification layer to start from (a probe's, float32 [D, C]).
        watch: who looks on; the result is the same to the bit with and without.

    Returns:
        the model in float32 and evaluation mode (adapters merged), its tokenizer, and the history.

    Raises:
        TrainingError: when the loss is not finite, or another process failed.
        Stopped: if asked to stop; the state is in ``scratch``.
    """
    with all_or_none(f"loading {model.name}"):
        network, tokenizer = _load(model, classes, are_pairs(train[0]), spec, seed, folder, head_DC)
    sharded = needs_shards(network, runtime)
    if not sharded:
        network.to(runtime.device)
    if runtime.device == "cpu" and hasattr(network, "set_attn_implementation"):
        # On short rows the fused kernel's backward pass costs more than plain products (benchmarks/speed.py).
        network.set_attn_implementation("eager")
    if spec.lora is not None:
        network = _with_adapters(network, spec.lora, spec.dropout, seed)
    if runtime.gradient_checkpointing:
        with _old_names():
            network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        network.enable_input_require_grads()
    frame = shard(network, runtime.device) if sharded else None
    rows = [
        Rows(tokenize_rows(tokenizer, t, spec.max_tokens), torch.from_numpy(p))
        for t, p in (train, validation)
    ]
    if view is not None:
        rows[0].view_ids = tokenize_rows(tokenizer, view, spec.max_tokens)
    pad_id = tokenizer.pad_token_id
    history = fit(
        network,
        pad_id,
        rows[0],
        rows[1],
        method,
        spec,
        seed,
        runtime,
        Checkpoint(scratch, runtime.checkpoint_seconds, runtime.kept),
        None if watch is None else _look(watch, tokenizer, spec, runtime),
    )
    if frame is not None:
        network = gathered(network, frame, runtime.device)
    if runtime.gradient_checkpointing:
        with _old_names():
            network.gradient_checkpointing_disable()
    if spec.lora is not None:
        network = network.merge_and_unload()
    return network.eval(), tokenizer, history
