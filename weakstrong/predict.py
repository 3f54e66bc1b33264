"""Class probabilities of texts from a saved sequence classifier. Legend: N rows, C classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
        ModelError: if the folder holds no sequence classifier with safetensors weights.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from weakstrong.models._load import quiet_transformers
    from weakstrong.training.features import tokenize
    from weakstrong.training.fit import probabilities

    runtime, folder = runtime or Runtime(), Path(folder).expanduser()
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is not a model folder: it has no config.json; w2s train writes one")
    try:
        with quiet_transformers():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} cannot be loaded: {error}") from error
    if info["missing_keys"]:
        raise ModelError(
            f"{folder} is not a trained classifier: {sorted(info['missing_keys'])[0]} is missing"
        )
    limit = min(
        tokenizer.model_max_length,
        getattr(model.config, "max_position_embeddings", tokenizer.model_max_length),
    )
    ids_N = tokenize(tokenizer, texts, limit)
    model.to(runtime.device).eval()
    classes = [str(model.config.id2label[c]) for c in range(model.config.num_labels)]
    return classes, probabilities(model, tokenizer.pad_token_id, ids_N, runtime).numpy()
