"""Models into memory: backbones for features, classifiers for finetuning, heads. Needs torch.

Legend: B rows, T tokens, D width, C classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors import safe_open
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from weakstrong.errors import ModelError
from weakstrong.models._safe import check_folder, loading
from weakstrong.models.base import ModelSpec, model_folder

FINAL_NORMS = ("norm", "final_norm", "ln_f", "final_layer_norm", "final_layernorm")
UNEMBEDDINGS = ("lm_head.weight", "embed_out.weight")
TIED_EMBEDDINGS = (
    "model.embed_tokens.weight",
    "transformer.wte.weight",
    "wte.weight",
    "gpt_neox.embed_in.weight",
    "model.decoder.embed_tokens.weight",
    "transformer.word_embeddings.weight",
    "word_embeddings.weight",
)
HEADS = ("score", "classifier", "classification_head")


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the load report (every layer above a rung counts as unexpected) and its bars off the screen."""
    before = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
        if bars:
            transformers.logging.enable_progress_bar()


def load_tokenizer(spec: ModelSpec, folder: Path | None = None) -> Any:
    """The model's tokenizer, padding on the right, with a pad token.

    Raises:
        ModelError: if it has no token to pad with, or brings code that nobody allowed.
    """
    folder = folder or model_folder(spec)
    with quiet_transformers(), loading(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ModelError(f"{spec.name}: its tokenizer has neither a pad nor an end token")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def truncated_config(spec: ModelSpec, folder: Path, **changes: Any) -> Any:
    """The model's configuration at the spec's depth.

    Raises:
        ModelError: if the checkpoint has fewer layers, or its files name code, pickles or weights elsewhere.
    """
    check_folder(folder, spec.trust_remote_code)
    with loading(folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=spec.trust_remote_code, **changes)
    if spec.layers is not None:
        if spec.layers > config.num_hidden_layers:
            raise ModelError(
                f"{spec.name}: the checkpoint has {config.num_hidden_layers} layers, {spec.layers} asked"
            )
        config.num_hidden_layers = spec.layers
        if getattr(config, "layer_types", None):
            config.layer_types = list(config.layer_types[: spec.layers])
    return config


def is_decoder(config: Any) -> bool:
    """Whether the model reads left to right, so that the last token has seen the whole text."""
    architecture = (getattr(config, "architectures", None) or [""])[0]
    return "CausalLM" in architecture or "LMHead" in architecture


def _pretrained(
    auto: Any, spec: ModelSpec, folder: Path, config: Any, dtype: torch.dtype
) -> tuple[Any, dict[str, Any]]:
    """A model of the class ``auto`` and what its loading had to say."""
    with loading(folder):
        found: tuple[Any, dict[str, Any]] = auto.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=spec.trust_remote_code,
        )
    return found


def load_backbone(spec: ModelSpec, dtype: torch.dtype, folder: Path | None = None) -> tuple[nn.Module, Any]:
    """The pretrained model without a head, in evaluation mode, and its tokenizer; from ``folder`` if it was tuned.

    Raises:
        ModelError: if weights that the model needs are missing from the checkpoint.
    """
    folder = folder or model_folder(spec)
    with quiet_transformers():
        config = truncated_config(spec, folder)
        model, info = _pretrained(AutoModel, spec, folder, config, dtype)
    _refuse_missing(spec, [k for k in info["missing_keys"] if "pooler" not in k])
    return model.eval(), load_tokenizer(spec, folder)


def load_language_model(spec: ModelSpec, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Any]:
    """A causal language model at the spec's depth, in evaluation mode, and its tokenizer.

    Raises:
        ModelError: for an encoder.
    """
    folder = model_folder(spec)
    with quiet_transformers():
        config = truncated_config(spec, folder)
        if not is_decoder(config):
            raise ModelError(
                f"{spec.name} is an encoder and predicts no next token; use a decoder such as smollm2-135m"
            )
        model, info = _pretrained(AutoModelForCausalLM, spec, folder, config, dtype)
    _refuse_missing(spec, list(info["missing_keys"]))
    return model.eval(), load_tokenizer(spec, folder)


