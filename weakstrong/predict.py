"""Class probabilities, or rewards, of texts from a saved sequence classifier. Legend: N rows, C classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weakstrong.errors import ModelError
from weakstrong.training.spec import Runtime


def predict(
    folder: str | Path, texts: Sequence[str], *, runtime: Runtime | None = None
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Classify ``texts`` with the model in ``folder``, in float32.

    Returns:
        class names, and probabilities float32 [N, C] in the order of ``texts``; the same as
        ``transformers.pipeline("text-classification", folder, truncation=True, top_k=None)``.

    Raises:
        ModelError: if the folder holds no sequence classifier with safetensors weights, or a reward model.
    """
    from weakstrong.training.fit import probabilities

    runtime = runtime or Runtime()
    model, tokenizer, ids_N = _loaded(folder, texts, runtime)
    if model.config.num_labels == 1:
        raise ModelError(f"{folder} is a reward model: it has no classes; use weakstrong.predict.rewards")
    classes = [str(model.config.id2label[c]) for c in range(model.config.num_labels)]
    return classes, probabilities(model, tokenizer.pad_token_id, ids_N, runtime).numpy()


def rewards(
    folder: str | Path, texts: Sequence[str], *, runtime: Runtime | None = None
) -> npt.NDArray[np.float32]:
    """Rewards float32 [N] of ``texts`` (prompt and completion) by the reward model in ``folder``, in float32.

    The sigmoid of the difference of two completions' rewards is the probability that the one is preferred (Burns et
    al. 2023, A.3). A single reward means nothing by itself.

    Raises:
        ModelError: if the folder holds no sequence classifier with one output.
    """
    import torch

    from weakstrong.training.batching import batches_by_length
    from weakstrong.training.fit import class_logits

    runtime = runtime or Runtime()
    model, tokenizer, ids_N = _loaded(folder, texts, runtime)
    if model.config.num_labels != 1:
        raise ModelError(f"{folder} has {model.config.num_labels} classes, a reward model has one output")
    out_N = np.empty(len(ids_N), np.float32)
    with torch.inference_mode():
        for part in batches_by_length([len(row) for row in ids_N], runtime.forward_tokens):
            logits_B1 = class_logits(model, [ids_N[i] for i in part], tokenizer.pad_token_id, runtime.device)
            out_N[part] = logits_B1[:, 0].cpu().numpy()
    return out_N


def is_reward_model(folder: str | Path) -> bool:
    """Whether the model in ``folder`` has one output; False for what is no model folder."""
    config = Path(folder).expanduser() / "config.json"
    return config.is_file() and len(json.loads(config.read_text(encoding="utf-8")).get("id2label", {})) == 1


def _loaded(folder: str | Path, texts: Sequence[str], runtime: Runtime) -> tuple[Any, Any, list[list[int]]]:
    """The classifier in evaluation mode, its tokenizer, and the tokens of ``texts``."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from weakstrong.models._load import quiet_transformers
    from weakstrong.models._safe import check_folder, loading
    from weakstrong.training.features import tokenize

    folder = Path(folder).expanduser()
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is not a model folder: it has no config.json; w2s train writes one")
    check_folder(folder)
    # False, not left out: left out, transformers asks on standard input whether to run the folder's code.
    try:
        with quiet_transformers(), loading(folder):
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                trust_remote_code=False,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except OSError as error:
        raise ModelError(f"{folder} cannot be loaded: {error}") from error
    if info["missing_keys"]:
        raise ModelError(
            f"{folder} is not a trained classifier: {sorted(info['missing_keys'])[0]} is missing"
        )
    limit = min(
        tokenizer.model_max_length,
        getattr(model.config, "max_position_embeddings", tokenizer.model_max_length),
    )
    return model.to(runtime.device).eval(), tokenizer, tokenize(tokenizer, texts, limit)
