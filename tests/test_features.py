"""Features: each rung equals the truncated model, and pooling looks at real tokens only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from weakstrong.errors import ModelError, TrainingError
from weakstrong.models.base import parse_model
from weakstrong.training.features import extract
from weakstrong.training.spec import FeatureSpec, Runtime

FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma3_text", "bert", "modernbert")
ENCODERS = ("bert", "modernbert")
EXACT = FeatureSpec(dtype="float32")
TEXTS = [
    "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12",
    "w5",
    "w7 zero w8 zero",  # ends in token id 0
    "w9 <pad> w3 w4 <pad> w11",  # holds the pad token
    "w2 w4 <pad>",  # ends in it
    "zero zero",
]
Tiny = Callable[..., Path]


def truncated_alone(folder: Path, layers: int, text: str) -> np.ndarray:
    """One text, no padding, through a model built with fewer layers: the definition of a rung's feature."""
    config = AutoConfig.from_pretrained(folder)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    model = AutoModel.from_pretrained(folder, config=config, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        hidden_TD = model(input_ids=ids).last_hidden_state[0]
    pooled_D = hidden_TD.mean(0) if config.model_type in ENCODERS else hidden_TD[-1]
    return pooled_D.numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_rungs_of_one_pass_equal_truncated_models(tiny_model: Tiny, family: str) -> None:
    """A final norm left out or applied twice, a rung off by one, a read at ``input_ids != 0`` or a pad."""
    folder = tiny_model(family)
    rungs = [1, 2, 3, None]
    found = extract(parse_model(str(folder)), rungs, TEXTS, EXACT, Runtime(forward_tokens=20))
    for rung, features_ND in zip(rungs, found, strict=True):
        wanted_ND = np.stack([truncated_alone(folder, rung or 4, text) for text in TEXTS])
        np.testing.assert_allclose(features_ND, wanted_ND, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rung_alone_equals_the_rung_of_the_whole_pass(tiny_model: Tiny, family: str) -> None:
    """A rung whose features depend on which other rungs share its pass (the step's key does not)."""
    model = parse_model(str(tiny_model(family)))
    together = extract(model, [2, None], TEXTS, EXACT, Runtime())[0]
    alone = extract(model, [2], TEXTS, EXACT, Runtime())[0]
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_features_do_not_depend_on_batch_composition(tiny_model: Tiny, family: str) -> None:
    """Padding that leaks into a row, or rows handed back in the order of lengths."""
    model = parse_model(str(tiny_model(family)))
    all_ND = extract(model, [None], TEXTS, EXACT, Runtime(forward_tokens=10_000))[0]
    one_by_one_ND = extract(model, [None], TEXTS, EXACT, Runtime(forward_tokens=1))[0]
    reversed_ND = extract(model, [None], TEXTS[::-1], EXACT, Runtime(forward_tokens=20))[0]
    np.testing.assert_allclose(all_ND, one_by_one_ND, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(reversed_ND[::-1], one_by_one_ND, rtol=1e-5, atol=1e-5)


def test_long_and_empty_texts(tiny_model: Tiny) -> None:
    """Texts not cut at ``max_tokens``, or a text without tokens that breaks its batch."""
    model = parse_model(str(tiny_model("llama")))
    spec = FeatureSpec(dtype="float32", max_tokens=4)
    cut_ND = extract(model, [None], ["w1 w2 w3 w4 w5 w6", "w1 w2 w3 w4", " ", "<pad>"], spec, Runtime())[0]
    np.testing.assert_allclose(cut_ND[0], cut_ND[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(cut_ND[2], cut_ND[3], rtol=1e-5, atol=1e-5)


def test_bfloat16_is_near_float32(tiny_model: Tiny) -> None:
    """Features summed or normalised in the wrong type: far off instead of a few tenths of a percent."""
    model = parse_model(str(tiny_model("llama")))
    exact_ND = extract(model, [2, None], TEXTS, EXACT, Runtime())[1]
    half_ND = extract(model, [2, None], TEXTS, FeatureSpec(dtype="bfloat16"), Runtime())[1]
    assert half_ND.dtype == np.float32
    assert 0 < np.abs(half_ND - exact_ND).max() < 0.05 * np.abs(exact_ND).max()


def spoil(folder: Path, into: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of a model folder with changed weights."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    for path in folder.iterdir():
        (into / path.name).write_bytes(path.read_bytes())
    save_file(weights, into / "model.safetensors", metadata={"format": "pt"})
    return into


def test_nan_weights_are_refused(tiny_model: Tiny, tmp_path: Path) -> None:
    """Features that are not finite stored as a good result."""

    def change(weights: dict[str, torch.Tensor]) -> None:
        weights["model.layers.1.mlp.up_proj.weight"][0, 0] = torch.nan

    model = parse_model(str(spoil(tiny_model("llama"), tmp_path, change)))
    with pytest.raises(TrainingError, match="not finite"):
        extract(model, [None], TEXTS, EXACT, Runtime())
    # The first layer is sound, so the rung below the broken weight works.
    assert np.isfinite(extract(model, [1], TEXTS, EXACT, Runtime())[0]).all()


def test_missing_backbone_weights_are_refused(tiny_model: Tiny, tmp_path: Path) -> None:
    """Features of a layer that from_pretrained filled with random numbers."""

    def change(weights: dict[str, torch.Tensor]) -> None:
        del weights["model.layers.1.mlp.up_proj.weight"]

    model = parse_model(str(spoil(tiny_model("llama"), tmp_path, change)))
    with pytest.raises(ModelError, match="lacks 1 weights"):
        extract(model, [None], TEXTS, EXACT, Runtime())


def test_a_rung_deeper_than_the_checkpoint_is_refused(tiny_model: Tiny) -> None:
    """A rung of 9 of a model with 4 layers that silently means something else."""
    folder = tiny_model("llama")
    with pytest.raises(ModelError, match="has 4 layers"):
        parse_model(f"{folder}::9")
    with pytest.raises(ModelError, match="4 layers, 9 asked"):
        extract(parse_model(str(folder)), [9], TEXTS, EXACT, Runtime())