def final_norm(model: nn.Module) -> nn.Module:
    """The normalisation after the last layer; identity for models that end in their last layer (BERT)."""
    children = dict(model.named_children())
    nested = children.get("decoder")
    for name in FINAL_NORMS:
        if name in children:
            return children[name]
        if nested is not None and getattr(nested, name, None) is not None:
            found: nn.Module = getattr(nested, name)
            return found
    return nn.Identity()


def load_classifier(
    spec: ModelSpec,
    classes: tuple[str, ...],
    head: Literal["auto", "unembedding", "zeros"],
    dropout: float,
    seed: int,
    folder: Path | None = None,
) -> tuple[nn.Module, Any]:
    """A sequence classifier in float32 and its tokenizer.

    The head starts from the unembedding rows of the tokens "0", "1", … where the model has an unembedding and each
    is one token (paper A.1), else from zeros. A single class makes a reward model. Other weights that the checkpoint lacks (an encoder's pooler) are drawn
    from ``seed``.

    Raises:
        ModelError: if ``head="unembedding"`` is asked of a model that has none, or weights are missing.
    """
    folder = folder or model_folder(spec)
    labels = {"id2label": dict(enumerate(classes)), "label2id": {c: i for i, c in enumerate(classes)}}
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = truncated_config(spec, folder, num_labels=len(classes), **labels)
        for name, value in list(vars(config).items()):
            if "drop" in name and isinstance(value, (int, float)) and not isinstance(value, bool):
                # layerdrop leaves out whole layers, which nobody asked for.
                setattr(config, name, 0.0 if "layerdrop" in name else dropout)
        tokenizer = load_tokenizer(spec, folder)
        config.pad_token_id = tokenizer.pad_token_id
        config.problem_type = "single_label_classification" if len(classes) > 1 else "regression"
        model, info = _pretrained(AutoModelForSequenceClassification, spec, folder, config, torch.float32)
    new = (*HEADS, "pre_classifier", "pooler", "head")
    _refuse_missing(spec, [k for k in info["missing_keys"] if not k.startswith(new) and ".pooler." not in k])
    _start_head(model, spec, folder, tokenizer, len(classes), head)
    return model, tokenizer


def classification_layer(model: nn.Module) -> nn.Linear:
    """The last linear layer, whose rows are the classes."""
    for name in HEADS:
        layer = getattr(model, name, None)
        layer = layer if isinstance(layer, nn.Linear) or layer is None else getattr(layer, "out_proj", None)
        if isinstance(layer, nn.Linear):
            return layer
    raise ModelError(f"{type(model).__name__} has no linear classification layer among {', '.join(HEADS)}")


def _start_head(
    model: nn.Module, spec: ModelSpec, folder: Path, tokenizer: Any, classes: int, head: str
) -> None:
    layer = classification_layer(model)
    trust = spec.trust_remote_code
    rows = None if head == "zeros" else unembedding_rows(folder, tokenizer, classes, trust)
    if rows is not None and rows.shape != layer.weight.shape:
        rows = None
    if rows is None and head == "unembedding":
        raise ModelError(
            f"{spec.name} has no unembedding rows for {classes} classes; use head: auto or zeros"
        )
    with torch.no_grad():
        layer.weight.copy_(torch.zeros_like(layer.weight) if rows is None else rows)
        if layer.bias is not None:
            layer.bias.zero_()


def unembedding_rows(
    folder: Path, tokenizer: Any, classes: int, trust_remote_code: bool = False
) -> Tensor | None:
    """Float32 [C, D] unembedding rows of the tokens "0" … "C-1", or None where there are none."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    if not is_decoder(config):
        return None
    tokens = [tokenizer(str(c), add_special_tokens=False)["input_ids"] for c in range(classes)]
    if any(len(t) != 1 for t in tokens) or [tokenizer.unk_token_id] in tokens:
        return None
    tied = getattr(config, "tie_word_embeddings", False)
    names = (*UNEMBEDDINGS, *(TIED_EMBEDDINGS if tied else ()))
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in names:
                if name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
                    matrix = file.get_slice(name)
                    return torch.stack([matrix[t[0] : t[0] + 1][0] for t in tokens]).float()
    return None


def _refuse_missing(spec: ModelSpec, missing: list[str]) -> None:
    if missing:
        raise ModelError(
            f"{spec.name}: the checkpoint lacks {len(missing)} weights, first {sorted(missing)[0]}"
        )
